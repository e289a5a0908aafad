"""File names say asset and map by the habits of the libraries, and no more than they say."""

import tomllib
from pathlib import Path as File
from pathlib import PurePosixPath as Path
from typing import Any
from unicodedata import normalize

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vaeneer.data.filenames import group_names, name_parts
from vaeneer.data.map_names import Strength, map_words


@pytest.mark.parametrize(
    ("name", "asset", "kind"),
    [
        # Quixel Megascans
        ("abcd123_4K_Albedo.jpg", "abcd123", "color"),
        ("abcd123_2K_Normal.jpg", "abcd123", "normal"),
        ("abcd123_4K_Normal_LOD0.jpg", "abcd123", "normal"),
        ("abcd123_4K_Displacement.exr", "abcd123", "displacement"),
        ("abcd123_4K_Roughness.jpg", "abcd123", "roughness"),
        ("abcd123_4K_AO.jpg", "abcd123", "ao"),
        ("abcd123_4K_Cavity.jpg", "abcd123", "cavity"),
        ("abcd123_4K_Specular.jpg", "abcd123", "specular"),
        ("abcd123_4K_Gloss.jpg", "abcd123", "gloss"),
        ("abcd123_4K_Bump.jpg", "abcd123", "bump"),
        ("abcd123_4K_Opacity.jpg", "abcd123", "opacity"),
        ("abcd123_4K_Translucency.jpg", "abcd123", "translucency"),
        ("abcd123_4K_Metalness.jpg", "abcd123", "metalness"),
        ("abcd123_4K_Fuzz.jpg", "abcd123", "fuzz"),
        ("Brick_Wall_abcd123_Preview.png", "Brick_Wall_abcd123", "preview"),
        ("abcd123_preview.png", "abcd123", "preview"),
        # Poly Haven
        ("brick_wall_001_diff_2k.jpg", "brick_wall_001", "color"),
        ("brick_wall_001_diffuse_4k.png", "brick_wall_001", "color"),
        ("brick_wall_001_diff_png.png", "brick_wall_001", "color"),
        ("brick_wall_001_nor_gl_2k.png", "brick_wall_001", "normal"),
        ("brick_wall_001_nor_dx_2k.png", "brick_wall_001", "normal"),
        ("brick_wall_001_rough_2k.jpg", "brick_wall_001", "roughness"),
        ("brick_wall_001_disp_2k.png", "brick_wall_001", "displacement"),
        ("brick_wall_001_ao_2k.jpg", "brick_wall_001", "ao"),
        ("brick_wall_001_arm_2k.jpg", "brick_wall_001", "packed"),
        ("brick_wall_001_spec_2k.jpg", "brick_wall_001", "specular"),
        ("brick_wall_001_bump_2k.jpg", "brick_wall_001", "bump"),
        ("brick_wall_001_mask_2k.jpg", "brick_wall_001", "mask"),
        ("leather_col_01_2k.jpg", "leather", "color"),
        # ambientCG
        ("Bricks001_2K_Color.jpg", "Bricks001", "color"),
        ("Bricks001_2K-JPG_Color.jpg", "Bricks001", "color"),
        ("Bricks001_1K-PNG_NormalGL.png", "Bricks001", "normal"),
        ("Bricks001_1K-PNG_NormalDX.png", "Bricks001", "normal"),
        ("Bricks001_2K-JPG_AmbientOcclusion.jpg", "Bricks001", "ao"),
        ("Bricks001_2K_Metalness.jpg", "Bricks001", "metalness"),
        ("Bricks001.png", "Bricks001", "color"),
        # others
        ("wall_basecolor.png", "wall", "color"),
        ("wall_baseColor.png", "wall", "color"),
        ("wall_base_color.png", "wall", "color"),
        ("wall_BaseColor_2048.png", "wall", "color"),
        ("wall-albedo.png", "wall", "color"),
        ("wall ambient occlusion.png", "wall", "ao"),
        ("wall_normal_map.png", "wall", "normal"),
        ("wall_normal-ogl.png", "wall", "normal"),
        ("wood_color.jpg", "wood", "color"),
        # names that only look so
        ("rough_concrete_01.jpg", "rough_concrete_01", "color"),
        ("metal_plate.jpg", "metal_plate", "color"),
        ("asphalt_02.jpg", "asphalt_02", "color"),
        ("bump_floor.png", "bump_floor", "color"),
        ("brick_2048.jpg", "brick_2048", "color"),
        ("my_png.png", "my_png", "color"),
        ("wall_d.png", "wall_d", "color"),
        ("abnormal.png", "abnormal", "color"),
        ("plain_4k.jpg", "plain", "color"),
        ("_.jpg", "_", "color"),
        ("2k.jpg", "2k", "color"),
    ],
)
def test_names(name: str, asset: str, kind: str) -> None:
    assert name_parts(Path(name)) == (asset, kind)
    assert name_parts(Path("lib/x") / name) == (f"lib/x/{asset}", kind)


