"""A search by words: names, categories, tags and folders, whatever the text is."""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as limits
from hypothesis import strategies as st
from PIL import Image

import vaeneer
from live_server import live
from vaeneer.cli.app import run
from vaeneer.errors import SettingsError
from vaeneer.library.index.index import index
from vaeneer.library.library import Library
from vaeneer.library.search.filters import FilterError
from vaeneer.library.search.search import is_words
from vaeneer.settings import SearchSettings

Painter = Callable[[Path, int], Path]
FILES = (
    "scans/stone/mossy_wall.png",
    "scans/stone/BrickWall07.png",
    "scans/brick/plain.png",
    "scans/brick/tür.png",
    "mossy/paper.png",
    "mossy/grassanddirt.png",
    "木材/木目細かい.png",
    "木材/土.png",
)
HOSTILE = (
    '"', '""', "'", "*", "wall*", "NEAR(", "NEAR(wall stone, 3)", "wall NEAR stone", "AND",
    "wall AND", "NOT wall", "OR OR", "name:wall", "{name tags}: wall", "^wall", "-wall",
    "+wall", "wall)", "((",     "wall\0stone", "\0", "\ud800", "wall\udcff", "%", "_", "\\",
    "; DROP TABLE words; --", "😀", "\u202e",
    "w" * 10_000, "wall " * 2_000, '"' * 10_000, "木" * 5_000,
)  # fmt: skip


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, paint: Painter) -> Path:
    """Eight images with a side-car, and their library."""
    folder = tmp_path_factory.mktemp("words")
    for number, file in enumerate(FILES):
        paint(folder / "raw" / file, number)
    said = {"name": "Old Façade", "category": "paper", "tags": ["rough wall", "peeling"]}
    (folder / "raw" / "mossy" / "paper.json").write_text(json.dumps(said))
    index(folder / "raw", library=folder / "library")
    return folder


@pytest.fixture(scope="module")
def library(place: Path) -> Iterator[Library]:
    with Library.open(place / "library") as opened:
        yield opened


def names(library: Library, text: str, **options: Any) -> list[str]:
    """File names of the hits, the best first."""
    return [Path(hit.path).stem for hit in library.search_words(text, **options)]


def test_items_with_all_words_come_first(library: Library) -> None:
    report = vaeneer.search_words(library, "mossy stone wall")
    found = [Path(hit.path).stem for hit in report.hits]
    assert found[:2] == ["mossy_wall", "BrickWall07"]
    assert set(found[2:]) == {"paper", "grassanddirt"}
    assert [int(hit.score) for hit in report.hits] == [3, 2, 2, 1]
    assert [hit.score for hit in report.hits] == sorted(
        (h.score for h in report.hits), reverse=True
    )
    assert (report.compared, report.words) == ("words", "mossy stone wall")
    assert {(hit.probability, hit.match, hit.box) for hit in report.hits} == {(None, None, None)}


def test_a_name_counts_more_than_a_tag_and_a_tag_more_than_a_folder(
    tmp_path: Path, paint: Painter
) -> None:
    for number, file in enumerate(("a/oak.png", "a/x.png", "oak/y.png", "oak/z.png", "b/w.png")):
        paint(tmp_path / "raw" / file, number)
    (tmp_path / "raw" / "a" / "x.json").write_text('{"category": "b", "tags": ["oak"]}')
    for name in "yz":
        (tmp_path / "raw" / "oak" / f"{name}.json").write_text('{"category": "b"}')
    index(tmp_path / "raw", library=tmp_path / "library")
    with Library.open(tmp_path / "library") as library:
        assert names(library, "oak") == ["oak", "x", "y", "z"]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("WALLS", {"mossy_wall", "BrickWall07", "paper"}),
        ("TUR", {"tür"}),
        ("tür", {"tür"}),
        ("facade", {"paper"}),
        ("peel", {"paper"}),
        ("bricks", {"BrickWall07", "plain", "tür"}),
        ("brickwall07", {"BrickWall07"}),
        ("dirt", {"grassanddirt"}),
        ("木", {"木目細かい", "土"}),
        ("木目", {"木目細かい"}),
        ("目細", {"木目細かい"}),
        ("土", {"土"}),
        ("scans", {"mossy_wall", "BrickWall07", "plain", "tür"}),
        ("png", set()),
        ("granite", set()),
        ("", set()),
    ],
)
def test_words_are_found_by_start_stem_and_part(
    library: Library, text: str, found: set[str]
) -> None:
    assert set(names(library, text)) == found


