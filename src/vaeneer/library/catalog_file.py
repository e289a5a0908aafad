"""Connections to a catalog's file, and its seal: the SHA-256 while nobody writes to it."""

from __future__ import annotations

import os
import shlex
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from vaeneer.checksums import Remembered, read_stamped_json, write_stamped_json
from vaeneer.errors import LibraryDamagedError, LibraryError, LibraryUnavailableError
from vaeneer.storage import connect, free_space, is_full, sqlite_file_sha256

NAME = "seal.json"
CATALOG = "catalog.sqlite"
FACTS = "library.json"
State = Literal["whole", "damaged", "foreign", "unsealed", "missing"]
"""foreign: the catalog of another library."""
MAX_CONNECTIONS = 4
"""To one file; each has two descriptors, and one more is for all."""
_STEPS = 10_000  # of SQLite's machine between two looks at the clock
_BUSY_SECONDS = 30
_DENIED = frozenset({sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM})
_OF_FULL_DISKS = frozenset({sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN})
"""What SQLite says on a full disk, where it cannot make its log or its shared memory."""
_LOCKED = frozenset({sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_PROTOCOL})


@dataclass(frozen=True)
class Seal:
    """What the last write left."""

    library: str
    """The id of the library, in its catalog too."""
    sha256: str


def read_seal(folder: Path) -> Seal | None:
    """The seal of a library; None where there is none, or a damaged one."""
    try:
        values = read_stamped_json(folder / NAME)
        return Seal(str(values["library"]), str(values["sha256"]))
    except (OSError, ValueError, KeyError):
        return None


def break_seal(folder: Path) -> None:
    """Remove the seal: the catalog is about to change."""
    (folder / NAME).unlink(missing_ok=True)


def seal(connection: sqlite3.Connection, folder: Path, library: str) -> bool:
    """Seal a catalog with all that was written to it; False where another process writes to it."""
    file = folder / CATALOG
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.execute("BEGIN IMMEDIATE")
    try:
        if not has_wal(file):
            sha256 = Remembered(folder, sqlite_file_sha256).compute(file)
            write_stamped_json(folder / NAME, {"library": library, "sha256": sha256})
            return True
    finally:
        connection.execute("ROLLBACK")
    return False


def has_wal(file: Path) -> bool:
    """Whether a catalog has changes that are in its write-ahead log only."""
    log = file.with_name(f"{file.name}-wal")
    return log.is_file() and log.stat().st_size > 0


def listed_facts(folder: Path) -> dict[str, Any]:
    """What library.json says; empty where it is missing or damaged: it can be made again."""
    try:
        return read_stamped_json(folder / FACTS, unstamped=True)
    except (OSError, ValueError):
        return {}


def remedy(folder: Path) -> str:
    """How to mend a library, in words with the command."""
    root = listed_facts(folder).get("root")
    shown = str(root) if isinstance(root, str) else "IMAGES"
    return f"mend it with: vaeneer index {shlex.quote(shown)} --library {shlex.quote(str(folder))}"


def state_of(folder: Path, *, thorough: bool, listed: str | None = None) -> State:
    """What there is to say of the catalog in a folder, before any of it is read.

    thorough: compute its SHA-256 even where size, time and inode are those of the last time.
    listed: the id of the library in library.json. Raises OSError where it cannot be read.
    """
    file = folder / CATALOG
    if not file.is_file():
        return "missing"
    known = read_seal(folder)
    if known is None or has_wal(file):
        return "unsealed" if _pages_are_whole(file) else "damaged"
    remembered = Remembered(folder, sqlite_file_sha256)
    if not thorough and remembered.sha256(file) == known.sha256:
        return "whole"
    if remembered.compute(file) == known.sha256:
        return "whole"
    if read_seal(folder) != known:  # somebody has begun to write just now
        return "unsealed"
    own = _library_in(file)
    if own == known.library or own is None:
        return "damaged"
    return "unsealed" if own == listed else "foreign"


def _pages_are_whole(file: Path) -> bool:
    with closing(connect(file, "mode=rw")) as connection:
        try:
            answer = connection.execute("PRAGMA quick_check(1)").fetchone()
        except sqlite3.OperationalError:  # busy, or a disk that is only read: no word on damage
            return True
        except sqlite3.DatabaseError:
            return False
    return bool(answer) and answer[0] == "ok"


