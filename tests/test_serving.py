"""The HTTP API over real sockets: libraries, items, pictures, search, reports, drawing, runs."""

from __future__ import annotations

import base64
import io
import json
import shutil
import sqlite3
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import torch
from PIL import Image

import vaeneer
from live_server import live
from vaeneer.cli.app import run
from vaeneer.errors import LibraryError, SettingsError
from vaeneer.evaluation.plots import to_pixels
from vaeneer.library.duplicates.duplicates import duplicates
from vaeneer.library.index.index import index
from vaeneer.library.library import Library
from vaeneer.library.map.map import map_of
from vaeneer.progress import Silent
from vaeneer.serving.app import create_app
from vaeneer.serving.models import Served, served
from vaeneer.serving.server import listening
from vaeneer.settings import (
    ClusterSettings,
    DuplicatesSettings,
    IndexSettings,
    MapSettings,
    SearchSettings,
    ServeSettings,
)

HOSTILE = (
    "<img src=x onerror=alert(1)>.png",
    "\"'; DROP TABLE items; --.png",
    "x..%2f..%2fetc%2fpasswd.png",
    "100% _wood_ #1?&=+.png",
    "дерево 木.png",
)
BROKEN = ("<b onclick=alert(1)>.png", "broken.jpg")
NOTES = '["a damaged profile was ignored"]'
API = "/api/v1"


@pytest.fixture(scope="module")
def folders(
    small_library: Path, model: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Path]:
    """The library of all tests, one with hostile names and tags, and a run."""
    folder = tmp_path_factory.mktemp("served")
    small = folder / "small"
    shutil.copytree(small_library, small)
    raw, random = folder / "raw", np.random.default_rng(1)
    (raw / "wall").mkdir(parents=True)
    for name in HOSTILE:
        pixels = random.integers(0, 255, (96, 96, 3), np.uint8)
        Image.fromarray(pixels).save(raw / "wall" / name)
    Image.fromarray(pixels).convert("RGBA").save(raw / "rgba.png")
    Image.fromarray(pixels).save(raw / "scan.tiff")
    for name in BROKEN:
        (raw / name).write_bytes(b"no picture")
    (raw / "drawing.svg").write_text("<svg/>")
    (raw / "notes.txt").write_text("no picture")
    (raw / "wall.json").write_text("{")
    index(raw, library=folder / "names")
    (folder / "names" / "seal.json").unlink()  # as whoever writes does
    catalog = sqlite3.connect(folder / "names" / "catalog.sqlite")
    with catalog:
        catalog.execute("UPDATE items SET offline = 1, notes = ? WHERE path = 'rgba.png'", (NOTES,))
        catalog.execute("UPDATE items SET link = 'wall/x.png' WHERE path = 'scan.tiff'")
    catalog.close()
    return {
        "small": small,
        "names": folder / "names",
        "run": _run(folder / "runs" / "first", model),
    }


def _run(folder: Path, model: Path) -> Path:
    shutil.copytree(model, folder / "best")
    shutil.copytree(model, folder / "checkpoints" / "epoch-0002")
    (folder / "plots").mkdir()
    Image.new("RGB", (20, 10), "red").save(folder / "plots" / "samples.png")
    (folder / "best" / "similarity-valid").mkdir()
    Image.new("RGB", (20, 10)).save(folder / "best" / "similarity-valid" / "roc.png")
    measured = {"auc": 0.5, "wrong": float("nan")}
    (folder / "best" / "similarity-valid" / "similarity.json").write_text(json.dumps(measured))
    (folder / "config.toml").write_text('[train]\ndata = "x"\nepochs = 4\n')
    (folder / "run.json").write_text(json.dumps({"started": "2026-01-01T00:00:00+00:00"}))
    lines = [{"epoch": n, "valid": {"nats_per_image": 100.0 - n}} for n in (1, 2, 3)]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(one) + "\n" for one in lines))
    return folder


