"""Which items a search may find: the columns of --where, its language, and words.

    or:    and (OR and)*              and:  not (AND not)*
    not:   NOT not | ( or ) | test    test: column = value, also != <> < <= > >=
    test:  column [NOT] IN (value, ...) | column [NOT] LIKE 'pattern' | column IS [NOT] NULL
           | column [NOT] BETWEEN value AND value
    value: 'text' (a quote inside is doubled), "text", a number, or another column after = < >

A missing value equals nothing: category != 'wood' also finds items without a category. Only the
words of this grammar and the expressions of COLUMNS become SQL; all else is a parameter.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Literal

from vaeneer.errors import LibraryUnavailableError, SettingsError
from vaeneer.library.catalog import Catalog
from vaeneer.library.catalog_schema import MAX_CHARACTERS, query_words, refresh_words
from vaeneer.settings import SearchSettings
from vaeneer.text import is_utf8

MOST_CHARACTERS = 4000
MOST_DEPTH = 30
"""Parentheses and NOTs inside each other."""
MOST_WILDCARDS = 8
"""% in one pattern: more make SQLite try for minutes."""

Value = str | int | float
_TOKENS = re.compile(
    r"""(?P<space>\s+)
    |(?P<text>'(?:[^']|'')*'|"(?:[^"]|"")*")
    |(?P<number>[-+]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][-+]?[0-9]+)?(?![\w.]))
    |(?P<word>[^\W\d]\w*)
    |(?P<sign><=|>=|<>|!=|==|[=<>(),])""",
    re.VERBOSE,
)
_WORDS = {"and", "or", "not", "in", "like", "is", "null", "between"}
_SIGNS = {"=": "=", "==": "=", "!=": "=", "<>": "=", "<": "<", "<=": "<=", ">": ">", ">=": ">="}
_LARGEST = 2**63 - 1  # of SQLite's whole numbers
_WEIGHTS = (10.0, 6.0, 4.0, 1.0)  # of name, category, tags and folder
_SHORTEST_PART = 3  # letters of a word that is also searched inside longer words


class FilterError(SettingsError):
    """A condition of --where cannot be understood; says where and what would be."""


@dataclass(frozen=True)
class Column:
    """A fact of an item that conditions compare."""

    name: str
    type: Literal["text", "texts", "number"]
    """texts: an item has several, and a test holds where one of them meets it."""
    sql: str
    """Its value in a query of the view item_facts; of texts, of each row of metadata."""
    help: str
    flag: str = ""
    """Help of the flag, query parameter and control that a column has beside --where; "" for none.
    It holds where the column, or a word of the side-car under its name, equals a text."""


COLUMNS = {
    column.name: column
    for column in (
        Column("path", "text", "item_facts.path", "path below the indexed folder"),
        Column("folder", "text", "item_facts.folder", "folder of that path, '' for none"),
        Column("file", "text", "item_facts.file", "file name"),
        Column("name", "text", "item_facts.name", "name in the side-car"),
        Column("asset", "text", "item_facts.asset", "what the maps of one surface share"),
        Column(
            "category", "text", "item_facts.category", "category", "Only items of this category."
        ),
        Column(
            "tag", "texts", "metadata.value", "each tag and folder", "Only items with this tag."
        ),
        Column("format", "text", "item_facts.format", "file format: PNG, JPEG, ..."),
        Column("mode", "text", "item_facts.mode", "pixels of the file: RGB, L, I;16, ..."),
        Column("id", "number", "item_facts.id", "id of the item"),
        Column("width", "number", "item_facts.width", "upright width, pixels"),
        Column("height", "number", "item_facts.height", "upright height, pixels"),
        Column("bytes", "number", "item_facts.bytes", "size of the file"),
        Column("offline", "number", "item_facts.offline", "1 where its folder was missing, else 0"),
    )
}
"""What a condition may name. A new column is one line here, and a migration of the view item_facts
(catalog_schema.py) where no expression gives it; tests/test_filters.py holds that docs/library.md,
the flags, the query parameters and the page have it too.
"""
FLAGS = tuple(column.name for column in COLUMNS.values() if column.flag)


@dataclass(frozen=True)
class Condition:
    """What stands after WHERE in a query of the view item_facts, and its parameters."""

    sql: str
    values: tuple[Value, ...]


@dataclass(frozen=True)
class _Token:
    kind: str
    text: str
    place: int  # of its first character, from 1

    @property
    def shown(self) -> str:
        return " ".join(self.text.split())[:40]


def condition(text: str) -> Condition:
    """The SQL of a condition such as "category = 'wood' and width >= 1024".

    Raises FilterError for all that is not in the language of this module.
    """
    if len(text) > MOST_CHARACTERS:
        raise FilterError(
            f"The condition has {len(text)} characters; {MOST_CHARACTERS} are allowed."
        )
    reader = _Reader(_tokens(text))
    sql = reader.either(0)
    if reader.peek() is not None:
        raise reader.wrong("more than one condition; join them with AND or OR")
    return Condition(sql, tuple(reader.values))


def filters_of(settings: SearchSettings) -> Condition | None:
    """The filters of a search as one condition; None where there are none. Raises FilterError."""
    return facts_condition(settings.where, {name: getattr(settings, name) for name in FLAGS})


def facts_condition(where: str | None, equal: Mapping[str, str | None]) -> Condition | None:
    """A condition of --where and values of columns with a flag, as one; None for none of them."""
    chosen = [condition(where)] if where is not None else []
    for name, value in equal.items():
        if value is not None:
            column, same = COLUMNS[name], _said_by_metadata(name, "metadata.value = ?")
            if column.type == "texts":
                chosen.append(Condition(same, (value,)))
            else:
                chosen.append(Condition(f"{column.sql} = ? OR {same}", (value, value)))
    return all_of(chosen)


def all_of(conditions: Sequence[Condition]) -> Condition | None:
    """A condition that holds where all of several do; None for none."""
    if not conditions:
        return None
    sql = " AND ".join(f"({one.sql})" for one in conditions)
    return Condition(sql, tuple(value for one in conditions for value in one.values))


def _said_by_metadata(name: str, test: str) -> str:
    """Whether a word of the side-car, or a folder's name, under a key meets a test."""
    return (
        "EXISTS (SELECT 1 FROM metadata WHERE metadata.asset = item_facts.asset"
        f" AND metadata.key = '{name}' AND {test})"
    )


