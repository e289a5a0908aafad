"""Categories by folders: the deepest folder that tells materials apart."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path, PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vaeneer.data.categories import AssetPlace, folder_categories
from vaeneer.data.dataset import ManifestRow
from vaeneer.data.filenames import group_names
from vaeneer.data.sidecars import Sidecar
from vaeneer.data.split import describe
from vaeneer.library.index.index import index
from vaeneer.library.library import Library

Painter = Callable[[Path, int], Path]


def categories(*paths: str, sidecars: dict[str, Sidecar] | None = None) -> dict[str, str | None]:
    """Path of each color map -> category, in a folder that holds these files."""
    names = group_names(PurePosixPath(path) for path in paths)
    rows = [
        ManifestRow(
            path=str(path), asset=name.asset, kind=name.kind, status="kept", size_bytes=1,
            mtime_ns=1,
        )
        for path, name in names.items()
    ]  # fmt: skip
    described = describe(rows, sidecars or {})
    return {row.path: row.category for row in described if row.kind == "color"}


def sets(folder: str, *numbers: int) -> list[str]:
    """A folder for each asset, with two maps."""
    last = folder.rpartition("/")[2]
    names = [f"{last}_{number:03}" for number in numbers]
    return [f"{folder}/{n}/{n}_{kind}.jpg" for n in names for kind in ("Albedo", "Normal")]


@pytest.mark.parametrize(
    "path",
    [
        "My photos/2019/brick/x.jpg",
        "brick/2K/x.jpg",
        "brick/maps/x.jpg",
        "brick/textures/JPG/x.jpg",
        "scans/brick/final/4096x4096/x.jpg",
        "Export_v02/brick/Albedo 16bit/x.jpg",
        "brick/red/x.jpg",
        "brick/03/x.jpg",
    ],
)
def test_the_deepest_folder_that_names_a_material(path: str) -> None:
    assert categories(path, "wood/oak.jpg", "loose.jpg") == {
        path: "brick",
        "wood/oak.jpg": "wood",
        "loose.jpg": None,
    }
    assert categories(path) == {path: "brick"}


def test_a_folder_for_each_asset_is_no_category() -> None:
    found = categories(*sets("brick", 0, 1, 2), *sets("Scans/wood", 0, 1))
    assert sorted(found.values(), key=str) == ["brick", "brick", "brick", "wood", "wood"]
    assert set(categories(*sets("brick", 0)).values()) == {"brick"}


def test_an_asset_folder_with_a_second_picture_is_none_either() -> None:
    found = categories(*sets("brick", 0, 1, 2), "brick/brick_002/detail.jpg", *sets("wood", 0, 1))
    assert set(found.values()) == {"brick", "wood"}


def test_named_folders_of_one_asset_each_belong_to_the_folder_above() -> None:
    paths = [f"wood/{name}/{name}_{k}.png" for name in ("oak", "ash") for k in ("diff", "nor")]
    others = [
        "stone/a.jpg",
        "stone/b.jpg",
        "wood/elm/elm.png",
        "wood/odds/c.png",
        "wood/odds/d.png",
    ]
    found = categories(*paths, *others)
    assert {path: name for path, name in found.items() if name != "wood"} == {
        "stone/a.jpg": "stone",
        "stone/b.jpg": "stone",
        "wood/odds/c.png": "odds",
        "wood/odds/d.png": "odds",
    }


def test_a_category_may_have_one_asset_where_those_beside_it_have_more() -> None:
    found = categories("cork/cork.jpg", "wood/a.jpg", "wood/b.jpg", "tile/c.jpg", "tile/d.jpg")
    assert found["cork/cork.jpg"] == "cork"


def test_a_name_in_several_places_is_a_category() -> None:
    steel = ["a/textures/steel/color.jpg", "a/textures/steel/normal.jpg"]
    wood = ["a/textures/wood/color.jpg", "b/textures/wood/x.jpg", "b/textures/rug/y.jpg"]
    found = categories(*steel, *wood)
    assert found[steel[0]] == "steel"
    assert found[wood[0]] == found[wood[1]] == "wood"


def test_numbered_folders_without_a_folder_above_share_their_word() -> None:
    names = ["Bricks001_2K-JPG", "Bricks002_2K-JPG", "Wood010_2K-JPG"]
    paths = [f"{name}/{name}_{kind}.jpg" for name in names for kind in ("Color", "NormalGL")]
    assert list(categories(*paths).values()) == ["Bricks", "Bricks", None]
    assert set(categories("Wood 1/a.jpg", "Wood 1/b.jpg", "Wood 2/c.jpg").values()) == {"Wood"}


def test_photos_in_a_folder_each_have_its_name() -> None:
    for above in ("", "Lisbon/"):
        found = categories(f"{above}brick/x.jpg", f"{above}wood/y.jpg")
        assert set(found.values()) == {"brick", "wood"}


def test_looks_are_a_category_where_there_is_no_other() -> None:
    assert set(categories("red/a.jpg", "blue/b.jpg").values()) == {"red", "blue"}
    assert categories("marble/white/a.jpg", "wood/b.jpg")["marble/white/a.jpg"] == "marble"


def test_spellings_are_one_category_and_side_cars_win() -> None:
    paths = ["Brick/a.jpg", "old/brick/b.jpg", "old/brick/c.jpg", "wood/d.jpg"]
    assert [*categories(*paths).values()] == ["brick", "brick", "brick", "wood"]
    said = Sidecar(PurePosixPath("d.json"), categories=("surface", "BRICK", "rough"))
    found = categories(*paths, sidecars={"wood/d": said})
    assert [*found.values()] == ["BRICK"] * 4


FOLDERS = st.lists(
    st.sampled_from(["brick", "Brick 1", "Brick 2", "2K", "red", "wood", "maps", "木", "\ud800"]),
    max_size=4,
).map("/".join)


@given(st.dictionaries(st.text("ab", min_size=1), st.tuples(FOLDERS, st.booleans()), max_size=8))
def test_the_order_of_files_changes_nothing(assets: dict[str, tuple[str, bool]]) -> None:
    placed = {name: AssetPlace(folder, name, maps) for name, (folder, maps) in assets.items()}
    found = folder_categories(placed)
    assert folder_categories(dict(reversed(placed.items()))) == found
    for name, category in found.items():
        assert category is None or category.casefold() in placed[name].folder.casefold()


def test_the_next_index_updates_a_library_of_before(tmp_path: Path, paint: Painter) -> None:
    for number in range(4):
        kind = "brick" if number % 2 else "wood"
        paint(tmp_path / "raw" / "My photos" / "2019" / kind / f"{number}.png", number)
    index(tmp_path / "raw", library=tmp_path / "library")
    with Library.open(tmp_path / "library") as library:
        library.catalog.execute("UPDATE assets SET category = 'My photos'")
        library.catalog.execute("DELETE FROM metadata")
        library.catalog.execute("DELETE FROM words")
        before = library.catalog.generation
    times = {file: file.stat().st_mtime_ns for file in (tmp_path / "library").glob("*.faiss")}
    report = index(tmp_path / "raw", library=tmp_path / "library")
    assert (report.unchanged, report.added) == (4, 0)
    assert times == {file: file.stat().st_mtime_ns for file in times}
    with Library.open(tmp_path / "library") as library:
        assert library.catalog.generation == before + 1  # maps and pages show categories
        items = library.items()
        assert [item.category for item in items] == ["brick", "brick", "wood", "wood"]
        assert items[0].tags == ("2019", "My photos", "brick")