def test_a_name_that_is_only_a_map_word_takes_its_folder() -> None:
    assert name_parts(Path("walls/old/diffuse.png")) == ("walls/old", "color")
    assert name_parts(Path("walls/old/normal_2k.png")) == ("walls/old", "normal")
    assert name_parts(Path("diffuse.png"))[0] == name_parts(Path("normal.png"))[0]


def kinds(*names: str) -> dict[str, tuple[str, str]]:
    return {
        str(path): (name.asset, name.kind) for path, name in group_names(map(Path, names)).items()
    }


def test_one_letter_is_a_map_only_beside_its_siblings() -> None:
    assert kinds("wall_d.png", "wall_n.png") == {
        "wall_d.png": ("wall", "color"),
        "wall_n.png": ("wall", "normal"),
    }
    assert kinds("wall_d.png") == {"wall_d.png": ("wall_d", "color")}
    assert kinds("wall_albedo.png", "wall_n.png")["wall_n.png"] == ("wall", "normal")


def test_lettered_variants_are_no_maps() -> None:
    names = [f"wall_{letter}.png" for letter in "abcdefghijklmn"]
    assert set(kinds(*names).values()) == {(name[:-4], "color") for name in names}


def test_an_adjective_is_a_map_only_beside_other_maps() -> None:
    assert kinds("concrete_rough.jpg", "rusty_metal.jpg") == {
        "concrete_rough.jpg": ("concrete_rough", "color"),
        "rusty_metal.jpg": ("rusty_metal", "color"),
    }
    beside = kinds("rust_diff_2k.jpg", "rust_rough_2k.jpg", "rust_metal_2k.jpg")
    assert sorted(beside.values()) == [
        ("rust", "color"),
        ("rust", "metalness"),
        ("rust", "roughness"),
    ]


def test_a_picture_without_a_word_is_a_preview_beside_the_colour_map() -> None:
    both = kinds("Bricks001.png", "Bricks001_2K_Color.jpg")
    assert both["Bricks001.png"] == ("Bricks001", "preview")
    assert kinds("brick.jpg", "brick_normal.jpg")["brick.jpg"] == ("brick", "color")


def test_a_lone_preview_is_a_picture() -> None:
    assert kinds("holiday_preview.jpg") == {"holiday_preview.jpg": ("holiday_preview", "color")}
    beside = kinds("x1_preview.png", "x1_4K_Normal.jpg")
    assert beside["x1_preview.png"] == ("x1", "preview")


@given(st.lists(st.text("abnd_-. 2kKJPG/", min_size=1, max_size=14), max_size=8))
def test_any_name_has_an_asset_in_its_own_folder(stems: list[str]) -> None:
    paths = [Path(f"lib/{stem.strip('/.') or 'x'}.png") for stem in stems]
    for path, name in group_names(paths).items():
        assert name.asset.startswith("lib")
        assert name.kind
        assert name_parts(path) == name_parts(path)