@pytest.fixture(scope="module")
def client(folders: dict[str, Path]) -> Iterator[httpx.Client]:
    """Asks a server of two libraries and a folder of runs."""
    with live([folders["small"], folders["names"], folders["run"].parent]) as url:  # noqa: SIM117
        with httpx.Client(base_url=url, timeout=60) as one:
            yield one


@pytest.fixture(scope="module")
def library(small_library: Path) -> Iterator[Library]:
    with Library.open(small_library) as opened:
        yield opened


def get(client: httpx.Client, path: str, **query: Any) -> Any:
    """The JSON of a good answer, of the small library."""
    answer = client.get(f"{API}{path}", params={"library": "small"} | query)
    assert answer.status_code == 200, answer.text
    return answer.json()


def wait(client: httpx.Client, path: str, **query: Any) -> Any:
    """As `get`, of an answer that is computed behind the scenes once it is asked for by POST."""
    started = client.post(f"{API}{path}", params={"library": "small"} | query)
    assert started.status_code in (200, 202), started.text
    for _ in range(300):
        answer = client.get(f"{API}{path}", params={"library": "small"} | query)
        if answer.status_code != 202:
            assert answer.status_code == 200, answer.text
            return answer.json()
        assert int(answer.headers["Retry-After"]) > 0
        assert answer.json()["state"] == "computing"
        assert 0 <= answer.json()["progress"] <= 1
        time.sleep(0.1)
    raise AssertionError("30 seconds were not enough")


def picture_in(address: str) -> Image.Image:
    head, _, data = address.partition(",")
    assert head == "data:image/png;base64"
    return Image.open(io.BytesIO(base64.b64decode(data)))


def test_the_start_names_what_is_served(client: httpx.Client) -> None:
    start = client.get(API).json()
    assert start["libraries"] == ["small", "names"]
    assert start["runs"] == ["first"]
    assert "surface-base" in start["models"]
    libraries = {one["name"]: one for one in client.get(f"{API}/libraries").json()["libraries"]}
    small = libraries["small"]
    assert (small["items"], small["model"], small["dimensions"]) == (24, "surface-base", 128)
    assert small["state"] == "ready"
    assert small["calibrated"] is True
    assert sum(small["categories"].values()) == 24
    assert libraries["names"]["formats"] == {"PNG": 6, "TIFF": 1}


def test_items_come_in_pages_in_the_order_asked_for(client: httpx.Client, library: Library) -> None:
    everything = get(client, "/items", limit=500)
    assert everything["total"] == 24
    paths = [item["path"] for item in everything["items"]]
    assert paths == [item.path for item in library.items()]
    pages = [get(client, "/items", offset=start, limit=10)["items"] for start in (0, 10, 20, 30)]
    assert [len(page) for page in pages] == [10, 10, 4, 0]
    assert [item["path"] for page in pages for item in page] == paths
    newest = [item["id"] for item in get(client, "/items", sort="newest")["items"]]
    expected = sorted(library.items(), key=lambda item: (-item.mtime_ns, item.path))
    assert newest == [item.id for item in expected]


def test_items_are_filtered(client: httpx.Client, library: Library) -> None:
    category = library.items()[0].category
    expected = {item.id for item in library.items() if item.category == category}
    folder = library.items()[0].path.partition("/")[0]
    for query in (
        {"category": category},
        {"where": f"category = '{category}'"},
        {"q": category},
        {"folder": folder},
        {"folder": f"{folder}/"},
        {"category": category, "min_side": 160, "q": "", "where": ""},
    ):
        assert {item["id"] for item in get(client, "/items", **query)["items"]} == expected, query
    for query in ({"min_side": 161}, {"q": "%"}, {"q": "_____"}, {"tag": "none"}, {"folder": "x"}):
        assert get(client, "/items", **query)["total"] == 0, query


def test_an_item_says_all_that_is_known(client: httpx.Client, library: Library) -> None:
    item = library.items()[5]
    known = get(client, f"/items/{item.id}")
    assert known["absolute_path"] == str(library.path(item))
    assert known["sha256"] == item.sha256
    assert known["crops"] == len(library.catalog.crops_of(item.id))
    kinds = {one["kind"] for one in known["maps"]}
    assert "normal" in kinds
    assert client.get(f"{API}/items/999?library=small").status_code == 404


