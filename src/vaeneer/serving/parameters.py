"""What clients may write as a number or a text: plain digits, UTF-8 without NUL."""

from __future__ import annotations

import re
from typing import Annotated
from urllib.parse import unquote_to_bytes

from pydantic import AfterValidator, BeforeValidator
from pydantic_core import PydanticCustomError

_WHOLE = re.compile(r"-?[0-9]+")
_NUMBER = re.compile(r"-?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?")


def _whole(value: object) -> object:
    """Refuse what Python takes for a number and people do not: 1_0, +1, other digits, spaces."""
    if isinstance(value, str) and not _WHOLE.fullmatch(value):
        raise PydanticCustomError("whole_number", "Write a whole number in digits, such as 12.")
    return value


def _number(value: object) -> object:
    """As `_whole`, of a number with a fraction."""
    if isinstance(value, str) and not _NUMBER.fullmatch(value):
        raise PydanticCustomError("number", "Write a number in digits, such as 0.5.")
    return value


def _text(value: str) -> str:
    if "\0" in value:
        raise PydanticCustomError("text", "A text has no NUL characters.")
    return value


Whole = Annotated[int, BeforeValidator(_whole)]
"""A whole number."""
Number = Annotated[float, BeforeValidator(_number)]
"""A number with a fraction."""
Text = Annotated[str, AfterValidator(_text)]
"""A text of a body; those of addresses are checked by `mistake_in`."""


def mistake_in(address: bytes) -> str | None:
    """What is wrong with a path or a query as it was sent; None where nothing is."""
    data = unquote_to_bytes(address)
    if b"\0" in data:
        return "has a NUL character"
    try:
        data.decode()
    except UnicodeDecodeError:
        return "is not UTF-8"
    return None
