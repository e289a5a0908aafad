"""Which items of a library meet the filters of a page, in which order: one SQL statement."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

from vaeneer.data.scanning import NO_IMAGE
from vaeneer.data.sidecars import NOT_A_SIDECAR
from vaeneer.library.catalog import Catalog, Item
from vaeneer.library.filters import Condition, condition
from vaeneer.serving.problems import Problem

Sort = Literal["path", "name", "size", "newest"]
_ORDERS: dict[Sort, str] = {
    "path": "path",
    "name": "ifnull(name, file) COLLATE NOCASE, path",
    "size": "width * height DESC, path",
    "newest": "mtime_ns DESC, path",
}
_MOST_WORDS = 8
MOST_SECONDS = 5.0
_MOST_NAMES = 500
_KIND = "substr(reason, 1, instr(reason || ':', ':') - 1)"
_HAS = (
    "EXISTS (SELECT 1 FROM metadata WHERE metadata.asset = item_facts.asset"
    " AND metadata.key = ? AND metadata.value {})"
)


@dataclass(frozen=True)
class Page:
    """What is asked for."""

    q: str | None = None
    """Words that must be in path, name, category or tags."""
    category: str | None = None
    tag: str | None = None
    folder: str | None = None
    where: str | None = None
    min_side: int | None = None
    sort: Sort = "path"
    offset: int = 0
    limit: int = 100


def items_of(catalog: Catalog, page: Page) -> tuple[int, list[Item]]:
    """How many items meet the filters, and those of the page.

    Raises FilterError for `where`, Problem 422 for filters that take SQLite too long.
    """
    chosen = list(_conditions(page))
    where = " AND ".join(f"({one.sql})" for one in chosen) or "1"
    values = [value for one in chosen for value in one.values]
    with not_for_long(catalog):
        sql = f"SELECT count(*) FROM item_facts WHERE {where}"
        total = int(catalog.execute(sql, values).fetchone()[0])
        rows = catalog.execute(
            f"SELECT id FROM item_facts WHERE {where} ORDER BY {_ORDERS[page.sort]}"
            " LIMIT ? OFFSET ?",
            [*values, page.limit, page.offset],
        ).fetchall()
    return total, catalog.items(row[0] for row in rows)


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
def not_for_long(catalog: Catalog, seconds: float = MOST_SECONDS) -> Iterator[None]:
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
    if page.where:
        yield condition(page.where)
    for word in (page.q or "").split()[:_MOST_WORDS]:
        yield _with_word(word)
    if page.category is not None:
        sql = f"item_facts.category = ? OR {_HAS.format('= ?')}"
        yield Condition(sql, (page.category, "category", page.category))
    if page.tag is not None:
        yield Condition(_HAS.format("= ?"), ("tag", page.tag))
    if page.folder:
        folder = page.folder.strip("/") + "/"
        yield Condition("substr(item_facts.path, 1, ?) = ?", (len(folder), folder))
    if page.min_side is not None:
        yield Condition("min(item_facts.width, item_facts.height) >= ?", (page.min_side,))


def _with_word(word: str) -> Condition:
    escaped = word.replace("\\", r"\\").replace("%", r"\%").replace("_", r"\_")
    like = r"LIKE ? ESCAPE '\'"
    texts = " OR ".join(f"item_facts.{column} {like}" for column in ("path", "name", "category"))
    pattern = f"%{escaped}%"
    return Condition(f"{texts} OR {_HAS.format(like)}", (pattern, pattern, pattern, "tag", pattern))


def _counts(catalog: Catalog, what: str) -> dict[str, int]:
    sql = f"SELECT {what} GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT {_MOST_NAMES}"
    rows: list[tuple[Any, Any]] = catalog.execute(sql).fetchall()
    return {str(name): int(count) for name, count in rows}
