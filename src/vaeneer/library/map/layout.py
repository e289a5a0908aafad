"""Where each item lies on the map: t-SNE of the neighbour graph, kept when the library grows.

van der Maaten & Hinton 2008, as openTSNE computes it (Policar et al. 2024): from the first two
principal components, so that the large shape means something (Kobak & Berens 2019). New items are
placed into the layout that is there, one by one against the old, which do not move.
"""

from __future__ import annotations

import hashlib
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vaeneer.files import atomic_write
from vaeneer.library.catalog import Floats, Ids, Vectors
from vaeneer.library.vector_index import Neighbours, VectorIndex, nearest_among, nearest_others
from vaeneer.progress import Progress

FORMAT = 2
_UNSUMMED = 1  # the format before it had a SHA-256
_ZIP_ERRORS = (NotImplementedError, RuntimeError, OverflowError, MemoryError, TypeError, zlib.error)
"""What zipfile and NumPy raise for a damaged file, beside those of their own."""
_FEW = 5
"""Up to so many items lie as their principal components say."""
_START_NEIGHBOURS = 3
"""A new item starts at the median of so many; of 1, 3, 5 and 25 it kept the most neighbours."""
Cells = NDArray[np.int64]
FILL = 0.5
"""Share of the cells around the layout that items take."""
_MARGIN = 1  # empty cells on each side
_FARTHEST = 2.5  # cells between a cluster and its name
_LONGEST = 4.0  # how much longer one side may be than the other


@dataclass(frozen=True)
class Layout:
    """A place for each vector of a whole image."""

    crops: Ids
    """(n,) ids of the vectors, ascending: a changed picture has a new one."""
    xy: Floats
    """(n, 2), in no unit; the origin is about the middle."""
    placed: NDArray[np.bool_]
    """(n,) whether it came later, into a layout that was there."""
    perplexity: float
    seed: int

    def __len__(self) -> int:
        return len(self.crops)


def updated(
    before: Layout | None,
    index: VectorIndex,
    wholes: Vectors,
    *,
    perplexity: float,
    seed: int,
    progress: Progress,
) -> Layout:
    """The layout of `wholes`: what lies in `before` stays there, what is new is placed.

    Computed again where there is none before, where it was made with other numbers, or where more
    items would have been placed later than were laid out together.
    """
    if before is None or (before.perplexity, before.seed) != (perplexity, seed):
        return laid_out(index, wholes, perplexity=perplexity, seed=seed, progress=progress)
    rows = np.flatnonzero(np.isin(wholes.crops, before.crops))
    new = np.setdiff1d(np.arange(len(wholes.crops)), rows)
    old = np.searchsorted(before.crops, wholes.crops[rows])
    xy, placed = np.zeros((len(wholes.crops), 2), np.float32), np.ones(len(wholes.crops), bool)
    xy[rows], placed[rows] = before.xy[old], before.placed[old]
    if 2 * placed.sum() > len(placed) or (len(new) and len(rows) <= _FEW):
        return laid_out(index, wholes, perplexity=perplexity, seed=seed, progress=progress)
    if len(new):
        suited = min(perplexity, (len(rows) - 1) / 3)
        found = nearest_among(index, wholes, new, rows, max(3, round(3 * suited)))
        xy[new] = _places(xy[rows], np.searchsorted(rows, found.places), found, suited, seed)
    return Layout(wholes.crops, xy, placed, perplexity, seed)


def laid_out(
    index: VectorIndex, wholes: Vectors, *, perplexity: float, seed: int, progress: Progress
) -> Layout:
    """All items laid out together."""
    count = len(wholes.crops)
    xy = principal_plane(wholes.vectors)
    if count > _FEW:
        suited = min(perplexity, (count - 1) / 3)
        found = nearest_others(index, wholes, max(3, round(3 * suited)), progress=progress)
        xy = _tsne(found, xy, suited, seed, progress)
    return Layout(wholes.crops, xy, np.zeros(count, bool), perplexity, seed)


def principal_plane(vectors: Floats) -> Floats:
    """The first two principal components (n, 2), the larger with variance 1; signs are settled.

    Equal vectors lie on one point.
    """
    if not len(vectors):
        return np.zeros((0, 2), np.float32)
    centred = vectors.astype(np.float64) - vectors.mean(0, dtype=np.float64)
    _, axes = np.linalg.eigh(centred.T @ centred)
    plane = centred @ axes[:, :-3:-1]  # eigh sorts ascending
    largest = plane[np.abs(plane).argmax(0), [0, 1]]
    plane *= np.where(largest < 0, -1, 1)
    spread = float(plane[:, 0].std())
    answer: Floats = (plane / spread if spread > 1e-9 else 0 * plane).astype(np.float32)
    return answer


