"""How well scores tell same from different: ROC AUC, d', equal error rate, recall@1, intervals.

The intervals are percentile bootstraps (Efron & Tibshirani 1993, ch. 13) over images, not over
pairs: pairs that share an image are not independent, and resampling them would claim too much.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.intp]
Interval = tuple[float, float]

_BLOCK = 512  # queries compared with the whole gallery at once


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


@dataclass(frozen=True)
class Separation:
    """How far same pairs lie above different ones; no separation is AUC 0.5, d' 0 and EER 0.5."""

    auc: float
    d_prime: float
    eer: float


@dataclass(frozen=True)
class SeparationIntervals:
    """95 % intervals of the three figures; None where fewer than two resamples had a value."""

    auc: Interval | None
    d_prime: Interval | None
    eer: Interval | None


class _Ranking:
    """Scores sorted once, so that the ROC curve under other weights costs no sorting."""

    def __init__(self, same: Floats, different: Floats) -> None:
        self.same_order, self.different_order = np.argsort(-same), np.argsort(-different)
        thresholds = np.unique(np.concatenate([same, different]))[::-1]
        same_passing = _at_or_above(same[self.same_order], thresholds)
        different_passing = _at_or_above(different[self.different_order], thresholds)
        corners = _corners(same_passing, different_passing)
        self._same_passing = same_passing[corners]
        self._different_passing = different_passing[corners]

    def roc(self, same_weights: Floats, different_weights: Floats) -> Roc:
        """The curve when the pairs, in the order of this ranking, have these weights."""
        return Roc(
            _rates(different_weights, self._different_passing),
            _rates(same_weights, self._same_passing),
        )


def roc(
    same: Floats,
    different: Floats,
    same_weights: Floats | None = None,
    different_weights: Floats | None = None,
) -> Roc:
    """The ROC curve of scores, (S,) same and (D,) different; the higher, the more alike.

    Weights, (S,) and (D,), are >= 0 with a positive sum; left out, each pair weighs 1.
    """
    ranking = _Ranking(same, different)
    same_weights = np.ones(same.size) if same_weights is None else same_weights
    different_weights = np.ones(different.size) if different_weights is None else different_weights
    return ranking.roc(same_weights[ranking.same_order], different_weights[ranking.different_order])


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
    """AUC, d' and EER of all pairs, each weighing the same."""
    curve = roc(pairs.same, pairs.different)
    return Separation(curve.auc(), d_prime(pairs.same, pairs.different), curve.equal_error_rate())


def separation_intervals(
    pairs: ScoredPairs, *, images: int, resamples: int, seed: int
) -> SeparationIntervals:
    """95 % intervals of `separation`: `images` images drawn with replacement, `resamples` times.

    Where image i was drawn w_i times, its own pairs weigh w_i and those with image j w_i * w_j.
    Resamples without a pair of two images (possible where there are very few) are left out.
    """
    random = np.random.default_rng(seed)
    ranking = _Ranking(pairs.same, pairs.different)
    ranked = ScoredPairs(
        pairs.same[ranking.same_order],
        pairs.same_images[ranking.same_order],
        pairs.different[ranking.different_order],
        pairs.different_images[ranking.different_order],
    )
    drawn = [_resampled(ranked, ranking, _draw(images, random)) for _ in range(resamples)]
    known = [figures for figures in drawn if figures]
    return SeparationIntervals(
        percentile_interval([figures.auc for figures in known]),
        percentile_interval([figures.d_prime for figures in known]),
        percentile_interval([figures.eer for figures in known]),
    )


def _resampled(ranked: ScoredPairs, ranking: _Ranking, drawn: Floats) -> Separation | None:
    same = drawn[ranked.same_images]
    different = drawn[ranked.different_images[:, 0]] * drawn[ranked.different_images[:, 1]]
    if not same.any() or not different.any():
        return None
    curve = ranking.roc(same, different)
    far = d_prime(ranked.same, ranked.different, same, different)
    return Separation(curve.auc(), far, curve.equal_error_rate())


def mean_interval(values: Floats, *, resamples: int, seed: int) -> Interval | None:
    """95 % interval of the mean of one value per image, (images,), by bootstrap over images."""
    random = np.random.default_rng(seed)
    count = values.size
    return percentile_interval(
        [float(_draw(count, random) @ values / count) for _ in range(resamples)]
    )


def percentile_interval(values: list[float]) -> Interval | None:
    """The 2.5 and 97.5 % points of the finite values; None where there are fewer than two."""
    finite = [value for value in values if math.isfinite(value)]
    if len(finite) < 2:
        return None
    low, high = np.percentile(finite, [2.5, 97.5]).tolist()
    return low, high


def recall_at_1(queries: Floats, gallery: Floats, assets: Ints) -> Floats:
    """Whether the gallery entry nearest to query i is entry i: (N,) in [0, 1].

    queries, gallery: (N, D) unit vectors (or zeros). assets: (N,); an entry of the same asset as
    the query but of another image is ignored. An entry that shares the first place with k - 1
    others counts 1 / k, as if the tie were broken by lot.
    """
    found = np.empty(len(queries))
    for start in range(0, len(queries), _BLOCK):
        rows = np.arange(start, min(start + _BLOCK, len(queries)))
        cosines = queries[rows] @ gallery.T
        own = cosines[rows - start, rows]
        cosines[assets[rows, None] == assets[None, :]] = -np.inf
        cosines[rows - start, rows] = own
        best = cosines.max(axis=1)
        found[rows] = (own == best) / (cosines == best[:, None]).sum(axis=1)
    return found


def chance_recall_at_1(assets: Ints) -> Floats:
    """What `recall_at_1` gives on average for random vectors: 1 / (size of its gallery), (N,)."""
    _, which, sizes = np.unique(assets, return_inverse=True, return_counts=True)
    chance: Floats = 1 / (assets.size - sizes[which] + 1)
    return chance


def _draw(images: int, random: np.random.Generator) -> Floats:
    """How often each image comes when as many are drawn with replacement, (images,)."""
    return np.bincount(random.integers(0, images, images), minlength=images).astype(np.float64)


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
