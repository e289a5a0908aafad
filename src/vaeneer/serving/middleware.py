"""What every request passes: hosts, origins, the token and limits in, security headers out."""

from __future__ import annotations

import asyncio
import logging
import time
from http import HTTPStatus
from urllib.parse import unquote_to_bytes, urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from vaeneer.serving.auth import is_loopback
from vaeneer.serving.problems import Problem, busy, problem_response
from vaeneer.serving.schemas import API
from vaeneer.serving.state import AppState
from vaeneer.settings import ServeSettings

_LOG = logging.getLogger(__name__)

LOGIN = f"{API}/login"
UPLOADS = frozenset(
    f"{API}/{name}" for name in ("search", "embed", "duplicates/decisions", "duplicates/csv")
)
MOST_JSON_BYTES = 64 * 1024
MOST_AT_ONCE = 256
"""Requests under way, of any kind; more get 503 with Retry-After."""
_OPEN = ("/static/",)
_OPEN_PATHS = frozenset({"/", "/healthz", "/favicon.ico", LOGIN})
_WILDCARDS = frozenset({"0.0.0.0", "::", ""})
_SAFE = frozenset({"GET", "HEAD"})
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:;"
    " connect-src 'self'; font-src 'self'; base-uri 'none'; form-action 'none';"
    " frame-ancestors 'none'"
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}


class SecurityMiddleware:
    """ASGI middleware around all routes; what goes wrong inside becomes a problem here."""

    def __init__(self, app: ASGIApp, state: AppState) -> None:
        self._app = app
        self._state = state
        self._hosts = _hosts(state.settings)
        self._inside = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or pass on what is no request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        method = scope["method"]
        answer = _Answer(send, scope["path"], with_body=method != "HEAD")
        if method == "HEAD":  # as GET, without the body
            scope = {**scope, "method": "GET"}
        started = time.monotonic()
        self._inside += 1
        try:
            await self._answer(scope, receive, answer)
        finally:
            self._inside -= 1
            self._count(scope, method, answer.status, time.monotonic() - started)

    async def _answer(self, scope: Scope, receive: Receive, answer: _Answer) -> None:
        path = scope["path"]
        try:
            limit = await self._check_request(scope)
            await self._app(scope, _Body(receive, limit, self._state).receive, answer.send)
        except Problem as problem:
            headers = dict(problem.headers or {})
            if problem.rejected is not None:
                self._state.metrics.rejected(problem.rejected)
            if not answer.status:
                response = problem_response(problem.status_code, problem.detail, path, headers)
                await response(scope, receive, answer.send)
        except Exception:
            _LOG.exception("%s %s failed", scope["method"], path[:200])
            if answer.is_whole:
                return
            if answer.status:
                raise  # the connection is cut, so that half an answer is not taken for a whole
            response = problem_response(500, "The server made a mistake; its log says more.", path)
            await response(scope, receive, answer.send)

    async def _check_request(self, scope: Scope) -> int:
        """The most bytes that the body may have. Raises Problem for who may not come in."""
        headers, path = Headers(scope=scope), scope["path"]
        if self._inside > MOST_AT_ONCE:
            detail = f"{MOST_AT_ONCE} requests are under way; ask again in a second."
            raise busy(detail, rejected="too_many_requests")
        self._check_host(headers)
        self._check_origin(headers, path, scope["method"])
        _check_address(scope)
        token = self._state.token
        if token and not _is_open(path) and not token.authorizes(headers):
            if token.is_guessed(headers):
                await self._state.wrong_tokens.wait(str((scope.get("client") or [""])[0]))
            detail = "Show the token: Authorization: Bearer TOKEN, or log in on the page."
            raise Problem(401, detail, {"WWW-Authenticate": "Bearer"}, rejected="token")
        limit = self._state.settings.max_upload_bytes if path in UPLOADS else MOST_JSON_BYTES
        length = headers.get("content-length", "0")
        if not length.isdigit() or len(length) > 18 or int(length) > limit:
            raise _too_large(limit)
        return limit

    def _check_host(self, headers: Headers) -> None:
        """A page elsewhere may point its own name at us: what it calls us gives it away."""
        if self._hosts is not None and _host_in(headers.get("host", "")) not in self._hosts:
            detail = "The server is not called by this name; name it with --allowed-hosts."
            raise Problem(421, detail, rejected="host")

    def _check_origin(self, headers: Headers, path: str, method: str) -> None:
        host = headers.get("host", "").lower()
        own = all(_netloc_of(origin) == host for origin in headers.getlist("origin"))
        crossed = headers.get("sec-fetch-site") == "cross-site"
        if crossed and method in _SAFE:
            followed = headers.get("sec-fetch-mode") == "navigate" and (
                headers.get("sec-fetch-dest", "document") == "document"  # a link, and no frame
            )
            crossed = path.startswith("/api/") and not followed
        if not own or crossed:
            detail = "Pages of other origins may not ask this server."
            raise Problem(403, detail, rejected="origin")

    def _count(self, scope: Scope, method: str, status: int, seconds: float) -> None:
        route = getattr(scope.get("route"), "path", "other")
        method = method if method in (*_SAFE, "POST") else "other"
        self._state.metrics.answered(method, route, status or 499, seconds)


