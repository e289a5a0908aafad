"""What lies in a raw folder: image files, side-cars, and the rest by kind."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from vaeneer.data.images import IMAGE_SUFFIXES
from vaeneer.text import is_utf8, printable

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
    """Clamped to 64 bits: years 1677 to 2262."""

    link: str | None = None
    """Target of a symbolic link: below the raw folder, or absolute; None for other files."""

    file_id: str | None = None
    """Equal for the names of one file (hard links); None for a file of one name."""


@dataclass(frozen=True)
class Scan:
    """All that a raw folder holds, in the order of the paths."""

    images: tuple[FoundFile, ...]

    sidecars: tuple[PurePosixPath, ...]
    """JSON files, relative to the raw folder."""

    others: dict[str, int]
    """Reason -> number of files that are left out without a look at their pixels."""

    warnings: tuple[str, ...]

    left_out: tuple[tuple[str, str], ...] = ()
    """Path and reason of those that a user may miss; files that are no images are counted only."""


def scan_folder(raw: Path, *, ignore: Path | None = None) -> Scan:
    """List `raw` recursively. Hidden names, our caches and the folder `ignore` are left out.

    Folders behind symbolic links are followed, each real folder once, so loops end.
    """
    listing = _Listing(raw)
    warnings: list[str] = []
    for file in _walk(raw, ignore.resolve() if ignore else None, warnings):
        listing.add(file)
    listing.images.sort(key=lambda found: found.path.as_posix())
    return Scan(
        images=tuple(listing.images),
        sidecars=tuple(sorted(listing.sidecars)),
        others=dict(sorted(listing.others.items())),
        warnings=tuple(printable(line) for line in warnings),
        left_out=tuple(sorted(listing.left_out)),
    )


class _Listing:
    """Files of a folder, sorted by what they are."""

    def __init__(self, raw: Path) -> None:
        self.raw = raw
        self.real = raw.resolve()
        self.images: list[FoundFile] = []
        self.sidecars: list[PurePosixPath] = []
        self.others: Counter[str] = Counter()
        self.left_out: list[tuple[str, str]] = []

    def add(self, file: Path) -> None:
        """Count one file, and list it unless it is none that a library needs."""
        path = PurePosixPath(file.relative_to(self.raw).as_posix())
        suffix = printable(file.suffix.lower())
        if suffix != ".json" and suffix not in IMAGE_SUFFIXES | _UNSUPPORTED:
            self.others[f"not an image file ({suffix or 'no suffix'})"] += 1
        elif not is_utf8(str(path)):
            self.leave_out(path, "file name is not UTF-8")
        elif suffix in _UNSUPPORTED:
            self.leave_out(path, f"format not supported ({suffix})")
        elif suffix == ".json":
            self.sidecars.append(path)
        else:
            self._add_image(file, path)

    def leave_out(self, path: PurePosixPath, reason: str) -> None:
        """List a file that is left out; the words before a colon are those of all of its kind."""
        self.others[reason.split(":")[0]] += 1
        self.left_out.append((printable(str(path)), reason))

    def _add_image(self, file: Path, path: PurePosixPath) -> None:
        linked = file.is_symlink()
        try:
            status = file.stat()
        except OSError:
            self.leave_out(path, "link to nothing" if linked else "cannot be read")
            return
        shared = linked or status.st_nlink > 1
        self.images.append(
            FoundFile(
                file,
                path,
                status.st_size,
                _clamped(status.st_mtime_ns),
                link=self._target(file) if linked else None,
                file_id=f"{status.st_dev}:{status.st_ino}" if shared else None,
            )
        )

    def _target(self, link: Path) -> str:
        real = link.resolve()
        below = real.relative_to(self.real) if real.is_relative_to(self.real) else real
        return printable(below.as_posix())


def _clamped(time_ns: int) -> int:
    """A time that fits into the 64 bits of Parquet and SQLite: years 1677 to 2262."""
    return max(-(2**63), min(time_ns, 2**63 - 1))


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
