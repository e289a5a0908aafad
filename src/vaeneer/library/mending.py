"""What `index` does about a damaged catalog: a new one, with every vector that can be proved.

The damaged one is set aside as catalog.damaged.sqlite and not deleted. All that a catalog says of
files is read from them again. Vectors are taken over where the checksum of an item vouches for the
model, the content of the file, and all of its crops; other items are embedded again.
"""

from __future__ import annotations

import sqlite3
import zlib
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from vaeneer.library.catalog import NAME, Catalog
from vaeneer.library.finishing import DUPLICATES, LAYOUT, read_facts
from vaeneer.library.own_model import FOLDER as MODEL
from vaeneer.library.own_model import model_fingerprint
from vaeneer.library.recording import GENERATION, ImageVectors, crops_of, item_checksum
from vaeneer.library.sealing import break_seal, state_of
from vaeneer.progress import Progress
from vaeneer.storage import connect

DAMAGED = "catalog.damaged.sqlite"
_BY_OLD_IDS = (LAYOUT, DUPLICATES)
"""Files that name items by the ids of the damaged catalog; they are made again when needed."""
_SUFFIXES = ("", "-wal", "-shm")
_AT_ONCE = 512  # items whose vectors are compared with their checksums


def set_damaged_aside(library: Path, progress: Progress) -> None:
    """Rename a catalog that is damaged or of another library, so that a new one is made."""
    facts = read_facts(library)
    state = state_of(library, thorough=True, listed=None if facts is None else facts["library"])
    if state not in ("damaged", "foreign"):
        return
    what = "damaged" if state == "damaged" else "of another library"
    progress.say(
        f"{library / NAME} is {what}: a new one is made, with the vectors that are whole; it is"
        f" kept as {DAMAGED} and may be deleted"
    )
    for suffix in _SUFFIXES:
        (library / f"{DAMAGED}{suffix}").unlink(missing_ok=True)
        with suppress(FileNotFoundError):
            (library / f"{NAME}{suffix}").rename(library / f"{DAMAGED}{suffix}")
    for name in _BY_OLD_IDS:
        (library / name).unlink(missing_ok=True)
    break_seal(library)


def settle_identity(catalog: Catalog, library: Path) -> None:
    """Give a catalog the id of its library; a new one gets what library.json knows of the old."""
    if not catalog.library:
        catalog.settle_library()
    facts = read_facts(library)
    if catalog.state("model_fingerprint") is not None or facts is None:
        return
    if model_fingerprint(library / MODEL) != facts["model_fingerprint"]:
        return
    with catalog.writing():
        for key in ("model", "model_fingerprint", "rules"):
            catalog.keep_state(key, facts[key])
        catalog.keep_state("parts", facts["smallest_parts"])


def damaged_crops(connection: sqlite3.Connection) -> list[int]:
    """The item of each vector that is not as it was written."""
    rows = connection.execute("SELECT item, vector, checksum FROM crops WHERE checksum NOT NULL")
    return [item for item, vector, known in rows if zlib.crc32(vector) != known]


def drop_damaged_vectors(catalog: Catalog, progress: Progress) -> int:
    """Take the vectors from items that have a damaged one, so that they are embedded again."""
    with catalog.writing() as connection:
        damaged = sorted(set(damaged_crops(connection)))
        ids = [(one,) for one in damaged]
        connection.executemany("DELETE FROM crops WHERE item = ?", ids)
        connection.executemany("UPDATE items SET embedded = 0 WHERE id = ?", ids)
        if ids:
            connection.execute(GENERATION)
    if damaged:
        progress.say(f"{len(damaged)} items have damaged vectors; they are embedded again")
    return len(damaged)


def add_checksums(catalog: Catalog) -> None:
    """Give the vectors of older versions their checksums."""
    sql = "SELECT id, sha256 FROM items WHERE embedded AND checksum IS NULL LIMIT ?"
    while rows := catalog.execute(sql, (_AT_ONCE,)).fetchall():
        with catalog.writing() as connection:
            for item, sha256 in rows:
                checksum = item_checksum(connection, sha256, crops_of(connection, item))
                connection.execute("UPDATE items SET checksum = ? WHERE id = ?", (checksum, item))
                crops = connection.execute("SELECT id, vector FROM crops WHERE item = ?", (item,))
                connection.executemany(
                    "UPDATE crops SET checksum = ? WHERE id = ?",
                    [(zlib.crc32(vector), crop) for crop, vector in crops.fetchall()],
                )


class Salvage:
    """The vectors of a catalog that was set aside; nothing where there is none."""

    def __init__(self, library: Path) -> None:
        self._connection: sqlite3.Connection | None = None
        file = library / DAMAGED
        self._pending = "0"  # the column came later than checksums
        if file.is_file():
            self._connection = connect(file, "mode=ro", check_same_thread=False)
            with suppress(sqlite3.Error):
                self._connection.execute("SELECT pending FROM items LIMIT 1")
                self._pending = "pending"

    def vectors_of(self, catalog: Catalog, sha256s: Mapping[str, bytes]) -> dict[str, ImageVectors]:
        """The vectors that the content of paths had; sha256s: of each path, its hash."""
        if self._connection is None:
            return {}
        found: dict[str, ImageVectors] = {}
        with catalog.connection() as connection:
            for path, sha256 in sha256s.items():
                sql = (
                    f"SELECT id, checksum, {self._pending} FROM items WHERE sha256 = ? AND embedded"
                )
                with suppress(sqlite3.Error, TypeError, ValueError):  # where it is damaged
                    for old, checksum, pending in self._connection.execute(
                        sql, (sha256,)
                    ).fetchall():
                        crops = crops_of(self._connection, old)
                        if crops and item_checksum(connection, sha256, crops) == checksum:
                            found[path] = ImageVectors(crops, pending=bool(pending))
                            break
        return found

    def close(self) -> None:
        """Close its file."""
        if self._connection is not None:
            self._connection.close()
