"""How well scores tell same from different: ROC AUC, d', equal error rate, rates at few errors."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.intp]
Interval = tuple[float, float]


@dataclass(frozen=True)
class ScoredPairs:
    """The scores of pairs of crops, and the places (0, 1, ...) of the images that they show."""

    same: Floats
    """(S,) scores of two crops of one image."""
    same_images: Ints
    """(S,) which image."""
    different: Floats
    """(D,) scores of crops of two images."""
    different_images: Ints
    """(D, 2) which two."""


@dataclass(frozen=True)
class Roc:
    """The ROC curve from (0, 0) to (1, 1), its corners alone, both (T,)."""

    false_positive_rate: Floats
    true_positive_rate: Floats

    def auc(self) -> float:
        """Area under the curve: P(same > different) + P(same = different) / 2."""
        steps, heights = np.diff(self.false_positive_rate), self.true_positive_rate
        return float(steps @ (heights[1:] + heights[:-1]) / 2)

    def equal_error_rate(self) -> float:
        """The rate at which as many different pairs pass as same pairs fail, in [0, 1].

        Between two corners of the curve, where the rates cross, it is interpolated linearly.
        """
        passing, failing = self.false_positive_rate, 1 - self.true_positive_rate
        gap = passing - failing  # rises from -1 to 1
        after = int(np.searchsorted(gap, 0.0))
        before = after - 1
        share = -gap[before] / (gap[after] - gap[before])
        return float(passing[before] + share * (passing[after] - passing[before]))

    def true_positive_rate_at(self, false_positive_rate: float) -> float:
        """The largest share of same pairs that pass while no larger share of different ones does.

        Nothing is interpolated: with under 1000 different pairs, at 1e-3 none of them may pass.
        """
        allowed = self.false_positive_rate <= false_positive_rate
        return float(self.true_positive_rate[allowed].max())


@dataclass(frozen=True)
class Separation:
    """How far same pairs lie above different ones; no separation is AUC 0.5, d' 0 and EER 0.5."""

    auc: float
    d_prime: float
    eer: float
    tpr_at_fpr_1e_2: float
    """Share of same pairs that pass where one different pair in a hundred does."""
    tpr_at_fpr_1e_3: float


def roc(
    same: Floats,
    different: Floats,
    same_weights: Floats | None = None,
    different_weights: Floats | None = None,
) -> Roc:
    """The ROC curve of scores, (S,) same and (D,) different; the higher, the more alike.

    Weights, (S,) and (D,), are >= 0 with a positive sum; left out, each pair weighs 1.
    """
    same_order, different_order = np.argsort(-same), np.argsort(-different)
    thresholds = np.unique(np.concatenate([same, different]))[::-1]
    same_passing = _at_or_above(same[same_order], thresholds)
    different_passing = _at_or_above(different[different_order], thresholds)
    corners = _corners(same_passing, different_passing)
    same_weights = np.ones(same.size) if same_weights is None else same_weights
    different_weights = np.ones(different.size) if different_weights is None else different_weights
    return Roc(
        _rates(different_weights[different_order], different_passing[corners]),
        _rates(same_weights[same_order], same_passing[corners]),
    )


def d_prime(
    same: Floats,
    different: Floats,
    same_weights: Floats | None = None,
    different_weights: Floats | None = None,
) -> float:
    """Difference of the means over the root of the mean variance (Green & Swets 1966).

    0 where the means are equal; infinite where they differ and neither side has any spread.
    Arguments as for `roc`.
    """
    same_mean, same_variance = _moments(same, same_weights)
    different_mean, different_variance = _moments(different, different_weights)
    difference = same_mean - different_mean
    spread = math.sqrt((same_variance + different_variance) / 2)
    if spread == 0:
        return math.copysign(math.inf, difference) if difference else 0.0
    return difference / spread


def separation(pairs: ScoredPairs) -> Separation:
    """AUC, d', EER and the rates at few errors of all pairs, each weighing the same."""
    curve = roc(pairs.same, pairs.different)
    return Separation(
        auc=curve.auc(),
        d_prime=d_prime(pairs.same, pairs.different),
        eer=curve.equal_error_rate(),
        tpr_at_fpr_1e_2=curve.true_positive_rate_at(1e-2),
        tpr_at_fpr_1e_3=curve.true_positive_rate_at(1e-3),
    )


def _at_or_above(falling: Floats, thresholds: Floats) -> Ints:
    """How many of the scores pass an infinite threshold (none), then each of `thresholds`."""
    passing = falling.size - np.searchsorted(falling[::-1], thresholds, side="left")
    return np.concatenate([[0], passing]).astype(np.intp)


def _corners(same_passing: Ints, different_passing: Ints) -> NDArray[np.bool_]:
    """Which points a ROC curve needs: not those amid a straight run up or to the right."""
    flat, steep = np.diff(same_passing) == 0, np.diff(different_passing) == 0
    needed = np.ones(same_passing.size, np.bool_)
    needed[1:-1] = ~((flat[:-1] & flat[1:]) | (steep[:-1] & steep[1:]))
    return needed


def _rates(weights: Floats, passing: Ints) -> Floats:
    upto = np.concatenate([[0.0], np.cumsum(weights)])
    rates: Floats = upto[passing] / upto[-1]
    return rates


def _moments(values: Floats, weights: Floats | None) -> tuple[float, float]:
    weights = np.ones(values.size) if weights is None else weights
    total = weights.sum()
    mean = float(weights @ values / total)
    return mean, float(weights @ np.square(values - mean) / total)
