"""index(): what a run does to a library, and that nothing which ends a run harms it."""

from __future__ import annotations

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from vaeneer.data import decode_worker
from vaeneer.data.dataset import scan_folder
from vaeneer.errors import (
    FORMATS_HINT,
    DataError,
    LibraryError,
    OutputExistsError,
    SettingsError,
    is_limit,
    is_transient,
)
from vaeneer.library import catalog
from vaeneer.library.index import embed_files, writer
from vaeneer.library.index import index as index_module
from vaeneer.library.index.index import index
from vaeneer.library.library import Library
from vaeneer.library.store import changing
from vaeneer.model.embedder import Embedder
from vaeneer.settings import IndexSettings

Painter = Callable[[Path, int], Path]


@pytest.fixture(scope="module")
def painted(tmp_path_factory: pytest.TempPathFactory, paint: Painter) -> Path:
    """20 images in two folders, and the library of them."""
    folder = tmp_path_factory.mktemp("indexed")
    for number in range(20):
        paint(folder / "raw" / ("wall" if number < 12 else "floor") / f"{number:02}.png", number)
    index(folder / "raw", library=folder / "library")
    return folder


@pytest.fixture
def copied(painted: Path, tmp_path: Path) -> Path:
    """A copy of both that may be changed."""
    shutil.copytree(painted, tmp_path / "copy", copy_function=shutil.copy2)
    index(tmp_path / "copy" / "raw", library=tmp_path / "copy" / "library", folder_moved=True)
    return tmp_path / "copy"


def again(folder: Path, **options: Any) -> dict[str, Any]:
    return index(folder / "raw", library=folder / "library", **options).to_dict()


@dataclass
class Contents:
    """All that a library says, but ids and times of writing."""

    rows: list[tuple[Any, ...]]
    vectors: NDArray[np.float64]

    def __eq__(self, other: object) -> bool:
        """The same rows; and vectors as near as batches of another size leave them."""
        assert isinstance(other, Contents)
        near = self.vectors.shape == other.vectors.shape
        near = near and bool(((self.vectors * other.vectors).sum(1) > 0.9999).all())
        return self.rows == other.rows and near


def contents(library: Path) -> Contents:
    with Library.open(library) as opened:
        rows = opened.catalog.execute(
            "SELECT path, items.asset, category, items.sha256, width_px, format, phashes, scale,"
            " x, y, width, height, vector FROM items JOIN crops ON crops.item = items.id"
            " LEFT JOIN assets ON assets.asset = items.asset ORDER BY path, crops.id"
        ).fetchall()
        for whole, kept in ((True, opened.image_index), (False, opened.crop_index)):
            assert kept.ids.tolist() == opened.catalog.crop_ids(whole=whole).tolist()
        thumbs = {opened.thumbnail(item) for item in opened.items()}
    there = set((library / "thumbs").rglob("*.webp"))
    assert there == thumbs
    assert list((library / "thumbs").rglob("*.part")) == []
    failures = (library / "errors.csv").read_text()
    facts = json.loads((library / "library.json").read_text())
    kept_facts = {k: facts[k] for k in ("items", "assets", "failures", "model_fingerprint")}
    vectors = np.stack([np.frombuffer(row[-1], np.float16) for row in rows]).astype(np.float64)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    plain = [row[:-1] for row in rows]
    return Contents([*plain, (failures,), tuple(kept_facts.items())], vectors)


