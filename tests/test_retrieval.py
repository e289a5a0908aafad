"""Recall@k, R-precision and mean average precision, against scikit-learn and lots drawn."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score

from vaeneer.evaluation.metrics import (
    Floats,
    Retrieval,
    Round,
    gallery_sizes,
    random_baseline,
    ranked,
    retrieve,
)

ALL = Round((0, 1, 2, 3), (0, 1, 2, 3))
ONE = Round((0,), (1,))
scores = st.lists(st.integers(-3, 3), min_size=1, max_size=12).map(
    lambda values: np.array(values, np.float64)
)  # many ties


def random_units(images: int, crops: int, seed: int = 0) -> Floats:
    vectors = np.random.default_rng(seed).normal(size=(images, crops, 6))
    unit: Floats = vectors / np.linalg.norm(vectors, axis=2, keepdims=True)
    return unit


def by_lot(right: Floats, wrong: Floats, lots: int = 400) -> dict[str, float]:
    """Mean figures where ties are broken by drawing lots."""
    random = np.random.default_rng(0)
    labels = np.repeat([True, False], [right.size, wrong.size])
    values = np.concatenate([right, wrong])
    orders = [np.lexsort((random.random(values.size), -values)) for _ in range(lots)]
    hits = labels[np.array(orders)]  # (lots, answers)
    found = {f"recall_at_{k}": float(hits[:, :k].any(1).mean()) for k in (1, 5, 10)}
    return found | {"arr": float(hits[:, : right.size].mean())}


@settings(deadline=None)
@given(scores, scores)
def test_average_precision_is_scikit_learns(right: Floats, wrong: Floats) -> None:
    labels = np.repeat([1, 0], [right.size, wrong.size])
    expected = average_precision_score(labels, np.concatenate([right, wrong]))
    assert ranked(right[None], wrong[None]).map == pytest.approx([expected])


@settings(deadline=None)
@given(scores, scores)
def test_ties_are_broken_as_if_by_lot(right: Floats, wrong: Floats) -> None:
    found = ranked(right[None], wrong[None])
    for name, value in by_lot(right, wrong).items():
        assert getattr(found, name)[0] == pytest.approx(value, abs=0.13), name


@settings(deadline=None)
@given(st.permutations(range(14)))
def test_without_ties_the_figures_are_counts(order: list[int]) -> None:
    values = np.array(order, np.float64)
    right, wrong = values[:3], values[3:]
    found, expected = ranked(right[None], wrong[None]), by_lot(right, wrong, lots=1)
    assert {name: pytest.approx(getattr(found, name)[0]) for name in expected} == expected


def test_answers_that_take_no_part_change_nothing() -> None:
    right, wrong = np.array([[0.9, 0.4]]), np.array([[0.5, 0.3, 0.2]])
    out = np.full((1, 1), -np.inf)
    found = ranked(np.hstack([out, right]), np.hstack([wrong, out, out]))
    np.testing.assert_array_equal(found.stacked(), ranked(right, wrong).stacked())


def brute(unit: Floats, assets: list[int], round_: Round, groups: list[int]) -> Floats:
    """The figures of each image by lists, queries one by one."""
    rows = []
    for image in range(len(unit)):
        of_image = []
        for crop in round_.queries:
            right, wrong = [], []
            for other in range(len(unit)):
                for answer in round_.gallery:
                    cosine = float(unit[image, crop] @ unit[other, answer])
                    if other == image and answer != crop:
                        right.append(cosine)
                    elif assets[other] != assets[image] and groups[other] == groups[image]:
                        wrong.append(cosine)
            of_image.append(ranked(np.array([right]), np.array([wrong])).stacked()[:, 0])
        rows.append(np.mean(of_image, axis=0))
    return np.array(rows).T


@pytest.mark.parametrize("round_", [ALL, ONE, Round((0, 2), (1, 3))])
@pytest.mark.parametrize("groups", [None, [0, 1, 0, 1, 1, 0]])
def test_who_may_answer_whom(round_: Round, groups: list[int] | None) -> None:
    unit, assets = random_units(6, 4), [0, 1, 2, 2, 3, 0]
    grouping = None if groups is None else np.array(groups)
    found = retrieve(unit, np.array(assets), [round_], grouping).stacked()
    expected = brute(unit, assets, round_, groups or [0] * 6)
    np.testing.assert_allclose(found, expected, atol=1e-12)


def test_rounds_are_averaged() -> None:
    unit, assets = random_units(9, 4), np.arange(9)
    rounds = [Round((0,), (1,)), Round((2,), (3,))]
    single = [retrieve(unit, assets, [round_]).stacked() for round_ in rounds]
    np.testing.assert_allclose(retrieve(unit, assets, rounds).stacked(), np.mean(single, axis=0))


def test_each_crop_finds_its_own_in_a_large_gallery() -> None:
    unit = np.repeat(np.eye(200)[:, None], 4, axis=1)  # more than one block
    assert retrieve(unit, np.arange(200), [ALL]).stacked().all()
    turned = unit.copy()
    turned[:, 1] = np.roll(unit[:, 1], 1, axis=0)
    assert not retrieve(turned, np.arange(200), [ONE]).recall_at_1.any()


def test_the_gallery_leaves_out_the_query_and_its_twins() -> None:
    assets = np.array([0, 0, 2])
    np.testing.assert_array_equal(gallery_sizes(assets, ALL), [7, 7, 11])
    np.testing.assert_array_equal(gallery_sizes(assets, ONE), [2, 2, 3])
    np.testing.assert_array_equal(gallery_sizes(assets, ONE, np.array([0, 1, 0])), [2, 1, 2])


def test_one_right_answer_has_the_chance_of_a_lot() -> None:
    found = random_baseline(np.array([0, 0, 2]), [ONE])
    np.testing.assert_allclose(found.recall_at_1, [1 / 2, 1 / 2, 1 / 3])
    np.testing.assert_allclose(found.arr, found.recall_at_1)
    np.testing.assert_allclose(found.recall_at_5, 1)
    np.testing.assert_allclose(found.map, [3 / 4, 3 / 4, 11 / 18])


def test_chance_is_what_random_vectors_reach() -> None:
    assets = np.arange(12)
    tries = [retrieve(random_units(12, 4, seed), assets, [ALL]).stacked() for seed in range(60)]
    expected = random_baseline(assets, [ALL]).stacked().mean(1)
    np.testing.assert_allclose(np.mean(tries, axis=(0, 2)), expected, atol=0.02)


def test_a_dead_representation_is_at_chance() -> None:
    assets = np.array([0, 0, 1, 2])
    found, expected = retrieve(np.zeros((4, 4, 3)), assets, [ALL]), random_baseline(assets, [ALL])
    for name in ("recall_at_1", "recall_at_5", "recall_at_10", "arr"):
        np.testing.assert_allclose(getattr(found, name), getattr(expected, name))
    assert (found.map < expected.map).all()  # all answers in one step: the share of right ones


def test_figures_have_the_order_of_the_fields() -> None:
    values = np.arange(5.0)[:, None]
    np.testing.assert_array_equal(Retrieval(*values).stacked(), values)
