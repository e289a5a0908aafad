"""Small pictures of a library's items: thumbs/ab/<sha256>.webp, one for each content."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from vaeneer import stamps
from vaeneer.files import remove_leftovers, write_bytes

FOLDER = "thumbs"


def thumbnail_path(library: Path, sha256: str) -> Path:
    """Where the thumbnail of a file's content lies, by its hexadecimal SHA-256."""
    return library / FOLDER / sha256[:2] / f"{sha256}.webp"


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
        if (whole := stamps.is_whole(path)) is not None:
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
    for folder in (library, *(library / FOLDER).glob("??")):
        remove_leftovers(folder)


def _changed(path: Path, since_ns: int) -> bool:
    facts = path.stat()
    return max(facts.st_mtime_ns, facts.st_ctime_ns) >= since_ns


def _thumbnails(library: Path) -> list[Path]:
    return list((library / FOLDER).glob("??/*.webp"))
