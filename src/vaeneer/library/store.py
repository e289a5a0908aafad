"""OpenLibrary: the opened folder of a library, with its catalog, vectors, model and pictures.

Also its model, its thumbnails and its lock, as files.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from filelock import FileLock, Timeout
from PIL import Image

from vaeneer import checksums
from vaeneer.checksums import SUMS, damaged_file, read_stamped_json, write_sums
from vaeneer.data.images import read_rgb
from vaeneer.errors import ImageFileError, LibraryError, ModelFileError
from vaeneer.files import atomic_dir, read_json, remove_leftovers, write_bytes
from vaeneer.library.catalog import Catalog, Floats, Ids, Item
from vaeneer.library.catalog_file import FACTS, remedy
from vaeneer.library.library_folders import find_library
from vaeneer.library.vector_index import VectorIndex, synced_one
from vaeneer.model.projection import Calibration, calibration_of
from vaeneer.storage import storage_error
from vaeneer.text import printable

if TYPE_CHECKING:  # PyTorch is imported only where a query is a picture
    from vaeneer.library.duplicates.features import FeatureStore
    from vaeneer.model.embedder import Embedder

FORMAT = 2
"""Of library.json."""
LAYOUT, DUPLICATES = "map.npz", "duplicates.json"
MODEL_FOLDER = "model"
DEFAULT = "surface-base"
MODEL_FILES = ("config.json", "model.safetensors", "readout.json", "readout.safetensors")
THUMBNAILS_FOLDER = "thumbs"
NAME = ".lock"
_TYPES = {
    "vaeneer_version": str, "library": str, "root": str, "model": str, "model_fingerprint": str,
    "dimensions": int, "smallest_parts": str, "items": int, "assets": int, "offline": int,
    "maps": int, "failures": int, "left_out": dict, "noted": int, "generation": int,
    "wholes": dict, "parts": dict, "rules": str, "date": str,
}  # fmt: skip
"""The fields of library.json beside its format and checksum."""


class OpenLibrary:
    """A folder of images that `index` went through: its items, its vectors and its model.

    What is costly (the network, the vectors) is loaded when it is first needed. An open library
    does not see later runs of `index`; open it again for them.
    """

    def __init__(
        self,
        folder: Path | str | None = None,
        *,
        device: str = "auto",
        precision: str = "auto",
        catalog: Catalog | None = None,
    ) -> None:
        """Open a library by its folder, or by the folder of images that was indexed.

        folder: None is the library of the current directory, or the only one there is
        (`find_library`). catalog: of that very folder, where it is open already. Raises
        LibraryError when there is none, or no good one.
        """
        self.folder = find_library(folder) if catalog is None else Path(folder or ".")
        self.catalog = Catalog.open(self.folder) if catalog is None else catalog
        self.root = self.catalog.root
        self._device = device
        self._precision = precision

    @classmethod
    def open(
        cls, folder: Path | str | None = None, *, device: str = "auto", precision: str = "auto"
    ) -> Self:
        """As `Library(folder)`."""
        return cls(folder, device=device, precision=precision)

    def __repr__(self) -> str:
        return f"Library({str(self.folder)!r}, {len(self):,} items of {str(self.root)!r})"

    def __len__(self) -> int:
        """How many items it has."""
        (count,) = self.catalog.execute("SELECT count(*) FROM items WHERE embedded").fetchone()
        return int(count)

    def __iter__(self) -> Iterator[Item]:
        """All items by path."""
        return iter(self.items())

    def __getitem__(self, number: int) -> Item:
        """The item of an id. Raises LibraryError for one that the library has not."""
        return self.item(number)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the catalog's file."""
        self.catalog.close()

    @cached_property
    def embedder(self) -> Embedder:
        """The network that made the vectors, from the library's own copy."""
        from vaeneer.model.embedder import Embedder

        check_own_model(self.catalog, self.folder)
        return Embedder(self.folder / MODEL_FOLDER, device=self._device, precision=self._precision)

    @cached_property
    def calibration(self) -> Calibration | None:
        """How likely a cosine means one surface; None where the model is not calibrated."""
        return read_calibration(self.folder)

    @cached_property
    def image_index(self) -> VectorIndex:
        """The vectors of whole images, ready for search; ids are those of crops of scale 0."""
        return synced_one(self.catalog, self.folder, whole=True)

    @cached_property
    def crop_index(self) -> VectorIndex:
        """The vectors of parts of images, ready for search; ids are those of crops."""
        return synced_one(self.catalog, self.folder, whole=False)

    @cached_property
    def sketches(self) -> FeatureStore:
        """What `duplicates` kept of pictures to compare them; empty where it never ran."""
        from vaeneer.library.duplicates.features import FeatureStore

        return FeatureStore(self.folder)

    def items(self) -> list[Item]:
        """All items by path."""
        return self.catalog.items()

    def item(self, number: int) -> Item:
        """The item of an id. Raises LibraryError for one that the library has not."""
        found = self.catalog.items([number])
        if not found:
            raise LibraryError(f"{self.folder} has no item {number}; `vaeneer search` shows ids.")
        return found[0]

    def vectors(self) -> tuple[Ids, Floats]:
        """Ids (n,) int64 of all items, and the vectors (n, D) float32 of their whole images."""
        found = self.catalog.vectors(self.catalog.crop_ids(whole=True))
        return found.items, found.vectors

    def item_at(self, file: Path | str) -> Item | None:
        """The item whose file is or was at a path; None where the library has none."""
        for place in (Path(os.path.abspath(file)), Path(file).resolve()):  # noqa: PTH100
            if place.is_relative_to(self.root):
                below = printable(place.relative_to(self.root).as_posix())
                ids = self.catalog.item_ids("path = ?", [below])
                return self.item(int(ids[0])) if len(ids) else None
        return None

    def path(self, item: Item) -> Path:
        """Where an item's file lies."""
        return self.root / item.path

    def has_file(self, item: Item) -> bool:
        """Whether an item's file is there now."""
        try:
            return self.path(item).is_file()
        except OSError:  # a folder that may not be entered, a disk that fails
            return False

    def thumbnail(self, item: Item) -> Path:
        """Where an item's small picture lies: WebP, long side up to 256 px."""
        return thumbnail_path(self.folder, item.sha256)

    def picture(self, item: Item, *, at_least_px: int | None = None) -> Image.Image:
        """An item's picture, upright, mode RGB; at_least_px as in `read_image`.

        Raises ImageFileError when the file is gone or damaged since.
        """
        return read_rgb(self.path(item), at_least_px=at_least_px)

    def thumbnail_image(self, item: Item) -> Image.Image:
        """An item's thumbnail, else its picture made as small, mode RGB.

        Raises ImageFileError when both are gone.
        """
        thumbnail = self.thumbnail(item)
        try:
            if not is_thumbnail_whole(thumbnail):
                raise ImageFileError(thumbnail, "damaged")
            return read_rgb(thumbnail)
        except ImageFileError:
            picture = self.picture(item, at_least_px=256)
            picture.thumbnail((256, 256))
            return picture

    def facts(self) -> dict[str, Any]:
        """What library.json says; empty where a run did not come to its end."""
        facts = read_facts(self.folder)
        return facts if facts is not None and facts["library"] == self.catalog.library else {}