def test_filters_and_k_narrow_the_hits(library: Library) -> None:
    assert names(library, "wall", where="folder = 'mossy'") == ["paper"]
    assert names(library, "wall", category="stone", k=1) == ["mossy_wall"]
    assert names(library, "wall", tag="peeling") == ["paper"]
    assert names(library, "wall", tag="brick") == []
    with pytest.raises(FilterError):
        library.search_words("wall", where="colour = 1")
    for settings in (SearchSettings(parts=True), SearchSettings(min_probability=0.5)):
        with pytest.raises(SettingsError, match="words"):
            vaeneer.search_words(library, "wall", settings=settings)


@pytest.mark.parametrize("text", HOSTILE)
def test_no_text_raises(library: Library, text: str) -> None:
    assert isinstance(library.search_words(text), list)


@limits(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=60)
@given(st.text(st.characters() | st.sampled_from('"*()^:-+{}'), max_size=40))
def test_any_text_finds_items_that_have_it(library: Library, text: str) -> None:
    for hit in library.search_words(text):
        assert hit.score >= 1


def test_exclude_duplicates(tmp_path: Path, paint: Painter) -> None:
    paint(tmp_path / "raw" / "oak" / "a.png", 1)
    shutil.copy(tmp_path / "raw" / "oak" / "a.png", tmp_path / "raw" / "oak" / "b.png")
    index(tmp_path / "raw", library=tmp_path / "library")
    with Library.open(tmp_path / "library") as library:
        assert names(library, "oak") == ["a", "b"]
        assert names(library, "oak", exclude_duplicates=True) == ["a"]


def test_words_follow_the_files(place: Path, tmp_path: Path) -> None:
    shutil.copytree(place, tmp_path / "copy", copy_function=shutil.copy2)
    raw, folder = tmp_path / "copy" / "raw", tmp_path / "copy" / "library"
    (raw / "scans" / "brick" / "plain.png").rename(raw / "scans" / "brick" / "glazed.png")
    (raw / "mossy" / "paper.json").write_text('{"category": "paper", "tags": ["linen"]}')
    (raw / "scans" / "stone" / "BrickWall07.png").unlink()
    index(raw, library=folder, folder_moved=True)
    with Library.open(folder) as library:
        assert names(library, "glazed linen") == ["glazed", "paper"]
        assert names(library, "plain") == names(library, "facade") == []
        assert "BrickWall07" not in names(library, "brick")


@pytest.mark.parametrize("harm", ["DROP TABLE words", "DELETE FROM words WHERE rowid > 3"])
def test_missing_words_are_rebuilt(place: Path, tmp_path: Path, harm: str) -> None:
    shutil.copytree(place / "library", tmp_path / "library")
    (tmp_path / "library" / "seal.json").unlink()
    connection = sqlite3.connect(tmp_path / "library" / "catalog.sqlite")
    with connection:
        connection.execute(harm)
    connection.close()
    with Library.open(tmp_path / "library") as library:
        assert names(library, "土") == ["土"]
    assert (tmp_path / "library" / "seal.json").is_file()


def test_a_library_of_an_older_version_has_words(place: Path, tmp_path: Path) -> None:
    shutil.copytree(place / "library", tmp_path / "library")
    (tmp_path / "library" / "seal.json").unlink()
    connection = sqlite3.connect(tmp_path / "library" / "catalog.sqlite")
    with connection:
        connection.execute("DROP TABLE words")
        connection.execute("ALTER TABLE items DROP COLUMN pending")
        connection.execute("PRAGMA user_version = 4")
    connection.close()
    with Library.open(tmp_path / "library") as library:
        count = "SELECT count(*) FROM words"
        assert library.catalog.execute(count).fetchone() == (len(FILES),)
        assert names(library, "土") == ["土"]


# The command line


