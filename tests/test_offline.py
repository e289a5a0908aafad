"""A part of a library's folders that is not there: its items stay, and are found, until told."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from vaeneer.cli.library_tables import hits, indexing
from vaeneer.errors import DataError, ImageFileError, LibraryError
from vaeneer.inspection import stats
from vaeneer.library.index import embed_files
from vaeneer.library.index.index import IndexReport, index
from vaeneer.library.library import Library
from vaeneer.library.search.contact_sheet import contact_sheet
from vaeneer.library.search.search import search
from vaeneer.settings import IndexSettings, SearchSettings

Painter = Callable[[Path, int], Path]
FACTS = ("images", "added", "changed", "moved", "removed", "unchanged", "offline")


@pytest.fixture(scope="module")
def indexed(tmp_path_factory: pytest.TempPathFactory, paint: Painter) -> Path:
    """Images in the root, in drive/near (with a side-car and a map), in drive/far, in other."""
    folder = tmp_path_factory.mktemp("offline")
    raw = folder / "raw"
    paths = ("a", "b", "drive/near/c", "drive/near/d", "drive/far/e", "drive/far/f", "other/g")
    for seed, path in enumerate(paths):
        paint(raw / f"{path}.png", seed)
    (raw / "drive/near/c.json").write_text(json.dumps({"id": "x1", "name": "Old C", "tags": ["t"]}))
    paint(raw / "drive/near/c_normal.png", 20)
    (raw / "drive/far/broken.png").write_bytes(b"\x89PNG broken")
    index(raw, library=folder / "library", settings=IndexSettings(parts="none"))
    return folder


@pytest.fixture
def copied(indexed: Path, tmp_path: Path) -> Path:
    shutil.copytree(indexed, tmp_path / "copy", copy_function=shutil.copy2)
    index(tmp_path / "copy" / "raw", library=tmp_path / "copy" / "library", folder_moved=True)
    return tmp_path / "copy"


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the files that are decoded from now on."""
    names: list[str] = []
    see = embed_files.decode_image

    def counted(job: Any) -> Any:
        names.append(job.path.name)
        return see(job)

    monkeypatch.setattr(embed_files, "decode_image", counted)
    return names


def again(folder: Path, **options: Any) -> IndexReport:
    return index(folder / "raw", library=folder / "library", **options)


def facts(report: IndexReport) -> dict[str, int]:
    return {name: value for name, value in report.to_dict().items() if name in FACTS and value}


def offline(folder: Path) -> set[str]:
    with Library.open(folder / "library") as library:
        return {item.path for item in library.items() if item.offline}


def disconnect(folder: Path, name: str = "drive") -> Path:
    """Take a folder away, as a drive; an empty mount point stays."""
    away = folder / f"away-{name.replace('/', '-')}"
    (folder / "raw" / name).rename(away)
    (folder / "raw" / name).mkdir()
    return away


def connect(folder: Path, away: Path, name: str = "drive") -> None:
    (folder / "raw" / name).rmdir()
    away.rename(folder / "raw" / name)


DRIVE = {f"drive/{name}.png" for name in ("near/c", "near/d", "far/e", "far/f")}


@pytest.mark.parametrize("mount_point_stays", [True, False])
def test_a_drive_that_is_away_and_comes_back_changes_nothing(
    copied: Path, decoded: list[str], mount_point_stays: bool
) -> None:
    with Library.open(copied / "library") as library:
        before = library.items()
        vectors = library.catalog.wholes().vectors.tobytes()
    away = disconnect(copied)
    if not mount_point_stays:
        (copied / "raw" / "drive").rmdir()
    for _ in range(2):
        report = again(copied)
        assert facts(report) == {"images": 7, "unchanged": 3, "offline": 4}
        assert report.offline_folders == {"drive": 4}
        assert offline(copied) == DRIVE
    assert stats(copied / "library").offline == 4
    assert json.loads((copied / "library" / "library.json").read_text())["offline"] == 4
    with Library.open(copied / "library") as library:
        (item,) = (one for one in library.items() if one.path == "drive/near/c.png")
        assert (item.name, item.tags) == ("Old C", ("drive", "near", "t"))
        maps = library.catalog.execute("SELECT path FROM maps").fetchall()
        assert maps == [("drive/near/c_normal.png",)]
        assert library.thumbnail_image(item).size == (72, 72)
    (copied / "raw" / "drive").mkdir(exist_ok=True)
    connect(copied, away)
    report = again(copied)
    assert facts(report) == {"images": 7, "unchanged": 7}
    assert list(report.skipped) == ["drive/far/broken.png"]
    assert decoded == []
    with Library.open(copied / "library") as library:
        assert library.items() == before
        assert library.catalog.wholes().vectors.tobytes() == vectors


