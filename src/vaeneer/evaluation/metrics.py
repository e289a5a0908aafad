"""ROC, AUC, EER, d', recall@k, R-precision, mAP; 95 % intervals by bootstrap over images.

Efron & Tibshirani 1993, ch. 13, for the intervals.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

Floats = NDArray[np.float64]
Ints = NDArray[np.intp]
Interval = tuple[float, float]
_BLOCK = 512  # queries compared with the whole gallery at once
_EXACT_DIGITS = 12  # equal vectors tie whatever the order of a product's sums
_DEPTHS = (1, 5, 10)
_CELLS_AT_ONCE = 4_000_000  # weights of pairs of images that are held at once


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
    """The ROC curve from (0, 0) to (1, 1), both (T,)."""

    false_positive_rate: Floats
    true_positive_rate: Floats

    def auc(self) -> float:
        """Area under the curve: P(same > different) + P(same = different) / 2."""
        from sklearn.metrics import auc

        return float(auc(self.false_positive_rate, self.true_positive_rate))

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


def roc(same: Floats, different: Floats, *, thinned: bool = False) -> Roc:
    """The ROC curve of scores, (S,) same and (D,) different; the higher, the more alike.

    thinned: without points on straight lines, for drawing.
    """
    from sklearn.metrics import roc_curve  # slow to import

    is_same = np.repeat([True, False], [same.size, different.size])
    scores = np.concatenate([same, different])
    return Roc(*roc_curve(is_same, scores, drop_intermediate=thinned)[:2])


def d_prime(same: Floats, different: Floats) -> float:
    """Difference of the means over the root of the mean variance (Green & Swets 1966).

    0 where the means are equal; infinite where they differ and neither side has any spread.
    """
    difference = float(same.mean() - different.mean())
    spread = math.sqrt((same.var() + different.var()) / 2)
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


@dataclass(frozen=True)
class Round:
    """Which of an image's crops ask, and which of every image's crops may answer."""

    queries: tuple[int, ...]
    gallery: tuple[int, ...]


@dataclass(frozen=True)
class Retrieval:
    """Figures of retrieval, one value of each image (the mean over its crops that ask) or each
    query, or a mean: arrays of one shape, all in [0, 1]."""

    recall_at_1: Floats
    """Whether the nearest crop is right."""
    recall_at_5: Floats
    """Whether a right crop is among the five nearest."""
    recall_at_10: Floats
    arr: Floats
    """R-precision: the share of right crops among the R nearest, where R are right."""
    map: Floats
    """Average precision: the mean over the right crops of the share of right ones up to there."""

    def stacked(self) -> Floats:
        """All figures, (5, ...) in the order of the fields."""
        return np.stack([getattr(self, field.name) for field in fields(self)])


FIGURES = tuple(field.name for field in fields(Retrieval))


def ranked(right: Floats, wrong: Floats) -> Retrieval:
    """The figures of queries from the scores of their right, (Q, R), and wrong answers, (Q, N).

    What does not take part has the score -inf (at least one right answer does, in each row).
    Equal scores count as if in random order for recall and R-precision (the expected value is
    given), and take one step together for the average precision, as in scikit-learn.
    """
    valid = right > -np.inf
    count = valid.sum(1)[:, None]
    wrong_above = np.stack([(wrong > s[:, None]).sum(1) for s in right.T], 1)  # (Q, R)
    wrong_equal = np.stack([(wrong == s[:, None]).sum(1) for s in right.T], 1)
    right_above = (right[:, None, :] > right[:, :, None]).sum(2)
    right_equal = (right[:, None, :] == right[:, :, None]).sum(2)
    above, equal = wrong_above + right_above, wrong_equal + right_equal
    steps = (right_above + right_equal) / (above + equal)
    within = np.clip((count - above) / equal, 0, 1)
    best = right.argmax(1)[:, None]
    above_best, equal_best, right_best = (
        np.take_along_axis(values, best, 1)[:, 0]
        for values in (wrong_above, wrong_equal, right_equal)
    )
    return Retrieval(
        recall_at_1=_found(above_best, equal_best, right_best, 1),
        recall_at_5=_found(above_best, equal_best, right_best, 5),
        recall_at_10=_found(above_best, equal_best, right_best, 10),
        arr=(within * valid).sum(1) / count[:, 0],
        map=(steps * valid).sum(1) / count[:, 0],
    )


def retrieve(
    unit: Floats, assets: Ints, rounds: Sequence[Round], groups: Ints | None = None
) -> Retrieval:
    """The figures of each image, (images,), means over the queries of all rounds.

    unit: (images, crops, D) unit vectors, or zeros. assets: (images,) numbers of assets.
    groups: (images,); where given, only images of the query's own group may answer.
    """
    parts = [_retrieve_round(unit, assets, round_, groups).stacked() for round_ in rounds]
    return Retrieval(*np.mean(parts, axis=0))


def random_baseline(assets: Ints, rounds: Sequence[Round], groups: Ints | None = None) -> Retrieval:
    """What `retrieve` gives on average for random vectors, (images,)."""
    parts = []
    for round_ in rounds:
        count = _right_answers(round_)
        size = gallery_sizes(assets, round_, groups)
        harmonic = np.array([np.sum(1 / np.arange(1, n + 1)) for n in size.astype(int)])
        rate = (count - 1) / np.maximum(size - 1, 1)
        nothing, all_equal = np.zeros(size.size), size - count
        right = np.full(size.size, count)
        recalls = [_found(nothing, all_equal, right, depth) for depth in _DEPTHS]
        parts.append([*recalls, count / size, (harmonic + rate * (size - harmonic)) / size])
    return Retrieval(*np.mean(parts, axis=0))


def gallery_sizes(assets: Ints, round_: Round, groups: Ints | None = None) -> Floats:
    """How many crops a query of each image is compared with, (images,)."""
    groups = np.zeros_like(assets) if groups is None else groups
    may = (groups[:, None] == groups) & (assets[:, None] != assets)
    sizes: Floats = may.sum(1) * float(len(round_.gallery)) + _right_answers(round_)
    return sizes


def _right_answers(round_: Round) -> int:
    return len(round_.gallery) - (round_.queries[0] in round_.gallery)


def _retrieve_round(unit: Floats, assets: Ints, round_: Round, groups: Ints | None) -> Retrieval:
    images, width = len(unit), len(round_.gallery)
    gallery = unit[:, round_.gallery].reshape(images * width, -1)
    queries = unit[:, round_.queries].reshape(images * len(round_.queries), -1)
    owner = np.repeat(np.arange(images), len(round_.queries))
    itself = np.tile(np.equal.outer(round_.queries, round_.gallery), (images, 1))  # (Q, width)
    rows = []
    for start in range(0, len(queries), _BLOCK):
        part = slice(start, start + _BLOCK)
        own = owner[part]
        cosines = np.round(queries[part] @ gallery.T, _EXACT_DIGITS)
        cosines = cosines.reshape(len(own), images, width)
        right = np.where(itself[part], -np.inf, cosines[np.arange(len(own)), own])
        apart = assets[own, None] == assets
        if groups is not None:
            apart = apart | (groups[own, None] != groups)
        cosines[apart] = -np.inf
        rows.append(ranked(right, cosines.reshape(len(own), -1)).stacked())
    figures = np.concatenate(rows, axis=1).reshape(len(FIGURES), images, -1)
    return Retrieval(*figures.mean(2))


def _found(above: Floats, equal: Floats, right: Floats, depth: int) -> Floats:
    """How likely one of `right` answers is among the first `depth`, (Q,).

    `above` wrong answers come first; then the right ones, in any order with `equal` wrong ones.
    """
    slots = depth - above
    missed = np.ones(np.shape(above))
    for place in range(depth):
        left = np.maximum(equal - place, 0)
        factor = left / np.maximum(left + right, 1)
        missed = np.where(place < slots, missed * factor, missed)
    return 1 - missed


@dataclass(frozen=True)
class SeparationIntervals:
    """95 % intervals of the figures of `Separation`; None where under two resamples had a value."""

    auc: Interval | None
    d_prime: Interval | None
    eer: Interval | None
    tpr_at_fpr_1e_2: Interval | None
    tpr_at_fpr_1e_3: Interval | None


def separation_intervals(
    pairs: ScoredPairs, *, images: int, resamples: int, seed: int
) -> SeparationIntervals:
    """95 % intervals of `separation`: `images` images drawn with replacement, `resamples` times.

    Where image i was drawn w_i times, its own pairs weigh w_i and those with image j w_i * w_j.
    Resamples without a pair of two images (possible where there are very few) are left out.
    """
    drawn = _Drawn(pairs, images)
    times = draw_counts(images, resamples, seed)
    together = max(1, _CELLS_AT_ONCE // max(drawn.cells, images))
    parts = [
        drawn.figures(times[start : start + together]) for start in range(0, resamples, together)
    ]
    found = {
        field.name: percentile_interval(
            np.concatenate([part[field.name] for part in parts]) if parts else []
        )
        for field in fields(Separation)
    }
    return SeparationIntervals(**found)


def mean_intervals(values: Floats, *, resamples: int, seed: int) -> list[Interval | None]:
    """95 % intervals of the means of values of each image, (figures, images)."""
    images = values.shape[1]
    means = values @ draw_counts(images, resamples, seed).T / images  # (figures, resamples)
    return [percentile_interval(row) for row in means]


def percentile_interval(values: Floats | Sequence[float]) -> Interval | None:
    """The 2.5 and 97.5 % points of the finite values; None where there are fewer than two."""
    finite = [float(value) for value in values if math.isfinite(value)]
    if len(finite) < 2:
        return None
    low, high = np.percentile(finite, [2.5, 97.5]).tolist()
    return low, high


def draw_counts(images: int, resamples: int, seed: int) -> Floats:
    """How often each image comes when as many are drawn with replacement: (resamples, images)."""
    random = np.random.default_rng(seed)
    times = np.empty((resamples, images))
    for row in times:
        row[:] = np.bincount(random.integers(0, images, images), minlength=images)
    return times


class _Drawn:
    """Pairs counted by image and by where they lie among the scores of the same pairs.

    The corners of the ROC curve are at the scores of same pairs alone. A different pair counts
    for the step (even number) between two of them, or for one that it equals (odd number); so
    that the curves of many resamples are one sparse product.
    """

    def __init__(self, pairs: ScoredPairs, images: int) -> None:
        scores = np.unique(pairs.same)
        steps = 2 * scores.size + 1
        step = np.searchsorted(scores, pairs.different, "left")
        step += np.searchsorted(scores, pairs.different, "right")
        ordered = np.sort(pairs.different_images, axis=1)
        keys, cell = np.unique(ordered[:, 0] * images + ordered[:, 1], return_inverse=True)
        self._first, self._second = keys // images, keys % images
        self.cells = int(keys.size)
        self._different = _counted(step, cell, (steps, self.cells))
        place = np.searchsorted(scores, pairs.same)
        self._same = _counted(place, pairs.same_images, (scores.size, images))
        self._same_moments = _moments_of(pairs.same, pairs.same_images, images)
        self._different_moments = _moments_of(pairs.different, cell, self.cells)
        self._origins = pairs.same[0], pairs.different[0]

    def figures(self, times: Floats) -> dict[str, Floats]:
        """The figures of `Separation` for each row of (resamples, images); NaN without pairs."""
        weights = (times[:, self._first] * times[:, self._second]).T  # (cells, resamples)
        different = _from_the_top(self._different @ weights)  # (steps, resamples)
        same = np.repeat(_from_the_top(self._same @ times.T), 2, axis=0)
        nothing = np.zeros((1, len(times)))
        with np.errstate(invalid="ignore", divide="ignore"):  # no pairs at all: NaN
            x = np.concatenate([nothing, different]) / different[-1]
            y = np.concatenate([nothing, nothing, same]) / same[-1]
            found = {"auc": ((x[1:] - x[:-1]) * (y[1:] + y[:-1])).sum(0) / 2}
            found["d_prime"] = self._d_prime(times, weights)
        found["eer"] = _crossing(x, 1 - y)
        for name, rate in (("tpr_at_fpr_1e_2", 1e-2), ("tpr_at_fpr_1e_3", 1e-3)):
            last = (x <= rate).sum(0) - 1
            found[name] = y[last, np.arange(len(times))]
        without = np.isnan(x[-1]) | np.isnan(y[-1])
        return {name: np.where(without, np.nan, values) for name, values in found.items()}

    def _d_prime(self, times: Floats, weights: Floats) -> Floats:
        same, same_variance = _weighted(self._same_moments @ times.T)
        different, different_variance = _weighted(self._different_moments @ weights)
        difference = (same + self._origins[0]) - (different + self._origins[1])
        spread = np.sqrt((same_variance + different_variance) / 2)
        far: Floats = np.where((difference == 0) & (spread == 0), 0.0, difference / spread)
        return far


def _counted(rows: Ints, columns: Ints, shape: tuple[int, int]) -> csr_array:
    return csr_array((np.ones(rows.size), (rows, columns)), shape=shape)


def _moments_of(values: Floats, group: Ints, groups: int) -> Floats:
    """Of each group: count, sum and sum of squares of the values less the first, (3, groups)."""
    less = values - values[0]  # exactly 0 where all are equal
    return np.stack(
        [np.bincount(group, part, groups) for part in (np.ones(less.size), less, less * less)]
    )


def _weighted(sums: Floats) -> tuple[Floats, Floats]:
    """Mean and variance from count, sum and sum of squares, (3, resamples)."""
    mean, square = sums[1] / sums[0], sums[2] / sums[0]
    variance = square - mean * mean
    return mean, np.where(variance <= 1e-12 * square, 0.0, variance)


def _from_the_top(counts: NDArray[np.float64]) -> Floats:
    """Sums from the highest score down, highest first."""
    sums: Floats = np.cumsum(counts[::-1], axis=0)
    return sums


def _crossing(passing: Floats, failing: Floats) -> Floats:
    """Where two curves, (points, resamples), meet; interpolated linearly between points."""
    gap = passing - failing  # rises from -1 to 1
    after = np.maximum((gap >= 0).argmax(0), 1)
    columns = np.arange(gap.shape[1])
    low, high = gap[after - 1, columns], gap[after, columns]
    with np.errstate(invalid="ignore", divide="ignore"):
        share = -low / (high - low)
    before = passing[after - 1, columns]
    met: Floats = before + share * (passing[after, columns] - before)
    return met
