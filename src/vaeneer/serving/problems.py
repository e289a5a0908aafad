"""Errors as RFC 9457 has them: application/problem+json, with one sentence that says what to do."""

from __future__ import annotations

import re
from http import HTTPStatus
from typing import Annotated, Any
from urllib.parse import unquote_to_bytes

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from pydantic import AfterValidator, BeforeValidator
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
from vaeneer.text import to_json

MEDIA_TYPE = "application/problem+json"
_MOST_ERRORS = 10
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
_OWN_WORDS = {
    404: "Nothing is at this address; GET /api/v1/openapi.json says what is where.",
    405: "This address is asked with another method; see Allow.",
}
_WHOLE = re.compile(r"-?[0-9]+")
_NUMBER = re.compile(r"-?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?")


class Json(JSONResponse):
    """JSON that every client takes, whatever is in a path: see `vaeneer.text.to_json`."""

    def render(self, content: Any) -> bytes:
        """The body of the answer, in UTF-8."""
        return to_json(content, compact=True).encode()


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


async def answer_problem(request: Request, error: Exception) -> JSONResponse:
    """Of everything that is raised as HTTPException, by us or by the framework."""
    assert isinstance(error, HTTPException)
    detail = str(error.detail)
    if not isinstance(error, Problem):  # the framework's own
        detail = _OWN_WORDS.get(error.status_code, detail)
    elif error.rejected is not None:
        request.app.state.house.metrics.rejected(error.rejected)
    headers = dict(error.headers) if error.headers else None
    return problem_response(error.status_code, detail, request.url.path, headers)


async def answer_disconnected(request: Request, error: Exception) -> Response:
    """Nothing, to a client that hung up; 499 is what the metrics count."""
    return Response(status_code=499)


async def answer_mistake(request: Request, error: Exception) -> JSONResponse:
    """Of an error that nobody foresaw; the SecurityMiddleware logs it."""
    detail = "The server made a mistake; its log says more."
    return problem_response(500, detail, request.url.path)


async def answer_vaeneer_error(request: Request, error: Exception) -> JSONResponse:
    """Of an error that vaeneer raised on purpose."""
    assert isinstance(error, VaeneerError)
    return await answer_problem(request, as_problem(error))


async def answer_invalid(request: Request, error: Exception) -> JSONResponse:
    """Of parameters or bodies that are not what the description of the API says."""
    assert isinstance(error, RequestValidationError)
    found = [
        {"where": ".".join(_shown(part) for part in one["loc"]), "what": str(one["msg"])}
        for one in error.errors()[:_MOST_ERRORS]
    ]
    first = found[0] if found else {"where": "request", "what": "not as described"}
    detail = f"{first['where']}: {first['what']}"
    return problem_response(422, detail, request.url.path, errors=found)


def _shown(part: object) -> str:
    """A step of the way to a wrong value; what a client wrote there is cut short."""
    return str(part)[:60]


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
