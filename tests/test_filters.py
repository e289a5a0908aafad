"""The language of --where: what it finds, what it says of mistakes, and that it only reads."""

from __future__ import annotations

import inspect
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from vaeneer.library.catalog_schema import STEPS
from vaeneer.library.search.filters import (
    COLUMNS,
    FLAGS,
    MOST_CHARACTERS,
    MOST_DEPTH,
    FilterError,
    condition,
)
from vaeneer.serving.routes.items import ItemsQuery
from vaeneer.serving.routes.search import SearchFields
from vaeneer.settings import SearchSettings

ROOT = Path(__file__).parents[1]

ITEMS = (  # path, asset, format, width_px, height_px, name, category, tags
    ("wood/oak.png", "oak", "PNG", 1024, 1024, "Old oak", "wood", ("brown", "old")),
    ("wood/pine's.jpg", "pine", "JPEG", 2048, 512, "Pine", "wood", ("brown",)),
    ("stone/a/granite.png", "granite", "PNG", 512, 512, None, "Stone", ()),
    ("loose.png", "loose", "PNG", 300, 400, None, None, ()),
)
OAK, PINE, GRANITE, LOOSE = 1, 2, 3, 4


@pytest.fixture(scope="module")
def catalog() -> Iterator[sqlite3.Connection]:
    """The tables of a real catalog with four items, readable only."""
    connection = sqlite3.connect(":memory:")
    for step in STEPS:
        connection.executescript(step)
    for path, asset, kind, width, height, name, category, tags in ITEMS:
        connection.execute(
            "INSERT INTO assets (asset, name, category) VALUES (?, ?, ?)", (asset, name, category)
        )
        facts = [(asset, "tag", tag) for tag in tags] + [(asset, "category", category or "none")]
        connection.executemany("INSERT INTO metadata VALUES (?, ?, ?)", facts)
        connection.execute(
            "INSERT INTO items (path, asset, size_bytes, mtime_ns, sha256, width_px, height_px,"
            " mode, format, red, green, blue, phashes, thumb, embedded)"
            " VALUES (?, ?, 9000, 5, x'00', ?, ?, 'RGB', ?, 0, 0, 0, x'', x'', 1)",
            (path, asset, width, height, kind),
        )
    connection.commit()
    connection.execute("PRAGMA query_only = ON")
    yield connection
    connection.close()


def found(catalog: sqlite3.Connection, text: str) -> list[int]:
    made = condition(text)
    sql = f"SELECT id FROM item_facts WHERE {made.sql} ORDER BY id"
    return [row[0] for row in catalog.execute(sql, made.values)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("category = 'wood'", [OAK, PINE]),
        ('category == "wood"', [OAK, PINE]),
        ("CATEGORY = 'wood' AND Width >= 1024", [OAK, PINE]),
        ("category != 'wood'", [GRANITE, LOOSE]),
        ("category <> 'wood'", [GRANITE, LOOSE]),
        ("not category = 'wood'", [GRANITE, LOOSE]),
        ("category is null", [LOOSE]),
        ("category is not null", [OAK, PINE, GRANITE]),
        ("not category is null", [OAK, PINE, GRANITE]),
        ("category in ('wood', 'none')", [OAK, PINE]),
        ("category not in ('wood')", [GRANITE, LOOSE]),
        ("name like '%OAK'", [OAK]),
        ("name not like '%oak'", [PINE, GRANITE, LOOSE]),
        ("width between 500 and 1500", [OAK, GRANITE]),
        ("width not between 500 and 1500", [PINE, LOOSE]),
        ("width = height", [OAK, GRANITE]),
        ("height > width", [LOOSE]),
        ("width >= 1.024e3", [OAK, PINE]),
        ("width > -1", [OAK, PINE, GRANITE, LOOSE]),
        ("width < 1000000000000000000000000", [OAK, PINE, GRANITE, LOOSE]),
        ("id in (1, 4)", [OAK, LOOSE]),
        ("bytes = 9000 and mode = 'RGB'", [OAK, PINE, GRANITE, LOOSE]),
        ("path = 'wood/pine''s.jpg'", [PINE]),
        ('path = "wood/pine\'s.jpg"', [PINE]),
        ("folder = 'stone/a'", [GRANITE]),
        ("folder = ''", [LOOSE]),
        ("file = 'granite.png' or asset = 'oak'", [OAK, GRANITE]),
        ("tag = 'brown'", [OAK, PINE]),
        ("tag = 'brown' and tag = 'old'", [OAK]),
        ("tag != 'old'", [PINE, GRANITE, LOOSE]),
        ("tag not in ('old', 'brown')", [GRANITE, LOOSE]),
        ("tag like 'bro%'", [OAK, PINE]),
        ("tag is null", [GRANITE, LOOSE]),
        ("tag = 'wood'", []),  # a category is no tag
        ("format = 'PNG' or category = 'wood' and width > 1500", [OAK, PINE, GRANITE, LOOSE]),
        ("(format = 'PNG' or category = 'wood') and width > 1500", [PINE]),
        ("not (format = 'PNG' or width > 1500)", []),
        ("not not format = 'JPEG'", [PINE]),
        ("category='wood'and width>1500", [PINE]),
    ],
)
def test_a_condition_finds(catalog: sqlite3.Connection, text: str, expected: list[int]) -> None:
    assert found(catalog, text) == expected


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("catgory = 'wood'", r"catgory at character 1.*did you mean category\?.*width"),
        ("width = 5 and mtime_ns > 3", "mtime_ns at character 15"),
        ("category = wood", "wood at character 12, which is no column; a text is written 'wood'"),
        ("category = width", "for a text write 'width'"),
        ("tag = category", "cannot be compared"),
        ("category = 5", "5 at character 12, but category is a text; write '5'"),
        ("width >= '1024'", "width is a number"),
        ("width like '1%'", "no LIKE"),
        ("category = 'wood", "without its closing quote at character 12"),
        ("category = 'a' width = 3", r"join them with AND or OR, at character 16 \(width\)"),
        ("category", "no comparison after category.*its end"),
        ("category ~ 'a'", "'~' at character 10"),
        ("category not = 'a'", "after NOT"),
        ("category is 'a'", "no NULL"),
        ("category in 'a'", r"no \( where"),
        ("category in ()", "no value for category"),
        ("(category = 'a'", r"no \) where"),
        ("", "no column where one must stand, at its end"),
        ("and", "no column"),
        ("width > ", "no value for width"),
        ("width = 12abc", "character 9"),
        ("name like '%a%a%a%a%a%a%a%a%'", "more than 8 signs %"),
        ("category = '\udc80'", "not Unicode"),
        ("not " * (MOST_DEPTH + 1) + "width = 1", "inside each other"),
        ("(" * 3000, "inside each other"),
        ("width = 1 or " * MOST_CHARACTERS, "characters"),
    ],
)
def test_a_mistake_is_told_with_its_place(text: str, said: str) -> None:
    with pytest.raises(FilterError, match=said):
        condition(text)


