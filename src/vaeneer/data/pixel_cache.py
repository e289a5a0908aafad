"""Images decoded once and cached as uint8 pixels in one memory-mapped file: a pack.

A pack is brought up to date on use: existing rows stay, moved files are found by their content, the
rest is decoded.
"""

from __future__ import annotations

import hashlib
import shutil
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from vaeneer.data.cache_files import (
    PackWriter,
    alone,
    cache_of,
    create,
    default_cache,
    disk_errors_as_data_errors,
    limit_cache,
    note_use,
    pack_name,
    remove_leftovers,
    without_garbage,
)
from vaeneer.data.cache_index import (
    PackIndex,
    PackLayout,
    empty_index,
    is_checked,
    note_checked,
    whole_index,
)
from vaeneer.data.dataset import RGB, ImageFolder, ImageItem
from vaeneer.data.decode_worker import DecodeJob, decode_image, in_processes, sha256_of
from vaeneer.data.images import header_size
from vaeneer.data.scan import clamped_ns
from vaeneer.errors import DataError, ImageFileError
from vaeneer.progress import Progress, Silent
from vaeneer.storage import storage_error

if TYPE_CHECKING:
    import pyarrow


_HEADERS_SAMPLED = 32
_STRINGS_AT_ONCE = 4096
_WORTH_SAYING_BYTES = 1e9
_NAMES_AT_ONCE = 4096


@dataclass(frozen=True, eq=False)
class Pack:
    """The readable images of a folder, in its order, as pixels in a memory-mapped file."""

    folder_root: Path
    layout: PackLayout
    pixels: NDArray[np.uint8]
    """The whole data file: a flat, read-only np.memmap."""
    offsets: NDArray[np.int64]
    """First byte of each image, (n,)."""
    heights: NDArray[np.int32]
    widths: NDArray[np.int32]
    """Size of each image in the pack, pixels, (n,)."""
    mean_rgb: RGB
    """Mean colour over the images, each image weighing the same, channels in [0, 1]."""
    skipped: tuple[ImageFileError, ...]
    """The files that cannot be read, in the order of the folder."""
    decoded: int
    """Files that this call decoded, or tried to; the others were known."""
    seconds: float
    """How long this call took."""
    table: pyarrow.Table
    """name, size_bytes (of the file), asset and category of each image."""

    def __len__(self) -> int:
        return len(self.offsets)

    def image(self, index: int) -> NDArray[np.uint8]:
        """The pixels of one image, (h, w, 3) uint8: a read-only view into the map, no copy."""
        height, width = int(self.heights[index]), int(self.widths[index])
        start = int(self.offsets[index])
        flat = np.asarray(self.pixels)[start : start + 3 * height * width]
        return flat.reshape(height, width, 3)

    def name(self, index: int) -> str:
        """Path of one image below the folder, with forward slashes."""
        return str(self.table["name"][index].as_py())

    def item(self, index: int) -> ImageItem:
        """One image as the folder knows it."""
        name, asset, category = (
            self.table[column][index].as_py() for column in ("name", "asset", "category")
        )
        return ImageItem(self.folder_root / name, name, asset, category)

    def items(self) -> list[ImageItem]:
        """All images as the folder knows them."""
        return [self.item(index) for index in range(len(self))]

    def fingerprint(self) -> str:
        """SHA-256 over names and sizes of the files, as `ImageFolder.fingerprint` makes it."""
        digest = hashlib.sha256()
        for batch in self.table.to_batches(max_chunksize=_NAMES_AT_ONCE):
            names, sizes = batch["name"].to_pylist(), batch["size_bytes"].to_pylist()
            for name, size in zip(names, sizes, strict=True):
                digest.update(f"{name}\0{size}\n".encode())
        return digest.hexdigest()