class _Answer:
    """Adds the headers that every answer has, makes each error a problem, remembers the status."""

    def __init__(self, send: Send, path: str, *, with_body: bool) -> None:
        self._send = send
        self._path = path
        self._with_body = with_body
        self._plain: Message | None = None  # the start of an error that is no problem yet
        self.status = 0
        self.is_whole = False

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            if message["status"] >= 400 and headers.get("content-type", "").startswith("text/"):
                self._plain = message
                return
            self.status = message["status"]
            for name, value in HEADERS.items():
                headers[name] = value
            headers.setdefault("Cache-Control", "no-store")
            if self.status == 405 and headers.get("allow") == "GET":
                headers["Allow"] = "GET, HEAD"
        elif message["type"] == "http.response.body":
            if self._plain is not None:
                start, self._plain = self._plain, None
                await self._send_problem(start, message.get("body", b"").decode(errors="replace"))
                return
            self.is_whole = not message.get("more_body", False)
            if not self._with_body:
                message = {**message, "body": b""}
        await self._send(message)

    async def _send_problem(self, start: Message, text: str) -> None:
        """What the framework says of an error in plain text, such as of a wrong Range."""
        headers = MutableHeaders(scope=start)
        for name in ("content-type", "content-length"):
            del headers[name]
        detail = text or HTTPStatus(start["status"]).phrase
        problem = problem_response(start["status"], detail, self._path, dict(headers))
        await self.send(
            {
                "type": "http.response.start",
                "status": problem.status_code,
                "headers": problem.raw_headers,
            }
        )
        await self.send({"type": "http.response.body", "body": problem.body})


class _Body:
    """The body of a request, as long as it is not too large and does not take too long."""

    def __init__(self, receive: Receive, limit: int, state: AppState) -> None:
        self._receive = receive
        self._limit = limit
        self._state = state
        self._seen = 0
        self._until = time.monotonic() + state.settings.timeout_seconds
        self._ended = False

    async def receive(self) -> Message:
        if self._ended:
            return await self._receive()
        try:
            left = max(0.0, self._until - time.monotonic())
            message = await asyncio.wait_for(self._receive(), left)
        except TimeoutError:
            detail = "The request did not arrive in time."
            raise Problem(408, detail, {"Connection": "close"}, rejected="slow") from None
        self._seen += len(message.get("body", b""))
        if self._seen > self._limit:
            raise _too_large(self._limit)
        self._ended = not message.get("more_body", False)
        return message


def _too_large(limit: int) -> Problem:
    detail = f"The body may have {limit:,} bytes; send a smaller picture."
    return Problem(413, detail, {"Connection": "close"}, rejected="too_large")


def _check_address(scope: Scope) -> None:
    """Refuse a NUL character, and what is not UTF-8. Raises Problem 422."""
    sent = {"path": scope.get("raw_path") or b"", "query": scope.get("query_string", b"")}
    for part, value in sent.items():
        data = unquote_to_bytes(value)
        if b"\0" in data:
            raise Problem(422, f"The {part} of the address has a NUL character.")
        try:
            data.decode()
        except UnicodeDecodeError:
            raise Problem(422, f"The {part} of the address is not UTF-8.") from None


def _netloc_of(origin: str) -> str | None:
    """Host and port of an Origin header; None for one that is none, as `null`."""
    try:
        return urlsplit(origin).netloc.lower() or None
    except ValueError:
        return None


def _is_open(path: str) -> bool:
    """Whether a path needs no token: the page itself holds nothing of a library."""
    return path in _OPEN_PATHS or path.startswith(_OPEN)


def _hosts(settings: ServeSettings) -> frozenset[str] | None:
    """The names that the server may be called by; None for any, where the token is the guard."""
    if settings.host in _WILDCARDS and settings.allowed_hosts is None:
        return None
    names = {"localhost", "127.0.0.1", "::1", settings.host.lower()}
    names |= {name.strip().lower() for name in (settings.allowed_hosts or "").split(",")}
    return frozenset(names - {""})


def _host_in(header: str) -> str:
    """The name in a Host header, without its port; of loopback addresses one."""
    try:
        host = urlsplit(f"//{header}").hostname or ""
    except ValueError:
        return ""
    return "127.0.0.1" if is_loopback(host) else host
