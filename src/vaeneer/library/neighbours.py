"""The neighbour graph of a library: of each whole image, the others nearest to it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vaeneer.library.catalog import Floats, Ids, Vectors
from vaeneer.library.vector_index import VectorIndex
from vaeneer.progress import Progress, Silent

_AT_ONCE = 1024


@dataclass(frozen=True)
class Neighbours:
    """The k nearest of each row, the best first, never itself."""

    places: NDArray[np.int64]
    """(n, k) rows of the vectors that were compared."""
    cosines: Floats
    """(n, k)."""

    @property
    def distances(self) -> Floats:
        """(n, k): between the ends of two unit vectors, 0 to 2."""
        answer: Floats = np.sqrt(np.maximum(0, 2 - 2 * self.cosines)).astype(np.float32)
        return answer

    def first(self, k: int) -> Neighbours:
        """Only the k nearest."""
        return Neighbours(self.places[:, :k], self.cosines[:, :k])


def nearest_others(
    index: VectorIndex, wholes: Vectors, k: int, *, progress: Progress | None = None
) -> Neighbours:
    """The k nearest others (at most n - 1) of each of `wholes`, which are ordered by crop.

    The index may hold other vectors too, or lack some: those rows are compared with all.
    """
    count = len(wholes.crops)
    k = max(0, min(k, count - 1))
    places, cosines = np.zeros((count, k), np.int64), np.zeros((count, k), np.float32)
    with (progress or Silent()).bar("neighbours", total=count, unit="images") as bar:
        for start in range(0, count if k else 0, _AT_ONCE):
            rows = np.arange(start, min(start + _AT_ONCE, count))
            places[rows], cosines[rows] = _of_rows(index, wholes, rows, k)
            bar.advance(len(rows))
    return Neighbours(places, cosines)


def nearest_among(index: VectorIndex, wholes: Vectors, rows: Ids, among: Ids, k: int) -> Neighbours:
    """The k nearest of each of some rows among other rows; both are ascending and disjoint."""
    k = min(k, len(among))
    ids = index.search(wholes.vectors[rows], k, allowed=wholes.crops[among])[1]
    found = np.searchsorted(wholes.crops, ids)
    for row in np.flatnonzero((ids < 0).any(1)):  # an index that lacks some
        found[row] = among[_sorted(wholes.vectors[among] @ wholes.vectors[rows[row]])[:k]]
    cosines = np.einsum("rkd,rd->rk", wholes.vectors[found], wholes.vectors[rows])
    return Neighbours(found, cosines.astype(np.float32))


def _of_rows(index: VectorIndex, wholes: Vectors, rows: Ids, k: int) -> tuple[Ids, Floats]:
    cosines, ids = index.search(wholes.vectors[rows], k + 1)
    places = np.minimum(np.searchsorted(wholes.crops, ids), len(wholes.crops) - 1)
    good = (wholes.crops[places] == ids) & (places != rows[:, None])
    order = np.argsort(~good, axis=1, kind="stable")[:, :k]
    places, cosines = (np.take_along_axis(found, order, 1) for found in (places, cosines))
    for row in np.flatnonzero(good.sum(1) < k):
        all_cosines = wholes.vectors @ wholes.vectors[rows[row]]
        all_cosines[rows[row]] = -np.inf
        places[row] = _sorted(all_cosines)[:k]
        cosines[row] = all_cosines[places[row]]
    return places, cosines


def _sorted(cosines: Floats) -> NDArray[np.int64]:
    return np.argsort(-cosines, kind="stable")