def write_layout(path: Path, layout: Layout, *, library: str = "") -> None:
    """Keep a layout in a .npz file, whole or not at all; library: the id of the library."""
    with atomic_write(path) as temporary, temporary.open("wb") as stream:
        np.savez(
            stream,
            format=np.int64(FORMAT),
            crops=layout.crops,
            xy=layout.xy,
            placed=layout.placed,
            perplexity=np.float64(layout.perplexity),
            seed=np.int64(layout.seed),
            sha256=_digest(layout, library),
        )


def read_layout(path: Path, *, library: str = "") -> Layout | None:
    """A layout that was kept for the library of an id; None where none can be read, or a damaged
    one."""
    import zipfile

    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as file:
            version = int(file["format"])
            crops, xy, placed = file["crops"], file["xy"], file["placed"]
            layout = Layout(crops, xy, placed, float(file["perplexity"]), int(file["seed"]))
            digest = file["sha256"] if version == FORMAT else None
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, *_ZIP_ERRORS):
        return None
    if version not in (_UNSUMMED, FORMAT) or not _is_layout(layout):
        return None
    if digest is not None and not np.array_equal(digest, _digest(layout, library)):
        return None
    return layout


def _is_layout(layout: Layout) -> bool:
    crops, xy, placed = layout.crops, layout.xy, layout.placed
    fits = crops.ndim == 1 and xy.shape == (len(crops), 2) and placed.shape == crops.shape
    kinds = crops.dtype == np.int64 and xy.dtype == np.float32 and placed.dtype == bool
    ordered = fits and kinds and bool((np.diff(crops) > 0).all())
    return ordered and bool(np.isfinite(xy).all()) and layout.perplexity >= 1 and layout.seed >= 0


def _digest(layout: Layout, library: str) -> NDArray[np.uint8]:
    """SHA-256 over all that is kept, (32,) uint8."""
    settings = f"{float(layout.perplexity)!r}\0{int(layout.seed)}"
    digest = hashlib.sha256(f"{library}\0{settings}\0".encode())
    for values in (layout.crops, layout.xy, layout.placed):
        digest.update(f"{values.dtype} {values.shape}\0".encode())
        digest.update(np.ascontiguousarray(values).tobytes())
    return np.frombuffer(digest.digest(), np.uint8)


def _tsne(
    found: Neighbours, start: Floats, perplexity: float, seed: int, progress: Progress
) -> Floats:
    from openTSNE import TSNE, affinity, nearest_neighbors

    seed %= 2**32
    graph = nearest_neighbors.PrecomputedNeighbors(found.places, found.distances.astype(np.float64))
    affinities = affinity.PerplexityBasedNN(
        perplexity=perplexity, knn_index=graph, random_state=seed
    )
    noise = np.random.default_rng(seed).normal(size=start.shape)  # copies do not start on one point
    with progress.bar("layout", total=750, unit="steps") as bar:
        tsne = TSNE(
            perplexity=perplexity,
            random_state=seed,
            n_jobs=1,  # sums in one order: the same layout each time
            callbacks=lambda *_: bar.advance(50),
            callbacks_every_iters=50,
        )
        placed = tsne.fit(affinities=affinities, initialization=1e-4 * start + 1e-6 * noise)
    answer: Floats = (placed - placed.mean(0)).astype(np.float32)
    return answer


def _places(old_xy: Floats, places: Ids, found: Neighbours, perplexity: float, seed: int) -> Floats:
    """Where new items lie among old ones: each is drawn to its nearest and kept off the others.

    places: (new, k) rows of `old_xy`; found: the same with their distances.
    """
    from openTSNE import PartialTSNEEmbedding, TSNEEmbedding, affinity, initialization

    graph: Any = affinity.Affinities()
    graph.P = np.zeros((len(old_xy), 0))  # only its length is asked for
    reference = TSNEEmbedding(old_xy, graph, random_state=seed % 2**32)
    drawn = affinity.joint_probabilities_nn(
        places,
        found.distances.astype(np.float64),
        [perplexity],
        symmetrize=False,
        normalization="point-wise",
        n_reference_samples=len(old_xy),
    )
    start = initialization.median(reference, places[:, :_START_NEIGHBOURS])
    partial = PartialTSNEEmbedding(start, reference, drawn, negative_gradient_method="bh", n_jobs=1)
    moved = partial.optimize(
        250, learning_rate=1, exaggeration=1.5, momentum=0.8, max_grad_norm=0.25
    )
    return np.asarray(moved, np.float32)


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
