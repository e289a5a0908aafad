"""VectorIndex: unit vectors under lasting ids, found by their cosine."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vaeneer.checksums import Remembered
from vaeneer.errors import DataError, LibraryError
from vaeneer.files import atomic_write, native_name
from vaeneer.library.catalog import Catalog, Floats, Ids, Vectors
from vaeneer.progress import Progress, Silent
from vaeneer.settings import SEED
from vaeneer.storage import storage_error

IVF_FROM = 1_000_000
"""From so many vectors on they are clustered, and a search looks into the nearest clusters."""
LEAST_RECALL = 0.98
"""Share of the true ten nearest that the fewest clusters searched must find, on a sample."""
MARGIN = 4
"""How many times those are searched: parts of real images that the index had not seen found 0.94
of their ten nearest in the fewest (150,000 vectors), and more than 0.99 in four times as many."""
CHUNK = 65_536
"""Vectors that are added at once: what is held as float32 beside the index."""
_SAMPLE_PER_LIST = 64
_LEAST_PER_LIST = 40  # faiss warns below 39
_QUERIES = 256
_NEAREST = 10
_OUTGROWN = 2  # times as many as at training
_TRAILER_BYTES = 4096
_AT_ONCE = 1024
WHOLES, PARTS = "items.faiss", "crops.faiss"
_COMPARED = 32  # vectors whose agreement with the catalog says that a file belongs to it
_SAME = 0.999


@dataclass(frozen=True)
class Training:
    """How the clusters of an index were made; all 0 where it has none."""

    trained_on: int = 0
    """Vectors in the sample that the clusters come from."""
    trained_for: int = 0
    """Vectors that the index was to hold then."""
    recall_at_10: float = 1.0
    """Share of the true ten nearest that a search finds, asked by means of three vectors."""


class VectorIndex:
    """Vectors of length 1 under ids, searched by cosine.

    Below a million vectors ("exact") every one is compared; above ("ivf") those of the clusters
    nearest to the query (Sivic & Zisserman 2003), so many that more than 0.98 of the true ten
    nearest are found (see `tune`). Numbers are kept in float16. Threads may search at once.
    """

    def __init__(self, index: Any, training: Training | None = None) -> None:
        """index: of faiss, inner product; see `empty`, `build` and `read`."""
        self._index = index
        self.training = training or Training()

    @classmethod
    def empty(cls, dimensions: int) -> VectorIndex:
        """An exact index without vectors."""
        import faiss

        kind, metric = faiss.ScalarQuantizer.QT_fp16, faiss.METRIC_INNER_PRODUCT
        return cls(faiss.IndexIDMap(faiss.IndexScalarQuantizer(dimensions, kind, metric)))

    @classmethod
    def build(
        cls,
        ids: Ids,
        vectors_of: Callable[[Ids], Vectors],
        dimensions: int,
        *,
        ivf_from: int = IVF_FROM,
        progress: Progress | None = None,
    ) -> VectorIndex:
        """An index of the vectors of distinct crops (n,) from 0 up, read a chunk at a time.

        ivf_from: from how many vectors on they are clustered.
        """
        progress = progress or Silent()
        if len(ids) < ivf_from:
            index = cls.empty(dimensions)
            index.add_all(ids, vectors_of, progress)
            return index
        progress.say(f"grouping {len(ids):,} vectors, so that a search compares few of them")
        sample = vectors_of(ids[sample_places(len(ids))]).vectors
        index = cls.clustered(sample, len(ids))
        index.add_all(ids, vectors_of, progress)
        index.tune(vectors_of(ids[query_places(len(ids))]).vectors)
        return index

    @classmethod
    def clustered(cls, sample: Floats, count: int, *, seed: int = SEED) -> VectorIndex:
        """An index without vectors that clusters like `sample` (n, D) and is to hold `count`.

        Call `tune` once the vectors are in.
        """
        import faiss

        lists = min(lists_for(count), max(1, len(sample) // _LEAST_PER_LIST))
        kind, metric = faiss.ScalarQuantizer.QT_fp16, faiss.METRIC_INNER_PRODUCT
        centres = faiss.IndexFlatIP(sample.shape[1])
        index = faiss.IndexIVFScalarQuantizer(
            centres, sample.shape[1], lists, kind, metric, False
        )  # False: the vectors themselves, not what is left beside their centre
        index.cp.seed = seed % 2**31
        index.train(np.ascontiguousarray(sample, np.float32))
        return cls(index, Training(trained_on=len(sample), trained_for=count))

    @classmethod
    def read(cls, path: Path) -> VectorIndex:
        """The index in a file. Raises LibraryError where it is missing or damaged."""
        import faiss

        if not path.is_file():
            raise LibraryError(f"{path} is missing; index the folder again.")
        try:
            with path.open("rb") as stream:
                stream.seek(max(0, path.stat().st_size - _TRAILER_BYTES))
                line = stream.read().rstrip(b"\n").rpartition(b"\n")[2]
            training = Training(**json.loads(line))
            with native_name(path) as name:
                index = faiss.read_index(name)
        except (OSError, RuntimeError, ValueError, TypeError, MemoryError) as error:
            raise storage_error(error, path, verb="read") or LibraryError(
                f"{path} is damaged; index the folder again."
            ) from error
        return cls(index, training)

    def write(self, path: Path) -> None:
        """Write the index as faiss does, and a last line of JSON; whole or not at all."""
        faiss: Any = import_module("faiss")  # its stubs lack the writer

        size_bytes = self.facts()["bytes"]
        with atomic_write(path, size_bytes=size_bytes) as temporary, temporary.open("wb") as stream:
            # Not to the file itself: faiss does not notice when a full disk takes no last block.
            faiss.write_index(self._index, faiss.PyCallbackIOWriter(stream.write))
            stream.write(b"\n" + json.dumps(asdict(self.training)).encode() + b"\n")

    def __len__(self) -> int:
        return int(self._index.ntotal)

    @property
    def dimensions(self) -> int:
        """How many numbers a vector has."""
        return int(self._index.d)

    @property
    def kind(self) -> str:
        """exact: every vector is compared; ivf: those of the nearest clusters."""
        return "ivf" if self._lists else "exact"

    @property
    def ids(self) -> Ids:
        """The ids of all vectors, ascending."""
        import faiss

        if not self._lists:
            return np.sort(faiss.vector_to_array(self._index.id_map))
        found = [np.zeros(0, np.int64)]
        inverted = self._index.invlists
        for number in range(self._lists):
            size = inverted.list_size(number)
            if size:
                found.append(faiss.rev_swig_ptr(inverted.get_ids(number), size).copy())
        return np.sort(np.concatenate(found))

    def needs_rebuild(self, count: int, *, ivf_from: int = IVF_FROM) -> bool:
        """Whether `count` vectors ask for another index: clusters, new clusters, or none."""
        if not self._lists:
            return count >= ivf_from
        return count >= _OUTGROWN * self.training.trained_for or _OUTGROWN * count < ivf_from

    def add(self, ids: Ids, vectors: Floats) -> None:
        """Add vectors (n, D) of length 1 under ids (n,) that the index does not hold yet.

        Raises DataError for another shape, and for ids below 0.
        """
        if vectors.shape != (len(ids), self.dimensions):
            wanted = (len(ids), self.dimensions)
            raise DataError(f"vectors have shape {vectors.shape}; the index takes {wanted}.")
        if len(ids) and ids.min() < 0:
            raise DataError(f"an id is {ids.min()}; use 0 or more.")
        for start in range(0, len(ids), CHUNK):
            part = slice(start, start + CHUNK)
            self._index.add_with_ids(
                np.ascontiguousarray(vectors[part], np.float32),
                np.ascontiguousarray(ids[part], np.int64),
            )

    def add_all(self, ids: Ids, vectors_of: Callable[[Ids], Vectors], progress: Progress) -> None:
        """Add the vectors of crops, a chunk at a time: those of millions do not fit into memory."""
        with progress.bar("search index", total=len(ids), unit="vectors") as bar:
            for start in range(0, len(ids), CHUNK):
                found = vectors_of(ids[start : start + CHUNK])
                self.add(found.crops, found.vectors)
                bar.advance(len(found.crops))

    def remove(self, ids: Ids) -> int:
        """Take vectors away; ids that the index does not hold are passed over. Returns how many."""
        return int(self._index.remove_ids(_only(ids))) if len(ids) else 0

    def search(
        self, queries: Floats, k: int, allowed: Ids | None = None, *, probes: int | None = None
    ) -> tuple[Floats, Ids]:
        """The k nearest of each query (B, D): cosines and ids, (B, k) each, the best first.

        allowed: only these ids are found. Where there are fewer than k, cosine -inf and id -1.
        A filter that leaves less than half of the vectors is answered exactly by both kinds.
        probes: clusters to look into, by default as many as `tune` chose, or all where those hold
        too few. Raises DataError for another shape.
        """
        if queries.ndim != 2 or queries.shape[1] != self.dimensions:
            raise DataError(f"queries have shape {queries.shape}, not (B, {self.dimensions}).")
        faiss: Any = import_module("faiss")  # its stubs know the arguments of C++ only
        only, looked, most = None, self._probes if probes is None else probes, len(self)
        if allowed is not None:
            only, most = _only(allowed), min(most, len(allowed))
            looked = 2 * looked if 2 * most >= len(self) else self._lists
        looked = min(looked, self._lists)
        cosines = np.full((len(queries), k), -np.inf, np.float32)
        ids = np.full((len(queries), k), -1, np.int64)
        count = min(k, len(self))
        if count and len(queries):
            how = (
                faiss.SearchParametersIVF(nprobe=looked, sel=only)
                if self._lists
                else faiss.SearchParameters(sel=only)
            )
            asked = np.ascontiguousarray(queries, np.float32)
            found, named = self._index.search(asked, count, params=how)
            ids[:, :count] = named
            cosines[:, :count] = np.where(named < 0, -np.inf, np.clip(found, -1, 1))
            if probes is None and looked < self._lists and (named[:, :most] < 0).any():
                return self.search(queries, k, allowed, probes=self._lists)
        return cosines, ids

    def tune(self, vectors: Floats) -> None:
        """Choose how many clusters a search looks into; does nothing in an exact index.

        They are MARGIN times the fewest that find 0.98 of the ten nearest, asked by means of three
        vectors of the index; vectors: some of them (n, D). A new image is about as far from all
        that is there, and its neighbours lie in more clusters than those of a vector that helped
        to form them.
        """
        if not self._lists or not len(self):
            return
        mixed = vectors + np.roll(vectors, 1, axis=0) + np.roll(vectors, 2, axis=0)
        queries = mixed / np.maximum(np.linalg.norm(mixed, axis=1, keepdims=True), 1e-6)
        nearest = self.search(queries, _NEAREST, probes=self._lists)[1]

        def recall(probes: int) -> float:
            return recall_of(self.search(queries, _NEAREST, probes=probes)[1], nearest)

        low, high = 1, self._lists
        while low < high:
            middle = (low + high) // 2
            low, high = (low, middle) if recall(middle) >= LEAST_RECALL else (middle + 1, high)
        self._index.nprobe = min(MARGIN * low, self._lists)
        made = self.training
        self.training = Training(made.trained_on, made.trained_for, recall(self._probes))

    def facts(self) -> dict[str, Any]:
        """What library.json keeps: kind, vectors, dimensions, bytes in memory, of ivf how it was
        made and its recall@10 against exact on a sample."""
        count, size = len(self), self.dimensions
        known = {
            "kind": self.kind,
            "vectors": count,
            "dimensions": size,
            "bytes": count * (2 * size + 8) + self._lists * 4 * size,
        }
        if not self._lists:
            return known
        return {**known, "lists": self._lists, "probes": self._probes, **asdict(self.training)}

    @property
    def _lists(self) -> int:
        """Clusters; 0 in an exact index."""
        return int(getattr(self._index, "nlist", 0))

    @property
    def _probes(self) -> int:
        """Clusters that a search looks into."""
        return int(getattr(self._index, "nprobe", 0))


def lists_for(count: int) -> int:
    """Clusters for so many vectors: twice the root, so that a cluster holds about as many."""
    return max(1, round(2 * math.sqrt(count)))


def sample_places(count: int, seed: int = SEED) -> NDArray[np.int64]:
    """Which of `count` vectors clusters are trained on, ascending."""
    return _drawn(count, _SAMPLE_PER_LIST * lists_for(count), seed)


def query_places(count: int, seed: int = SEED) -> NDArray[np.int64]:
    """Which of `count` vectors ask when the clusters to search are chosen, ascending."""
    return _drawn(count, _QUERIES, seed + 1)


def recall_of(found: Ids, nearest: Ids) -> float:
    """Share of the nearest (B, n) that were found (B, m); -1 stands for none."""
    hits = (nearest[:, :, None] == found[:, None, :]).any(2) & (nearest >= 0)
    return float(hits.sum() / max(1, (nearest >= 0).sum()))


def _drawn(count: int, most: int, seed: int) -> NDArray[np.int64]:
    if count <= most:
        return np.arange(count)
    return np.sort(np.random.default_rng(seed).choice(count, most, replace=False))


def _only(ids: Ids) -> Any:
    """The selector of faiss that lets these ids through: a bit for each from 0 to the largest."""
    faiss: Any = import_module("faiss")  # its stubs know the arguments of C++ only
    chosen = np.zeros(1 + int(ids.max(initial=0)), bool)
    chosen[ids] = True
    return faiss.IDSelectorBitmap(np.packbits(chosen, bitorder="little"))


def synced(
    catalog: Catalog,
    folder: Path,
    *,
    write: bool,
    progress: Progress | None = None,
    ivf_from: int = IVF_FROM,
) -> tuple[VectorIndex, VectorIndex]:
    """The indexes of a library's whole images and of its parts, as the catalog has them now.

    write: also bring the files in `folder` up to date; without, they are only read.
    """
    progress = progress or Silent()
    wholes = _synced(catalog, folder / WHOLES, True, write, ivf_from, progress)
    return wholes, _synced(catalog, folder / PARTS, False, write, ivf_from, progress)


def synced_one(
    catalog: Catalog, folder: Path, *, whole: bool, progress: Progress | None = None
) -> VectorIndex:
    """As `synced`, of whole images or of parts only; writes nothing."""
    path = folder / (WHOLES if whole else PARTS)
    return _synced(catalog, path, whole, False, IVF_FROM, progress or Silent())


def _synced(
    catalog: Catalog, path: Path, whole: bool, write: bool, ivf_from: int, progress: Progress
) -> VectorIndex:
    wanted = catalog.crop_ids(whole=whole)
    index = _known(catalog, path, wanted) if is_as_written(catalog, path, thorough=write) else None
    if index is None and not write:  # at once, though large ones are slower without clusters
        ivf_from = len(wanted) + 1
    if index is None or index.needs_rebuild(len(wanted), ivf_from=ivf_from):
        index = VectorIndex.build(
            wanted, catalog.vectors, catalog.dimensions, ivf_from=ivf_from, progress=progress
        )
    else:
        known = index.ids
        gone = np.setdiff1d(known, wanted, assume_unique=True)
        new = np.setdiff1d(wanted, known, assume_unique=True)
        if not len(gone) and not len(new):
            return index
        index.remove(gone)
        index.add_all(new, catalog.vectors, progress)
    if write:
        index.write(path)
        catalog.keep_file_sha256(path.name, Remembered(path.parent).compute(path))
    return index


def is_as_written(catalog: Catalog, path: Path, *, thorough: bool) -> bool:
    """Whether a file has the SHA-256 that the catalog says.

    thorough: compute it even where size, time and inode are those of the last time.
    """
    known = catalog.file_sha256(path.name)
    if known is None or not path.is_file():
        return False
    remembered = Remembered(path.parent)
    if not thorough and remembered.sha256(path) == known:
        return True
    return remembered.compute(path) == known


def _known(catalog: Catalog, path: Path, wanted: Ids) -> VectorIndex | None:
    """The index in a file, unless it is missing, damaged, of another library or mostly of old."""
    try:
        index = VectorIndex.read(path)
    except LibraryError:
        return None
    if index.dimensions != catalog.dimensions:
        return None
    ids = index.ids
    common = np.intersect1d(ids, wanted, assume_unique=True)
    if 2 * len(common) < len(ids):  # quicker rebuilt than emptied
        return None
    places = np.linspace(0, len(common) - 1, min(_COMPARED, len(common))).astype(np.int64)
    kept = catalog.vectors(common[places])
    cosines, _ = index.search(kept.vectors, 1, kept.crops)
    return index if (cosines[:, 0] > _SAME).all() else None


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
