"""How a pack is brought up to date: known rows kept, moved files found again, the rest decoded."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from vaeneer.data.decoding import in_processes
from vaeneer.data.folder import ImageFolder
from vaeneer.data.images import header_size
from vaeneer.data.pack_index import (
    PackIndex,
    PackLayout,
    empty_index,
    is_checked,
    note_checked,
    whole_index,
)
from vaeneer.data.pack_writing import PackWriter, remove_leftovers, saying_where, without_garbage
from vaeneer.data.scanning import clamped_ns
from vaeneer.data.shrinking import ShrinkJob, sha256_of, shrink
from vaeneer.errors import DataError, ImageFileError, is_transient
from vaeneer.progress import Progress

if TYPE_CHECKING:
    import pyarrow

_HEADERS_SAMPLED = 32
_STRINGS_AT_ONCE = 4096
_WORTH_SAYING_BYTES = 1e9


@dataclass(frozen=True)
class Wanted:
    """The files of a folder as they are now, in its order, without an object for each."""

    root: Path
    names: pyarrow.Array
    sizes: NDArray[np.int64]
    """Bytes; -1 for a file that is not there any more."""
    mtimes: NDArray[np.int64]
    """Nanoseconds since 1970."""

    def __len__(self) -> int:
        return len(self.sizes)

    def path(self, number: int) -> Path:
        """Where a file is."""
        return self.root / str(self.names[number].as_py())

    def rows_in(self, index: PackIndex) -> NDArray[np.int64]:
        """The row of each file; -1 where it has none of its name, size and time."""
        import pyarrow.compute as compute

        if not len(index):
            return np.full(len(self), -1)
        found = compute.index_in(self.names, value_set=index.table["name"].combine_chunks())
        rows = np.asarray(compute.fill_null(found, -1)).astype(np.int64)
        same = index.column("size_bytes")[rows] == self.sizes
        same &= index.column("mtime_ns")[rows] == self.mtimes
        return np.where(same, rows, -1)


def look_at(folder: ImageFolder) -> Wanted:
    """Ask the file system for size and time of each file; none is opened."""
    found = np.full((len(folder), 2), -1, np.int64)
    for number, item in enumerate(folder.items):
        with suppress(OSError):
            status = item.path.stat()
            found[number] = status.st_size, clamped_ns(status.st_mtime_ns)
    names = strings(item.name for item in folder.items)
    return Wanted(folder.root, names, found[:, 0].copy(), found[:, 1].copy())


def strings(values: Iterable[str | None]) -> pyarrow.Array:
    """Many strings as one array, without a list of them all on the way."""
    import pyarrow

    left = iter(values)
    parts: list[pyarrow.Array] = []
    while not parts or len(parts[-1]):
        parts.append(pyarrow.array(islice(left, _STRINGS_AT_ONCE), pyarrow.string()))
    return pyarrow.concat_arrays(parts)


@dataclass(frozen=True)
class Built:
    """A pack that is up to date."""

    index: PackIndex
    decoded: int
    unread: dict[str, str]
    """Name to reason of files that could not be read this time and have no row."""


def build(
    place: Path, wanted: Wanted, layout: PackLayout, *, workers: int, progress: Progress
) -> Built:
    """Bring the pack in the folder `place` up to date; the caller holds its lock.

    Raises DataError when the disk is full or the decoding processes die; what was decoded
    until then is kept, and so it is on KeyboardInterrupt.
    """
    before = whole_index(place, layout)
    index = _without_old_rows(before or empty_index(layout), wanted, workers, progress)
    with saying_where(place):
        index = without_garbage(place, index)
        remove_leftovers(place, index)
    jobs = np.flatnonzero(wanted.rows_in(index) < 0).tolist()
    _check_space(place, wanted, jobs, layout, progress)
    with PackWriter(place, index) as writer, _keeping_what_is_done(writer, progress):
        unread = _decode(writer, wanted, jobs, workers, progress)
        if writer.pending or index is not before or not is_checked(place, index):
            writer.save()
    note_checked(place, writer.index)
    return Built(writer.index, len(jobs), unread)


def _decode(
    writer: PackWriter, wanted: Wanted, numbers: list[int], workers: int, progress: Progress
) -> dict[str, str]:
    unread: dict[str, str] = {}
    jobs = [ShrinkJob(wanted.path(number), writer.index.layout) for number in numbers]
    size_bytes = int(wanted.sizes[numbers].clip(0).sum())
    answers = in_processes(shrink, jobs, workers=workers, size_bytes=size_bytes)
    with (
        closing(answers),
        progress.bar(f"packing {wanted.root.name}", total=len(jobs), unit="images") as bar,
    ):
        for number, answer in zip(numbers, answers, strict=True):
            name = wanted.names[number].as_py()
            if answer.reason is not None and is_transient(answer.reason):
                unread[name] = answer.reason
            else:
                size, mtime = int(wanted.sizes[number]), int(wanted.mtimes[number])
                writer.add(name, size, mtime, answer)
            bar.advance()
    return unread


def _without_old_rows(
    index: PackIndex, wanted: Wanted, workers: int, progress: Progress
) -> PackIndex:
    """The rows that still hold; those of files touched, renamed or copied under their new names.

    The same index where all rows hold. Rows of files that are there but not wanted stay.
    """
    import pyarrow.compute as compute

    unknown = np.flatnonzero(wanted.rows_in(index) < 0)
    again = _rows_with_equal_bytes(index, wanted, unknown, workers, progress)
    listed = np.asarray(compute.is_in(index.table["name"], value_set=wanted.names))
    superseded = wanted.names.take(unknown)
    keep = ~np.asarray(compute.is_in(index.table["name"], value_set=superseded))
    for row in np.flatnonzero(~listed):
        keep[row] = (wanted.root / index.table["name"][int(row)].as_py()).exists()
    if keep.all() and not again:
        return index
    return index.with_files(
        keep,
        rows=list(again.values()),
        names=[wanted.names[number].as_py() for number in again],
        mtimes=wanted.mtimes[list(again)],
    )


def _rows_with_equal_bytes(
    index: PackIndex,
    wanted: Wanted,
    unknown: NDArray[np.int64],
    workers: int,
    progress: Progress,
) -> dict[int, int]:
    """Number to row of those unknown files whose bytes some row has, by size and hash."""
    sizes = index.column("size_bytes")
    numbers = unknown[np.isin(wanted.sizes[unknown], sizes)].tolist()
    if not numbers:
        return {}
    rows = np.flatnonzero(np.isin(sizes, wanted.sizes[numbers])).tolist()
    hashes = index.table["sha256"].take(rows).to_pylist()
    known = dict(zip(hashes, rows, strict=True))
    found: dict[int, int] = {}
    with (
        ThreadPoolExecutor(workers or None) as pool,
        progress.bar(f"comparing {wanted.root.name}", total=len(numbers), unit="images") as bar,
    ):
        digests = pool.map(_sha256_or_nothing, map(wanted.path, numbers))
        for number, digest in zip(numbers, digests, strict=True):
            if digest in known:
                found[number] = known[digest]
            bar.advance()
    return found


def _sha256_or_nothing(path: Path) -> bytes:
    try:
        return sha256_of(path)
    except (OSError, ImageFileError):
        return b""


def _check_space(
    place: Path, wanted: Wanted, numbers: list[int], layout: PackLayout, progress: Progress
) -> None:
    """Refuse what cannot fit, judged by the headers of a few files; say what will be large."""
    sample = numbers[:: max(1, len(numbers) // _HEADERS_SAMPLED)]
    headers = (header_size(wanted.path(number)) for number in sample)
    stored = [layout.stored_size(*size) for size in headers if size]
    if not stored:
        return
    needed = sum(3 * width * height for width, height in stored) / len(stored) * len(numbers)
    free = shutil.disk_usage(place).free
    if needed > free:
        raise DataError(
            f"The {len(numbers)} images of {wanted.root}, decoded once, need {needed / 1e9:.1f} GB"
            f" in {place}, where {free / 1e9:.1f} GB are free; free some, or name another place"
            " with --cache DIR."
        )
    if needed > _WORTH_SAYING_BYTES:
        progress.say(
            f"decoding the {len(numbers)} images of {wanted.root} once, to {place}"
            f" ({needed / 1e9:.1f} GB; safe to delete)"
        )


@contextmanager
def _keeping_what_is_done(writer: PackWriter, progress: Progress) -> Iterator[None]:
    """Save before any exception goes on, so that the next build begins where this one ended."""
    try:
        yield
    except BaseException as error:
        with suppress(DataError):  # a full disk: what was saved before stays as it is
            writer.save()
        if isinstance(error, KeyboardInterrupt):
            progress.say(
                f"stopped; {len(writer.index)} decoded images are kept in {writer.place},"
                " the next run decodes the others"
            )
        raise
