"""Planted copies are found, told by kind and placed; different surfaces are left alone."""

from __future__ import annotations

import csv
import importlib.util
import json
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from PIL import Image

from vaeneer.data.synthetic.synthesize import surface
from vaeneer.errors import LibraryError, SettingsError
from vaeneer.library.catalog import Item
from vaeneer.library.duplicates.detect import MOST_CONTAINERS, container_pairs, frame_pairs
from vaeneer.library.duplicates.duplicates import duplicates
from vaeneer.library.duplicates.features import NAME as SKETCHES
from vaeneer.library.duplicates.features import FeatureStore, sketch
from vaeneer.library.duplicates.groups import (
    Components,
    Facts,
    Families,
    Match,
    describe_groups,
    draft_groups,
)
from vaeneer.library.duplicates.report import DuplicateGroup, DuplicatesReport
from vaeneer.library.duplicates.verify import StructuralSimilarity
from vaeneer.library.index.index import index
from vaeneer.library.library import Library
from vaeneer.progress import Silent
from vaeneer.settings import DuplicatesSettings, IndexSettings

SURFACES = ("rock", "brick")
ALONE = ("planks", "tile")
ALL = DuplicatesSettings(page_size=0)


@pytest.fixture(scope="module")
def planting() -> ModuleType:
    """benchmarks/planting.py."""
    path = Path(__file__).parents[1] / "benchmarks" / "planting.py"
    spec = importlib.util.spec_from_file_location("planting", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["planting"] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory, planting: ModuleType) -> Path:
    """Two surfaces with every variant, two as two halves each, two more of the same families."""
    folder = tmp_path_factory.mktemp("duplicates")
    for seed, families in ((1, SURFACES), (2, SURFACES), (3, ALONE)):
        for family in families:
            path = folder / "surfaces" / f"{family}-{seed}.png"
            path.parent.mkdir(exist_ok=True)
            Image.fromarray(surface(family, seed=seed, side_px=256)).save(path)
    planting.plant(
        folder / "surfaces",
        [f"{family}-1.png" for family in SURFACES],
        [f"{family}-3.png" for family in ALONE],
        folder / "images",
    )
    for family in SURFACES:
        (folder / "images" / "alone").mkdir(exist_ok=True)
        shutil.copyfile(
            folder / "surfaces" / f"{family}-2.png", folder / "images" / "alone" / f"{family}.png"
        )
    with Image.open(folder / "surfaces" / "rock-1.png") as rock:
        rock.save(folder / "images" / "png" / "rock-1.bmp")
    index(folder / "images", library=folder / "library", settings=IndexSettings(parts="halves"))
    return folder / "library"


@pytest.fixture(scope="module")
def report(library: Path) -> DuplicatesReport:
    return duplicates(library, settings=ALL)


def names(group: DuplicateGroup) -> set[str]:
    """folder/stem of each file."""
    return {f"{Path(item.path).parent.name}/{Path(item.path).stem}" for item in group.items}


def of_kind(report: DuplicatesReport, kind: str) -> list[DuplicateGroup]:
    return [group for group in report.groups if group.kind == kind]


def test_every_group_is_of_one_surface(report: DuplicatesReport) -> None:
    assert report.groups
    for group in report.groups:
        assert len({Path(item.path).stem for item in group.items}) == 1
        assert not names(group) & {f"alone/{family}" for family in SURFACES}
        assert not any(name.startswith(("left/", "right/")) for name in names(group))


@pytest.mark.parametrize("family", SURFACES)
def test_planted_copies_are_told_by_kind(report: DuplicatesReport, family: str) -> None:
    stem = f"{family}-1"
    found = {
        group.kind: names(group) for group in report.groups if f"original/{stem}" in names(group)
    }
    equal = {f"{name}/{stem}" for name in ("original", "copy")}
    assert found["exact"] >= equal
    near = ("half", "jpeg40", "webp", "turn90", "turn180", "turn270", "mirror", "dark")
    assert found["near"] >= equal | {f"{name}/{stem}" for name in near}
    assert f"centre/{stem}" not in found["near"]
    assert f"hue/{stem}" not in found["near"]
    assert f"centre/{stem}" in found["cropped"]
    (recoloured,) = (g for g in of_kind(report, "recoloured") if f"hue/{stem}" in names(g))
    assert len(recoloured.items) == 2  # the near copies are in their own group
    assert f"original/{stem}" in {
        name
        for group in of_kind(report, "near")
        for name in names(group)
        if recoloured.keep in {item.path for item in group.items}
    }


