"""create_app(): all routes behind one door, as an ASGI application."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from importlib.metadata import version
from typing import Any

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp

from vaeneer.errors import VaeneerError
from vaeneer.serving import answers, asking, browsing, indexing, playing, probes, reports, runs
from vaeneer.serving.addresses import API
from vaeneer.serving.doorkeeper import Doorkeeper
from vaeneer.serving.house import House
from vaeneer.serving.problems import (
    MEDIA_TYPE,
    answer_disconnected,
    answer_invalid,
    answer_mistake,
    answer_problem,
    answer_vaeneer_error,
)
from vaeneer.serving.served import Served
from vaeneer.serving.tokens import Token, token_of
from vaeneer.settings.commands import ServeSettings

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


def create_app(served: Served, settings: ServeSettings | None = None) -> ASGIApp:
    """The application of some libraries and runs; its lifespan loads and lets go of them.

    Raises LibraryError for a folder that is no good library, SettingsError for a host that others
    can reach without a token.
    """
    settings = settings or ServeSettings()
    token: Token | None = token_of(settings)
    house = House(served, settings, token)
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
    for module in (browsing, asking, indexing, reports, playing, runs, probes):
        app.include_router(module.router)
    app.add_exception_handler(HTTPException, answer_problem)
    app.add_exception_handler(RequestValidationError, answer_invalid)
    app.add_exception_handler(VaeneerError, answer_vaeneer_error)
    app.add_exception_handler(ClientDisconnect, answer_disconnected)
    app.add_exception_handler(Exception, answer_mistake)
    _describe(app)
    return Doorkeeper(app, house)


def _lifespan(house: House) -> Callable[[FastAPI], Any]:
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
        schemas["Problem"] = answers.Problem.model_json_schema()
        for unused in ("HTTPValidationError", "ValidationError"):
            schemas.pop(unused, None)
        content = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}
        for operations in schema["paths"].values():
            for operation in operations.values():
                for status, meaning in _PROBLEMS.items():
                    operation["responses"][status] = {"description": meaning, "content": content}
        return schema

    app.openapi = openapi  # type: ignore[method-assign]
