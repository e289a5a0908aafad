"""What lies in a raw folder: image files, side-cars, and the rest by kind."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from vaeneer.data.images import IMAGE_SUFFIXES

# Pictures that artists do keep beside colour maps, but that are no 8- or 16-bit RGB files.
_UNSUPPORTED = frozenset({".exr", ".hdr", ".psd", ".psb", ".svg", ".raw", ".dng", ".heic", ".jxl"})

CACHE_TAG = "CACHEDIR.TAG"
"""A file of this name marks a folder as a cache (bford.info/cachedir); ours names vaeneer."""


@dataclass(frozen=True)
class FoundFile:
    """One image file, not opened yet."""

    file: Path

    path: PurePosixPath
    """Relative to the raw folder."""

    size_bytes: int
    mtime_ns: int


@dataclass(frozen=True)
class Scan:
    """All that a raw folder holds, in the order of the paths."""

    images: tuple[FoundFile, ...]

    sidecars: tuple[PurePosixPath, ...]
    """JSON files, relative to the raw folder."""

    others: dict[str, int]
    """Reason -> number of files that are no images."""

    warnings: tuple[str, ...]


def scan_folder(raw: Path, *, ignore: Path | None = None) -> Scan:
    """List `raw` recursively. Hidden names, our caches and the folder `ignore` are left out.

    Folders behind symbolic links are followed, each real folder once, so loops end.
    """
    images: list[FoundFile] = []
    sidecars: list[PurePosixPath] = []
    others: Counter[str] = Counter()
    warnings: list[str] = []
    for file in _walk(raw, ignore.resolve() if ignore else None, warnings):
        relative = PurePosixPath(file.relative_to(raw).as_posix())
        suffix = file.suffix.lower()
        if suffix == ".json":
            sidecars.append(relative)
        elif suffix not in IMAGE_SUFFIXES:
            kind = "format not supported" if suffix in _UNSUPPORTED else "not an image file"
            others[f"{kind} ({suffix or 'no suffix'})"] += 1
        elif _not_utf8(file.name) or _not_utf8(str(relative)):
            others["file name is not UTF-8"] += 1
        else:
            _add(images, others, file, relative)
    images.sort(key=lambda found: found.path.as_posix())
    return Scan(
        tuple(images), tuple(sorted(sidecars)), dict(sorted(others.items())), tuple(warnings)
    )


def _add(
    images: list[FoundFile], others: Counter[str], file: Path, relative: PurePosixPath
) -> None:
    try:
        status = file.stat()
    except OSError:
        others["link to nothing" if file.is_symlink() else "cannot be read"] += 1
    else:
        images.append(FoundFile(file, relative, status.st_size, status.st_mtime_ns))


def _walk(raw: Path, ignore: Path | None, warnings: list[str]) -> Iterator[Path]:
    """Files of each real folder once; links come last, so that real paths are preferred."""
    seen = {
        *([ignore] if ignore else []),
        *raw.resolve().parents,
    }  # a link upwards would take in the whole disk
    links: list[Path] = [raw]

    def warn(error: OSError) -> None:
        warnings.append(f"{error.filename}: {error.strerror}, folder left out")

    while links:
        for name, below, files in os.walk(links.pop(0), onerror=warn):
            folder = Path(name)
            real = folder.resolve()
            if real in seen:
                below.clear()
                continue
            seen.add(real)
            if folder != raw and CACHE_TAG in files and _is_our_cache(folder / CACHE_TAG):
                below.clear()
                continue
            below[:] = sorted(entry for entry in below if not entry.startswith("."))
            links += [folder / entry for entry in below if (folder / entry).is_symlink()]
            yield from (folder / entry for entry in sorted(files) if not entry.startswith("."))


def _is_our_cache(tag: Path) -> bool:
    try:
        with tag.open("rb") as stream:
            return b"vaeneer" in stream.read(200)
    except OSError:
        return False


def _not_utf8(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:  # bytes that Python smuggles through as lone surrogates
        return True
    return False