def test_maps_of_an_item_have_pictures(client: httpx.Client, library: Library) -> None:
    item = library.items()[5]
    maps = get(client, f"/items/{item.id}")["maps"]
    for one in maps:
        answer = client.get(one["picture"])
        assert answer.headers["content-type"] == "image/jpeg"
        with Image.open(library.root / one["path"]) as stored:
            expected = np.asarray(stored.convert("RGB"), int)
        assert np.abs(np.asarray(Image.open(io.BytesIO(answer.content)), int) - expected).mean() < 8
        again = client.get(one["picture"], headers={"If-None-Match": answer.headers["etag"]})
        assert again.status_code == 304
    small = client.get(f"{maps[0]['picture']}&max_px=16")
    assert Image.open(io.BytesIO(small.content)).size == (16, 16)
    beyond = client.get(f"{API}/items/{item.id}/maps/{len(maps)}", params={"library": "small"})
    assert beyond.status_code == 404


@pytest.mark.parametrize("path", ["/etc/passwd", "../../secret.png", "gone.png", "a folder.png"])
def test_a_map_outside_of_the_root_or_without_a_file_is_not_served(
    tmp_path: Path, path: str
) -> None:
    (tmp_path / "raw" / "a folder.png").mkdir(parents=True)
    Image.effect_noise((96, 96), 60).convert("RGB").save(tmp_path / "raw" / "wall.png")
    Image.new("RGB", (8, 8)).save(tmp_path / "secret.png")
    index(tmp_path / "raw", library=tmp_path / "lib", settings=IndexSettings(parts="none"))
    (tmp_path / "lib" / "seal.json").unlink(missing_ok=True)
    catalog = sqlite3.connect(tmp_path / "lib" / "catalog.sqlite")
    with catalog:
        asset = catalog.execute("SELECT asset FROM items WHERE id = 1").fetchone()[0]
        catalog.execute("INSERT INTO maps VALUES (?, ?, 'normal', 1, 1)", (path, asset))
    catalog.close()
    with live([tmp_path / "lib"]) as url:
        answer = httpx.get(f"{url}{API}/items/1/maps/0")
    assert answer.status_code == 404
    assert answer.headers["content-type"] == "application/problem+json"


def test_an_item_says_whether_it_is_offline_a_link_or_noted(client: httpx.Client) -> None:
    items = {one["file"]: one for one in get(client, "/items", library="names")["items"]}
    assert [name for name, item in items.items() if item["offline"]] == ["rgba.png"]
    noted = get(client, f"/items/{items['rgba.png']['id']}", library="names")
    assert (noted["notes"], noted["link"]) == (json.loads(NOTES), None)
    link = get(client, f"/items/{items['scan.tiff']['id']}", library="names")
    assert (link["notes"], link["link"], link["offline"]) == ([], "wall/x.png", False)
    assert (noted["missing"], link["missing"]) == (False, False)


def test_what_was_left_out_comes_in_pages_with_its_reasons(client: httpx.Client) -> None:
    answer = get(client, "/left-out", library="names")
    reasons = {one["path"]: one["reason"] for one in answer["files"]}
    assert set(reasons) == {*BROKEN, "drawing.svg", "wall.json", "notes.txt"}
    assert answer["total"] == sum(answer["counts"].values()) == 5
    assert {reason.split(":")[0] for reason in reasons.values()} == set(answer["counts"])
    pages = [get(client, "/left-out", library="names", offset=n, limit=1) for n in range(5)]
    assert [one["path"] for page in pages for one in page["files"]] == [
        *sorted(reasons.keys() - {"notes.txt"}),
        "notes.txt",  # what nobody misses comes last
    ]
    kind = reasons["wall.json"].split(":")[0]
    only = get(client, "/left-out", library="names", reason=kind)
    assert ([one["path"] for one in only["files"]], only["total"]) == (["wall.json"], 1)
    assert get(client, "/left-out", library="names", reason="x' OR 1 --")["files"] == []
    assert get(client, "/left-out") | {"limit": 0} == {
        "counts": {}, "total": 0, "offset": 0, "limit": 0, "files": [],
    }  # fmt: skip
    libraries = client.get(f"{API}/libraries").json()["libraries"]
    assert {one["name"]: one["left_out"] for one in libraries} == {"small": 0, "names": 5}


