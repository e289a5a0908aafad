"""The words of items in the catalog, an FTS5 table: name, category, tags and folders.

Texts are folded before they are stored, and queries in the same way: without case and accents,
names in camel case split (BrickWall is brick, wall and brickwall), and scripts without spaces
between words (Chinese, Japanese, Thai) character by character, so that a part of a name is found as
a phrase.
"""

from __future__ import annotations

import json
import re
import sqlite3
import unicodedata
from collections.abc import Iterable, Sequence
from functools import lru_cache
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    pass

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
