"""Images decoded once and kept as uint8 pixels in one memory-mapped file: a pack."""

from __future__ import annotations

import hashlib
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from vaeneer.data.folder import RGB, ImageFolder, ImageItem
from vaeneer.data.pack_building import Built, Wanted, build, look_at, strings
from vaeneer.data.pack_index import PackIndex, PackLayout, whole_index
from vaeneer.data.pack_places import (
    alone,
    cache_of,
    claim,
    default_cache,
    limit_cache,
    note_use,
    pack_name,
)
from vaeneer.errors import DataError, ImageFileError
from vaeneer.progress import Progress, Silent
from vaeneer.storage import storage_error

if TYPE_CHECKING:
    import pyarrow

__all__ = ["Pack", "PackLayout", "default_cache", "open_pack"]

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


def _up_to_date(
    folder: ImageFolder, layout: PackLayout, cache: Path | None, workers: int, progress: Progress
) -> Pack:
    wanted = look_at(folder)
    home = cache_of(folder.root, cache)
    place = home / pack_name(folder.root, layout)
    index = whole_index(place, layout)
    pack = _known_pack(folder, wanted, place, index) if index else None
    if pack is not None and not _is_mostly_garbage(pack):
        note_use(place)
        return pack
    try:
        claim(home, place)
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


def _known_pack(folder: ImageFolder, wanted: Wanted, place: Path, index: PackIndex) -> Pack | None:
    """The pack where every file is known: nothing is locked or written."""
    if (wanted.rows_in(index) < 0).any():
        return None
    try:
        return _pack(folder, wanted, place, Built(index, 0, {}))
    except FileNotFoundError:  # another process has just put a new data file in its place
        return None


def _is_mostly_garbage(pack: Pack) -> bool:
    used = 3 * (pack.heights.astype(np.int64) * pack.widths).sum()
    return bool(2 * used < len(pack.pixels))


def _pack(
    folder: ImageFolder,
    wanted: Wanted,
    place: Path,
    built: Built,
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
    wanted: Wanted, built: Built, rows: NDArray[np.int64], numbers: NDArray[np.int64]
) -> tuple[ImageFileError, ...]:
    errors = []
    for number in numbers.tolist():
        file, row = wanted.path(number), int(rows[number])
        known = built.index.table["reason"][row].as_py() if row >= 0 else None
        errors.append(ImageFileError(file, known or built.unread[wanted.names[number].as_py()]))
    return tuple(errors)


def _facts(folder: ImageFolder, wanted: Wanted, good: NDArray[np.int64]) -> pyarrow.Table:
    import pyarrow

    columns = {
        "name": wanted.names,
        "size_bytes": pyarrow.array(wanted.sizes),
        "asset": strings(item.asset for item in folder.items),
        "category": strings(item.category for item in folder.items).dictionary_encode(),
    }
    return pyarrow.table(columns).take(good)
