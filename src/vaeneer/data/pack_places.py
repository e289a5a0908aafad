"""Where packs lie: in the user's cache, or in a place that the user names."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from platformdirs import user_cache_path

from vaeneer.data.manifest import MANIFEST_NAME
from vaeneer.data.pack_index import PackLayout
from vaeneer.files import mark_folder, short_name
from vaeneer.progress import Progress
from vaeneer.provenance import CACHE_TAG

_TAG_TEXT = """Signature: 8a477f597d28d172789f06886806bc55
# Images decoded by vaeneer, one folder for each pack (docs/formats.md of vaeneer).
# Safe to delete: decoded again when they are needed.
"""


def default_cache(root: Path) -> Path:
    """The folder of the packs of a data set, or of another folder, in the user's cache."""
    return cache_of(root, None)


def cache_of(root: Path, cache: Path | None) -> Path:
    """The folder of the packs of a folder, in `cache` or in the user's cache.

    One for each data set or other folder, named by it and a hash of its path.
    """
    owner = _owner(root)
    digest = hashlib.sha256(os.fsencode(owner)).hexdigest()[:12]
    return (cache or user_cache_path("vaeneer")) / f"{short_name(owner.name)}-{digest}"


def _owner(root: Path) -> Path:
    """The data set that `root` is a side of, or `root` itself, absolute."""
    real = root.resolve()
    above = real.parent
    sides = all((above / side).is_dir() for side in ("train", "valid"))
    of_data_set = sides and real.name in ("train", "valid")
    return above if of_data_set or (above / MANIFEST_NAME).is_file() else real


def pack_name(root: Path, layout: PackLayout) -> str:
    """The folder of one pack below its home: `train-568px`, or `568px` for a lone folder."""
    real = root.resolve()
    return layout.tag if real == _owner(root) else f"{short_name(real.name)}-{layout.tag}"


def claim(home: Path, place: Path) -> None:
    """Make the folder of a pack. Raises OSError where nothing can be written."""
    place.mkdir(parents=True, exist_ok=True)
    if not (home / CACHE_TAG).exists():
        (home / CACHE_TAG).write_text(_TAG_TEXT, encoding="utf-8")
    mark_folder(home, "cache")
    (place / "lock").touch()


@contextmanager
def alone(place: Path, progress: Progress) -> Iterator[None]:
    """Hold the pack's lock; say so where another process holds it first."""
    from filelock import FileLock, Timeout

    lock = FileLock(place / "lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        progress.say(f"another process decodes images to {place}; waiting for it")
        lock.acquire()
    try:
        yield
    finally:
        lock.release()
