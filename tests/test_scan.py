"""What a scan lists and what it leaves out, with its reason: made here, no originals, excluded."""

from __future__ import annotations

import json
import os
import shutil
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from PIL import Image

import vaeneer
from conftest import Painter
from vaeneer import IndexSettings, PrepareSettings, index, prepare
from vaeneer.data.dataset import open_folder
from vaeneer.data.exclusion import ScanRules
from vaeneer.data.scan import Scan, scan_folder
from vaeneer.errors import DataError, SettingsError
from vaeneer.files import mark_folder
from vaeneer.library.library import Library
from vaeneer.library.search.contact_sheet import write_sheet
from vaeneer.library.search.search import search
from vaeneer.provenance import MARKER

NO_PARTS = IndexSettings(parts="none")


def listed(scan: Scan) -> list[str]:
    return [str(found.path) for found in scan.images]


def plain(path: Path, size: tuple[int, int] = (64, 64), shade: int = 90) -> Path:
    """A picture whose header is all that a scan needs."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (shade, shade, shade)).save(path)
    return path


def scanned(root: Path, *names: str, **rules: object) -> tuple[list[str], dict[str, str]]:
    """Of new files of these names: what is listed, and why the others are not."""
    for name in names:
        plain(root / name)
    scan = scan_folder(root, rules=ScanRules(**rules))  # type: ignore[arg-type]
    return listed(scan), dict(scan.left_out)


# Folders and names that hold no originals


@pytest.mark.parametrize(
    ("folder", "reason"),
    [
        ("@eaDir", "thumbnails"), ("Thumbs", "thumbnails"), ("THUMBNAILS", "thumbnails"),
        ("previews", "thumbnails"), (".thumbnails", "thumbnails"), (".@__thumb", "thumbnails"),
        ("_thumbs", "thumbnails"),
        ("#recycle", "recycle bin"), ("@Recycle", "recycle bin"), ("$RECYCLE.BIN", "recycle bin"),
        (".Trash-1000", "recycle bin"), ("lost+found", "recycle bin"),
        ("#snapshot", "snapshots"), ("@Recently-Snapshot", "snapshots"), (".zfs", "snapshots"),
        ("~snapshot", "snapshots"), ("@GMT-2026.01.01-00.00.00", "snapshots"),
        ("System Volume Information", "system folder"), ("__MACOSX", "system folder"),
        ("@tmp", "system folder"), (".git", "version control"), (".cache", "hidden"),
    ],
)  # fmt: skip
def test_a_folder_without_originals_is_left_out_and_listed_once(
    folder: str, reason: str, tmp_path: Path
) -> None:
    found, left_out = scanned(tmp_path, "a.jpg", f"deep/{folder}/b.jpg", f"deep/{folder}/x/c.jpg")
    assert found == ["a.jpg"]
    assert left_out == {f"deep/{folder}": f"{reason}: {folder}"}
    assert scan_folder(tmp_path).others == {reason: 1}
    inside = scan_folder(tmp_path / "deep" / folder)  # what a user names is read
    assert listed(inside) == ["b.jpg", "x/c.jpg"]


@pytest.mark.parametrize("folder", ["preview", "recycled", "snapshot", "git", "thumbtack", "@home"])
def test_a_folder_with_a_like_name_is_read(folder: str, tmp_path: Path) -> None:
    assert scanned(tmp_path, f"{folder}/a.jpg") == ([f"{folder}/a.jpg"], {})


def test_hidden_pictures_and_what_macos_adds_are_told_from_each_other(tmp_path: Path) -> None:
    (tmp_path / ".DS_Store").write_bytes(b"x")
    found, left_out = scanned(tmp_path, "a.jpg", "._a.jpg", ".b.jpg")
    assert found == ["a.jpg"]
    assert left_out == {"._a.jpg": "metadata of macOS", ".b.jpg": "hidden"}


# Previews and much smaller copies


@pytest.mark.parametrize(
    ("preview", "original"),
    [
        ("wall_preview.jpg", "wall.jpg"), ("Wall-Thumb.png", "wall.jpg"),
        ("x1_Preview.png", "x1_4K_Albedo.jpg"), ("thumb_wall.jpg", "wall.tif"),
        ("wall.thumbnail.jpg", "wall.png"), ("s/preview.jpg", "s/albedo.jpg"),
        ("wall_preview_256.jpg", "wall_4k.jpg"), ("wall_preview_2.png", "wall.png"),
        ("tn_wall.jpg", "wall.jpg"),
    ],
)  # fmt: skip
def test_a_preview_is_left_out_beside_its_original_alone(
    preview: str, original: str, tmp_path: Path
) -> None:
    found, left_out = scanned(tmp_path / "both", preview, original)
    assert found == [original]
    assert left_out == {preview: f"preview: of {Path(original).name}"}
    assert scanned(tmp_path / "alone", preview) == ([preview], {})
    assert scanned(tmp_path / "other", preview, "elsewhere.jpg")[1] == {}
    both = sorted([preview, original])
    assert scanned(tmp_path / "both", include_previews=True) == (both, {})


@pytest.mark.parametrize(
    ("small", "large", "sizes", "out"),
    [
        ("wall_256.png", "wall_4k.png", ((32, 32), (128, 128)), True),
        ("wall_small.png", "wall.png", ((32, 16), (130, 64)), True),
        ("wall.jpg", "wall.png", ((20, 20), (128, 128)), True),
        ("a_diff_1k.png", "a_diff_4k.png", ((32, 32), (128, 128)), True),
        ("wall_2k.png", "wall_4k.png", ((64, 64), (128, 128)), False),
        ("wall_small.png", "wall.png", ((32, 16), (128, 128)), False),
        ("wall_1K_Albedo.png", "wall_4K_Albedo.png", ((32, 32), (128, 128)), True),
        ("b_1K-JPG_Color.png", "b_4K-PNG_Color.png", ((32, 32), (128, 128)), True),
        ("a_1K_b.png", "a_4K_c.png", ((32, 32), (128, 128)), False),
        ("wall.png", "wall@4x.png", ((32, 32), (128, 128)), True),
        ("wall_01.png", "wall_02.png", ((32, 32), (128, 128)), False),
        ("wall_red.png", "wall.png", ((32, 32), (128, 128)), False),
        ("a_col_01_1k.png", "a_col_02_4k.png", ((32, 32), (128, 128)), False),
    ],
)
def test_a_copy_of_a_quarter_of_the_sides_is_left_out_beside_the_original(
    small: str,
    large: str,
    sizes: tuple[tuple[int, int], tuple[int, int]],
    out: bool,
    tmp_path: Path,
) -> None:
    plain(tmp_path / small, sizes[0])
    plain(tmp_path / large, sizes[1])
    left_out = dict(scan_folder(tmp_path).left_out)
    width, height = sizes[0]
    assert set(left_out) == ({small} if out else set())
    if out:
        assert left_out[small].startswith(f"much smaller copy: {width} x {height} px, {large} has")
        assert len(listed(scan_folder(tmp_path, rules=ScanRules(include_previews=True)))) == 2


# Patterns


@pytest.mark.parametrize(
    ("patterns", "kept"),
    [
        (["wip/"], ["b_old.png", "c.jpg", "scans/raw/d.jpg"]),
        (["*.PNG"], ["c.jpg", "scans/raw/d.jpg", "wip/a.jpg"]),
        (["/scans/raw/**"], ["b_old.png", "c.jpg", "wip/a.jpg"]),
        (["./scans"], ["b_old.png", "c.jpg", "wip/a.jpg"]),
        (["*.jpg", "!c.jpg"], ["b_old.png", "c.jpg"]),
        (["wip", "*_old.*"], ["c.jpg", "scans/raw/d.jpg"]),
    ],
)
def test_patterns_exclude_as_in_gitignore(
    patterns: list[str], kept: list[str], tmp_path: Path
) -> None:
    names = ("b_old.png", "c.jpg", "scans/raw/d.jpg", "wip/a.jpg")
    found, left_out = scanned(tmp_path, *names, exclude=tuple(patterns))
    assert found == kept
    assert {reason.split(": ")[0] for reason in left_out.values()} == {"excluded"}


def test_a_pattern_that_fits_nothing_is_said_and_a_broken_one_refused(tmp_path: Path) -> None:
    plain(tmp_path / "a.jpg")
    plain(tmp_path / "#new" / "a.jpg")
    scan = scan_folder(tmp_path, rules=ScanRules(("wpi/", "#new")))
    assert listed(scan) == ["a.jpg"]
    assert [line.split(";")[0] for line in scan.warnings] == ["--exclude 'wpi/' fits nothing"]
    for broken in ("", "!", "[z-a].png", "a\\"):
        with pytest.raises(SettingsError, match=r"is no pattern; write it as in \.gitignore"):
            prepare(tmp_path, out=tmp_path / "d", settings=PrepareSettings(exclude=(broken,)))
        with pytest.raises(SettingsError, match=r"is no pattern"):
            index(tmp_path, library=tmp_path / "l", settings=IndexSettings(exclude=(broken,)))
    assert not (tmp_path / "l").exists()


def test_a_data_set_keeps_what_is_excluded_until_other_patterns_come(
    tmp_path: Path, paint: Painter
) -> None:
    raw, out = tmp_path / "raw", tmp_path / "data"
    for number, name in enumerate(("a", "b", "old/c", "thumbs/d")):
        paint(raw / f"{name}.png", number)
    assert prepare(raw, out=out, settings=PrepareSettings(exclude=("old/",))).kept == 2
    again = prepare(raw, out=out)
    assert (again.kept, again.skipped) == (2, {"excluded": 1, "thumbnails": 1})
    assert dict(again.skipped_files)["old"] == "excluded: old/"
    previews = PrepareSettings(exclude=(), include_previews=True)
    assert prepare(raw, out=out, settings=previews).kept == 4
    names = [
        item.path.name for side in ("train", "valid") for item in open_folder(out / side).items
    ]
    assert sorted(names) == ["a.png", "b.png", "c.png", "d.png"]  # thumbs/ is in the data set now


def test_a_library_keeps_what_is_excluded_until_other_patterns_come(
    tmp_path: Path, paint: Painter
) -> None:
    raw, lib = tmp_path / "raw", tmp_path / "lib"
    for number, name in enumerate(("a", "b", "old/c", "thumbs/d")):
        paint(raw / f"{name}.png", number)
    assert index(raw, library=lib, settings=NO_PARTS).images == 3
    without = index(raw, library=lib, settings=IndexSettings(exclude=("OLD",)))
    assert (without.images, without.removed, without.offline) == (2, 1, 0)
    assert index(raw, library=lib).left_out == {"excluded": 1, "thumbnails": 1}
    whole = IndexSettings(exclude=(), include_previews=True)
    assert index(raw, library=lib, settings=whole).images == 4
    with pytest.raises(DataError, match=r"\(.*excluded.*\).*Nothing was changed.*exclude less"):
        index(raw, library=lib, settings=IndexSettings(exclude=("*",)))
    assert index(raw, library=lib).images == 4  # a refused run changes no rules


def test_where_nothing_is_left_the_reasons_and_the_remedy_are_said(
    tmp_path: Path, paint: Painter
) -> None:
    raw = tmp_path / "raw"
    paint(raw / "previews" / "a.png", 1)
    (raw / "run").mkdir()
    (raw / "run" / MARKER).write_text(json.dumps({"kind": "run", "version": "1"}))
    wanted = r"\(1 made by vaeneer, 1 thumbnails\); .*--include-previews"
    with pytest.raises(DataError, match=wanted):
        index(raw, library=tmp_path / "lib")
    with pytest.raises(DataError, match=wanted):
        prepare(raw, out=tmp_path / "data")


# Trees that are hard to walk


@pytest.fixture
def deep(tmp_path: Path) -> Iterator[Path]:
    """A folder of 1,000 levels; removed afterwards in pieces, since rmtree and pytest give up."""
    top = tmp_path / "deep"
    top.mkdir()
    here = os.open(top, os.O_RDONLY)
    try:
        for _ in range(1000):
            os.mkdir("d", dir_fd=here)
            below = os.open("d", os.O_RDONLY, dir_fd=here)
            os.close(here)
            here = below
    finally:
        os.close(here)
    yield top
    for number in range(20):
        rest = tmp_path / f"rest-{number}"
        if (below_top := top.joinpath(*["d"] * 100)).is_dir():
            below_top.rename(rest)
        shutil.rmtree(top)
        if not rest.is_dir():
            break
        top = rest


def test_folders_are_walked_at_any_depth_and_loops_end(tmp_path: Path, deep: Path) -> None:
    plain(tmp_path / "a.jpg")
    plain(deep / "/".join(["d"] * 1000) / "b.jpg")
    (deep / "up").symlink_to(tmp_path)
    (deep / "self").symlink_to(deep / "self")
    (tmp_path / "twice").symlink_to(deep)
    scan = scan_folder(tmp_path)
    assert listed(scan) == ["a.jpg", f"deep/{'d/' * 1000}b.jpg"]
    assert scan.warnings == ()


@pytest.mark.skipif(os.name == "nt", reason="Windows has no named pipes in folders")
def test_what_is_no_file_stops_nothing(tmp_path: Path, paint: Painter) -> None:
    paint(tmp_path / "raw" / "a.png", 1)
    paint(tmp_path / "raw" / "b.png", 2)
    paint(tmp_path / "raw" / "folder.png" / "c.png", 3)
    os.mkfifo(tmp_path / "raw" / "pipe.png")
    os.mkfifo(tmp_path / "raw" / "pipe.json")
    with socket.socket(socket.AF_UNIX) as held:
        held.bind(os.path.relpath(tmp_path / "raw" / "s.jpg"))
        report = prepare(tmp_path / "raw", out=tmp_path / "data")
        library = index(tmp_path / "raw", library=tmp_path / "lib", settings=NO_PARTS)
    assert report.kept == library.images == 3
    assert report.skipped == {"not a file": 3}
    assert library.skipped == {"pipe.png": "not a file", "s.jpg": "not a file"}
    assert library.left_out == {"not a file": 1}


def test_a_folder_that_cannot_be_read_is_said_and_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain(tmp_path / "a.jpg")
    plain(tmp_path / "closed" / "b.jpg")
    scandir: Callable[[str], object] = os.scandir

    def refusing(path: str) -> object:
        if str(path).endswith("closed"):
            raise PermissionError(13, "Permission denied", path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refusing)
    scan = scan_folder(tmp_path)
    assert listed(scan) == ["a.jpg"]
    assert scan.left_out == (("closed", "folder cannot be read: Permission denied"),)
    assert scan.others == {"folder cannot be read": 1}
    assert len(scan.warnings) == 1


def test_a_file_that_vanishes_while_it_is_listed_is_listed_as_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain(tmp_path / "a.jpg")
    plain(tmp_path / "b.jpg")
    stat = Path.stat

    def vanished(self: Path, **options: bool) -> os.stat_result:
        if self.name == "b.jpg":
            raise FileNotFoundError(2, "No such file or directory", str(self))
        return stat(self, **options)

    monkeypatch.setattr(Path, "stat", vanished)
    scan = scan_folder(tmp_path)
    assert listed(scan) == ["a.jpg"]
    assert scan.left_out == (("b.jpg", "no such file"),)


# What vaeneer wrote


@pytest.fixture(scope="module")
def written(
    tmp_path_factory: pytest.TempPathFactory, paint: Painter, model: Path, few_crops: None
) -> Path:
    """A folder of three surfaces in which commands that write folders and pictures were run."""
    root = tmp_path_factory.mktemp("written")
    sources = [paint(root / f"s{number}.png", number) for number in range(3)]
    prepare(root, out=root / "data")
    side = root / "data" / "train"
    train = vaeneer.TrainSettings(recipe="reference", epochs=1, batch_size=2, device="cpu")
    vaeneer.train(root / "data", out=root / "run", settings=train)
    cpu = vaeneer.EvaluateSettings(device="cpu", quality=False)
    vaeneer.evaluate(model, side, out=root / "quality", settings=cpu)
    off = vaeneer.SimilaritySettings(device="cpu", baselines="off")
    vaeneer.similarity(model, side, out=root / "likeness", settings=off)
    vaeneer.sample(model, out=root / "drawn.png", count=2)
    vaeneer.reconstruct(model, [sources[0]], out=root / "again.png")
    index(root, library=root.with_name("lib"), settings=NO_PARTS)
    shutil.move(root.with_name("lib"), root / "lib")  # as older versions let one make it
    vaeneer.map(root / "lib", out=root / "map.png")
    with Library.open(root / "lib") as library:
        found = search(library, sources[0])
        for name in ("hits.png", "hits.jpg", "hits.webp"):
            write_sheet(root / name, library, found)
    prepare(root, out=root / "data2")
    return root


def test_nothing_that_vaeneer_wrote_is_a_surface(written: Path) -> None:
    sources = ["s0.png", "s1.png", "s2.png"]
    with Library.open(written / "lib") as library:
        assert [item.path for item in library.items()] == sources
    report = prepare(written, out=written / "data3", dry_run=True)
    assert (report.kept, report.scanned) == (3, 3 + 6)
    reasons = dict(report.skipped_files)
    assert {path: why for path, why in reasons.items() if not Path(path).suffix} == {
        "data": "made by vaeneer: data set",
        "data2": "made by vaeneer: data set",
        "lib": "made by vaeneer: library",
        "likeness": "made by vaeneer: similarity",
        "quality": "made by vaeneer: evaluation",
        "run": "made by vaeneer: run",
    }
    pictures = {"again.png", "drawn.png", "hits.jpg", "hits.png", "hits.webp", "map.png"}
    assert all(reasons[name].startswith("made by vaeneer: a picture") for name in pictures)
    again = index(written, library=written / "lib")
    assert (again.images, again.added, set(again.skipped)) == (3, 0, pictures)


def test_each_folder_that_vaeneer_made_is_marked_and_named_itself_it_is_read(written: Path) -> None:
    marked = {
        file.parent.relative_to(written).as_posix(): json.loads(file.read_text())
        for file in written.rglob(MARKER)
    }
    kinds = {name: content["kind"] for name, content in marked.items()}
    assert kinds == {
        "data": "data set", "data2": "data set", "lib": "library", "lib/model": "model",
        "likeness": "similarity", "quality": "evaluation", "run": "run", "run/best": "model",
        "run/last": "model",
    }  # fmt: skip
    assert {content["version"] for content in marked.values()} == {vaeneer.__version__}
    assert len(scan_folder(written / "data").images) == 3
    assert len(scan_folder(written / "data" / "train").images) == 2
    assert prepare(written / "data", out=written.parent / "of a data set", dry_run=True).kept == 3


def test_a_mark_is_enough_and_a_link_into_a_marked_folder_leads_nowhere(tmp_path: Path) -> None:
    plain(tmp_path / "raw" / "a.jpg")
    plain(tmp_path / "elsewhere" / "train" / "b.jpg")
    mark_folder(tmp_path / "elsewhere", "data set")
    (tmp_path / "raw" / "link").symlink_to(tmp_path / "elsewhere" / "train")
    plain(tmp_path / "raw" / "new" / "c.jpg")
    mark_folder(tmp_path / "raw" / "new", "sort of later versions")
    plain(tmp_path / "raw" / "torn" / "d.jpg")
    (tmp_path / "raw" / "torn" / MARKER).write_text("{")
    assert scan_folder(tmp_path / "raw").left_out == (
        ("link", "made by vaeneer: data set"),
        ("new", "made by vaeneer: sort of later versions"),
        ("torn", "made by vaeneer: folder"),
    )


@pytest.mark.parametrize(
    ("kind", "files"),
    [
        ("data set", {"manifest.parquet": "", "train/a.jpg": ""}),
        ("library", {"catalog.sqlite": "SQLite format 3", "thumbs.db": ""}),
        ("run", {"run.json": '{"data": {"fingerprint": "1"}}', "config.toml": ""}),
        ("model", {"config.json": '{"reconstruction_loss": "bce"}', "model.safetensors": ""}),
        ("evaluation", {"evaluation.json": "{}", "per-image.csv": ""}),
        ("similarity", {"similarity.json": "{}", "similarity.html": ""}),
        ("benchmark", {"bench.json": "{}", "bench.png": ""}),
        ("cache", {"CACHEDIR.TAG": "Signature: x\n# Images decoded by vaeneer"}),
    ],
)
def test_folders_of_versions_before_the_mark_are_known_by_their_files(
    kind: str, files: dict[str, str], tmp_path: Path
) -> None:
    plain(tmp_path / "made" / "a.png")
    for name, text in files.items():
        (tmp_path / "made" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "made" / name).write_text(text)
    assert scan_folder(tmp_path).left_out == (("made", f"made by vaeneer: {kind}"),)


def test_files_with_such_names_of_other_programs_leave_nothing_out(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    for name in ("config.json", "model.safetensors", "CACHEDIR.TAG", "run.json", "report.html"):
        (tmp_path / "other" / name).write_text("{}")
    assert scanned(tmp_path, "other/a.png") == (["other/a.png"], {})


def test_what_is_made_to_be_read_is_read(tmp_path: Path) -> None:
    vaeneer.synthesize(tmp_path / "raw" / "made", count=2, side_px=64)
    Image.new("RGBA", (64, 64), (200, 90, 20, 99)).save(tmp_path / "raw" / "a.png")
    report = prepare(tmp_path / "raw", out=tmp_path / "data")
    assert (report.kept, report.converted, report.skipped) == (3, 1, {})
    assert prepare(tmp_path / "data", out=tmp_path / "again").kept == 3
