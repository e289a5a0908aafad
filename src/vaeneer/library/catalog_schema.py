"""Tables of catalog.sqlite as steps from one version to the next, and its words, an FTS5 table.

Texts are folded before they are stored, and queries in the same way: without case and accents,
names in camel case split (BrickWall is brick, wall and brickwall), and scripts without spaces
between words (Chinese, Japanese, Thai) character by character."""

from __future__ import annotations

import json
import re
import sqlite3
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from vaeneer.errors import LibraryUnavailableError

_FIRST = """
CREATE TABLE assets (
    asset TEXT PRIMARY KEY, name TEXT, category TEXT, asset_id TEXT, sidecar TEXT
) WITHOUT ROWID;
CREATE TABLE metadata (
    asset TEXT NOT NULL, key TEXT NOT NULL, value TEXT NOT NULL, PRIMARY KEY (asset, key, value)
) WITHOUT ROWID;
CREATE TABLE items (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    path TEXT NOT NULL UNIQUE,
    asset TEXT NOT NULL,
    size_bytes INTEGER NOT NULL, mtime_ns INTEGER NOT NULL, sha256 BLOB NOT NULL,
    width_px INTEGER NOT NULL, height_px INTEGER NOT NULL, mode TEXT NOT NULL, format TEXT NOT NULL,
    red REAL NOT NULL, green REAL NOT NULL, blue REAL NOT NULL,
    phashes BLOB NOT NULL, thumb BLOB NOT NULL, pixels BLOB,
    embedded INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX items_by_sha256 ON items (sha256);
CREATE INDEX items_by_asset ON items (asset);
CREATE TABLE crops (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    item INTEGER NOT NULL REFERENCES items (id) ON DELETE CASCADE,
    scale INTEGER NOT NULL,
    x INTEGER NOT NULL, y INTEGER NOT NULL, width INTEGER NOT NULL, height INTEGER NOT NULL,
    vector BLOB NOT NULL
);
CREATE INDEX crops_by_item ON crops (item, scale);
CREATE INDEX crops_by_scale ON crops (scale, id);
CREATE TABLE maps (
    path TEXT PRIMARY KEY, asset TEXT NOT NULL, kind TEXT NOT NULL,
    size_bytes INTEGER NOT NULL, mtime_ns INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE failures (
    path TEXT PRIMARY KEY, size_bytes INTEGER NOT NULL, mtime_ns INTEGER NOT NULL,
    reason TEXT NOT NULL, passing INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE state (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE VIEW item_facts AS SELECT
    items.id AS id, items.path AS path,
    rtrim(rtrim(items.path, replace(items.path, '/', '')), '/') AS folder,
    replace(items.path, rtrim(items.path, replace(items.path, '/', '')), '') AS file,
    assets.name AS name, items.asset AS asset, assets.category AS category,
    items.format AS format, items.mode AS mode, items.width_px AS width, items.height_px AS height,
    items.size_bytes AS bytes, items.mtime_ns AS mtime_ns, lower(hex(items.sha256)) AS sha256
FROM items LEFT JOIN assets ON assets.asset = items.asset WHERE items.embedded;
"""
# Refused files are read again, and hashes of pixels are computed again: the rules are new.
_WHOLE_CONTENT = """
ALTER TABLE items ADD COLUMN bits INTEGER;
ALTER TABLE items ADD COLUMN notes TEXT NOT NULL DEFAULT '[]';
ALTER TABLE items ADD COLUMN link TEXT;
ALTER TABLE items ADD COLUMN file_id TEXT;
ALTER TABLE items ADD COLUMN offline INTEGER NOT NULL DEFAULT 0;
CREATE TABLE left_out (path TEXT PRIMARY KEY, reason TEXT NOT NULL) WITHOUT ROWID;
DELETE FROM failures;
UPDATE items SET pixels = NULL;
DROP VIEW item_facts;
CREATE VIEW item_facts AS SELECT
    items.id AS id, items.path AS path,
    rtrim(rtrim(items.path, replace(items.path, '/', '')), '/') AS folder,
    replace(items.path, rtrim(items.path, replace(items.path, '/', '')), '') AS file,
    assets.name AS name, items.asset AS asset, assets.category AS category,
    items.format AS format, items.mode AS mode, items.width_px AS width, items.height_px AS height,
    items.size_bytes AS bytes, items.mtime_ns AS mtime_ns, lower(hex(items.sha256)) AS sha256,
    items.offline AS offline
FROM items LEFT JOIN assets ON assets.asset = items.asset WHERE items.embedded;
"""
_BESIDE = """
ALTER TABLE items ADD COLUMN alpha BLOB;
ALTER TABLE items ADD COLUMN frames BLOB;
"""
_CHECKSUMS = """
ALTER TABLE crops ADD COLUMN checksum INTEGER;
ALTER TABLE items ADD COLUMN checksum BLOB;
CREATE TABLE files (name TEXT PRIMARY KEY, sha256 TEXT NOT NULL) WITHOUT ROWID;
"""
# Its rows follow from items and assets (word_index.py).
_WORDS = """
CREATE VIRTUAL TABLE IF NOT EXISTS words USING fts5(
    name, category, tags, folder, source UNINDEXED,
    tokenize = "porter unicode61 categories 'L* N* Co Mn Mc'"
);
"""
# Whether the smallest parts of an item are still to be embedded, in a second pass.
_PENDING = "ALTER TABLE items ADD COLUMN pending INTEGER NOT NULL DEFAULT 0;"
STEPS = (_FIRST, _WHOLE_CONTENT, _BESIDE, _CHECKSUMS, _WORDS, _PENDING)
VERSION = len(STEPS)
TABLE = """CREATE VIRTUAL TABLE IF NOT EXISTS words USING fts5(
    name, category, tags, folder, source UNINDEXED,
    tokenize = "porter unicode61 categories 'L* N* Co Mn Mc'"
);"""
MAX_CHARACTERS = 4000
"""Of a query; the rest is ignored."""
MAX_WORDS = 16
"""Distinct words of a query that count."""
_SOURCES = """SELECT items.id AS id, json_array(items.path, assets.name, assets.category,
        (SELECT json_group_array(value) FROM metadata WHERE metadata.asset = items.asset)) AS source
    FROM items LEFT JOIN assets ON assets.asset = items.asset WHERE items.embedded"""
