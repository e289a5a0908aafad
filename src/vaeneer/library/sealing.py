"""seal.json: the SHA-256 of a library's catalog, as long as nobody writes to it.

Whoever writes removes the seal first, inside the transaction, and makes a new one at the end. So a
catalog with another SHA-256 than its seal is damaged, and one without a seal was being written
when its process ended; then SQLite checks its pages, and each vector has a checksum.
"""

from __future__ import annotations

import shlex
import sqlite3
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from vaeneer.checksums import Remembered, read_stamped_json, write_stamped_json
from vaeneer.storage import connect, sqlite_file_sha256

NAME = "seal.json"
CATALOG = "catalog.sqlite"
FACTS = "library.json"
State = Literal["whole", "damaged", "foreign", "unsealed", "missing"]
"""foreign: the catalog of another library."""


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
