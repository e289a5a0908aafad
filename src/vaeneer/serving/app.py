"""create_app(): the ASGI application, with the routes of the server itself and of the page."""

from __future__ import annotations

import hashlib
import mimetypes
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import field
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

from fastapi import APIRouter, FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, PlainTextResponse
from fastapi.staticfiles import StaticFiles
from pydantic import BaseModel, Field, TypeAdapter
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Scope

from vaeneer.errors import LibraryUnavailableError, VaeneerError
from vaeneer.model.bundled_models import bundled_names
from vaeneer.serving.auth import COOKIE, token_of
from vaeneer.serving.middleware import SecurityMiddleware
from vaeneer.serving.models import LibraryState, Served, ServedLibrary
from vaeneer.serving.routes import generate, items, reports, runs, search
from vaeneer.serving.routes.items import left_out_counts
from vaeneer.serving.schemas import (
    API,
    MEDIA_TYPE,
    DatedFile,
    Json,
    Problem,
    ProblemAnswer,
    StateAnswer,
    answer,
    as_problem,
    busy,
    problem_response,
    unchanged,
)
from vaeneer.serving.state import METRICS_MEDIA_TYPE, AppState, State
from vaeneer.settings import ServeSettings
from vaeneer.web.pages import STATIC

router = APIRouter()
mimetypes.add_type("text/javascript", ".js")  # Windows may have another type in its registry
_MAX_ERRORS = 10
_FRAMEWORK_ERRORS = {
    404: "Nothing is at this address; GET /api/v1/openapi.json says what is where.",
    405: "This address is asked with another method; see Allow.",
}
_MAX_NAMES = 500
_COUNTED = {
    "categories": "category, count(*) FROM item_facts WHERE category NOT NULL",
    "tags": "value, count(*) FROM metadata JOIN item_facts USING (asset) WHERE key = 'tag'",
    "formats": "format, count(*) FROM item_facts",
}
_COMPUTING_SECONDS = 2  # of Retry-After, for a computation under way
_COOKIE_SECONDS = 30 * 24 * 3600
_DESCRIPTION = (
    "Search, compare and draw the surfaces of material libraries. Items are named by their ids,"
    " never by paths. Errors are application/problem+json (RFC 9457)."
)
_PROBLEMS = {
    "400": "The request cannot be read.",
    "401": "No token, or another one.",
    "403": "A page of another origin asked.",
    "404": "No such library, item, run or page.",
    "405": "Not with this method.",
    "408": "The request did not arrive in time.",
    "409": "The library or its model cannot do this.",
    "413": "The body is too large.",
    "415": "Not a form with pictures.",
    "421": "The server is not called by this name.",
    "422": "A parameter, or a picture, is not as described.",
    "429": "Too many wrong tokens.",
    "503": "Busy, loading, or the library is gone; Retry-After says when to ask again.",
}


@answer
class Start:
    """Names of what is served."""

    name: str
    version: str
    libraries: list[str]
    runs: list[str]
    models: list[str]
    """Names that `model` of sample takes."""


@answer
class LibraryAnswer:
    """One library; without figures where its folder is gone."""

    name: str
    items: int = 0
    assets: int = 0
    model: str = ""
    dimensions: int = 0
    parts: str = ""
    """The smallest parts that are searched: none, halves, quarters."""
    calibrated: bool
    """Whether hits have a probability."""
    revision: int = 0
    """Counts up when vectors, names or tags change."""
    left_out: int = 0
    """Files of the folder that are not in it; GET /left-out."""
    parts_pending: int = 0
    """Items whose smallest parts are still to be indexed."""
    root_name: str = ""
    """Name of the folder of the images."""
    categories: dict[str, int] = field(default_factory=dict)
    tags: dict[str, int] = field(default_factory=dict)
    formats: dict[str, int] = field(default_factory=dict)
    state: LibraryState
    reason: str
    """Why it failed; empty otherwise."""