def answer(capsys: pytest.CaptureFixture[str], *arguments: object) -> dict[str, Any]:
    capsys.readouterr()
    assert run([*map(str, arguments), "--json"]) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def test_the_command_takes_words(
    place: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("stone").mkdir()  # a folder is no query
    lib, sheet = place / "library", tmp_path / "hits.png"
    one = answer(capsys, "search", lib, "mossy stone wall", "-k", "2", "--sheet", sheet)
    assert (one["query"]["words"], one["query"]["compared"]) == ("mossy stone wall", "words")
    assert [Path(hit["path"]).stem for hit in one["hits"]] == ["mossy_wall", "BrickWall07"]
    assert answer(capsys, "search", lib, "mossy", "stone", "wall", "-k", "2")["hits"] == one["hits"]
    assert answer(capsys, "search", lib, "stone", "--where", "width > 99")["hits"] == []
    with Image.open(sheet) as picture:
        assert picture.width > 256
    assert run(["search", str(lib), "mossy stone wall"]) == 0
    shown = capsys.readouterr().out
    assert "3 of 3" in shown
    assert "no probability" in shown


def test_files_and_items_stay_what_they_were(
    place: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copy(place / "raw" / FILES[0], "wall")
    lib = place / "library"
    assert answer(capsys, "search", lib, "wall")["query"]["images"] == ["wall"]
    assert answer(capsys, "search", lib, "1")["query"]["words"] is None
    assert answer(capsys, "search", lib, "1", "--words")["query"]["words"] == "1"
    assert answer(capsys, "search", lib, "wall", "--words")["query"]["words"] == "wall"
    for gone in ("gone.jpg", "stone/wall", "http://x/y", "gone.CR2"):
        assert run(["search", str(lib), gone]) == 1
        assert "no such file; if these are words to search for, pass --words" in (
            capsys.readouterr().err.replace("\n", " ")
        )
    assert run(["search", str(lib), "wall", "oak"]) == 1
    assert "'oak' is no file and no item" in capsys.readouterr().err.replace("\n", " ")
    assert run(["search", str(lib), "oak", "--box", "0,0,32,32"]) == 1
    assert "take no --box" in capsys.readouterr().err.replace("\n", " ")


@pytest.mark.parametrize("text", [text for text in HOSTILE if "\0" not in text and text[0] != "-"])
def test_hostile_words_end_well_on_the_command_line(
    place: Path, capsys: pytest.CaptureFixture[str], text: str
) -> None:
    found = answer(capsys, "search", place / "library", text, "--words")
    assert found["query"]["compared"] == "words"
    assert is_words(text) or any(sign in text for sign in "\\-")


# The API


@pytest.fixture(scope="module")
def client(place: Path) -> Iterator[httpx.Client]:
    with live([place / "library"]) as url:  # noqa: SIM117
        with httpx.Client(base_url=f"{url}/api/v1", timeout=60) as one:
            yield one


def test_the_api_searches_by_words(client: httpx.Client) -> None:
    query = {"words": "mossy stone wall", "k": 2}
    found = client.get("/search", params=query).raise_for_status().json()
    assert [hit["asset"] for hit in found["hits"]] == [
        "scans/stone/mossy_wall",
        "scans/stone/BrickWall07",
    ]
    assert found["hits"][0]["thumbnail"].startswith("/api/v1/items/")
    for more in ({"item": 1}, {"box": "0,0,32,32"}, {"negative": 1}):
        refused = client.get("/search", params={"words": "wall", **more})
        assert refused.status_code == 422
        assert "words" in refused.json()["detail"]


def test_a_page_of_items_is_ranked_by_its_words(client: httpx.Client) -> None:
    def items(**query: Any) -> dict[str, Any]:
        page: dict[str, Any] = client.get("/items", params=query).raise_for_status().json()
        return page

    page = items(q="mossy wall")
    assert [page["total"], page["all_words"]] == [4, 2]
    files = [item["file"] for item in page["items"]]
    assert files[0] == "mossy_wall.png"
    assert items(q="mossy wall", offset=1, limit=2)["items"] == page["items"][1:3]
    by_path = [item["file"] for item in items(q="mossy wall", sort="path")["items"]]
    assert by_path == sorted(by_path, key=[Path(file).name for file in sorted(FILES)].index)
    assert set(by_path) == set(files)
    assert items(q="mossy wall", category="stone")["total"] == 2
    assert items()["all_words"] is None


@pytest.mark.parametrize("text", [text for text in HOSTILE if "\0" not in text])
def test_hostile_words_end_well_over_http(client: httpx.Client, text: str) -> None:
    if any("\ud800" <= one <= "\udfff" for one in text):
        return
    for route, name in (("/items", "q"), ("/search", "words")):
        answered = client.get(route, params={name: text[:200]})
        assert answered.status_code == 200, answered.text
        if len(text) > 200:
            answered = client.get(route, params={name: text[:1000]})
            assert answered.status_code == 422
