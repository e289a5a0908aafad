"""One process at a time changes a library."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from vaeneer.errors import LibraryError

NAME = ".lock"


@contextmanager
def changing(library: Path) -> Iterator[None]:
    """Hold a library's lock for the block; it goes with the process, however that ends.

    Raises LibraryError at once when another process holds it.
    """
    lock = FileLock(library / NAME)
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        raise LibraryError(
            f"{library} is being indexed by another process; try again when that is done."
        ) from error
    try:
        yield
    finally:
        lock.release()
