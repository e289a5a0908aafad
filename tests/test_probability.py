"""P(same surface) from a cosine: against scikit-learn, both classes alike, finite everywhere."""

from __future__ import annotations

from dataclasses import asdict

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from vaeneer.errors import DataError
from vaeneer.model.projection import calibration_of, fit_calibration


def drawn(count: int, many: int) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(7)
    same = np.clip(random.normal(0.7, 0.2, count), -1, 1)
    return same, np.clip(random.normal(0.1, 0.25, many), -1, 1)


def test_the_curve_is_that_of_scikit_learn() -> None:
    same, different = drawn(300, 5000)
    found = fit_calibration(same, different)
    high, low = 301 / 302, 1 / 5002
    cosines = np.concatenate([same, different])
    sure = np.repeat([high, low], [300, 5000])
    each = np.repeat([0.5 / 300, 0.5 / 5000], [300, 5000]) * 1e4
    reference = LogisticRegression(C=np.inf, tol=1e-10, max_iter=1000).fit(
        np.tile(cosines, 2)[:, None],
        np.repeat([1, 0], 5300),
        np.concatenate([each * sure, each * (1 - sure)]),
    )
    assert found.slope == pytest.approx(reference.coef_[0, 0], rel=1e-4)
    assert found.intercept == pytest.approx(reference.intercept_[0], rel=1e-4)


def test_how_many_pairs_there_are_of_each_kind_does_not_matter() -> None:
    same, different = drawn(2000, 2000)
    few, many = fit_calibration(same, different), fit_calibration(same, np.tile(different, 20))
    assert many.slope == pytest.approx(few.slope, rel=0.02)
    assert many.probability(0.4) == pytest.approx(few.probability(0.4), abs=0.01)


def test_probabilities_rise_with_the_cosine_and_mean_what_they_say() -> None:
    random = np.random.default_rng(3)
    cosines = random.uniform(-1, 1, 40_000)
    is_same = random.random(40_000) < 1 / (1 + np.exp(-(6 * cosines - 1)))
    found = fit_calibration(cosines[is_same], cosines[~is_same])
    assert found.slope == pytest.approx(6, rel=0.05)
    assert found.error < 0.01
    assert sum(part.weight for part in found.reliability) == pytest.approx(1)
    assert all(abs(part.predicted - part.observed) < 0.05 for part in found.reliability)
    answers = found.probability(np.linspace(-1, 1, 21).reshape(3, 7))
    assert answers.shape == (3, 7)
    assert (np.diff(answers.ravel()) > 0).all()


def test_pairs_without_a_doubt_give_a_finite_curve() -> None:
    found = fit_calibration(np.full(50, 0.9), np.full(80, 0.1))
    assert np.isfinite([found.slope, found.intercept]).all()
    assert found.probability(0.9) > 0.97
    assert found.probability(0.1) < 0.03
    constant = fit_calibration(np.zeros(5), np.zeros(9))
    assert constant.probability(0.0) == pytest.approx(0.5, abs=0.1)


def test_it_is_the_same_after_json() -> None:
    found = fit_calibration(*drawn(50, 60), images=12)
    assert calibration_of(asdict(found)) == found


@pytest.mark.parametrize(("same", "different"), [([], [0.1]), ([0.2], []), ([np.nan], [0.1])])
def test_what_cannot_be_fitted_is_said(same: list[float], different: list[float]) -> None:
    with pytest.raises(DataError, match=r"both kinds|not finite"):
        fit_calibration(np.array(same), np.array(different))
