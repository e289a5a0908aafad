"""Any image file becomes the right RGB, or says in a few words why it cannot."""

import contextlib
import io
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms, PngImagePlugin

from vaeneer.data.image_files import MAX_SIDE_PX
from vaeneer.data.images import read_image, read_rgb, resize_rgb
from vaeneer.errors import ImageFileError

LONG = (MAX_SIDE_PX + 1).to_bytes(4, "big") + (1).to_bytes(4, "big")  # height and width in a PSD


def surface(height: int = 24, width: int = 32, seed: int = 0) -> Image.Image:
    """A smooth seeded picture, so that lossy formats stay close."""
    small = np.random.default_rng(seed).integers(0, 256, (4, 4, 3), np.uint8)
    return Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC)


def pixels(path: Path) -> np.ndarray:
    return np.asarray(read_rgb(path))


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr", "LAB"])
def test_every_mode_becomes_rgb(tmp_path: Path, mode: str) -> None:
    rgb = surface()
    if mode == "LAB":
        lab = ImageCms.createProfile("LAB")
        image = ImageCms.profileToProfile(rgb, ImageCms.createProfile("sRGB"), lab, outputMode=mode)
    elif mode == "PA":
        image = rgb.convert("P").convert("PA")
    else:
        image = rgb.convert(mode)
    path = tmp_path / "a.tif"
    image.save(path)
    expected = np.asarray(image.convert("RGB") if mode != "LAB" else rgb, dtype=int)
    difference = np.abs(pixels(path) - expected)
    assert difference.mean() < 3 if mode == "LAB" else difference.max() == 0  # LAB clips


@pytest.mark.parametrize("suffix", ["png", "bmp", "tga", "tif", "webp", "gif", "ppm", "dds"])
def test_formats_without_loss_keep_each_pixel(tmp_path: Path, suffix: str) -> None:
    image = surface().quantize(64).convert("RGB")
    path = tmp_path / f"a.{suffix}"
    image.save(path, **({"lossless": True} if suffix == "webp" else {}))
    picture = read_image(path)
    assert np.array_equal(np.asarray(picture.rgb), np.asarray(image))
    assert picture.plain == (suffix in {"png", "bmp", "webp", "gif"})


@pytest.mark.parametrize("order", ["<u2", ">u2"])
@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_16_bit_grey_is_scaled_not_clipped(tmp_path: Path, suffix: str, order: str) -> None:
    ramp = np.linspace(0, 65535, 256).round().astype(order).reshape(16, 16)
    path = tmp_path / f"a.{suffix}"
    if order == ">u2" and suffix == "tif":
        Image.frombytes("I;16B", (16, 16), ramp.tobytes()).save(path)
    else:
        Image.fromarray(ramp.astype(np.uint16)).save(path)
    assert np.array_equal(pixels(path)[..., 0].ravel(), np.arange(256))
    assert not read_image(path).plain


def test_32_bit_integers_below_65536_are_16_bit_levels(tmp_path: Path) -> None:
    values = np.array([[0, 257, 65535]], np.int32).repeat(2, 0)
    Image.fromarray(values).save(tmp_path / "a.tif")
    assert pixels(tmp_path / "a.tif")[0, :, 0].tolist() == [0, 1, 255]


def test_full_32_bit_integers_use_their_whole_range(tmp_path: Path) -> None:
    values = np.array([[0, 2**31, 2**32 - 1]], np.uint32).view(np.int32)
    Image.fromarray(values).save(tmp_path / "a.tif")
    assert pixels(tmp_path / "a.tif")[0, :, 0].tolist() == [0, 128, 255]


@pytest.mark.parametrize(
    ("values", "levels"),
    [([0, 0.5, 1], [0, 128, 255]), ([-3, 100, 255], [0, 100, 255]), ([0, 257, 65535], [0, 1, 255])],
)
def test_float_pixels_are_shares_levels_or_16_bit(
    tmp_path: Path, values: list, levels: list
) -> None:
    Image.fromarray(np.array([values], np.float32)).save(tmp_path / "a.tif")
    assert pixels(tmp_path / "a.tif")[0, :, 0].tolist() == levels


