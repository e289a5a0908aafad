"""Search over HTTP: how many requests a second, how long each takes, what batching brings.

    python benchmarks/serving.py LIB [--seconds 30] [--clients 1,8,64] [--images 64]
    python benchmarks/serving.py LIB --small-get

A server of LIB in a process of its own, on this machine; clients in another, each sends one JPEG of
the library after the other (POST /api/v1/search) for a bounded time, over a connection that stays
open. The same once more with batching off (the crops of one image at a time), and with a short
queue, where the overload is to be answered by 503 and nothing else. Beside it the ceiling: the
crops through the network alone, in full batches on all cores, in this process, before and after.

Bars: no 5xx but 503; at 8 clients 0.6 of the ceiling or more; memory does not grow by more than a
tenth between the middle and the end of the longest round. Writes results/serving.json.

--small-get: only how long small GETs take over one connection that stays open. Bar: p50 of 10 ms,
which Nagle's delay (40 ms) does not meet. Writes results/serving-small-get.json.
"""

from __future__ import annotations

import http.client
import json
import statistics
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import cyclopts
import numpy as np
import torch
from machine import keep

from vaeneer.data.decode_worker import SOURCE_SIDE_PX
from vaeneer.data.images import read_image
from vaeneer.data.tiles import part_boxes, part_views
from vaeneer.library.library import Library
from vaeneer.settings import ServeSettings

BARS = {"of_ceiling_at_8_clients": 0.6, "server_errors": 0, "memory_growth": 0.1}
SMALL_GETS = ("/healthz", "/api/v1/items?limit=1", "/static/css/base.css")
SMALL_GET_BAR_MS = 10.0
SHORT_QUEUE = 8
_BATCH = ServeSettings().batch_crops
_SERVER = """
import sys
from vaeneer.serving.server import serve
from vaeneer.settings import ServeSettings
class Says:
    def say(self, line):
        sys.stdout.write(line + "\\n")
        sys.stdout.flush()
options = {name: float(value) if "." in value else int(value)
           for name, _, value in (word.partition("=") for word in sys.argv[2:])}
serve(sys.argv[1], settings=ServeSettings(port=0, **options), progress=Says())
"""
ONE_AT_A_TIME = {"batch_crops": 1, "batch_wait_ms": "0.0"}
Row = dict[str, Any]


def main(
    library: Path,
    *,
    seconds: float = 30,
    clients: str = "1,8,64",
    images: int = 64,
    small_get: bool = False,
) -> None:
    """Run everything and write the results."""
    if small_get:
        with served(library) as url:
            rows = [small_gets(url, path) for path in SMALL_GETS]
        print(keep("serving-small-get", {"bar_p50_ms": SMALL_GET_BAR_MS, "rows": rows}))
        return
    files, crops = pictures_of(library, images)
    counts = [int(count) for count in clients.split(",")]
    before = ceiling(library, crops, len(files), seconds / 3)
    rows: list[Row] = []
    for count in counts:
        with served(library, queue_length=max(64, count)) as url:
            rows.append({"server": "batches"} | round_of(url, files, count, seconds))
        with served(library, queue_length=max(64, count), **ONE_AT_A_TIME) as url:
            rows.append({"server": "one at a time"} | round_of(url, files, count, seconds))
        for row in rows[-2:]:
            print(told(row), flush=True)
    with served(library, queue_length=SHORT_QUEUE) as url:
        overload = {"server": "short queue"} | round_of(url, files, max(counts), seconds)
        print(told(overload), flush=True)
    after = ceiling(library, crops, len(files), seconds / 3)
    most = statistics.mean([before, after])
    result = {
        "bars": BARS,
        "images": len(files),
        "crops_per_image": len(crops) / len(files),
        "ceiling_images_per_s": {"before": before, "after": after},
        "rows": [row | {"of_ceiling": row["requests_per_s"] / most} for row in rows],
        "overload": overload,
    }
    print(keep("serving", result))


def pictures_of(library: Path, count: int) -> tuple[list[bytes], torch.Tensor]:
    """Files of the library, and the crops (n, 3, H, W) uint8 that a search makes of them."""
    with Library.open(library) as opened:
        items = [item for item in opened.items() if item.format == "JPEG"][:count]
        side = opened.embedder.vae.image_side_px
        views = []
        for item in items:
            pixels = np.asarray(read_image(opened.path(item), at_least_px=SOURCE_SIDE_PX).rgb)
            height, width = pixels.shape[:2]
            views.append(part_views(pixels, part_boxes(height, width, "none"), side))
        return [opened.path(item).read_bytes() for item in items], torch.cat(views)


def ceiling(library: Path, crops: torch.Tensor, images: int, seconds: float) -> float:
    """Images a second that the network alone embeds, in batches as large as those of serving."""
    with Library.open(library) as opened:
        embedder = opened.embedder
        embedder.embed(crops[:_BATCH])
        done, started = 0, time.monotonic()
        while time.monotonic() - started < seconds:
            start = done % max(1, len(crops) - _BATCH + 1)
            done += len(embedder.embed(crops[start : start + _BATCH]))
        return done / (time.monotonic() - started) / (len(crops) / images)


