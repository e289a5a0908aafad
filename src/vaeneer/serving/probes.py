"""Routes beside the API: health, readiness, Prometheus, the login, and the page itself."""

from __future__ import annotations

import hashlib
from pathlib import Path

from fastapi import APIRouter, Request, Response
from fastapi.responses import PlainTextResponse
from starlette.concurrency import run_in_threadpool

from vaeneer.serving import answers
from vaeneer.serving.addresses import API
from vaeneer.serving.house import TheHouse
from vaeneer.serving.metrics import METRICS_MEDIA_TYPE
from vaeneer.serving.problems import Json, Problem, busy
from vaeneer.serving.tokens import COOKIE

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


@router.get("/healthz", summary="Whether the process lives", response_model=answers.StateAnswer)
async def healthz() -> dict[str, str]:
    """Answers as long as the event loop runs."""
    return {"state": "alive"}


@router.get("/readyz", summary="Whether it can search", response_model=answers.StateAnswer)
async def readyz(house: TheHouse) -> dict[str, str]:
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
async def prometheus(house: TheHouse) -> Response:
    """Requests, latency, queues and batches, in the text format."""
    return Response(house.metrics.text(), media_type=METRICS_MEDIA_TYPE)


@router.post(f"{API}/login", summary="Log the page in", response_model=answers.StateAnswer)
async def login(request: Request, house: TheHouse, asked: answers.LoginRequest) -> Response:
    """Sets a cookie for whoever knows the token; scripts of the page cannot read it."""
    answer = Json({"state": "in"})
    if house.token is None:
        return answer
    if not house.token.is_right(asked.token):
        house.metrics.rejected("login")
        await house.wrong_tokens.wait(request.client.host if request.client else "")
        raise Problem(401, "That is not the token.", {"WWW-Authenticate": "Bearer"})
    answer.set_cookie(
        COOKIE,
        house.token.cookie,
        max_age=_COOKIE_SECONDS,
        httponly=True,
        samesite="strict",
        secure=request.url.scheme == "https",
    )
    return answer


@router.post(f"{API}/logout", summary="Log the page out", response_model=answers.StateAnswer)
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
