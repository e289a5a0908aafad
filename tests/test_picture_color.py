"""Colour spaces are recognised by what they do to colours; PNG chunks in their standard's order."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image, ImageCms

from vaeneer.data.images import Picture, read_image

D50 = (0.9642, 1.0, 0.8249)
SRGB_COLUMNS = (
    (0.43607, 0.22249, 0.01392),
    (0.38515, 0.71687, 0.09708),
    (0.14307, 0.06061, 0.71410),
)
CHRM_SRGB = struct.pack(">8I", 31270, 32900, 64000, 33000, 30000, 60000, 15000, 6000)
CHRM_P3 = struct.pack(">8I", 31270, 32900, 68000, 32000, 26500, 69000, 15000, 6000)


def power(gamma: float) -> bytes:
    return b"curv" + struct.pack(">IIH", 0, 1, round(gamma * 256)) + b"\0\0"


def srgb_curve() -> bytes:
    numbers = (2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)
    return b"para" + struct.pack(">IHH5i", 0, 3, 0, *(round(n * 65536) for n in numbers))


def icc_profile(
    curve: bytes, *, name: str = "sRGB", swapped: bool = False, grey: bool = False, padding: int = 0
) -> bytes:
    """A display profile of curves and primaries, without tables."""

    def xyz(values: tuple[float, float, float]) -> bytes:
        return b"XYZ " + struct.pack(">I3i", 0, *(round(v * 65536) for v in values))

    text = name.encode() + b"\0"
    description = b"desc" + struct.pack(">II", 0, len(text)) + text + b"\0" * 78
    red, green, blue = SRGB_COLUMNS
    if swapped:
        red, green = green, red
    tags = {b"desc": description, b"wtpt": xyz(D50), b"cprt": b"text\0\0\0\0none\0"}
    if grey:
        tags[b"kTRC"] = curve
    else:
        tags |= {b"rXYZ": xyz(red), b"gXYZ": xyz(green), b"bXYZ": xyz(blue)}
        tags |= {b"rTRC": curve, b"gTRC": curve, b"bTRC": curve}
    if padding:
        tags[b"priv"] = b"data" + b"\0" * padding
    at, table, body = 132 + 12 * len(tags), b"", b""
    for key, value in tags.items():
        table += key + struct.pack(">II", at + len(body), len(value))
        body += value + b"\0" * (-len(value) % 4)
    space = b"GRAY" if grey else b"RGB "
    head = struct.pack(">I4sI4s4s4s", 0, b"lcms", 0x04300000, b"mntr", space, b"XYZ ")
    head += b"\0" * 12 + b"acsp" + b"\0" * 28 + struct.pack(">3i", *(round(v * 65536) for v in D50))
    whole = head.ljust(128, b"\0") + struct.pack(">I", len(tags)) + table + body
    return struct.pack(">I", len(whole)) + whole[4:]


def chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def iccp(profile: bytes) -> bytes:
    return chunk(b"iCCP", b"k\0\0" + zlib.compress(profile))


def gama(value: int) -> bytes:
    return chunk(b"gAMA", struct.pack(">I", value))


def png(values: np.ndarray, chunks: bytes = b"") -> bytes:
    """A PNG of (H, W), (H, W, 2) grey and alpha, or (H, W, 3) uint8 or uint16."""
    height, width = values.shape[:2]
    channels = 1 if values.ndim == 2 else values.shape[2]
    depth, kind = 8 * values.dtype.itemsize, {1: 0, 2: 4, 3: 2}[channels]
    lines = b"".join(b"\0" + row.astype(f">u{depth // 8}").tobytes() for row in values)
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, kind, 0, 0, 0))
    return (
        b"\x89PNG\r\n\x1a\n"
        + header
        + chunks
        + chunk(b"IDAT", zlib.compress(lines))
        + chunk(b"IEND", b"")
    )


def pictured(tmp_path: Path, data: bytes) -> Picture:
    (tmp_path / "a").write_bytes(data)
    return read_image(tmp_path / "a")


def srgb_levels(light: np.ndarray) -> np.ndarray:
    value = np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
    return np.rint(value * 255)


RAMP = np.arange(256, dtype=np.uint8)
COLOURS = np.random.default_rng(0).integers(0, 256, (16, 16, 3), np.uint8)
LINEAR = srgb_levels(COLOURS / 255)


@pytest.mark.parametrize("name", ["sRGB", "sRGB-elle-V2-g10.icc", "anything"])
def test_a_linear_profile_is_told_by_its_curves(tmp_path: Path, name: str) -> None:
    picture = pictured(tmp_path, png(COLOURS, iccp(icc_profile(power(1.0), name=name))))
    assert np.abs(np.asarray(picture.rgb, int) - LINEAR).max() <= 1
    assert not picture.plain


@pytest.mark.parametrize("name", ["sRGB", "c2", "linear", "Adobe RGB"])
def test_an_srgb_profile_of_any_name_changes_nothing(tmp_path: Path, name: str) -> None:
    stream = io.BytesIO()
    Image.fromarray(COLOURS).save(stream, "TIFF", icc_profile=icc_profile(srgb_curve(), name=name))
    assert np.array_equal(np.asarray(pictured(tmp_path, stream.getvalue()).rgb), COLOURS)
    picture = pictured(tmp_path, png(COLOURS, iccp(icc_profile(srgb_curve(), name=name))))
    assert np.array_equal(np.asarray(picture.rgb), COLOURS)
    assert picture.plain


@pytest.mark.parametrize("gamma", [1.8, 2.2])
def test_other_curves_are_not_srgb_either(tmp_path: Path, gamma: float) -> None:
    picture = pictured(tmp_path, png(COLOURS, iccp(icc_profile(power(gamma)))))
    expected = srgb_levels((COLOURS / 255) ** gamma)
    assert np.abs(np.asarray(picture.rgb, int) - expected).max() <= 2
    assert not picture.plain


def steps(*levels: int) -> bytes:
    return b"curv" + struct.pack(f">II{len(levels)}H", 0, len(levels), *levels)


@pytest.mark.parametrize(
    "curve",
    [steps(0, 0), steps(65535, 65535), steps(65535, 0)],
    ids=["all black", "all white", "inverted"],
)
@pytest.mark.parametrize("grey", [False, True])
def test_a_profile_that_shows_no_greys_is_damaged(tmp_path: Path, curve: bytes, grey: bool) -> None:
    values = RAMP.reshape(16, 16) if grey else COLOURS
    picture = pictured(tmp_path, png(values, iccp(icc_profile(curve, grey=grey))))
    shown = np.asarray(picture.rgb)
    assert np.array_equal(shown[..., 0] if grey else shown, values)
    assert picture.notes == ("metadata dropped: the ICC profile is damaged",)


def test_a_profile_that_turns_grey_into_a_colour_is_damaged(tmp_path: Path) -> None:
    profile = icc_profile(srgb_curve())
    start = profile.index(b"XYZ \0\0\0\0", profile.index(b"none"))  # of red
    damaged = profile[: start + 8] + bytes(12) + profile[start + 20 :]
    picture = pictured(tmp_path, png(COLOURS, iccp(damaged)))
    assert np.array_equal(np.asarray(picture.rgb), COLOURS)


def test_grey_profiles_are_applied_to_8_and_16_bits(tmp_path: Path) -> None:
    chunks = iccp(icc_profile(power(1.0), name="sRGB grey", grey=True))
    for values in (RAMP[None], (RAMP.astype(np.uint16) * 257)[None]):
        picture = pictured(tmp_path, png(values, chunks))
        assert np.abs(np.asarray(picture.rgb, int)[0, :, 0] - srgb_levels(RAMP / 255)).max() <= 1
        assert not picture.plain


def test_grey_profiles_are_applied_beside_alpha_and_where_zero_is_white(tmp_path: Path) -> None:
    light = np.arange(16 * 16, dtype=np.uint16).reshape(16, 16) * 257
    profile = icc_profile(power(1.0), name="sRGB", grey=True)
    wanted = srgb_levels(light / 65535)
    alpha = np.full_like(light, 65535)
    data = png(np.stack([light, alpha], axis=-1), iccp(profile))
    below_alpha = np.asarray(pictured(tmp_path, data).rgb)[..., 0]
    tifffile.imwrite(
        tmp_path / "a.tif", 65535 - light, photometric="miniswhite", iccprofile=profile
    )
    inverted = np.asarray(read_image(tmp_path / "a.tif").rgb)[..., 0]
    assert np.abs(below_alpha.astype(int) - wanted).max() <= 1
    assert np.abs(inverted.astype(int) - wanted).max() <= 1


def test_16_bit_colours_keep_their_darks_under_a_linear_profile(tmp_path: Path) -> None:
    dark = np.arange(0, 1024, 4, dtype=np.uint16).reshape(16, 16)
    values = np.stack([dark, dark, dark], axis=-1)
    for chunks in (iccp(icc_profile(power(1.0))), gama(100_000)):
        picture = pictured(tmp_path, png(values, chunks))
        expected = srgb_levels(values / 65535)
        assert np.abs(np.asarray(picture.rgb, int) - expected).max() <= 1
        assert (picture.bits, picture.plain) == (16, False)


def test_gama_is_applied_to_grey_colour_and_palettes(tmp_path: Path) -> None:
    colours = pictured(tmp_path, png(COLOURS, gama(100_000)))
    assert np.abs(np.asarray(colours.rgb, int) - LINEAR).max() <= 1
    assert not colours.plain
    for values in (RAMP[None], (RAMP.astype(np.uint16) * 257)[None]):
        grey = pictured(tmp_path, png(values, gama(100_000)))
        assert np.abs(np.asarray(grey.rgb, int)[0, :, 0] - srgb_levels(RAMP / 255)).max() <= 1
    stream = io.BytesIO()
    palette = Image.fromarray(COLOURS).quantize(16)
    palette.save(stream, "PNG")
    data = stream.getvalue()
    picture = pictured(tmp_path, data[:33] + gama(100_000) + data[33:])
    expected = srgb_levels(np.asarray(palette.convert("RGB")) / 255)
    assert np.abs(np.asarray(picture.rgb, int) - expected).max() <= 1


@pytest.mark.parametrize(
    "chunks",
    [
        gama(45455),
        gama(45000),
        gama(45455) + chunk(b"cHRM", CHRM_SRGB),
        chunk(b"sRGB", b"\0") + gama(100_000),
        chunk(b"cHRM", CHRM_SRGB),
        iccp(icc_profile(srgb_curve())) + gama(100_000),
        chunk(b"cICP", bytes((1, 13, 0, 1))) + iccp(icc_profile(power(1.0))),
        chunk(b"cICP", bytes((1, 13, 0, 1))) + gama(100_000),
    ],
)
def test_what_says_srgb_first_is_srgb(tmp_path: Path, chunks: bytes) -> None:
    picture = pictured(tmp_path, png(COLOURS, chunks))
    assert np.array_equal(np.asarray(picture.rgb), COLOURS)
    assert picture.plain
    assert picture.notes == ()


@pytest.mark.parametrize(
    "chunks",
    [
        gama(45455) + iccp(icc_profile(power(1.0))),
        chunk(b"sRGB", b"\0") + iccp(icc_profile(power(1.0))),
        chunk(b"sRGB", b"\0") + chunk(b"cICP", bytes((1, 8, 0, 1))),
        chunk(b"cICP", bytes((1, 8, 0, 1))) + iccp(icc_profile(srgb_curve())),
        chunk(b"cICP", bytes((200, 8, 0, 1))) + gama(100_000),
        iccp(b"no profile") + gama(100_000),
    ],
)
def test_what_says_linear_first_is_linear(tmp_path: Path, chunks: bytes) -> None:
    picture = pictured(tmp_path, png(COLOURS, chunks))
    assert np.abs(np.asarray(picture.rgb, int) - LINEAR).max() <= 1
    assert not picture.plain


def test_primaries_are_applied(tmp_path: Path) -> None:
    colours = np.array([[[200, 50, 50], [50, 200, 50], [90, 90, 90], [255, 255, 255]]], np.uint8)
    by_chrm = np.asarray(
        pictured(tmp_path, png(colours, gama(45455) + chunk(b"cHRM", CHRM_P3))).rgb, int
    )
    by_cicp = np.asarray(
        pictured(tmp_path, png(colours, chunk(b"cICP", bytes((12, 13, 0, 1))))).rgb, int
    )
    assert np.abs(by_chrm - by_cicp).max() <= 1
    assert by_chrm[0, 0, 0] > 205  # red of Display P3 is more than red of sRGB
    assert by_chrm[0, 0, 1] < 45
    assert by_chrm[0, 2].tolist() == [90, 90, 90]
    assert by_chrm[0, 3].tolist() == [255, 255, 255]
    swapped = pictured(tmp_path, png(colours, iccp(icc_profile(srgb_curve(), swapped=True))))
    assert np.abs(np.asarray(swapped.rgb, int)[0, 0] - [50, 200, 50]).max() <= 1


@pytest.mark.parametrize(
    "chunks", [gama(0), gama(2**31), chunk(b"cHRM", b"\0" * 32), chunk(b"cHRM", b"\xff" * 32)]
)
def test_impossible_numbers_are_dropped_with_a_note(tmp_path: Path, chunks: bytes) -> None:
    picture = pictured(tmp_path, png(COLOURS, chunks))
    assert np.array_equal(np.asarray(picture.rgb), COLOURS)
    assert picture.notes[0].startswith(f"metadata dropped: {chunks[4:8].decode()}")


def test_levels_of_a_narrow_range_are_stretched(tmp_path: Path) -> None:
    values = np.repeat(np.array([[0, 16, 235, 255]], np.uint8)[..., None], 3, axis=2)
    picture = pictured(tmp_path, png(values, chunk(b"cICP", bytes((1, 13, 0, 0)))))
    assert np.asarray(picture.rgb)[0, :, 1].tolist() == [0, 0, 255, 255]


def test_hdr_codes_are_shown_as_on_paper(tmp_path: Path) -> None:
    # 203 nits, the white of paper, in PQ and in HLG (ITU-R BT.2408)
    for transfer, white in ((16, 0.5807), (18, 0.75)):
        values = np.full((4, 4, 3), round(white * 65535), np.uint16)
        picture = pictured(tmp_path, png(values, chunk(b"cICP", bytes((9, transfer, 0, 1)))))
        assert np.abs(np.asarray(picture.rgb, int) - 255).max() <= 3
        assert not picture.plain


def test_a_profile_of_jpeg_and_webp_counts_as_in_png(tmp_path: Path) -> None:
    linear = icc_profile(power(1.0))
    for kind, options in (
        ("JPEG", {"quality": 100, "subsampling": 0}),
        ("WEBP", {"lossless": True}),
    ):
        stream = io.BytesIO()
        Image.fromarray(RAMP[None].repeat(16, 0)).convert("RGB").save(
            stream, kind, icc_profile=linear, **options
        )
        picture = pictured(tmp_path, stream.getvalue())
        shown = np.asarray(picture.rgb, int)[8, :, 1]
        assert np.abs(shown - srgb_levels(RAMP / 255))[16:].max() <= 4
        assert not picture.plain


def test_lab_profiles_do_not_fit_rgb(tmp_path: Path) -> None:
    lab = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
    picture = pictured(tmp_path, png(COLOURS, iccp(lab)))
    assert np.array_equal(np.asarray(picture.rgb), COLOURS)
