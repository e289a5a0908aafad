"""serve(): libraries and runs behind a port, until someone stops it."""

from __future__ import annotations

import asyncio
import logging
import socket
import threading
import time
import webbrowser
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from vaeneer.errors import SettingsError
from vaeneer.library.library_folders import find_library
from vaeneer.progress import Progress, Silent
from vaeneer.serving.schemas import problem_response
from vaeneer.settings import ServeSettings
from vaeneer.workers import wait_passively

if TYPE_CHECKING:
    import uvicorn
    from starlette.types import ASGIApp


_MAX_CONNECTIONS = 1024
_GRACE_SECONDS = 5
HEAD_SECONDS = 15.0
"""Longest that the head of a request may take to arrive."""
SEND_SECONDS = 20.0
"""Longest that a client may read nothing, or nearly nothing, of an answer."""
_MIN_SENT_BYTES = 16 * 1024  # of an answer in that time, where more is waiting


@dataclass(frozen=True)
class ServeReport:
    """A server that has ended."""

    url: str
    libraries: list[str]
    runs: list[str]
    seconds: float

    def to_dict(self) -> dict[str, Any]:
        """The report as one JSON object."""
        return asdict(self)


def serve(
    folders: Sequence[Path | str] | Path | str | None = None,
    *,
    settings: ServeSettings | None = None,
    open_page: bool = False,
    progress: Progress | None = None,
) -> ServeReport:
    """Serve libraries and runs as a page and an HTTP API; returns when it is stopped (Ctrl-C).

    folders: libraries, runs, folders of runs, or folders of images: those that were never indexed
    can be indexed from the page. None is the library of `Library.open()`. open_page: show the page
    in the browser. Raises LibraryError, or SettingsError for any other folder, a port that is
    taken, or a host that others can reach without a token.
    """
    wait_passively()
    from vaeneer.device import share_freed_memory
    from vaeneer.serving.app import create_app
    from vaeneer.serving.models import served

    share_freed_memory()
    settings, progress = settings or ServeSettings(), progress or Silent()
    started = time.monotonic()
    if folders is None:
        folders = find_library()
    known = served([folders] if isinstance(folders, Path | str) else folders)
    app = create_app(known, settings)
    with listening(settings) as bound:
        url = url_of(settings, bound)
        new = [f"{name} (not indexed yet)" for name in known.folders if name not in known.libraries]
        names = ", ".join([*known.libraries, *new, *known.runs()])
        progress.say(f"{names} at {url} (Ctrl-C stops)")
        if open_page:  # a moment later, when the server answers
            timer = threading.Timer(1.0, webbrowser.open, [url])
            timer.daemon = True
            timer.start()
        server = uvicorn_server(app, settings)
        with suppress(KeyboardInterrupt):
            server.run(sockets=[bound])
    seconds = time.monotonic() - started
    return ServeReport(url, list(known.libraries), list(known.runs()), seconds)


def listening(settings: ServeSettings) -> socket.socket:
    """A socket that listens where the settings say. Raises SettingsError where it cannot."""
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    try:
        return socket.create_server((settings.host, settings.port), family=family, backlog=1024)
    except OSError as error:
        raise SettingsError(
            f"{settings.host} port {settings.port} cannot be listened on ({error.strerror});"
            " use another --port, or 0 for a free one."
        ) from error


def url_of(settings: ServeSettings, bound: socket.socket) -> str:
    """Where the page is."""
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    return f"http://{host}:{bound.getsockname()[1]}/"


def uvicorn_server(app: ASGIApp, settings: ServeSettings) -> uvicorn.Server:
    """The HTTP server: HTTP/1.1 alone, nothing logged but mistakes, slow clients cut off."""
    import uvicorn

    logging.getLogger("python_multipart").setLevel(logging.ERROR)  # it logs each broken form
    config = uvicorn.Config(
        app,
        http=PunctualProtocol,
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        limit_concurrency=_MAX_CONNECTIONS,
        timeout_keep_alive=15,
        timeout_graceful_shutdown=_GRACE_SECONDS,
        h11_max_incomplete_event_size=32 * 1024,
    )
    return uvicorn.Server(config)


class PunctualProtocol(H11Protocol):
    """HTTP/1.1 as uvicorn speaks it, without Nagle's delay, for clients that write and read."""

    _head_timer: asyncio.TimerHandle | None = None
    _send_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """The client has connected."""
        super().connection_made(transport)
        # asyncio sets TCP_NODELAY only for sockets that name their protocol, and ours do not
        wire = transport.get_extra_info("socket")
        if wire is not None and wire.family in (socket.AF_INET, socket.AF_INET6):
            with suppress(OSError):  # gone already
                wire.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._wait_for_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """The client is gone."""
        self._head_timer = _cancelled(self._head_timer)
        self._send_timer = _cancelled(self._send_timer)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Some bytes have come: perhaps a request, perhaps a part of its head."""
        if not self.flow.write_paused:
            self._send_timer = _cancelled(self._send_timer)
        super().data_received(data)
        if self._is_answering():
            self._head_timer = _cancelled(self._head_timer)
        else:
            self._wait_for_head()

    def pause_writing(self) -> None:
        """The client reads more slowly than an answer is made."""
        super().pause_writing()
        self._send_timer = _cancelled(self._send_timer)
        self._watch_sending()

    def resume_writing(self) -> None:
        """The client has read most of what was waiting."""
        super().resume_writing()
        self._send_timer = _cancelled(self._send_timer)

    def on_response_complete(self) -> None:
        """An answer is whole, though perhaps not sent yet."""
        super().on_response_complete()
        self._watch_sending()

    def send_400_response(self, msg: str) -> None:
        """Answer what is no HTTP; where an answer has begun already, hang up."""
        with suppress(h11.LocalProtocolError):
            answer = problem_response(400, msg, "")
            headers = [*answer.raw_headers, (b"connection", b"close")]
            for event in (
                h11.Response(status_code=400, headers=headers, reason=b"Bad Request"),
                h11.Data(data=bytes(answer.body)),
                h11.EndOfMessage(),
            ):
                self.transport.write(self.conn.send(event) or b"")
        self.transport.close()
        self._watch_sending()

    def _is_answering(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _wait_for_head(self) -> None:
        def cut() -> None:
            self._head_timer = None
            if not self._is_answering() and not self.transport.is_closing():
                self.transport.abort()

        if self._head_timer is None:
            self._head_timer = self.loop.call_later(HEAD_SECONDS, cut)

    def _watch_sending(self) -> None:
        """Cut a client that has read too little when the time is up."""

        def check(before: int) -> None:
            self._send_timer = None
            waiting = self.transport.get_write_buffer_size()
            if waiting and waiting > before - _MIN_SENT_BYTES:
                self.transport.abort()
            else:
                self._watch_sending()

        waiting = self.transport.get_write_buffer_size()
        if waiting and self._send_timer is None:
            self._send_timer = self.loop.call_later(SEND_SECONDS, check, waiting)


def _cancelled(timer: asyncio.TimerHandle | None) -> asyncio.TimerHandle | None:
    """Cancel a timer; returns none in its place."""
    if timer is not None:
        timer.cancel()
    return None
