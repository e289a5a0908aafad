"""How likely two crops show one surface, from the cosine of their vectors: a logistic curve.

Platt (1999), with his smoothed targets, which keep the slope finite where no pair is in doubt.
Both classes weigh the same: 0.5 means "as likely as not, had you met as many same as different
pairs". In a large library, where nearly all pairs differ, fewer of them are the same.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from vaeneer.errors import DataError

Floats = NDArray[np.float64]
Cosines = TypeVar("Cosines", float, NDArray[np.float64], NDArray[np.float32])
BINS = 10
_STEPS = 100
_CLOSE = 1e-9


@dataclass(frozen=True)
class Reliability:
    """One bin of probabilities: what was said and what was so."""

    said: float
    """Mean probability of the pairs in the bin."""
    found: float
    """Share of them that show one surface, both classes weighing the same."""
    weight: float
    """Share of all pairs in the bin, both classes weighing the same; all bins sum to 1."""


@dataclass(frozen=True)
class Calibration:
    """P(same surface) = 1 / (1 + exp(-(slope * cosine + intercept)))."""

    slope: float
    intercept: float
    error: float
    """Expected calibration error: the mean distance of `said` and `found`, by weight."""
    images: int
    """Images behind the pairs; none of them behind the read-out."""
    same_pairs: int
    different_pairs: int
    reliability: tuple[Reliability, ...]
    """The bins that hold a pair, of ten between 0 and 1."""

    def probability(self, cosine: Cosines) -> Cosines:
        """The probability in [0, 1] of each cosine, in the same shape."""
        return logistic(self.slope * cosine + self.intercept)


def logistic(log_odds: Cosines) -> Cosines:
    """The probability of log-odds, in any shape, exact in both tails.

    As scipy.special.expit, whose import would take a tenth of a search from the command line.
    """
    likely: Cosines = np.exp(-np.logaddexp(0.0, -log_odds))
    return likely


def fit_calibration(same: Floats, different: Floats, *, images: int = 0) -> Calibration:
    """Fit the curve to cosines of pairs, (S,) of one surface and (D,) of two, by Newton's method.

    Raises DataError where either is empty or a cosine is not finite.
    """
    if not same.size or not different.size:
        raise DataError(
            f"A probability needs pairs of both kinds, and there are {same.size} of one surface"
            f" and {different.size} of two; give images of two surfaces or more."
        )
    cosines = np.concatenate([same, different]).astype(np.float64)
    if not np.isfinite(cosines).all():
        raise DataError("Some cosines are not finite; the model's weights are broken.")
    high, low = (same.size + 1) / (same.size + 2), 1 / (different.size + 2)
    targets = np.repeat([high, low], [same.size, different.size])
    weights = np.repeat([0.5 / same.size, 0.5 / different.size], [same.size, different.size])
    slope, intercept = _newton(cosines, targets, weights)
    said = logistic(slope * cosines + intercept)
    bins = _reliability(said, np.arange(cosines.size) < same.size, weights)
    error = sum(part.weight * abs(part.said - part.found) for part in bins)
    return Calibration(slope, intercept, error, images, same.size, different.size, bins)


def calibration_of(values: dict[str, Any]) -> Calibration:
    """The calibration that readout.json holds; raises TypeError or ValueError for anything else."""
    bins = tuple(Reliability(**part) for part in values["reliability"])
    found = Calibration(**{**values, "reliability": bins})
    if not (math.isfinite(found.slope) and math.isfinite(found.intercept)):
        raise ValueError("a slope that is not finite")
    return found


def _newton(cosines: Floats, targets: Floats, weights: Floats) -> tuple[float, float]:
    """Slope and intercept of least weighted cross entropy; each step is halved until it helps."""
    design = np.stack([cosines, np.ones_like(cosines)], axis=1)

    def loss(curve: Floats) -> float:
        odds = design @ curve
        return float(weights @ (np.logaddexp(0, odds) - targets * odds))

    curve = np.zeros(2)
    here = loss(curve)
    for _ in range(_STEPS):
        likely = logistic(design @ curve)
        gradient = design.T @ (weights * (likely - targets))
        bend = (weights * likely * (1 - likely))[:, None] * design
        step = np.linalg.solve(design.T @ bend + 1e-12 * np.eye(2), gradient)
        share = 1.0
        while (there := loss(curve - share * step)) > here and share > _CLOSE:
            share /= 2
        if here - there <= _CLOSE * 1e-3:
            break
        curve, here = curve - share * step, there
    return float(curve[0]), float(curve[1])


def _reliability(
    said: Floats, is_same: NDArray[np.bool_], weights: Floats
) -> tuple[Reliability, ...]:
    places = np.minimum((said * BINS).astype(int), BINS - 1)
    parts = []
    for place in np.unique(places):
        held = places == place
        weight = float(weights[held].sum())
        mean = float(weights[held] @ said[held]) / weight
        found = float(weights[held & is_same].sum()) / weight
        parts.append(Reliability(mean, found, weight))
    return tuple(parts)
