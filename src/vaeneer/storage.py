"""Errors of a full or broken disk as one sentence, and connections to SQLite's files.

POSIX drops all locks that a process has on a file when it closes any descriptor of it: the bytes
of a SQLite file are therefore read through the connections that are open.
"""

from __future__ import annotations

import errno
import hashlib
import io
import os
import re
import shutil
import sqlite3
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

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
_Identity = tuple[int, int]
_GUARD = threading.Lock()
_connections: Counter[_Identity] = Counter()
_descriptors: dict[_Identity, list[int]] = {}
"""Those that nobody reads from now."""


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


class _Connection(sqlite3.Connection):
    """A connection that counts as open until it is closed."""

    identity: _Identity | None = None

    def close(self) -> None:
        super().close()
        identity, self.identity = self.identity, None
        if identity is not None:
            _disconnect(identity)


def connect(file: Path, options: str, **others: Any) -> sqlite3.Connection:
    """A connection to an existing file.

    options: those of SQLite's URI; others: arguments of `sqlite3.connect`. Raises as that does.
    """
    identity = _connect(file)
    try:
        address = f"{file.resolve().as_uri()}?{options}"
        connection = sqlite3.connect(address, uri=True, factory=_Connection, **others)
    except BaseException:
        if identity is not None:
            _disconnect(identity)
        raise
    connection.identity = identity
    return connection


def sqlite_file_sha256(file: Path) -> str:
    """The SHA-256 of a file that may have connections, hexadecimal. Raises OSError."""
    with _reading(file) as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def start_of_sqlite_file(file: Path, size: int) -> bytes:
    """The first bytes of a file that may have connections. Raises OSError."""
    with _reading(file) as stream:
        return stream.read(size)


@contextmanager
def _reading(file: Path) -> Iterator[io.BufferedReader]:
    with _GUARD:
        idle = _descriptors.get(_identity_of(file.stat()))
        flags = os.O_RDONLY | getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0)
        descriptor = idle.pop() if idle else os.open(file, flags)
        identity = _identity_of(os.fstat(descriptor))
    try:
        os.lseek(descriptor, 0, os.SEEK_SET)
        with os.fdopen(descriptor, "rb", closefd=False) as stream:
            yield stream
    finally:
        with _GUARD:
            _descriptors.setdefault(identity, []).append(descriptor)
            _close_unneeded(identity)


def _connect(file: Path) -> _Identity | None:
    """Count a connection before it is there; None where there is no file."""
    with _GUARD:
        try:
            identity = _identity_of(file.stat())
        except OSError:
            return None
        _connections[identity] += 1
        return identity


def _disconnect(identity: _Identity) -> None:
    with _GUARD:
        _connections[identity] -= 1
        _close_unneeded(identity)


def _close_unneeded(identity: _Identity) -> None:
    """Close the descriptors of a file without connections."""
    if _connections[identity] <= 0:
        del _connections[identity]
        for descriptor in _descriptors.pop(identity, []):
            os.close(descriptor)


def _identity_of(facts: os.stat_result) -> _Identity:
    return facts.st_dev, facts.st_ino
