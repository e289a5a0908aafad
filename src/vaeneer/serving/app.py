"""create_app(): all routes behind one door, as an ASGI application."""

from __future__ import annotations

import hashlib
import mimetypes
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

from fastapi import APIRouter, FastAPI, Request, Response
from fastapi.responses import PlainTextResponse
from fastapi.staticfiles import StaticFiles
from pydantic import BaseModel, Field, TypeAdapter
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Scope

from vaeneer.serving import schemas
from vaeneer.serving.auth import COOKIE, token_of
from vaeneer.serving.middleware import SecurityMiddleware
from vaeneer.serving.models import Served
from vaeneer.serving.problems import MEDIA_TYPE, Problem, add_handlers, busy
from vaeneer.serving.routes import generate, items, reports, runs, search
from vaeneer.serving.schemas import API, Json
from vaeneer.serving.state import METRICS_MEDIA_TYPE, AppState, State
from vaeneer.serving.uploads import DatedFile, unchanged
from vaeneer.settings import ServeSettings

router = APIRouter()
mimetypes.add_type("text/javascript", ".js")  # whatever the registry of Windows says
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
        digest = hashlib.sha256(Path(full_path).read_bytes()).hexdigest()
        headers = {"ETag": f'"{digest[:32]}"', "Cache-Control": "no-cache"}
        return unchanged(Request(scope), headers) or DatedFile(
            full_path, status_code, headers, stat_result=stat_result
        )


_PAGE = PageFiles(directory=Path(__file__).parent / "web")


class LoginRequest(BaseModel):
    """What logs the page in."""

    token: str = Field(max_length=4096)


@router.get("/healthz", summary="Whether the process lives")
async def healthz() -> schemas.StateAnswer:
    """Answers as long as the event loop runs."""
    return schemas.StateAnswer(state="alive")


@router.get("/readyz", summary="Whether it can search")
def readyz(state: State) -> schemas.StateAnswer:
    """200 when every library is there and loaded, else 503 with the reasons."""
    if troubles := state.troubles():
        raise busy(" ".join(f"{name}: {reason}" for name, reason in troubles.items()), 2)
    return schemas.StateAnswer(state="ready")


@router.get("/metrics", summary="Counters for Prometheus", response_class=PlainTextResponse)
async def prometheus(state: State) -> Response:
    """Requests, latency, queues and batches, in the text format."""
    return Response(state.metrics.text(), media_type=METRICS_MEDIA_TYPE)


@router.post(f"{API}/login", summary="Log the page in")
async def login(
    request: Request, response: Response, state: State, asked: LoginRequest
) -> schemas.StateAnswer:
    """Sets a cookie for whoever knows the token; scripts of the page cannot read it."""
    if state.token is not None:
        if not state.token.matches(asked.token):
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
    return schemas.StateAnswer(state="in")


@router.post(f"{API}/logout", summary="Log the page out")
async def logout(response: Response) -> schemas.StateAnswer:
    """Takes the cookie away."""
    response.delete_cookie(COOKIE, httponly=True, samesite="strict")
    return schemas.StateAnswer(state="out")


@router.get("/", include_in_schema=False)
async def page(request: Request) -> Response:
    """The page."""
    return await _PAGE.get_response("index.html", request.scope)


@router.get("/favicon.ico", include_in_schema=False)
async def favicon() -> Response:
    """The page names its own icon."""
    return Response(status_code=204)


@router.get("/static/{name:path}", include_in_schema=False)
async def static(request: Request, name: str) -> Response:
    """What the page consists of."""
    try:
        return await _PAGE.get_response(name, request.scope)
    except HTTPException:
        raise Problem(404, "The page has no such file.") from None


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
    """Put the problems that any route may answer into openapi.json."""
    framework = app.openapi

    def openapi() -> dict[str, Any]:
        schema = framework()
        known = schema.setdefault("components", {}).setdefault("schemas", {})
        known["Problem"] = TypeAdapter(schemas.ProblemAnswer).json_schema()
        for unused in ("HTTPValidationError", "ValidationError"):
            known.pop(unused, None)
        content = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}
        for operations in schema["paths"].values():
            for operation in operations.values():
                for status, meaning in _PROBLEMS.items():
                    operation["responses"][status] = {"description": meaning, "content": content}
        return schema

    app.openapi = openapi  # type: ignore[method-assign]
