"""AUC, d', EER, recall@1 and their intervals, against scikit-learn and brute force."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from vaeneer.measuring.statistics import (
    Floats,
    ScoredPairs,
    chance_recall_at_1,
    d_prime,
    mean_interval,
    percentile_interval,
    recall_at_1,
    roc,
    separation,
    separation_intervals,
)

few_scores = st.lists(st.integers(-5, 5), min_size=1, max_size=30).map(
    lambda values: np.array(values, np.float64)
)  # many ties


def scored(same: Floats, different: Floats, images: int) -> ScoredPairs:
    first = np.arange(different.size) % images
    others = np.stack([first, (first + 1 + np.arange(different.size) % (images - 1)) % images], 1)
    return ScoredPairs(same, np.arange(same.size) % images, different, others)


def normal_pairs(images: int = 60, shift: float = 1.0) -> ScoredPairs:
    random = np.random.default_rng(4)
    return scored(random.normal(shift, 1, 3 * images), random.normal(0, 1, 20 * images), images)


@given(few_scores, few_scores)
def test_auc_is_scikit_learns_ties_included(same: Floats, different: Floats) -> None:
    labels = np.repeat([1, 0], [same.size, different.size])
    expected = roc_auc_score(labels, np.concatenate([same, different]))
    assert roc(same, different).auc() == pytest.approx(expected, abs=1e-12)


@given(few_scores, few_scores, st.integers(0, 2**32 - 1))
def test_weighted_auc_is_scikit_learns(same: Floats, different: Floats, seed: int) -> None:
    random = np.random.default_rng(seed)
    same_weights = random.integers(0, 4, same.size).astype(float)
    different_weights = random.integers(0, 4, different.size).astype(float)
    assume(same_weights.any() and different_weights.any())
    expected = roc_auc_score(
        np.repeat([1, 0], [same.size, different.size]),
        np.concatenate([same, different]),
        sample_weight=np.concatenate([same_weights, different_weights]),
    )
    found = roc(same, different, same_weights, different_weights).auc()
    assert found == pytest.approx(expected, abs=1e-12)


@given(few_scores, few_scores)
def test_weights_are_repetitions(same: Floats, different: Floats) -> None:
    twice, thrice = np.full(same.size, 2.0), 1 + np.arange(different.size) % 3
    weighted = roc(same, different, twice, thrice.astype(float))
    repeated = roc(np.repeat(same, 2), np.repeat(different, thrice))
    assert weighted.auc() == pytest.approx(repeated.auc())
    assert weighted.equal_error_rate() == pytest.approx(repeated.equal_error_rate())
    assert d_prime(same, different, twice, thrice.astype(float)) == pytest.approx(
        d_prime(np.repeat(same, 2), np.repeat(different, thrice))
    )


@given(few_scores, few_scores)
def test_only_the_order_of_scores_counts(same: Floats, different: Floats) -> None:
    plain, bent = roc(same, different), roc(np.exp(same) - 7, np.exp(different) - 7)
    assert plain.auc() == bent.auc()
    assert plain.equal_error_rate() == bent.equal_error_rate()


@given(few_scores, few_scores)
def test_exchanged_sides_mirror_every_figure(same: Floats, different: Floats) -> None:
    there, back = roc(same, different), roc(different, same)
    assert there.auc() + back.auc() == pytest.approx(1)
    assert there.equal_error_rate() + back.equal_error_rate() == pytest.approx(1)
    assert d_prime(same, different) == pytest.approx(-d_prime(different, same))


@given(few_scores, few_scores)
def test_equal_error_rate_is_where_the_curve_meets_the_falling_diagonal(
    same: Floats, different: Floats
) -> None:
    thresholds = np.unique(np.concatenate([same, different, [-9.0, 9.0]]))[::-1]
    passing = np.array([(different >= t).mean() for t in thresholds])
    failing = np.array([(same < t).mean() for t in thresholds])
    fine = np.linspace(0, thresholds.size - 1, 200_001)  # along the polygon, corner by corner
    places = np.arange(thresholds.size)
    gap = np.interp(fine, places, passing) - np.interp(fine, places, failing)
    crossing = np.interp(fine[np.abs(gap).argmin()], places, passing)
    assert roc(same, different).equal_error_rate() == pytest.approx(crossing, abs=1e-3)


def test_perfect_separation() -> None:
    found = separation(scored(np.array([0.8, 0.9]), np.array([0.1, 0.2, 0.3]), 3))
    assert (found.auc, found.eer) == (1.0, 0.0)
    assert found.d_prime == pytest.approx((0.85 - 0.2) / math.sqrt((0.0025 + 0.02 / 3) / 2))


def test_scores_that_say_nothing_are_at_chance() -> None:
    found = separation(scored(np.zeros(5), np.zeros(9), 4))
    assert (found.auc, found.d_prime, found.eer) == (0.5, 0.0, 0.5)


def test_d_prime_without_spread_is_infinite_with_the_sign_of_the_difference() -> None:
    assert d_prime(np.ones(3), np.zeros(3)) == math.inf
    assert d_prime(np.zeros(3), np.ones(3)) == -math.inf


def test_intervals_cover_the_value_and_follow_the_seed() -> None:
    pairs = normal_pairs()
    figures = separation(pairs)
    found = separation_intervals(pairs, images=60, resamples=200, seed=1)
    for value, interval in (
        (figures.auc, found.auc),
        (figures.d_prime, found.d_prime),
        (figures.eer, found.eer),
    ):
        assert interval is not None
        assert interval[0] < value < interval[1]
    assert found == separation_intervals(pairs, images=60, resamples=200, seed=1)
    assert found != separation_intervals(pairs, images=60, resamples=200, seed=2)


def test_intervals_weigh_pairs_by_how_often_their_images_were_drawn() -> None:
    pairs, images, seed = normal_pairs(12), 12, 3
    random = np.random.default_rng(seed)
    labels = np.repeat([1, 0], [pairs.same.size, pairs.different.size])
    scores = np.concatenate([pairs.same, pairs.different])
    expected = []
    for _ in range(30):
        times = np.bincount(random.integers(0, images, images), minlength=images)
        first, second = pairs.different_images.T
        weights = np.concatenate([times[pairs.same_images], times[first] * times[second]])
        expected.append(float(roc_auc_score(labels, scores, sample_weight=weights)))
    found = separation_intervals(pairs, images=images, resamples=30, seed=seed)
    assert found.auc == pytest.approx(percentile_interval(expected))


def test_repeated_pairs_do_not_narrow_the_interval() -> None:
    random = np.random.default_rng(0)
    images, copies = 20, 50
    same, different = random.normal(1, 1, images), random.normal(0, 1, 400)
    once = scored(same, different, images)
    often = ScoredPairs(
        np.repeat(same, copies),
        np.repeat(np.arange(images), copies),
        different,
        once.different_images,
    )
    # Copies of a pair add no knowledge: over pairs, the interval would be seven times narrower.
    assert auc_width(often, images) == pytest.approx(auc_width(once, images))


def auc_width(pairs: ScoredPairs, images: int) -> float:
    low, high = separation_intervals(pairs, images=images, resamples=200, seed=0).auc or (0, 0)
    return high - low


def test_two_images_still_give_an_interval_or_none() -> None:
    pairs = scored(np.array([0.9, 0.8]), np.array([0.1, 0.3]), 2)
    assert separation_intervals(pairs, images=2, resamples=50, seed=0).auc == (1.0, 1.0)
    assert separation_intervals(pairs, images=2, resamples=0, seed=0).auc is None


def test_mean_interval() -> None:
    values = np.random.default_rng(0).normal(3, 1, 400)
    low, high = mean_interval(values, resamples=500, seed=0) or (0, 0)
    assert low < values.mean() < high
    assert high - low == pytest.approx(2 * 1.96 / 20, rel=0.15)  # of the normal distribution
    assert mean_interval(np.ones(5), resamples=20, seed=0) == (1.0, 1.0)


def test_percentile_interval_leaves_out_what_is_not_finite() -> None:
    assert percentile_interval([math.inf, 1.0, math.nan, 1.0]) == (1.0, 1.0)
    assert percentile_interval([math.inf, 1.0]) is None


def test_recall_finds_each_in_its_place() -> None:
    unit = np.eye(700)  # more than one block
    assets = np.arange(700)
    assert recall_at_1(unit, unit, assets).all()
    assert not recall_at_1(unit, np.roll(unit, 1, axis=0), assets).any()


def test_recall_ignores_other_images_of_the_same_asset() -> None:
    queries = np.array([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    gallery = np.array([[0.8, 0.6], [1.0, 0.0], [0.0, 1.0]])
    assert recall_at_1(queries, gallery, np.array([0, 1, 2])).tolist() == [0, 1, 1]
    assert recall_at_1(queries, gallery, np.array([0, 0, 2])).tolist() == [1, 1, 1]
    assert chance_recall_at_1(np.array([0, 0, 2])).tolist() == [1 / 2, 1 / 2, 1 / 3]


def test_recall_of_a_dead_representation_is_chance() -> None:
    assets = np.array([0, 0, 1, 2])
    dead = np.zeros((4, 3))
    np.testing.assert_array_equal(recall_at_1(dead, dead, assets), chance_recall_at_1(assets))