NAMES = tomllib.loads((File(__file__).parent / "data" / "map_names.toml").read_text("utf-8"))


@pytest.mark.parametrize("listed", NAMES["sets"].values(), ids=NAMES["sets"])
def test_the_maps_of_a_set_are_one_asset(listed: str) -> None:
    pairs = [one.rpartition(" ") for one in " ".join(listed.split()).split(", ")]
    expected = {f"lib/{name}.jpg": kind for name, _, kind in pairs}
    read = kinds(*expected)
    assert {path: kind for path, (_, kind) in read.items()} == expected
    assert len({asset for asset, _ in read.values()}) == 1


PLAIN = NAMES["plain"].split()


def test_a_map_word_alone_is_part_of_a_plain_name() -> None:
    names = {f"lib/{name}.jpg" for name in PLAIN}
    read = kinds(*names)
    assert {kind for _, kind in read.values()} == {"color"}
    assert len({asset for asset, _ in read.values()}) == len(names)


def test_a_resolution_before_a_doubtful_word_proves_it() -> None:
    assert kinds("abcd_4K_Mask.jpg") == {"abcd_4K_Mask.jpg": ("abcd", "mask")}


BASES = ("Brick", "wall 02", "rusty_metal_04", "Rusty-Metal", "old_paint_color", "stone rough",
         "gas_mask", "T_Rock", "Grün", "x1", "Bricks001", "wall_normal", "WoodFloor")  # fmt: skip
SEPARATORS = ("_", "-", " ", ".")
SPELLINGS = (str, str.lower, str.upper, str.title)
AFTER = ("", "2K", "4k", "2048", "2048x1024", "1024px", "v2", "16bit", "8bit", "tiled", "seamless",
         "01", "(1)", "copy", "4K_METALNESS", "2k_png")  # fmt: skip
BEFORE = ("", "4K", "2K-PNG", "1024x1024")
SURE = sorted(
    (word, entry.kind)
    for word, entry in map_words().words.items()
    if entry.strength is Strength.SURE and word not in map_words().suffixes
)


@given(
    base=st.sampled_from(BASES),
    separator=st.sampled_from(SEPARATORS),
    before=st.sampled_from(BEFORE),
    maps=st.lists(
        st.tuples(st.sampled_from(SURE), st.sampled_from(SPELLINGS), st.sampled_from(AFTER)),
        min_size=1,
        max_size=6,
    ),
    form=st.sampled_from(("NFC", "NFD")),
)
def test_maps_are_read_whatever_stands_around_the_word(
    base: str, separator: str, before: str, maps: list[Any], form: Any
) -> None:
    expected = {
        separator.join(part for part in (base, before, spell(word), after) if part): kind
        for (word, kind), spell, after in [(("normal", "normal"), str, ""), *maps]
    }
    read = kinds(*(f"{normalize(form, name)}.jpg" for name in expected))
    assert [kind for _, kind in read.values()] == list(expected.values())
    assert {asset for asset, _ in read.values()} == {base}


@given(
    st.permutations([f"lib/{name}.jpg" for name in PLAIN[:12]] + ["x/a_albedo.jpg", "x/a_mask.jpg"])
)
def test_the_order_of_the_files_changes_nothing(paths: list[str]) -> None:
    assert kinds(*paths) == kinds(*sorted(paths))


def test_tiles_are_one_asset() -> None:
    tiled = group_names(
        Path(f"lib/{name}.png")
        for name in ("w_BaseColor.1001", "w_BaseColor.1002", "w_Normal.1001", "w_Height_1002",
                     "w_1001_Roughness", "w_1002_Roughness", "w_AO_u1_v2")
    )  # fmt: skip
    assert {name.asset for name in tiled.values()} == {"lib/w"}
    assert [name.tile for name in tiled.values()] == [
        "1001", "1002", "1001", "1002", "1001", "1002", "u1_v2"
    ]  # fmt: skip
    plain = group_names([Path("rock.1001.png"), Path("rock.1002.png")])
    assert [(name.asset, name.tile) for name in plain.values()] == [
        ("rock", "1001"),
        ("rock", "1002"),
    ]