@pytest.mark.parametrize("white", [1, 255, 65535])
def test_a_few_floats_above_white_do_not_darken_a_picture(tmp_path: Path, white: int) -> None:
    shares = np.linspace(0, 1, 900, dtype=np.float32).reshape(30, 30)
    Image.fromarray(shares * white).save(tmp_path / "a.tif")
    shares[29, 29] = 1.05
    Image.fromarray(shares * white).save(tmp_path / "b.tif")
    assert pixels(tmp_path / "a.tif").mean() > 120
    assert np.array_equal(pixels(tmp_path / "a.tif"), pixels(tmp_path / "b.tif"))


def test_bright_floats_are_exposed_and_24_bits_are_not_32(tmp_path: Path) -> None:
    shares = np.linspace(0, 1, 900).reshape(30, 30)
    Image.fromarray((shares * 8).astype(np.float32)).save(tmp_path / "a.tif")
    deep = np.rint(shares * (2**24 - 1)).astype(np.uint32)
    tifffile.imwrite(tmp_path / "b.tif", deep, photometric="minisblack", bitspersample=24)
    for name in ("a.tif", "b.tif"):
        assert np.abs(pixels(tmp_path / name)[..., 0] - shares * 255).max() < 3, name


@pytest.mark.parametrize("bad", [np.nan, np.inf, 1e9])
def test_float_pixels_that_no_picture_has_are_refused(tmp_path: Path, bad: float) -> None:
    Image.fromarray(np.array([[0, bad]], np.float32)).save(tmp_path / "a.tif")
    with pytest.raises(ImageFileError, match="float pixels"):
        read_rgb(tmp_path / "a.tif")