def open_pack(
    folder: ImageFolder,
    layout: PackLayout,
    *,
    cache: Path | None = None,
    workers: int = 0,
    progress: Progress | None = None,
) -> Pack:
    """The pack of a folder's readable images, brought up to date first where it is not.

    Only files that are new or changed since the last time are decoded, in processes. A process
    that finds another one building waits for it.

    cache: where packs are kept, instead of `default_cache`. workers: processes that decode, 0
    takes one for each core.
    Raises DataError when no image is readable, when the disk has no room, or when `cache` cannot
    be written.
    """
    import pyarrow

    started = time.perf_counter()
    pack = _up_to_date(folder, layout, cache, workers, progress or Silent())
    pyarrow.default_memory_pool().release_unused()  # it would keep what the index has taken
    return replace(pack, seconds=time.perf_counter() - started)


@dataclass(frozen=True)
class FolderListing:
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


def list_files(folder: ImageFolder) -> FolderListing:
    """Ask the file system for size and time of each file; none is opened."""
    found = np.full((len(folder), 2), -1, np.int64)
    for number, item in enumerate(folder.items):
        with suppress(OSError):
            status = item.path.stat()
            found[number] = status.st_size, clamped_ns(status.st_mtime_ns)
    names = strings(item.name for item in folder.items)
    return FolderListing(folder.root, names, found[:, 0].copy(), found[:, 1].copy())


def strings(values: Iterable[str | None]) -> pyarrow.Array:
    """Many strings as one array, without a list of them all on the way."""
    import pyarrow

    left = iter(values)
    parts: list[pyarrow.Array] = []
    while not parts or len(parts[-1]):
        parts.append(pyarrow.array(islice(left, _STRINGS_AT_ONCE), pyarrow.string()))
    return pyarrow.concat_arrays(parts)


@dataclass(frozen=True)
class CacheState:
    """A pack that is up to date."""

    index: PackIndex
    decoded: int
    unread: dict[str, str]
    """Name to reason of files that could not be read this time and have no row."""


def build(
    place: Path, wanted: FolderListing, layout: PackLayout, *, workers: int, progress: Progress
) -> CacheState:
    """Bring the pack in the folder `place` up to date; the caller holds its lock.

    Raises DataError when the disk is full or the decoding processes die; what was decoded
    until then is kept, and so it is on KeyboardInterrupt.
    """
    before = whole_index(place, layout)
    index = _without_old_rows(before or empty_index(layout), wanted, workers, progress)
    with disk_errors_as_data_errors(place):
        index = without_garbage(place, index)
        remove_leftovers(place, index)
    jobs = np.flatnonzero(wanted.rows_in(index) < 0).tolist()
    _check_space(place, wanted, jobs, layout, progress)
    with PackWriter(place, index) as writer, _keeping_what_is_done(writer, progress):
        unread = _decode(writer, wanted, jobs, workers, progress)
        if writer.pending or index is not before or not is_checked(place, index):
            writer.save()
    note_checked(place, writer.index)
    return CacheState(writer.index, len(jobs), unread)


def _decode(
    writer: PackWriter, wanted: FolderListing, numbers: list[int], workers: int, progress: Progress
) -> dict[str, str]:
    unread: dict[str, str] = {}
    layout = writer.index.layout
    jobs = [DecodeJob(wanted.path(n), own_pictures=True, layout=layout) for n in numbers]
    size_bytes = int(wanted.sizes[numbers].clip(0).sum())
    answers = in_processes(decode_image, jobs, workers=workers, size_bytes=size_bytes)
    with (
        closing(answers),
        progress.bar(f"packing {wanted.root.name}", total=len(jobs), unit="images") as bar,
    ):
        for number, answer in zip(numbers, answers, strict=True):
            name = wanted.names[number].as_py()
            if answer.reason is not None and answer.retryable:
                unread[name] = answer.reason
            else:
                size, mtime = int(wanted.sizes[number]), int(wanted.mtimes[number])
                writer.add(name, size, mtime, answer)
            bar.advance()
    return unread


