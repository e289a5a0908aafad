"""Whether a server gives back what it takes, and answers right, under mixed load for minutes.

    python benchmarks/soak.py WORK [--minutes 10] [--clients 4] [--note "what else ran"]

Makes a library of 42 procedural surfaces and copies of 8 in WORK, and serves it with `vaeneer
serve` in a process of its own. Clients ask for items, pictures, searches of every kind and
duplicates, send what is no request, and hang up in the middle. Each 30 seconds files are added,
changed and removed, and `vaeneer index` brings the library up to date under the server. Each 2
seconds memory, descriptors and threads of the server are read from /proc: Linux only.

Bars: no status but those expected, no 5xx but a 503 with Retry-After, the copy of an item is the
first hit of a search by it, and a file or its copy that of a search by its bytes, no traceback in
the log. From the third minute to the last one memory grows by a twentieth at most, descriptors and
threads by 4. Writes results/soak.json.
"""

from __future__ import annotations

import http.client
import json
import os
import random
import shutil
import socket
import statistics
import subprocess
import sys
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import cyclopts
import numpy as np
from machine import keep
from PIL import Image

from vaeneer.data.synthetic.synthesize import FAMILIES, surface, synthesize

SURFACES, COPIES, SIDE_PX = 42, 8, 256
UPDATE_SECONDS, SAMPLE_SECONDS, WARM_UP_SECONDS = 30.0, 2.0, 120.0
POINTS = 100  # of a series in the result
BARS = {"memory_growth": 0.05, "descriptors": 4, "threads": 4, "faults": 0, "tracebacks": 0}
API = "/api/v1"
FOREIGN = {"Origin": "http://elsewhere.example"}
_PAGE = os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 4096
Answer = tuple[int, bytes]
Sample = dict[str, float]


