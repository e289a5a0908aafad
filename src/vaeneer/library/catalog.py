"""catalog.sqlite: what a library knows of its items, and their vectors. Everything else follows.

The tables are in catalog_schema.py, the connections in catalog_file.py: threads may read at
the same time; one process writes at a time (store.py).
"""

from __future__ import annotations

import json
import os
import secrets
import shlex
import sqlite3
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vaeneer.data.perceptual_hash import Fingerprint
from vaeneer.errors import LibraryError, LibraryUnavailableError
from vaeneer.library.catalog_file import (
    CATALOG,
    ConnectionPool,
    break_seal,
    listed_facts,
    read_seal,
    remedy,
    seal,
    state_of,
)
from vaeneer.library.catalog_schema import VERSION, migrate, refresh_words, version
from vaeneer.storage import storage_error
from vaeneer.text import is_utf8

NAME = CATALOG
WHOLE = 0
"""The scale of the vector of a whole image."""
ALWAYS, LIMITS = 1, 2
"""When a file that was refused is read again: in each run, or once the limits are others."""
_CROP = "id, item, scale, x, y, width, height"
_READS = ("SELECT", "WITH", "PRAGMA")
_AT_ONCE = 900  # values in one statement; SQLite's own limit is 999 in old builds

Floats = NDArray[np.float32]
Ids = NDArray[np.int64]
PixelBox = tuple[int, int, int, int]
"""x, y, width, height in upright pixels of the file."""
FIELD_DOCS = {"use_attribute_docstrings": True}
"""Makes pydantic describe a report by its docstrings: the reports are the schemas of HTTP, too."""


@dataclass(frozen=True)
class Item:
    """One image file of a library."""

    id: int
    path: str
    """Below the root, with forward slashes."""
    asset: str
    name: str | None
    category: str | None
    tags: tuple[str, ...]
    width_px: int
    height_px: int
    mode: str
    """Pillow's name of the pixels in the file."""
    format: str
    """Pillow's name of the file format."""
    size_bytes: int
    mtime_ns: int
    sha256: str
    """Of the file, hexadecimal."""
    mean_rgb: tuple[float, float, float]
    """Each 0 to 1."""
    bits: int | None = None
    """Bits of each channel in the file; None where an older vaeneer read it."""
    notes: tuple[str, ...] = ()
    """What was ignored or mended to read the file, a short sentence each."""
    link: str | None = None
    """Target of a symbolic link, below the root or absolute; None for other files."""
    file_id: str | None = None
    """Equal for the names of one file (hard links); None for a file of one name."""
    offline: bool = False
    """Whether the folder of the file was not there when the library was last indexed."""


@dataclass(frozen=True)
class Crop:
    """What a vector was made of: a whole image (scale 0) or a part of it."""

    id: int
    item: int
    scale: int
    box: PixelBox


@dataclass(frozen=True)
class Vectors:
    """Vectors of crops, each of length 1."""

    crops: Ids
    """(n,) their ids."""
    items: Ids
    """(n,) the item that each is of."""
    vectors: Floats
    """(n, D) float32."""


class Rows(list[tuple[Any, ...]]):
    """The rows of a statement, read as those of a cursor are."""

    def fetchone(self) -> Any:
        """The first row; None where there is none."""
        return self[0] if self else None

    def fetchall(self) -> list[tuple[Any, ...]]:
        """All rows."""
        return self


