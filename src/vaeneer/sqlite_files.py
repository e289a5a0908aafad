"""Connections to SQLite's files, and the bytes of such files, without a loss of locks.

POSIX drops all locks that a process has on a file when it closes any descriptor of it. A process
that hashed a catalog while it had a connection to it would leave the connection without locks:
another process then takes itself for the only one, and deletes the write-ahead log under it. So
descriptors that were read from stay open as long as there is a connection to their file.
"""

from __future__ import annotations

import hashlib
import io
import os
import sqlite3
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

_Identity = tuple[int, int]
_GUARD = threading.Lock()
_connections: Counter[_Identity] = Counter()
_descriptors: dict[_Identity, list[int]] = {}
"""Those that nobody reads from now."""


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
