"""What the server counts, told as Prometheus reads it (text format 0.0.4)."""

from __future__ import annotations

import threading
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path

METRICS_MEDIA_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_CROPS = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0)


class _Histogram:
    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self.counts = [0] * len(bounds)
        self.total = 0
        self.sum = 0.0

    def add(self, value: float) -> None:
        self.total += 1
        self.sum += value
        for place, bound in enumerate(self.bounds):
            if value <= bound:
                self.counts[place] += 1

    def lines(self, name: str, labels: str = "") -> Iterator[str]:
        comma = "," if labels else ""
        for bound, count in zip(self.bounds, self.counts, strict=True):
            yield f'{name}_bucket{{{labels}{comma}le="{bound:g}"}} {count}'
        yield f'{name}_bucket{{{labels}{comma}le="+Inf"}} {self.total}'
        braces = f"{{{labels}}}" if labels else ""
        yield f"{name}_sum{braces} {self.sum:.6f}"
        yield f"{name}_count{braces} {self.total}"


class Metrics:
    """Counters of one server; threads may share it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._requests: Counter[tuple[str, str, int]] = Counter()
        self._seconds: dict[str, _Histogram] = defaultdict(lambda: _Histogram(_SECONDS))
        self._batches = _Histogram(_CROPS)
        self._rejected: Counter[str] = Counter()
        self._images = 0
        self.gauges: dict[str, tuple[str, Callable[[], float]]] = {}
        """Name, help, and what is asked for the value each time."""

    def answered(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count one request; route is the template, never the address that a client wrote."""
        with self._lock:
            self._requests[method, route, status] += 1
            self._seconds[route].add(seconds)

    def batch(self, crops: int, images: int) -> None:
        """Count one pass through the network: its crops, and the images that they are of."""
        with self._lock:
            self._batches.add(crops)
            self._images += images

    def rejected(self, reason: str) -> None:
        """Count a request that was refused before any work was done."""
        with self._lock:
            self._rejected[reason] += 1

    def text(self) -> str:
        """All of it, one sample a line."""
        with self._lock:
            lines = list(self._lines())
        for name, (meaning, value) in self.gauges.items():
            lines += [f"# HELP {name} {meaning}", f"# TYPE {name} gauge", f"{name} {value():g}"]
        return "\n".join(lines) + "\n"

    def _lines(self) -> Iterator[str]:
        yield from _head("vaeneer_requests_total", "Requests answered.", "counter")
        for (method, route, status), count in sorted(self._requests.items()):
            labels = f'method="{method}",route="{route}",status="{status}"'
            yield f"vaeneer_requests_total{{{labels}}} {count}"
        yield from _head("vaeneer_request_seconds", "From request to answer.", "histogram")
        for route, seconds in sorted(self._seconds.items()):
            yield from seconds.lines("vaeneer_request_seconds", f'route="{route}"')
        yield from _head("vaeneer_batch_crops", "Crops in one pass of the network.", "histogram")
        yield from self._batches.lines("vaeneer_batch_crops")
        yield from _head("vaeneer_images_embedded_total", "Images embedded.", "counter")
        yield f"vaeneer_images_embedded_total {self._images}"
        yield from _head("vaeneer_rejected_total", "Requests refused unread.", "counter")
        for reason, count in sorted(self._rejected.items()):
            yield f'vaeneer_rejected_total{{reason="{reason}"}} {count}'


def resident_bytes() -> float:
    """Memory of this process; 0 where the system does not say."""
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    except (OSError, ValueError, IndexError):
        return 0.0
    import os

    return float(pages * os.sysconf("SC_PAGE_SIZE"))


def _head(name: str, meaning: str, kind: str) -> Iterator[str]:
    yield f"# HELP {name} {meaning}"
    yield f"# TYPE {name} {kind}"