def main(work: Path, *, minutes: float = 10, clients: int = 4, note: str = "") -> None:
    """Make the library, load its server, write what it took."""
    images, library = work / "surfaces", work / "library"
    for folder in (images, library):
        shutil.rmtree(folder, ignore_errors=True)
    make(images)
    update(images, library)
    log = work / "server.log"
    with served(library, log) as (url, process):
        load = Load(url, images)
        updates: list[float] = []
        until = time.monotonic() + 60 * minutes
        threads = [threading.Thread(target=load.client, args=(n, until)) for n in range(clients)]
        threads.append(threading.Thread(target=churn, args=(images, library, until, updates)))
        at_rest = sample(process, 0.0)
        started = time.monotonic()
        for thread in threads:
            thread.start()
        series = []
        while time.monotonic() < until:
            series.append(sample(process, time.monotonic() - started))
            time.sleep(SAMPLE_SECONDS)
        for thread in threads:
            thread.join()
        time.sleep(10)
        afterwards = sample(process, time.monotonic() - started)
    text = log.read_text(errors="replace")
    result = {
        "note": note,
        "bars": BARS,
        "minutes": minutes,
        "clients": clients,
        "updates": len(updates),
        "update_seconds_median": statistics.median(updates) if updates else None,
        "requests": sum(load.statuses.values()),
        "requests_by_status": {str(s): n for s, n in sorted(load.statuses.items())},
        "requests_by_kind": {kind: dict(sorted(n.items())) for kind, n in load.kinds.items()},
        "answers_checked": load.checked,
        "faults": load.faults[:20],
        "fault_count": len(load.faults),
        "tracebacks": text.count("Traceback"),
        "at_rest": {"before": at_rest, "after": afterwards},
        **{
            name: of_series(series, name, 60 * minutes)
            for name in ("memory_bytes", "descriptors", "threads")
        },
        "series": series[:: max(1, len(series) // POINTS)],
    }
    print(keep("soak", result))
    print(json.dumps({name: value for name, value in result.items() if name != "series"}, indent=1))


class Load:
    """Clients of one server: what they send, what they expect, what they got."""

    def __init__(self, url: str, images: Path) -> None:
        self._address = urlsplit(url).netloc
        self._lock = threading.Lock()
        self.statuses: Counter[int] = Counter()
        self.kinds: dict[str, Counter[int]] = defaultdict(Counter)
        self.checked = 0
        self.faults: list[str] = []
        page = json.loads(self.ask("items", "GET", f"{API}/items?limit=500")[1])["items"]
        self._items = [one for one in page if not one["folder"].startswith("changing")]
        self._sha256 = {one["id"]: one["sha256"] for one in self._items}
        many = Counter(self._sha256.values())
        self._copied = [one for one in self._items if many[one["sha256"]] > 1]
        self._files = {one["id"]: (images / one["path"]).read_bytes() for one in self._items}
        assert len(self._copied) == 2 * COPIES, len(self._copied)

    def client(self, number: int, until: float) -> None:
        """One request after the other, of kinds by chance, seeded."""
        chance = random.Random(number)
        wire = http.client.HTTPConnection(self._address, timeout=120)
        kinds: list[Callable[[http.client.HTTPConnection, random.Random], None]]
        kinds = [self._browse] * 4 + [self._by_item, self._by_file] * 2 + [self._by_box]
        kinds += [self._duplicates, self._malformed, self._hang_up]
        while time.monotonic() < until:
            kind = chance.choice(kinds)
            try:
                kind(wire, chance)
            except (OSError, http.client.HTTPException, ValueError, LookupError) as error:
                self._fault(f"{kind.__name__}: {error!r}")
                wire.close()
            if chance.random() < 0.05:
                wire.close()  # the next request opens another
            time.sleep(0.01)
        wire.close()

    def ask(
        self,
        kind: str,
        method: str,
        path: str,
        *,
        wire: http.client.HTTPConnection | None = None,
        body: bytes | None = None,
        headers: dict[str, str] | None = None,
        expected: tuple[int, ...] = (200,),
    ) -> Answer:
        """The answer to one request, counted; a status that is not expected is a fault."""
        wire = wire or http.client.HTTPConnection(self._address, timeout=120)
        wire.request(method, path, body, headers or {})
        answer = wire.getresponse()
        content = answer.read()
        with self._lock:
            self.statuses[answer.status] += 1
            self.kinds[kind][answer.status] += 1
        wait = answer.headers.get("Retry-After")
        if answer.status == 503 and wait is not None:
            time.sleep(min(2.0, float(wait)))
        elif answer.status not in expected:
            self._fault(f"{method} {path[:120]}: {answer.status} {content[:300]!r}")
        return answer.status, content

    def _browse(self, wire: http.client.HTTPConnection, chance: random.Random) -> None:
        item = chance.choice(self._items)["id"]
        word = chance.choice(FAMILIES)
        path, expected = chance.choice(
            [
                (f"/items?limit=20&offset={chance.randrange(40)}", (200,)),
                (f"/items?q={word}&sort=path", (200,)),
                (f"/items/{item}", (200,)),
                (f"/items/{item}/thumbnail", (200,)),
                (f"/items/{item}/image", (200,)),
                (f"/items/{item}/image?max_px=64", (200,)),
                ("/left-out", (200,)),
                ("/libraries", (200,)),
                (f"/items/{chance.randrange(40, 400)}", (200, 404)),
            ]
        )
        status, content = self.ask("browse", "GET", API + path, wire=wire, expected=expected)
        if status == 200 and path == f"/items/{item}":
            self._check(json.loads(content)["sha256"] == self._sha256[item], f"{path}: sha256")

    def _by_item(self, wire: http.client.HTTPConnection, chance: random.Random) -> None:
        item = chance.choice(self._copied)["id"]
        path = f"{API}/search?item={item}&k=5"
        status, content = self.ask("search by item", "GET", path, wire=wire)
        if status == 200:
            first = json.loads(content)["hits"][0]["id"]
            right = first != item and self._sha256.get(first) == self._sha256[item]
            self._check(right, f"{path}: first hit is {first}")

    def _by_file(self, wire: http.client.HTTPConnection, chance: random.Random) -> None:
        item = chance.choice(self._items)["id"]
        body, kind = form(self._files[item])
        path = f"{API}/search?k=5" + chance.choice(["", "&parts=true"])
        headers = {"Content-Type": kind}
        answer = self.ask("search by file", "POST", path, wire=wire, body=body, headers=headers)
        if answer[0] == 200:
            first = json.loads(answer[1])["hits"][0]["id"]
            right = self._sha256.get(first) == self._sha256[item]
            self._check(right, f"{path} with the file of {item}: first hit is {first}")

    def _by_box(self, wire: http.client.HTTPConnection, chance: random.Random) -> None:
        item = chance.choice(self._items)["id"]
        x, y = chance.randrange(0, 120), chance.randrange(0, 120)
        path = f"{API}/search?item={item}&box={x},{y},128,128&k=5"
        status, content = self.ask("search by box", "GET", path, wire=wire)
        if status == 200:
            scores = [hit["score"] for hit in json.loads(content)["hits"]]
            right = len(scores) == 5 and scores == sorted(scores, reverse=True)
            self._check(right, f"{path}: scores {scores}")

    def _duplicates(self, wire: http.client.HTTPConnection, chance: random.Random) -> None:
        if chance.random() < 0.3:
            self.ask(
                "start duplicates", "POST", f"{API}/duplicates", wire=wire, expected=(200, 202)
            )
            return
        # After an update nothing is computed until the next POST: 404.
        path, expected = f"{API}/duplicates?page_size=5", (200, 202, 404)
        status, content = self.ask("duplicates", "GET", path, wire=wire, expected=expected)
        if status == 200:
            groups = json.loads(content)["total_groups"]
            self._check(groups >= COPIES, f"{path}: {groups} groups")

    def _malformed(self, wire: http.client.HTTPConnection, chance: random.Random) -> None:
        body, kind = form(b"no picture at all")
        as_form = {"Content-Type": kind}
        method, path, sent, headers, expected = chance.choice(
            [
                ("GET", f"{API}/items/999999", None, {}, (404,)),
                ("GET", f"{API}/items?limit=1_0", None, {}, (422,)),
                ("GET", f"{API}/items?q=%00", None, {}, (422,)),
                ("GET", f"{API}/search?item=1&box=nowhere", None, {}, (422,)),
                ("GET", f"{API}/items?where=DROP+TABLE", None, {}, (422,)),
                ("GET", "/static/..%2f..%2fetc/passwd", None, {}, (404,)),
                ("POST", f"{API}/search", body, as_form, (422,)),
                ("POST", f"{API}/search", b"--b", as_form, (400, 422)),
                ("POST", f"{API}/duplicates", None, FOREIGN, (403,)),
                ("DELETE", f"{API}/items/1", None, {}, (405,)),
            ]
        )
        self.ask(
            "malformed", method, path, wire=wire, body=sent, headers=headers, expected=expected
        )

    def _hang_up(self, wire: http.client.HTTPConnection, chance: random.Random) -> None:
        """Half a request, or a whole one whose answer nobody reads; or bytes that are none."""
        file = next(iter(self._files.values()))
        body, kind = form(file)
        head = (
            f"POST {API}/search HTTP/1.1\r\nHost: {self._address}\r\nContent-Type: {kind}\r\n"
            f"Content-Length: {len(body)}\r\n\r\n"
        ).encode()
        item = chance.choice(self._items)["id"]
        whole = f"GET {API}/items/{item}/image HTTP/1.1\r\nHost: {self._address}\r\n\r\n".encode()
        sent = chance.choice(
            [head, head + body[: len(body) // 2], head + body, whole, b"\0\1 \r\n"]
        )
        host, _, port = self._address.partition(":")
        with socket.create_connection((host, int(port)), timeout=30) as plain, suppress(OSError):
            plain.sendall(sent)
            time.sleep(chance.choice([0.0, 0.05]))
        with self._lock:
            self.kinds["hang-up"][0] += 1

    def _check(self, right: bool, what: str) -> None:
        with self._lock:
            self.checked += 1
        if not right:
            self._fault(what)

    def _fault(self, what: str) -> None:
        with self._lock:
            self.faults.append(what)
        print(what, flush=True)


def make(images: Path) -> None:
    """Surfaces, and copies of some of them in a folder beside."""
    paths = synthesize(images, count=SURFACES, side_px=SIDE_PX)
    (images / "copies").mkdir()
    for path in paths[:COPIES]:
        shutil.copyfile(path, images / "copies" / f"copy_of_{path.name}")


def update(images: Path, library: Path) -> float:
    """Run `vaeneer index`; seconds."""
    command = [sys.executable, "-m", "vaeneer", "index", str(images), "--library", str(library)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    started = time.monotonic()
    options = ["--parts", "halves", "--workers", "1", "--json"]
    done = subprocess.run(
        [*command, *options], env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise SystemExit(f"index: {done.returncode}\n{done.stderr}")
    return time.monotonic() - started


def churn(images: Path, library: Path, until: float, updates: list[float]) -> None:
    """Each 30 seconds two files more, one changed, the oldest removed once there are six."""
    folder = images / "changing"
    folder.mkdir()
    number = 0
    while (started := time.monotonic()) < until - UPDATE_SECONDS / 2:
        for _ in range(2):
            draw(folder / f"added_{number:03}.png", number)
            number += 1
        files = sorted(folder.iterdir())
        draw(files[-3] if len(files) > 2 else files[0], 10_000 + number)
        for path in files[:-6]:
            path.unlink()
        updates.append(update(images, library))
        time.sleep(max(0.0, min(until, started + UPDATE_SECONDS) - time.monotonic()))


def draw(path: Path, seed: int) -> None:
    """A surface of its own for each seed; the families in turn."""
    Image.fromarray(surface(FAMILIES[seed % len(FAMILIES)], seed=seed, side_px=SIDE_PX)).save(path)


@contextmanager
def served(library: Path, log: Path) -> Iterator[tuple[str, int]]:
    """`vaeneer serve` on a free port of this machine: its address and process."""
    command = [sys.executable, "-m", "vaeneer", "serve", str(library), "--port", "0"]
    with log.open("wb") as out, subprocess.Popen(command, stdout=out, stderr=out) as process:
        try:
            yield _ready(log, process), process.pid
        finally:
            process.terminate()
            process.wait(60)


def _ready(log: Path, process: subprocess.Popen[bytes]) -> str:
    for _ in range(600):
        words = log.read_text(errors="replace").split()
        url = next((word for word in words if word.startswith("http://")), None)
        with suppress(OSError):
            if url is not None:
                wire = http.client.HTTPConnection(urlsplit(url).netloc, timeout=60)
                wire.request("GET", "/readyz")
                status = wire.getresponse().status
                wire.close()
                if status == 200:
                    return url
        if process.poll() is not None:
            break
        time.sleep(0.2)
    raise SystemExit(f"the server is not ready:\n{log.read_text(errors='replace')}")


def sample(process: int, seconds: float) -> Sample:
    """What a process holds now."""
    folder = Path(f"/proc/{process}")
    return {
        "seconds": round(seconds, 1),
        "memory_bytes": int((folder / "statm").read_text().split()[1]) * _PAGE,
        "descriptors": len(list((folder / "fd").iterdir())),
        "threads": len(list((folder / "task").iterdir())),
    }


def of_series(series: list[Sample], name: str, seconds: float) -> dict[str, Any]:
    """Medians of the first minute after the warm-up and of the last one, and the slope between."""
    warm = min(WARM_UP_SECONDS, seconds / 5)
    late = [one for one in series if one["seconds"] >= warm]
    first = statistics.median(one[name] for one in late if one["seconds"] < warm + 60)
    last = statistics.median(one[name] for one in late if one["seconds"] >= seconds - 60)
    times, values = [one["seconds"] / 3600 for one in late], [one[name] for one in late]
    bar = BARS["memory_growth"] * first if name == "memory_bytes" else BARS[name]
    return {
        "first_minute_median": first,
        "last_minute_median": last,
        "growth": last / first - 1,
        "slope_per_hour": float(np.polyfit(times, values, 1)[0]),
        "most": max(values),
        "flat": last - first <= bar,
    }


def form(file: bytes) -> tuple[bytes, str]:
    """The body of a search, and its content type."""
    head = b'--b\r\nContent-Disposition: form-data; name="image"; filename="a.jpg"\r\n\r\n'
    return head + file + b"\r\n--b--\r\n", "multipart/form-data; boundary=b"


if __name__ == "__main__":
    cyclopts.run(main)