def _tokens(text: str) -> list[_Token]:
    found, at = [], 0
    while at < len(text):
        match = _TOKENS.match(text, at)
        if match is None:
            what = "a text without its closing quote" if text[at] in "'\"" else ascii(text[at])
            raise FilterError(
                f"The condition has {what} at character {at + 1}; write for example"
                " category = 'wood' and width >= 1024."
            )
        if match.lastgroup != "space":
            found.append(_Token(str(match.lastgroup), match.group(), at + 1))
        at = match.end()
    return found


class _Reader:
    """Recursive descent: one method for each line of the grammar, each returns its SQL."""

    def __init__(self, tokens: list[_Token]) -> None:
        self.tokens = tokens
        self.at = 0
        self.values: list[Value] = []

    def either(self, depth: int) -> str:
        found = [self.both(depth)]
        while self.accept("or"):
            found.append(self.both(depth))
        return found[0] if len(found) == 1 else f"({' OR '.join(found)})"

    def both(self, depth: int) -> str:
        found = [self.negated(depth)]
        while self.accept("and"):
            found.append(self.negated(depth))
        return found[0] if len(found) == 1 else f"({' AND '.join(found)})"

    def negated(self, depth: int) -> str:
        if depth > MOST_DEPTH:
            raise self.wrong(f"more than {MOST_DEPTH} parentheses and NOTs inside each other")
        if self.accept("not"):
            return f"NOT {self.negated(depth + 1)}"
        if self.accept("("):
            inner = self.either(depth + 1)
            self.expect(")")
            return inner
        return self.test()

    def test(self) -> str:
        column = self.column()
        if self.accept("is"):
            unless = "" if self.accept("not") else "NOT "
            self.expect("null")
            test = "IS NOT NULL"
        else:
            unless = "NOT " if self.accept("not") else ""
            if self.accept("in"):
                self.expect("(")
                values = [self.value(column)]
                while self.accept(","):
                    values.append(self.value(column))
                self.expect(")")
                test = f"IN ({', '.join(values)})"
            elif self.accept("like"):
                test = f"LIKE {self.pattern(column)}"
            elif self.accept("between"):
                low = self.value(column)
                self.expect("and")
                test = f"BETWEEN {low} AND {self.value(column)}"
            elif unless:
                raise self.wrong("no IN, LIKE or BETWEEN after NOT")
            else:
                sign = self.take(
                    lambda token: token.text in _SIGNS,
                    f"no comparison after {column.name} (=, !=, <, <=, >, >=, IN, LIKE, IS)",
                ).text
                unless = "NOT " if sign in ("!=", "<>") else ""
                test = f"{_SIGNS[sign]} {self.operand(column)}"
        if column.type == "texts":
            return f"{unless}{_said_by_metadata(column.name, f'{column.sql} {test}')}"
        return f"{unless}ifnull({column.sql} {test}, 0)"  # 0 where it is missing: NOT of it is 1

    def column(self) -> Column:
        token = self.take(_is_name, "no column where one must stand")
        name = token.text.lower()
        if name not in COLUMNS:
            near = get_close_matches(name, COLUMNS, 1)
            meant = (
                f"; did you mean {near[0]}?" if near else f"; a text is written '{token.shown}'."
            )
            raise FilterError(
                f"The condition names {token.shown} at character {token.place}, which is no"
                f" column{meant} Columns: {', '.join(COLUMNS)}."
            )
        return COLUMNS[name]

    def pattern(self, column: Column) -> str:
        if column.type == "number":
            raise FilterError(
                f"{column.name} is a number, which has no LIKE; compare it with < or >."
            )
        token = self.peek()
        if token and token.text.count("%") > MOST_WILDCARDS:
            raise FilterError(f"{token.shown} has more than {MOST_WILDCARDS} signs %.")
        return self.value(column)

    def operand(self, column: Column) -> str:
        token = self.peek()
        if token is None or not _is_name(token):
            return self.value(column)
        other = self.column()
        if "texts" in (column.type, other.type) or column.type != other.type:
            raise FilterError(
                f"{column.name} cannot be compared with {other.name} at character {token.place};"
                f" for a text write '{other.name}'."
            )
        return other.sql

    def value(self, column: Column) -> str:
        token = self.take(
            lambda token: token.kind in ("text", "number"),
            f"no value for {column.name}; write 'text' in quotes, or a number",
        )
        number = token.kind == "number"
        if number != (column.type == "number"):
            wanted = f"a text; write '{token.shown}'" if number else "a number"
            raise FilterError(
                f"The condition has {token.shown} at character {token.place}, but {column.name}"
                f" is {wanted}."
            )
        self.values.append(_number(token.text) if number else _text(token))
        return "?"

    def expect(self, word: str) -> None:
        if not self.accept(word):
            raise self.wrong(f"no {word.upper()} where one must stand")

    def accept(self, word: str) -> bool:
        token = self.peek()
        if token is None or token.kind not in ("word", "sign") or token.text.lower() != word:
            return False
        self.at += 1
        return True

    def take(self, fits: Callable[[_Token], bool], without: str) -> _Token:
        """The next token, which must fit; `without` says what is missing else."""
        token = self.peek()
        if token is None or not fits(token):
            raise self.wrong(without)
        self.at += 1
        return token

    def peek(self) -> _Token | None:
        return self.tokens[self.at] if self.at < len(self.tokens) else None

    def wrong(self, what: str) -> FilterError:
        token = self.peek()
        where = f"character {token.place} ({token.shown})" if token else "its end"
        return FilterError(f"The condition has {what}, at {where}.")


