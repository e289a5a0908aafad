"""Places on the map as cells of a grid, so that no picture covers another; and room for names."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vaeneer.library.catalog import Floats

Cells = NDArray[np.int64]
FILL = 0.5
"""Share of the cells around the layout that items take."""
_MARGIN = 1  # empty cells on each side
_FARTHEST = 2.5  # cells between a cluster and its name
_LONGEST = 4.0  # how much longer one side may be than the other


@dataclass(frozen=True)
class Grid:
    """The cell of each item: column from the left, row from the top."""

    cells: Cells
    """(n, 2) distinct."""
    columns: int
    rows: int

    def taken(self) -> NDArray[np.bool_]:
        """(rows, columns): whether an item lies there."""
        answer = np.zeros((self.rows, self.columns), bool)
        answer[self.cells[:, 1], self.cells[:, 0]] = True
        return answer


@dataclass(frozen=True)
class Label:
    """Where the name of a cluster is written: the middle of a box, in cells."""

    x: float
    y: float
    free: bool
    """Whether no picture lies under it."""


def gridded(xy: Floats, labels: NDArray[np.int64]) -> Grid:
    """The free cell nearest to each place (n, 2), y upwards.

    The items in the middle of their cluster choose first, those alone (label -1) last, so that a
    cluster stays in one piece.
    """
    count = len(xy)
    if not count:
        return Grid(np.zeros((0, 2), np.int64), 1, 1)
    wanted, columns, rows = _wanted(xy)
    free = np.ones((rows, columns), bool)
    cells = np.zeros((count, 2), np.int64)
    rings = _rings(max(columns, rows))
    for row in _order(xy, labels).tolist():
        cells[row] = _nearest_free(free, wanted[row], rings)
        free[cells[row, 1], cells[row, 0]] = False
    return _cropped(cells)


def name_places(
    grid: Grid, labels: NDArray[np.int64], widths: NDArray[np.float64], height: float
) -> list[Label]:
    """Where the name of each cluster goes: beside its items where there is room, else on them.

    widths: of each name, in cells; height: of all, in cells.
    """
    taken = grid.taken()
    answer = []
    for number, width in enumerate(widths.tolist()):
        own = grid.cells[labels == number] + 0.5
        size = int(np.ceil(width)), int(np.ceil(height))
        found = _room(taken, own, *size)
        if found is None:
            answer.append(Label(float(own[:, 0].mean()), float(own[:, 1].mean()), False))
            continue
        column, row = found
        taken[row : row + size[1], column : column + size[0]] = True
        answer.append(Label(column + size[0] / 2, row + size[1] / 2, True))
    return answer


def _wanted(xy: Floats) -> tuple[NDArray[np.float64], int, int]:
    """The places in cells, and how many columns and rows there are."""
    low, high = xy.min(0).astype(np.float64), xy.max(0).astype(np.float64)
    middle, extent = (low + high) / 2, high - low
    extent = np.maximum(extent, max(float(extent.max()) / _LONGEST, 1e-6))
    side = np.sqrt(extent.prod() * FILL / len(xy))
    columns, rows = (max(1, int(np.ceil(part))) for part in extent / side)
    pad = 2 + max(columns, rows) // 8  # room to step aside, so that no straight edge forms
    columns, rows = columns + 2 * pad, rows + 2 * pad
    placed = (xy - middle) / side * (1, -1) + (columns / 2, rows / 2)
    return placed, columns, rows


def _order(xy: Floats, labels: NDArray[np.int64]) -> NDArray[np.int64]:
    numbers, places = np.unique(labels, return_inverse=True)
    middles = np.stack([xy[labels == number].mean(0) for number in numbers])
    away = np.linalg.norm(xy - middles[places], axis=1)
    return np.lexsort((away, labels < 0))


def _rings(most: int) -> Cells:
    """Steps (m, 2) to all cells around one, the nearest first."""
    side = np.arange(-most, most + 1)
    steps = np.stack(np.meshgrid(side, side), -1).reshape(-1, 2)
    return steps[np.argsort((steps**2).sum(1), kind="stable")]


def _nearest_free(free: NDArray[np.bool_], wanted: NDArray[np.float64], rings: Cells) -> Cells:
    rows, columns = free.shape
    centre = np.clip(np.floor(wanted), 0, (columns - 1, rows - 1)).astype(np.int64)
    start, size = 0, 32
    while True:  # there are more cells than items
        cells = centre + rings[start : start + size]
        inside = ((cells >= 0) & (cells < (columns, rows))).all(1)
        cells = cells[inside]
        cells = cells[free[cells[:, 1], cells[:, 0]]]
        if len(cells):
            away = ((cells + 0.5 - wanted) ** 2).sum(1)
            best: Cells = cells[away.argmin()]
            return best
        start, size = start + size, 2 * size


def _cropped(cells: Cells) -> Grid:
    """Without empty columns and rows around, but for a margin."""
    cells = cells - cells.min(0) + _MARGIN
    columns, rows = (cells.max(0) + 1 + _MARGIN).tolist()
    return Grid(cells, columns, rows)


def _room(
    taken: NDArray[np.bool_], own: NDArray[np.float64], width: int, height: int
) -> tuple[int, int] | None:
    """Column and row of an empty box near places (m, 2); None where there is none near."""
    margin = np.array([width, height]) + np.ceil(_FARTHEST)
    low = np.maximum(0, own.min(0) - margin).astype(int)
    high = np.minimum(taken.shape[::-1], own.max(0) + margin).astype(int)
    near = taken[low[1] : high[1], low[0] : high[0]]
    if width > near.shape[1] or height > near.shape[0]:
        return None
    sums = np.pad(near.cumsum(0).cumsum(1), ((1, 0), (1, 0)))
    upper, lower = sums[:-height], sums[height:]
    used = lower[:, width:] - upper[:, width:] - lower[:, :-width] + upper[:, :-width]
    top, left = np.nonzero(used == 0)
    top, left = top + low[1], left + low[0]
    if not len(top):
        return None
    x = np.clip(own[:, 0], left[:, None], left[:, None] + width) - own[:, 0]
    y = np.clip(own[:, 1], top[:, None], top[:, None] + height) - own[:, 1]
    nearest = np.hypot(x, y).min(1)
    if nearest.min() > _FARTHEST:
        return None
    middle = np.hypot(left + width / 2 - own[:, 0].mean(), top + height / 2 - own[:, 1].mean())
    best = int(np.where(nearest > _FARTHEST, np.inf, nearest + 0.35 * middle).argmin())
    return int(left[best]), int(top[best])