class Catalog:
    """Reads a library's catalog; indexing writes it. Threads may share one."""

    def __init__(self, file: Path, *, may_be_new: bool = False) -> None:
        """file: an existing catalog, or with may_be_new an empty file."""
        self.file = file
        self.was_older = False
        """Whether opening it brought it up to date from an older version."""
        self._pool = ConnectionPool(
            file, may_be_new=may_be_new, check=None if may_be_new else _refuse_damaged
        )

    @classmethod
    def open(cls, folder: Path | str) -> Catalog:
        """The catalog of a library folder. Raises LibraryError for none, or a damaged one."""
        file = Path(folder) / NAME
        if not file.is_file():
            shown = shlex.quote(str(folder))
            images = shown if file.parent.is_dir() else f"IMAGES --library {shown}"
            raise LibraryError(f"{folder} is not a library; make one with: vaeneer index {images}")
        _refuse_damaged(file.parent)
        catalog = cls(file)
        with catalog.connection() as connection:
            if version(connection) != VERSION:
                catalog._bring_up_to_date(connection)
            if catalog.get_meta("root") is None:
                raise LibraryError(f"{folder} was never indexed whole; run vaeneer index again.")
        return catalog

    @classmethod
    def create(cls, folder: Path) -> Catalog:
        """As `open`, of a folder that may be new. Raises LibraryError for a damaged catalog."""
        folder.mkdir(parents=True, exist_ok=True)
        catalog = cls(folder / NAME, may_be_new=True)
        try:
            catalog.file.touch()
        except OSError as error:
            raise storage_error(error, catalog.file) or LibraryUnavailableError(
                f"{catalog.file} cannot be written ({error.strerror}); check the disk, or name"
                " another folder with --library."
            ) from error
        with catalog.connection() as connection:
            connection.execute("PRAGMA journal_mode = WAL")
            if version(connection) != VERSION:
                break_seal(folder)
            migrate(connection, catalog.file)
        return catalog

    def _bring_up_to_date(self, connection: sqlite3.Connection) -> None:
        """Migrate a catalog of an older version, and seal it."""
        folder = self.file.parent
        if version(connection) < VERSION and not os.access(folder, os.W_OK):
            raise LibraryUnavailableError(
                f"{folder} is of an older version and cannot be written: run vaeneer stats on it"
                " once where it can be written, or copy the folder to where you may write."
            )
        break_seal(folder)
        migrate(connection, self.file)
        with self.writing():
            refresh_words(connection)
        self.settle_library()
        self.seal()
        self.was_older = True

    def connection(self) -> AbstractContextManager[sqlite3.Connection]:
        """A connection for a block, in which all of this thread's statements go over it.

        Statements outside `writing` commit by themselves. Raises LibraryUnavailableError for a
        file that is gone, locked or damaged.
        """
        return self._pool.connection()

    def limited(self, seconds: float) -> AbstractContextManager[None]:
        """A block in which statements of this thread that take too long are interrupted.

        They raise sqlite3.OperationalError with SQLITE_INTERRUPT.
        """
        return self._pool.limited(seconds)

    @property
    def attached(self) -> int:
        """Counts up whenever the file was replaced, or is back after it was gone."""
        return self._pool.attached

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """A transaction: all of the block, or nothing of it."""
        with self.connection() as connection:
            connection.execute("BEGIN IMMEDIATE")
            try:
                break_seal(self.file.parent)
                yield connection
                connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:  # SQLite ends some by itself: on a full disk
                    connection.execute("ROLLBACK")
                raise

    def execute(self, sql: str, values: Sequence[object] = ()) -> Rows:
        """Run one statement; its rows, all of them. One that writes breaks the seal."""
        with self.connection() as connection:
            if not sql.lstrip().upper().startswith(_READS):
                break_seal(self.file.parent)
            return Rows(connection.execute(sql, values))

    def close(self) -> None:
        """Close the connections."""
        self._pool.close()

    @property
    def remedy(self) -> str:
        """How to mend a damaged library, in words with the command."""
        return remedy(self.file.parent)

    @property
    def root(self) -> Path:
        """The folder of the images."""
        return Path(self.require_meta("root"))

    @property
    def dimensions(self) -> int:
        """How many numbers a vector has."""
        return int(self.require_meta("dimensions"))

    @property
    def parts_pending(self) -> int:
        """Number of items whose smallest parts are still to be embedded."""
        sql = "SELECT count(*) FROM items WHERE embedded AND pending"
        return int(self.execute(sql).fetchone()[0])

    @property
    def generation(self) -> int:
        """Counts up whenever vectors come or go."""
        return int(self.get_meta("generation") or 0)

    @property
    def generations(self) -> tuple[int, int]:
        """The generation, and as much of it as is not of small parts that came later."""
        keys = "('generation', 'generation_of_small_parts')"
        rows = dict(self.execute(f"SELECT key, value FROM state WHERE key IN {keys}").fetchall())
        generation = int(rows.get("generation", 0))
        return generation, generation - int(rows.get("generation_of_small_parts", 0))

    def get_meta(self, key: str) -> str | None:
        """What is remembered under a name."""
        row = self.execute("SELECT value FROM state WHERE key = ?", (key,)).fetchone()
        if row is None:
            return None
        return os.fsdecode(row[0]) if isinstance(row[0], bytes) else str(row[0])

    def require_meta(self, key: str) -> str:
        """As `state`. Raises LibraryError where nothing is remembered."""
        found = self.get_meta(key)
        if found is None:
            raise LibraryError(f"{self.file} does not say its {key}; run vaeneer index again.")
        return found

    def set_meta(self, key: str, value: str) -> None:
        """Remember a text under a name; a path that is not UTF-8 as its bytes."""
        if self.get_meta(key) == value:
            return
        stored = value if is_utf8(value) else os.fsencode(value)
        sql, values = "INSERT OR REPLACE INTO state VALUES (?, ?)", (key, stored)
        with self.connection() as connection:
            if connection.in_transaction:
                connection.execute(sql, values)
                return
            with self.writing():
                connection.execute(sql, values)

    @property
    def library(self) -> str:
        """The id of the library, in all files that follow from its catalog; "" for none yet."""
        return self.get_meta("library") or ""

    def settle_library(self) -> None:
        """Give the library an id where it has none; what is derived from the catalog has it too."""
        with self.writing():
            if not self.library:
                self.set_meta("library", secrets.token_hex(16))

    def seal(self) -> None:
        """Say in seal.json that the catalog is whole, unless another process writes to it."""
        if read_seal(self.file.parent) is None:
            library = self.library
            with suppress(LibraryUnavailableError), self.connection() as connection:
                seal(connection, self.file.parent, library)  # or later, by whoever writes now

    def file_sha256(self, name: str) -> str | None:
        """The SHA-256 of a file that follows from the catalog, as it was written."""
        row = self.execute("SELECT sha256 FROM files WHERE name = ?", (name,)).fetchone()
        return None if row is None else str(row[0])

    def keep_file_sha256(self, name: str, sha256: str) -> None:
        """Remember such a SHA-256."""
        if self.file_sha256(name) != sha256:
            with self.writing() as connection:
                connection.execute("INSERT OR REPLACE INTO files VALUES (?, ?)", (name, sha256))

    def left_out(self) -> dict[str, int]:
        """Reason -> number of files of the folder that were not looked at in the last run."""
        counts: dict[str, int] = json.loads(self.get_meta("left_out") or "{}")
        return counts

    def items(self, ids: Iterable[int] | None = None) -> list[Item]:
        """All items by path, or those asked for, in that order; unknown ids are left out."""
        if ids is None:
            return self._items("1 ORDER BY items.path", ())
        asked = [int(one) for one in ids]
        found: dict[int, Item] = {}
        for part, marks in _asked(asked):
            found |= {one.id: one for one in self._items(f"items.id IN ({marks})", part)}
        return [found[one] for one in asked if one in found]

    def item_ids(self, where: str = "1", values: Sequence[object] = ()) -> Ids:
        """Ids of the items that meet a condition on `item_facts`, ascending."""
        rows = self.execute(f"SELECT id FROM item_facts WHERE {where} ORDER BY id", values)
        return _ids(rows)

    def crops(self, ids: Iterable[int]) -> dict[int, Crop]:
        """Crops by their ids; unknown ones are left out."""
        found: dict[int, Crop] = {}
        for part, marks in _asked([int(one) for one in ids]):
            sql = f"SELECT {_CROP} FROM crops WHERE id IN ({marks})"
            found |= {row[0]: _crop(row) for row in self.execute(sql, part)}
        return found

    def crops_of(self, item: int) -> list[Crop]:
        """The crops of one item, the whole first."""
        sql = f"SELECT {_CROP} FROM crops WHERE item = ? ORDER BY scale, id"
        return [_crop(row) for row in self.execute(sql, (item,))]

    def crop_ids(self, *, whole: bool) -> Ids:
        """Ids of all whole images, or of all parts, ascending."""
        with self.connection() as connection:  # millions of rows: not as a list
            return _ids(
                connection.execute(f"SELECT id FROM crops WHERE {_scale(whole)} ORDER BY id")
            )

    def wholes(self) -> Vectors:
        """The vector of each item, by crop id."""
        return self._vectors(f"{_scale(True)} ORDER BY id", ())

    def parts(self) -> Vectors:
        """The vectors of all parts, by crop id."""
        return self._vectors(f"{_scale(False)} ORDER BY id", ())

    def vectors(self, crop_ids: Sequence[int] | Ids) -> Vectors:
        """Vectors of some crops, in the order asked for; unknown ones are left out."""
        asked = [int(one) for one in crop_ids]
        rows: dict[int, tuple[Any, ...]] = {}
        for part, marks in _asked(asked):
            sql = f"SELECT id, item, vector, checksum FROM crops WHERE id IN ({marks})"
            rows |= {row[0]: row for row in self.execute(sql, part)}
        return self._stacked([rows[one] for one in asked if one in rows])

    def fingerprints(self) -> dict[int, Fingerprint]:
        """What finds near duplicates, of every item."""
        rows = self.execute("SELECT id, phashes, thumb FROM items WHERE embedded ORDER BY id")
        return {row[0]: Fingerprint(row[1], row[2]) for row in rows}

    def pixel_hashes(self) -> dict[int, bytes]:
        """SHA-256 of the decoded pixels, of the items where it was asked for once."""
        rows = self.execute("SELECT id, pixels FROM items WHERE embedded AND pixels NOT NULL")
        return dict(rows.fetchall())

    def keep_pixel_hashes(self, found: Mapping[int, bytes]) -> None:
        """Remember such hashes until the files change."""
        with self.writing() as connection:
            rows = [(value, item) for item, value in found.items()]
            connection.executemany("UPDATE items SET pixels = ? WHERE id = ?", rows)

    def _items(self, where: str, values: Sequence[object]) -> list[Item]:
        sql = f"""SELECT items.id, path, items.asset, name, category,
            (SELECT json_group_array(value) FROM metadata
             WHERE metadata.asset = items.asset AND key = 'tag'),
            width_px, height_px, mode, format, size_bytes, mtime_ns, sha256, red, green, blue,
            bits, notes, link, file_id, offline
            FROM items LEFT JOIN assets ON assets.asset = items.asset WHERE embedded AND {where}"""
        return [_item(row) for row in self.execute(sql, values)]

    def _vectors(self, where: str, values: Sequence[object]) -> Vectors:
        rows = self.execute(f"SELECT id, item, vector, checksum FROM crops WHERE {where}", values)
        return self._stacked(rows.fetchall())

    def _stacked(self, rows: Sequence[tuple[Any, ...]]) -> Vectors:
        for _, item, vector, checksum in rows:
            if checksum is not None and zlib.crc32(vector) != checksum:
                raise LibraryError(
                    f"{self.file} is damaged (a vector of item {item}); {self.remedy}."
                )
        halves = np.frombuffer(b"".join(row[2] for row in rows), np.float16)
        return Vectors(
            np.array([row[0] for row in rows], np.int64),
            np.array([row[1] for row in rows], np.int64),
            halves.reshape(len(rows), self.dimensions).astype(np.float32),
        )