def test_the_same_pixels_are_told_from_near_ones(report: DuplicatesReport) -> None:
    (rock,) = (group for group in of_kind(report, "same_pixels") if "png/rock-1" in names(group))
    assert {Path(item.path).suffix for item in rock.items} == {".png", ".bmp"}
    assert names(rock) == {"original/rock-1", "copy/rock-1", "png/rock-1"}


@pytest.mark.parametrize("family", SURFACES)
def test_a_part_is_placed_in_the_picture_to_keep(report: DuplicatesReport, family: str) -> None:
    (group,) = (one for one in of_kind(report, "cropped") if f"centre/{family}-1" in names(one))
    (part,) = (item for item in group.items if item.box is not None)
    assert part.path.startswith("centre/")
    assert part.relation == "cropped"
    assert part.box == pytest.approx((64, 64, 128, 128), abs=3)
    assert group.keep != part.path


def test_changes_are_told_in_words(report: DuplicatesReport) -> None:
    (group,) = (one for one in of_kind(report, "near") if "original/brick-1" in names(one))
    words = {Path(item.path).parent.name: item.change for item in group.items}
    assert words["turn90"] == "turned 90°"
    assert words["turn270"] == "turned 270°"
    assert words["mirror"] == "mirrored"
    assert words["half"] == "scaled by 0.50"
    assert words["dark"].startswith("darker by")


def test_one_of_each_group_is_to_keep(report: DuplicatesReport) -> None:
    for group in report.groups:
        paths = [item.path for item in group.items]
        assert len(set(paths)) == len(paths) > 1
        assert group.keep == paths[0]
        assert group.items[0].relation is None
        assert all(item.relation is not None for item in group.items[1:])
        assert group.confidence == min(item.confidence for item in group.items) >= report.threshold
        largest = max(item.width_px * item.height_px for item in group.items)
        assert group.items[0].width_px * group.items[0].height_px == largest


def test_sure_groups_come_first_and_json_has_the_promised_keys(report: DuplicatesReport) -> None:
    for kind in report.groups_by_kind:
        sure = [round(group.confidence, 3) for group in of_kind(report, kind)]
        assert sure == sorted(sure, reverse=True)
        assert len(sure) == report.groups_by_kind[kind]
    told = json.loads(json.dumps(report.to_dict()))
    assert {"kind", "items", "keep"} <= set(told["groups"][0])
    assert all({"path", "box"} <= set(item) for item in told["groups"][0]["items"])


