"""Where libraries are: the default place, and how commands and calls find a library again."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

import vaeneer
from conftest import Painter
from vaeneer.cli.app import run
from vaeneer.errors import LibraryError, SettingsError
from vaeneer.library.library_folders import default_library, existing_library, find_library
from vaeneer.settings import IndexSettings

WHOLE = IndexSettings(parts="none")


@pytest.fixture(scope="module")
def indexed(tmp_path_factory: pytest.TempPathFactory, paint: Painter) -> Path:
    """A user's data folder `data`, and beside it `photos` and `wood`, indexed without --library."""
    place = tmp_path_factory.mktemp("first-hour")
    for number in range(3):
        paint(place / "photos" / "stone" / f"mossy_{number}.png", number)
    paint(place / "wood" / "oak.png", 9)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_DATA_HOME", str(place / "data"))
        vaeneer.index(place / "photos", settings=WHOLE)
        vaeneer.index(place / "wood", settings=WHOLE)
    return place


@pytest.fixture
def place(indexed: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_DATA_HOME", str(indexed / "data"))
    monkeypatch.chdir(indexed)
    return indexed


def answer(capsys: pytest.CaptureFixture[str], *arguments: object) -> dict[str, Any]:
    """The one JSON object that a command prints with --json."""
    capsys.readouterr()
    assert run([*map(str, arguments), "--json"]) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def refused(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    """The one sentence with which a command ends in exit code 1."""
    capsys.readouterr()
    assert run([*map(str, arguments)]) == 1
    return " ".join(capsys.readouterr().err.split())


def test_a_library_without_a_name_is_in_the_users_data_folder(
    paint: Painter,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    file = paint(tmp_path / "my photos" / "a.png", 1)
    assert run(["index", str(file.parent), "--parts", "none"]) == 0
    library = default_library(file.parent)
    printed = capsys.readouterr()
    assert str(library) in printed.out
    assert f"Library {library}" in printed.err
    assert library.parent == tmp_path / "data" / "vaeneer" / "libraries"
    assert library.name.startswith("my_photos-")
    assert [entry.name for entry in file.parent.iterdir()] == ["a.png"]
    (tmp_path / "link").symlink_to(file.parent)
    report = answer(capsys, "index", tmp_path / "link")
    assert (report["library"], report["unchanged"]) == (str(library), 1)


def test_folders_of_one_name_have_libraries_of_their_own(tmp_path: Path) -> None:
    one, other = default_library(tmp_path / "a" / "wood"), default_library(tmp_path / "b" / "wood")
    assert one != other
    assert {one.name[:5], other.name[:5]} == {"wood-"}


def test_every_command_takes_the_indexed_folder(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    library = str(default_library(place / "photos"))
    assert answer(capsys, "stats", "photos")["library"] == library
    assert answer(capsys, "duplicates", "photos")["library"] == library
    assert answer(capsys, "map", "photos", "--out", tmp_path / "map.html")["library"] == library
    assert answer(capsys, "cluster", "photos")["library"] == library
    assert answer(capsys, "outliers", "photos")["library"] == library
    assert answer(capsys, "doctor", "photos")["path"] == library
    assert len(answer(capsys, "search", "photos", "mossy")["hits"]) == 3
    assert answer(capsys, "search", library, "1")["gallery_size"] == 3


def test_python_takes_the_indexed_folder(place: Path) -> None:
    assert len(vaeneer.search("photos", place / "photos" / "stone" / "mossy_0.png").hits) == 3
    with vaeneer.Library.open("wood") as library:
        assert (library.folder, len(library)) == (default_library(place / "wood"), 1)


def test_of_several_libraries_that_of_the_current_folder_is_meant(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(place / "photos" / "stone")
    assert len(answer(capsys, "search", "mossy")["hits"]) == 3
    assert len(answer(capsys, "search", "mossy_1.png")["hits"]) == 3
    assert answer(capsys, "stats")["folder"] == str(place / "photos")
    assert answer(capsys, "doctor")["healthy"]
    monkeypatch.chdir(place / "wood")
    assert answer(capsys, "stats")["folder"] == str(place / "wood")
    assert run(["stats"]) == 0
    assert f"Library {default_library(place / 'wood')}" in capsys.readouterr().err
    assert run(["search", "oak"]) == 0
    assert "category" in (shown := capsys.readouterr().out)
    assert " name " not in shown  # no side-car has one


def test_of_several_libraries_the_only_one_below_the_current_folder_is_meant(
    paint: Painter,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    for number, folder in enumerate(("photos", "work/raw")):
        paint(tmp_path / folder / f"oak_{number}.png", number)
        vaeneer.index(tmp_path / folder, settings=WHOLE)
    monkeypatch.chdir(tmp_path / "work")
    assert answer(capsys, "stats")["folder"] == str(tmp_path / "work" / "raw")
    assert answer(capsys, "search", "oak")["hits"][0]["asset"] == "oak_1"
    monkeypatch.chdir(tmp_path)
    assert "2 libraries" in refused(capsys, "stats")


def test_elsewhere_several_libraries_are_listed(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    message = refused(capsys, "stats")
    assert "2 libraries" in message
    assert str(place / "photos") in message
    assert str(place / "wood") in message
    assert run(["stats", str(place / "wood")]) == 0  # the remedy


def test_one_library_is_meant_anywhere(
    paint: Painter,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.chdir(tmp_path)
    assert "There is no library" in refused(capsys, "stats")
    assert "nosuch is not a library" in refused(capsys, "search", "nosuch", "1")
    paint(tmp_path / "photos" / "oak.png", 1)
    (tmp_path / "empty").mkdir()
    assert "holds no usable image" in refused(capsys, "index", "empty")
    assert "There is no library" in refused(capsys, "stats")
    vaeneer.index("photos", settings=WHOLE)
    assert answer(capsys, "stats")["images"] == 1
    assert answer(capsys, "search", "oak")["hits"][0]["asset"] == "oak"


def test_the_first_word_of_a_search_is_a_library_only_where_it_names_one(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "is a library; add what to search for" in refused(capsys, "search", "photos")
    assert f"{place} is not a library" in refused(capsys, "search", place, "oak")
    monkeypatch.chdir(place / "wood")
    assert answer(capsys, "search", "stone", "oak")["query"]["words"] == "stone oak"
    assert "no file, no item and no library" in refused(capsys, "search", "nosuch", "oak.png")
    message = refused(capsys, "stats", "../photos/stone")
    assert "make one with: vaeneer index ../photos/stone" in message


def test_a_moved_folder_is_found_by_its_new_name(
    paint: Painter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    old, new = tmp_path / "old", tmp_path / "new"
    paint(old / "a.png", 1)
    library = Path(vaeneer.index(old, settings=WHOLE).library)
    old.rename(new)
    with pytest.raises(SettingsError, match=str(library)):
        vaeneer.index(new, folder_moved=True)
    vaeneer.index(new, library=library, folder_moved=True)
    assert find_library(new) == library
    assert vaeneer.index(new).unchanged == 1
    old.mkdir()
    assert existing_library(old) is None


def everything(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


@pytest.mark.parametrize(
    "name", ["photos", "photos/lib", "photos/new/lib", "link/lib", "to-photos"]
)
def test_a_library_inside_the_folder_of_its_images_is_refused(
    paint: Painter,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    name: str,
) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.chdir(tmp_path)
    paint(tmp_path / "photos" / "a.png", 1)
    Path("link").symlink_to("photos")
    Path("to-photos").symlink_to("photos")
    before = everything(tmp_path)
    for folder in ("photos", "link"):
        message = refused(capsys, "index", folder, "--library", name)
        assert f"{name} is" in message
        assert "leave --library out" in message
        assert everything(tmp_path) == before
    assert run(["index", "photos", "--parts", "none"]) == 0  # the remedy


def test_a_data_folder_inside_the_images_is_refused_with_another_remedy(
    paint: Painter,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "home" / ".local"))
    paint(tmp_path / "home" / "a.png", 1)
    before = everything(tmp_path)
    message = refused(capsys, "index", tmp_path / "home")
    assert "name a folder outside of it with --library" in message
    assert everything(tmp_path) == before


def test_a_library_under_another_mount_of_the_folder_is_inside(
    paint: Painter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a file system that ignores case, or with a folder that is mounted twice."""
    paint(tmp_path / "photos" / "a.png", 1)
    (tmp_path / "PHOTOS").mkdir()
    real, one = Path.stat, (tmp_path / "photos").stat()

    def stat(path: Path, **options: Any) -> os.stat_result:
        return one if path.name == "PHOTOS" else real(path, **options)

    monkeypatch.setattr(Path, "stat", stat)
    with pytest.raises(LibraryError, match="is inside"):
        vaeneer.index(tmp_path / "photos", library=tmp_path / "PHOTOS" / "lib")
