"""File names say asset and map by the habits of the libraries, and no more than they say."""

from pathlib import PurePosixPath as Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vaeneer.data.naming import group_names, name_parts


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