@pytest.mark.parametrize(
    "text",
    [
        "1 = 1",
        "width = 1; DROP TABLE items",
        "width = 1 -- ",
        "width = 1 /* */",
        "id IN (SELECT id FROM items)",
        "category = load_extension('x')",
        "category = (select sha256 from items)",
        "width = 1 UNION SELECT 1",
        "name = 'a' || 'b'",
        "name GLOB '*'",
        "name = x'00'",
        "name = ?",
        "name = :a",
        "[name] = 'a'",
        "`name` = 'a'",
        "item_facts.name = 'a'",
        "name = 'a' COLLATE NOCASE",
        "rowid = 1",
        "width = 0x10",
    ],
)
def test_other_sql_is_refused(text: str) -> None:
    with pytest.raises(FilterError):
        condition(text)


def test_texts_travel_as_parameters_only() -> None:
    text = "'; DROP TABLE items; --"
    made = condition(f'category = "{text}" and tag in (\'a\', "b")')
    assert made.values == (text, "a", "b")
    assert "DROP" not in made.sql
    assert made.sql.count("?") == 3


def test_the_longest_and_the_deepest_run(catalog: sqlite3.Connection) -> None:
    many = " or ".join(["id=4"] * (MOST_CHARACTERS // 9))
    assert found(catalog, many) == [LOOSE]
    deep = "(" * MOST_DEPTH + "tag is null" + ")" * MOST_DEPTH
    assert found(catalog, deep) == [GRANITE, LOOSE]
    assert found(catalog, "not " * MOST_DEPTH + "tag is null") == [GRANITE, LOOSE]
    listed = ",".join(["4"] * (MOST_CHARACTERS // 2 - 10))
    assert found(catalog, f"id in ({listed})") == [LOOSE]


WORDS = st.sampled_from(
    [
        *("path", "name", "category", "tag", "width", "id", "item_facts", "wrong", "select"),
        *("and", "or", "not", "in", "like", "is", "null", "between", "(", ")", ",", ";", "--"),
        *("=", "!=", "<>", "<", "<=", ">=", ">", "'a'", '"b"', "''", "'%'", "'", '"'),
        *("1", "-2.5", "1e400", "12345678901234567890"),
    ]
)


@given(st.one_of(st.text(), st.lists(WORDS, max_size=12).map(" ".join)))
@example("width = 1e999")
@example("width = '1\n2'")
@example("tag between 'a' and 'b' and not name is null")
def test_whatever_comes_is_refused_in_a_line_or_runs(
    catalog: sqlite3.Connection, text: str
) -> None:
    """The connection is query_only, so that whatever writes would raise."""
    said, made = "", None
    try:
        made = condition(text)
    except FilterError as error:
        said = str(error)
    assert len(said.splitlines()) == (made is None)
    if made is not None:
        rows = catalog.execute(f"SELECT id FROM item_facts WHERE {made.sql}", made.values)
        assert {row[0] for row in rows} <= {OAK, PINE, GRANITE, LOOSE}
        assert not set(made.sql.replace("'tag'", "")) & set(";'\"-#/\\")


def test_the_docs_list_the_columns() -> None:
    rows = ["| column | type | what it is |", "|---|---|---|"]
    rows += [f"| {one.name} | {one.type} | {one.help} |" for one in COLUMNS.values()]
    assert "\n".join(rows) in (ROOT / "docs" / "library.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", FLAGS)
def test_a_column_with_a_flag_has_it_everywhere(name: str) -> None:
    """On the command line, in Python, in queries over HTTP, and as a control of the page."""
    assert COLUMNS[name].flag in inspect.getsource(SearchSettings)
    assert getattr(SearchSettings(**{name: "a"}), name) == "a"
    for fields in (SearchFields.model_fields, ItemsQuery.model_fields):
        assert fields[name].description == COLUMNS[name].flag
    for script in ("search.js", "browse.js"):
        page = ROOT / "src" / "vaeneer" / "web" / "static" / "js" / script
        assert f'put("{name}")' in page.read_text(encoding="utf-8")


@pytest.mark.parametrize("name", COLUMNS)
def test_each_column_is_one_of_the_catalog(catalog: sqlite3.Connection, name: str) -> None:
    assert found(catalog, f"{name} is null or {name} is not null") == [OAK, PINE, GRANITE, LOOSE]