@pytest.mark.parametrize("start", ["_MG", "100", "SAM", "CIMG"])
def test_what_cameras_number_is_no_tile(start: str) -> None:
    read = group_names([Path(f"{start}_1001.jpg"), Path(f"{start}_1002.jpg")])
    assert len({name.asset for name in read.values()}) == 2


def test_1024_is_a_tile_after_a_dot_and_else_a_resolution() -> None:
    names = group_names([Path("w_albedo.1024.png"), Path("w_albedo_1024.png")])
    assert [name.tile for name in names.values()] == ["1024", ""]
    assert {name.asset for name in names.values()} == {"w"}


def test_a_file_is_no_evidence_for_itself() -> None:
    names = ("w_AO_Roughness_Metallic.png", "w_BaseColor.png", "w_4k_16bit_height.tif")
    assert kinds(*names) == dict(
        zip(names, [("w", "packed"), ("w", "color"), ("w", "displacement")], strict=True)
    )


def test_a_version_after_the_map_word_is_no_tile() -> None:
    names = group_names(Path(f"w_{name}.png") for name in ("Albedo_v2", "Normal_V2", "AO_u2_v2"))
    assert {name.asset for name in names.values()} == {"w"}
    assert [(name.tile, name.copy) for name in names.values()] == [
        ("", "v2"),
        ("", "v2"),
        ("u2_v2", ""),
    ]


@pytest.mark.parametrize(
    ("place", "asset"),
    [
        ("{}/oak.jpg", "oak"),
        ("lib/{}/oak.jpg", "lib/oak"),
        ("lib/{}/wood/oak_2k.jpg", "lib/wood/oak"),
        ("{}/textures/oak.jpg", "textures/oak"),
        ("lib/{0}/oak_{0}.jpg", "lib/oak"),
        ("oak/{0}/{0}.jpg", "oak"),
    ],
)
def test_folders_may_say_which_map_a_file_is(place: str, asset: str) -> None:
    words = {"Albedo": "color", "normal": "normal", "Roughness_2K": "roughness"}
    names = group_names(Path(place.format(word)) for word in words)
    assert [(name.asset, name.kind) for name in names.values()] == [
        (asset, kind) for kind in words.values()
    ]


def test_folders_of_map_words_hold_plain_pictures_where_they_are_no_set() -> None:
    apart = ["normal/1.jpg", "abnormal/1.jpg", "albedo/oak.jpg", "roughness/ash.jpg"]
    doubtful = ["color/1.jpg", "metal/1.jpg", "wood/1.jpg", "rough/1.jpg"]
    for paths in (apart, doubtful):
        assert kinds(*paths) == {path: (path[:-4], "color") for path in paths}


def test_an_asset_is_spelled_as_its_colour_map_in_nfc() -> None:
    read = kinds(normalize("NFD", "KÄSE_normal.png"), normalize("NFD", "Käse_Albedo.png"))
    assert {asset for asset, _ in read.values()} == {normalize("NFC", "Käse")}
    assert kinds("Wall.jpg", "wall.jpg") == {
        "Wall.jpg": ("Wall", "color"),
        "wall.jpg": ("wall", "color"),
    }


def test_the_first_of_several_colour_variants_leads() -> None:
    names = group_names(Path(f"B_{name}.jpg") for name in ("COL_VAR1", "COL_VAR2", "NRM"))
    assert [name.variant for name in names.values()] == [False, True, False]
    alone = group_names(Path(f"fabric_color{number}.jpg") for number in (1, 2))
    assert [(name.asset, name.variant) for name in alone.values()] == [
        ("fabric_color1", False),
        ("fabric_color2", False),
    ]
