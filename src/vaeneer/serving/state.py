"""State that the routes share, and the dependencies that hand it to them."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Annotated, Any

from fastapi import Depends, Query, Request
from starlette.exceptions import HTTPException

from vaeneer.errors import LibraryError
from vaeneer.library.index.index import IndexReport
from vaeneer.serving.auth import Token, WrongTokens
from vaeneer.serving.background import Jobs, PixelBudget, RequestPool
from vaeneer.serving.batching import Batcher
from vaeneer.serving.metrics import Metrics
from vaeneer.serving.models import EmbedderCache, ModelCache, Served, ServedLibrary
from vaeneer.serving.problems import Problem
from vaeneer.settings import ServeSettings


class AppState:
    """The libraries and runs of one server, its threads and its counters."""

    def __init__(self, served: Served, settings: ServeSettings, token: Token | None) -> None:
        """Opens the catalogs; raises LibraryError for one that is no good."""
        self.settings = settings
        self.served = served
        self.token = token
        self.wrong_tokens = WrongTokens()
        self.metrics = Metrics()
        self.network = Batcher(settings, self.metrics.batch)
        self.networks = EmbedderCache(self.network, settings)
        self.drawn = ModelCache(served, settings.device)
        self.workroom = RequestPool(settings)
        self.pixels = PixelBudget(settings.max_megapixels)
        self.jobs: Jobs[Any] = Jobs()
        self.indexing: Jobs[IndexReport] = Jobs()
        self.libraries = {
            name: ServedLibrary(name, folder, self.networks)
            for name, folder in served.libraries.items()
        }
        self._adding = threading.Lock()
        self._add_gauges()

    def start(self) -> None:
        """Start the threads, and load the libraries behind the scenes, one after the other."""
        self.network.start()
        for library in self.libraries.values():
            library.load_in_background()

    def stop(self) -> None:
        """End the threads and close the catalogs."""
        self.workroom.close()
        self.jobs.stop()
        self.indexing.stop()
        self.network.stop()
        for library in self.libraries.values():
            library.close()

    def library(self, name: str | None) -> ServedLibrary:
        """The library of a name; the only one where no name is given. Raises Problem 404, 422."""
        if name is None:
            if len(self.libraries) == 1:
                return next(iter(self.libraries.values()))
            if not self.libraries:
                more = " POST /api/v1/indexing makes one." if self.served.folders else ""
                raise Problem(404, f"No library is served here.{more}")
            raise Problem(422, f"library: name one of {', '.join(self.libraries)}.")
        found = self.libraries.get(name)
        if found is None:
            raise Problem(404, f"No library is called {name[:80]!r}; GET /api/v1/libraries.")
        return found

    def add_library(self, name: str, folder: Path) -> None:
        """Serve a library that was indexed just now, too. Raises LibraryError."""
        with self._adding:
            if name not in self.libraries:
                library = ServedLibrary(name, folder, self.networks)
                self.libraries = {**self.libraries, name: library}
                library.load_in_background()

    def troubles(self) -> dict[str, str]:
        """Why some libraries cannot be searched now, by name."""
        found: dict[str, str] = {}
        for name, library in self.libraries.items():
            try:
                library.ready()
            except HTTPException as problem:
                found[name] = str(problem.detail)
            except LibraryError as error:
                found[name] = str(error)
        return found

    def _add_gauges(self) -> None:
        self.metrics.gauge(
            "vaeneer_queue_depth",
            "Requests that wait for the network or are worked on.",
            lambda: self.workroom.pending,
        )
        self.metrics.gauge(
            "vaeneer_network_queue_depth",
            "Crops and other work in front of the network.",
            lambda: self.network.depth,
        )
        self.metrics.gauge(
            "vaeneer_libraries_ready",
            "Libraries that can be searched.",
            lambda: sum(one.state == "ready" for one in self.libraries.values()),
        )


async def house_of(request: Request) -> AppState:
    """The house of the application that got a request; async, so that no thread is taken for it."""
    house = request.app.state.house
    assert isinstance(house, AppState)
    return house


async def _library(
    house: Annotated[AppState, Depends(house_of)],
    library: Annotated[
        str | None,
        Query(max_length=255, description="Name of a library; may be left out where there is one."),
    ] = None,
) -> ServedLibrary:
    return house.library(library)


State = Annotated[AppState, Depends(house_of)]
TheLibrary = Annotated[ServedLibrary, Depends(_library)]
