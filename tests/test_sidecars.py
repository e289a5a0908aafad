"""Side-car JSON is read in any of its habits, or reported with the reason; it is never fatal."""

import json
import unicodedata
from pathlib import Path, PurePosixPath
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vaeneer.data.sidecar_matching import Sidecars, read_sidecars
from vaeneer.data.sidecars import Sidecar, read_sidecar
from vaeneer.text import clean_text

MEGASCANS = {
    "id": "vlklbci",
    "name": "Brick Wäll",
    "categories": ["surface", "brick", "rough"],
    "tags": ["red", "old"],
}
RED_BRICK = {"name": "Brick", "categories": ["surface", "brick"], "tags": ["red"]}


def entries(folder: Path, data: bytes) -> tuple[Sidecar, ...]:
    (folder / "a.json").write_bytes(data)
    return read_sidecar(folder, PurePosixPath("a.json"))


def entry(folder: Path, value: Any) -> Sidecar:
    (only,) = entries(folder, json.dumps(value).encode())
    return only


def matched(folder: Path, files: dict[str, Any], images: dict[str, str]) -> Sidecars:
    """Side-cars of a folder: files by path, and the asset of each image."""
    for name, value in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        text = value if isinstance(value, str) else json.dumps(value)
        path.write_text(text, encoding="utf-8")
    return read_sidecars(folder, [PurePosixPath(name) for name in sorted(files)], images)


# What a file says


def test_megascans_fields(tmp_path: Path) -> None:
    sidecar = entry(tmp_path, MEGASCANS)
    assert (sidecar.asset_id, sidecar.name) == ("vlklbci", "Brick Wäll")
    assert sidecar.categories == ("surface", "brick", "rough")
    assert sidecar.tags == ("red", "old")
    assert sidecar.category == "brick"


@pytest.mark.parametrize(
    "encoding", ["utf-8", "utf-8-sig", "latin-1", "utf-16", "utf-16-le", "utf-16-be", "utf-32"]
)
def test_encodings(tmp_path: Path, encoding: str) -> None:
    text = json.dumps(MEGASCANS, ensure_ascii=False)
    assert entries(tmp_path, text.encode(encoding))[0].name == "Brick Wäll"


def test_text_of_windows(tmp_path: Path) -> None:
    assert entries(tmp_path, '{"name": "5 € – brick"}'.encode("cp1252"))[0].name == "5 € – brick"


def test_the_newer_schema_with_semantic_tags(tmp_path: Path) -> None:
    value = {
        "id": "x1",
        "semanticTags": {"name": "Moss", "asset_type": "surface", "contains": ["moss"],
                         "state": ["wet"], "interdependent": True},
        "assetCategories": {"surface": {"ground": {"moss": {}}}},
    }  # fmt: skip
    sidecar = entry(tmp_path, value)
    assert (sidecar.name, sidecar.category) == ("Moss", "ground")
    assert sidecar.tags == ("moss", "wet")


@pytest.mark.parametrize(
    "value",
    [
        {"type": 1, "name": "Brick", "categories": ["brick"], "tags": ["red"], "authors": {"A": 1}},
        {"ID": 17, "Name": "Brick", "Category": "surface/brick", "Tags": "red, red"},
        {"assetId": "B1", "displayName": "Brick", "displayCategory": "brick", "tags": ["red"]},
        {"title": "Brick", "category": {"id": 3, "name": "brick"}, "tags": [{"name": "red"}]},
        {"XMP:Title": "Brick", "category": ["brick"], "IPTC:Keywords": "red"},
        {"name": "Brick", "categories": [{"name": "brick", "id": 1}], "tags": {"red": 0.9}},
        {"asset": {"name": "Brick", "categories": ["brick"], "tags": ["red"]}},
        {"id": "b", "name": "Brick", "data": {"category": "brick", "tags": "#red"}},
        {"success": True, "metadata": {"material": {"name": "Brick", "category": "brick",
                                                    "keywords": ["red"]}}},
        {"foundAssets": [{"assetId": "B1", "name": "Brick", "category": "brick", "tags": ["red"]}]},
        {"brick_01": {"name": "Brick", "categories": ["brick"], "tags": ["red"]}},
        [RED_BRICK],
        [[RED_BRICK]],
    ],
)  # fmt: skip
def test_habits_of_libraries(tmp_path: Path, value: Any) -> None:
    sidecar = entry(tmp_path, value)
    assert (sidecar.name, sidecar.category, sidecar.tags) == ("Brick", "brick", ("red",))
    assert sidecar.warning is None


@pytest.mark.parametrize(
    ("value", "asset_id"), [(17, "17"), (17.0, "17"), ("x", "x"), (True, None)]
)
def test_ids_may_be_numbers(tmp_path: Path, value: Any, asset_id: str | None) -> None:
    assert entry(tmp_path, RED_BRICK | {"id": value}).asset_id == asset_id


