"""Which items of a library meet the filters of a page, in which order: one SQL statement."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

from vaeneer.data.scan import NO_IMAGE
from vaeneer.data.sidecars import NOT_A_SIDECAR
from vaeneer.library.catalog import Catalog, Item
from vaeneer.library.catalog_schema import query_words
from vaeneer.library.search.filters import Condition, all_of, facts_condition
from vaeneer.library.search.words import find_words
from vaeneer.serving.problems import Problem

Sort = Literal["relevance", "path", "name", "size", "newest"]
_ORDERS: dict[Sort, str] = {
    "relevance": "path",
    "path": "path",
    "name": "ifnull(name, file) COLLATE NOCASE, path",
    "size": "width * height DESC, path",
    "newest": "mtime_ns DESC, path",
}
MOST_SECONDS = 5.0
_MOST_NAMES = 500
_KIND = "substr(reason, 1, instr(reason || ':', ':') - 1)"


@dataclass(frozen=True)
class Page:
    """What is asked for."""

    q: str | None = None
    """Words in name, category, tags or folders; items with all of them come first."""
    category: str | None = None
    tag: str | None = None
    folder: str | None = None
    where: str | None = None
    min_side: int | None = None
    sort: Sort = "relevance"
    offset: int = 0
    limit: int = 100


@dataclass(frozen=True)
class FoundItems:
    """A page of the items that meet the filters."""

    total: int
    all_words: int | None
    """Of the total, those with all words; None without words."""
    items: list[Item]


def items_of(catalog: Catalog, page: Page) -> FoundItems:
    """The items that meet the filters, one page of them.

    Raises FilterError for `where`, Problem 422 for filters that take SQLite too long.
    """
    where = all_of(list(_conditions(page)))
    with query_timeout(catalog):
        if page.q is not None and page.q.strip():
            return _with_words(catalog, page, page.q, where)
        sql, values = ("1", ()) if where is None else (where.sql, where.values)
        counted = catalog.execute(f"SELECT count(*) FROM item_facts WHERE {sql}", values)
        rows = catalog.execute(
            f"SELECT id FROM item_facts WHERE {sql} ORDER BY {_ORDERS[page.sort]} LIMIT ? OFFSET ?",
            [*values, page.limit, page.offset],
        )
    items = catalog.items(row[0] for row in rows)
    return FoundItems(int(counted.fetchone()[0]), None, items)


def _with_words(catalog: Catalog, page: Page, text: str, where: Condition | None) -> FoundItems:
    matches = find_words(catalog, text, where)
    ids = [one.item for one in matches]
    if page.sort != "relevance":
        known = set(ids)
        rows = catalog.execute(f"SELECT id FROM item_facts ORDER BY {_ORDERS[page.sort]}")
        ids = [row[0] for row in rows if row[0] in known]
    count = len(query_words(text)) or 1
    every = sum(one.words == count for one in matches)
    shown = ids[page.offset : page.offset + page.limit]
    return FoundItems(len(ids), every, catalog.items(shown))


def counts(catalog: Catalog) -> dict[str, dict[str, int]]:
    """How many items have each category, tag and format, the most first."""
    tags = "value, count(*) FROM metadata JOIN item_facts USING (asset) WHERE key = 'tag'"
    return {
        "categories": _counts(
            catalog, "category, count(*) FROM item_facts WHERE category NOT NULL"
        ),
        "tags": _counts(catalog, tags),
        "formats": _counts(catalog, "format, count(*) FROM item_facts"),
    }


def left_out_counts(catalog: Catalog) -> dict[str, int]:
    """Reason -> number of files that are not in the library, the most first."""
    rows = catalog.execute(f"SELECT {_KIND}, count(*) FROM failures GROUP BY 1")
    found = Counter(dict(rows.fetchall())) + Counter(catalog.left_out())
    return dict(sorted(found.items(), key=lambda one: (-one[1], one[0])))


def left_out_files(
    catalog: Catalog, reason: str | None, *, offset: int, limit: int
) -> tuple[int, list[tuple[str, str]]]:
    """How many files are listed, of one reason or of all, and (path, reason) of a page: first those
    that a user may miss, last what is no image."""
    where, values = ("1", []) if reason is None else (f"{_KIND} = ?", [reason])
    both = "(SELECT path, reason FROM failures UNION SELECT path, reason FROM left_out)"
    total = catalog.execute(f"SELECT count(*) FROM {both} WHERE {where}", values).fetchone()[0]
    rows = catalog.execute(
        f"SELECT path, reason FROM {both} WHERE {where}"
        f" ORDER BY reason LIKE '{NO_IMAGE} (%' OR reason LIKE '{NOT_A_SIDECAR}%',"
        " path, reason LIMIT ? OFFSET ?",
        [*values, limit, offset],
    )
    return int(total), rows.fetchall()


@contextmanager
def query_timeout(catalog: Catalog, seconds: float = MOST_SECONDS) -> Iterator[None]:
    """Stop what this thread asks of SQLite after some time. Raises Problem 422 then."""
    try:
        with catalog.limited(seconds):
            yield
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode != sqlite3.SQLITE_INTERRUPT:
            raise
        raise Problem(
            422, "The filters take too long on this library; make them simpler."
        ) from None


def _conditions(page: Page) -> Iterator[Condition]:
    facts = facts_condition(page.where or None, page.category, page.tag)
    if facts is not None:
        yield facts
    if page.folder:
        folder = page.folder.strip("/") + "/"
        yield Condition("substr(item_facts.path, 1, ?) = ?", (len(folder), folder))
    if page.min_side is not None:
        yield Condition("min(item_facts.width, item_facts.height) >= ?", (page.min_side,))


def _counts(catalog: Catalog, what: str) -> dict[str, int]:
    sql = f"SELECT {what} GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT {_MOST_NAMES}"
    rows: list[tuple[Any, Any]] = catalog.execute(sql).fetchall()
    return {str(name): int(count) for name, count in rows}
