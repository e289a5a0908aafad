"""95 % intervals by percentile bootstrap over images (Efron & Tibshirani 1993, ch. 13).

Images are drawn and not pairs: pairs that share an image are not independent, and resampling them
would claim too much. All resamples are computed at once, as products of counts and weights.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from vaeneer.measuring.statistics import Floats, Interval, Ints, ScoredPairs, Separation

_CELLS_AT_ONCE = 4_000_000  # weights of pairs of images that are held at once


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
