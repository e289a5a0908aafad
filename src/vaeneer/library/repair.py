"""Damage in a library: what is damaged, and a new catalog with every vector that can be proved."""

from __future__ import annotations

import sqlite3
import zlib
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path

from vaeneer.checksums import damaged_file, read_stamped_json
from vaeneer.library.catalog import NAME, Catalog
from vaeneer.library.catalog_file import CATALOG, FACTS, break_seal, listed_facts, remedy, state_of
from vaeneer.library.duplicates.features import NAME as SKETCHES
from vaeneer.library.duplicates.features import FeatureStore
from vaeneer.library.index.writer import GENERATION, ImageVectors, crops_of, item_checksum
from vaeneer.library.map.layout import read_layout
from vaeneer.library.store import (
    DUPLICATES,
    FORMAT,
    LAYOUT,
    MODEL_FILES,
    MODEL_FOLDER,
    is_thumbnail_whole,
    is_whole,
    model_fingerprint,
    read_facts,
    thumbnail_path,
)
from vaeneer.library.vector_index import PARTS, WHOLES, is_as_written
from vaeneer.progress import Progress
from vaeneer.storage import connect

DAMAGED = "catalog.damaged.sqlite"
_BY_OLD_IDS = (LAYOUT, DUPLICATES)
"""Files that name items by the ids of the damaged catalog; they are made again when needed."""
_SUFFIXES = ("", "-wal", "-shm")
_AT_ONCE = 512  # items whose vectors are compared with their checksums
DERIVED = (DUPLICATES, LAYOUT, SKETCHES)
"""Files that are made again when they are needed, once they are deleted."""
_AGAIN = "delete it: it is made again when it is needed"
Fault = tuple[Path, str, str]


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
    if catalog.get_meta("model_fingerprint") is not None or facts is None:
        return
    if model_fingerprint(library / MODEL_FOLDER) != facts["model_fingerprint"]:
        return
    with catalog.writing():
        for key in ("model", "model_fingerprint", "rules"):
            catalog.set_meta(key, facts[key])
        catalog.set_meta("parts", facts["smallest_parts"])


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


def library_faults(library: Path, progress: Progress) -> Iterator[Fault]:
    """Each file that is damaged, what is wrong with it, and how to mend it.

    Where the catalog is damaged nothing else is checked. Raises LibraryError for no library.
    """
    mend = remedy(library)
    facts = read_facts(library)
    listed = None if facts is None else facts["library"]
    state = state_of(library, thorough=True, listed=listed)
    if state in ("damaged", "foreign", "missing"):
        what = "it is of another library" if state == "foreign" else f"it is {state}"
        yield library / CATALOG, what, mend
        return
    catalog = Catalog.open(library)
    try:
        with catalog.connection() as connection:
            count = len(damaged_crops(connection))
        if count:
            yield library / CATALOG, f"{count} vectors are damaged", mend
            return
        if state == "unsealed" and not catalog.was_older:
            yield library / CATALOG, "the last run of index did not come to its end", mend
        written = listed_facts(library).get("format")
        before_checksums = type(written) is int and written < FORMAT
        unsummed = before_checksums and catalog.file_sha256(WHOLES) is None
        for name in (WHOLES, PARTS):
            if unsummed and catalog.file_sha256(name) is None:
                continue  # search does not read it
            if not is_as_written(catalog, library / name, thorough=True):
                yield library / name, "it is missing or not as it was written", mend
        if not unsummed and (facts is None or listed != catalog.library):
            yield library / FACTS, "it is missing, damaged or of another library", mend
        for file, what in damaged_derived_files(catalog, library):
            yield file, what, _AGAIN
        if count := FeatureStore(library).damaged_rows():
            yield library / SKETCHES, f"{count} rows are damaged", _AGAIN
        yield from _model_faults(catalog, library, mend)
        yield from _thumbnail_faults(catalog, library, progress, mend)
    except sqlite3.DatabaseError as error:
        yield library / CATALOG, str(error), mend
    finally:
        catalog.close()


def damaged_derived_files(catalog: Catalog, library: Path) -> Iterator[tuple[Path, str]]:
    """The map's layout and the list of duplicates where they are damaged, and what is wrong."""
    layout = library / LAYOUT
    if layout.is_file() and read_layout(layout, library=catalog.library) is None:
        yield layout, "it is damaged or of another library; places on the map are lost"
    if (library / DUPLICATES).is_file():
        try:
            read_stamped_json(library / DUPLICATES, unstamped=True)
        except (OSError, ValueError) as error:
            yield library / DUPLICATES, str(error)


def _model_faults(catalog: Catalog, library: Path, mend: str) -> Iterator[Fault]:
    folder = library / MODEL_FOLDER
    if not is_whole(folder, catalog.require_meta("model_fingerprint")):
        yield folder, "it is not the model that made the vectors", mend
    elif damaged_file(folder, MODEL_FILES) is not None:
        yield folder, "its SHA256SUMS is damaged", mend


def _thumbnail_faults(
    catalog: Catalog, library: Path, progress: Progress, mend: str
) -> Iterator[Fault]:
    rows = catalog.execute("SELECT DISTINCT lower(hex(sha256)) FROM items WHERE embedded")
    sums = [sha256 for (sha256,) in rows]
    with progress.bar("thumbnails", total=len(sums), unit="files") as bar:
        for sha256 in sums:
            path = thumbnail_path(library, sha256)
            if not is_thumbnail_whole(path):
                yield path, "it is missing or damaged", mend
            bar.advance()
