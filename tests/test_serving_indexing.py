"""Folders of images become libraries while the server runs, when a POST starts that."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

import live_server
import vaeneer
from conftest import Painter
from vaeneer.errors import SettingsError
from vaeneer.library.index import embed_files, writer
from vaeneer.library.library_folders import default_library, existing_library
from vaeneer.serving.models import served

API = "/api/v1"
SIDE_PX = 264  # the smallest side that has small parts is 256
Live = Callable[..., Any]


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, paint: Painter) -> Path:
    """Two folders of images, `photos` and `wood`, and a data folder of the user that is empty."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    for number in range(3):
        paint(tmp_path / "photos" / f"{number}.png", number, SIDE_PX)
    paint(tmp_path / "wood" / "oak.png", 9, SIDE_PX)
    return tmp_path


@pytest.fixture
def second_pass(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """Small parts of images wait for this event, one group of images after the other."""
    event = threading.Event()
    record = writer.record_parts

    def waiting(*given: Any) -> None:
        assert event.wait(60)
        record(*given)

    monkeypatch.setattr(embed_files, "record_parts", waiting)
    monkeypatch.setattr(embed_files, "IMAGES_PER_COMMIT", 1)
    yield event
    event.set()


def folder(client: httpx.Client, name: str = "photos") -> dict[str, Any]:
    folders = client.get(f"{API}/indexing").json()["folders"]
    return {one["name"]: one for one in folders}[name]


def until(done: Callable[[], Any]) -> Any:
    """What `done` answers as soon as that is true."""
    end = time.monotonic() + 60
    while time.monotonic() < end:
        if answer := done():
            return answer
        time.sleep(0.05)
    raise AssertionError("60 seconds were not enough")


def test_a_folder_that_was_never_indexed_is_offered_and_get_starts_nothing(place: Path) -> None:
    with (
        live_server.live([place / "photos"]) as url,
        httpx.Client(base_url=url, timeout=60) as client,
    ):
        for path in ("", "/libraries", "/indexing", "/indexing"):
            assert client.get(f"{API}{path}").status_code == 200
        assert folder(client) == {
            "name": "photos",
            "folder": str(place / "photos"),
            "library": str(default_library(place / "photos")),
            "state": "new",
            "searchable": False,
            "stage": "",
            "done": 0,
            "total": 0,
            "seconds_left": None,
            "reason": "",
        }
        assert client.get(f"{API}/libraries").json()["libraries"] == []
        answer = client.get(f"{API}/items")
        assert answer.status_code == 404
        assert "POST /api/v1/indexing" in answer.json()["detail"]
    assert existing_library(place / "photos") is None


def test_the_library_is_served_when_whole_images_are_in_and_small_parts_follow(
    place: Path, second_pass: threading.Event
) -> None:
    with (
        live_server.live([place / "photos"]) as url,
        httpx.Client(base_url=url, timeout=60) as client,
    ):
        answer = client.post(f"{API}/indexing", json={"library": "photos"})
        assert (answer.status_code, answer.json()["state"]) == (202, "indexing")
        now = until(lambda: (one := folder(client))["stage"] == "parts" and one)
        assert (now["state"], now["searchable"], now["total"]) == ("indexing", True, 3)
        until(lambda: client.get("/readyz").status_code == 200)
        (library,) = client.get(f"{API}/libraries").json()["libraries"]
        assert (library["name"], library["items"], library["parts_pending"]) == ("photos", 3, 3)
        picture = (place / "photos" / "1.png").read_bytes()
        fields = {"box": "0,0,130,130"}
        found = client.post(f"{API}/search", files={"image": picture}, data=fields).json()
        assert found["hits"][0]["path"] == str(place / "photos" / "1.png")
        assert found["parts_pending"] == 3
        second_pass.set()
        assert until(lambda: (one := folder(client))["state"] == "ready" and one)["stage"] == ""
        found = client.post(f"{API}/search", files={"image": picture}, data=fields).json()
        assert found["parts_pending"] == 0
    assert vaeneer.stats(place / "photos").parts_pending == 0


def test_a_map_is_not_out_of_date_with_each_small_part(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    go_on = threading.Semaphore(0)
    record = writer.record_parts

    def waiting(*given: Any) -> None:
        assert go_on.acquire(timeout=60)
        record(*given)

    monkeypatch.setattr(embed_files, "record_parts", waiting)
    monkeypatch.setattr(embed_files, "IMAGES_PER_COMMIT", 1)
    with (
        live_server.live([place / "photos"]) as url,
        httpx.Client(base_url=url, timeout=60) as client,
    ):
        client.post(f"{API}/indexing", json={"library": "photos"})
        until(lambda: folder(client)["stage"] == "parts")
        until(lambda: client.post(f"{API}/map").status_code == 200)
        revision = vaeneer.stats(place / "photos").revision
        go_on.release()
        until(lambda: vaeneer.stats(place / "photos").revision > revision)
        assert client.get(f"{API}/map").status_code == 200
        assert until(lambda: client.post(f"{API}/map").status_code) == 200
        go_on.release(2)
        until(lambda: folder(client)["state"] == "ready")
        assert client.get(f"{API}/map").status_code == 404  # with all parts it is another one


def test_one_folder_is_indexed_at_a_time_and_each_once(
    place: Path, second_pass: threading.Event
) -> None:
    with (
        live_server.live([place / "photos", place / "wood"]) as url,
        httpx.Client(base_url=url, timeout=60) as client,
    ):
        for name in ("photos", "wood", "photos"):
            assert client.post(f"{API}/indexing", json={"library": name}).status_code == 202
        until(lambda: folder(client)["stage"] == "parts")
        assert client.post(f"{API}/indexing", json={"library": "photos"}).json()["stage"] == "parts"
        assert folder(client, "wood")["stage"] == "waiting"
        assert not default_library(place / "wood").exists()
        second_pass.set()
        until(lambda: folder(client, "wood")["state"] == "ready")
        names = [one["name"] for one in client.get(f"{API}/libraries").json()["libraries"]]
        assert names == ["photos", "wood"]


def test_what_cannot_be_indexed_says_why_and_may_be_tried_again(
    place: Path, paint: Painter
) -> None:
    (place / "bad").mkdir()
    (place / "bad" / "a.jpg").write_bytes(b"\xff\xd8 nothing")
    with (
        live_server.live([place / "bad"]) as url,
        httpx.Client(base_url=url, timeout=60) as client,
    ):
        client.post(f"{API}/indexing", json={"library": "bad"})
        now = until(lambda: (one := folder(client, "bad"))["state"] == "failed" and one)
        assert "holds no usable image" in now["reason"]
        assert now["searchable"] is False
        paint(place / "bad" / "b.png", 1)
        client.post(f"{API}/indexing", json={"library": "bad"})
        until(lambda: folder(client, "bad")["state"] == "ready")
        assert client.get(f"{API}/items").json()["total"] == 1


def test_strangers_start_nothing(place: Path) -> None:
    token = place / "token"
    token.write_text("0123456789abcdef0123456789abcdef")
    token.chmod(0o600)
    asked = {"json": {"library": "photos"}}
    with (
        live_server.live([place / "photos"], token_file=token) as url,
        httpx.Client(base_url=url, timeout=60) as client,
    ):
        own = {"Authorization": f"Bearer {token.read_text()}"}
        assert client.post(f"{API}/indexing", **asked).status_code == 401
        elsewhere = own | {"Origin": "http://elsewhere.example"}
        assert client.post(f"{API}/indexing", headers=elsewhere, **asked).status_code == 403
        other = {"json": {"library": "other"}}
        assert client.post(f"{API}/indexing", headers=own, **other).status_code == 404
        client.headers.update(own)
        assert folder(client)["state"] == "new"


def test_a_library_that_was_named_itself_is_not_indexed_from_here(
    place: Path, small_library: Path
) -> None:
    with (
        live_server.live([small_library]) as url,
        httpx.Client(base_url=url, timeout=60) as client,
    ):
        assert client.get(f"{API}/indexing").json() == {"folders": []}


def test_an_indexed_folder_is_its_library_under_the_name_of_the_folder(place: Path) -> None:
    library = Path(vaeneer.index(place / "wood").library)
    for named in (place / "wood", library):
        found = served([named])
        assert found.libraries == {"wood": library}
        assert found.folders["wood"].folder == place / "wood"


def test_a_first_run_that_did_not_end_is_offered_again(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def dying(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(embed_files, "record_images", dying)
        with pytest.raises(KeyboardInterrupt):
            vaeneer.index(place / "wood")
    found = served([place / "wood"])
    assert (found.libraries, list(found.folders)) == ({}, ["wood"])


def test_a_folder_without_images_is_refused(place: Path) -> None:
    (place / "letters").mkdir()
    (place / "letters" / "a.txt").write_text("dear")
    with pytest.raises(SettingsError, match="no folder of images"):
        served([place / "letters"])
    with pytest.raises(SettingsError, match="no folder of images"):
        served([place / "nothing"])


def test_indexing_is_stopped_and_continued(place: Path, second_pass: threading.Event) -> None:
    photos, wood = {"library": "photos"}, {"library": "wood"}
    with (
        live_server.live([place / "photos", place / "wood"]) as url,
        httpx.Client(base_url=url, timeout=60) as client,
    ):
        assert client.post(f"{API}/indexing/stop", json={"library": "other"}).status_code == 404
        assert client.post(f"{API}/indexing/stop", json=photos).json()["state"] == "new"
        client.post(f"{API}/indexing", json=photos)
        until(lambda: folder(client)["stage"] == "parts")
        client.post(f"{API}/indexing", json=wood)
        waiting = client.post(f"{API}/indexing/stop", json=wood).json()
        assert (waiting["state"], waiting["searchable"]) == ("stopped", False)  # before its turn
        answer = client.post(f"{API}/indexing/stop", json=photos)
        assert (answer.status_code, answer.json()["state"]) == (202, "stopping")
        second_pass.set()
        now = until(lambda: (one := folder(client))["state"] == "ready" and one)
        assert (now["searchable"], now["reason"]) == (True, "")
        assert 0 < vaeneer.stats(place / "photos").parts_pending < 3
        assert not default_library(place / "wood").exists()
        for asked in (photos, wood):
            client.post(f"{API}/indexing", json=asked)
        for name in ("photos", "wood"):
            until(lambda name=name: folder(client, name)["state"] == "ready")
        assert vaeneer.stats(place / "photos").parts_pending == 0
        assert vaeneer.stats(place / "wood").images == 1


def test_a_first_pass_that_was_stopped_is_offered_again(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record, turn = writer.record_images, threading.Semaphore(0)

    def waiting(*given: Any) -> None:
        assert turn.acquire(timeout=60)
        record(*given)

    monkeypatch.setattr(embed_files, "record_images", waiting)
    monkeypatch.setattr(embed_files, "IMAGES_PER_COMMIT", 1)
    with (
        live_server.live([place / "photos"]) as url,
        httpx.Client(base_url=url, timeout=60) as client,
    ):
        client.post(f"{API}/indexing", json={"library": "photos"})
        until(lambda: folder(client)["total"] == 3)
        client.post(f"{API}/indexing/stop", json={"library": "photos"})
        turn.release()
        now = until(lambda: (one := folder(client))["state"] == "stopped" and one)
        assert (now["searchable"], now["stage"], now["reason"]) == (False, "", "")
        turn.release(9)
        client.post(f"{API}/indexing", json={"library": "photos"})
        until(lambda: folder(client)["state"] == "ready")
        assert client.get(f"{API}/items").json()["total"] == 3
