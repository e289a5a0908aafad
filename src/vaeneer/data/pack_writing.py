"""The data file of a pack: grown, synced and then named by the index; freed of garbage.

The data file only grows, or gives way to a new one of another name. The index is replaced after
the bytes that it names are synced: whatever ends a build, the index on disk is true.
"""

from __future__ import annotations

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

from vaeneer import files
from vaeneer.data.pack_index import IndexRow, PackIndex, empty_index, write_index
from vaeneer.data.shrinking import Shrunk
from vaeneer.errors import DataError
from vaeneer.storage import free_space

SAVE_SECONDS = 20.0
"""How much of a build a killed process may lose."""


@dataclass
class PackWriter:
    """Appends pixels to the data file, and now and then makes the index name them."""

    place: Path
    index: PackIndex
    pending: list[IndexRow] = field(default_factory=list)

    def __enter__(self) -> PackWriter:
        with saying_where(self.place):
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

    def add(self, name: str, size_bytes: int, mtime_ns: int, image: Shrunk) -> None:
        """Append one image, and save from time to time."""
        if image.pixels:
            with saying_where(self.place, len(image.pixels)):
                _write_all(self._file, image.pixels)
        row = _index_row(name, size_bytes, mtime_ns, image, self._end)
        self._end += len(image.pixels)
        self.pending.append(row)
        if time.monotonic() - self._saved > SAVE_SECONDS:
            self.save()

    def save(self) -> None:
        """Sync the pixels, then let the index name them."""
        with saying_where(self.place):
            self._file.truncate(self._end)  # without the part of an image that a full disk cut
            os.fsync(self._file.fileno())
            index = self.index.with_rows(self.pending, data_bytes=self._end)
            write_index(self.place, index)
        self.index, self.pending = index, []
        self._saved = time.monotonic()


def _index_row(name: str, size_bytes: int, mtime_ns: int, image: Shrunk, offset: int) -> IndexRow:
    row = IndexRow(
        name=name,
        size_bytes=size_bytes,
        mtime_ns=mtime_ns,
        sha256=image.sha256,
        reason=image.reason,
    )
    if image.reason is not None:
        return row
    (width_px, height_px), (stored_width_px, stored_height_px) = image.size_px, image.stored_px
    red, green, blue = image.mean_rgb
    return replace(
        row,
        width_px=width_px,
        height_px=height_px,
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
def saying_where(place: Path, size_bytes: int = 0) -> Iterator[None]:
    """Turn an error of the disk into a DataError with the remedy; size_bytes: what it needs."""
    try:
        yield
    except OSError as error:
        raise DataError(
            f"{place} cannot be written ({error.strerror}); {free_space(place, size_bytes)}; free"
            " some space, or name another place for decoded images with --cache DIR."
        ) from error