def _is_name(token: _Token) -> bool:
    return token.kind == "word" and token.text.lower() not in _WORDS


def _number(text: str) -> int | float:
    if re.fullmatch(r"[-+]?[0-9]{1,19}", text) and abs(int(text)) <= _LARGEST:
        return int(text)
    return float(text)


def _text(token: _Token) -> str:
    quote = token.text[0]
    text = token.text[1:-1].replace(quote * 2, quote)
    try:
        text.encode()
    except UnicodeEncodeError:
        raise FilterError(
            f"The text at character {token.place} of the condition is not Unicode."
        ) from None
    return text


@dataclass(frozen=True)
class WordMatch:
    """An item that has at least one of the words."""

    item: int
    words: int
    """How many words of the query it has."""
    relevance: float
    """BM25 with name before category, tags and folders; larger is better."""


def find_words(catalog: Catalog, text: str, where: Condition | None = None) -> list[WordMatch]:
    """Items with words of a query: those with most of them first, then by relevance and path.

    A word matches the start of a word of the item, its English stem, and, with three letters or
    more, the inside of a word. where: a condition on `item_facts`. Any text may be passed; what is
    no letter or digit in it parts words. A text of such signs alone is looked for in paths.
    """
    words = query_words(text)
    if words:
        _settle(catalog)
    counts: dict[int, int] = {}
    scores: dict[int, float] = {}
    for word in words or [text.strip()[:MAX_CHARACTERS]]:
        matches = _with_word(catalog, word) if words else _with_signs(catalog, word)
        for item, score in matches.items():
            counts[item] = counts.get(item, 0) + 1
            scores[item] = scores.get(item, 0.0) + score
    sql, values = ("1", ()) if where is None else (where.sql, where.values)
    rows = catalog.execute(f"SELECT path, id FROM item_facts WHERE {sql}", values)
    found = [(path, item) for path, item in rows if item in counts]
    found.sort(key=lambda one: (-counts[one[1]], -scores[one[1]], one[0]))
    return [WordMatch(item, counts[item], scores[item]) for _, item in found]


