"""The server and its clients: what they may write, how slow they may be, what is given back."""

from __future__ import annotations

import asyncio
import http.client
import logging
import os
import shutil
import socket
import statistics
import struct
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
from starlette.exceptions import HTTPException

from live_server import live
from vaeneer.library.catalog_file import MAX_CONNECTIONS
from vaeneer.library.library import Library
from vaeneer.serving import app, auth, server
from vaeneer.serving.auth import MAX_ADDRESSES, WrongTokens
from vaeneer.serving.middleware import HEADERS

API = "/api/v1"
SECRET = "a-token-of-more-than-16-characters"
DESCRIPTORS = Path("/proc/self/fd")
GETS = ("", "/libraries", "/items", "/items/1", "/items/1/thumbnail", "/items/1/image", "/runs")


@pytest.fixture(scope="module")
def folder(small_library: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    copy = tmp_path_factory.mktemp("clients") / "small"
    shutil.copytree(small_library, copy)
    return copy


@pytest.fixture(scope="module")
def url(folder: Path) -> Iterator[str]:
    with live([folder]) as at:
        yield at


@pytest.fixture(scope="module")
def client(url: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=url, timeout=30) as one:
        yield one


def connected(url: str) -> socket.socket:
    at = urlsplit(url)
    return socket.create_connection((str(at.hostname), int(at.port or 0)), timeout=30)


def head(url: str, path: str, *lines: str, method: str = "GET") -> bytes:
    text = [f"{method} {path} HTTP/1.1", f"Host: {urlsplit(url).netloc}", *lines, "", ""]
    return "\r\n".join(text).encode()


def test_answers_over_an_open_connection_are_not_delayed(url: str) -> None:
    wire = http.client.HTTPConnection(urlsplit(url).netloc, timeout=30)
    times = []
    for _ in range(21):
        started = time.monotonic()
        wire.request("GET", "/healthz")
        wire.getresponse().read()
        times.append(time.monotonic() - started)
    wire.close()
    assert statistics.median(times) < 0.03  # Nagle and delayed acknowledgements make it 0.04


def test_head_is_wherever_get_is(client: httpx.Client) -> None:
    for path in ("/", "/healthz", "/readyz", "/metrics", *(API + one for one in GETS)):
        got, looked = client.get(path), client.head(path)
        assert (looked.status_code, looked.content) == (got.status_code, b""), path
        for name in ("content-type", "etag", "x-frame-options", "content-length"):
            same = path in ("/metrics",) or looked.headers.get(name) == got.headers.get(name)
            assert same, (path, name)
    for path in (f"{API}/items/999", "/nothing"):
        looked = client.head(path)
        assert (looked.status_code, looked.content) == (404, b"")
    assert client.head(f"{API}/sample").status_code == 405
    assert client.put(API).headers["allow"] == "GET, HEAD"
    assert 'method="HEAD"' in client.get("/metrics").text


def test_a_file_of_the_page_is_sent_again_only_when_it_has_changed(client: httpx.Client) -> None:
    for path, kind in (("/", "text/html"), ("/static/js/main.js", "text/javascript")):
        answer = client.get(path)
        assert answer.headers["content-type"] == f"{kind}; charset=utf-8"
        assert answer.headers["cache-control"] == "no-cache"
        tag = answer.headers["etag"]
        for known in (tag, f"W/{tag}", f'"x", {tag}', "*"):
            again = client.get(path, headers={"If-None-Match": known})
            assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", tag)
        assert client.get(path, headers={"If-None-Match": '"x"'}).content == answer.content
        dated = client.get(path, headers={"If-Modified-Since": answer.headers["last-modified"]})
        assert dated.status_code == 200  # dates of an installed package may repeat


def test_other_origins_are_refused_with_every_method(client: httpx.Client, url: str) -> None:
    for method in ("GET", "HEAD", "POST", "PUT", "OPTIONS", "DELETE"):
        for origin in ("https://evil.example", "null", "http://[", url + "1", ""):
            answer = client.request(method, f"{API}/libraries", headers={"Origin": origin})
            assert answer.status_code == 403, (method, origin)
    assert client.get(f"{API}/libraries", headers={"Origin": url}).status_code == 200
    both = [("Origin", url), ("Origin", "https://evil.example")]
    assert client.get(f"{API}/libraries", headers=both).status_code == 403
    framed = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}
    for target, status in (("iframe", 403), ("document", 200)):
        sent = {**framed, "Sec-Fetch-Dest": target}
        assert client.get(f"{API}/libraries", headers=sent).status_code == status