def test_takeout(tmp_path: Path) -> None:
    value = {
        "title": "IMG_1.jpg",
        "description": "Brick wall in Rome\nseen in May",
        "imageViews": "3",
        "photoTakenTime": {"timestamp": "1689430953"},
        "geoData": {"latitude": 0.0, "longitude": 0.0},
    }
    sidecar = entry(tmp_path, value)
    assert (sidecar.name, sidecar.file) == ("Brick wall in Rome", "IMG_1.jpg")
    assert entry(tmp_path, value | {"description": ""}).name == "IMG_1.jpg"


def test_texts_are_clean_and_short(tmp_path: Path) -> None:
    value = {
        "id": "a\ud800\x00b",
        "name": unicodedata.normalize("NFD", " Käse\x1b[31m "),
        "categories": ["brick\ud8ff", 3, None, ["wall"], float("nan"), "", "brick\ud8ff"],
        "tags": ["red\n", {"a": None}, True, "x" * 2**20, "\ud800"],
    }
    sidecar = entry(tmp_path, value)
    assert sidecar.asset_id == "a\ufffd b"
    assert sidecar.name == "Käse [31m"
    assert sidecar.categories == ("brick\ufffd", "3", "wall")
    assert sidecar.tags == ("red", "x" * 200, "\ufffd")


@pytest.mark.parametrize(
    "text",
    [
        '{"name": "Brick", "size": ' + "9" * 10_000 + "}",
        '{"name": "Brick", "size": [NaN, -Infinity, 1e999], "id": 1e999}',
        '{"name": "Stone", "name": "Brick"}',
        '{"name": "Brick", "size": ' + "[" * 200 + "]" * 200 + "}",
        '{"name": "Brick", "tags": ' + "[" * 200 + "]" * 200 + "}",
        '{"name": "Brick", "tags": ' + '{"a":' * 200 + "1" + "}" * 200 + "}",
    ],
)
def test_odd_values_do_not_cost_the_others(tmp_path: Path, text: str) -> None:
    assert entries(tmp_path, text.encode())[0].name == "Brick"


@pytest.mark.parametrize(
    "data", [b"", b"{", b"\xff\xfe{", b"[" * 100_000, b"\x80\x81", b'{"a":1}x']
)
def test_broken_json_is_a_warning(tmp_path: Path, data: bytes) -> None:
    (sidecar,) = entries(tmp_path, data)
    assert (sidecar.warning or "").startswith("broken JSON: ")


def test_what_cannot_be_read_is_a_warning(tmp_path: Path) -> None:
    for name in ("missing.json", "."):
        (sidecar,) = read_sidecar(tmp_path, PurePosixPath(name))
        assert (sidecar.warning or "").startswith("cannot be read: ")


@pytest.mark.parametrize(
    "value",
    [
        [], {}, 3, None, "brick", [1.5] * 1000, {"id": 3, "tags": []},
        {"asset": {"version": "2.0"}, "scenes": [], "nodes": [{"name": "x"}]},
        {"name": "app", "version": "1.0.0", "keywords": ["x"], "dependencies": {}},
        {"metadata": {"type": "Object", "generator": "x"}, "geometries": [{"name": "y"}]},
        {"library": "wood", "vectors": 3, "categories": {"oak": 2}, "tags": {"red": 1}},
    ],
)  # fmt: skip
def test_other_json_is_no_side_car(tmp_path: Path, value: Any) -> None:
    sidecar = entry(tmp_path, value)
    assert (sidecar.warning or "").startswith("not a side-car: ")
    assert (sidecar.name, sidecar.tags) == (None, ())


TEXTS = st.text(st.characters(), max_size=8) | st.sampled_from(
    [
        "id",
        "name",
        "tags",
        "category",
        "categories",
        "assets",
        "data",
        "file",
        "a",
        "a.jpg",
        "\ud800",
    ]
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXTS,
    lambda below: st.lists(below, max_size=4) | st.dictionaries(TEXTS, below, max_size=4),
)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(value=VALUES)
def test_any_json_gives_clean_texts_or_a_reason(tmp_path: Path, value: Any) -> None:
    (tmp_path / "a.json").write_text(json.dumps(value), encoding="utf-8")
    found = read_sidecars(tmp_path, [PurePosixPath("a.json")], {"a.jpg": "a", "b.jpg": "b"})
    (sidecar, *_) = read_sidecar(tmp_path, PurePosixPath("a.json"))
    assert (sidecar.warning is None) == bool(sidecar.name or sidecar.tags or sidecar.categories)
    for one in (sidecar, *found.of_asset.values()):
        for text in (one.asset_id, one.name, *one.tags, *one.categories):
            if text is not None:
                assert text == clean_text(text)
                assert 0 < len(text) <= 200
                assert text.encode()
    assert bool(found.unread) == bool(found.warnings)
    assert found.unread or any(one.warning is None for one in found.of_asset.values())