LibraryLike = OpenLibrary | Path | str
"""An opened library, or its folder, or the folder of images that was indexed."""


def read_facts(library: Path) -> dict[str, Any] | None:
    """What library.json says; None where it is missing, damaged or old: it can be made again."""
    try:
        facts = read_stamped_json(library / FACTS)
    except (OSError, ValueError):
        return None
    fits = all(type(facts.get(name)) is kind for name, kind in _TYPES.items())
    return facts if fits and facts.get("format") == FORMAT else None


def read_calibration(library: Path) -> Calibration | None:
    """The calibration of a library's model, read without PyTorch; None where it has none.

    Raises ModelFileError for a damaged file.
    """
    file = library / MODEL_FOLDER / "readout.json"
    if not file.is_file():
        return None
    try:
        if damaged_file(file.parent, (file.name,)) is not None:
            raise ValueError("another SHA-256")
        known = read_json(file)["calibration"]
        return None if known is None else calibration_of(known)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise storage_error(error, file, verb="read") or ModelFileError(
            f"{file} is damaged ({error}); {remedy(library)}."
        ) from error


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


@contextmanager
def opened_library(library: LibraryLike) -> Iterator[OpenLibrary]:
    """An open library as it is, or the one in a folder, closed after the block.

    Raises LibraryError.
    """
    if isinstance(library, OpenLibrary):
        yield library
        return
    with OpenLibrary.open(library) as opened:
        yield opened
