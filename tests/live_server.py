"""A server on a free port of this machine, for tests: the real one, with sockets."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import httpx

from vaeneer.serving.app import create_app
from vaeneer.serving.models import served
from vaeneer.serving.server import listening, url_of, uvicorn_server
from vaeneer.settings import ServeSettings


@contextmanager
def live(folders: Sequence[Path], **settings: object) -> Iterator[str]:
    """Serve folders while the block runs; the address, once every library is loaded."""
    chosen = ServeSettings(**{"port": 0, "device": "cpu", **settings})  # type: ignore[arg-type]
    app = create_app(served(folders), chosen)
    with listening(chosen) as bound:
        server = uvicorn_server(app, chosen)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [bound]})
        thread.start()
        url = url_of(chosen, bound)
        try:
            _wait(url, chosen)
            yield url.rstrip("/")
        finally:
            server.should_exit = True
            thread.join(20)
            assert not thread.is_alive()


def _wait(url: str, settings: ServeSettings) -> None:
    headers = {}
    if settings.token_file is not None:
        headers["Authorization"] = f"Bearer {settings.token_file.read_text().strip()}"
    until = time.monotonic() + 60
    while time.monotonic() < until:
        try:
            if httpx.get(f"{url}readyz", headers=headers).status_code == 200:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.05)
    raise AssertionError("the server is not ready after 60 seconds")
