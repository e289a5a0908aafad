"""Real awkward files from public repositories: what must come out of each."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vaeneer.data.dataset import read_manifest
from vaeneer.data.images import read_image
from vaeneer.data.prepare import prepare
from vaeneer.errors import ImageFileError

ODDITIES = Path(__file__).parents[2] / "shared" / "data" / "oddities"
pytestmark = pytest.mark.skipif(
    not ODDITIES.is_dir(), reason="the awkward files (../shared/data/oddities) are not here"
)

GOOD = {
    # name: (mode, format, size of the upright picture, plain)
    "cmyk_jpeg.jpg": ("CMYK", "JPEG", (100, 100), False),
    "exif_orientation6.jpg": ("RGB", "JPEG", (1800, 1200), False),
    "gray_alpha_la_png.png": ("LA", "PNG", (1024, 1024), True),
    "gray_jpeg_asphalt.jpg": ("L", "JPEG", (2048, 2048), True),
    "large_4096.jpg": ("RGB", "JPEG", (4096, 4096), True),
    "palette_alpha_png_rocks.png": ("P", "PNG", (512, 512), False),
    "png16_RGBA.png": ("RGBA", "PNG", (512, 512), False),
    "rgba_tga_cloth.tga": ("RGBA", "TGA", (640, 640), False),
    "tiff_16bit_gray.tif": ("I;16", "TIFF", (64, 64), False),
    "tiny_3x3.png": ("L", "PNG", (3, 3), True),
    "unreadable_png.png": ("RGB", "PNG", (1024, 1024), False),  # to Pillow: a damaged ICC profile
}
BAD = {
    "lfs_pointer_named_jpg.jpg": "a Git LFS pointer, not the image: run git lfs pull",
}


def test_each_file_has_an_expectation() -> None:
    assert {path.name for path in ODDITIES.iterdir()} == {*GOOD, *BAD}


@pytest.mark.parametrize("name", GOOD)
def test_good_files(name: str) -> None:
    picture = read_image(ODDITIES / name)
    found = (picture.mode, picture.format, (picture.width_px, picture.height_px), picture.plain)
    assert found == GOOD[name]
    assert picture.rgb.mode == "RGB"


@pytest.mark.parametrize("name", BAD)
def test_bad_files(name: str) -> None:
    with pytest.raises(ImageFileError) as caught:
        read_image(ODDITIES / name)
    assert caught.value.reason == BAD[name]


def pixels(name: str) -> np.ndarray:
    return np.asarray(read_image(ODDITIES / name).rgb).astype(int)


def test_cmyk_is_not_inverted() -> None:
    red, green, blue = pixels("cmyk_jpeg.jpg")[2, 2].tolist()  # the red bar, top left
    assert red > 200
    assert max(green, blue) < 60


def test_exif_picture_is_upright() -> None:
    picture = pixels("exif_orientation6.jpg")
    sky, ground = picture[100:300, 100:800], picture[900:1100, 500:900]
    assert sky[..., 2].mean() > 1.3 * ground[..., 2].mean()


def test_16_bit_tiff_is_scaled_and_not_clipped() -> None:
    with Image.open(ODDITIES / "tiff_16bit_gray.tif") as image:
        deep = np.asarray(image).astype(float)
    assert np.abs(pixels("tiff_16bit_gray.tif")[..., 0] - deep / 257).max() <= 0.5


def test_grey_files_have_three_equal_channels() -> None:
    for name in ("gray_alpha_la_png.png", "gray_jpeg_asphalt.jpg", "tiff_16bit_gray.tif"):
        picture = pixels(name)
        assert (picture == picture[..., :1]).all()


def test_colours_under_alpha_are_kept() -> None:
    with Image.open(ODDITIES / "png16_RGBA.png") as image:
        assert np.array_equal(pixels("png16_RGBA.png"), np.asarray(image)[..., :3])
    with Image.open(ODDITIES / "palette_alpha_png_rocks.png") as image:
        assert np.array_equal(
            pixels("palette_alpha_png_rocks.png"), np.asarray(image.convert("RGBA"))[..., :3]
        )


def test_prepare_makes_a_clean_data_set_of_them(tmp_path: Path) -> None:
    report = prepare(ODDITIES, out=tmp_path / "data")
    assert (report.scanned, report.kept, report.converted) == (12, 10, 7)
    assert report.skipped == {
        "a Git LFS pointer, not the image": 1,
        "too small": 1,
    }
    manifest = read_manifest(tmp_path / "data")
    assert manifest is not None
    for output, row in manifest.by_output().items():
        with Image.open(tmp_path / "data" / output) as image:  # as any other program reads it
            assert np.array_equal(np.asarray(image.convert("RGB")), pixels(row.path))
