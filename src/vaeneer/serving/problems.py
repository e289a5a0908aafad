"""Errors as RFC 9457 has them: application/problem+json, with one sentence that says what to do."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

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
from vaeneer.serving.schemas import Json

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
_FRAMEWORK_ERRORS = {
    404: "Nothing is at this address; GET /api/v1/openapi.json says what is where.",
    405: "This address is asked with another method; see Allow.",
}


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


def add_handlers(app: FastAPI) -> None:
    """Answer every error of the routes with a problem."""

    @app.exception_handler(HTTPException)
    async def answer_problem(request: Request, error: HTTPException) -> JSONResponse:
        detail = str(error.detail)
        if not isinstance(error, Problem):
            detail = _FRAMEWORK_ERRORS.get(error.status_code, detail)
        elif error.rejected is not None:
            request.app.state.vaeneer.metrics.rejected(error.rejected)
        headers = dict(error.headers) if error.headers else None
        return problem_response(error.status_code, detail, request.url.path, headers)

    @app.exception_handler(VaeneerError)
    async def answer_vaeneer_error(request: Request, error: VaeneerError) -> JSONResponse:
        return await answer_problem(request, as_problem(error))

    @app.exception_handler(RequestValidationError)
    async def answer_invalid(request: Request, error: RequestValidationError) -> JSONResponse:
        found = [
            {"where": ".".join(str(part)[:60] for part in one["loc"]), "what": str(one["msg"])}
            for one in error.errors()[:_MOST_ERRORS]
        ]
        first = found[0] if found else {"where": "request", "what": "not as described"}
        detail = f"{first['where']}: {first['what']}"
        return problem_response(422, detail, request.url.path, errors=found)

    @app.exception_handler(ClientDisconnect)
    async def answer_disconnected(request: Request, error: ClientDisconnect) -> Response:
        return Response(status_code=499)  # to nobody; the metrics count it

    @app.exception_handler(Exception)
    async def answer_mistake(request: Request, error: Exception) -> JSONResponse:
        detail = "The server made a mistake; its log says more."  # the SecurityMiddleware logs it
        return problem_response(500, detail, request.url.path)