class Counting:
    """How many images a run decodes and embeds."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.seen = self.embedded = 0
        see, embed = embed_files.decode_image, Embedder.embed

        def counted_see(job: Any) -> Any:
            self.seen += 1
            return see(job)

        def counted_embed(embedder: Embedder, images: Any) -> Any:
            self.embedded += len(images)
            return embed(embedder, images)

        monkeypatch.setattr(embed_files, "decode_image", counted_see)
        monkeypatch.setattr(Embedder, "embed", counted_embed)


def test_a_library_holds_every_colour_image(painted: Path) -> None:
    with Library.open(painted / "library") as library:
        assert len(library) == 20
        assert {item.category for item in library.items()} == {"wall", "floor"}
        assert len(library.image_index) == 20
        for item in library.items():
            assert library.path(item).is_file()
            assert library.thumbnail_image(item).size == (72, 72)
    facts = json.loads((painted / "library" / "library.json").read_text())
    assert facts["items"] == 20
    assert facts["wholes"]["kind"] == "exact"
    assert facts["dimensions"] == 128


def test_vectors_are_those_of_the_embedder(painted: Path) -> None:
    with Library.open(painted / "library") as library:
        items = library.items()[:5]
        wanted = library.embedder.embed_files([library.path(item) for item in items])
        wholes = library.catalog.wholes()
        kept = wholes.vectors[[wholes.items.tolist().index(item.id) for item in items]]
    assert (kept * wanted).sum(1) == pytest.approx(np.ones(5), abs=2e-3)


def test_a_second_run_opens_nothing(copied: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before, count = contents(copied / "library"), Counting(monkeypatch)
    report = again(copied)
    assert (count.seen, count.embedded) == (0, 0)
    assert (report["unchanged"], report["added"], report["images"]) == (20, 0, 20)
    assert contents(copied / "library") == before


def test_a_second_run_needs_no_pytorch(copied: Path) -> None:
    code = (
        "import sys\nfrom vaeneer.library.index.index import index\n"
        "index(sys.argv[1], library=sys.argv[2])\nassert 'torch' not in sys.modules"
    )
    folders = [str(copied / "raw"), str(copied / "library")]
    subprocess.run([sys.executable, "-c", code, *folders], check=True)


def test_only_what_changed_is_decoded(
    copied: Path, paint: Painter, monkeypatch: pytest.MonkeyPatch
) -> None:
    raw = copied / "raw"
    with Library.open(copied / "library") as library:
        before = {item.path: item.id for item in library.items()}
    paint(raw / "wall" / "new.png", 50)
    paint(raw / "wall" / "00.png", 51)
    (raw / "wall" / "01.png").unlink()
    (raw / "wall" / "02.png").rename(raw / "floor" / "moved.png")
    os.utime(raw / "wall" / "03.png")  # another time, the same bytes
    count = Counting(monkeypatch)
    report = again(copied)
    assert count.seen == count.embedded == 2
    assert {k: report[k] for k in ("added", "changed", "moved", "removed", "unchanged")} == {
        "added": 1, "changed": 1, "moved": 1, "removed": 1, "unchanged": 17,
    }  # fmt: skip
    with Library.open(copied / "library") as library:
        after = {item.path: item.id for item in library.items()}
    assert after["floor/moved.png"] == before["wall/02.png"]
    assert after["wall/00.png"] == before["wall/00.png"]
    assert "wall/01.png" not in after
    shutil.rmtree(copied / "library")
    fresh = again(copied)
    assert fresh["images"] == report["images"] == 20


def test_runs_one_after_the_other_end_where_a_single_one_does(
    copied: Path, paint: Painter, tmp_path: Path
) -> None:
    raw = copied / "raw"
    paint(raw / "wall" / "00.png", 60)
    (raw / "floor" / "12.png").rename(raw / "wall" / "twelve.png")
    (raw / "wall" / "broken.png").write_bytes(b"\x89PNG broken")
    again(copied)
    (raw / "wall" / "broken.png").unlink()
    paint(raw / "wall" / "last.png", 61)
    again(copied)
    index(raw, library=tmp_path / "whole")
    assert contents(copied / "library") == contents(tmp_path / "whole")


def test_equal_bytes_are_embedded_once(copied: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copyfile(copied / "raw/wall/05.png", copied / "raw/floor/copy.png")
    count = Counting(monkeypatch)
    assert again(copied)["added"] == 1
    assert count.embedded == 0
    with Library.open(copied / "library") as library:
        ids = library.catalog.item_ids("path IN ('wall/05.png', 'floor/copy.png')")
        first, second = (library.catalog.crops_of(int(one)) for one in ids)
        pair = library.catalog.vectors([first[0].id, second[0].id]).vectors
    assert len(first) == len(second)
    assert (pair[0] == pair[1]).all()


def test_bad_files_are_skipped_listed_and_not_tried_again(
    copied: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    raw = copied / "raw"
    (raw / "wall" / "empty.jpg").write_bytes(b"")
    (raw / "wall" / "text.png").write_text("not an image")
    Image.new("RGB", (20, 300)).save(raw / "wall" / "thin.png")
    (raw / "wall" / "06.png").write_bytes((raw / "wall" / "06.png").read_bytes()[:200])
    report = again(copied)
    assert report["images"] == 19
    assert set(report["skipped"]) == {
        "wall/empty.jpg", "wall/text.png", "wall/thin.png", "wall/06.png",
    }  # fmt: skip
    with (copied / "library" / "errors.csv").open() as stream:
        assert {row["path"]: row["reason"] for row in csv.DictReader(stream)} == report["skipped"]
    count = Counting(monkeypatch)
    assert again(copied)["skipped"] == report["skipped"]
    assert count.seen == 0  # under the same limits
    looser = again(copied, settings=IndexSettings(min_side_px=16))
    assert "wall/thin.png" not in looser["skipped"]


def test_maps_are_listed_with_their_asset_and_are_no_items(copied: Path) -> None:
    raw = copied / "raw"
    for kind in ("diff", "nor_gl", "rough"):
        shutil.copyfile(raw / "wall" / "07.png", raw / "wall" / f"stone_{kind}_2k.png")
    assert again(copied)["images"] == 21
    with Library.open(copied / "library") as library:
        (item,) = [i for i in library.items() if i.asset == "wall/stone"]
        assert item.path == "wall/stone_diff_2k.png"
        maps = library.catalog.execute("SELECT kind FROM maps WHERE asset = 'wall/stone'")
        assert {kind for (kind,) in maps} == {"normal", "roughness"}


def test_tiles_are_items_and_of_colour_variants_one(copied: Path, paint: Painter) -> None:
    names = (
        "w_BaseColor.1001",
        "w_BaseColor.1002",
        "w_Normal.1001",
        "b_COL_VAR1",
        "b_COL_VAR2",
        "b_NRM",
    )
    for number, name in enumerate(names):
        paint(copied / "raw" / "wall" / f"{name}.png", 50 + number)
    assert again(copied)["added"] == 3
    with Library.open(copied / "library") as library:
        kinds = dict(library.catalog.execute("SELECT path, kind FROM maps").fetchall())
        tiles = library.catalog.execute("SELECT path FROM items WHERE asset = 'wall/w'").fetchall()
    assert kinds == {
        "wall/b_COL_VAR2.png": "color",
        "wall/b_NRM.png": "normal",
        "wall/w_Normal.1001.png": "normal",
    }
    assert len(tiles) == 2


def test_side_cars_are_read_again(copied: Path) -> None:
    sidecar = {
        "id": "x1",
        "name": "Old Wall",
        "categories": ["surface", "brick"],
        "tags": ["mossy"],
    }
    (copied / "raw" / "wall" / "08.json").write_text(json.dumps(sidecar))
    assert again(copied)["added"] == 0
    with Library.open(copied / "library") as library:
        (item,) = [i for i in library.items() if i.path == "wall/08.png"]
    assert (item.name, item.category, item.tags) == ("Old Wall", "brick", ("mossy", "wall"))


def test_a_missing_drive_empties_no_library(copied: Path) -> None:
    before = contents(copied / "library")
    shutil.rmtree(copied / "raw")
    (copied / "raw").mkdir()
    with pytest.raises(DataError, match="drive"):
        again(copied)
    assert contents(copied / "library") == before


def test_a_folder_of_bad_files_only_is_an_error_with_the_reasons(tmp_path: Path) -> None:
    (tmp_path / "raw").mkdir()
    for number in range(3):
        (tmp_path / "raw" / f"{number}.jpg").write_bytes(b"")
    with pytest.raises(DataError, match="3 empty file"):
        again(tmp_path)
    assert len((tmp_path / "library" / "errors.csv").read_text().splitlines()) == 4
    (tmp_path / "none").mkdir()
    with pytest.raises(DataError, match="empty"):
        index(tmp_path / "none", library=tmp_path / "other")


def test_another_model_is_refused_before_work_begins(
    copied: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, count = contents(copied / "library"), Counting(monkeypatch)
    (copied / "raw" / "wall" / "00.png").unlink()
    with pytest.raises(LibraryError, match="surface-base"):
        again(copied, model=model)
    assert count.seen == 0
    assert contents(copied / "library") == before
    again(copied, model="surface-base")


def test_another_folder_is_refused_unless_it_moved(copied: Path) -> None:
    (copied / "raw").rename(copied / "elsewhere")
    with pytest.raises(LibraryError, match="--folder-moved"):
        index(copied / "elsewhere", library=copied / "library")
    report = index(copied / "elsewhere", library=copied / "library", folder_moved=True)
    assert report.unchanged == 20


def test_foreign_folders_are_not_written_into(painted: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").write_text("dear")
    with pytest.raises(OutputExistsError, match="something else"):
        index(painted / "raw", library=tmp_path / "mine")
    with pytest.raises(LibraryError, match="is the folder of the images"):
        index(painted / "raw", library=painted / "raw")
    with pytest.raises(DataError, match="does not exist"):
        index(tmp_path / "nothing", library=tmp_path / "library")
    assert not (tmp_path / "library").exists()


def test_a_library_inside_its_folder_is_no_part_of_it(copied: Path) -> None:
    index(copied / "raw", library=copied / "library")
    (copied / "library").rename(copied / "raw" / "library")  # made by a version that allowed it
    report = index(copied / "raw", library=copied / "raw" / "library")
    assert report.images == 20
    assert index(copied / "raw", library=copied / "raw" / "library").unchanged == 20
    assert len(scan_folder(copied / "raw").images) == 20  # nor of what others read


def test_a_second_indexer_says_so_and_leaves(copied: Path) -> None:
    with changing(copied / "library"):
        code = (
            "import sys\nfrom vaeneer.cli.app import run\n"
            "sys.exit(run(['index', sys.argv[1], '--library', sys.argv[2]]))"
        )
        folders = [str(copied / "raw"), str(copied / "library")]
        done = subprocess.run(
            [sys.executable, "-c", code, *folders], capture_output=True, text=True, check=False
        )
    assert done.returncode == 1
    assert "another process" in done.stderr


@pytest.mark.parametrize(
    "setting", [{"batch_size": 0}, {"max_megapixels": 0}, {"parts": "eighths"}]
)
def test_settings_out_of_range_are_named(painted: Path, tmp_path: Path, setting: Any) -> None:
    with pytest.raises(SettingsError, match=next(iter(setting))):
        index(painted / "raw", library=tmp_path / "x", settings=IndexSettings(**setting))


def test_deleted_thumbnails_and_index_files_come_back(
    copied: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = contents(copied / "library")
    shutil.rmtree(copied / "library" / "thumbs")
    (copied / "library" / "crops.faiss").unlink()
    (copied / "library" / "items.faiss").write_bytes(b"cut short")
    count = Counting(monkeypatch)
    again(copied)
    assert (count.seen, count.embedded) == (20, 0)
    assert contents(copied / "library") == before


class Killed(BaseException):
    """What a kill is to the code in this process: nothing after it runs, but `finally`."""


STEPS = [
    (embed_files, "write_thumbnail"),
    (embed_files, "vectors_of_equal_files"),
    (embed_files, "record_images"),
    (index_module, "record_changes"),
    (index_module, "write_errors"),
    (index_module, "remove_thumbnails"),
    (index_module, "synced"),
    (index_module, "write_stamped_json"),
    (catalog, "seal"),
]


def test_killed_at_any_step_the_next_run_ends_in_the_same_library(
    copied: Path, paint: Painter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The n-th call of each step does not return, or never begins; then the run is done again."""
    raw = copied / "raw"
    for number in range(4):
        paint(raw / "wall" / f"{number:02}.png", 70 + number)
    paint(raw / "roof" / "new.png", 80)
    (raw / "wall" / "04.png").rename(raw / "roof" / "moved.png")
    (raw / "wall" / "05.png").unlink()
    (raw / "roof" / "bad.png").write_bytes(b"bad")
    monkeypatch.setattr(embed_files, "IMAGES_PER_COMMIT", 2)
    shutil.copytree(copied / "library", tmp_path / "undisturbed")
    index(raw, library=tmp_path / "undisturbed")
    wanted = contents(tmp_path / "undisturbed")
    kills = 0
    for number, (module, name) in enumerate(STEPS):
        for nth in (1, 2):
            for before in (True, False):
                library = tmp_path / f"killed-{number}-{nth}-{before}"
                shutil.copytree(copied / "library", library)
                with monkeypatch.context() as patch:
                    calls, step = iter(range(1, 10**6)), getattr(module, name)

                    def dying(*given: Any, **named: Any) -> Any:
                        last = next(calls) == nth  # noqa: B023
                        if last and before:  # noqa: B023
                            raise Killed
                        answer = step(*given, **named)  # noqa: B023
                        if last:
                            raise Killed
                        return answer

                    patch.setattr(module, name, dying)
                    try:
                        index(raw, library=library)
                    except Killed:
                        kills += 1
                index(raw, library=library)
                assert contents(library) == wanted, (name, nth, before)
                shutil.rmtree(library)
    assert kills > 20