@contextmanager
def served(library: Path, **options: object) -> Iterator[str]:
    """A server in a process of its own, ready to search; its address."""
    words = [f"{name}={value}" for name, value in options.items()]
    command = [sys.executable, "-c", _SERVER, str(library), *words]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        url = next(word for word in line.split() if word.startswith("http://"))
        try:
            while asked(url, "GET", "/readyz")[0] != 200:
                time.sleep(0.2)
            yield url
        finally:
            process.terminate()
            process.wait(30)


def asked(url: str, method: str, path: str) -> tuple[int, bytes]:
    """One request over a connection of its own."""
    wire = http.client.HTTPConnection(urlsplit(url).netloc, timeout=60)
    wire.request(method, path)
    answer = wire.getresponse()
    found = answer.status, answer.read()
    wire.close()
    return found


def round_of(url: str, files: list[bytes], clients: int, seconds: float) -> Row:
    """Some clients for some seconds: what they saw, and the server's memory."""
    statuses: Counter[int] = Counter()
    latencies: list[float] = []
    lock = threading.Lock()
    bodies = [form(file) for file in files]
    warm(url, bodies)
    first, until = memory(url), time.monotonic() + seconds

    def client(number: int) -> None:
        wire = http.client.HTTPConnection(urlsplit(url).netloc, timeout=120)
        place = number
        while time.monotonic() < until:
            body, kind = bodies[place % len(bodies)]
            started = time.monotonic()
            wire.request("POST", "/api/v1/search", body, {"Content-Type": kind})
            answer = wire.getresponse()
            text = answer.read()
            taken = time.monotonic() - started
            place += clients
            with lock:
                statuses[answer.status] += 1
                if answer.status == 200:
                    assert json.loads(text)["hits"]
                    latencies.append(taken)
            if answer.status == 503:
                time.sleep(min(1.0, float(answer.headers.get("Retry-After", "1"))))
        wire.close()

    threads = [threading.Thread(target=client, args=(number,)) for number in range(clients)]
    started = time.monotonic()
    for thread in threads:
        thread.start()
    time.sleep(seconds / 2)
    middle = memory(url)
    for thread in threads:
        thread.join()
    taken = time.monotonic() - started
    times = np.array(latencies or [float("nan")])
    return {
        "clients": clients,
        "seconds": taken,
        "requests_per_s": len(latencies) / taken,
        **{f"p{p}_ms": float(np.percentile(times, p)) * 1000 for p in (50, 95, 99)},
        "statuses": {str(status): count for status, count in sorted(statuses.items())},
        "server_errors": sum(
            n for status, n in statuses.items() if status >= 500 and status != 503
        ),
        "memory_bytes": {"before": first, "middle": middle, "after": memory(url)},
        "images_per_batch": batches(url),
    }


def small_gets(url: str, path: str, count: int = 200) -> Row:
    """How long each of many GETs takes, one after the other over one connection."""
    wire = http.client.HTTPConnection(urlsplit(url).netloc, timeout=60)
    times = []
    for _ in range(count):
        started = time.perf_counter()
        wire.request("GET", path)
        wire.getresponse().read()
        times.append(1000 * (time.perf_counter() - started))
    wire.close()
    row: Row = {"path": path, "requests": count}
    row |= {f"p{p}_ms": float(np.percentile(times, p)) for p in (50, 99)}
    print(f"{path:>24}  p50 {row['p50_ms']:6.2f} ms  p99 {row['p99_ms']:6.2f} ms", flush=True)
    return row


def warm(url: str, bodies: list[tuple[bytes, str]]) -> None:
    """A few requests, so that nothing is done for the first time while it is measured."""
    wire = http.client.HTTPConnection(urlsplit(url).netloc, timeout=120)
    for body, kind in bodies[:3]:
        wire.request("POST", "/api/v1/search", body, {"Content-Type": kind})
        wire.getresponse().read()
    wire.close()


def form(file: bytes) -> tuple[bytes, str]:
    """The body of a search, and its content type."""
    head = b'--b\r\nContent-Disposition: form-data; name="image"; filename="a.jpg"\r\n\r\n'
    return head + file + b"\r\n--b--\r\n", "multipart/form-data; boundary=b"


def samples(url: str) -> dict[str, float]:
    """What /metrics says."""
    lines = asked(url, "GET", "/metrics")[1].decode().splitlines()
    pairs = (line.rsplit(" ", 1) for line in lines if not line.startswith("#"))
    return {name: float(value) for name, value in pairs}


def memory(url: str) -> int:
    """What the server's process holds."""
    return int(samples(url)["process_resident_memory_bytes"])


def batches(url: str) -> float:
    """Images in one pass of the network, on average."""
    known = samples(url)
    return known["vaeneer_images_embedded_total"] / max(1, known["vaeneer_batch_crops_count"])


def told(row: Row) -> str:
    """A line for the terminal."""
    return (
        f"{row['server']:>14} {row['clients']:>3} clients {row['requests_per_s']:7.1f} /s"
        f"  p50 {row['p50_ms']:6.0f}  p95 {row['p95_ms']:6.0f}  p99 {row['p99_ms']:6.0f} ms"
        f"  {row['images_per_batch']:.1f} images a batch  {row['statuses']}"
        f"  {row['memory_bytes']['after'] / 2**20:.0f} MiB"
    )


if __name__ == "__main__":
    cyclopts.run(main)
