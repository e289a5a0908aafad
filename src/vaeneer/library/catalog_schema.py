"""The tables of catalog.sqlite, as the steps that lead from one version of it to the next.

docs/formats.md tells them column by column. A step is never changed after a release; a new one is
added at the end.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

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