# Which asset it belongs to


@pytest.mark.parametrize(
    "name",
    [
        "a.json", "a.jpg.json", "A.JPG.JSON", "a_2k.json", "a_info.json", "a.metadata.json",
        "a.jpg.supplemental-metadata.json", "a.jpg.supplemental-met.json", "a.jpg.s.json",
    ],
)  # fmt: skip
def test_matched_by_the_name_of_the_file(tmp_path: Path, name: str) -> None:
    found = matched(tmp_path, {f"x/{name}": RED_BRICK}, {"x/a.jpg": "x/a", "x/b.jpg": "x/b"})
    assert list(found.of_asset) == ["x/a"]
    assert found.of_asset["x/a"].path == PurePosixPath("x", name)
    assert found.unread == ()


@pytest.mark.parametrize("name", ["a.jpg(1).json", "a.jpg.supplemental-metadata(1).json"])
def test_takeout_numbers_its_copies_elsewhere(tmp_path: Path, name: str) -> None:
    images = {"a.jpg": "a", "a(1).jpg": "a(1)"}
    assert list(matched(tmp_path, {name: RED_BRICK}, images).of_asset) == ["a(1)"]


def test_takeout_cuts_long_names(tmp_path: Path) -> None:
    name = "a_wall_of_red_bricks_in_the_old_town_of_rome_at_noon"
    images = {f"{name}.jpg": name, "b.jpg": "b"}
    assert list(matched(tmp_path, {f"{name[:46]}.json": RED_BRICK}, images).of_asset) == [name]


def test_a_map_word_in_the_name_of_the_side_car_is_no_obstacle(tmp_path: Path) -> None:
    images = {"w/brick_diff_2k.jpg": "w/brick", "w/brick_nor_2k.jpg": "w/brick", "w/c.jpg": "w/c"}
    files = {"w/brick_diff_2k.jpg.json": RED_BRICK, "w/brick_nor_2k.jpg.json": {"tags": ["blue"]}}
    found = matched(tmp_path, files, images)
    assert found.of_asset["w/brick"].tags == ("red",)
    assert found.unread == ()


@pytest.mark.parametrize(("disk", "json_name"), [("NFC", "NFD"), ("NFD", "NFC")])
def test_names_in_nfd_and_nfc_are_one(tmp_path: Path, disk: Any, json_name: Any) -> None:
    image = unicodedata.normalize(disk, "Öl/tex/Käse_albedo.jpg")
    asset = unicodedata.normalize(json_name, "Öl/tex/Käse")
    for name in ("tex/Käse.json", "tex/Käse_albedo.jpg.json", "Käse.json", "info.json", "1.json"):
        name = unicodedata.normalize(json_name, f"Öl/{name}")
        value = RED_BRICK | ({"id": "Käse"} if "1" in name else {})
        found = matched(tmp_path, {name: value}, {image: asset, "lib/b.jpg": "lib/b"})
        assert found.of_asset[asset].tags == ("red",)


def test_matched_by_id_or_alone_in_the_folder(tmp_path: Path) -> None:
    files = {
        "meta/1.json": MEGASCANS | {"id": "VLKLBCI"},
        "meta/2.json": MEGASCANS | {"id": "zzzzzz"},
        "moss/info.json": RED_BRICK,
        "many/info.json": RED_BRICK,
        "ph/data.json": RED_BRICK,
    }
    images = {
        "lib/Old_Brick_vlklbci_2K.jpg": "lib/Old_Brick_vlklbci",
        "moss/moss_wet.jpg": "moss/moss_wet",
        "many/one.jpg": "many/one",
        "many/two.jpg": "many/two",
        "ph/textures/wood_diff.jpg": "ph/textures/wood",
    }
    found = matched(tmp_path, files, images)
    assert {asset: str(one.path) for asset, one in found.of_asset.items()} == {
        "lib/Old_Brick_vlklbci": "meta/1.json",
        "moss/moss_wet": "moss/info.json",
        "ph/textures/wood": "ph/data.json",
    }
    assert [path for path, _ in found.unread] == ["many/info.json", "meta/2.json"]
    assert found.counts() == {"side-car of no image": 2}