def _without_old_rows(
    index: PackIndex, wanted: FolderListing, workers: int, progress: Progress
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
    wanted: FolderListing,
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
    place: Path, wanted: FolderListing, numbers: list[int], layout: PackLayout, progress: Progress
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


__all__ = ["Pack", "PackLayout", "default_cache", "open_pack"]


def _up_to_date(
    folder: ImageFolder, layout: PackLayout, cache: Path | None, workers: int, progress: Progress
) -> Pack:
    wanted = list_files(folder)
    home = cache_of(folder.root, cache)
    place = home / pack_name(folder.root, layout)
    index = whole_index(place, layout)
    pack = _known_pack(folder, wanted, place, index) if index else None
    if pack is not None and not _is_mostly_garbage(pack):
        note_use(place)
        return pack
    try:
        create(home, place)
    except OSError as error:
        if pack is not None:
            return pack
        raise storage_error(error, home) or DataError(
            f"{error.filename} cannot be written ({error.strerror}); name another place for"
            " decoded images with --cache DIR."
        ) from error
    with alone(place, progress):
        built = build(place, wanted, layout, workers=workers, progress=progress)
        pack = _pack(folder, wanted, place, built)
    if cache is None:  # in the user's own folder the user decides
        limit_cache(home.parent, but=home, progress=progress)
    return pack


def _known_pack(
    folder: ImageFolder, wanted: FolderListing, place: Path, index: PackIndex
) -> Pack | None:
    """The pack where every file is known: nothing is locked or written."""
    if (wanted.rows_in(index) < 0).any():
        return None
    try:
        return _pack(folder, wanted, place, CacheState(index, 0, {}))
    except FileNotFoundError:  # another process has just put a new data file in its place
        return None


def _is_mostly_garbage(pack: Pack) -> bool:
    used = 3 * (pack.heights.astype(np.int64) * pack.widths).sum()
    return bool(2 * used < len(pack.pixels))


def _pack(
    folder: ImageFolder,
    wanted: FolderListing,
    place: Path,
    built: CacheState,
) -> Pack:
    index = built.index
    rows = wanted.rows_in(index)
    readable = (rows >= 0) & (np.append(index.image_bytes(), 0)[rows] > 0)  # row -1: the zero
    good = np.flatnonzero(readable)
    if not len(good):
        raise DataError(f"None of the {len(folder)} images in {folder.root} is readable.")
    kept = rows[good]
    colours = np.stack([index.column(name)[kept] for name in ("red", "green", "blue")])
    red, green, blue = colours.mean(1, dtype=np.float64).tolist()
    return Pack(
        folder_root=folder.root,
        layout=index.layout,
        pixels=np.memmap(place / index.data_name, np.uint8, "r"),
        offsets=index.column("offset")[kept],
        heights=index.column("stored_height_px")[kept],
        widths=index.column("stored_width_px")[kept],
        mean_rgb=(red, green, blue),
        skipped=_skipped(wanted, built, rows, np.flatnonzero(~readable)),
        decoded=built.decoded,
        seconds=0.0,  # `open_pack` knows
        table=_facts(folder, wanted, good),
    )


def _skipped(
    wanted: FolderListing, built: CacheState, rows: NDArray[np.int64], numbers: NDArray[np.int64]
) -> tuple[ImageFileError, ...]:
    errors = []
    for number in numbers.tolist():
        file, row = wanted.path(number), int(rows[number])
        known = built.index.table["reason"][row].as_py() if row >= 0 else None
        errors.append(ImageFileError(file, known or built.unread[wanted.names[number].as_py()]))
    return tuple(errors)


def _facts(folder: ImageFolder, wanted: FolderListing, good: NDArray[np.int64]) -> pyarrow.Table:
    import pyarrow

    columns = {
        "name": wanted.names,
        "size_bytes": pyarrow.array(wanted.sizes),
        "asset": strings(item.asset for item in folder.items),
        "category": strings(item.category for item in folder.items).dictionary_encode(),
    }
    return pyarrow.table(columns).take(good)
