"""Which copy is kept: members of sets, originals before regrades; what a person decides."""

from __future__ import annotations

import csv
import io
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image, ImageEnhance

from test_duplicate_files import group_of, indexed, picture, save, told
from vaeneer.data.synthetic.synthesize import surface
from vaeneer.library.duplicates.duplicates import duplicates
from vaeneer.library.duplicates.report import Mark, csv_text, decided, redundant_in, valid_marks


def write_sidecar(image: Path) -> None:
    image.with_suffix(".json").write_text('{"name": "Old wall", "tags": ["brick"]}')


def test_a_loose_copy_never_displaces_a_member_of_a_set(tmp_path: Path) -> None:
    raw = tmp_path / "raw"
    jpeg = save(picture(60), raw / "z set/wall_albedo.jpg", quality=92)
    save(picture(61), raw / "z set/wall_normal.png")
    save(Image.open(jpeg), raw / "a/lossless.png")
    save(picture(60).resize((256, 256)), raw / "a/larger.png")
    deep = np.asarray(picture(60)).astype(np.uint16) * 257
    assert cv2.imwrite(str(raw / "a/deep.png"), deep[..., ::-1])
    save(picture(60).resize((96, 96)), raw / "z set/wall_albedo (1).png")
    write_sidecar(save(picture(62), raw / "y/described.jpg"))
    save(picture(62), raw / "a/described.png")
    report = duplicates(indexed(raw))
    wall = group_of(report, "wall_albedo.jpg")
    assert wall is not None
    assert wall.keep == "z set/wall_albedo.jpg"
    assert (wall.items[0].maps, wall.items[0].sidecar) == (["normal"], False)
    assert {item.path: item.redundant for item in wall.items[1:]} == {
        "a/deep.png": False,  # each holds something that the member does not
        "a/larger.png": False,
        "a/lossless.png": True,
        "z set/wall_albedo (1).png": True,
    }
    described = group_of(report, "described.jpg")
    assert described is not None
    assert described.keep == "y/described.jpg"
    assert described.items[0].sidecar


def test_new_maps_beside_a_copy_make_it_the_one_to_keep(tmp_path: Path) -> None:
    raw = tmp_path / "raw"
    save(picture(63), raw / "a/wall_albedo.png")
    shutil.copytree(raw / "a", raw / "b")
    library = indexed(raw)
    assert list(told(duplicates(library))) == ["a/wall_albedo.png"]
    save(picture(64), raw / "b/wall_normal.png")
    indexed(raw)
    assert list(told(duplicates(library))) == ["b/wall_albedo.png"]


def test_a_link_in_a_set_protects_the_file_that_it_leads_to(tmp_path: Path) -> None:
    raw = tmp_path / "raw"
    target = save(picture(65), raw / "pool/x.png")
    save(picture(66), raw / "set/wall_normal.png")
    (raw / "set/wall_albedo.png").symlink_to("../pool/x.png")
    save(picture(65).resize((256, 256)), raw / "a/larger.png")
    assert target.is_file()
    group = group_of(duplicates(indexed(raw)), "x.png")
    assert group is not None
    assert group.keep == "pool/x.png"
    assert not any(item.redundant for item in group.items)


def test_of_equal_files_a_name_that_can_be_printed_is_kept(tmp_path: Path) -> None:
    raw = tmp_path / "raw"
    first = save(picture(67), raw / "line\nend.png")
    shutil.copyfile(first, raw / "plain.png")
    assert told(duplicates(indexed(raw))) == {"plain.png": {"line\nend.png": "exact"}}