def test_a_drive_that_comes_back_changed_is_read_where_it_changed(
    copied: Path, decoded: list[str], paint: Painter
) -> None:
    away = disconnect(copied)
    again(copied)
    paint(away / "near" / "c.png", 30)
    (away / "near" / "d.png").unlink()
    paint(away / "near" / "new.png", 31)
    (away / "far" / "f.png").rename(away / "far" / "renamed.png")
    connect(copied, away)
    report = again(copied)
    assert facts(report) == {
        "images": 7, "added": 1, "changed": 1, "moved": 1, "removed": 1, "unchanged": 4,
    }  # fmt: skip
    assert sorted(decoded) == ["c.png", "new.png"]
    assert offline(copied) == set()


def test_single_files_that_are_deleted_leave_at_once(copied: Path) -> None:
    (copied / "raw" / "a.png").unlink()
    (copied / "raw" / "drive" / "near" / "d.png").unlink()
    assert facts(again(copied)) == {"images": 5, "removed": 2, "unchanged": 5}


def test_a_folder_that_was_deleted_stays_until_it_is_forgotten(copied: Path) -> None:
    shutil.rmtree(copied / "raw" / "drive" / "far")
    report = again(copied)
    assert facts(report) == {"images": 7, "unchanged": 5, "offline": 2}
    assert report.offline_folders == {"drive/far": 2}
    disconnect(copied, "other")
    report = again(copied)
    assert report.offline_folders == {"drive/far": 2, "other": 1}
    report = again(copied, forget_missing=True)
    assert facts(report) == {"images": 4, "removed": 3, "unchanged": 4}
    assert report.skipped == {}
    assert facts(again(copied)) == {"images": 4, "unchanged": 4}


def test_a_folder_without_visible_files_is_taken_for_a_mount_point(copied: Path) -> None:
    disconnect(copied, "other")
    (copied / "raw" / "other" / ".DS_Store").write_bytes(b"x")
    assert again(copied).offline_folders == {"other": 1}
    (copied / "raw" / "other" / "notes.txt").write_text("the pictures are gone, I am here")
    assert facts(again(copied)) == {"images": 6, "removed": 1, "unchanged": 6}


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="root lists every folder")
def test_a_folder_that_cannot_be_listed_is_offline(copied: Path) -> None:
    folder = copied / "raw" / "drive" / "near"
    folder.chmod(0)
    try:
        assert again(copied).offline_folders == {"drive/near": 2}
    finally:
        folder.chmod(0o755)
    assert facts(again(copied)) == {"images": 7, "unchanged": 7}


def test_a_folder_behind_a_link_that_fails_is_offline(copied: Path) -> None:
    away = disconnect(copied, "other")
    (copied / "raw" / "other").rmdir()
    (copied / "raw" / "other").symlink_to(copied / "raw" / "other")  # a loop: no such disk
    assert again(copied).offline_folders == {"other": 1}
    (copied / "raw" / "other").unlink()
    (copied / "raw" / "other").symlink_to(away, target_is_directory=True)
    assert facts(again(copied)) == {"images": 7, "unchanged": 7}


def test_a_moved_folder_is_recognised_also_after_it_was_offline(
    copied: Path, decoded: list[str]
) -> None:
    away = disconnect(copied)
    again(copied)
    away.rename(copied / "raw" / "elsewhere")
    report = again(copied)
    assert facts(report) == {"images": 7, "moved": 4, "unchanged": 3}
    assert offline(copied) == set()
    assert decoded == ["broken.png"]