@answer
class LibrariesAnswer:
    """All libraries."""

    libraries: list[LibraryAnswer]


@router.get(API, summary="What is served")
def start(state: State) -> Start:
    """Names of the libraries and runs, and of the models that can draw."""
    return Start(
        name="vaeneer",
        version=version("vaeneer"),
        libraries=list(state.libraries),
        runs=list(state.served.runs()),
        models=bundled_names(),
    )


@router.get(f"{API}/libraries", summary="The libraries")
def libraries(state: State) -> LibrariesAnswer:
    """Contents of each library in numbers, and whether it can be searched yet."""
    return LibrariesAnswer(libraries=[_library(one) for one in state.libraries.values()])


def _library(library: ServedLibrary) -> LibraryAnswer:
    """One library; without figures, but with the reason, where its folder is gone."""
    figures: dict[str, Any] = {}
    catalog = library.catalog
    with suppress(LibraryUnavailableError):
        with suppress(HTTPException):  # loading, or cannot be loaded: the state says so
            library.ready()
        counted = "SELECT count(*), count(DISTINCT asset) FROM item_facts"
        items, assets = catalog.execute(counted).fetchone()
        figures = {
            "items": items,
            "assets": assets,
            "model": Path(catalog.require_meta("model")).name,
            "dimensions": catalog.dimensions,
            "parts": catalog.require_meta("parts"),
            "revision": catalog.generation,
            "left_out": sum(left_out_counts(catalog).values()),
            "parts_pending": catalog.parts_pending,
            "root_name": catalog.root.name,
        }
        for name, what in _COUNTED.items():
            sql = f"SELECT {what} GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT {_MAX_NAMES}"
            figures[name] = {str(key): int(count) for key, count in catalog.execute(sql)}
    return LibraryAnswer(
        name=library.name,
        calibrated=library.calibrated,
        state=library.state,
        reason=library.reason,
        **figures,
    )


@router.get("/healthz", summary="Liveness")
async def healthz() -> StateAnswer:
    """Answers as long as the event loop runs."""
    return StateAnswer(state="alive")


@router.get("/readyz", summary="Readiness")
def readyz(state: State) -> StateAnswer:
    """200 when every library is there and loaded, else 503 with the reasons."""
    if troubles := state.troubles():
        raise busy(" ".join(f"{name}: {reason}" for name, reason in troubles.items()), 2)
    return StateAnswer(state="ready")


@router.get("/metrics", summary="Counters for Prometheus", response_class=PlainTextResponse)
async def prometheus(state: State) -> Response:
    """Requests, latency, queues and batches, in the text format."""
    return Response(state.metrics.text(), media_type=METRICS_MEDIA_TYPE)


class LoginRequest(BaseModel):
    """The token, to log the page in."""

    token: str = Field(max_length=4096)


@router.post(f"{API}/login", summary="Log the page in")
async def login(
    request: Request, response: Response, state: State, body: LoginRequest
) -> StateAnswer:
    """Trade the token for a cookie that scripts of the page cannot read."""
    if state.token is not None:
        if not state.token.matches(body.token):
            await state.wrong_tokens.wait(request.client.host if request.client else "")
            headers = {"WWW-Authenticate": "Bearer"}
            raise Problem(401, "That is not the token.", headers, rejected="login")
        response.set_cookie(
            COOKIE,
            state.token.cookie,
            max_age=_COOKIE_SECONDS,
            httponly=True,
            samesite="strict",
            secure=request.url.scheme == "https",
        )
    return StateAnswer(state="in")


@router.post(f"{API}/logout", summary="Log the page out")
async def logout(response: Response) -> StateAnswer:
    """Delete the cookie."""
    response.delete_cookie(COOKIE, httponly=True, samesite="strict")
    return StateAnswer(state="out")


@cache
def _sha256(file: str, mtime_ns: int) -> str:
    """SHA-256 of a file; computed once for each time of change."""
    return hashlib.sha256(Path(file).read_bytes()).hexdigest()


