"""Files of a pack: their folder in the user's cache, which has a max size, and safe writing.

The data file only grows, or gives way to a new one of another name.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from io import RawIOBase
from pathlib import Path

import numpy as np
from platformdirs import user_cache_path

from vaeneer import files
from vaeneer.data.cache_index import (
    INDEX_NAME,
    IndexRow,
    PackIndex,
    PackLayout,
    empty_index,
    write_index,
)
from vaeneer.data.dataset import MANIFEST_NAME
from vaeneer.data.decode_worker import DecodedImage
from vaeneer.errors import DataError
from vaeneer.files import mark_folder, short_name
from vaeneer.progress import Progress
from vaeneer.provenance import CACHE_TAG
from vaeneer.storage import free_space

MAX_CACHED_BYTES = 50_000_000_000
"""Max size of the user's cache, and never more than a tenth of its disk."""
_LOCK = "lock"
_TAG_TEXT = """Signature: 8a477f597d28d172789f06886806bc55
# Images decoded by vaeneer, one folder for each pack (docs/formats.md of vaeneer).
# Safe to delete: decoded again when they are needed.
"""
SAVE_SECONDS = 20.0
"""How much of a build a killed process may lose."""


def default_cache(root: Path) -> Path:
    """The folder of the packs of a data set, or of another folder, in the user's cache."""
    return cache_of(root, None)


def users_cache() -> Path:
    """The folder of all packs of this user, unless another one is given."""
    return user_cache_path("vaeneer", appauthor=False)


def cache_of(root: Path, cache: Path | None) -> Path:
    """The folder of the packs of a folder, in `cache` or in the user's cache.

    One for each data set or other folder, named by it and a hash of its path.
    """
    owner = _owner(root)
    digest = hashlib.sha256(os.fsencode(owner)).hexdigest()[:12]
    return (cache or users_cache()) / f"{short_name(owner.name)}-{digest}"


def _owner(root: Path) -> Path:
    """The data set that `root` is a side of, or `root` itself, absolute."""
    real = root.resolve()
    above = real.parent
    sides = all((above / side).is_dir() for side in ("train", "valid"))
    of_data_set = sides and real.name in ("train", "valid")
    return above if of_data_set or (above / MANIFEST_NAME).is_file() else real


def pack_name(root: Path, layout: PackLayout) -> str:
    """The folder of one pack below its home: `train-568px`, or `568px` for a lone folder."""
    real = root.resolve()
    return layout.tag if real == _owner(root) else f"{short_name(real.name)}-{layout.tag}"


def create(home: Path, place: Path) -> None:
    """Make the folder of a pack. Raises OSError where nothing can be written."""
    place.mkdir(parents=True, exist_ok=True)
    if not (home / CACHE_TAG).exists():
        (home / CACHE_TAG).write_text(_TAG_TEXT, encoding="utf-8")
    mark_folder(home, "cache")
    (place / _LOCK).touch()


def note_use(place: Path) -> None:
    """Note that a pack is used now; where that cannot be written, nothing is lost but its turn."""
    with suppress(OSError):
        os.utime(place / _LOCK)


def cached_packs(base: Path) -> dict[Path, tuple[int, int]]:
    """The packs in a cache: when each was last used, ns since 1970, and its size in bytes."""
    found: dict[Path, tuple[int, int]] = {}
    for tag in base.glob(f"*/{CACHE_TAG}"):
        found |= _packs_of(tag.parent)
    return found


def _packs_of(home: Path) -> dict[Path, tuple[int, int]]:
    found: dict[Path, tuple[int, int]] = {}
    for lock in home.glob(f"*/{_LOCK}"):
        with suppress(OSError):
            files = [file.stat() for file in lock.parent.iterdir()]
            used_ns = lock.stat().st_mtime_ns
            found[lock.parent] = used_ns, sum(file.st_size for file in files)
    return found


def limit_cache(base: Path, *, but: Path, progress: Progress) -> None:
    """Delete the packs that were not used for longest, until the cache is within its limit.

    but: the folder of the packs of one data set, which stay. A pack that is being built stays, too.
    """
    from filelock import FileLock, Timeout

    packs = cached_packs(base)
    excess = sum(size for _, size in packs.values()) - cache_limit(base)
    for place in sorted(packs, key=lambda one: packs[one]):
        if excess <= 0:
            return
        if place.parent == but or not packs[place][1]:
            continue
        with suppress(Timeout, OSError), FileLock(place / _LOCK, timeout=0):
            (place / INDEX_NAME).unlink(missing_ok=True)  # first: it names the pixels
            for file in place.iterdir():
                if file.name != _LOCK:  # others may be waiting for it
                    file.unlink()
            excess -= packs[place][1]
            progress.say(
                f"deleted decoded images of {place.parent.name}, which were not used for longest:"
                f" {base} holds at most {cache_limit(base) / 1e9:.0f} GB"
            )


