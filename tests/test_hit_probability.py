"""Probabilities of hits: fewer of many strangers are the surface asked for."""

from __future__ import annotations

import pytest

from vaeneer.library.search.search import chance
from vaeneer.model.projection import Calibration

CALIBRATION = Calibration(10.0, -5.0, 0.01, 100, 1000, 1000, ())


def test_two_items_leave_the_models_word() -> None:
    assert chance(CALIBRATION, 0.7, 2) == pytest.approx(CALIBRATION.probability(0.7))
    assert chance(CALIBRATION, 0.7, 1) == pytest.approx(CALIBRATION.probability(0.7))


def test_odds_are_divided_by_the_number_of_strangers() -> None:
    for items in (11, 1001):
        odds = [p / (1 - p) for p in (chance(CALIBRATION, 0.8, n) for n in (2, items))]
        assert odds[0] / odds[1] == pytest.approx(items - 1)


def test_the_more_alike_the_likelier() -> None:
    found = [chance(CALIBRATION, cosine / 10, 50) for cosine in range(-10, 11)]
    assert found == sorted(found)
    assert 0 <= found[0] < found[-1] <= 1
