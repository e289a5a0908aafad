"""State that all routes share, its counters, and the FastAPI dependencies that pass it on."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

from fastapi import Depends, Query, Request
from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)
from starlette.exceptions import HTTPException

from vaeneer.errors import LibraryError
from vaeneer.library.index.index import IndexReport
from vaeneer.serving.auth import Token, WrongTokens
from vaeneer.serving.background import Jobs, PixelBudget, RequestPool
from vaeneer.serving.batching import Batcher
from vaeneer.serving.models import ModelCache, Served, ServedLibrary
from vaeneer.serving.schemas import Problem
from vaeneer.settings import ServeSettings

METRICS_MEDIA_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_CROPS = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0)


class Metrics:
    """Counters of one server in Prometheus's text format; threads may share it."""

    def __init__(self) -> None:
        # Else each counter has a second series, the time when it began.
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self._registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        self._requests = Counter(
            "vaeneer_requests", "Requests answered.", ("method", "route", "status"),
            registry=registry,
        )  # fmt: skip
        self._seconds = Histogram(
            "vaeneer_request_seconds", "From request to answer.", ("route",),
            buckets=_SECONDS, registry=registry,
        )  # fmt: skip
        self._batches = Histogram(
            "vaeneer_batch_crops", "Crops in one pass of the network.",
            buckets=_CROPS, registry=registry,
        )  # fmt: skip
        self._images = Counter("vaeneer_images_embedded", "Images embedded.", registry=registry)
        self._rejected = Counter(
            "vaeneer_rejected", "Requests refused unread.", ("reason",), registry=registry
        )

    def gauge(self, name: str, meaning: str, value: Callable[[], float]) -> None:
        """Add a gauge whose value is computed each time it is read."""
        Gauge(name, meaning, registry=self._registry).set_function(value)

    def answered(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count one request; route is the template, never the address that a client wrote."""
        self._requests.labels(method, route, str(status)).inc()
        self._seconds.labels(route).observe(seconds)

    def batch(self, crops: int, images: int) -> None:
        """Count one pass through the network: its crops, and the images that they are of."""
        self._batches.observe(crops)
        self._images.inc(images)

    def rejected(self, reason: str) -> None:
        """Count a request that was refused before any work was done."""
        self._rejected.labels(reason).inc()

    def text(self) -> str:
        """All metrics, one sample a line."""
        return generate_latest(self._registry).decode()


class AppState:
    """The libraries and runs of one server, its threads and its counters."""

    def __init__(self, served: Served, settings: ServeSettings, token: Token | None) -> None:
        """Opens the catalogs. Raises LibraryError for a damaged one."""
        self.settings = settings
        self.served = served
        self.token = token
        self.wrong_tokens = WrongTokens()
        self.metrics = Metrics()
        self.batcher = Batcher(settings, self.metrics.batch)
        self.models = ModelCache(served, settings.device)
        self.pool = RequestPool(settings)
        self.pixels = PixelBudget(settings.max_megapixels)
        self.jobs: Jobs[Any] = Jobs()
        self.indexing: Jobs[IndexReport] = Jobs()
        self.libraries = {
            name: ServedLibrary(name, folder, self.batcher)
            for name, folder in served.libraries.items()
        }
        self._adding = threading.Lock()
        self.metrics.gauge(
            "vaeneer_queue_depth",
            "Requests that wait for the network or are worked on.",
            lambda: self.pool.pending,
        )
        self.metrics.gauge(
            "vaeneer_network_queue_depth",
            "Crops and other work in front of the network.",
            lambda: self.batcher.depth,
        )
        self.metrics.gauge(
            "vaeneer_libraries_ready",
            "Libraries that can be searched.",
            lambda: sum(one.state == "ready" for one in self.libraries.values()),
        )

    def start(self) -> None:
        """Start the threads, and load the libraries in the background, one after the other."""
        self.batcher.start()
        for library in self.libraries.values():
            library.load_in_background()

    def stop(self) -> None:
        """End the threads and close the catalogs."""
        self.pool.close()
        self.jobs.stop()
        self.indexing.stop()
        self.batcher.stop()
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
        """Serve a library that was just indexed. Raises LibraryError."""
        with self._adding:
            if name not in self.libraries:
                library = ServedLibrary(name, folder, self.batcher)
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


async def _state(request: Request) -> AppState:
    """The state of the application that got a request; async, so that it takes no thread."""
    state = request.app.state.vaeneer
    assert isinstance(state, AppState)
    return state


State = Annotated[AppState, Depends(_state)]


async def _library(
    state: State,
    library: Annotated[
        str | None,
        Query(max_length=255, description="Name of a library; may be left out where there is one."),
    ] = None,
) -> ServedLibrary:
    return state.library(library)


TheLibrary = Annotated[ServedLibrary, Depends(_library)]
