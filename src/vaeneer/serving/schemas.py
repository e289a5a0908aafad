"""What all routes share: types of input, answers, errors (RFC 9457), and files as answers.

A report of the library is answered as it is, or with the addresses of thumbnails added to it.
"""

from __future__ import annotations

import os
import re
import stat
from dataclasses import dataclass, field, is_dataclass
from http import HTTPStatus
from typing import Annotated, Any, TypeVar, dataclass_transform
from urllib.parse import urlencode

from fastapi import Request
from fastapi.responses import FileResponse, JSONResponse, Response
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    JsonValue,
    TypeAdapter,
)
from pydantic_core import PydanticCustomError
from starlette.exceptions import HTTPException

from vaeneer.errors import (
    DataError,
    ImageFileError,
    LibraryError,
    LibraryUnavailableError,
    ModelFileError,
    SettingsError,
    StorageError,
    VaeneerError,
)
from vaeneer.library.search.filters import COLUMNS
from vaeneer.text import to_json

API = "/api/v1"
MEDIA_TYPE = "application/problem+json"
_AWAY_SECONDS = 5  # until it is worth asking again for a library that is gone
_STATUSES: tuple[tuple[type[VaeneerError], int], ...] = (
    (SettingsError, 422),
    (ImageFileError, 422),
    (DataError, 422),
    (ModelFileError, 409),
    (LibraryUnavailableError, 503),
    (StorageError, 503),
    (LibraryError, 409),
)
"""Of errors that say what a client may do about it; the first that fits."""
_LAST_DATE_S = 253_402_300_799  # the end of the year 9999, in seconds of Unix
_T = TypeVar("_T")
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
"""A text of a body; those of addresses are checked by the middleware."""
LibraryName = Annotated[Text, Field(max_length=255)]
JsonObject = dict[str, JsonValue]
"""What a file of a run holds."""


class ItemFilters(BaseModel):
    """Filters that a search and a page of items have in common."""

    category: str | None = Field(None, max_length=255, description=COLUMNS["category"].flag)
    tag: str | None = Field(None, max_length=255, description=COLUMNS["tag"].flag)
    where: str | None = Field(
        None,
        max_length=4000,
        description="A condition on the items, as --where of the command line.",
        examples=["category = 'wood' and width >= 1024"],
    )


def picture_responses(media_type: str) -> dict[int | str, dict[str, Any]]:
    """What a route may answer that gives a picture, for openapi.json."""
    binary = {"schema": {"type": "string", "format": "binary"}}
    return {200: {"content": {media_type: binary}}, 304: {"description": "Known already."}}


class Json(JSONResponse):
    """JSON that every client takes, whatever is in a path: see `vaeneer.text.to_json`."""

    def render(self, content: Any) -> bytes:
        """The body of the answer, in UTF-8."""
        return to_json(content, compact=True).encode()


def _inherit_descriptions(schema: dict[str, Any], kind: type) -> None:
    """Describe inherited fields as their own class does: pydantic reads one class alone."""
    for base in kind.__mro__[1:]:
        if is_dataclass(base):
            described = TypeAdapter(base).json_schema()["properties"]
            for name, own in schema["properties"].items():
                if "description" in described.get(name, {}):
                    own.setdefault("description", described[name]["description"])


@dataclass_transform(kw_only_default=True, frozen_default=True, field_specifiers=(field,))
def answer(kind: type[_T]) -> type[_T]:
    """Make a class a frozen dataclass whose docstrings of fields are in openapi.json."""
    kind.__pydantic_config__ = ConfigDict(  # type: ignore[attr-defined]
        use_attribute_docstrings=True,
        json_schema_extra=_inherit_descriptions,
        json_schema_serialization_defaults_required=True,
    )
    return dataclass(frozen=True, kw_only=True)(kind)


@answer
class ProblemAnswer:
    """An error, as RFC 9457 has it."""

    type: str
    title: str
    status: int
    detail: Annotated[str, Field(examples=["The library oak has no item 7."])]
    """One sentence: what is wrong, and what to do about it."""
    instance: str
    errors: list[dict[str, str]] | None = None


@answer
class StateAnswer:
    """One word."""

    state: str


class Problem(HTTPException):
    """An answer that is an error; raised wherever it is found."""

    def __init__(
        self,
        status: int,
        detail: str,
        headers: dict[str, str] | None = None,
        *,
        rejected: str | None = None,
    ) -> None:
        """rejected: why no work was done for the request, as the metrics count it."""
        super().__init__(status, detail, headers)
        self.rejected = rejected


def busy(detail: str, retry_after_seconds: int = 1, *, rejected: str | None = None) -> Problem:
    """503: come again in a while."""
    headers = {"Retry-After": str(retry_after_seconds)}
    return Problem(503, detail, headers, rejected=rejected)


def problem_response(
    status: int,
    detail: str,
    instance: str,
    headers: dict[str, str] | None = None,
    errors: list[dict[str, str]] | None = None,
) -> JSONResponse:
    """The problem as a response."""
    body: dict[str, Any] = {
        "type": "about:blank",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": detail,
        "instance": instance,
    }
    if errors is not None:
        body["errors"] = errors
    return Json(body, status, headers, MEDIA_TYPE)


def as_problem(error: VaeneerError) -> Problem:
    """What an error of the library means to a client."""
    status = next((status for kind, status in _STATUSES if isinstance(error, kind)), 500)
    return busy(str(error), _AWAY_SECONDS) if status == 503 else Problem(status, str(error))


class DatedFile(FileResponse):
    """A file as an answer; a time that no HTTP header can say is the nearest that one can."""

    def set_stat_headers(self, stat_result: os.stat_result) -> None:
        """Length, date and tag."""
        seconds = min(max(stat_result[stat.ST_MTIME], 0), _LAST_DATE_S)
        fields = list(stat_result[:10])
        fields[stat.ST_MTIME] = seconds
        super().set_stat_headers(os.stat_result(fields))


def etag_of(facts: os.stat_result, max_px: int | None = None) -> str:
    """The ETag of a file, or of a picture of it whose longest side is `max_px`."""
    return f'"{facts.st_mtime_ns:x}-{facts.st_size:x}-{max_px or 0}"'


def unchanged(request: Request, headers: dict[str, str]) -> Response | None:
    """304 where the client has the content of this ETag already; None where it must be sent."""
    header = request.headers.get("if-none-match", "")
    tags = {one.strip().removeprefix("W/") for one in header.split(",")}
    if headers["ETag"] in tags or "*" in tags:
        return Response(status_code=304, headers=headers)
    return None


def picture_address(library: str, item: int, what: str, version: str) -> str:
    """Address of a picture of an item; version: changes with it, so that it may be cached."""
    return f"{API}/items/{item}/{what}?{urlencode({'library': library, 'v': version})}"


def thumbnail_address(library: str, item: int, sha256: str) -> str:
    """Address of an item's thumbnail."""
    return picture_address(library, item, "thumbnail", sha256[:8])
