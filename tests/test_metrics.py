"""AUC, d', EER, rates at few errors and their intervals, against scikit-learn and brute force."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import fields

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score, roc_curve

from vaeneer.evaluation import metrics
from vaeneer.evaluation.metrics import (
    Floats,
    ScoredPairs,
    Separation,
    d_prime,
    draw_counts,
    mean_intervals,
    percentile_interval,
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


@settings(deadline=None)
@given(few_scores, few_scores)
def test_auc_is_scikit_learns_ties_included(same: Floats, different: Floats) -> None:
    labels = np.repeat([1, 0], [same.size, different.size])
    expected = roc_auc_score(labels, np.concatenate([same, different]))
    assert roc(same, different).auc() == pytest.approx(expected, abs=1e-12)


@settings(deadline=None)
@given(few_scores, few_scores, st.sampled_from([1e-3, 1e-2, 0.1, 0.5]))
def test_the_rate_at_few_errors_is_read_off_scikit_learns_curve(
    same: Floats, different: Floats, rate: float
) -> None:
    labels = np.repeat([1, 0], [same.size, different.size])
    scores = np.concatenate([same, different])
    passing, found, _ = roc_curve(labels, scores, drop_intermediate=False)
    expected = found[passing <= rate].max()
    assert roc(same, different).true_positive_rate_at(rate) == pytest.approx(expected, abs=1e-12)


@settings(deadline=None)
@given(few_scores, few_scores)
def test_only_the_order_of_scores_counts(same: Floats, different: Floats) -> None:
    plain, bent = roc(same, different), roc(np.exp(same) - 7, np.exp(different) - 7)
    assert plain.auc() == bent.auc()
    assert plain.equal_error_rate() == bent.equal_error_rate()


@settings(deadline=None)
@given(few_scores, few_scores)
def test_exchanged_sides_mirror_every_figure(same: Floats, different: Floats) -> None:
    there, back = roc(same, different), roc(different, same)
    assert there.auc() + back.auc() == pytest.approx(1)
    assert there.equal_error_rate() + back.equal_error_rate() == pytest.approx(1)
    assert d_prime(same, different) == pytest.approx(-d_prime(different, same))


@settings(deadline=None)
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


@settings(deadline=None)
@given(st.integers(3, 9), st.integers(0, 99), st.booleans())
def test_intervals_weigh_pairs_by_how_often_their_images_were_drawn(
    images: int, seed: int, ties: bool
) -> None:
    pairs = normal_pairs(images)
    if ties:
        pairs = dataclasses.replace(
            pairs, same=pairs.same.round(), different=pairs.different.round()
        )
    first, second = pairs.different_images.T
    expected: dict[str, list[float]] = {field.name: [] for field in fields(Separation)}
    for times in draw_counts(images, 12, seed):
        weights = times[pairs.same_images], times[first] * times[second]
        if not weights[0].any() or not weights[1].any():
            continue
        same, different = (  # a pair of weight w is w pairs
            np.repeat(scores, weight.astype(int))
            for scores, weight in zip((pairs.same, pairs.different), weights, strict=True)
        )
        curve = roc(same, different)
        expected["auc"].append(curve.auc())
        expected["eer"].append(curve.equal_error_rate())
        expected["d_prime"].append(d_prime(same, different))
        expected["tpr_at_fpr_1e_2"].append(curve.true_positive_rate_at(1e-2))
        expected["tpr_at_fpr_1e_3"].append(curve.true_positive_rate_at(1e-3))
    found = separation_intervals(pairs, images=images, resamples=12, seed=seed)
    for name, values in expected.items():
        assert getattr(found, name) == pytest.approx(percentile_interval(values)), name


def test_blocks_of_resamples_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    once = separation_intervals(normal_pairs(), images=60, resamples=20, seed=0)
    monkeypatch.setattr(metrics, "_CELLS_AT_ONCE", 5000)
    again = separation_intervals(normal_pairs(), images=60, resamples=20, seed=0)
    for field in fields(Separation):
        assert getattr(again, field.name) == pytest.approx(getattr(once, field.name))


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


def test_intervals_of_means() -> None:
    values = np.random.default_rng(0).normal(3, 1, (2, 400))
    values[1] = 1
    spread, constant = mean_intervals(values, resamples=500, seed=0)
    low, high = spread or (0, 0)
    assert low < values[0].mean() < high
    assert high - low == pytest.approx(2 * 1.96 / 20, rel=0.15)  # of the normal distribution
    assert constant == (1.0, 1.0)


def test_percentile_interval_leaves_out_what_is_not_finite() -> None:
    assert percentile_interval([math.inf, 1.0, math.nan, 1.0]) == (1.0, 1.0)
    assert percentile_interval([math.inf, 1.0]) is None
