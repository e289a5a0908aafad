"""Marks on all that vaeneer writes, and their recognition: what it wrote is never a surface.

A folder has the file `.vaeneer.json` in it, a picture names vaeneer as its software. Folders of
versions before the mark are recognised by the files that lie in them. No imports but of PIL, and
that only to write.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from vaeneer.errors import ImageFileError
from vaeneer.storage import start_of_sqlite_file

__version__ = metadata.version("vaeneer")
MARKER = ".vaeneer.json"
"""A file of this name says what vaeneer made a folder for."""
CACHE_TAG = "CACHEDIR.TAG"
"""A file of this name marks a folder as a cache (bford.info/cachedir); ours names vaeneer."""
MADE_HERE = "made by vaeneer"
"""The reason, before the colon, of everything that is left out because vaeneer wrote it."""
_SOFTWARE_TAG = 0x0131  # of EXIF
_START_BYTES = 65536
_HEADER_BYTES = 4096


@dataclass(frozen=True)
class _Habit:
    """Files and folders that lie in a folder of one kind, and text in the first of them."""

    kind: str
    files: tuple[str, ...]
    folders: tuple[str, ...] = ()
    text: bytes = b""


_HABITS = (
    _Habit("data set", ("manifest.parquet",), ("train",)),
    _Habit("data set", ("manifest.parquet",), ("valid",)),
    _Habit("library", ("catalog.sqlite",), text=b"SQLite format 3"),
    _Habit("run", ("run.json", "config.toml"), text=b'"fingerprint"'),
    _Habit("model", ("config.json", "model.safetensors"), text=b'"reconstruction_loss"'),
    _Habit("evaluation", ("evaluation.json", "per-image.csv")),
    _Habit("similarity", ("similarity.json", "similarity.html")),
    _Habit("benchmark", ("bench.json", "bench.png")),
    _Habit(
        "demonstration",
        ("report.html", "reconstructions.png"),
        ("data", "run"),
    ),
)


def software() -> str:
    """The name that stands in pictures: vaeneer and its version."""
    return f"vaeneer {__version__}"


def marker_text(kind: str) -> str:
    """The content of the marker of a folder."""
    return json.dumps({"kind": kind, "version": __version__}) + "\n"


def picture_options(file_format: str) -> dict[str, Any]:
    """Arguments of PIL's `Image.save` that put the name of vaeneer into a PNG, JPEG or WebP."""
    if file_format == "PNG":
        from PIL.PngImagePlugin import PngInfo

        text = PngInfo()
        text.add_text("Software", software())
        return {"pnginfo": text}
    from PIL import Image

    exif = Image.Exif()
    exif[_SOFTWARE_TAG] = software()
    return {"exif": exif}


def kind_of_folder(folder: Path, files: Collection[str], folders: Collection[str]) -> str | None:
    """What vaeneer made a folder for, by the names in it; None for a folder of anyone else."""
    if MARKER in files:
        return _marked_kind(folder / MARKER)
    if CACHE_TAG in files and b"vaeneer" in _start(folder / CACHE_TAG):
        return "cache"
    for habit in _HABITS:
        named = all(name in files for name in habit.files)
        named = named and all(name in folders for name in habit.folders)
        if named and habit.text in _start(folder / habit.files[0]):
            return habit.kind
    return None


def kind_on_disk(folder: Path) -> str | None:
    """As `kind_of_folder`, of what lies in a folder now; None where it cannot be listed."""
    try:
        names = {entry.name for entry in folder.iterdir()}
    except OSError:
        return None
    return kind_of_folder(folder, names, names)


def refuse_own_picture(file: Path) -> None:
    """Raise ImageFileError for a picture that vaeneer drew; OSError where it cannot be read."""
    if file.is_file() and is_own_picture(file):
        raise ImageFileError(file, f"{MADE_HERE}: a picture of it, no surface")


def _marked_kind(marker: Path) -> str:
    """The kind in a marker; of a damaged one the word folder."""
    text = _start(marker)
    try:
        kind = json.loads(text)["kind"]
    except (ValueError, KeyError, TypeError):
        return "folder"
    return str(kind)[:80]


def _start(file: Path) -> bytes:
    try:
        return start_of_sqlite_file(file, _START_BYTES)  # a catalog may be in use here
    except OSError:
        return b""


def is_own_picture(file: Path) -> bool:
    """Whether vaeneer drew the picture in a regular file; OSError where it cannot be read."""
    with file.open("rb") as stream:
        start = stream.read(_HEADER_BYTES)
        if start.startswith(b"\x89PNG"):
            return b"tEXtSoftware\0vaeneer " in start
        if start.startswith(b"\xff\xd8\xff"):
            return b"Exif\0\0" in start and b"vaeneer " in start
        if start.startswith(b"RIFF") and start[8:12] == b"WEBP":  # EXIF stands at the end
            stream.seek(max(0, stream.seek(0, 2) - 512))
            end = stream.read()
            return b"EXIF" in end and b"vaeneer " in end
    return False