def test_a_number_as_id_means_nothing_in_another_library(tmp_path: Path) -> None:
    files = {"one/x.json": RED_BRICK | {"id": 12}, "two/12.json": RED_BRICK | {"id": 13}}
    images = {"two/12.jpg": "two/12", "two/13.jpg": "two/13", "one/c.jpg": "one/c", "one/d": "d"}
    found = matched(tmp_path, files, images)
    assert found.of_asset["two/12"].path == PurePosixPath("two/12.json")
    assert matched(tmp_path, {"one/x.json": RED_BRICK | {"id": 12}}, images).of_asset == {}


def test_equal_names_in_other_folders_are_other_surfaces(tmp_path: Path) -> None:
    files = {
        "wood/01.json": RED_BRICK,
        "wood/all.json": [{"file": "01.jpg", "tags": ["x"]}, {"name": "01", "tags": ["y"]}],
        "meta/02.json": RED_BRICK,
    }
    images = {"stone/01.jpg": "stone/01", "stone/02.jpg": "stone/02", "wood/a.jpg": "wood/a",
              "wood/b.jpg": "wood/b"}  # fmt: skip
    found = matched(tmp_path, files, images)
    assert list(found.of_asset) == ["stone/02"]
    assert found.counts() == {"side-car of no image": 2}


def test_names_that_differ_in_case_alone_get_their_own_first(tmp_path: Path) -> None:
    files = {"Brick.json": {"tags": ["large"]}, "brick.json": {"tags": ["small"]}}
    found = matched(tmp_path, files, {"Brick.jpg": "Brick", "brick.jpg": "brick"})
    assert {asset: one.tags for asset, one in found.of_asset.items()} == {
        "Brick": ("large",),
        "brick": ("small",),
    }


@pytest.mark.parametrize(
    "value",
    [
        [RED_BRICK | {"id": "a"}, {"id": "b", "tags": ["blue"]}],
        [RED_BRICK | {"file": "a.jpg"}, {"file": "x\\b.jpg", "tags": ["blue"]}],
        [{"SourceFile": "./x/a.jpg", "Subject": ["red"], "Category": "brick"},
         {"SourceFile": "./x/b.jpg", "Subject": "blue"}],
        {"a": {"categories": ["brick"], "tags": ["red"]}, "b": {"tags": ["blue"]}},
        {"assets": [{"name": "A", "tags": ["red"], "category": "brick"},
                    {"name": "B", "tags": ["blue"]}]},
        {"assets": {"a": RED_BRICK, "b": {"tags": ["blue"]}}},
    ],
)  # fmt: skip
def test_several_entries_go_to_the_assets_that_they_name(tmp_path: Path, value: Any) -> None:
    images = {"x/a.jpg": "x/a", "x/b.jpg": "x/b", "x/c.jpg": "x/c"}
    found = matched(tmp_path, {"x/all.json": value}, images)
    assert {asset: one.tags for asset, one in found.of_asset.items()} == {
        "x/a": ("red",),
        "x/b": ("blue",),
    }
    assert found.of_asset["x/a"].category == "brick"
    assert found.unread == ()


def test_several_side_cars_of_one_asset_fill_each_other(tmp_path: Path) -> None:
    files = {"a.json": {"name": "Brick", "tags": ["red"]}, "a_info.json": {"category": "brick"}}
    found = matched(tmp_path, files, {"a.jpg": "a", "b.jpg": "b"})
    assert found.of_asset["a"].category == "brick"
    assert found.of_asset["a"].path == PurePosixPath("a.json")


# What is reported


def test_nothing_is_left_out_in_silence(tmp_path: Path) -> None:
    files = {
        "a.jpg.json": {"size": 3},
        "b.json": "{",
        "package.json": {"name": "app", "tags": ["x"]},
        "other.json": RED_BRICK,
        "both.json": [RED_BRICK, MEGASCANS],
    }
    found = matched(tmp_path, files, {"a.jpg": "a", "b.jpg": "b"})
    assert dict(found.unread) == {
        "a.jpg.json": "side-car not understood: it has no name, category or tag",
        "b.json": "broken JSON: Expecting property name enclosed in double quotes:"
        " line 1 column 2 (char 1)",
        "both.json": "side-car of no image: none of its 2 entries has an image's name or id",
        "other.json": "side-car of no image: no image has its name or id",
        "package.json": "not a side-car: it belongs to other software",
    }
    assert set(found.of_asset) == {"a", "b"}  # linked by their paths
    assert all(any(path in line for line in found.warnings) for path in files)


def test_many_files_of_a_kind_are_one_line(tmp_path: Path) -> None:
    files = {f"scene_{number}.json": {"frames": [number]} for number in range(50)}
    found = matched(tmp_path, files, {"a.jpg": "a", "b.jpg": "b"})
    (line,) = found.warnings
    assert line.startswith("50 JSON files: not a side-car; first: scene_0.json")
    assert found.counts() == {"not a side-car": 50}
    assert len(found.unread) == 50