def test_a_thumbnail_is_sent_once(client: httpx.Client, library: Library) -> None:
    item = get(client, "/items", limit=1)["items"][0]
    answer = client.get(item["thumbnail"])
    assert answer.headers["content-type"] == "image/webp"
    assert answer.content == library.thumbnail(library.item(item["id"])).read_bytes()
    assert "immutable" in answer.headers["cache-control"]
    tag = answer.headers["etag"]
    again = client.get(item["thumbnail"], headers={"If-None-Match": f'"x", {tag}'})
    assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", tag)
    changed = client.get(item["thumbnail"], headers={"If-None-Match": '"other"'})
    assert changed.status_code == 200


def test_an_image_is_the_file_or_smaller(client: httpx.Client, library: Library) -> None:
    item = get(client, "/items", limit=1)["items"][0]
    answer = client.get(item["original"])
    assert answer.content == library.path(library.item(item["id"])).read_bytes()
    small = client.get(item["original"], params={"max_px": 64, "library": "small"})
    assert small.headers["content-type"] == "image/jpeg"
    assert max(Image.open(io.BytesIO(small.content)).size) == 64
    assert small.headers["etag"] != answer.headers["etag"]
    again = client.get(item["original"], headers={"If-None-Match": answer.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")


def test_what_browsers_show_wrong_is_decoded(client: httpx.Client) -> None:
    items = get(client, "/items", library="names")["items"]
    for file in ("rgba.png", "scan.tiff"):
        item = next(item for item in items if item["file"] == file)
        answer = client.get(item["original"])
        assert answer.headers["content-type"] == "image/jpeg"
        assert Image.open(io.BytesIO(answer.content)).mode == "RGB"


def test_hostile_names_are_data(client: httpx.Client, folders: dict[str, Path]) -> None:
    items = {item["file"]: item for item in get(client, "/items", library="names")["items"]}
    for name in HOSTILE:
        item = items[name]
        assert client.get(item["thumbnail"]).headers["content-type"] == "image/webp"
        assert client.get(item["original"]).headers["content-type"] == "image/png"
        found = get(client, "/items", library="names", q=name.partition(" ")[0])["items"]
        assert name in {one["file"] for one in found}
        answer = client.get(
            f"{API}/search", params={"library": "names", "item": item["id"], "k": 1}
        )
        assert answer.headers["content-type"] == "application/json"
        assert answer.json()["query"]["images"] == [f"wall/{name}"]


def test_search_answers_as_the_command_does(client: httpx.Client, library: Library) -> None:
    item = library.items()[3]
    path = library.path(item)
    box = (16, 16, 96, 96)
    for fields, settings, asked_box in (
        ({"k": "5"}, SearchSettings(k=5), None),
        ({"box": "16,16,96,96"}, SearchSettings(), box),
        ({"parts": "true", "min_probability": "0.01"}, None, None),
        ({"where": "id < 9", "exclude_duplicates": "true"}, None, None),
    ):
        if settings is None:
            settings = (
                SearchSettings(parts=True, min_probability=0.01)
                if "parts" in fields
                else SearchSettings(where="id < 9", exclude_duplicates=True)
            )
        expected = vaeneer.search(library, path, box=asked_box, settings=settings).to_dict()
        answer = client.post(
            f"{API}/search",
            params={"library": "small"},
            files={"image": (path.name, path.read_bytes())},
            data=fields,
        )
        assert answer.status_code == 200, answer.text
        found = answer.json()
        assert found["query"]["images"] == [path.name]
        same = expected["query"] | {"images": [path.name], "library": found["query"]["library"]}
        assert found["query"] == same
        for hit, wanted in zip(found["hits"], expected["hits"], strict=True):
            thumbnail = hit.pop("thumbnail")
            assert client.get(thumbnail).status_code == 200
            assert hit["score"] == pytest.approx(wanted["score"], abs=2e-3)
            near = ("score", "probability")
            assert {k: v for k, v in hit.items() if k not in near} == {
                k: v for k, v in wanted.items() if k not in near
            }


def test_a_crop_is_sent_and_its_place_comes_back(client: httpx.Client, library: Library) -> None:
    item = next(item for item in library.items() if item.category == "gravel")
    crop = io.BytesIO()
    library.picture(item).crop((30, 24, 150, 144)).save(crop, "PNG")
    answer = client.post(
        f"{API}/search", params={"library": "small", "k": 4}, files={"image": crop.getvalue()}
    ).json()
    best = answer["hits"][0]
    assert (best["id"], best["match"], best["placed"]) == (item.id, "exact", "pixels")
    assert max(abs(a - b) for a, b in zip(best["box"], (30, 24, 120, 120), strict=True)) <= 2
    assert answer["matches"]["exact"] == 1
    assert answer["gallery_size"] == len(library)
    plain = client.post(
        f"{API}/search",
        params={"library": "small"},
        files={"image": crop.getvalue()},
        data={"exact_match": "false", "likely_threshold": "1"},
    ).json()
    assert {hit["match"] for hit in plain["hits"]} == {"similar"}


def test_search_takes_its_fields_from_the_query_too(client: httpx.Client) -> None:
    item = get(client, "/items", limit=1)["items"][0]
    picture = client.get(item["original"]).content
    answer = client.post(
        f"{API}/search", params={"library": "small", "k": 3}, files={"image": picture}
    )
    assert len(answer.json()["hits"]) == 3
    answer = client.post(
        f"{API}/search",
        params={"library": "small", "k": 3},
        files={"image": picture},
        data={"k": "2", "where": ""},
    )
    assert len(answer.json()["hits"]) == 2


def test_search_by_items_with_and_against(client: httpx.Client, library: Library) -> None:
    a, b, c = (item.id for item in library.items()[:3])
    found = get(client, "/search", item=[a, b], negative=c, k=4)
    expected = library.search([a, b], negative=[c], k=4)
    assert [hit["id"] for hit in found["hits"]] == [hit.id for hit in expected]
    boxed = get(client, "/search", item=a, box="0,0,80,80", k=2)
    assert boxed["query"]["box"] == [0, 0, 80, 80]
    assert all(hit["box"] for hit in boxed["hits"])


@pytest.mark.parametrize(
    ("query", "status", "said"),
    [
        ({}, 422, "picture"),
        ({"item": 999}, 404, "no item 999"),
        ({"item": 1, "negative": 999}, 404, "no item 999"),
        ({"item": 1, "k": 0}, 422, "k"),
        ({"item": 1, "k": 201}, 422, "k"),
        ({"item": 1, "box": "1,2,3"}, 422, "x,y,width,height"),
        ({"item": 1, "box": "0,0,9999,9999"}, 422, "not inside"),
        ({"item": 1, "box": "0,0,1,1"}, 422, "16 px"),
        ({"item": [1, 2], "box": "0,0,64,64"}, 422, "single query image"),
        ({"item": 1, "where": "nothing = 1"}, 422, "no column"),
        ({"item": 1, "min_probability": "nan"}, 422, "min_probability"),
        ({"item": 10**30}, 422, "item"),
        ({"item": "../../etc/passwd"}, 422, "item"),
        ({"item": 1, "colour": "red"}, 422, "colour"),
        ({"item": 1, "library": "none"}, 404, "No library"),
    ],
)
def test_mistakes_of_a_search_are_told(
    client: httpx.Client, query: dict[str, Any], status: int, said: str
) -> None:
    answer = client.get(f"{API}/search", params={"library": "small"} | query)
    assert answer.status_code == status, answer.text
    problem = answer.json()
    assert said in problem["detail"]
    assert answer.headers["content-type"] == "application/problem+json"
    assert problem["status"] == status
    assert problem["instance"] == f"{API}/search"


def test_a_library_is_named_where_there_are_several(client: httpx.Client) -> None:
    answer = client.get(f"{API}/items")
    assert answer.status_code == 422
    assert "small, names" in answer.json()["detail"]


def test_embed_gives_the_vectors_of_the_library(client: httpx.Client, library: Library) -> None:
    items = library.items()[:5]
    files = [("image", (item.path, library.path(item).read_bytes())) for item in items]
    answer = client.post(f"{API}/embed", params={"library": "small"}, files=files)
    assert answer.status_code == 200, answer.text
    found = np.array(answer.json()["vectors"], np.float32)
    assert found.shape == (5, 128)
    assert np.linalg.norm(found, axis=1) == pytest.approx(np.ones(5), abs=1e-4)
    wholes = [library.catalog.crops_of(item.id)[0].id for item in items]
    stored = library.catalog.vectors(wholes).vectors
    assert (found * stored).sum(1) == pytest.approx(np.ones(5), abs=3e-3)


def test_requests_at_once_share_batches_and_keep_their_own_answers(
    client: httpx.Client, library: Library
) -> None:
    items = library.items()

    def ask(item: Any) -> tuple[int, int]:
        answer = client.post(
            f"{API}/search",
            params={"library": "small", "k": 1},
            files={"image": library.path(item).read_bytes() + b"\0"},  # else its vector is known
        )
        assert answer.status_code == 200, answer.text
        return item.id, answer.json()["hits"][0]["id"]

    with ThreadPoolExecutor(12) as pool:
        assert all(asked == found for asked, found in pool.map(ask, items))
    told = dict(
        line.rsplit(" ", 1)
        for line in client.get("/metrics").text.splitlines()
        if not line.startswith("#")
    )
    images, batches = told["vaeneer_images_embedded_total"], told["vaeneer_batch_crops_count"]
    assert float(images) >= len(items)
    assert float(batches) < float(images)  # gathered
    assert float(told['vaeneer_requests_total{method="POST",route="/api/v1/search",status="200"}'])


def test_duplicates_come_in_pages(client: httpx.Client, folders: dict[str, Path]) -> None:
    expected = duplicates(folders["small"], settings=DuplicatesSettings(page_size=0))
    found = wait(client, "/duplicates", page_size=200)
    assert found["total_groups"] == len(expected.groups)
    assert [g["keep"] for g in found["groups"]] == [g.keep for g in expected.groups]
    for kind, count in found["groups_by_kind"].items():
        assert wait(client, "/duplicates", kind=kind)["total_groups"] == count
    beyond = client.get(f"{API}/duplicates", params={"library": "small", "page": 9999})
    assert beyond.status_code == 404


def test_the_list_of_duplicates_is_that_of_the_command(
    client: httpx.Client, folders: dict[str, Path], capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    wait(client, "/duplicates")
    answer = client.post(f"{API}/duplicates/csv", json={"library": "small"})
    assert answer.headers["content-type"].startswith("text/csv")
    assert run(["duplicates", str(folders["small"]), "--csv"]) == 0
    assert answer.content == capfdbinary.readouterr().out
    marks = {"gone.jpg": {"decision": "redundant", "keep_path": "gone too.jpg"}}
    asked = {"library": "small", "marks": marks}
    decided = client.post(f"{API}/duplicates/decisions", json=asked).json()
    assert decided["marks"] == {}
    assert (
        decided["groups"]
        == client.get(f"{API}/duplicates", params={"library": "small"}).json()["groups"]
    )
    wrong = {"library": "small", "marks": {"a.jpg": {"decision": "delete", "keep_path": "b.jpg"}}}
    assert client.post(f"{API}/duplicates/decisions", json=wrong).status_code == 422


def test_the_map_has_a_place_for_each_item(client: httpx.Client, folders: dict[str, Path]) -> None:
    found = wait(client, "/map")
    with Library.open(folders["small"]) as opened:
        expected = map_of(opened, MapSettings(), ClusterSettings(), Silent())
    assert found["ids"] == [item.id for item in expected.items]
    assert found["x"] == pytest.approx(expected.xy[:, 0].tolist(), abs=1e-3)
    assert found["clusters"] == expected.labels.tolist()
    names = [found["category_names"][place] for place in found["categories"]]
    assert names == [item.category or "" for item in expected.items]


def test_samples_are_those_of_the_command(client: httpx.Client) -> None:
    asked = {"count": 17, "seed": 4, "model": "reference-base"}
    found = client.post(f"{API}/sample", json=asked).json()["images"]
    vae, random = vaeneer.load("reference-base"), torch.Generator().manual_seed(4)
    expected = [*to_pixels(vae.sample(16, random)), *to_pixels(vae.sample(1, random))]
    for address, pixels in zip(found, expected, strict=True):
        assert np.abs(np.asarray(picture_in(address), int) - pixels.astype(int)).max() <= 1
    body = asked | {"count": 2, "temperature": 0}
    cold = client.post(f"{API}/sample", json=body).json()["images"]
    assert cold[0] == cold[1]


def test_drawing_names_libraries_and_models_only(client: httpx.Client) -> None:
    for body, status in (
        ({"model": "../../etc"}, 404),
        ({"model": "/etc"}, 404),
        ({"model": "first"}, 200),
        ({"model": "first", "epoch": 2}, 200),
        ({"model": "first", "epoch": 3}, 404),
        ({"library": "small", "epoch": 3}, 422),
        ({"library": "small"}, 200),
        ({"count": 65, "library": "small"}, 422),
        ({"temperature": 1e30, "library": "small"}, 422),
        ({"seed": -1, "library": "small"}, 422),
        ({"path": "x"}, 422),
    ):
        answer = client.post(f"{API}/sample", json={"count": 1} | body)
        assert answer.status_code == status, (body, answer.text)


def test_a_reconstruction_is_compared_with_what_it_is_of(client: httpx.Client) -> None:
    found = get(client, "/reconstruct", item=1)
    original, answer = (picture_in(found[name]) for name in ("original", "reconstruction"))
    assert original.size == answer.size == (254, 254)
    error = np.mean((np.asarray(original, float) - np.asarray(answer, float)) ** 2)
    assert found["psnr_db"] == pytest.approx(10 * np.log10(255**2 / error), abs=0.01)
    boxed = get(client, "/reconstruct", item=1, box="0,0,40,80")
    assert boxed["original"] != found["original"]
    for box in ("0,0,9999,20", "-1,0,50,50", "0,0,4,4", "a"):
        answer = client.get(f"{API}/reconstruct?library=small&item=1&box={box}")
        assert answer.status_code == 422
    by_run = get(client, "/reconstruct", item=1, model="first")
    assert by_run["reconstruction"] != found["reconstruction"]


def test_between_two_items_lie_pictures(client: httpx.Client) -> None:
    found = get(client, "/interpolate", a=1, b=2, steps=5)
    assert found["t"] == [0, 0.25, 0.5, 0.75, 1]
    ends = [get(client, "/reconstruct", item=number)["reconstruction"] for number in (1, 2)]
    for found_end, end in zip((found["images"][0], found["images"][-1]), ends, strict=True):
        one, other = (np.asarray(picture_in(address), int) for address in (found_end, end))
        assert np.abs(one - other).max() <= 8
    assert len(set(found["images"])) == 5


def test_a_run_is_told_while_it_grows(client: httpx.Client, folders: dict[str, Path]) -> None:
    run = client.get(f"{API}/runs").json()["runs"][0]
    assert (run["name"], run["epochs"], run["state"]) == ("first", 3, "stopped")
    told = client.get(f"{API}/runs/first").json()
    assert told["config"]["train"]["epochs"] == 4
    assert told["card"]["architecture"] == "reference"
    assert told["pictures"] == ["samples.png", "similarity-valid.roc.png"]
    assert told["checkpoints"] == [2]
    assert told["similarity"] == {"auc": 0.5, "wrong": None}
    metrics = client.get(f"{API}/runs/first/metrics", params={"after_epoch": 2}).json()
    assert [line["epoch"] for line in metrics["lines"]] == [3]
    with (folders["run"] / "metrics.jsonl").open("a") as file:
        file.write('{"epoch": 4, "valid": {"nats_per_image": 90}}\n{"epoch": 5, "va')
    metrics = client.get(f"{API}/runs/first/metrics", params={"after_epoch": 3}).json()
    assert [line["epoch"] for line in metrics["lines"]] == [4]
    assert metrics["state"] == "finished"


def test_a_run_shows_only_the_pictures_that_it_lists(client: httpx.Client) -> None:
    for name in ("samples.png", "similarity-valid.roc.png"):
        answer = client.get(f"{API}/runs/first/pictures/{name}")
        assert answer.headers["content-type"] == "image/png"
        again = client.get(answer.url, headers={"If-None-Match": answer.headers["etag"]})
        assert again.status_code == 304
    for name in ("..%2fconfig.toml", "config.toml", "%2e%2e", "best%2fmodel.safetensors", "x.png"):
        assert client.get(f"{API}/runs/first/pictures/{name}").status_code == 404
    assert client.get(f"{API}/runs/none").status_code == 404


def test_new_images_are_found_without_a_restart(
    tmp_path: Path, small_library: Path, library: Library
) -> None:
    raw, folder = tmp_path / "raw", tmp_path / "library"
    raw.mkdir()
    pictures = [library.picture(item) for item in library.items()[:3]]
    for number, picture in enumerate(pictures[:2]):
        picture.save(raw / f"{number}.png")
    index(raw, library=folder)
    stream = io.BytesIO()
    pictures[2].save(stream, "PNG")
    with live([folder]) as url, httpx.Client(base_url=url, timeout=30) as client:
        first = client.post(f"{API}/search", files={"image": stream.getvalue()}).json()["hits"]
        assert {Path(hit["path"]).name for hit in first} == {"0.png", "1.png"}
        pictures[2].save(raw / "2.png")
        index(raw, library=folder)
        for _ in range(100):
            hits = client.post(f"{API}/search", files={"image": stream.getvalue()}).json()["hits"]
            if Path(hits[0]["path"]).name == "2.png":
                break
            time.sleep(0.1)
        assert Path(hits[0]["path"]).name == "2.png"
        assert client.get(f"{API}/items").json()["total"] == 3


def test_folders_get_names_that_no_two_share(folders: dict[str, Path], tmp_path: Path) -> None:
    other = tmp_path / "small"
    shutil.copytree(folders["small"], other)
    found = served([folders["small"], other, folders["run"]])
    assert found.libraries == {"small": folders["small"], "small-2": other}
    assert list(found.runs()) == ["first"]
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(SettingsError, match="is no library"):
        served([empty])
    with pytest.raises(SettingsError, match="Nothing to serve"):
        served([])


def test_a_damaged_library_is_refused_at_the_start(tmp_path: Path) -> None:
    (tmp_path / "catalog.sqlite").write_bytes(b"not a database at all" * 100)
    with pytest.raises(LibraryError):
        create_app(served([tmp_path]))


def test_a_library_without_its_model_fails_alone(folders: dict[str, Path], tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    shutil.copytree(folders["small"], broken)
    (broken / "model" / "model.safetensors").write_bytes(b"nothing")
    app = create_app(Served({"broken": broken}), ServeSettings(device="cpu"))
    state = app._state  # type: ignore[attr-defined]
    state.batcher.start()
    state.libraries["broken"].load()
    assert state.libraries["broken"].state == "failed"
    assert state.troubles()
    with pytest.raises(Exception, match="cannot be loaded"):
        state.libraries["broken"].ready()
    state.stop()


def test_settings_and_ports_are_checked() -> None:
    for wrong in ({"port": -1}, {"port": 65536}, {"queue_length": 0}, {"timeout_seconds": 0}):
        with pytest.raises(SettingsError):
            ServeSettings(**wrong)  # type: ignore[arg-type]
    with listening(ServeSettings(port=0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(SettingsError, match=f"port {port}"):
            listening(ServeSettings(port=port))
