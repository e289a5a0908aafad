"""Where packs lie: in the user's cache, which has a max size, or where the user says."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from platformdirs import user_cache_path

from vaeneer.data.manifest import MANIFEST_NAME
from vaeneer.data.pack_index import INDEX_NAME, PackLayout
from vaeneer.files import mark_folder, short_name
from vaeneer.progress import Progress
from vaeneer.provenance import CACHE_TAG

MAX_CACHED_BYTES = 50_000_000_000
"""Max size of the user's cache, and never more than a tenth of its disk."""
_LOCK = "lock"
_TAG_TEXT = """Signature: 8a477f597d28d172789f06886806bc55
# Images decoded by vaeneer, one folder for each pack (docs/formats.md of vaeneer).
# Safe to delete: decoded again when they are needed.
"""


def default_cache(root: Path) -> Path:
    """The folder of the packs of a data set, or of another folder, in the user's cache."""
    return cache_of(root, None)


def users_cache() -> Path:
    """The folder of all packs of this user, unless another one is given."""
    return user_cache_path("vaeneer", appauthor=False)


def cache_of(root: Path, cache: Path | None) -> Path:
    """The folder of the packs of a folder, in `cache` or in the user's cache.

    One for each data set or other folder, named by it and a hash of its path.
    """
    owner = _owner(root)
    digest = hashlib.sha256(os.fsencode(owner)).hexdigest()[:12]
    return (cache or users_cache()) / f"{short_name(owner.name)}-{digest}"


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
    (place / _LOCK).touch()


def note_use(place: Path) -> None:
    """Note that a pack is used now; where that cannot be written, nothing is lost but its turn."""
    with suppress(OSError):
        os.utime(place / _LOCK)


def cached_packs(base: Path) -> dict[Path, tuple[int, int]]:
    """The packs in a cache: when each was last used, ns since 1970, and its size in bytes."""
    found: dict[Path, tuple[int, int]] = {}
    for tag in base.glob(f"*/{CACHE_TAG}"):
        found |= _packs_of(tag.parent)
    return found


def _packs_of(home: Path) -> dict[Path, tuple[int, int]]:
    found: dict[Path, tuple[int, int]] = {}
    for lock in home.glob(f"*/{_LOCK}"):
        with suppress(OSError):
            files = [file.stat() for file in lock.parent.iterdir()]
            used_ns = lock.stat().st_mtime_ns
            found[lock.parent] = used_ns, sum(file.st_size for file in files)
    return found


def limit_cache(base: Path, *, but: Path, progress: Progress) -> None:
    """Delete the packs that were not used for longest, until the cache is within its limit.

    but: the folder of the packs of one data set, which stay. A pack that is being built stays, too.
    """
    from filelock import FileLock, Timeout

    packs = cached_packs(base)
    excess = sum(size for _, size in packs.values()) - cache_limit(base)
    for place in sorted(packs, key=lambda one: packs[one]):
        if excess <= 0:
            return
        if place.parent == but or not packs[place][1]:
            continue
        with suppress(Timeout, OSError), FileLock(place / _LOCK, timeout=0):
            (place / INDEX_NAME).unlink(missing_ok=True)  # first: it names the pixels
            for file in place.iterdir():
                if file.name != _LOCK:  # others may be waiting for it
                    file.unlink()
            excess -= packs[place][1]
            progress.say(
                f"deleted decoded images of {place.parent.name}, which were not used for longest:"
                f" {base} holds at most {cache_limit(base) / 1e9:.0f} GB"
            )


def cache_limit(base: Path) -> int:
    """Max size of a cache in bytes."""
    return min(MAX_CACHED_BYTES, shutil.disk_usage(base).total // 10)


@contextmanager
def alone(place: Path, progress: Progress) -> Iterator[None]:
    """Hold the pack's lock; say so where another process holds it first."""
    from filelock import FileLock, Timeout

    lock = FileLock(place / _LOCK)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        progress.say(f"another process decodes images to {place}; waiting for it")
        lock.acquire()
    try:
        yield
    finally:
        lock.release()
