"""create_app(): all routes behind one door, as an ASGI application."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

from fastapi import APIRouter, FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import PlainTextResponse
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp

from vaeneer.errors import VaeneerError
from vaeneer.serving import schemas as schemas_module
from vaeneer.serving.auth import COOKIE, Token, token_of
from vaeneer.serving.metrics import METRICS_MEDIA_TYPE
from vaeneer.serving.middleware import SecurityMiddleware
from vaeneer.serving.models import Served
from vaeneer.serving.problems import (
    MEDIA_TYPE,
    Json,
    Problem,
    answer_disconnected,
    answer_invalid,
    answer_mistake,
    answer_problem,
    answer_vaeneer_error,
    busy,
)
from vaeneer.serving.routes import generate, items, reports, runs, search
from vaeneer.serving.schemas import API
from vaeneer.serving.state import AppState, State
from vaeneer.settings import ServeSettings

router = APIRouter()
WEB = Path(__file__).parent / "web"
_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".mjs": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".webp": "image/webp",
    ".ico": "image/x-icon",
    ".woff2": "font/woff2",
    ".txt": "text/plain; charset=utf-8",
    ".md": "text/plain; charset=utf-8",
}
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


@router.get(
    "/healthz", summary="Whether the process lives", response_model=schemas_module.StateAnswer
)
async def healthz() -> dict[str, str]:
    """Answers as long as the event loop runs."""
    return {"state": "alive"}


@router.get("/readyz", summary="Whether it can search", response_model=schemas_module.StateAnswer)
async def readyz(house: State) -> dict[str, str]:
    """200 when every library is there and loaded, else 503 with the reasons."""
    troubles = await run_in_threadpool(house.troubles)
    if troubles:
        raise busy(" ".join(f"{name}: {reason}" for name, reason in troubles.items()), 2)
    return {"state": "ready"}


@router.get(
    "/metrics",
    summary="Counters for Prometheus",
    response_class=PlainTextResponse,
)
async def prometheus(house: State) -> Response:
    """Requests, latency, queues and batches, in the text format."""
    return Response(house.metrics.text(), media_type=METRICS_MEDIA_TYPE)


@router.post(f"{API}/login", summary="Log the page in", response_model=schemas_module.StateAnswer)
async def login(request: Request, house: State, asked: schemas_module.LoginRequest) -> Response:
    """Sets a cookie for whoever knows the token; scripts of the page cannot read it."""
    answer = Json({"state": "in"})
    if house.token is None:
        return answer
    if not house.token.matches(asked.token):
        await house.wrong_tokens.wait(request.client.host if request.client else "")
        headers = {"WWW-Authenticate": "Bearer"}
        raise Problem(401, "That is not the token.", headers, rejected="login")
    answer.set_cookie(
        COOKIE,
        house.token.cookie,
        max_age=_COOKIE_SECONDS,
        httponly=True,
        samesite="strict",
        secure=request.url.scheme == "https",
    )
    return answer


@router.post(f"{API}/logout", summary="Log the page out", response_model=schemas_module.StateAnswer)
async def logout() -> Response:
    """Takes the cookie away."""
    answer = Json({"state": "out"})
    answer.delete_cookie(COOKIE, httponly=True, samesite="strict")
    return answer


@router.get("/", include_in_schema=False)
def page(request: Request) -> Response:
    """The page."""
    return _file(request, "index.html")


@router.get("/favicon.ico", include_in_schema=False)
def favicon() -> Response:
    """The page names its own icon."""
    return Response(status_code=204)


@router.get("/static/{name:path}", include_in_schema=False)
def static(request: Request, name: str) -> Response:
    """What the page consists of."""
    return _file(request, name)


def _file(request: Request, name: str) -> Response:
    """A file of the page, found in a list of names, so that no name leads anywhere else."""
    known = {file.relative_to(WEB).as_posix(): file for file in WEB.rglob("*") if file.is_file()}
    file = known.get(name)
    if file is None or file.suffix not in _TYPES:
        raise Problem(404, "The page has no such file.")
    content = file.read_bytes()
    tag = f'"{hashlib.sha256(content).hexdigest()[:32]}"'
    headers = {"ETag": tag, "Cache-Control": "no-cache"}
    if request.headers.get("if-none-match") == tag:
        return Response(status_code=304, headers=headers)
    return Response(content, headers=headers, media_type=_TYPES[file.suffix])


def create_app(served: Served, settings: ServeSettings | None = None) -> ASGIApp:
    """The application of some libraries and runs; its lifespan loads and lets go of them.

    Raises LibraryError for a folder that is no good library, SettingsError for a host that others
    can reach without a token.
    """
    settings = settings or ServeSettings()
    token: Token | None = token_of(settings)
    house = AppState(served, settings, token)
    app = FastAPI(
        title="vaeneer",
        version=version("vaeneer"),
        description=_DESCRIPTION,
        openapi_url=f"{API}/openapi.json",
        docs_url=None,
        redoc_url=None,
        lifespan=_lifespan(house),
    )
    app.state.house = house
    for module in (items, search, reports, generate, runs):
        app.include_router(module.router)
    app.include_router(router)
    app.add_exception_handler(HTTPException, answer_problem)
    app.add_exception_handler(RequestValidationError, answer_invalid)
    app.add_exception_handler(VaeneerError, answer_vaeneer_error)
    app.add_exception_handler(ClientDisconnect, answer_disconnected)
    app.add_exception_handler(Exception, answer_mistake)
    _describe(app)
    return SecurityMiddleware(app, house)


def _lifespan(house: AppState) -> Callable[[FastAPI], Any]:
    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        house.start()
        try:
            yield
        finally:
            house.stop()

    return lifespan


def _describe(app: FastAPI) -> None:
    """Put the problems that any route may answer into openapi.json."""
    framework = app.openapi

    def openapi() -> dict[str, Any]:
        schema = framework()
        schemas = schema.setdefault("components", {}).setdefault("schemas", {})
        schemas["Problem"] = schemas_module.Problem.model_json_schema()
        for unused in ("HTTPValidationError", "ValidationError"):
            schemas.pop(unused, None)
        content = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}
        for operations in schema["paths"].values():
            for operation in operations.values():
                for status, meaning in _PROBLEMS.items():
                    operation["responses"][status] = {"description": meaning, "content": content}
        return schema

    app.openapi = openapi  # type: ignore[method-assign]
