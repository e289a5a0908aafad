"""Files of a library: faiss indexes in step with the catalog, its model, thumbnails, its lock."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
from filelock import FileLock, Timeout

from vaeneer import checksums
from vaeneer.checksums import SUMS, Remembered, damaged_file, write_sums
from vaeneer.errors import LibraryError, ModelFileError
from vaeneer.files import atomic_dir, remove_leftovers, write_bytes
from vaeneer.library.catalog import Catalog, Ids
from vaeneer.library.vector_index import (
    CHUNK,
    IVF_FROM,
    VectorIndex,
    query_places,
    sample_places,
)
from vaeneer.progress import Progress, Silent

WHOLES, PARTS = "items.faiss", "crops.faiss"
_COMPARED = 32  # vectors whose agreement with the catalog says that a file belongs to it
_SAME = 0.999
MODEL_FOLDER = "model"
DEFAULT = "surface-base"
MODEL_FILES = ("config.json", "model.safetensors", "readout.json", "readout.safetensors")
THUMBNAILS_FOLDER = "thumbs"
NAME = ".lock"


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
    if index is None or index.needs_rebuild(len(wanted), ivf_from=ivf_from):
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


def model_fingerprint(folder: Path) -> str:
    """SHA-256 over the files of a model that its vectors and probabilities follow from."""
    digest = hashlib.sha256()
    for name in MODEL_FILES:
        file = folder / name
        digest.update(f"{name}\0".encode())
        if file.is_file():
            with file.open("rb") as stream:
                digest.update(hashlib.file_digest(stream, "sha256").digest())
    return digest.hexdigest()


def ensure_model(catalog: Catalog, library: Path, model: Path | str | None) -> None:
    """Copy the model into a new library, or check that an existing one has the model that is named.

    model: None is the library's own, and surface-base for a new one. A damaged copy is put back
    from where it came from. Raises LibraryError for another model than the library's,
    ModelFileError when there is none.
    """
    known = catalog.get_meta("model_fingerprint")
    folder = library / MODEL_FOLDER
    if known is not None and is_whole(folder, known) and model is None:
        if not (folder / SUMS).is_file() or damaged_file(folder, MODEL_FILES):
            write_sums(folder, MODEL_FILES)
        return
    from vaeneer.model.checkpoint import check_model_files, find_model  # imports PyTorch

    if known is not None and model is None:
        _put_back(catalog, folder, known)
        return
    left = folder if (folder / "config.json").is_file() else None  # of a catalog that is lost
    source = find_model(model or left or DEFAULT)
    check_model_files(source)
    found = model_fingerprint(source)
    if known is None:
        boxed = model is None and found == model_fingerprint(find_model(DEFAULT))
        name = DEFAULT if boxed else str(model or source)
        if source != folder:
            _copy(source, folder)
        with catalog.writing():
            catalog.set_meta("model", name)
            catalog.set_meta("model_fingerprint", found)
    elif known != found:
        raise LibraryError(
            f"{library} has the vectors of {catalog.require_meta('model')}, and those of {model}"
            " cannot be compared with them; leave --model out, or name another --library."
        )
    elif not is_whole(folder, known):
        _copy(source, folder)


def is_whole(folder: Path, fingerprint: str) -> bool:
    """Whether a library's copy of its model is as it was copied."""
    return model_fingerprint(folder) == fingerprint


def check_own_model(catalog: Catalog, library: Path) -> None:
    """Raise ModelFileError where the library's copy of its model is damaged."""
    known = catalog.get_meta("model_fingerprint")
    if known is not None and not is_whole(library / MODEL_FOLDER, known):
        raise ModelFileError(f"{library / MODEL_FOLDER} is damaged: {catalog.remedy}.")


def _put_back(catalog: Catalog, folder: Path, known: str) -> None:
    """Copy a library's model again. Raises ModelFileError where it is not there any more."""
    from vaeneer.model.checkpoint import find_model

    name = catalog.require_meta("model")
    with suppress(ModelFileError):
        source = find_model(name)
        if model_fingerprint(source) == known:
            _copy(source, folder)
            return
    raise ModelFileError(
        f"{folder} is damaged, and {name} is not there or has changed; name the same model where"
        " it lies now with --model, or index into a new --library."
    )


def _copy(source: Path, folder: Path) -> None:
    names = [name for name in MODEL_FILES if (source / name).is_file()]
    size_bytes = sum((source / name).stat().st_size for name in names)
    with atomic_dir(folder, kind="model", size_bytes=size_bytes) as temporary:
        for name in names:
            shutil.copyfile(source / name, temporary / name)
        write_sums(temporary, MODEL_FILES)


def thumbnail_path(library: Path, sha256: str) -> Path:
    """Where the thumbnail of a file's content lies, by its hexadecimal SHA-256."""
    return library / THUMBNAILS_FOLDER / sha256[:2] / f"{sha256}.webp"


def write_thumbnail(library: Path, sha256: str, data: bytes) -> None:
    """Keep a thumbnail, whole or not at all."""
    path = thumbnail_path(library, sha256)
    if not path.is_file() or path.read_bytes() != data:
        write_bytes(path, data)


def missing_thumbnails(library: Path, sha256s: Iterable[str], *, since_ns: int = 0) -> set[str]:
    """Which contents have no thumbnail, or a damaged one.

    since_ns: those that changed before this time are not read again.
    """
    found = _thumbnails(library)
    whole = {one.stem for one in found if not _changed(one, since_ns) or is_thumbnail_whole(one)}
    return set(sha256s) - whole


def is_thumbnail_whole(path: Path) -> bool:
    """Whether a thumbnail is as it was written; of older versions, whether it can be decoded."""
    from PIL import Image

    try:
        if (whole := checksums.is_whole(path)) is not None:
            return whole
        with Image.open(path) as picture:
            picture.load()
    except (OSError, ValueError, SyntaxError):
        return False
    return True


def remove_thumbnails(library: Path, keep: Iterable[str]) -> int:
    """Delete the thumbnails of all other contents; returns how many."""
    kept, removed = set(keep), 0
    for path in _thumbnails(library):
        if path.stem not in kept:
            path.unlink()
            removed += 1
    return removed


def remove_library_leftovers(library: Path) -> None:
    """Delete what killed runs left in a library and among its thumbnails."""
    for folder in (library, *(library / THUMBNAILS_FOLDER).glob("??")):
        remove_leftovers(folder)


def _changed(path: Path, since_ns: int) -> bool:
    facts = path.stat()
    return max(facts.st_mtime_ns, facts.st_ctime_ns) >= since_ns


def _thumbnails(library: Path) -> list[Path]:
    return list((library / THUMBNAILS_FOLDER).glob("??/*.webp"))


@contextmanager
def changing(library: Path) -> Iterator[None]:
    """Hold a library's lock for the block; it goes with the process, however that ends.

    Raises LibraryError at once when another process holds it.
    """
    lock = FileLock(library / NAME)
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        raise LibraryError(
            f"{library} is being indexed by another process; try again when that is done."
        ) from error
    try:
        yield
    finally:
        lock.release()
