"""Errors of the disk, told from damage and bad input: one sentence with the bytes and the remedy.

Each library has its own way to say that a disk is full: OSError with a number, OSError without,
SafetensorError, RuntimeError of faiss. All become a StorageError here. Those of SQLite are
explained in library/catalog_connections.py, with `free_space` of this module.
"""

from __future__ import annotations

import errno
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from vaeneer.errors import StorageError, VaeneerError

FULL = {
    errno.ENOSPC: "its disk is full",
    errno.EDQUOT: "the quota of its disk is used up",
    errno.EFBIG: "it is too large for its file system, or for what this process may write",
}
"""Numbers of errors that say that no more fits, in words."""
_DENIED = frozenset({errno.EROFS, errno.EACCES, errno.EPERM})
_IN_USE = frozenset({errno.EBUSY, errno.ETXTBSY, errno.EDEADLK, errno.ENOLCK})
_FAILING = frozenset(
    {errno.EIO, errno.ENXIO, errno.ENODEV, errno.ESTALE, errno.ETIMEDOUT, errno.EHOSTDOWN,
     errno.ENOTCONN}
)  # fmt: skip
_NUMBERS = frozenset(FULL) | _DENIED | _IN_USE | _FAILING
_TEXTS = {os.strerror(number).lower(): number for number in _NUMBERS}
_RUST_NUMBER = re.compile(r"os error (\d+)")
_NUMPY_CUT = re.compile(r"\d+ requested and \d+ written")  # its only word for a full disk
_NEARLY_FULL_BYTES = 256 * 1024


@contextmanager
def writing(path: Path, *, size_bytes: int = 0) -> Iterator[None]:
    """Raise errors of the disk in the block as StorageError; others pass unchanged.

    path: what is written, named in the sentence. size_bytes: about what it needs, where known.
    """
    try:
        yield
    except Exception as error:
        explained = storage_error(error, path, size_bytes=size_bytes)
        if explained is None:
            raise
        raise explained from error


def storage_error(
    error: Exception, path: Path, *, verb: str = "written", size_bytes: int = 0
) -> StorageError | None:
    """The error of the disk behind any exception; None where the disk is not the cause.

    verb: what could not be done with `path`: written, read or used. size_bytes: about what was to
    be written to it.
    """
    if isinstance(error, StorageError):
        return error
    number = _number(error)
    if number is None or isinstance(error, VaeneerError):
        return None
    reason = os.strerror(number)
    if number in FULL:
        text = (
            f"{path} cannot be written: {FULL[number]} ({reason});"
            f" {free_space(path, size_bytes)}; free some space and run it again."
            " What was there before is whole."
        )
    elif number in _DENIED:
        text = (
            f"{path} cannot be {verb} ({reason}); check the permissions of {path.parent}"
            f"{', or name another place' if verb == 'written' else ''}."
        )
    elif number in _IN_USE:
        text = f"{path} cannot be {verb} now ({reason}); another process uses it: try again later."
    else:
        text = f"{path} cannot be {verb} now ({reason}); check its drive, and try again."
    return StorageError(text, number, path)


def free_space(path: Path, needed_bytes: int = 0) -> str:
    """What is free on the disk of a path that need not exist, and what is needed, in words."""
    free = f"{in_words(free_bytes(path))} are free"
    return f"it needs about {in_words(needed_bytes)}, and {free}" if needed_bytes else free


def is_full(path: Path) -> bool:
    """Whether so little is free that a disk counts as full, whatever a library calls it."""
    return free_bytes(path) < _NEARLY_FULL_BYTES


def free_bytes(path: Path) -> int:
    """Bytes that this user may still write to the disk of a path that need not exist."""
    for folder in (path, *path.absolute().parents):
        try:
            return shutil.disk_usage(folder).free
        except OSError:
            continue
    return 0


def _number(error: Exception) -> int | None:
    """The number of an error of the disk in any exception; None for other errors."""
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno if error.errno in _NUMBERS else None
    text = str(error).lower()
    found = _RUST_NUMBER.search(text)
    if found:
        return int(found[1]) if int(found[1]) in _NUMBERS else None
    if isinstance(error, OSError) and _NUMPY_CUT.search(text):
        return errno.ENOSPC
    if isinstance(error, OSError | RuntimeError):
        return next((number for words, number in _TEXTS.items() if words in text), None)
    return None


def in_words(size_bytes: int) -> str:
    """A number of bytes for people: 134.7 kB."""
    for unit, factor in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if size_bytes >= factor:
            return f"{size_bytes / factor:,.1f} {unit}"
    return f"{size_bytes} bytes"
