"""The server among hostile clients: hosts, origins, tokens, bombs, broken forms, slow sockets."""

from __future__ import annotations

import io
import shutil
import socket
import struct
import threading
import time
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
from PIL import Image
from starlette.exceptions import HTTPException

from live_server import live
from vaeneer.errors import SettingsError
from vaeneer.serving import auth, server
from vaeneer.serving.app import create_app
from vaeneer.serving.auth import Token, is_loopback, token_of
from vaeneer.serving.batching import Batcher
from vaeneer.serving.middleware import HEADERS, MAX_JSON_BYTES
from vaeneer.serving.models import served
from vaeneer.settings import ServeSettings

API = "/api/v1"
SECRET = "a-token-of-more-than-16-characters"
MOST_BYTES = 200_000


@pytest.fixture(scope="module")
def folder(small_library: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    copy = tmp_path_factory.mktemp("safe") / "small"
    shutil.copytree(small_library, copy)
    return copy


@pytest.fixture(scope="module")
def url(folder: Path) -> Iterator[str]:
    """A server with small limits."""
    with live([folder], max_upload_bytes=MOST_BYTES, max_megapixels=1.0, timeout_seconds=3.0) as at:
        yield at


@pytest.fixture(scope="module")
def client(url: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=url, timeout=30) as one:
        yield one


@pytest.fixture(scope="module")
def guarded(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server that asks for a token."""
    file = tmp_path_factory.mktemp("token") / "token"
    file.write_text(SECRET + "\n")
    with live([folder], token_file=file) as at:
        yield at


def png(width: int, height: int) -> bytes:
    """A PNG file of zeros: a bomb where it is large, some bytes for each thousand pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        body = kind + data
        return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))

    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    packer = zlib.compressobj(9)
    data = b"".join(packer.compress(bytes(1 + width)) for _ in range(height)) + packer.flush()
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def picture() -> bytes:
    stream = io.BytesIO()
    Image.linear_gradient("L").save(stream, "PNG")
    return stream.getvalue()


def search(client: httpx.Client, data: bytes, name: str = "image") -> httpx.Response:
    return client.post(f"{API}/search", files={"image": (name, data)})


def exchange(url: str, *pieces: bytes, pause_seconds: float = 0) -> bytes:
    """What a server says to bytes written as they are."""
    at = urlsplit(url)
    with socket.create_connection((str(at.hostname), int(at.port or 0)), timeout=30) as wire:
        try:
            for piece in pieces:
                wire.sendall(piece)
                time.sleep(pause_seconds)
        except OSError:
            pass  # it has hung up, as it should; what it said is read all the same
        found = b""
        try:
            while part := wire.recv(65536):
                found += part
        except OSError:
            pass
        return found


def head(url: str, path: str = API, method: str = "GET", *lines: str) -> bytes:
    host = urlsplit(url).netloc
    text = [f"{method} {path} HTTP/1.1", f"Host: {host}", *lines, "", ""]
    return "\r\n".join(text).encode()


def test_every_answer_has_the_headers(client: httpx.Client) -> None:
    for path in ("/", API, "/healthz", "/nothing", f"{API}/items/999", f"{API}/items?limit=x"):
        answer = client.get(path, headers={"Origin": "https://elsewhere.example"})
        for name, value in HEADERS.items():
            assert answer.headers[name] == value, path
        assert not [name for name in answer.headers if name.startswith("access-control")]
        assert "server" not in answer.headers
    assert client.put(API).headers["content-security-policy"]
    assert client.put(API).status_code == 405


@pytest.mark.parametrize("host", ["evil.example", "evil.example:80", "127.0.0.1.evil.example", "["])
def test_a_name_that_is_not_ours_is_refused(client: httpx.Client, host: str) -> None:
    answer = client.get(API, headers={"Host": host})
    assert answer.status_code == 421
    assert answer.json()["status"] == 421


@pytest.mark.parametrize("host", ["localhost", "localhost:1", "127.0.0.1", "[::1]:80", "LOCALHOST"])
def test_names_of_this_machine_are_ours(client: httpx.Client, host: str) -> None:
    assert client.get(API, headers={"Host": host}).status_code == 200


def test_other_names_can_be_allowed(folder: Path) -> None:
    with live([folder], allowed_hosts="surfaces.example, other.example") as url:
        for host, status in (("surfaces.example", 200), ("other.example:80", 200), ("x.y", 421)):
            assert httpx.get(f"{url}{API}", headers={"Host": host}).status_code == status


def test_pages_of_other_origins_may_not_ask(client: httpx.Client, url: str) -> None:
    for headers in (
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": url + "1"},
        {"Sec-Fetch-Site": "cross-site"},
    ):
        answer = client.post(f"{API}/sample", json={"count": 1}, headers=headers)
        assert answer.status_code == 403, headers
    own = client.post(f"{API}/sample", json={"count": 1}, headers={"Origin": url})
    assert own.status_code == 200
    crossed = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"}
    assert client.get(f"{API}/items/1/image", headers=crossed).status_code == 403
    followed = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}
    assert client.get("/", headers=followed).status_code == 200