def _library_in(file: Path) -> str | None:
    """The id of the library in a catalog; None where it cannot be read."""
    with suppress(sqlite3.Error), closing(connect(file, "mode=ro&immutable=1")) as connection:
        row = connection.execute("SELECT value FROM state WHERE key = 'library'").fetchone()
        return None if row is None else str(row[0])
    return None


class ConnectionPool:
    """Connections to one file; threads may share it."""

    def __init__(
        self, file: Path, *, may_be_new: bool = False, check: Callable[[Path], None] | None = None
    ) -> None:
        """may_be_new: whether an empty file is a catalog to be, and not one that was lost.

        check: raises LibraryError for a file in the place of the first that is damaged.
        """
        self.file = file
        self._check = check
        self._refused: tuple[tuple[int, ...], str] | None = None
        self.attached = 0
        """Counts up whenever the file is new there: first opened, replaced, or back again."""
        self._may_be_new = may_be_new
        self._seen: tuple[int, ...] | None = None
        self._frozen = False  # read as a file that does not change
        self._idle: list[sqlite3.Connection] = []
        self._lock = threading.Lock()
        self._local = threading.local()
        self._closed = False
        self._free = threading.BoundedSemaphore(MAX_CONNECTIONS)

    @contextmanager
    def limited(self, seconds: float) -> Iterator[None]:
        """Interrupt statements of this thread that still run after some seconds.

        They raise sqlite3.OperationalError with SQLITE_INTERRUPT.
        """
        before = getattr(self._local, "until", None)
        self._local.until = time.monotonic() + seconds
        try:
            yield
        finally:
            self._local.until = before

    @contextmanager
    def connection(self) -> Iterator[sqlite3.Connection]:
        """This thread's connection for the block; that of the block around, where there is one.

        Raises LibraryUnavailableError for a file that is gone, locked or damaged.
        """
        current: sqlite3.Connection | None = getattr(self._local, "connection", None)
        if current is not None:
            yield current
            return
        if not self._free.acquire(timeout=_BUSY_SECONDS):
            raise LibraryUnavailableError(f"{self.file} has too many readers; try again later.")
        try:
            with self._borrowed() as connection:
                yield connection
        finally:
            self._free.release()

    @contextmanager
    def _borrowed(self) -> Iterator[sqlite3.Connection]:
        try:
            connection, attached = self._take()
        except sqlite3.DatabaseError as error:
            raise _explained(self.file, error) from error
        self._local.connection = connection
        usable, until = True, getattr(self._local, "until", None)
        if until is not None:
            connection.set_progress_handler(lambda: time.monotonic() > until, _STEPS)
        try:
            yield connection
        except (sqlite3.IntegrityError, sqlite3.ProgrammingError):  # mistakes of the code
            raise
        except sqlite3.DatabaseError as error:
            if _code(error) == sqlite3.SQLITE_INTERRUPT:
                raise
            usable = False
            raise _explained(self.file, error) from error
        finally:
            self._local.connection = None
            connection.set_progress_handler(None, 0)
            self._give_back(connection, attached if usable else -1)

    def close(self) -> None:
        """Close idle connections now, and those in use when their blocks end."""
        with self._lock:
            self._closed = True
            self._drop_idle()

    def _take(self) -> tuple[sqlite3.Connection, int]:
        with self._lock:
            self._look()
            attached = self.attached
            if self._idle:
                return self._idle.pop(), attached
        connection, frozen = _opened(self.file)
        if frozen:
            with self._lock:
                self._frozen = True
                self._seen = self._signature(self.file.stat())
        return connection, attached

    def _give_back(self, connection: sqlite3.Connection, attached: int) -> None:
        with self._lock:
            fresh = attached == self.attached and not self._closed
            if fresh and not connection.in_transaction:
                self._idle.append(connection)
                return
        connection.close()

    def _look(self) -> None:
        """Compare the file with the one that idle connections have open."""
        try:
            facts = self.file.stat()
            if not facts.st_size and not self._may_be_new:
                raise FileNotFoundError
            if self._frozen and _wal_bytes(self.file):
                self._lose()
        except (FileNotFoundError, NotADirectoryError) as error:
            self._lose()
            raise LibraryUnavailableError(
                f"{self.file} is gone: the library was moved, deleted or emptied;"
                " put it back where it was, or run vaeneer index again."
            ) from error
        except OSError as error:
            self._lose()
            raise LibraryUnavailableError(
                f"{self.file} cannot be reached ({error.strerror}); connect its drive again."
            ) from error
        seen = self._signature(facts)
        if seen != self._seen:
            self._lose()
            if self.attached and self._check is not None:
                self._refuse_damaged(self._check, facts)
            self._seen = self._signature(facts)
            self.attached += 1

    def _refuse_damaged(self, check: Callable[[Path], None], facts: os.stat_result) -> None:
        """Check a file that took the place of another, once as long as it and its seal stay."""
        version: tuple[int, ...] = (facts.st_ino, facts.st_size, facts.st_mtime_ns)
        with suppress(OSError):
            sealed = self.file.with_name(NAME).stat()
            version = (*version, sealed.st_ino, sealed.st_mtime_ns)
        if self._refused is None or self._refused[0] != version:
            try:
                check(self.file.parent)
            except LibraryError as error:
                self._refused = version, str(error)
            else:
                self._refused = None
                return
        raise LibraryDamagedError(self._refused[1])

    def _lose(self) -> None:
        self._seen, self._frozen = None, False
        self._drop_idle()

    def _drop_idle(self) -> None:
        while self._idle:
            self._idle.pop().close()

    def _signature(self, facts: os.stat_result) -> tuple[int, ...]:
        """What tells one file from another, and a frozen one from itself later."""
        same = (facts.st_dev, facts.st_ino)
        return (*same, facts.st_size, facts.st_mtime_ns) if self._frozen else same


