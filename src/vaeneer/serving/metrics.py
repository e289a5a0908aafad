"""Counters of one server, in Prometheus's text format (docs/http-api.md), by prometheus-client."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)

METRICS_MEDIA_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_CROPS = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0)


class Metrics:
    """Counters of one server; threads may share it."""

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
