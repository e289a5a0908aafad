"""The digest of a picture's content: equal in any container, different for any difference."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile
from PIL import Image

from test_picture_color import chunk, icc_profile, png, power, srgb_curve
from vaeneer.data.images import read_image
from vaeneer.data.pixel_digest import pixel_digest
from vaeneer.errors import ImageFileError

COLOURS = np.random.default_rng(0).integers(0, 256, (20, 24, 3), np.uint8)
DEEP = np.random.default_rng(1).integers(0, 65536, (20, 24, 3), np.uint16)


def saved(path: Path, values: np.ndarray | Image.Image, **options: object) -> bytes:
    """The digest of an array or a picture written by Pillow."""
    image = values if isinstance(values, Image.Image) else Image.fromarray(values)
    image.save(path, **options)
    return pixel_digest(path)


def test_equal_pixels_are_equal_in_any_container(tmp_path: Path) -> None:
    few = Image.fromarray(COLOURS).quantize(40)
    digests = {
        saved(tmp_path / "a.png", few.convert("RGB")),
        saved(tmp_path / "b.png", few),  # a palette
        saved(tmp_path / "c.png", few.convert("RGBA")),  # opaque everywhere
        saved(tmp_path / "d.bmp", few.convert("RGB")),
        saved(tmp_path / "e.tif", few.convert("RGB"), compression="tiff_lzw"),
        saved(tmp_path / "f.tga", few.convert("RGB")),
        saved(tmp_path / "g.webp", few.convert("RGB"), lossless=True),
        saved(tmp_path / "h.ppm", few.convert("RGB")),
        saved(tmp_path / "i.gif", few),
        saved(tmp_path / "j.png", few.convert("RGB"), icc_profile=icc_profile(srgb_curve())),
    }
    assert len(digests) == 1
    assert len(digests.pop()) == 32


def test_grey_and_its_colours_are_equal(tmp_path: Path) -> None:
    grey = Image.fromarray(COLOURS[..., 0])
    black_and_white = grey.convert("1")
    assert saved(tmp_path / "a.png", grey) == saved(tmp_path / "b.bmp", grey.convert("RGB"))
    assert saved(tmp_path / "a.png", black_and_white) == saved(
        tmp_path / "b.tif", black_and_white.convert("L")
    )


def test_each_difference_counts(tmp_path: Path) -> None:
    alpha = np.full((20, 24, 1), 255, np.uint8)
    other_alpha = alpha.copy()
    other_alpha[3, 4] = 254
    hole = alpha.copy()
    hole[:5] = 0
    one_off = COLOURS.copy()
    one_off[-1, -1, 2] ^= 1
    rgba = [np.concatenate([COLOURS, one], axis=2) for one in (other_alpha, hole)]
    digests = [
        saved(tmp_path / "a.png", COLOURS),
        saved(tmp_path / "b.png", one_off),
        saved(tmp_path / "c.png", COLOURS.reshape(24, 20, 3)),
        *(saved(tmp_path / "d.png", one) for one in rgba),
        saved(tmp_path / "e.png", COLOURS, icc_profile=icc_profile(power(1.0))),
        saved(tmp_path / "f.png", COLOURS, icc_profile=icc_profile(power(1.8))),
    ]
    assert len(set(digests)) == len(digests)
    assert saved(tmp_path / "g.tif", rgba[1]) == digests[4]
    assert saved(tmp_path / "g.webp", rgba[1], lossless=True, exact=True) == digests[4]


@pytest.mark.parametrize("suffix", ["tif", "gif", "png", "webp"])
def test_further_pages_and_frames_count(tmp_path: Path, suffix: str) -> None:
    frames = [Image.fromarray(np.roll(COLOURS, step, axis=1)).quantize(64) for step in range(3)]
    if suffix != "gif":
        frames = [frame.convert("RGB") for frame in frames]
    options = {"lossless": True} if suffix == "webp" else {}
    path = tmp_path / f"a.{suffix}"

    def digest(*shown: int) -> bytes:
        first, *others = (frames[one] for one in shown)
        return saved(path, first, save_all=True, append_images=others, **options)

    digests = [digest(0), digest(0, 1), digest(0, 2), digest(1, 0), digest(0, 1, 2)]
    assert len(set(digests)) == len(digests)
    assert digest(0, 1, 2) == digests[-1]


def test_the_full_depth_counts(tmp_path: Path) -> None:
    def deep(name: str, values: np.ndarray) -> bytes:
        order = [2, 1, 0, 3][: values.shape[2]]
        assert cv2.imwrite(str(tmp_path / name), values[..., order])
        return pixel_digest(tmp_path / name)

    low = DEEP.copy()
    low[0, 0, 0] ^= 1  # below the byte that an 8-bit reader sees
    clear = np.concatenate([DEEP, np.full((20, 24, 1), 65535, np.uint16)], axis=2)
    holes = clear.copy()
    holes[2, 2, 3] = 65534
    digest = deep("a.png", DEEP)
    assert deep("b.ppm", DEEP) == digest
    assert deep("c.png", clear) == digest
    high = (DEEP >> 8).astype(np.uint8)
    others = [deep("d.png", low), deep("e.png", holes), saved(tmp_path / "f.png", high)]
    assert len({digest, *others}) == 4
    assert read_image(tmp_path / "a.png").bits == 16
    assert read_image(tmp_path / "f.png").bits == 8


def test_deep_tiffs_of_any_layout_are_equal(tmp_path: Path) -> None:
    assert cv2.imwrite(str(tmp_path / "a.png"), DEEP[..., ::-1])
    digest = pixel_digest(tmp_path / "a.png")
    planes = np.ascontiguousarray(DEEP.transpose(2, 0, 1))
    tifffile.imwrite(tmp_path / "a.tif", DEEP, photometric="rgb")
    tifffile.imwrite(tmp_path / "b.tif", DEEP, photometric="rgb", byteorder=">", bigtiff=True)
    tifffile.imwrite(tmp_path / "c.tif", planes, photometric="rgb", planarconfig="separate")
    tifffile.imwrite(tmp_path / "d.tif", DEEP, photometric="rgb", tile=(16, 16), compression="zlib")
    for name in "abcd":
        assert pixel_digest(tmp_path / f"{name}.tif") == digest, name
    with tifffile.TiffWriter(tmp_path / "e.tif") as tiff:
        for page in (DEEP, DEEP):
            tiff.write(page, photometric="rgb")
    assert pixel_digest(tmp_path / "e.tif") != digest
    floats = (DEEP / 65535).astype(np.float32)
    tifffile.imwrite(tmp_path / "f.tif", floats, photometric="rgb")
    assert pixel_digest(tmp_path / "f.tif") != digest


@pytest.mark.parametrize("kind", ["rgb", "separated"])
@pytest.mark.parametrize("depth", [np.uint8, np.uint16])
def test_further_channels_of_a_tiff_count(tmp_path: Path, kind: str, depth: type) -> None:
    shown = np.zeros((20, 24, 3 if kind == "rgb" else 4), depth)
    mask = (COLOURS[..., 0] > 99).astype(depth) * 200
    digests = set()
    for name, further in ("ab", (shown[..., 0], mask)), ("cd", (mask, mask)), ("e", (mask,)):
        values = np.dstack([shown, *further])
        extra = ["unassalpha", "unspecified"][: len(further)]
        tifffile.imwrite(tmp_path / f"{name}.tif", values, photometric=kind, extrasamples=extra)
        digests.add(pixel_digest(tmp_path / f"{name}.tif"))
    assert len(digests) == 3


def test_a_clear_colour_counts_at_full_depth(tmp_path: Path) -> None:
    values = COLOURS.astype(np.uint16) * 257 + 5
    files = [b"", chunk(b"tRNS", bytes(6)), chunk(b"tRNS", bytes((0, 0, 0, 0, 0, 1)))]
    digests = []
    for clear in files:
        (tmp_path / "a.png").write_bytes(png(values, clear))
        digests.append(pixel_digest(tmp_path / "a.png"))
    assert len(set(digests)) == len(files)


def test_16_bit_grey_counts_all_its_bits(tmp_path: Path) -> None:
    grey = DEEP[..., 0]
    other = grey.copy()
    other[0, 0] ^= 1
    assert saved(tmp_path / "a.png", grey) == saved(tmp_path / "a.tif", grey)
    assert saved(tmp_path / "b.png", other) != saved(tmp_path / "a.png", grey)


def test_grey_whose_zero_is_white_is_not_its_negative(tmp_path: Path) -> None:
    for name, kind in ("a", "minisblack"), ("b", "miniswhite"):
        tifffile.imwrite(tmp_path / f"{name}.tif", DEEP[..., 0], photometric=kind)
    assert pixel_digest(tmp_path / "a.tif") != pixel_digest(tmp_path / "b.tif")
    assert pixel_digest(tmp_path / "b.tif") == saved(tmp_path / "c.png", 65535 - DEEP[..., 0])


def test_orientation_is_applied_first(tmp_path: Path) -> None:
    image = Image.fromarray(COLOURS)
    turns = {
        1: None, 2: "FLIP_LEFT_RIGHT", 3: "ROTATE_180", 4: "FLIP_TOP_BOTTOM", 5: "TRANSPOSE",
        6: "ROTATE_270", 7: "TRANSVERSE", 8: "ROTATE_90",
    }  # fmt: skip
    for orientation, turn in turns.items():
        exif = Image.Exif()
        exif[0x0112] = orientation
        upright = image if turn is None else image.transpose(Image.Transpose[turn])
        turned = saved(tmp_path / "a.png", image, exif=exif)
        assert turned == saved(tmp_path / "b.bmp", upright), orientation


def test_metadata_does_not_count(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x010E] = "a description"
    image = Image.fromarray(COLOURS)
    plain = saved(tmp_path / "a.jpg", image, quality=90)
    assert saved(tmp_path / "b.jpg", image, quality=90, exif=exif, comment=b"x") == plain
    data = (tmp_path / "a.jpg").read_bytes()
    (tmp_path / "c.jpg").write_bytes(data[:20] + b"\xff\xe2\0\x10ICC_PROFILE\0\1\1" + data[20:-2])
    assert pixel_digest(tmp_path / "c.jpg") == plain


def test_what_cannot_be_read_has_no_digest(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    with pytest.raises(ImageFileError):
        pixel_digest(tmp_path / "a.png")
    saved(tmp_path / "b.png", COLOURS)
    with pytest.raises(ImageFileError, match="too many pixels"):
        pixel_digest(tmp_path / "b.png", max_megapixels=1e-6)