def test_a_link_whose_target_is_on_a_missing_drive_is_offline(
    copied: Path, tmp_path: Path, paint: Painter
) -> None:
    paint(tmp_path / "disk" / "h.png", 40)
    paint(tmp_path / "disk" / "i.png", 41)
    paint(tmp_path / "shelf" / "j.png", 42)
    (copied / "raw" / "h.png").symlink_to(tmp_path / "disk" / "h.png")
    (copied / "raw" / "shelf").symlink_to(tmp_path / "shelf", target_is_directory=True)
    assert again(copied).added == 2
    (tmp_path / "shelf").rename(tmp_path / "unplugged")
    (tmp_path / "disk").rename(tmp_path / "disk-away")
    report = again(copied)
    assert offline(copied) == {"h.png", "shelf/j.png"}
    assert report.offline_folders == {(tmp_path / "disk").as_posix(): 1, "shelf": 1}
    (tmp_path / "disk-away").rename(tmp_path / "disk")
    (tmp_path / "disk" / "h.png").unlink()  # the link goes nowhere for good
    assert facts(again(copied)) == {"images": 8, "removed": 1, "unchanged": 7, "offline": 1}


def test_no_image_left_at_all_is_refused_whatever_is_forgotten(copied: Path) -> None:
    for name in ("a.png", "b.png"):
        (copied / "raw" / name).unlink()
    shutil.rmtree(copied / "raw" / "drive")
    shutil.rmtree(copied / "raw" / "other")
    for forget in (False, True):
        with pytest.raises(DataError, match="drive"):
            again(copied, forget_missing=forget)
    assert stats(copied / "library").images == 7


def test_a_run_that_ends_early_is_made_good(copied: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    away = disconnect(copied)

    def dying(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    for connected in (False, True):
        if connected:
            connect(copied, away)
        with monkeypatch.context() as patch:
            patch.setattr("vaeneer.library.index.index.finish", dying)
            with pytest.raises(KeyboardInterrupt):
                again(copied)
        assert len(offline(copied)) == (0 if connected else 4)
        assert again(copied).offline == (0 if connected else 4)


def test_offline_items_are_found_and_marked(copied: Path) -> None:
    disconnect(copied)
    again(copied)
    with Library.open(copied / "library") as library:
        ids = {item.path: item.id for item in library.items()}
        (copied / "raw" / "b.png").unlink()
        found = {Path(hit.path).name: hit for hit in search(library, ids["drive/far/e.png"]).hits}
    assert {name for name, hit in found.items() if hit.offline} == {"c.png", "d.png", "f.png"}
    assert {name for name, hit in found.items() if hit.missing} == {
        "b.png", "c.png", "d.png", "f.png",
    }  # fmt: skip


def test_an_image_that_is_not_there_is_searched_by_its_path(copied: Path) -> None:
    disconnect(copied)
    again(copied)
    with Library.open(copied / "library") as library:
        (item,) = (one for one in library.items() if one.path == "drive/far/e.png")
        by_path = search(library, copied / "raw" / "drive" / "far" / "e.png")
        assert [hit.id for hit in by_path.hits] == [hit.id for hit in search(library, item.id).hits]
        assert library.item_at(copied / "raw" / "drive" / "e.png") is None
        with pytest.raises(ImageFileError, match="no such file"):
            search(library, copied / "raw" / "drive" / "e.png")


def test_a_box_on_an_offline_item_is_refused_with_a_way_on(copied: Path) -> None:
    disconnect(copied)
    again(copied)
    with Library.open(copied / "library") as library:
        (item,) = (one for one in library.items() if one.path == "drive/far/e.png")
        with pytest.raises(LibraryError, match=rf"offline.*search by {item.id} without a box"):
            search(library, item.id, box=(0, 0, 32, 32))
        there = search(library, item.id, settings=SearchSettings(where="offline = 0")).hits
        assert {Path(hit.path).name for hit in there} == {"a.png", "b.png", "g.png"}
        report = search(library, item.id)
        values = hits(report.to_dict())
        sheet = contact_sheet(library, report)
    indexed = indexing(again(copied).to_dict())
    console = Console(width=400, record=True)
    with console.capture() as shown:
        console.print(values, indexed)
    assert shown.get().count("(offline)") == 3
    assert "offline 4 images: drive not there" in shown.get()
    assert "--forget-missing" in shown.get()
    assert "7 images (4 offline) with" in shown.get()
    assert sheet.width > 0