def test_refused_requests_are_counted_by_reason(folder: Path) -> None:
    with live([folder], max_upload_bytes=MOST_BYTES) as url, httpx.Client(base_url=url) as client:
        client.get(API, headers={"Host": "evil.example"})
        client.get(API, headers={"Origin": "https://evil.example"})
        search(client, bytes(MOST_BYTES + 1))  # by its length
        headers = {"Content-Type": "multipart/form-data; boundary=b"}
        begun = b'--b\r\nContent-Disposition: form-data; name="image"; filename="x"\r\n\r\n'
        pieces = iter([begun, bytes(MOST_BYTES)])  # without a length
        assert client.post(f"{API}/search", content=pieces, headers=headers).status_code == 413
        text = client.get("/metrics").text
    for reason, count in (("host", 1.0), ("origin", 1.0), ("too_large", 2.0)):
        assert f'vaeneer_rejected_total{{reason="{reason}"}} {count}' in text


def test_a_token_is_asked_for(guarded: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(auth, "MAX_DELAY_SECONDS", 0.01)
    with httpx.Client(base_url=guarded) as client:
        for path in (API, f"{API}/items", "/metrics", "/readyz", f"{API}/openapi.json", "/nothing"):
            for wrong in (None, "Bearer", "Bearer x", f"Basic {SECRET}", f"Bearer {SECRET}x", "é"):
                headers = {} if wrong is None else {"Authorization": wrong.encode("latin-1")}
                answer = client.get(path, headers=headers)  # type: ignore[arg-type]
                assert answer.status_code == 401, (path, wrong)
                assert answer.headers["www-authenticate"] == "Bearer"
        for path in ("/", "/healthz"):
            assert client.get(path).status_code == 200
        right = {"Authorization": f"Bearer {SECRET}"}
        assert client.get(API, headers=right).status_code == 200


def test_the_page_logs_in_with_a_cookie(guarded: str) -> None:
    with httpx.Client(base_url=guarded) as client:
        assert client.post(f"{API}/login", json={"token": "wrong" * 5}).status_code == 401
        assert client.post(f"{API}/login", json={"token": "x" * 5000}).status_code == 422
        assert not client.cookies
        answer = client.post(f"{API}/login", json={"token": SECRET})
        assert answer.status_code == 200
        said = answer.headers["set-cookie"]
        assert "HttpOnly" in said
        assert "samesite=strict" in said.lower()
        assert SECRET not in said
        assert client.get(API).status_code == 200
        client.post(f"{API}/logout")
        assert client.get(API).status_code == 401


def test_tokens_are_checked_before_anything_listens(tmp_path: Path, folder: Path) -> None:
    with pytest.raises(SettingsError, match="token-file"):
        create_app(served([folder]), ServeSettings(host="0.0.0.0"))
    with pytest.raises(SettingsError, match="cannot be read"):
        token_of(ServeSettings(token_file=tmp_path / "none"))
    (tmp_path / "short").write_text("12345\n")
    with pytest.raises(SettingsError, match="16"):
        token_of(ServeSettings(token_file=tmp_path / "short"))
    assert token_of(ServeSettings()) is None
    assert [is_loopback(h) for h in ("127.0.0.1", "::1", "localhost", "127.3.2.1")] == [True] * 4
    assert [is_loopback(h) for h in ("0.0.0.0", "::", "10.0.0.1", "x")] == [False] * 4
    assert Token(SECRET).cookie != Token(SECRET + "x").cookie


def test_too_large_a_body_is_refused_unread(client: httpx.Client, url: str) -> None:
    assert search(client, bytes(MOST_BYTES + 1)).status_code == 413
    answer = exchange(url, head(url, f"{API}/search", "POST", "Content-Length: 99999999999"))
    assert answer.startswith(b"HTTP/1.1 413 ")
    answer = exchange(url, head(url, f"{API}/search", "POST", f"Content-Length: {'9' * 40}"))
    assert answer.split(b" ")[1] in (b"400", b"413")
    body = b"x" * (MAX_JSON_BYTES + 1)
    assert client.post(f"{API}/sample", content=body).status_code == 413


def test_a_body_that_hides_its_length_is_cut_off(client: httpx.Client) -> None:
    def pieces() -> Iterator[bytes]:
        yield b'--b\r\nContent-Disposition: form-data; name="image"; filename="x"\r\n\r\n'
        for _ in range(MOST_BYTES // 10_000 + 5):
            yield bytes(10_000)

    headers = {"Content-Type": "multipart/form-data; boundary=b"}
    answer = client.post(f"{API}/search", content=pieces(), headers=headers)
    assert answer.status_code == 413


@pytest.mark.parametrize(
    ("data", "status", "said"),
    [
        (b"", 422, "empty"),
        (b"<html><script>alert(1)</script></html>", 422, "not an image"),
        (b"GIF89a" + b"<script>alert(1)</script>" * 9, 422, "corrupt"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", 422, "not an image"),
        (b'<svg xmlns="http://www.w3.org/2000/svg"/>', 422, "not an image"),
        (b"\x89PNG\r\n\x1a\n" + bytes(100), 422, "corrupt"),
        (png(3000, 3000), 422, "9 megapixels"),
        (png(1, 1)[:16] + struct.pack(">II", 2**31 - 1, 2**31 - 1) + png(1, 1)[24:], 422, ""),
        (png(2, 400_000), 422, "2 x 400000 px"),
        (png(1, 990_000), 422, "too long"),
        (png(8, 8), 422, "16 px"),
    ],
    ids=["empty", "html", "gif", "eps", "svg", "header", "bomb", "lie", "line", "long", "tiny"],
)
def test_what_is_no_good_picture_is_told(
    client: httpx.Client, data: bytes, status: int, said: str
) -> None:
    started = time.monotonic()
    for _ in range(2):
        answer = search(client, data, "../../evil<b>.png")
        assert answer.status_code == status, answer.text
        assert said in answer.json()["detail"]
        assert "evil<b>.png" in answer.json()["detail"]
        assert "/tmp" not in answer.text
    assert time.monotonic() - started < 5


def test_a_damaged_picture_is_told(client: httpx.Client) -> None:
    whole = picture()
    for data in (whole[: len(whole) // 2], whole[:40] + bytes(len(whole) - 40)):
        answer = search(client, data)
        assert answer.status_code == 422
        assert answer.headers["content-type"] == "application/problem+json"
    assert search(client, whole).status_code == 200
    assert search(client, whole + b"<script>alert(1)</script>").status_code == 200  # polyglot: data


FORM = "multipart/form-data; boundary=b"
PLAIN = "application/x-www-form-urlencoded"
END = b"--b--\r\n"


def part(disposition: bytes, content: bytes = b"x") -> bytes:
    return b"--b\r\nContent-Disposition: form-data" + disposition + b"\r\n\r\n" + content + b"\r\n"


@pytest.mark.parametrize(
    ("kind", "body", "status"),
    [
        (None, b"", 415),
        ("application/json", b"{}", 415),
        ("text/plain", b"image", 415),
        ("multipart/form-data", END, 400),
        (FORM, b"no boundary at all", 400),
        (FORM, part(b"") + END, 400),
        (FORM, part(b'; name="\xff"', b"\xff") + END, 422),
        (FORM + "; charset=klingon", part(b'; name="k"', b"\xe4") + END, 422),
        (FORM, b"--b\r\n" + b"X: y\r\n" * 5000 + b"\r\n\r\n" + END, 400),
        (FORM, END, 422),
        (FORM, part(b'; name="image"') + END, 422),
        (FORM, part(b'; name="other"; filename="x"') + END, 422),
        (FORM, part(b'; name="k"', b"9" * 20_000) + END, 400),
        (FORM, part(b'; name="image"; filename="x"') * 50 + END, 400),
        (FORM, part(b'; name="k"', b"1") * 100 + END, 400),
        (FORM, part(b'; name="image"; filename="x"')[:-10], 422),
        (PLAIN, b"k=3", 422),
        (PLAIN, b"item=1&k=" + b"9" * 5000, 422),
        (PLAIN, b"&".join(b"item=1" for _ in range(100)), 400),
    ],
)
def test_forms_that_are_none_cost_little(
    client: httpx.Client, kind: str | None, body: bytes, status: int
) -> None:
    headers = {} if kind is None else {"Content-Type": kind}
    started = time.monotonic()
    answer = client.post(f"{API}/search", content=body, headers=headers)
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert time.monotonic() - started < 2


def test_broken_json_is_told(client: httpx.Client) -> None:
    for body in (b"", b"{", b"[]", b'{"count": NaN}', b"[" * 60_000, b'"\\ud800"', b"\xff"):
        headers = {"Content-Type": "application/json"}
        answer = client.post(f"{API}/sample", content=body, headers=headers)
        assert answer.status_code in (400, 422), (body[:20], answer.text)


def test_no_address_leads_out_of_the_page(url: str) -> None:
    for path in (
        "/static/../app.py",
        "/static/..%2fapp.py",
        "/static/%2e%2e/%2e%2e/config.py",
        "/static//etc/passwd",
        "/static/....//app.py",
        "/static/%00",
        "/../../etc/passwd",
        f"{API}/items/..%2f..%2fetc%2fpasswd",
        f"{API}/runs/..%2f..%2f/pictures/x.png",
    ):
        answer = exchange(url, head(url, path, "GET", "Connection: close"))
        assert answer.split(b" ")[1] in (b"404", b"422"), path
        assert b"root:" not in answer
        assert b"import" not in answer


def test_huge_numbers_and_texts_cost_little(client: httpx.Client) -> None:
    for path in (
        f"/items/{10**400}",
        f"/items?offset={10**400}",
        f"/items?limit={'1' * 5000}",
        f"/items?q={'%25' * 3000}",
        f"/items?where={'(' * 3000}",
        f"/items?where={'a' * 4001}",
        f"/items/1/image?max_px={10**9}",
        f"/search?item=1&k={10**20}",
        f"/search?item=1&box={'9' * 70}",
        f"/search?item=1&box={'9' * 20},1,{'9' * 20},1",
        f"/search?{'&'.join('item=1' for _ in range(200))}",
        f"/interpolate?a=1&b=2&steps={10**9}",
        f"/duplicates?page={10**30}",
        f"/runs/x/metrics?after_epoch={-(10**30)}",
    ):
        answer = client.get(f"{API}{path}")
        assert answer.status_code in (404, 422), (path[:60], answer.status_code)
        assert len(answer.content) < 2000, path[:60]
    assert client.get(f"{API}/items", params={"q": "x" * 200}).status_code == 200


def test_a_head_without_end_is_refused(url: str) -> None:
    answer = exchange(url, head(url)[:-2], *(b"X: " + b"y" * 60_000 + b"\r\n" for _ in range(20)))
    assert answer == b"" or answer.startswith(b"HTTP/1.1 400 ")


def test_a_slow_body_is_given_up(url: str) -> None:
    lines = ("Content-Type: multipart/form-data; boundary=b", "Content-Length: 1000")
    started = time.monotonic()
    answer = exchange(url, head(url, f"{API}/search", "POST", *lines), b"--b\r\n")
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert 2 < time.monotonic() - started < 10


def test_a_slow_head_is_given_up(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "HEAD_SECONDS", 0.5)
    drips = [bytes([byte]) for byte in head(url)]
    started = time.monotonic()
    assert exchange(url, *drips, pause_seconds=0.05) == b""
    assert time.monotonic() - started < 30
    assert exchange(url) == b""  # says nothing at all
    assert exchange(url, head(url, API, "GET", "Connection: close")).startswith(b"HTTP/1.1 200 ")


def test_what_is_no_http_is_refused(url: str) -> None:
    for data in (b"\x16\x03\x01\x02\x00\x01\x00", b"GET\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n"):
        answer = exchange(url, data + b"\r\n\r\n")
        assert answer == b"" or answer.split(b" ")[1] in (b"400", b"421")
    both = head(url, f"{API}/sample", "POST", "Content-Length: 4", "Transfer-Encoding: chunked")
    answer = exchange(url, both + b"0\r\n\r\n", head(url, API, "GET", "Connection: close"))
    assert answer.count(b"HTTP/1.1 2") <= 1  # no second request is smuggled into the first


def test_a_full_queue_says_so_and_nothing_breaks(folder: Path) -> None:
    statuses: list[int] = []
    retries: list[str | None] = []
    data = picture()
    with live([folder], queue_length=2) as url:

        def ask() -> None:
            answer = httpx.post(f"{url}{API}/search", files={"image": data}, timeout=60)
            statuses.append(answer.status_code)
            if answer.status_code != 200:
                retries.append(answer.headers.get("Retry-After"))

        threads = [threading.Thread(target=ask) for _ in range(24)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert set(statuses) == {200, 503}
        assert set(retries) == {"1"}
        text = httpx.get(f"{url}/metrics").text
        assert f'vaeneer_rejected_total{{reason="queue_full"}} {float(statuses.count(503))}' in text
        assert "vaeneer_queue_depth 0" in text
        assert httpx.post(f"{url}{API}/search", files={"image": data}).status_code == 200


def test_nobody_waits_longer_than_the_timeout() -> None:
    network = Batcher(ServeSettings(device="cpu", timeout_seconds=0.3))
    network.start()
    free = threading.Event()
    with ThreadPoolExecutor(len(network._threads)) as pool:
        held = [pool.submit(network.do, lambda: free.wait(10)) for _ in network._threads]
        while network._busy < len(held):
            time.sleep(0.01)
        started = time.monotonic()
        with pytest.raises(HTTPException, match="too busy"):
            network.do(lambda: 1)
        assert time.monotonic() - started < 2
        for one in held:  # their time is up as well
            assert isinstance(one.exception(5), HTTPException)
        free.set()
    assert network.do(lambda: 1) == 1
    network.stop()