def test_pages_hold_all_groups_once(library: Path, report: DuplicatesReport) -> None:
    pages = [
        duplicates(library, settings=DuplicatesSettings(page=page, page_size=4))
        for page in range(1, -(-report.total_groups // 4) + 1)
    ]
    assert [group for page in pages for group in page.groups] == report.groups
    assert {page.pages for page in pages} == {len(pages)}
    with pytest.raises(SettingsError, match=rf"there are {len(pages)}"):
        duplicates(library, settings=DuplicatesSettings(page=len(pages) + 1, page_size=4))


@pytest.mark.parametrize("threshold", [0.0, -1.0, 1.5, "high"])
def test_a_threshold_outside_its_range_is_refused(library: Path, threshold: object) -> None:
    with pytest.raises(SettingsError, match="threshold"):
        duplicates(library, settings=DuplicatesSettings(threshold=threshold))  # type: ignore[arg-type]


def test_what_was_found_is_remembered_until_the_library_changes(
    library: Path, report: DuplicatesReport, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = tmp_path / "library"
    shutil.copytree(library, copy)

    def refuse(*_: object) -> None:
        raise AssertionError("searched again")

    with monkeypatch.context() as patch:
        patch.setattr("vaeneer.library.duplicates.duplicates.find_groups", refuse)
        again = duplicates(copy, settings=ALL)
        assert again.groups == report.groups
        with pytest.raises(AssertionError, match="searched again"):
            duplicates(copy, settings=replace(ALL, threshold=0.9))
    with Library.open(copy) as opened:
        following = str(opened.catalog.generation + 1)
        opened.catalog.set_meta("generation", following)
    with monkeypatch.context() as patch:
        patch.setattr("vaeneer.library.duplicates.duplicates.find_groups", refuse)
        with pytest.raises(AssertionError, match="searched again"):
            duplicates(copy, settings=ALL)
    (copy / "duplicates.json").write_text('{"version": 1')  # damaged: as if it were not there
    assert duplicates(copy, settings=ALL).groups == report.groups


def test_a_higher_threshold_asks_for_more_likeness(library: Path, tmp_path: Path) -> None:
    for name in ("original", "jpeg40"):
        shutil.copytree(library.parent / "images" / name, tmp_path / "images" / name)
    index(tmp_path / "images", library=tmp_path / "library", settings=IndexSettings(parts="none"))
    near = of_kind(duplicates(tmp_path / "library", settings=ALL), "near")
    assert sorted(sorted(names(group)) for group in near) == [
        [f"jpeg40/{family}-1", f"original/{family}-1"] for family in sorted(SURFACES)
    ]
    strict = duplicates(tmp_path / "library", settings=replace(ALL, threshold=1.0))
    assert strict.threshold == 1
    assert strict.groups == []


def test_csv_has_a_line_for_each_file(
    library: Path, report: DuplicatesReport, tmp_path: Path
) -> None:
    out = tmp_path / "out.csv"
    duplicates(library, settings=ALL, out_csv=out)
    with out.open(newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    assert list(rows[0]) == ["path", "group", "kind", "decision", "keep_path", "box"]
    assert len(rows) == sum(len(group.items) for group in report.groups)
    assert {row["kind"] for row in rows if row["box"]} == {"cropped"}
    redundant = {row["path"] for row in rows if row["decision"] == "redundant"}
    assert len(redundant) == report.redundant_files > 0
    kept = {row["path"] for row in rows if row["decision"] == "keep"}
    assert not kept & redundant  # a file has one decision, in whichever group
    assert {row["keep_path"] for row in rows} <= kept | redundant
    assert {row["keep_path"] for row in rows if row["path"] in redundant} <= kept


def test_the_page_shows_groups_and_takes_names_for_text(tmp_path: Path) -> None:
    folder = tmp_path / "images"
    folder.mkdir()
    picture = Image.fromarray(surface("rock", seed=5, side_px=128))
    picture.save(folder / "<img src=x onerror=alert(1)>.png")
    picture.save(folder / "line\nend.png")
    index(folder, library=tmp_path / "library", settings=IndexSettings(parts="none"))
    duplicates(tmp_path / "library", out_html=tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "<img src=x" not in page
    assert "&lt;img src=x onerror" in page
    assert r"line\nend.png" in page
    assert "data:image/webp;base64," in page
    assert "http" not in page.replace("http-equiv", "")
    assert "2 images, 1 group." in page
    assert f"<code>vaeneer serve {tmp_path / 'library'}</code>" in page  # where to choose others


def test_a_file_that_is_gone_is_skipped_and_told(tmp_path: Path) -> None:
    folder = tmp_path / "images"
    folder.mkdir()
    rock = Image.fromarray(surface("rock", seed=6, side_px=128))
    for number in range(3):
        rock.rotate(90 * number).save(folder / f"{number}.png")
    index(folder, library=tmp_path / "library", settings=IndexSettings(parts="none"))
    (folder / "1.png").unlink()
    found = duplicates(tmp_path / "library")
    assert [Path(path).name for path in found.skipped] == ["1.png"]
    (group,) = found.groups
    assert {item.path for item in group.items} == {"0.png", "2.png"}
    rock.rotate(90).save(folder / "1.png")
    (group,) = duplicates(tmp_path / "library").groups  # what is not whole is not remembered
    assert len(group.items) == 3


def test_no_library_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(LibraryError, match="not a library"):
        duplicates(tmp_path)


def test_a_library_without_copies_has_no_groups(small_library: Path, tmp_path: Path) -> None:
    shutil.copytree(small_library, tmp_path / "library")
    found = duplicates(tmp_path / "library")
    assert found.groups == []
    assert (found.pages, found.total_groups, found.redundant_files) == (1, 0, 0)


def test_candidates_are_few_and_hold_the_copies(library: Path) -> None:
    with Library.open(library) as opened:
        wholes = opened.catalog.wholes()
        pairs = frame_pairs(opened.image_index, wholes, opened.catalog.fingerprints())
        rows = opened.catalog.parts()
        containers = container_pairs(
            opened.image_index, opened.crop_index, wholes, (rows.crops, rows.items)
        )
        ids = {item.path: item.id for item in opened.items()}
    assert all(one < other for one, others in pairs.items() for other in others)
    one, other = sorted((ids["original/rock-1.png"], ids["mirror/rock-1.jpg"]))
    assert other in pairs[one]
    assert max(map(len, containers.values())) <= MOST_CONTAINERS
    assert all(item not in own for item, own in containers.items())


def test_a_torn_sketch_is_made_again(tmp_path: Path) -> None:
    pictures = [Image.fromarray(surface("rock", seed=seed, side_px=96)) for seed in range(3)]
    asked = {f"{number:064x}": (lambda own=one: own) for number, one in enumerate(pictures, 1)}
    FeatureStore(tmp_path).ensure(asked, workers=2, progress=Silent())
    whole = (tmp_path / SKETCHES).read_bytes()
    (tmp_path / SKETCHES).write_bytes(whole[: len(whole) * 5 // 6])
    sketches = FeatureStore(tmp_path)
    assert [sha256 in sketches for sha256 in asked] == [True, True, False]
    torn = (tmp_path / SKETCHES).stat().st_size
    assert torn == len(whole) * 5 // 6  # whoever reads leaves it: another may be writing there
    assert sketches.ensure(asked, workers=1, progress=Silent()) == []
    assert (tmp_path / SKETCHES).read_bytes() == whole
    for picture, sha256 in zip(pictures, asked, strict=True):
        ours, theirs = sketches[sha256], sketch(picture)
        np.testing.assert_allclose(ours.thumb, theirs.thumb, atol=0.1)
        np.testing.assert_array_equal(ours.features.descriptors, theirs.features.descriptors)
    few = {sha256: asked[sha256] for sha256 in list(asked)[:1]}
    sketches.ensure(few, workers=1, progress=Silent())
    assert len((tmp_path / SKETCHES).read_bytes()) == len(whole) // 3  # the others are out of use


def test_families_join_over_several_steps() -> None:
    families = Components([(5, 3), (9, 8), (3, 7), (8, 9)])
    assert list(families) == [[3, 5, 7], [8, 9]]
    assert families.joined(5, 7)
    assert not families.joined(5, 8)
    assert families.root(4) == 4


PLAIN = Item(
    id=0, path="b.jpg", asset="a", name=None, category=None, tags=(), width_px=100, height_px=100,
    mode="RGB", format="JPEG", size_bytes=100, mtime_ns=0, sha256="00", mean_rgb=(0.5, 0.5, 0.5),
)  # fmt: skip


def test_the_best_has_most_pixels_then_depth_then_no_loss() -> None:
    worse_to_better = [
        PLAIN,
        replace(PLAIN, path="a.jpg"),
        replace(PLAIN, size_bytes=200),
        replace(PLAIN, format="PNG"),
        replace(PLAIN, mode="I;16"),
        replace(PLAIN, width_px=101),
    ]
    items = {number: replace(item, id=number) for number, item in enumerate(worse_to_better)}
    facts = Facts(items)
    for number in range(1, len(items)):
        assert facts.best(range(number + 1)) == number


def test_groups_follow_from_matches_and_facts_alone() -> None:
    sizes = {1: 100, 2: 100, 3: 200, 4: 50, 5: 100}  # side by item
    items = {
        one: replace(PLAIN, id=one, path=f"{one}.jpg", width_px=side, height_px=side)
        for one, side in sizes.items()
    }
    half = StructuralSimilarity(0.9, 1.0, 0.0, 0.0, 0.0)
    hue = StructuralSimilarity(0.8, 1.0, 40.0, 2.0, 0.0)
    matches = [
        Match(1, 2, "exact"),
        Match(1, 3, "near", half, 6),
        Match(3, 4, "cropped", half, None, (10, 20, 50, 50)),
        Match(3, 5, "recoloured", hue),
    ]

    def groups(facts: Facts) -> list[DuplicateGroup]:
        families = Families(matches, facts)
        drafts = draft_groups(matches, families, facts)
        return describe_groups(drafts, matches, families, facts)

    exact, near, cropped, recoloured = groups(Facts(items))
    assert [group.kind for group in (exact, near, cropped, recoloured)] == [
        "exact", "near", "cropped", "recoloured",
    ]  # fmt: skip
    assert (near.keep, near.confidence) == ("3.jpg", 0.9)
    assert [item.path for item in near.items] == ["3.jpg", "1.jpg", "2.jpg"]
    assert [item.change for item in near.items[1:]] == ["mirrored, turned 180°, scaled by 0.50"] * 2
    assert [item.decision for item in exact.items] == ["redundant"] * 2  # the larger one remains
    assert {item.keep_path for item in exact.items} == {"3.jpg"}
    assert cropped.items[-1].box == (10, 20, 50, 50)
    assert cropped.items[-1].change == "6% of the area"
    assert [item.path for item in recoloured.items] == ["3.jpg", "5.jpg"]
    divided = groups(Facts(items, contents={3: 3}))  # its alpha differs from that of the others
    assert [group.kind for group in divided] == ["exact", "cropped", "recoloured"]