@pytest.fixture(scope="module")
def nested(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two equal small files and a larger one, and the library."""
    raw = tmp_path_factory.mktemp("nested") / "raw"
    save(picture(70), raw / "a.png")
    shutil.copyfile(raw / "a.png", raw / "=b.png")
    save(picture(70).resize((256, 256)), raw / "large.png")
    indexed(raw)
    return raw


def test_a_file_has_one_decision_in_all_of_its_groups(nested: Path) -> None:
    groups = duplicates(nested.parent / "library").groups
    assert [group.kind for group in groups] == ["exact", "near"]
    rows = list(csv.reader(io.StringIO(csv_text(groups))))
    small = [["./=b.png", "redundant", "large.png"], ["a.png", "redundant", "large.png"]]
    shown = [[path, decision, keep] for path, _, _, decision, keep, _ in rows[1:]]
    assert sorted(shown) == sorted([*small, *small, ["large.png", "keep", "large.png"]])


def test_a_person_may_keep_another_file(nested: Path) -> None:
    groups = duplicates(nested.parent / "library").groups
    marks = {
        "a.png": Mark("keep", "a.png"),
        "large.png": Mark("redundant", "a.png"),
        "other.png": Mark("redundant", "a.png"),
    }
    assert set(valid_marks(groups, marks)) == {"a.png", "large.png"}
    changed = decided(groups, marks)
    assert [group.keep for group in changed][-1] == "a.png"
    assert set(redundant_in(changed)) == {"=b.png", "large.png"}
    assert {item.keep_path for group in changed for item in group.items} == {"a.png"}
    ring = {"a.png": Mark("redundant", "large.png"), "large.png": Mark("redundant", "a.png")}
    assert set(redundant_in(decided(groups, ring))) <= {"=b.png"}  # one of a ring has to stay
    assert decided(groups, {}) == groups


def photo(seed: int) -> Image.Image:
    return Image.fromarray(surface("rock", seed=seed, side_px=320))


def brighter(image: Image.Image) -> Image.Image:
    return ImageEnhance.Brightness(image).enhance(1.25)


@pytest.fixture(scope="module")
def graded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Originals and what was regraded of them, in containers that are as good or better."""
    raw = tmp_path_factory.mktemp("graded") / "raw"
    first = save(photo(80), raw / "z original.jpg", quality=50)
    shutil.copyfile(first, raw / "z original (1).jpg")
    with Image.open(first) as image:
        save(brighter(image), raw / "a brighter.png")
        deep = np.asarray(ImageEnhance.Brightness(image).enhance(0.75)).astype(np.uint16) * 257
        assert cv2.imwrite(str(raw / "a deep.png"), deep[..., ::-1])
    second = save(photo(81), raw / "vivid/z.jpg", quality=60)
    with Image.open(second) as image:
        # Small steps hide the gaps: the blocks of JPEG stay.
        save(ImageEnhance.Color(image).enhance(3), raw / "vivid/a.png")
    save(photo(82), raw / "pure/z.png")
    save(brighter(photo(82)), raw / "pure/a.jpg", quality=60, subsampling=0)
    save(photo(83), raw / "open/wall.jpg", quality=60)
    save(brighter(photo(83)), raw / "open/wall_graded.jpg", quality=95)
    save(brighter(photo(83)).resize((200, 200)), raw / "open/small.png")
    member = save(photo(84), raw / "set/rock_albedo.jpg", quality=50)
    save(photo(85), raw / "set/rock_normal.png")
    save(brighter(Image.open(member)), raw / "loose/rock.png")
    save(photo(86), raw / "first/loose.png")
    save(brighter(photo(86)), raw / "graded set/sand_albedo.png")
    save(photo(87), raw / "graded set/sand_normal.png")
    indexed(raw)
    return raw


def test_a_regraded_copy_never_wins_by_its_container(graded: Path) -> None:
    groups = told(duplicates(graded.parent / "library"))
    gaps = "regraded: its histogram has gaps"
    assert groups["z original.jpg"] == {
        "z original (1).jpg": "exact",
        "a brighter.png": f"near brighter by 1.25; {gaps}",
        "a deep.png": f"near 16 bits instead of 8, darker by 0.75; {gaps}",
    }
    (vivid,) = groups["vivid/z.jpg"].values()
    assert vivid.endswith("regraded: it was made of a JPEG")
    (pure,) = groups["pure/z.png"].values()
    assert "regraded" in pure


def test_what_came_first_is_left_open_where_no_file_shows_it(graded: Path) -> None:
    group = group_of(duplicates(graded.parent / "library"), "wall.jpg")
    assert group is not None
    assert group.keep == "open/wall.jpg"  # though the other one has more bytes
    opened = "graded differently, and which came first is not known"
    assert {item.path: (item.redundant, opened in item.change) for item in group.items[1:]} == {
        "open/wall_graded.jpg": (False, True),
        "open/small.png": (False, True),
    }


def test_the_member_of_a_set_is_kept_in_whatever_colours(graded: Path) -> None:
    report = duplicates(graded.parent / "library")
    regrade = group_of(report, "rock.png")
    assert regrade is not None
    assert regrade.keep == "set/rock_albedo.jpg"
    assert regrade.items[1].redundant  # no loss of the container protects it
    original = group_of(report, "loose.png")
    assert original is not None
    assert original.keep == "graded set/sand_albedo.png"
    assert not original.items[1].redundant
    assert "the file to keep was regraded" in original.items[1].change