def cache_limit(base: Path) -> int:
    """Max size of a cache in bytes."""
    return min(MAX_CACHED_BYTES, shutil.disk_usage(base).total // 10)


@contextmanager
def alone(place: Path, progress: Progress) -> Iterator[None]:
    """Hold the pack's lock; say so where another process holds it first."""
    from filelock import FileLock, Timeout

    lock = FileLock(place / _LOCK)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        progress.say(f"another process decodes images to {place}; waiting for it")
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


@dataclass
class PackWriter:
    """Appends pixels to the data file, and now and then makes the index name them."""

    place: Path
    index: PackIndex
    pending: list[IndexRow] = field(default_factory=list)

    def __enter__(self) -> PackWriter:
        with disk_errors_as_data_errors(self.place):
            # Unbuffered: nothing is left to be written, and to fail, when the file is closed.
            self._file = (self.place / self.index.data_name).open("ab", buffering=0)
            self._file.truncate(self.index.data_bytes)  # what a build that was killed left behind
        self._end = self.index.data_bytes
        self._saved = time.monotonic()
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(OSError):
            self._file.truncate(self.index.data_bytes)
        self._file.close()

    def add(self, name: str, size_bytes: int, mtime_ns: int, image: DecodedImage) -> None:
        """Append one image, and save from time to time."""
        if image.pixels:
            with disk_errors_as_data_errors(self.place, len(image.pixels)):
                _write_all(self._file, image.pixels)
        row = _index_row(name, size_bytes, mtime_ns, image, self._end)
        self._end += len(image.pixels)
        self.pending.append(row)
        if time.monotonic() - self._saved > SAVE_SECONDS:
            self.save()

    def save(self) -> None:
        """Sync the pixels, then let the index name them."""
        with disk_errors_as_data_errors(self.place):
            self._file.truncate(self._end)  # without the part of an image that a full disk cut
            os.fsync(self._file.fileno())
            index = self.index.with_rows(self.pending, data_bytes=self._end)
            write_index(self.place, index)
        self.index, self.pending = index, []
        self._saved = time.monotonic()


def _index_row(
    name: str, size_bytes: int, mtime_ns: int, image: DecodedImage, offset: int
) -> IndexRow:
    row = IndexRow(
        name=name,
        size_bytes=size_bytes,
        mtime_ns=mtime_ns,
        sha256=image.sha256,
        reason=image.reason,
    )
    if image.reason is not None:
        return row
    stored_height_px, stored_width_px = image.shape
    red, green, blue = image.mean_rgb
    return replace(
        row,
        width_px=image.width_px,
        height_px=image.height_px,
        stored_width_px=stored_width_px,
        stored_height_px=stored_height_px,
        offset=offset,
        red=red,
        green=green,
        blue=blue,
        crc32=zlib.crc32(image.pixels),
    )


def _write_all(file: RawIOBase, data: bytes | memoryview) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[file.write(rest) or 0 :]


def without_garbage(place: Path, index: PackIndex) -> PackIndex:
    """The index with a new, dense data file where more than half of the old one is unused."""
    live = index.live_bytes()
    if 2 * live >= index.data_bytes or shutil.disk_usage(place).free < live:
        return index
    order = np.flatnonzero(index.image_bytes())
    starts, first = np.unique(index.column("offset")[order], return_index=True)
    sizes = index.image_bytes()[order][first]
    dense = replace(index, data_name=empty_index(index.layout).data_name)
    try:
        with (place / dense.data_name).open("wb", buffering=0) as target:
            if live:
                old = np.memmap(place / index.data_name, np.uint8, "r")
                for start, size in zip(starts.tolist(), sizes.tolist(), strict=True):
                    _write_all(target, old[start : start + size].data)
            os.fsync(target.fileno())
        dense = dense.moved(starts, np.cumsum(sizes) - sizes, data_bytes=live)
        write_index(place, dense)
    except BaseException:
        (place / dense.data_name).unlink(missing_ok=True)
        raise
    return dense


def remove_leftovers(place: Path, index: PackIndex) -> None:
    """Data files that no index names, and what a killed process could not clean up."""
    files.remove_leftovers(place)
    for file in place.glob("pixels-*.bin"):
        if file.name != index.data_name:
            with suppress(OSError):  # mapped by a process under Windows: the next build's turn
                file.unlink()


@contextmanager
def disk_errors_as_data_errors(place: Path, size_bytes: int = 0) -> Iterator[None]:
    """Turn an error of the disk into a DataError with the remedy; size_bytes: what it needs."""
    try:
        yield
    except OSError as error:
        raise DataError(
            f"{place} cannot be written ({error.strerror}); {free_space(place, size_bytes)}; free"
            " some space, or name another place for decoded images with --cache DIR."
        ) from error