def test_16_bit_colour_keeps_its_high_byte(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(png16(np.array([[[0, 32768, 65535]]], ">u2")))
    assert pixels(path)[0, 0].tolist() == [0, 128, 255]
    assert read_image(path).plain


@pytest.mark.parametrize(
    ("suffix", "mode", "bits"),
    [
        ("png", "1", 1), ("png", "L", 8), ("png", "P", 8), ("png", "RGB", 8), ("png", "I;16", 16),
        ("tif", "1", 1), ("tif", "L", 8), ("tif", "P", 8), ("tif", "I;16", 16), ("tif", "I", 32),
        ("tif", "F", 32), ("tif", "CMYK", 8), ("bmp", "1", 8), ("jpg", "RGB", 8), ("gif", "P", 8),
        ("ppm", "RGB", 8), ("pgm", "I;16", 16), ("jp2", "I;16", 16), ("jp2", "RGB", 8),
        ("webp", "RGBA", 8), ("tga", "RGBA", 8), ("dds", "RGB", 8), ("avif", "RGB", 8),
    ],
)  # fmt: skip
def test_bits_are_those_of_the_file(tmp_path: Path, suffix: str, mode: str, bits: int) -> None:
    image = surface().convert("L").convert(mode) if mode != "P" else surface().quantize(8)
    image.save(tmp_path / f"a.{suffix}")
    assert read_image(tmp_path / f"a.{suffix}").bits == bits


@pytest.mark.parametrize("suffix", ["png", "tif", "ppm", "jp2"])
def test_16_bit_colour_is_told_from_8_bits(tmp_path: Path, suffix: str) -> None:
    values = np.random.default_rng(0).integers(0, 65536, (64, 64, 3), np.uint16)
    assert cv2.imwrite(str(tmp_path / f"a.{suffix}"), values)
    picture = read_image(tmp_path / f"a.{suffix}")
    assert (picture.mode.partition(";")[0], picture.bits) == ("RGB", 16)


def png16(values: np.ndarray) -> bytes:
    """A 16-bit RGB PNG, which Pillow cannot write."""
    import struct
    import zlib

    def chunk(name: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        )

    height, width = values.shape[:2]
    lines = b"".join(b"\0" + line.tobytes() for line in values)
    header = struct.pack(">IIBBBBB", width, height, 16, 2, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(lines)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def test_colours_under_alpha_are_kept(tmp_path: Path) -> None:
    image = surface()
    clear = image.copy()
    clear.putalpha(0)
    clear.save(tmp_path / "clear.png")
    image.putalpha(255)
    image.save(tmp_path / "opaque.png")
    assert np.array_equal(pixels(tmp_path / "clear.png"), np.asarray(image.convert("RGB")))
    assert not read_image(tmp_path / "clear.png").plain  # a browser shows the page behind it
    assert read_image(tmp_path / "opaque.png").plain


def test_16_bit_grey_with_a_clear_level_keeps_its_levels(tmp_path: Path) -> None:
    grey = np.arange(32 * 24, dtype=np.uint16).reshape(24, 32) * 85
    Image.fromarray(grey).save(tmp_path / "a.png", transparency=int(grey[3, 5]))
    Image.fromarray(grey).save(tmp_path / "b.png")
    assert np.array_equal(pixels(tmp_path / "a.png"), pixels(tmp_path / "b.png"))


@pytest.mark.parametrize("mode", ["P", "L", "RGB"])
def test_transparent_colours_without_an_alpha_channel(tmp_path: Path, mode: str) -> None:
    image = surface().convert(mode)
    first = image.getpixel((0, 0))
    image.save(tmp_path / "a.png", transparency=first)
    assert np.array_equal(pixels(tmp_path / "a.png"), np.asarray(image.convert("RGB")))
    assert not read_image(tmp_path / "a.png").plain


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", ["jpg", "png", "tif", "webp"])
def test_exif_orientation_is_applied(tmp_path: Path, suffix: str, orientation: int) -> None:
    image = surface()
    exif = Image.Exif()
    exif[0x0112] = orientation
    image.save(tmp_path / f"a.{suffix}", exif=exif, quality=95)
    picture = read_image(tmp_path / f"a.{suffix}")
    assert (picture.width_px, picture.height_px) == ((32, 24) if orientation < 5 else (24, 32))
    turns = [None, None, "FLIP_LEFT_RIGHT", "ROTATE_180", "FLIP_TOP_BOTTOM", "TRANSPOSE"]
    turns += ["ROTATE_270", "TRANSVERSE", "ROTATE_90"]
    turn = turns[orientation]
    upright = image if turn is None else image.transpose(Image.Transpose[turn])
    assert np.abs(np.asarray(picture.rgb, int) - np.asarray(upright, int)).mean() < 6
    assert picture.plain == (orientation == 1 and suffix != "tif")


def test_first_frame_of_an_animation(tmp_path: Path) -> None:
    frames = [surface(seed=seed).quantize(32) for seed in (1, 2)]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    assert np.array_equal(pixels(tmp_path / "a.gif"), np.asarray(frames[0].convert("RGB")))
    assert not read_image(tmp_path / "a.gif").plain


def wide_gamut_profile() -> bytes:
    """sRGB with its red and green primaries swapped, under another name: easy to recognise."""
    data = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    count = int.from_bytes(data[128:132], "big")
    entries = {bytes(data[i : i + 4]): i for i in range(132, 132 + 12 * count, 12)}
    red, green = entries[b"rXYZ"], entries[b"gXYZ"]
    data[red + 4 : red + 12], data[green + 4 : green + 12] = (
        data[green + 4 : green + 12],
        data[red + 4 : red + 12],
    )
    return bytes(data).replace("sRGB".encode("utf-16-be"), "Swap".encode("utf-16-be"))


def test_a_foreign_profile_is_applied(tmp_path: Path) -> None:
    Image.new("RGB", (8, 8), (250, 10, 10)).save(
        tmp_path / "a.png", icc_profile=wide_gamut_profile()
    )
    red, green, blue = pixels(tmp_path / "a.png")[0, 0].tolist()
    assert green > 240
    assert red < 30
    assert blue < 30
    assert not read_image(tmp_path / "a.png").plain


@pytest.mark.parametrize("profile", [b"broken", b"\0" * 400])
def test_a_broken_profile_is_ignored(tmp_path: Path, profile: bytes) -> None:
    image = surface()
    image.save(tmp_path / "a.png", icc_profile=profile)
    assert np.array_equal(pixels(tmp_path / "a.png"), np.asarray(image))


def test_an_srgb_profile_changes_nothing(tmp_path: Path) -> None:
    image = surface()
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    image.save(tmp_path / "a.png", icc_profile=srgb)
    assert np.array_equal(pixels(tmp_path / "a.png"), np.asarray(image))
    assert read_image(tmp_path / "a.png").plain


def test_a_wrong_suffix_does_not_matter(tmp_path: Path) -> None:
    surface().save(tmp_path / "a.jpg", "PNG")
    picture = read_image(tmp_path / "a.jpg")
    assert (picture.format, picture.plain) == ("PNG", True)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "empty file"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "git lfs pull"),
        (b"<html>not found</html>", "not an image"),
        (b"\x89PNG\r\n\x1a\n" + b"\0" * 40, "corrupt"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "not an image"),
    ],
)
def test_what_is_no_image_says_so(tmp_path: Path, content: bytes, reason: str) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(content)
    with pytest.raises(ImageFileError, match=reason) as caught:
        read_rgb(path)
    assert caught.value.path == path


