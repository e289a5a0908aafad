"""Text that comes from outside (names of files, JSON, CSV), made fit to store and to show."""

from __future__ import annotations

import re
import unicodedata

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069]")
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
    text = _SURROGATE.sub(_escaped_byte, text)
    return _CONTROL.sub(lambda match: match.group().encode("unicode_escape").decode(), text)


def match_key(name: str) -> str:
    """The form in which names are compared: NFC, without case."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def _escaped_byte(match: re.Match[str]) -> str:
    code = ord(match.group())
    return f"\\x{code - 0xDC00:02x}" if 0xDC80 <= code <= 0xDCFF else f"\\u{code:04x}"
