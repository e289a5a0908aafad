"""The language of --where: comparisons of an item's facts, turned into SQL with parameters.

    or:    and (OR and)*              and:  not (AND not)*
    not:   NOT not | ( or ) | test    test: column = value, also != <> < <= > >=
    test:  column [NOT] IN (value, ...) | column [NOT] LIKE 'pattern' | column IS [NOT] NULL
           | column [NOT] BETWEEN value AND value
    value: 'text' (a quote inside is doubled), "text", a number, or another column after = < >

Whatever is missing equals nothing: category != 'wood' also finds items without a category. Only
the words of this page become SQL; whatever the text brings along travels as a parameter.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches

from vaeneer.errors import SettingsError

TEXTS = ("path", "folder", "file", "name", "asset", "category", "tag", "format", "mode")
NUMBERS = ("id", "width", "height", "bytes", "offline")
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
_SAID = (
    "EXISTS (SELECT 1 FROM metadata WHERE metadata.asset = item_facts.asset"
    " AND metadata.key = ? AND metadata.value = ?)"
)


class FilterError(SettingsError):
    """A condition of --where cannot be understood; says where and what would be."""


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
    reader = _Reader(_tokens(text), text)
    sql = reader.either(0)
    reader.end()
    return Condition(sql, tuple(reader.values))


def facts_condition(
    where: str | None = None, category: str | None = None, tag: str | None = None
) -> Condition | None:
    """The filters of a search as one condition; None where there are none.

    category: that of the item, or one of the narrower ones of its side-car. Raises FilterError.
    """
    chosen = [condition(where)] if where is not None else []
    if category is not None:
        said = f"item_facts.category = ? OR {_SAID}"
        chosen.append(Condition(said, (category, "category", category)))
    if tag is not None:
        chosen.append(Condition(_SAID, ("tag", tag)))
    return all_of(chosen)


def all_of(conditions: Sequence[Condition]) -> Condition | None:
    """A condition that holds where all of several do; None for none."""
    if not conditions:
        return None
    sql = " AND ".join(f"({one.sql})" for one in conditions)
    return Condition(sql, tuple(value for one in conditions for value in one.values))


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
    """Recursive descent: one method for each line of the grammar, each answers its SQL."""

    def __init__(self, tokens: list[_Token], text: str) -> None:
        self.tokens = tokens
        self.at = 0
        self.values: list[Value] = []
        self._end = len(text) + 1

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
            wanted = "" if self.accept("not") else "NOT "
            self.expect("null")
            return f"{wanted}{_atom(column, 'IS NOT NULL')}"
        unless = "NOT " if self.accept("not") else ""
        if self.accept("in"):
            return f"{unless}{_atom(column, f'IN ({self.several(column)})')}"
        if self.accept("like"):
            return f"{unless}{_atom(column, f'LIKE {self.pattern(column)}')}"
        if self.accept("between"):
            low = self.value(column)
            self.expect("and")
            return f"{unless}{_atom(column, f'BETWEEN {low} AND {self.value(column)}')}"
        if unless:
            raise self.wrong("no IN, LIKE or BETWEEN after NOT")
        return self.comparison(column)

    def comparison(self, column: str) -> str:
        sign = self.next()
        if sign is None or sign.text not in _SIGNS:
            self.at -= sign is not None
            raise self.wrong(f"no comparison after {column} (=, !=, <, <=, >, >=, IN, LIKE, IS)")
        unless = "NOT " if sign.text in ("!=", "<>") else ""
        return f"{unless}{_atom(column, f'{_SIGNS[sign.text]} {self.operand(column)}')}"

    def column(self) -> str:
        token = self.next()
        if token is None or token.kind != "word" or token.text.lower() in _WORDS:
            self.at -= token is not None
            raise self.wrong("no column where one must stand")
        name = token.text.lower()
        if name not in TEXTS + NUMBERS:
            near = get_close_matches(name, TEXTS + NUMBERS, 1)
            meant = (
                f"; did you mean {near[0]}?" if near else f"; a text is written '{token.shown}'."
            )
            raise FilterError(
                f"The condition names {token.shown} at character {token.place}, which is no"
                f" column{meant} Columns: {', '.join(TEXTS + NUMBERS)}."
            )
        return name

    def several(self, column: str) -> str:
        self.expect("(")
        found = [self.value(column)]
        while self.accept(","):
            found.append(self.value(column))
        self.expect(")")
        return ", ".join(found)

    def pattern(self, column: str) -> str:
        if column in NUMBERS:
            raise FilterError(f"{column} is a number, which has no LIKE; compare it with < or >.")
        token = self.peek()
        if token and token.text.count("%") > MOST_WILDCARDS:
            raise FilterError(f"{token.shown} has more than {MOST_WILDCARDS} signs %.")
        return self.value(column)

    def operand(self, column: str) -> str:
        token = self.peek()
        if token is None or token.kind != "word" or token.text.lower() in _WORDS:
            return self.value(column)
        other = self.column()
        if "tag" in (column, other) or (column in NUMBERS) != (other in NUMBERS):
            raise FilterError(
                f"{column} cannot be compared with {other} at character {token.place};"
                f" for a text write '{other}'."
            )
        return f"item_facts.{other}"

    def value(self, column: str) -> str:
        token = self.next()
        if token is None or token.kind not in ("text", "number"):
            self.at -= token is not None
            raise self.wrong(f"no value for {column}; write 'text' in quotes, or a number")
        if (token.kind == "number") != (column in NUMBERS):
            wanted = "a number" if column in NUMBERS else f"a text; write '{token.shown}'"
            raise FilterError(
                f"The condition has {token.shown} at character {token.place}, but {column}"
                f" is {wanted}."
            )
        self.values.append(_number(token.text) if token.kind == "number" else _text(token))
        return "?"

    def end(self) -> None:
        if self.peek() is not None:
            raise self.wrong("more than one condition; join them with AND or OR")

    def expect(self, word: str) -> None:
        if not self.accept(word):
            raise self.wrong(f"no {word.upper()} where one must stand")

    def accept(self, word: str) -> bool:
        token = self.peek()
        if token is None or token.kind not in ("word", "sign") or token.text.lower() != word:
            return False
        self.at += 1
        return True

    def next(self) -> _Token | None:
        token = self.peek()
        self.at += token is not None
        return token

    def peek(self) -> _Token | None:
        return self.tokens[self.at] if self.at < len(self.tokens) else None

    def wrong(self, what: str) -> FilterError:
        token = self.peek()
        where = f"character {token.place} ({token.shown})" if token else "its end"
        return FilterError(f"The condition has {what}, at {where}.")


def _atom(column: str, rest: str) -> str:
    """A test that is 0 where the column is missing, so that NOT of it is 1."""
    if column != "tag":
        return f"ifnull(item_facts.{column} {rest}, 0)"
    return (
        "EXISTS (SELECT 1 FROM metadata WHERE metadata.asset = item_facts.asset"
        f" AND metadata.key = 'tag' AND metadata.value {rest})"
    )


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
