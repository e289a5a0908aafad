"""serve(): libraries and runs behind a port, until someone stops it."""

from __future__ import annotations

import socket
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vaeneer.errors import SettingsError
from vaeneer.library.library_folders import find_library
from vaeneer.progress import Progress, Silent
from vaeneer.settings.commands import ServeSettings
from vaeneer.workers import wait_passively

if TYPE_CHECKING:
    import uvicorn
    from starlette.types import ASGIApp

_MOST_CONNECTIONS = 1024
_GRACE_SECONDS = 5


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
    from vaeneer.serving.served import served

    share_freed_memory()
    settings, progress, started = (
        settings or ServeSettings(),
        progress or Silent(),
        time.monotonic(),
    )
    if folders is None:
        folders = find_library()
    known = served([folders] if isinstance(folders, Path | str) else folders)
    app = create_app(known, settings)
    with listening(settings) as bound:
        url = url_of(settings, bound)
        new = [f"{name} (not indexed yet)" for name in known.folders if name not in known.libraries]
        names = ", ".join([*known.libraries, *new, *known.runs()])
        progress.say(f"{names} at {url} (Ctrl-C stops)")
        if open_page:
            _show(url)
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
    import logging

    import uvicorn

    from vaeneer.serving.connections import PunctualProtocol

    logging.getLogger("python_multipart").setLevel(logging.ERROR)  # it logs each broken form
    config = uvicorn.Config(
        app,
        http=PunctualProtocol,
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        limit_concurrency=_MOST_CONNECTIONS,
        timeout_keep_alive=15,
        timeout_graceful_shutdown=_GRACE_SECONDS,
        h11_max_incomplete_event_size=32 * 1024,
    )
    return uvicorn.Server(config)


def _show(url: str) -> None:
    """Open the browser a moment later, when the server answers."""
    import threading
    import webbrowser

    timer = threading.Timer(1.0, webbrowser.open, [url])
    timer.daemon = True
    timer.start()