def test_get_starts_no_work(client: httpx.Client) -> None:
    for what in ("map", "duplicates"):
        for _ in range(2):
            answer = client.get(f"{API}/{what}")
            assert answer.status_code == 404
            assert f"POST {API}/{what}" in answer.json()["detail"]
        assert client.head(f"{API}/{what}").status_code == 404
    assert not [thread for thread in threading.enumerate() if thread.name == "job"]
    started = client.post(f"{API}/map")
    assert started.status_code == 202
    assert started.json()["state"] == "computing"
    until = time.monotonic() + 60
    while (answer := client.get(f"{API}/map")).status_code == 202:
        assert time.monotonic() < until
        time.sleep(0.05)
    assert len(answer.json()["ids"]) == 24
    again = client.post(f"{API}/map")
    assert (again.status_code, again.json()) == (200, {"state": "ready"})


@pytest.mark.parametrize(
    "path",
    [
        "/items?limit=1_0",
        "/items?offset=+1",
        "/items?limit=%D9%A1",
        "/items?limit=1.0",
        "/items/1_0",
        "/items/%31%5F0/thumbnail",
        "/items/1/image?max_px=1_00",
        "/search?item=1&k=1_0",
        "/search?item=1&min_probability=0_1",
        "/search?item=1&min_probability=nan",
        "/search?item=1&box=1_0,0,40,40",
        "/interpolate?a=1&b=2&steps=0_4",
        "/runs/x/metrics?after_epoch=1_0",
        "/items?q=%00",
        "/items?q=%ff",
        "/items?%ff=1",
        "/items?q=%ed%a0%80",
        "/items?where=category%20%3D%20'%00'",
        "/runs/%00",
        "/runs/a%C3",
        "/../static/%FE",
    ],
)
def test_what_is_no_number_or_no_text_is_refused(url: str, path: str) -> None:
    with connected(url) as wire:
        wire.sendall(head(url, f"{API}{path}", "Connection: close"))
        answer = b"".join(iter(lambda: wire.recv(65536), b""))
    assert answer.startswith(b"HTTP/1.1 422 "), answer[:300]
    assert b"application/problem+json" in answer


def test_bodies_are_held_to_the_same(client: httpx.Client) -> None:
    for body in ({"count": "1_0"}, {"model": "a\0b"}, {"library": "\0"}, {"temperature": "1_0"}):
        assert client.post(f"{API}/sample", json=body).status_code == 422, body
    form = {"item": "1", "where": "category = '\0'"}
    assert client.post(f"{API}/search", data=form).status_code == 422
    assert client.post(f"{API}/search", data={"item": "1", "k": "1_0"}).status_code == 422
    assert client.get(f"{API}/items", params={"q": "дерево 木 😀"}).status_code == 200


