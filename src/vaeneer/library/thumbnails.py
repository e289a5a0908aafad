"""Small pictures of a library's items: thumbs/ab/<sha256>.webp, one for each content."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from vaeneer.files import replacing

FOLDER = "thumbs"


def thumbnail_path(library: Path, sha256: str) -> Path:
    """Where the thumbnail of a file's content lies, by its hexadecimal SHA-256."""
    return library / FOLDER / sha256[:2] / f"{sha256}.webp"


def write_thumbnail(library: Path, sha256: str, data: bytes) -> None:
    """Keep a thumbnail, whole or not at all."""
    path = thumbnail_path(library, sha256)
    if path.is_file() and path.stat().st_size == len(data):
        return
    with replacing(path) as temporary:
        temporary.write_bytes(data)


def missing_thumbnails(library: Path, sha256s: Iterable[str]) -> set[str]:
    """Which contents have no thumbnail."""
    return set(sha256s) - {path.stem for path in _thumbnails(library)}


def remove_thumbnails(library: Path, keep: Iterable[str]) -> int:
    """Delete the thumbnails of all other contents, and what a kill left; returns how many."""
    kept, removed = set(keep), 0
    for path in _thumbnails(library):
        if path.stem not in kept:
            path.unlink()
            removed += 1
    for path in (library / FOLDER).glob("??/.*.part"):
        path.unlink()
    return removed


def _thumbnails(library: Path) -> list[Path]:
    return list((library / FOLDER).glob("??/*.webp"))
