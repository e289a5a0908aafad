"""The images of a folder, or of a shard of it, decoded; and what their rows are called."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

from vaeneer.data.dataset import ImageFolder
from vaeneer.data.images import read_rgb
from vaeneer.data.pixel_cache import Pack, PackLayout, open_pack
from vaeneer.errors import DataError, ImageFileError
from vaeneer.progress import Progress

if TYPE_CHECKING:
    import pyarrow


def decoded_images(
    folder: ImageFolder,
    layout: PackLayout,
    cache: Path | None,
    progress: Progress,
    *,
    none_is_fine: bool,
) -> Pack | None:
    """The pack of a folder; with `none_is_fine`, as for a shard, None where no image is readable.

    Raises DataError where none is and that is not fine, or where the pack cannot be written.
    """
    if none_is_fine and not len(folder):
        return None
    try:
        return open_pack(folder, layout, cache=cache, progress=progress)
    except DataError:
        if not none_is_fine or any(_readable(item.path) for item in folder.items):
            raise
        return None


def digest_of(folder: ImageFolder) -> str:
    """SHA-256 over names, sizes and times of the files: whether a folder is as it was."""
    digest = hashlib.sha256()
    for item in folder.items:
        size, changed = _size_and_time(item.path)
        digest.update(f"{item.name}\0{size}\0{changed}\n".encode(errors="surrogateescape"))
    return digest.hexdigest()


def why_skipped(folder: ImageFolder, pack: Pack | None) -> dict[str, str]:
    """The files that have no row, with the reason."""
    if pack is None:
        return {str(item.path): "no image of this shard is readable" for item in folder.items}
    return {str(error.path): error.reason for error in pack.skipped}


def names_of(pack: Pack | None) -> pyarrow.Table:
    """file, asset and category of each row, as text."""
    import pyarrow

    text = pyarrow.string()
    names = ("name", "asset", "category")
    columns = [pack.table[name].cast(text) if pack else pyarrow.array([], text) for name in names]
    return pyarrow.table(columns, names=["file", "asset", "category"])


def _size_and_time(file: Path) -> tuple[int, int]:
    try:
        status = file.stat()
    except OSError:
        return -1, -1
    return status.st_size, status.st_mtime_ns


def _readable(file: Path) -> bool:
    try:
        read_rgb(file, at_least_px=64)
    except ImageFileError:
        return False
    return True
