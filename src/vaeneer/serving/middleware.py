"""Checks of every request (host, origin, token, size, time), and headers of every answer."""

from __future__ import annotations

import asyncio
import logging
import time
from http import HTTPStatus
from urllib.parse import SplitResult, unquote_to_bytes, urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from vaeneer.serving.auth import is_loopback
from vaeneer.serving.schemas import API, Problem, busy, problem_response
from vaeneer.serving.state import AppState

_LOG = logging.getLogger(__name__)

LOGIN = f"{API}/login"
UPLOADS = frozenset(
    f"{API}/{name}" for name in ("search", "embed", "duplicates/decisions", "duplicates/csv")
)
MAX_JSON_BYTES = 64 * 1024
MAX_CONCURRENT_REQUESTS = 256
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
    """ASGI middleware around all routes; every error leaves it as a problem."""

    def __init__(self, app: ASGIApp, state: AppState) -> None:
        self._app = app
        self._state = state
        self._hosts: set[str] | None = None
        """Names that the server may be called by; None for any, where the token is the guard."""
        settings = state.settings
        if settings.host not in _WILDCARDS or settings.allowed_hosts is not None:
            allowed = (settings.allowed_hosts or "").split(",")
            names = {"localhost", "127.0.0.1", "::1", settings.host.lower()}
            self._hosts = (names | {name.strip().lower() for name in allowed}) - {""}
        self._under_way = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request; pass on other messages, such as those of the lifespan."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        method, started = scope["method"], time.monotonic()
        if method == "HEAD":  # as GET, without the body
            scope = {**scope, "method": "GET"}
        answer = _Answer(scope, receive, send, with_body=method != "HEAD")
        self._under_way += 1
        try:
            limit_bytes = await self._check_request(scope)
            body = _Body(receive, limit_bytes, self._state.settings.timeout_seconds)
            await self._app(scope, body.receive, answer.send)
        except Problem as problem:
            if problem.rejected is not None:
                self._state.metrics.rejected(problem.rejected)
            if not answer.status:
                headers = dict(problem.headers or {})
                await answer.send_problem(problem.status_code, problem.detail, headers)
        except Exception:
            _LOG.exception("%s %s failed", method, scope["path"][:200])
            if answer.status and not answer.is_whole:
                raise  # the connection is cut, so that half an answer is not taken for a whole
            if not answer.status:
                await answer.send_problem(500, "The server made a mistake; its log says more.")
        finally:
            self._under_way -= 1
            route = getattr(scope.get("route"), "path", "other")
            shown = method if method in (*_SAFE, "POST") else "other"
            seconds = time.monotonic() - started
            self._state.metrics.answered(shown, route, answer.status or 499, seconds)

    async def _check_request(self, scope: Scope) -> int:
        """Max size of the body in bytes. Raises Problem for a request that is refused unread."""
        headers, path = Headers(scope=scope), scope["path"]
        if self._under_way > MAX_CONCURRENT_REQUESTS:
            detail = f"{MAX_CONCURRENT_REQUESTS} requests are under way; ask again in a second."
            raise busy(detail, rejected="too_many_requests")
        # A page elsewhere may point its own name at this server: the Host header says that name.
        name = _parsed(f"//{headers.get('host', '')}").hostname or ""
        name = "127.0.0.1" if is_loopback(name) else name
        if self._hosts is not None and name not in self._hosts:
            detail = "The server is not called by this name; name it with --allowed-hosts."
            raise Problem(421, detail, rejected="host")
        _check_origin(headers, path, scope["method"])
        _check_address(scope)
        token = self._state.token
        open_to_all = path in _OPEN_PATHS or path.startswith(_OPEN)  # nothing of a library
        if token and not open_to_all and not token.authorizes(headers):
            if token.is_guessed(headers):
                await self._state.wrong_tokens.wait(str((scope.get("client") or [""])[0]))
            detail = "Show the token: Authorization: Bearer TOKEN, or log in on the page."
            raise Problem(401, detail, {"WWW-Authenticate": "Bearer"}, rejected="token")
        limit = self._state.settings.max_upload_bytes if path in UPLOADS else MAX_JSON_BYTES
        length = headers.get("content-length", "0")
        if not length.isdigit() or len(length) > 18 or int(length) > limit:
            raise _too_large(limit)
        return limit


class _Answer:
    """Adds the headers of every answer, turns plain errors into problems, keeps the status."""

    def __init__(self, scope: Scope, receive: Receive, send: Send, *, with_body: bool) -> None:
        self._scope = scope
        self._receive = receive
        self._send = send
        self._with_body = with_body
        self._plain: Message | None = None  # the start of an error that is no problem yet
        self.status = 0
        self.is_whole = False

    async def send(self, message: Message) -> None:
        """Send a part of the answer."""
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
        elif self._plain is not None:  # the framework's own words, such as of a wrong Range
            start, self._plain = self._plain, None
            headers = MutableHeaders(scope=start)
            del headers["content-type"], headers["content-length"]
            text = message.get("body", b"").decode(errors="replace")
            text = text or HTTPStatus(start["status"]).phrase
            await self.send_problem(start["status"], text, dict(headers))
            return
        else:
            self.is_whole = not message.get("more_body", False)
            if not self._with_body:
                message = {**message, "body": b""}
        await self._send(message)

    async def send_problem(
        self, status: int, detail: str, headers: dict[str, str] | None = None
    ) -> None:
        """Send a problem as the whole answer."""
        response = problem_response(status, detail, self._scope["path"], headers)
        await response(self._scope, self._receive, self.send)


class _Body:
    """The body of a request, limited in size and time."""

    def __init__(self, receive: Receive, limit_bytes: int, seconds: float) -> None:
        self._receive = receive
        self._limit_bytes = limit_bytes
        self._left_bytes = limit_bytes
        self._until = time.monotonic() + seconds
        self._ended = False

    async def receive(self) -> Message:
        """The next part. Raises Problem 408 or 413."""
        if self._ended:
            return await self._receive()
        try:
            left = max(0.0, self._until - time.monotonic())
            message = await asyncio.wait_for(self._receive(), left)
        except TimeoutError:
            detail = "The request did not arrive in time."
            raise Problem(408, detail, {"Connection": "close"}, rejected="slow") from None
        self._left_bytes -= len(message.get("body", b""))
        if self._left_bytes < 0:
            raise _too_large(self._limit_bytes)
        self._ended = not message.get("more_body", False)
        return message


def _too_large(limit: int) -> Problem:
    detail = f"The body may have {limit:,} bytes; send a smaller picture."
    return Problem(413, detail, {"Connection": "close"}, rejected="too_large")


def _check_origin(headers: Headers, path: str, method: str) -> None:
    """Refuse pages of other origins. Raises Problem 403."""
    host = headers.get("host", "").lower()
    own = all(_parsed(one).netloc.lower() == host != "" for one in headers.getlist("origin"))
    crossed = headers.get("sec-fetch-site") == "cross-site"
    if crossed and method in _SAFE:
        followed = headers.get("sec-fetch-mode") == "navigate" and (
            headers.get("sec-fetch-dest", "document") == "document"  # a link, and no frame
        )
        crossed = path.startswith("/api/") and not followed
    if not own or crossed:
        detail = "Pages of other origins may not ask this server."
        raise Problem(403, detail, rejected="origin")


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


def _parsed(address: str) -> SplitResult:
    """The parts of an address; empty ones of what is none, as `null`."""
    try:
        return urlsplit(address)
    except ValueError:
        return urlsplit("")