def _settle(catalog: Catalog) -> None:
    """Rebuild the words where they are missing or not of these items."""
    there = catalog.execute("SELECT 1 FROM sqlite_master WHERE name = 'words'").fetchone()
    if there is not None:
        items, known = catalog.execute(
            "SELECT (SELECT count(*) FROM items WHERE embedded),"
            " (SELECT count(*) FROM words_docsize)"
        ).fetchone()
        if items == known:
            return
    try:
        with catalog.writing() as connection:
            refresh_words(connection)
        catalog.seal()
    except LibraryUnavailableError:
        if there is None:
            raise


def _with_word(catalog: Catalog, word: str) -> dict[int, float]:
    """Relevance by item, of the items that have a word; 0 for those that have it inside another."""
    weights = ", ".join(map(str, _WEIGHTS))
    sql = f"SELECT rowid, -bm25(words, {weights}) FROM words WHERE words MATCH ?"
    found: dict[int, float] = dict(catalog.execute(sql, (f'"{word}"*',)).fetchall())
    if len(word) >= _SHORTEST_PART and " " not in word:
        inside = " OR ".join(f"instr(c{column}, ?1)" for column in range(len(_WEIGHTS)))
        rows = catalog.execute(f"SELECT id FROM words_content WHERE {inside}", (word,))
        found = dict.fromkeys((row[0] for row in rows), 0.0) | found
    return found


def _with_signs(catalog: Catalog, text: str) -> dict[int, float]:
    """Items with a text in their paths as it is."""
    text = text.strip()[:MAX_CHARACTERS]
    if not text or not is_utf8(text):
        return {}
    rows = catalog.execute("SELECT id FROM item_facts WHERE instr(path, ?)", (text,))
    return {row[0]: 0.0 for row in rows}
