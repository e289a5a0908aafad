"""index() embeds whole images first, and their small parts in a second pass that may be stopped."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console, RenderableType

import vaeneer
from vaeneer.cli.library_tables import hits
from vaeneer.cli.library_tables import indexing as table_of
from vaeneer.cli.options import ConsoleProgress
from vaeneer.errors import LibraryError
from vaeneer.library.index import embed_files, writer
from vaeneer.library.index.index import index
from vaeneer.library.library import Library
from vaeneer.progress import Silent
from vaeneer.settings import IndexSettings

Painter = Callable[[Path, int, int], Path]
IMAGES, SIDE_PX = 5, 264  # the smallest side that has quarters is 256


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, paint: Painter) -> Path:
    """Five images, two of them equal, and their library, made in one go."""
    folder = tmp_path_factory.mktemp("two-passes")
    for number in range(IMAGES - 1):
        paint(folder / "raw" / f"{number}.png", number, SIDE_PX)
    shutil.copyfile(folder / "raw" / "0.png", folder / "raw" / "copy.png")
    index(folder / "raw", library=folder / "library")
    return folder


class Stopping(Silent):
    """Stops the run when its second pass begins, or after some groups of it."""

    def say(self, line: str) -> None:
        if "small parts" in line and not line.startswith("Stopped"):
            raise KeyboardInterrupt


def crops(library: Path) -> dict[tuple[Any, ...], bytes]:
    """The vector of each crop, by the path of its item and its place."""
    with Library.open(library) as opened:
        rows = opened.catalog.execute(
            "SELECT path, scale, x, y, width, height, vector FROM crops"
            " JOIN items ON items.id = crops.item ORDER BY path, crops.id"
        ).fetchall()
    return {tuple(place): vector for *place, vector in rows}


def same(found: dict[tuple[Any, ...], bytes], wanted: dict[tuple[Any, ...], bytes]) -> bool:
    """Whether the crops are the same, in order, but for what batches of another size round."""
    pairs = [(found[one], wanted[one]) for one in wanted if one in found]
    near = [np.frombuffer(b"".join(half), np.float16).reshape(2, -1) for half in pairs]
    return list(found) == list(wanted) and all(
        np.allclose(one, other, atol=2e-3) for one, other in near
    )


def test_after_the_first_pass_everything_can_be_searched(made: Path, tmp_path: Path) -> None:
    library = tmp_path / "library"
    with pytest.raises(KeyboardInterrupt):
        index(made / "raw", library=library, progress=Stopping())
    whole = crops(made / "library")
    assert same(crops(library), {place: v for place, v in whole.items() if place[1] <= 2})
    assert vaeneer.stats(library).parts_pending == IMAGES
    with Library.open(library) as opened:
        assert len(opened.image_index) == IMAGES
        assert vaeneer.search(opened, made / "raw" / "1.png").hits[0].path.endswith("1.png")
        report = vaeneer.search(opened, made / "raw" / "2.png", box=(0, 0, 130, 130))
        assert report.hits[0].path.endswith("2.png")
        assert report.hits[0].box is not None
        assert f"small parts of {IMAGES} images" in shown(report.to_dict(), hits)
        whole_report = vaeneer.search(opened, made / "raw" / "2.png")
        assert "small parts" not in shown(whole_report.to_dict(), hits)
    with Library.open(made / "library") as opened:
        report = vaeneer.search(opened, made / "raw" / "2.png", box=(0, 0, 130, 130))
        assert "small parts" not in shown(report.to_dict(), hits)
    assert vaeneer.doctor(library).healthy


def test_the_next_run_goes_on_with_the_small_parts(made: Path, tmp_path: Path) -> None:
    library = tmp_path / "library"
    with pytest.raises(KeyboardInterrupt):
        index(made / "raw", library=library, progress=Stopping())
    report = index(made / "raw", library=library)
    assert (report.added, report.unchanged, report.parts_pending) == (0, IMAGES, 0)
    assert report.parts_added == IMAGES
    assert f"small parts of {IMAGES} images added in " in shown(report.to_dict())
    assert "nothing new" not in shown(report.to_dict())
    assert report.images_per_second is None
    assert same(crops(library), crops(made / "library"))
    assert vaeneer.stats(library).parts_pending == 0
    assert vaeneer.doctor(library).healthy
    assert index(made / "raw", library=library).vectors == report.vectors


@pytest.mark.parametrize("nth", [0, 1])
def test_killed_in_the_second_pass_the_next_run_ends_in_the_same_library(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, nth: int
) -> None:
    """Killed before a group of small parts is recorded, and after."""
    monkeypatch.setattr(embed_files, "IMAGES_PER_COMMIT", 2)
    record, calls = writer.record_parts, iter(range(9))

    def dying(*given: Any) -> None:
        if next(calls) == nth:
            raise KeyboardInterrupt
        record(*given)

    with monkeypatch.context() as patch:
        patch.setattr(embed_files, "record_parts", dying)
        with pytest.raises(KeyboardInterrupt):
            index(made / "raw", library=tmp_path / "library")
    assert vaeneer.stats(tmp_path / "library").parts_pending == IMAGES - 3 * nth  # a copy waits too
    index(made / "raw", library=tmp_path / "library")
    assert same(crops(tmp_path / "library"), crops(made / "library"))


def test_a_file_that_changes_between_the_passes_keeps_what_it_had_until_the_next_run(
    made: Path, tmp_path: Path, paint: Painter
) -> None:
    raw, library = tmp_path / "raw", tmp_path / "library"
    shutil.copytree(made / "raw", raw)

    class Changing(Silent):
        def say(self, line: str) -> None:
            if "small parts" in line:
                paint(raw / "1.png", 77, SIDE_PX)
                (raw / "2.png").unlink()

    report = index(raw, library=library, progress=Changing())
    assert (report.images, report.parts_pending) == (IMAGES, 2)
    assert "small parts of 2 images" in shown(report.to_dict())
    report = index(raw, library=library)
    assert (report.changed, report.removed, report.parts_pending) == (1, 1, 0)


def test_images_without_small_parts_wait_for_nothing(tmp_path: Path, paint: Painter) -> None:
    paint(tmp_path / "raw" / "small.png", 1, 72)
    paint(tmp_path / "raw" / "large.png", 2, SIDE_PX)
    halves = IndexSettings(parts="halves")
    assert index(tmp_path / "raw", library=tmp_path / "h", settings=halves).parts_pending == 0
    (tmp_path / "raw" / "large.png").unlink()
    with pytest.raises(LibraryError):
        vaeneer.stats(tmp_path / "none")
    report = index(tmp_path / "raw", library=tmp_path / "q", progress=Stopping())
    assert report.parts_pending == 0


def test_other_parts_than_those_of_the_library_are_refused(tmp_path: Path, paint: Painter) -> None:
    raw, library = tmp_path / "raw", tmp_path / "whole"
    paint(raw / "one.png", 1, SIDE_PX)
    index(raw, library=library, settings=IndexSettings(parts="none"))
    halves = IndexSettings(parts="halves")
    with pytest.raises(
        LibraryError, match=r"made with --parts none.*another folder with --library"
    ):
        index(raw, library=library, settings=halves)
    assert index(raw, library=library).unchanged == 1
    assert index(raw, library=tmp_path / "another", settings=halves).vectors > 1  # the remedy


def test_what_a_damaged_catalog_holds_of_a_first_pass_still_waits(
    made: Path, tmp_path: Path
) -> None:
    library = tmp_path / "library"
    with pytest.raises(KeyboardInterrupt):
        index(made / "raw", library=library, progress=Stopping())
    vector = next(iter(crops(library).values()))
    file = library / "catalog.sqlite"
    content = bytearray(file.read_bytes())
    content[content.index(vector) + 9] ^= 0x40
    file.write_bytes(content)
    index(made / "raw", library=library)
    assert same(crops(library), crops(made / "library"))


def shown(
    values: dict[str, Any], table: Callable[[dict[str, Any]], RenderableType] = table_of
) -> str:
    stream = StringIO()
    Console(file=stream, width=500).print(table(values))
    return stream.getvalue()


def test_the_summary_tells_what_was_embedded_from_what_was_there(
    made: Path, tmp_path: Path, paint: Painter
) -> None:
    shutil.copytree(made, tmp_path / "m", copy_function=shutil.copy2)
    raw, library = tmp_path / "m" / "raw", tmp_path / "m" / "library"
    values = index(raw, library=library, folder_moved=True).to_dict()
    assert f"nothing new in {values['seconds']:,.1f} s; {IMAGES} unchanged" in shown(values)
    assert "images/s" not in shown(values)
    paint(raw / "new.png", 9, SIDE_PX)
    values = index(raw, library=library).to_dict()
    text = shown(values | {"seconds": 40.0, "searchable_seconds": 11.0})
    assert f"1 added in 40.0 s (could be searched after 11.0 s); {IMAGES} unchanged" in text
    assert values["images_per_second"] > 0


def test_in_a_pipe_progress_is_a_line_every_few_seconds() -> None:
    stream = StringIO()
    progress = ConsoleProgress(Console(file=stream, width=200), every_seconds=0.0)
    with progress.bar("images", total=4, unit="images") as bar:
        for _ in range(4):
            bar.advance(note="oak.png")
    lines = stream.getvalue().splitlines()
    assert [line.split(",")[0] for line in lines] == [f"images {n}/4 images" for n in (1, 2, 3)]
    assert all("images/s" in line and line.endswith(" left") for line in lines)
    with ConsoleProgress(Console(file=stream, width=200)).bar("x", total=2, unit="y") as bar:
        bar.advance()
    assert len(stream.getvalue().splitlines()) == 3  # nothing within the first ten seconds
