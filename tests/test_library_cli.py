"""The whole way through the command line: index, search, duplicates, map, clusters, outliers."""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow.parquet as parquet
import pytest
from PIL import Image

import vaeneer
from conftest import Painter
from vaeneer.cli.app import run


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten procedural surfaces, planted copies, a broken file, and the library that index makes."""
    folder = tmp_path_factory.mktemp("whole-way")
    vaeneer.synthesize(folder / "raw", count=10, side_px=192, seed=9)
    first, second, third = sorted((folder / "raw").rglob("*_Albedo.jpg"))[:3]
    planted = folder / "raw" / "planted"
    planted.mkdir()
    shutil.copyfile(first, planted / "equal.jpg")
    with Image.open(second) as image:
        image.transpose(Image.Transpose.ROTATE_90).save(planted / "turned.png")
    with Image.open(third) as image:
        image.crop((40, 30, 150, 140)).save(planted / "corner.png")
    (planted / "broken.jpg").write_bytes(b"\xff\xd8 nothing")
    assert run(["index", str(folder / "raw"), "--library", str(folder / "lib")]) == 0
    return folder


def answer(capsys: pytest.CaptureFixture[str], *arguments: object) -> dict[str, Any]:
    """The one JSON object that a command prints with --json."""
    capsys.readouterr()
    assert run([*map(str, arguments), "--json"]) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def shown(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    """What a command prints for people."""
    capsys.readouterr()
    assert run([*map(str, arguments)]) == 0
    return capsys.readouterr().out


def colour_map(place: Path, number: int) -> Path:
    return sorted((place / "raw").rglob("*_Albedo.jpg"))[number]


def test_index_says_what_it_did_and_lists_what_it_could_not_read(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report = answer(capsys, "index", place / "raw", "--library", place / "lib")
    assert (report["images"], report["unchanged"], report["added"]) == (13, 13, 0)
    assert list(report["skipped"]) == ["planted/broken.jpg"]
    text = shown(capsys, "index", place / "raw", "--library", place / "lib")
    assert "nothing new in" in text
    assert "13 images with 74 vectors of 128 numbers, skipped 1" in text
    assert "planted/broken.jpg: " in text
    errors = (place / "lib" / "errors.csv").read_text().splitlines()
    assert errors[0] == "path,reason,outcome"
    assert errors[1].startswith("planted/broken.jpg,")


def test_what_is_not_in_the_library_is_counted_by_reason(
    tmp_path: Path, paint: Painter, capsys: pytest.CaptureFixture[str]
) -> None:
    raw, library = tmp_path / "raw", tmp_path / "lib"
    paint(raw / "a.png", 1)
    (raw / "a.svg").write_bytes(b"<svg/>")
    arguments = ("index", raw, "--library", library, "--parts", "none")
    assert "skipped" not in shown(capsys, *arguments)
    stats = shown(capsys, "stats", library)
    assert "format not supported (.svg) 1" in stats
    assert "skipped" not in stats  # "skipped 0" would read as if nothing was left out
    for number in range(12):
        (raw / f"{number}.png").write_bytes(b"" if number % 3 else b"no picture")
    text = shown(capsys, *arguments)
    assert "skipped by reason: empty file 8, not an image 4" in text


def test_search_by_a_file_a_stream_an_id_and_several(
    place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    file = colour_map(place, 4)
    found = answer(capsys, "search", place / "lib", file, "-k", "3")
    assert set(found) >= {"query", "hits"}
    assert len(found["hits"]) == 3
    best = found["hits"][0]
    assert best["path"] == str(file)
    assert best["score"] == pytest.approx(1, abs=2e-3)
    assert best["box"] == [0, 0, best["width_px"], best["height_px"]]  # the file itself
    assert 0.5 < best["probability"] <= 1
    stream = SimpleNamespace(buffer=io.BytesIO(file.read_bytes()))
    monkeypatch.setattr(sys, "stdin", stream)
    assert answer(capsys, "search", place / "lib", "-", "-k", "3")["hits"] == found["hits"]
    by_id = answer(capsys, "search", place / "lib", best["id"], "-k", "2")["hits"]
    assert [hit["id"] for hit in by_id] == [hit["id"] for hit in found["hits"][1:]]
    several = answer(capsys, "search", place / "lib", file, colour_map(place, 5), "-k", "2")
    assert {hit["path"] for hit in several["hits"]} == {str(file), str(colour_map(place, 5))}


def test_search_by_a_box_answers_the_place_and_draws_it(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sheet = tmp_path / "hits.png"
    options = ("--box", "60,50,90,90", "--sheet", sheet, "-k", "4")
    found = answer(capsys, "search", place / "lib", colour_map(place, 2), *options)
    places = {Path(hit["path"]).name: hit["box"] for hit in found["hits"]}
    assert np.abs(np.subtract(places[colour_map(place, 2).name], (60, 50, 90, 90))).max() <= 3
    assert np.abs(np.subtract(places["corner.png"], (20, 20, 90, 90))).max() <= 3
    with Image.open(sheet) as image:
        assert min(image.size) > 300
    text = shown(capsys, "search", place / "lib", colour_map(place, 2), *options[:2])
    assert "x,y,w,h" in text


def test_filters_paths_and_least_probability(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lib, file = place / "lib", colour_map(place, 0)
    lines = shown(capsys, "search", lib, file, "--paths", "-k", "4").splitlines()
    assert lines[0] in {str(file), str(place / "raw" / "planted" / "equal.jpg")}
    assert all(Path(line).is_file() for line in lines)
    category = file.parent.parent.name
    inside = answer(capsys, "search", lib, file, "--category", category)["hits"]
    assert {hit["category"] for hit in inside} == {category}
    where = answer(capsys, "search", lib, file, "--where", "folder like 'planted%'")["hits"]
    assert {Path(hit["path"]).parent.name for hit in where} == {"planted"}
    sure = answer(capsys, "search", lib, file, "--min-probability", "0.9")["hits"]
    assert {Path(hit["path"]).name for hit in sure} == {file.name, "equal.jpg"}
    alone = answer(capsys, "search", lib, file, "--exclude-duplicates")["hits"]
    assert not {file.name, "equal.jpg"} & {Path(hit["path"]).name for hit in alone}


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["nosuch.png"], "no such file"),
        (["99999"], "99999"),
        (["1", "--box", "0,0,9"], "x,y,width,height"),
        (["1", "--box", "0,0,5000,5000"], "5000"),
        (["1", "--where", "categry = 'wood'"], "did you mean category"),
        (["1", "--where", "1; DROP TABLE items"], "';'"),
        (["1", "--min-probability", "2"], "min_probability"),
        (["1", "--bxo", "1,2,3,4"], "--bxo"),
    ],
)
def test_mistakes_are_one_sentence_with_the_value(
    place: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], sentence: str
) -> None:
    capsys.readouterr()
    assert run(["search", str(place / "lib"), *arguments]) == 1
    printed = capsys.readouterr()
    assert printed.out == ""
    assert sentence in printed.err
    assert len(printed.err.strip().splitlines()) == 1


def test_duplicates_are_told_by_kind_with_the_one_to_keep(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    html = tmp_path / "report.html"
    found = answer(capsys, "duplicates", place / "lib", "--html", html)
    kinds = {
        next(Path(i["path"]).name for i in group["items"] if "planted" in i["path"]): group
        for group in found["groups"]
    }
    assert kinds["equal.jpg"]["kind"] == "exact"
    assert kinds["turned.png"]["kind"] == "near"
    assert kinds["corner.png"]["kind"] == "cropped"
    (box,) = [i["box"] for i in kinds["corner.png"]["items"] if i["box"]]
    assert np.abs(np.subtract(box, (40, 30, 110, 110))).max() <= 3
    assert kinds["corner.png"]["keep"] == colour_map(place, 2).relative_to(place / "raw").as_posix()
    assert "<html" in html.read_text(encoding="utf-8")
    lines = list(csv.DictReader(shown(capsys, "duplicates", place / "lib", "--csv").splitlines()))
    assert len(lines) == sum(len(group["items"]) for group in found["groups"])
    assert {line["kind"] for line in lines} == {"exact", "near", "cropped"}
    assert "nothing is deleted" in shown(capsys, "duplicates", place / "lib")


def test_the_map_the_clusters_and_the_outliers(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for suffix in ("html", "png", "parquet"):
        out = tmp_path / f"map.{suffix}"
        assert answer(capsys, "map", place / "lib", "--out", out)["items"] == 13
        assert out.stat().st_size > 1000
    assert parquet.read_table(tmp_path / "map.parquet").num_rows == 13
    clusters = answer(capsys, "cluster", place / "lib")
    counted = sum(len(one["items"]) for one in clusters["clusters"]) + len(clusters["unclustered"])
    assert counted == clusters["items"] == 13
    assert answer(capsys, "outliers", place / "lib")["items"] == 13
    for command in ("cluster", "outliers"):
        assert "13" in shown(capsys, command, place / "lib")


def test_stats_count_what_is_there(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    facts = answer(capsys, "stats", place / "lib")
    assert (facts["images"], facts["skipped"], facts["equal_files"]) == (13, 1, 1)
    assert facts["categories"]["planted"] == 3
    assert facts["maps"]["normal"] == len(list((place / "raw").rglob("*_Normal.png")))
    assert "surface-base" in shown(capsys, "stats", place / "lib")
    told = answer(capsys, "info", place / "lib")
    assert (told["kind"], told["facts"]["images"]) == ("library", 13)


def test_vectors_in_shards_are_those_of_one_run(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    raw, cache = place / "raw" / "planted", tmp_path / "cache"
    whole = ("embed", "surface-base", raw, "--cache", cache)
    answer(capsys, *whole, "--out", tmp_path / "one.npy")
    for shard in ("1/2", "2/2"):
        answer(capsys, *whole, "--out", tmp_path / "joined.npy", "--shard", shard)
    assert answer(capsys, "merge-vectors", tmp_path / "joined.npy")["images"] == 3
    one, joined = (np.load(tmp_path / f"{name}.npy") for name in ("one", "joined"))
    assert (one * joined).sum(1) == pytest.approx(np.ones(3), abs=1e-4)
    ids = [(tmp_path / f"{name}.ids.csv").read_text() for name in ("one", "joined")]
    assert ids[0] == ids[1]


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="Windows has another Ctrl-C")
def test_ctrl_c_stops_index_with_130_and_the_next_run_goes_on(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = (
        "import signal, sys\nsignal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "from vaeneer.library.index import embed_files\nembed_files.IMAGES_PER_COMMIT = 1\n"
        "from vaeneer.library.index.writer import record_images\n"
        "def told(*given):\n    record_images(*given)\n    print('done', flush=True)\n"
        "embed_files.record_images = told\n"
        "from vaeneer.cli.app import run\nsys.exit(run(sys.argv[1:]))"
    )
    words = ["index", str(place / "raw"), "--library", str(tmp_path / "lib")]
    process = subprocess.Popen(
        [sys.executable, "-c", code, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        text=True,
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdout.readline() == "done\n"
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "the same command goes on" in said
    report = answer(capsys, *words)
    assert report["images"] == 13
    assert 1 <= report["unchanged"] < 13