@pytest.mark.slow
def test_killed_by_the_system_at_any_moment_the_next_run_goes_on(
    tmp_path: Path, paint: Painter
) -> None:
    raw = tmp_path / "raw"
    for number in range(24):
        paint(raw / f"{number:02}.png", number)
    index(raw, library=tmp_path / "whole")
    code = """
import sys
from contextlib import contextmanager
from vaeneer.library.index import embed_files, index

class Lines:
    @contextmanager
    def bar(self, title, *, total, unit):
        yield self
    def advance(self, count=1, note=""):
        print("step", flush=True)
    def say(self, line):
        pass

embed_files.IMAGES_PER_COMMIT = 1
index.index(sys.argv[1], library=sys.argv[2], progress=Lines())
"""
    library = tmp_path / "library"
    for steps, seconds in ((0, 0.3), (1, 0.0), (3, 0.01), (5, 0.02), (4, 0.0)):
        folders = [str(raw), str(library)]
        process = subprocess.Popen([sys.executable, "-c", code, *folders], stdout=subprocess.PIPE)
        assert process.stdout is not None
        for _ in range(steps):
            assert process.stdout.readline() == b"step\n"
        time.sleep(seconds)
        assert process.poll() is None
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
    index(raw, library=library)
    assert contents(library) == contents(tmp_path / "whole")