def test_a_mistake_of_the_server_is_a_problem_too(
    client: httpx.Client, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("nobody foresaw it")

    monkeypatch.setattr(app.PageFiles, "file_response", fail)
    answer = client.get("/static/js/main.js")
    assert answer.status_code == 500
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["content-security-policy"] == HEADERS["Content-Security-Policy"]
    assert "foresaw" not in answer.text
    until = time.monotonic() + 5
    while not caplog.records and time.monotonic() < until:
        time.sleep(0.01)
    assert len([one for one in caplog.records if one.exc_info]) == 1  # said once
    assert client.get("/healthz").status_code == 200


def test_each_error_is_a_problem(client: httpx.Client, url: str) -> None:
    for sent in ("bytes=x", "lines=1-2", "bytes=5-2", f"bytes={10**9}-"):
        answer = client.get(f"{API}/items/1/image", headers={"Range": sent})
        assert answer.status_code in (400, 416), sent
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.json()["status"] == answer.status_code
    assert answer.headers["content-range"].startswith("bytes */")
    part = client.get(f"{API}/items/1/image", headers={"Range": "bytes=1-4"})
    assert (part.status_code, len(part.content)) == (206, 4)
    with connected(url) as wire:
        wire.sendall(b"no HTTP at all\r\n\r\n")
        answered = b"".join(iter(lambda: wire.recv(65536), b""))
    assert answered.startswith(b"HTTP/1.1 400 ")
    assert b"application/problem+json" in answered


def test_what_is_no_file_any_more_is_no_mistake(
    small_library: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    shutil.copytree(small_library.parent, tmp_path / "both")
    with Library.open(tmp_path / "both" / "library") as library:
        root = str(tmp_path / "both" / "raw")
        library.catalog.set_meta("root", root)
        path = Path(root) / library.item(1).path
    path.unlink()
    os.mkfifo(path)
    with live([tmp_path / "both" / "library"]) as url:
        for query in ("", "?max_px=64"):
            answer = httpx.get(f"{url}{API}/items/1/image{query}", timeout=10)
            assert answer.status_code == 404
            assert answer.headers["content-type"] == "application/problem+json"
    assert not [one for one in caplog.records if one.exc_info]


def test_a_client_that_hangs_up_is_no_mistake(
    url: str, client: httpx.Client, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    kinds = ("application/json", "multipart/form-data; boundary=b")
    requests = [
        head(url, f"{API}/{path}", f"Content-Type: {kind}", "Content-Length: 500", method="POST")
        for path in ("search", "embed", "sample")
        for kind in kinds
    ]
    requests += [
        head(url, f"{API}{path}") for path in ("/items/1/image", "/items", "/search?item=1")
    ]
    for request in requests:
        for ending in (b"", b"--b\r\nContent-Dis"):
            wire = connected(url)
            wire.sendall(request + ending)
            time.sleep(0.02)
            # closed with a reset, not with a goodbye
            wire.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            wire.close()
    for _ in range(100):
        if "vaeneer_queue_depth 0" in client.get("/metrics").text:
            break
        time.sleep(0.05)
    assert not [one.getMessage() for one in caplog.records if one.exc_info or one.levelno > 30]


@pytest.mark.parametrize("path", ["/items/1/image", "/static/js/main.js"])
def test_a_client_that_never_reads_is_cut(
    url: str, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    monkeypatch.setattr(server, "SEND_SECONDS", 0.2)
    at = urlsplit(url)
    wire = socket.socket()
    wire.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
    wire.settimeout(10)
    wire.connect((str(at.hostname), int(at.port or 0)))
    address = path if path.startswith("/static") else API + path
    cut = False
    started = time.monotonic()
    try:
        while time.monotonic() - started < 10:  # asks on and on, and reads nothing
            wire.sendall(head(url, address))
            time.sleep(0.001)
    except ConnectionError:
        cut = True
    wire.close()
    assert cut
    assert httpx.get(f"{url}/healthz").status_code == 200


def test_a_slow_reader_gets_all(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "SEND_SECONDS", 0.3)
    monkeypatch.setattr(server, "_MIN_SENT_BYTES", 1024)
    whole = httpx.get(f"{url}{API}/items/1/image").content
    with connected(url) as wire:
        wire.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        wire.sendall(head(url, f"{API}/items/1/image", "Connection: close"))
        found = b""
        while part := wire.recv(8192):
            found += part
            time.sleep(0.05)
    assert found.endswith(whole)


def test_wrong_tokens_are_answered_late_and_the_right_one_is_not(
    folder: Path, tmp_path: Path
) -> None:
    (tmp_path / "token").write_text(SECRET)
    with live([folder], token_file=tmp_path / "token") as url:
        stop = threading.Event()

        def guess() -> None:
            with httpx.Client(base_url=url, timeout=30) as client:
                while not stop.is_set():
                    answer = client.post(f"{API}/login", json={"token": "wrong" * 5})
                    assert answer.status_code in (401, 429)

        def took(token: str, bearer: bool) -> float:
            started = time.monotonic()
            if bearer:
                sent = {"Authorization": f"Bearer {token}"}
                httpx.get(f"{url}{API}", headers=sent, timeout=30)
            else:
                httpx.post(f"{url}{API}/login", json={"token": token}, timeout=30)
            return time.monotonic() - started

        guessers = [threading.Thread(target=guess) for _ in range(8)]
        for one in guessers:
            one.start()
        time.sleep(0.5)
        for bearer in (False, True):
            assert took("wrong" * 5, bearer) > 0.9
            assert took(SECRET, bearer) < 0.9
        stop.set()
        for one in guessers:
            one.join()


def test_what_is_remembered_of_wrong_tokens_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(auth, "_FIRST_DELAY_SECONDS", 0.0)
    wrong = WrongTokens()

    async def many() -> list[int]:
        for number in range(MAX_ADDRESSES + 50):
            await wrong.wait(f"address {number}")
        monkeypatch.setattr(auth, "_FIRST_DELAY_SECONDS", 0.2)
        waiting = await asyncio.gather(
            *(wrong.wait("a") for _ in range(100)), return_exceptions=True
        )
        return [one.status_code for one in waiting if isinstance(one, HTTPException)]

    refused = asyncio.run(many())
    assert len(wrong) == MAX_ADDRESSES
    assert set(refused) == {429}
    assert 0 < len(refused) < 100


@pytest.mark.skipif(not DESCRIPTORS.is_dir(), reason="this system does not list descriptors")
def test_a_thousand_threads_leave_no_descriptor(
    client: httpx.Client, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # each request in a thread of its own, as after a pause
    monkeypatch.setattr("anyio._backends._asyncio.WorkerThread.MAX_IDLE_TIME", 0)
    catalog = str(folder / "catalog.sqlite")

    def of_catalog() -> int:
        names = [str(one.readlink()) for one in list(DESCRIPTORS.iterdir()) if one.is_symlink()]
        return sum(name.startswith(catalog) for name in names)

    def burst(count: int) -> None:
        with httpx.Client(base_url=client.base_url, timeout=30) as own:
            for _ in range(count):
                for path in ("/items?limit=1", "/items/1", "/libraries"):
                    assert own.get(f"{API}{path}").status_code == 200

    for _ in range(3):
        threads = [threading.Thread(target=burst, args=(14,)) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert of_catalog() <= 2 * MAX_CONNECTIONS + 1


@pytest.mark.parametrize("how", ["moved", "emptied"])
def test_a_library_that_goes_is_said_and_one_that_comes_back_is_served(
    folder: Path, tmp_path: Path, how: str, caplog: pytest.LogCaptureFixture
) -> None:
    library, away = tmp_path / "library", tmp_path / "away"
    shutil.copytree(folder, library)
    with live([library]) as url, httpx.Client(base_url=url, timeout=30) as client:
        before = client.get(f"{API}/search?item=1").json()["hits"]
        if how == "moved":
            library.rename(away)
        else:
            shutil.copytree(library, away)
            for path in library.iterdir():
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        for path in (
            "/items", "/items/1", "/items/1/thumbnail", "/items/1/image", "/search?item=1",
            "/map", "/duplicates", "/reconstruct?item=1", "/interpolate?a=1&b=2", "/left-out",
        ):  # fmt: skip
            answer = client.get(f"{API}{path}")
            assert answer.status_code == 503, (path, answer.text)
            assert "moved, deleted or emptied" in answer.json()["detail"]
            assert int(answer.headers["Retry-After"]) > 0
        ready = client.get("/readyz")
        assert ready.status_code == 503
        assert "library: " in ready.json()["detail"]
        assert "moved, deleted or emptied" in ready.json()["detail"]
        (told,) = client.get(f"{API}/libraries").json()["libraries"]
        assert told["state"] == "failed"
        assert "moved, deleted or emptied" in told["reason"]
        assert client.get("/healthz").status_code == 200
        shutil.rmtree(library, ignore_errors=True)
        away.rename(library)
        until = time.monotonic() + 30
        while client.get("/readyz").status_code != 200:
            assert time.monotonic() < until
            time.sleep(0.05)
        assert client.get(f"{API}/search?item=1").json()["hits"] == before
        assert client.get(f"{API}/libraries").json()["libraries"][0]["state"] == "ready"
    assert not [one for one in caplog.records if one.exc_info]
