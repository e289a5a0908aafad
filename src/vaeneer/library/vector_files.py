"""items.faiss and crops.faiss: what the catalog holds as vectors, made ready for search.

The catalog is the truth. A vector never changes under its id and no id comes twice, so that a file
whose ids are those of the catalog is up to date; whatever else it holds is put right from there.
The catalog has the SHA-256 of both files: one that is damaged, or of another library, is built
again, in memory where it may not be written.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from vaeneer.checksums import Remembered
from vaeneer.errors import LibraryError
from vaeneer.library.catalog import Catalog
from vaeneer.library.vector_index import (
    CHUNK,
    IVF_FROM,
    Ids,
    VectorIndex,
    query_places,
    sample_places,
)
from vaeneer.progress import Progress, Silent

WHOLES, PARTS = "items.faiss", "crops.faiss"
_COMPARED = 32  # vectors whose agreement with the catalog says that a file belongs to it
_SAME = 0.999


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
        return _built(catalog, wanted, len(wanted) + 1, progress)
    if index is None or index.outgrown(len(wanted), ivf_from=ivf_from):
        index = _built(catalog, wanted, ivf_from, progress)
    else:
        known = index.ids
        gone = np.setdiff1d(known, wanted, assume_unique=True)
        new = np.setdiff1d(wanted, known, assume_unique=True)
        if not len(gone) and not len(new):
            return index
        index.remove(gone)
        _add(index, catalog, new, progress)
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


def _built(catalog: Catalog, wanted: Ids, ivf_from: int, progress: Progress) -> VectorIndex:
    if len(wanted) < ivf_from:
        index = VectorIndex.empty(catalog.dimensions)
        _add(index, catalog, wanted, progress)
        return index
    progress.say(f"grouping {len(wanted):,} vectors, so that a search compares few of them")
    sample = catalog.vectors(wanted[sample_places(len(wanted))]).vectors
    index = VectorIndex.clustered(sample, len(wanted))
    _add(index, catalog, wanted, progress)
    index.tune(catalog.vectors(wanted[query_places(len(wanted))]).vectors)
    return index


def _add(index: VectorIndex, catalog: Catalog, ids: Ids, progress: Progress) -> None:
    """Add vectors of the catalog, a chunk at a time: those of millions do not fit into memory."""
    with progress.bar("search index", total=len(ids), unit="vectors") as bar:
        for start in range(0, len(ids), CHUNK):
            found = catalog.vectors(ids[start : start + CHUNK])
            index.add(found.crops, found.vectors)
            bar.advance(len(found.crops))
