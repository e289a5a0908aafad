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