def _opened(file: Path) -> tuple[sqlite3.Connection, bool]:
    """A connection that commits by itself, and whether it takes the file for one that is frozen.

    A catalog in a place that cannot be written, or on a full disk, is read as it is, unless its
    last changes are still in its write-ahead log: those could not be seen. Raises
    LibraryUnavailableError then.
    """
    connection = _connected(file, "mode=rw")
    try:
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.execute("SELECT count(*) FROM sqlite_master")
    except sqlite3.DatabaseError as error:
        connection.close()
        full = _code(error) in _OF_FULL_DISKS and is_full(file) and not _wal_bytes(file)
        if not full and (_code(error) not in _DENIED or _may_write(file.parent)):
            raise
    else:
        return connection, False
    waiting = _wal_bytes(file)
    if waiting:
        raise LibraryUnavailableError(
            f"{file.parent} cannot be written, and {waiting:,} bytes of changes in {file.name}-wal"
            " are not in the catalog yet: run vaeneer stats on it once where it can be written,"
            " or copy the folder to where you may write."
        )
    return _connected(file, "mode=ro&immutable=1"), True


def _connected(file: Path, options: str) -> sqlite3.Connection:
    return connect(
        file, options, isolation_level=None, check_same_thread=False, timeout=_BUSY_SECONDS
    )


def _may_write(folder: Path) -> bool:
    effective = os.access in os.supports_effective_ids
    return os.access(folder, os.W_OK, effective_ids=effective)


def _wal_bytes(file: Path) -> int:
    """Size of the write-ahead log; 0 where there is none."""
    try:
        return file.with_name(f"{file.name}-wal").stat().st_size
    except FileNotFoundError:
        return 0


def _code(error: sqlite3.DatabaseError) -> int:
    """The primary result code of SQLite; 0 for errors of the Python module."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF


def _explained(file: Path, error: sqlite3.DatabaseError) -> LibraryUnavailableError:
    """One sentence for what SQLite could not do, with a remedy for that and no other."""
    code = _code(error)
    if code in _LOCKED:
        return LibraryUnavailableError(
            f"{file} is locked by another process ({error}); try again when that is done."
        )
    read_only_since_full = code == sqlite3.SQLITE_READONLY and _may_write(file.parent)
    if code == sqlite3.SQLITE_FULL or (
        (code in _OF_FULL_DISKS or read_only_since_full) and is_full(file)
    ):
        return LibraryUnavailableError(
            f"{file} cannot be written: its disk is full ({free_space(file)}); free some space and"
            " run it again. What was there before is whole."
        )
    if code in _DENIED:
        return LibraryUnavailableError(
            f"{file} cannot be opened ({error}); check the permissions of {file.parent}."
        )
    if code in (sqlite3.SQLITE_IOERR, sqlite3.SQLITE_NOMEM):
        return LibraryUnavailableError(
            f"{file} could not be read or written now ({error}); check its drive, and try again."
        )
    return LibraryDamagedError(
        f"{file} cannot be read as a catalog ({error}); {remedy(file.parent)}."
    )