class PageFiles(StaticFiles):
    """The files of the page. Their ETag follows from the content: dates in a package may repeat."""

    def file_response(
        self,
        full_path: str | os.PathLike[str],
        stat_result: os.stat_result,
        scope: Scope,
        status_code: int = 200,
    ) -> Response:
        """The file, or 304 where the client has it."""
        digest = _sha256(os.fspath(full_path), stat_result.st_mtime_ns)
        headers = {"ETag": f'"{digest[:32]}"', "Cache-Control": "no-cache"}
        return unchanged(Request(scope), headers) or DatedFile(
            full_path, status_code, headers, stat_result=stat_result
        )


_PAGE = PageFiles(directory=STATIC)


@router.get("/", include_in_schema=False)
async def page(request: Request) -> Response:
    """The page."""
    return await _PAGE.get_response("index.html", request.scope)


@router.get("/favicon.ico", include_in_schema=False)
async def favicon() -> Response:
    """Nothing: index.html names its own icon."""
    return Response(status_code=204)


@router.get("/static/{name:path}", include_in_schema=False)
async def static(request: Request, name: str) -> Response:
    """A file of the page."""
    try:
        return await _PAGE.get_response(name, request.scope)
    except HTTPException:
        raise Problem(404, "The page has no such file.") from None


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
            for one in error.errors()[:_MAX_ERRORS]
        ]
        first = found[0] if found else {"where": "request", "what": "not as described"}
        detail = f"{first['where']}: {first['what']}"
        return problem_response(422, detail, request.url.path, errors=found)

    @app.exception_handler(reports.NotComputed)
    async def answer_not_computed(request: Request, error: reports.NotComputed) -> JSONResponse:
        return Json(vars(error.answer), 202, {"Retry-After": str(_COMPUTING_SECONDS)})

    @app.exception_handler(ClientDisconnect)
    async def answer_disconnected(request: Request, error: ClientDisconnect) -> Response:
        return Response(status_code=499)  # to nobody; the metrics count it

    @app.exception_handler(Exception)
    async def answer_mistake(request: Request, error: Exception) -> JSONResponse:
        detail = "The server made a mistake; its log says more."  # the SecurityMiddleware logs it
        return problem_response(500, detail, request.url.path)


def create_app(served: Served, settings: ServeSettings | None = None) -> ASGIApp:
    """The application of some libraries and runs; its lifespan loads and closes them.

    Raises LibraryError for a folder that is no good library, SettingsError for a host that others
    can reach without a token.
    """
    settings = settings or ServeSettings()
    state = AppState(served, settings, token_of(settings))

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        state.start()
        try:
            yield
        finally:
            state.stop()

    app = FastAPI(
        title="vaeneer",
        version=version("vaeneer"),
        description=_DESCRIPTION,
        openapi_url=f"{API}/openapi.json",
        docs_url=None,
        redoc_url=None,
        default_response_class=Json,
        lifespan=lifespan,
    )
    app.state.vaeneer = state
    for module in (items, search, reports, generate, runs):
        app.include_router(module.router)
    app.include_router(router)
    add_handlers(app)
    _describe_problems(app)
    return SecurityMiddleware(app, state)


def _describe_problems(app: FastAPI) -> None:
    """Add the problems that any route may answer to openapi.json."""
    framework = app.openapi

    def openapi() -> dict[str, Any]:
        schema = framework()
        known = schema.setdefault("components", {}).setdefault("schemas", {})
        known["Problem"] = TypeAdapter(ProblemAnswer).json_schema()
        for unused in ("HTTPValidationError", "ValidationError"):
            known.pop(unused, None)
        content = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}
        for operations in schema["paths"].values():
            for operation in operations.values():
                for status, meaning in _PROBLEMS.items():
                    operation["responses"][status] = {"description": meaning, "content": content}
        return schema

    app.openapi = openapi  # type: ignore[method-assign]
