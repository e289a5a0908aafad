"""Text that comes from outside (names of files, JSON, CSV), made fit to store and to show."""

from __future__ import annotations

import csv
import json
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from types import SimpleNamespace
from typing import Any

_CONTROL = re.compile(
    r"[\x00-\x1f\x7f-\x9f\u061c\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069]"
)
_ROW_END = "\r\n"
_NOT_ASCII = re.compile(r"[^\x00-\x7f]+")
_SURROGATE = re.compile(r"[\ud800-\udfff]")


def clean_text(text: str) -> str:
    """Text of a side-car or table: NFC, control characters as spaces, no lone surrogates."""
    text = _SURROGATE.sub("\N{REPLACEMENT CHARACTER}", text)
    return unicodedata.normalize("NFC", _CONTROL.sub(" ", text)).strip()


def is_utf8(text: str) -> bool:
    """Whether a file name can be stored as UTF-8: Python has undecodable bytes as surrogates."""
    return _SURROGATE.search(text) is None


def printable(text: str) -> str:
    r"""A file name or message on one line: undecodable bytes and control characters as \xfc, \n.

    The result is valid UTF-8 and cannot move the cursor of a terminal. It is for people to read;
    it does not name the file any more where something was replaced.
    """
    return _CONTROL.sub(
        lambda match: match.group().encode("unicode_escape").decode(), encodable(text)
    )


def encodable(text: str) -> str:
    r"""A text that can be written as UTF-8: undecodable bytes of a path as \xfc, the rest as is."""
    return _SURROGATE.sub(_escaped_byte, text)


def to_json(
    value: Any, *, indent: int | None = None, compact: bool = False, ascii_only: bool = False
) -> str:
    """One JSON value that every reader takes: finite numbers, valid Unicode.

    Undecodable bytes of paths are written as in `encodable`; all other text comes back as it was.
    """
    marks = (",", ":") if compact else None
    text = json.dumps(value, indent=indent, separators=marks, ensure_ascii=False, allow_nan=False)
    text = _SURROGATE.sub(lambda match: f"\\{_escaped_byte(match)}", text)
    return (
        _NOT_ASCII.sub(lambda match: json.dumps(match.group())[1:-1], text) if ascii_only else text
    )


def to_csv(rows: Iterable[Sequence[object]]) -> str:
    """A table as CSV that can be written as UTF-8, a line a row; line ends in it are quoted."""
    lines: list[str] = []
    sink: Any = SimpleNamespace(write=lambda line: lines.append(line.removesuffix(_ROW_END)))
    csv.writer(sink, lineterminator=_ROW_END).writerows(rows)  # quotes only what its row end has
    return encodable("".join(f"{line}\n" for line in lines))


def match_key(name: str) -> str:
    """The form in which names are compared: NFC, without case."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def _escaped_byte(match: re.Match[str]) -> str:
    code = ord(match.group())
    return f"\\x{code - 0xDC00:02x}" if 0xDC80 <= code <= 0xDCFF else f"\\u{code:04x}"


def matches_in_words(matches: Mapping[str, int]) -> str:
    """Number of hits of each kind of match: "1 exact, 2 likely, 7 only similar"."""
    names = {"similar": "only similar"}
    return ", ".join(
        f"{count:,} {names.get(kind, kind)}" for kind, count in matches.items() if count
    )


def gallery_in_words(items: int) -> str:
    """The sentence that says how many items a probability was computed with."""
    named = "1 item" if items == 1 else f"{items:,} items"
    return f"Probabilities are computed for a library of {named}; they fall as it grows."


def pending_in_words(items: int) -> str:
    """The sentence that says how many items have no small parts yet."""
    named = "1 image" if items == 1 else f"{items:,} images"
    return (
        f"The small parts of {named} are not indexed yet, so that a search by a box finds less;"
        " vaeneer index adds them."
    )