def test_a_folder_and_nothing_at_all_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ImageFileError, match="not a file"):
        read_rgb(tmp_path)
    with pytest.raises(ImageFileError, match="no such file"):
        read_rgb(tmp_path / "none.png")


def test_too_many_pixels_are_refused_before_decoding(tmp_path: Path) -> None:
    whole = io.BytesIO()
    Image.new("L", (2000, 2000)).save(whole, "PNG")
    (tmp_path / "a.png").write_bytes(whole.getvalue()[:200])  # a header, and no pixels behind it
    with pytest.raises(ImageFileError, match="too many pixels: 2000 x 2000"):
        read_rgb(tmp_path / "a.png", max_megapixels=3.9)


def test_pillows_own_limit_is_ours_for_the_call_and_restored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    surface().save(tmp_path / "a.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    before = list(warnings.filters)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(read_rgb, [tmp_path / "a.png"] * 40))
    assert Image.MAX_IMAGE_PIXELS == 10
    assert warnings.filters == before


def test_a_corrupt_text_chunk_is_not_fatal_to_others(tmp_path: Path) -> None:
    text = PngImagePlugin.PngInfo()
    text.add_text("note", "x" * 5000, zip=True)
    surface().save(tmp_path / "a.png", pnginfo=text)
    assert read_image(tmp_path / "a.png").plain


def test_resize_squeezes_to_a_square_with_antialiasing() -> None:
    stripes = np.zeros((64, 1016, 3), np.uint8)
    stripes[:, ::2] = 255
    small = resize_rgb(Image.fromarray(stripes))
    assert small.shape == (254, 254, 3)
    assert small.dtype == np.uint8
    assert np.abs(small[:, 4:-4].astype(int) - 128).max() < 12


FORMATS = ["jpg", "png", "tif", "webp", "bmp", "tga"]
WHOLE: dict[str, bytes] = {}


def encoded(suffix: str) -> bytes:
    if suffix not in WHOLE:
        stream = io.BytesIO()
        names = {"jpg": "JPEG", "tif": "TIFF"}
        options = {"compression": "tiff_lzw"} if suffix == "tif" else {}
        surface(40, 48).save(stream, names.get(suffix, suffix), **options)
        WHOLE[suffix] = stream.getvalue()
    return WHOLE[suffix]


@pytest.mark.parametrize("suffix", FORMATS)
@given(share=st.floats(0, 1), last=st.integers(0, 40))
@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_a_truncated_file_is_refused_or_whole(
    tmp_path: Path, suffix: str, share: float, last: int
) -> None:
    data = encoded(suffix)
    (tmp_path / "whole").write_bytes(data)
    for length in (int(share * len(data)), max(0, len(data) - last)):
        (tmp_path / "cut").write_bytes(data[:length])
        try:
            cut = pixels(tmp_path / "cut")
        except ImageFileError:
            continue
        assert np.array_equal(cut, pixels(tmp_path / "whole"))


@pytest.mark.parametrize("suffix", FORMATS)
@given(place=st.floats(0, 0.999), value=st.integers(0, 255))
@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_a_wrong_byte_never_raises_anything_else(
    tmp_path: Path, suffix: str, place: float, value: int
) -> None:
    data = bytearray(encoded(suffix))
    data[int(place * len(data))] = value
    (tmp_path / "a").write_bytes(bytes(data))
    with contextlib.suppress(ImageFileError):
        assert read_rgb(tmp_path / "a", max_megapixels=1).mode == "RGB"


@pytest.mark.parametrize("suffix", ["png", "bmp", "tif", "psd"])
def test_a_side_without_end_is_refused_from_the_header(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a.{suffix}"
    if suffix == "psd":
        path.write_bytes(b"8BPS" + bytes([0, 1, *bytes(6), 0, 3]) + LONG + bytes([0, 8, 0, 3]))
    else:
        Image.new("L", (1, MAX_SIDE_PX + 1)).save(path)
    with pytest.raises(ImageFileError, match=f"too long: 1 x {MAX_SIDE_PX + 1} px"):
        read_rgb(path)
    if suffix != "psd":
        Image.new("L", (1, MAX_SIDE_PX)).save(path)
        assert read_rgb(path).size == (1, MAX_SIDE_PX)