def _refuse_damaged(folder: Path) -> None:
    """Raise LibraryError for a catalog that is damaged, or another library's."""
    state = state_of(folder, thorough=False, listed=str(listed_facts(folder).get("library")))
    if state == "damaged":
        raise LibraryError(
            f"{folder / NAME} cannot be read as a catalog: it is damaged; {remedy(folder)}."
        )
    if state == "foreign":
        raise LibraryError(
            f"{folder / NAME} is of another library; put its own in its place, or {remedy(folder)}."
        )


def _asked(ids: Sequence[int]) -> Iterator[tuple[Sequence[int], str]]:
    """Groups of ids that fit into one statement, with their marks."""
    for start in range(0, len(ids), _AT_ONCE):
        part = ids[start : start + _AT_ONCE]
        yield part, ",".join("?" * len(part))


def _scale(whole: bool) -> str:
    return f"scale = {WHOLE}" if whole else f"scale > {WHOLE}"


def _ids(rows: Iterable[tuple[Any, ...]]) -> Ids:
    return np.fromiter((row[0] for row in rows), np.int64)


def _crop(row: tuple[Any, ...]) -> Crop:
    return Crop(row[0], row[1], row[2], tuple(row[3:7]))


def _item(row: tuple[Any, ...]) -> Item:
    return Item(
        id=row[0],
        path=row[1],
        asset=row[2],
        name=row[3],
        category=row[4],
        tags=tuple(json.loads(row[5])),
        width_px=row[6],
        height_px=row[7],
        mode=row[8],
        format=row[9],
        size_bytes=row[10],
        mtime_ns=row[11],
        sha256=row[12].hex(),
        mean_rgb=(row[13], row[14], row[15]),
        bits=row[16],
        notes=tuple(json.loads(row[17])),
        link=row[18],
        file_id=row[19],
        offline=bool(row[20]),
    )