_CAMEL = re.compile(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
_ACCENTS = re.compile("[\u0300-\u036f]")
_UNSPACED = re.compile(
    "([\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3005-\u3007\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff"
    "\uf900-\ufaff\U00020000-\U0003ffff])"
)


def migrate(connection: sqlite3.Connection, file: Path) -> None:
    """Bring a catalog to VERSION, each step whole or not at all.

    Processes may do it at once. Raises LibraryUnavailableError for a newer one.
    """
    found = version(connection)
    if found > VERSION:
        raise LibraryUnavailableError(
            f"{file} has version {found}, and this vaeneer reads up to {VERSION}; update vaeneer."
        )
    for number, step in enumerate(STEPS[found:], start=found + 1):
        connection.execute("BEGIN IMMEDIATE")
        try:
            if version(connection) < number:  # else another process was first
                for statement in _statements(step):
                    connection.execute(statement)
                connection.execute(f"PRAGMA user_version = {number}")
            connection.commit()
        except sqlite3.Error:
            connection.rollback()
            raise


def _statements(script: str) -> Iterator[str]:
    """The statements of a script; sqlite3's executescript would commit before it."""
    statement = ""
    for piece in script.split(";")[:-1]:
        statement += f"{piece};"
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""
    assert not statement, statement


def version(connection: sqlite3.Connection) -> int:
    """Which version of the tables a catalog has; 0 is an empty file."""
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


if TYPE_CHECKING:
    pass


def query_words(text: str) -> list[str]:
    """The distinct words of a query, folded; scripts without spaces as phrases. Never raises."""
    words = dict.fromkeys(_folded(text[:MAX_CHARACTERS]).split())
    return [_spaced(word) for word in words][:MAX_WORDS]


def refresh_words(connection: sqlite3.Connection, paths: Sequence[str] | None = None) -> bool:
    """Bring the words up to date with items and assets; only what changed is written.

    paths: of the items that may have changed; None for all. Returns whether an item changed.
    """
    connection.execute(TABLE)
    if paths is None:
        connection.execute(
            "DELETE FROM words WHERE rowid NOT IN (SELECT id FROM items WHERE embedded)"
        )
        before = dict(connection.execute("SELECT rowid, source FROM words"))
        rows = connection.execute(_SOURCES).fetchall()
        changed = [row for row in rows if before.get(row[0]) != row[1]]
    else:
        one = f"{_SOURCES} AND items.path = ?"
        changed = [row for path in paths for row in connection.execute(one, (path,))]
    connection.executemany(
        "INSERT OR REPLACE INTO words (rowid, name, category, tags, folder, source)"
        " VALUES (?, ?, ?, ?, ?, ?)",
        [(item, *_columns(source), source) for item, source in changed],
    )
    return bool(changed)


def _columns(source: str) -> tuple[str, str, str, str]:
    """The folded texts of an item: name, category, tags and folder."""
    path, name, category, said = json.loads(source)
    place = PurePosixPath(path)
    folders = place.parent.parts
    tags = [word for word in said if word not in folders and word != category]
    return (
        _stored((name or "", place.stem)),
        _stored((category or "",)),
        _stored(tags),
        _stored(folders),
    )


def _stored(texts: Iterable[str]) -> str:
    words: list[str] = []
    for text in texts:
        parted = _folded(_CAMEL.sub(" ", text)).split()
        whole = [word for word in _folded(text).split() if word not in parted]
        words += [_spaced(word) for word in (*parted, *whole)]
    return " ".join(words)


@lru_cache(maxsize=2**10)
def _folded(text: str) -> str:
    """A text without case, accents and signs, its words parted by spaces."""
    plain = _ACCENTS.sub("", unicodedata.normalize("NFKD", text)).casefold()
    plain = unicodedata.normalize("NFKC", plain)
    return "".join(one if unicodedata.category(one)[0] in "LNM" else " " for one in plain)


def _spaced(word: str) -> str:
    """A word of a script without spaces as a phrase of characters."""
    return " ".join(_UNSPACED.sub(r" \1 ", word).split())
