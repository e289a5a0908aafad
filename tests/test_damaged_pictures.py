"""Rubbish in metadata costs the metadata, never the picture; pixels that are cut are refused."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image, ImageCms

from vaeneer.data.images import Picture, read_image
from vaeneer.errors import ImageFileError

SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
MEBIBYTES = zlib.compress(b"x" * (3 << 20))
RUBBISH = [b"", b"\0", b"abc", bytes(range(64)), b"\xff\xd8\xff\xd9" * 5]


def surface(width: int = 64, height: int = 48) -> Image.Image:
    small = np.random.default_rng(1).integers(0, 256, (6, 8, 3), np.uint8)
    return Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC)


def encoded(kind: str, image: Image.Image | None = None, **options: object) -> bytes:
    stream = io.BytesIO()
    (image or surface()).save(stream, kind, **options)
    return stream.getvalue()


def chunk(name: bytes, body: bytes, *, wrong: int = 0) -> bytes:
    return (
        struct.pack(">I", len(body))
        + name
        + body
        + struct.pack(">I", zlib.crc32(name + body) ^ wrong)
    )


def png_with(extra: bytes) -> bytes:
    whole = encoded("PNG")
    return whole[:33] + extra + whole[33:]


def segment(marker: int, body: bytes) -> bytes:
    return bytes((0xFF, marker)) + struct.pack(">H", len(body) + 2) + body


def jpeg_with(extra: bytes, **options: object) -> bytes:
    whole = encoded("JPEG", quality=90, **options)
    return whole[:20] + extra + whole[20:]  # behind SOI and JFIF


def webp_with(name: bytes, body: bytes, flags: int, *, lossless: bool) -> bytes:
    whole = encoded("WEBP", lossless=lossless, quality=90)
    pixels = (whole[12:16], whole[20 : 20 + int.from_bytes(whole[16:20], "little")])
    head = bytes((flags, 0, 0, 0)) + (63).to_bytes(3, "little") + (47).to_bytes(3, "little")
    parts = [(b"VP8X", head), pixels]
    parts.insert(1 if name == b"ICCP" else 2, (name, body))
    joined = b"".join(n + struct.pack("<I", len(b)) + b + b"\0" * (len(b) % 2) for n, b in parts)
    return b"RIFF" + struct.pack("<I", len(joined) + 4) + b"WEBP" + joined


def rubbish_files() -> Iterator[tuple[str, bytes]]:
    names = b"pHYs gAMA cHRM sRGB tIME sBIT bKGD eXIf tEXt zTXt iTXt iCCP sPLT cICP acTL fcTL tRNS"
    for name in names.split():
        for number, body in enumerate(RUBBISH):
            yield f"{name.decode()} {number}", png_with(chunk(name, body))
        yield f"{name.decode()} checksum", png_with(chunk(name, b"key\0\0value", wrong=1))
    big = {
        "zTXt": b"k\0\0" + MEBIBYTES,
        "iTXt": b"k\0\1\0\0\0" + MEBIBYTES,
        "iCCP": b"k\0\0" + MEBIBYTES,
        "tEXt": b"k\0" + b"y" * (65 << 20),
    }
    for key, body in big.items():
        yield f"{key} of MiB", png_with(chunk(key.encode(), body))
    cut_profile = b"k\0\0" + zlib.compress(SRGB)[:100]
    yield "iCCP cut", png_with(chunk(b"iCCP", cut_profile))
    yield "iCCP method", png_with(chunk(b"iCCP", b"k\0\5" + zlib.compress(SRGB)))
    yield "raw EXIF", png_with(chunk(b"tEXt", b"Raw profile type exif\0\nexif\n  20\nzzzz"))
    yield "wrong size of a text", png_with(struct.pack(">I", 1 << 20) + b"tEXt" + b"k\0abc\0\0\0\0")
    yield "name of no chunk", png_with(chunk(b"t\1Xt", b"abc"))
    starts = {
        0xE0: [b"JFIF\0", b"JFXX\0"],
        0xE1: [b"Exif\0\0", b"http://ns.adobe.com/xap/1.0/\0"],
        0xE2: [b"ICC_PROFILE\0", b"MPF\0", b"FPXR\0"],
        0xED: [b"Photoshop 3.0\08BIM"],
        0xEE: [b"Adobe"],
        0xFE: [b""],
    }
    for marker, heads in starts.items():
        for head in heads:
            for number, body in enumerate(RUBBISH):
                yield f"{marker:x} {head[:4]!r} {number}", jpeg_with(segment(marker, head + body))
    parts = {"cut": b"\1\1" + SRGB[:200], "missing": b"\1\2" + SRGB, "number": b"\1"}
    for key, part in parts.items():
        data = segment(0xE2, b"ICC_PROFILE\0" + part)
        yield f"JPEG profile {key}", jpeg_with(data)
        yield f"progressive profile {key}", jpeg_with(data, progressive=True)
    for name in (b"EXIF", b"XMP ", b"ICCP"):
        for number, body in enumerate(RUBBISH):
            for lossless in (False, True):
                data = webp_with(name, body, 0x2C, lossless=lossless)
                yield f"WebP {name.decode()} {number} {lossless}", data


FILES = dict(rubbish_files())


@pytest.mark.parametrize("name", FILES)
def test_rubbish_in_metadata_never_condemns_a_picture(tmp_path: Path, name: str) -> None:
    data = FILES[name]
    (tmp_path / "a").write_bytes(data)
    picture = read_image(tmp_path / "a")
    lossy = data[:2] == b"\xff\xd8" or b"VP8 " in data
    expected = np.asarray(surface(), int)
    assert np.abs(np.asarray(picture.rgb, int) - expected).max() <= (40 if lossy else 0)
    with_opencv = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    if with_opencv is not None:
        assert np.abs(np.asarray(picture.rgb, int) - with_opencv[..., ::-1]).max() <= (
            40 if lossy else 0
        )


def pictured(tmp_path: Path, data: bytes) -> Picture:
    (tmp_path / "a").write_bytes(data)
    return read_image(tmp_path / "a")


@pytest.mark.parametrize(
    ("data", "note"),
    [
        (png_with(chunk(b"pHYs", b"1234")), "metadata dropped: pHYs, 4 bytes instead of 9"),
        (png_with(chunk(b"zTXt", b"k\0\0" + MEBIBYTES)), "metadata dropped: zTXt, more than 1 MiB"),
        (
            png_with(chunk(b"tEXt", b"k\0v", wrong=1)),
            "metadata dropped: tEXt, its checksum is wrong",
        ),
        (png_with(chunk(b"eXIf", b"abc")), "metadata dropped: EXIF is damaged"),
        (
            jpeg_with(segment(0xE2, b"ICC_PROFILE\0\1")),
            "metadata dropped: the ICC profile is damaged",
        ),
        (webp_with(b"EXIF", b"abc", 8, lossless=True), "metadata dropped: EXIF is damaged"),
        (encoded("JPEG")[:-2], "the end marker is missing"),
        (b"\r\n" + encoded("JPEG"), "2 bytes before the picture dropped"),
        (b"\xef\xbb\xbf" + encoded("PNG"), "3 bytes before the picture dropped"),
    ],
)
def test_what_was_dropped_is_noted(tmp_path: Path, data: bytes, note: str) -> None:
    assert pictured(tmp_path, data).notes[0].startswith(note)


def test_a_whole_picture_has_no_notes(tmp_path: Path) -> None:
    for data in (
        encoded("PNG"),
        encoded("JPEG", icc_profile=SRGB),
        encoded("WEBP"),
        encoded("TIFF"),
    ):
        assert pictured(tmp_path, data).notes == ()


@pytest.mark.parametrize(
    "extra", [b"", segment(0xE2, b"ICC_PROFILE\0\1"), segment(0xE0, b"JFIF\0")]
)
def test_orientation_outlives_other_metadata(tmp_path: Path, extra: bytes) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    jpeg = jpeg_with(segment(0xE1, exif.tobytes() + b"\xff" * 9) + extra)
    picture = pictured(tmp_path, jpeg)
    assert (picture.width_px, picture.height_px) == (48, 64)
    png = png_with(chunk(b"eXIf", exif.tobytes()[6:]) + chunk(b"pHYs", extra[:4]))
    turned = np.asarray(surface().transpose(Image.Transpose.ROTATE_270))
    assert np.array_equal(np.asarray(pictured(tmp_path, png).rgb), turned)


def test_a_profile_of_more_than_a_mebibyte_is_applied(tmp_path: Path) -> None:
    from test_picture_color import icc_profile, power

    large = icc_profile(power(1.0), padding=2 << 20)
    picture = pictured(tmp_path, png_with(chunk(b"iCCP", b"k\0\0" + zlib.compress(large))))
    small = icc_profile(power(1.0))
    expected = pictured(tmp_path, png_with(chunk(b"iCCP", b"k\0\0" + zlib.compress(small))))
    assert np.array_equal(np.asarray(picture.rgb), np.asarray(expected.rgb))
    assert np.asarray(picture.rgb).mean() > np.asarray(surface()).mean() + 20


def flat_end() -> Image.Image:
    pixels = np.array(surface(96, 80))
    pixels[48:] = 90
    return Image.fromarray(pixels)


JPEGS = {
    "baseline": {},
    "flat end": {"image": flat_end()},
    "full chroma": {"subsampling": 0, "quality": 95},
    "progressive": {"progressive": True},
    "restarts": {"restart_marker_blocks": 3},
    "grey": {"image": surface(91, 77).convert("L")},
    "CMYK": {"image": surface(91, 77).convert("CMYK")},
}


@pytest.mark.parametrize("kind", JPEGS)
def test_a_jpeg_without_its_end_is_read_only_where_all_pixels_are_there(
    tmp_path: Path, kind: str
) -> None:
    data = encoded("JPEG", **{"image": surface(96, 80), **JPEGS[kind]})  # type: ignore[arg-type]
    whole = np.asarray(pictured(tmp_path, data).rgb)
    for cut in (data[:-2], data[:-1], data[:-2] + b"\0" * 600):
        assert np.array_equal(np.asarray(pictured(tmp_path, cut).rgb), whole)
    lengths = {*range(4, len(data) - 2, len(data) // 40), *range(len(data) - 12, len(data) - 2)}
    refused: list[str] = []
    for length in sorted(lengths):
        for padding in (b"", b"\0" * 600):
            (tmp_path / "a").write_bytes(data[:length] + padding)
            try:
                pixels = np.asarray(read_image(tmp_path / "a").rgb)
            except ImageFileError as error:
                refused.append(error.reason)
            else:
                assert np.array_equal(pixels, whole), length
    assert {reason.split(":")[0] for reason in refused} == {"truncated"}
    assert len(refused) > 80


def test_grey_in_place_of_pixels_is_no_picture(tmp_path: Path) -> None:
    data = encoded("JPEG", surface(96, 80))
    for length in range(len(data) // 2, len(data) - 100, 97):
        with pytest.raises(ImageFileError, match="truncated"):
            pictured(tmp_path, data[:length] + b"\xff\xd9")
    grey = Image.new("RGB", (96, 80), (128, 128, 128))
    assert pictured(tmp_path, encoded("JPEG", grey)).plain  # and grey itself is one


def test_scans_that_are_missing_are_missed(tmp_path: Path) -> None:
    data = encoded("JPEG", surface(96, 80), progressive=True)
    last = data.rfind(b"\xff\xda")
    tables = data.rfind(b"\xff\xc4", 0, last)
    for length in (last, tables):
        with pytest.raises(ImageFileError, match="truncated"):
            pictured(tmp_path, data[:length] + b"\xff\xd9")


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "P"])
def test_rows_that_a_png_lacks_are_not_black(tmp_path: Path, mode: str) -> None:
    image = surface().convert(mode)
    half = encoded("PNG", image.crop((0, 0, 64, 24)))
    (tmp_path / "a").write_bytes(half[:20] + struct.pack(">I", 48) + half[24:])
    header = half[12:20] + struct.pack(">I", 48) + half[24:29]
    data = half[:12] + header + struct.pack(">I", zlib.crc32(header)) + half[33:]
    with pytest.raises(ImageFileError, match="truncated"):
        pictured(tmp_path, data)
    black = Image.new(mode, (64, 48))
    assert pictured(tmp_path, encoded("PNG", black)).width_px == 64


@pytest.mark.parametrize("place", [19, 23, 24, 25, 28])  # width, height, depth, colours, interlace
def test_a_damaged_header_is_not_mended(tmp_path: Path, place: int) -> None:
    data = bytearray(png_with(chunk(b"pHYs", b"1234")))
    data[place] ^= 1
    with pytest.raises(ImageFileError, match="corrupt"):
        pictured(tmp_path, bytes(data))


def test_a_damaged_palette_is_not_mended(tmp_path: Path) -> None:
    data = bytearray(encoded("PNG", surface().quantize(16)))
    data[data.find(b"PLTE") + 6] ^= 0x40
    with pytest.raises(ImageFileError, match="corrupt"):
        pictured(tmp_path, bytes(data))


def test_a_file_that_is_no_picture_is_not_read_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.png").write_bytes(b"no picture" * 1000)
    monkeypatch.setattr(Path, "read_bytes", lambda path: pytest.fail(f"{path} was read whole"))
    with pytest.raises(ImageFileError, match="not an image"):
        read_image(tmp_path / "a.png")


def test_a_png_needs_no_end_but_its_pixels(tmp_path: Path) -> None:
    data = encoded("PNG")
    whole = np.asarray(surface())
    for missing in (1, 8, 12, 13, 16):  # of IEND, of the checksum before it
        assert np.array_equal(np.asarray(pictured(tmp_path, data[:-missing]).rgb), whole)
    for missing in range(60, len(data) - 40, 61):
        for padding in (b"", b"\0" * 600):
            with pytest.raises(ImageFileError, match=r"^.*: (truncated|corrupt)"):
                pictured(tmp_path, data[:-missing] + padding)


@pytest.mark.parametrize("compression", ["raw", "tiff_lzw"])
def test_rubbish_behind_the_last_page_of_a_tiff_is_no_page(
    tmp_path: Path, compression: str
) -> None:
    data = encoded("TIFF", compression=compression)
    (first,) = struct.unpack_from("<I", data, 4)
    (count,) = struct.unpack_from("<H", data, first)
    at = first + 2 + 12 * count
    for offset in (3, 8, len(data) // 2, len(data) + 9, 2**32 - 1):
        wild = data[:at] + struct.pack("<I", offset) + data[at + 4 :]
        assert np.array_equal(np.asarray(pictured(tmp_path, wild).rgb), np.asarray(surface()))


def test_a_tiff_that_does_not_name_its_channels_is_refused(tmp_path: Path) -> None:
    data = encoded("TIFF")
    (first,) = struct.unpack_from("<I", data, 4)
    (count,) = struct.unpack_from("<H", data, first)
    places = range(first + 2, first + 2 + 12 * count, 12)
    at = next(p for p in places if data[p : p + 2] == struct.pack("<H", 262))
    with pytest.raises(ImageFileError, match="corrupt"):
        pictured(tmp_path, data[:at] + struct.pack("<H", 263) + data[at + 2 :])


@pytest.mark.parametrize("tag", [269, 270, 305, 306, 700, 33723, 34377, 34665, 37724])
@pytest.mark.parametrize("kind", [2, 4, 5, 7, 12, 99])
def test_rubbish_in_a_tiff_tag_is_dropped(tmp_path: Path, tag: int, kind: int) -> None:
    pixels = np.ascontiguousarray(np.asarray(surface()))
    entries = {256: (3, 64), 257: (3, 48), 258: (3, 8), 259: (3, 1), 262: (3, 2), 273: (4, 8),
               277: (3, 3), 278: (3, 48), 279: (4, pixels.size)}  # fmt: skip
    rows = [(key, kind_, 1, value) for key, (kind_, value) in entries.items()]
    rows.append((tag, kind, 5_000_000, 7_000_000))  # far behind the end of the file
    directory = b"".join(struct.pack("<HHII", *row) for row in sorted(rows))
    head = b"II*\0" + struct.pack("<I", 8 + pixels.size) + pixels.tobytes()
    data = head + struct.pack("<H", len(rows)) + directory + b"\0" * 4
    assert np.array_equal(np.asarray(pictured(tmp_path, data).rgb), pixels)
    for missing in (1, 20, 60, len(directory) + 100):
        with pytest.raises(ImageFileError, match="truncated"):
            pictured(tmp_path, data[: -missing - 4])


def test_kinds_of_jpeg_that_nothing_decodes_are_called_so(tmp_path: Path) -> None:
    data = encoded("JPEG")
    frame = data.find(b"\xff\xc0")
    twelve = data[: frame + 4] + b"\x0c" + data[frame + 5 :]
    with pytest.raises(ImageFileError, match="not supported: 12-bit JPEG"):
        pictured(tmp_path, twelve)
    lossless = data[: frame + 1] + b"\xc3" + data[frame + 2 :]
    with pytest.raises(ImageFileError, match="not supported: lossless"):
        pictured(tmp_path, lossless)