def test_until_its_new_vectors_are_in_a_changed_file_is_found_as_it_was(
    copied: Path, paint: Painter, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever ends the update, the item stays with its vectors, thumbnail and facts."""
    before = contents(copied / "library")
    paint(copied / "raw" / "wall" / "00.png", 70)
    for module, name in STEPS[:3]:

        def dying(*_: Any, **__: Any) -> Any:
            raise Killed

        with monkeypatch.context() as patch:
            patch.setattr(module, name, dying)
            with pytest.raises(Killed):
                again(copied)
        with Library.open(copied / "library") as library:
            (item,) = [item for item in library.items() if item.path == "wall/00.png"]
            assert library.thumbnail(item).is_file()
            hit = library.search(str(library.thumbnail(item)), k=1)[0]
            assert hit.id == item.id
    assert again(copied)["changed"] == 1
    assert contents(copied / "library") != before


def test_an_item_whose_changed_file_cannot_be_read_now_stays(
    copied: Path, paint: Painter, monkeypatch: pytest.MonkeyPatch
) -> None:
    paint(copied / "raw" / "wall" / "00.png", 70)
    with monkeypatch.context() as patch:
        patch.setattr(
            embed_files,
            "decode_image",
            lambda job: decode_worker.DecodedImage("cannot be read: Input/output error"),
        )
        report = again(copied)
    assert (report["images"], set(report["skipped"])) == (20, {"wall/00.png"})
    with Library.open(copied / "library") as library:
        assert len(library) == len(library.image_index) == 20
    report = again(copied)
    assert (report["changed"], report["skipped"]) == (1, {})


def test_ctrl_c_keeps_what_is_done(
    copied: Path, paint: Painter, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(6):
        paint(copied / "raw" / "roof" / f"{number}.png", 90 + number)
    monkeypatch.setattr(embed_files, "IMAGES_PER_COMMIT", 2)
    calls = iter(range(10))
    record = writer.record_images

    def stopped(*given: Any) -> None:
        if next(calls) == 2:
            raise KeyboardInterrupt
        record(*given)

    with monkeypatch.context() as patch:
        patch.setattr(embed_files, "record_images", stopped)
        with pytest.raises(KeyboardInterrupt):
            again(copied)
    with Library.open(copied / "library") as library:
        assert len(library) == 24
        assert len(library.image_index) == 24  # put right when it is opened, before the next run
    assert again(copied)["added"] == 2


def test_what_is_left_out_is_listed_and_an_impossible_time_is_clamped(
    tmp_path: Path, paint: Painter
) -> None:
    raw = tmp_path / "raw"
    for number in range(3):
        paint(raw / f"{number}.png", number)
    (raw / "a.svg").write_bytes(b"<svg/>")
    (raw / "b.svg").write_bytes(b"<svg/>")
    (raw / "notes.txt").write_text("no picture")
    (raw / "scans.zip").write_bytes(b"PK")
    (raw / ".DS_Store").write_bytes(b"Bud1")
    Path(os.fsdecode(os.fsencode(raw) + b"/br\xfcck.png")).write_bytes((raw / "0.png").read_bytes())
    (raw / "nowhere.png").symlink_to(raw / "gone.png")
    os.utime(raw / "1.png", (10_413_792_000, 10_413_792_000))  # the year 2300
    report = index(raw, library=tmp_path / "lib", settings=IndexSettings(parts="none"))
    assert report.images == 3
    assert report.left_out == {
        "file name is not UTF-8": 1,
        "format not supported (.svg)": 2,
        "link to nothing": 1,
        "archive (.zip)": 1,
        "metadata of macOS": 1,
        "not an image file (.txt)": 1,
    }
    with (tmp_path / "lib" / "errors.csv").open(encoding="utf-8", newline="") as stream:
        listed = {row["path"]: (row["reason"], row["outcome"]) for row in csv.DictReader(stream)}
    remedy = "export it as 16-bit TIFF or PNG"
    assert listed == {
        "a.svg": (f"format not supported (.svg): {remedy}", "left out"),
        "b.svg": (f"format not supported (.svg): {remedy}", "left out"),
        r"br\xfcck.png": ("file name is not UTF-8: rename it", "left out"),
        ".DS_Store": ("metadata of macOS", "left out"),
        "notes.txt": ("not an image file (.txt)", "left out"),
        "scans.zip": ("archive (.zip): unpack it, images in it are not read", "left out"),
        "nowhere.png": ("link to nothing", "left out"),
    }
    with Library.open(tmp_path / "lib") as library:
        assert library.items()[1].mtime_ns == 2**63 - 1
        assert library.catalog.left_out() == report.left_out
    assert index(raw, library=tmp_path / "lib").unchanged == 3


def test_a_file_that_a_limit_refused_is_read_again_once_the_limit_changes(
    copied: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Image.new("RGB", (20, 30)).save(copied / "raw" / "narrow.png")
    count, read = Counting(monkeypatch), []
    for limit in (24, 24, 40, 24, 24, 16, 16):
        report = again(copied, settings=IndexSettings(min_side_px=limit))
        assert ("narrow.png" in report["skipped"]) == (limit > 20)
        read.append(count.seen)
    assert read == [1, 1, 2, 3, 3, 4, 4]


def test_a_file_that_an_extra_would_read_is_tried_in_each_run() -> None:
    assert is_transient(f"not supported: compression of this TIFF; {FORMATS_HINT}")
    assert is_transient("cannot be read: Permission denied")
    assert not is_transient("truncated: the file ends too early")
    assert is_limit("too small: 20 x 30 px, under 32 px")
    assert not is_limit("too large for the memory of this machine")


def test_a_first_run_on_a_wrong_folder_does_not_bind_the_library(
    tmp_path: Path, paint: Painter
) -> None:
    (tmp_path / "empty").mkdir()
    paint(tmp_path / "raw" / "a.png", 1)
    settings = IndexSettings(parts="none")
    with pytest.raises(DataError, match="it is empty"):
        index(tmp_path / "empty", library=tmp_path / "lib", settings=settings)
    assert index(tmp_path / "raw", library=tmp_path / "lib", settings=settings).images == 1
    with pytest.raises(LibraryError, match="is the library of"):
        index(tmp_path / "empty", library=tmp_path / "lib", settings=settings)
