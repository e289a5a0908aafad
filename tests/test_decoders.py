"""Formats that Pillow cannot read or reads wrongly come out with their true pixels, or a reason."""

from __future__ import annotations

import importlib.util
import os
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray
from PIL import Image, ImageCms

from psd_files import psd_bytes
from vaeneer.data.decoders import decode, pages, stored_size
from vaeneer.data.image_formats import FORMATS as IMAGE_FORMATS
from vaeneer.data.image_formats import image_suffixes, missing_extra
from vaeneer.data.images import header_size, read_image
from vaeneer.data.pixel_digest import pixel_digest
from vaeneer.data.pixel_levels import to_image
from vaeneer.data.scan import scan_folder
from vaeneer.data.tiff import seek_picture
from vaeneer.errors import FORMATS_HINT, ImageFileError

Array = NDArray[Any]
HEIGHT, WIDTH = 18, 26
SHARES = np.random.default_rng(12).random((HEIGHT, WIDTH, 4))
"""A picture, RGBA, as shares of white."""


PREDICTED = importlib.util.find_spec("imagecodecs") is not None
"""Whether the predictor of floats can be written and read here."""


def needs(module: str) -> pytest.MarkDecorator:
    absent = importlib.util.find_spec(module) is None
    return pytest.mark.skipif(absent, reason=f"needs {module}")


def scaled(channels: int, kind: str) -> Array:
    """The picture in another depth; one channel is (H, W)."""
    dtype = np.dtype(kind)
    white = 1.0 if dtype.kind == "f" else float(np.iinfo(dtype).max)
    return (SHARES[..., :channels] * white).astype(dtype).squeeze()


def levels(path: Path, max_megapixels: float = 1.0) -> Array:
    """What `decode` reads, as (H, W, 3) levels of 8 bits."""
    return np.asarray(to_image(decode(path, max_megapixels=max_megapixels)).convert("RGB"))


def true_levels(channels: int) -> Array:
    shares = SHARES[..., :3] if channels > 2 else np.repeat(SHARES[..., :1], 3, axis=2)
    return shares * 255


def srgb(light: Array) -> Array:
    """Levels of linear light (IEC 61966-2-1)."""
    light = np.clip(light, 0, 1)
    curve = np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
    return curve * 255


def reason(path: Path, max_megapixels: float = 1.0) -> str:
    with pytest.raises(ImageFileError) as caught:
        to_image(decode(path, max_megapixels=max_megapixels))
    return caught.value.reason


def write_tiff(path: Path, values: Array, *, separate: bool = False, **options: Any) -> None:
    channels = 1 if values.ndim == 2 else values.shape[2]
    if channels > 1:
        options["planarconfig"] = "separate" if separate else "contig"
    if channels in (2, 4):
        options.setdefault("extrasamples", ["unassalpha"])
    options.setdefault("photometric", "rgb" if channels > 2 else "minisblack")
    tifffile.imwrite(path, np.moveaxis(values, -1, 0) if separate else values, **options)


KINDS = ["u1", "u2", "u4", "i1", "i2", "i4", "f2", "f4", "f8"]


@pytest.mark.parametrize("kind", KINDS)
def test_tiffs_of_any_depth_have_their_true_pixels(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "a.tif"
    layouts: list[dict[str, Any]] = [
        {"compression": None},
        {"compression": "zlib", "predictor": PREDICTED or kind[0] != "f", "rowsperstrip": 5},
        {"compression": "lzma", "tile": (16, 16), "bigtiff": True, "byteorder": ">"},
    ]
    for channels in (1, 2, 3, 4):
        values = scaled(channels, kind)
        for separate in (False, True)[: 1 if channels == 1 else 2]:
            for layout in layouts:
                write_tiff(path, values, separate=separate, **layout)
                decoded = decode(path, max_megapixels=1)
                case = (channels, separate, layout)
                assert decoded.values.dtype == values.dtype, case
                assert np.array_equal(decoded.values, values), case
                assert decoded.bits == values.dtype.itemsize * 8
                assert abs(levels(path) - true_levels(channels)).max() <= 2.6, (
                    case
                )  # i1 has 127 steps
                assert sum(page.size for page in pages(path)) == values.size


@needs("imagecodecs")
@pytest.mark.parametrize("compression", ["lzw", "zstd", "packbits", "jpeg2000", "webp", "deflate"])
def test_tiffs_of_rare_compressions_are_read_with_the_extra(
    tmp_path: Path, compression: str
) -> None:
    values = scaled(3, "u1" if compression == "webp" else "u2")
    exact = {"compressionargs": {"lossless": True}} if compression == "webp" else {}
    write_tiff(tmp_path / "a.tif", values, compression=compression, **exact)
    assert np.array_equal(decode(tmp_path / "a.tif", max_megapixels=1).values, values)


@needs("imagecodecs")
def test_a_compression_that_only_the_extra_reads_names_it(tmp_path: Path) -> None:
    write_tiff(tmp_path / "a.tif", scaled(3, "f4"), compression="lzw")
    code = (
        "import sys; sys.modules['imagecodecs'] = None\n"
        "from pathlib import Path\n"
        "from vaeneer.data.decoders import decode\n"
        "decode(Path(sys.argv[1]), max_megapixels=1)"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "a.tif")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert f"not supported: compression of this TIFF; {FORMATS_HINT}" in done.stderr


def test_the_picture_of_a_tiff_is_its_largest_page_that_is_no_preview(tmp_path: Path) -> None:
    path, values = tmp_path / "a.tif", scaled(3, "u2")
    with tifffile.TiffWriter(path) as writer:
        writer.write(values[::3, ::3], photometric="rgb", subfiletype=1)
        writer.write(values, photometric="rgb")
        writer.write(np.zeros((40, 40, 3), np.uint8), photometric="rgb", subfiletype=1)
    assert np.array_equal(decode(path, max_megapixels=1).values, values)
    assert [page.shape[:2] for page in pages(path)] == [(6, 9), (HEIGHT, WIDTH), (40, 40)]
    with Image.open(path) as image:
        assert seek_picture(image)
        assert image.size == (WIDTH, HEIGHT)


def test_the_picture_of_a_tiff_may_be_behind_its_previews(tmp_path: Path) -> None:
    path, values = tmp_path / "a.tif", scaled(3, "u1")
    with tifffile.TiffWriter(path) as writer:
        writer.write(values[::3, ::3], photometric="rgb", subfiletype=1, subifds=1)
        writer.write(values, photometric="rgb")
    assert np.array_equal(np.asarray(read_image(path).rgb), values)
    assert header_size(path) == (WIDTH, HEIGHT)
    assert pixel_digest(path) != b""


@pytest.mark.parametrize(
    ("values", "options", "readable"),
    [
        (scaled(3, "u1"), {}, True),
        (scaled(3, "u1"), {"separate": True}, True),
        (scaled(3, "u2"), {}, True),
        (scaled(3, "u2"), {"separate": True}, False),
        (scaled(1, "u2"), {}, True),
        (scaled(1, "f4"), {}, True),
        (scaled(1, "f8"), {}, False),
        (scaled(1, "i1"), {}, False),
        (scaled(1, "u4"), {}, False),
        (scaled(3, "f4"), {}, False),
        (scaled(2, "u2"), {}, False),
    ],
)
def test_pillow_is_trusted_only_with_tiffs_that_it_reads_rightly(
    tmp_path: Path, values: Array, options: dict[str, Any], readable: bool
) -> None:
    write_tiff(tmp_path / "a.tif", values, **options)
    try:
        with Image.open(tmp_path / "a.tif") as image:
            trusted = seek_picture(image)
    except OSError:
        trusted = False
    assert trusted == readable


def test_white_is_zero_palette_cmyk_orientation_and_profile_of_tiffs(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    write_tiff(path, 65535 - scaled(1, "u2"), photometric="miniswhite")
    assert np.array_equal(decode(path, max_megapixels=1).values, scaled(1, "u2"))

    table = np.random.default_rng(0).integers(0, 65536, (3, 256), dtype=np.uint16)
    write_tiff(path, scaled(1, "u1"), photometric="palette", colormap=table)
    assert np.array_equal(decode(path, max_megapixels=1).values, table.T[scaled(1, "u1")])

    write_tiff(path, scaled(4, "u2"), photometric="separated", extrasamples=[])
    decoded = decode(path, max_megapixels=1)
    assert (decoded.mode, to_image(decoded).mode) == ("CMYK;16", "CMYK")

    extra = [(274, "H", 1, 6, True), (34675, "B", 4, b"icc!", True)]
    write_tiff(path, scaled(3, "f4"), extratags=extra)
    decoded = decode(path, max_megapixels=1)
    assert (decoded.orientation, decoded.profile) == (6, b"icc!")
    assert (decoded.mode, decoded.format, decoded.bits) == ("RGB;32F", "TIFF", 32)


def test_associated_alpha_is_divided_out(tmp_path: Path) -> None:
    alpha = 0.25 + 0.75 * SHARES[..., 3:]
    stored = np.concatenate([SHARES[..., :3] * alpha, alpha], axis=2).astype(np.float32)
    write_tiff(tmp_path / "a.tif", stored, extrasamples=["assocalpha"])
    assert abs(levels(tmp_path / "a.tif") - true_levels(3)).max() <= 0.51


def test_floats_and_32_bit_integers_have_the_scales_of_grey(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    for white in (1.0, 255.0, 65535.0):
        write_tiff(path, (SHARES[..., :3] * white).astype(np.float32))
        assert abs(levels(path) - true_levels(3)).max() <= 0.6
    write_tiff(path, (SHARES[..., :3] * 65535).astype(np.uint32))
    assert abs(levels(path) - true_levels(3)).max() <= 0.6
    for bad in (np.nan, np.inf, 1e9):
        write_tiff(path, np.full((4, 4, 3), bad, np.float32))
        with pytest.raises(ValueError, match="float pixels"):
            levels(path)


def test_tiffs_that_would_be_wrong_are_refused_in_true_words(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    write_tiff(path, scaled(3, "u2"), photometric="cielab")
    assert reason(path).startswith("not supported: CIELAB colour")
    write_tiff(path, scaled(3, "u2"), photometric="ycbcr")
    assert reason(path).startswith("not supported: YCBCR colour")
    write_tiff(path, scaled(3, "u1"), extratags=[(50706, "B", 4, b"\1\4\0\0", True)])
    assert reason(path).startswith("not supported: camera raw")
    write_tiff(path, (SHARES[..., 0] + 1j).astype(np.complex64))
    assert reason(path).startswith("not supported: complex64 pixels")


PSD_MODES = [(3, 3, "RGB"), (3, 4, "RGBA"), (1, 1, "L"), (1, 2, "LA"), (8, 1, "L"), (4, 4, "CMYK")]


@pytest.mark.parametrize("compression", [0, 1, 2, 3])
@pytest.mark.parametrize("big", [False, True])
def test_the_flattened_image_of_psd_and_psb(tmp_path: Path, compression: int, big: bool) -> None:
    path = tmp_path / "a.psd"
    for mode, channels, name in PSD_MODES:
        for kind in ("u1", "u2", "f4")[: 2 if mode in (4, 8) else 3]:
            values = scaled(channels, kind)
            planes = np.moveaxis(values.reshape(HEIGHT, WIDTH, channels), -1, 0)
            data = psd_bytes(planes, mode=mode, compression=compression, big=big, layers=b"layers")
            path.write_bytes(data)
            decoded = decode(path, max_megapixels=1)
            want = np.iinfo(values.dtype).max - values if mode == 4 else values
            assert np.array_equal(decoded.values, want), (mode, channels, kind)
            assert decoded.mode.partition(";")[0] == name
            assert decoded.space == ("linear" if kind == "f4" else "srgb")
            flat, layers = pages(path)
            assert np.array_equal(flat, planes)
            assert layers.tobytes().endswith(b"layers")


def test_indexed_and_bitmap_psd(tmp_path: Path) -> None:
    path, indices = tmp_path / "a.psd", scaled(1, "u1")
    palette = np.random.default_rng(0).integers(0, 256, (3, 256), dtype=np.uint8)
    path.write_bytes(psd_bytes(indices[None], mode=2, palette=palette.tobytes()))
    assert np.array_equal(levels(path), palette.T[indices])
    path.write_bytes(psd_bytes(SHARES[None, ..., 0] > 0.5, mode=0))
    assert np.array_equal(levels(path)[..., 0], np.where(SHARES[..., 0] > 0.5, 255, 0))


def test_psd_of_8_bits_agrees_with_pillow(tmp_path: Path) -> None:
    path = tmp_path / "a.psd"
    path.write_bytes(psd_bytes(np.moveaxis(scaled(3, "u1"), -1, 0)))
    with Image.open(path, formats=["PSD"]) as image:
        assert np.array_equal(np.asarray(image), levels(path))


def test_psd_without_its_flattened_image_or_of_rare_colours_is_refused(tmp_path: Path) -> None:
    path, planes = tmp_path / "a.psd", np.moveaxis(scaled(3, "u1"), -1, 0)
    path.write_bytes(psd_bytes(planes, composite=False))
    assert reason(path).startswith("not supported: PSD saved without its flattened image")
    for mode, name in ((9, "Lab"), (7, "multichannel")):
        path.write_bytes(psd_bytes(planes, mode=mode))
        assert reason(path).startswith(f"not supported: {name} colour")


def test_hdr_is_linear_light_under_an_exposure(tmp_path: Path) -> None:
    path, light = tmp_path / "a.hdr", SHARES[..., :3].astype(np.float32)
    cv2.imwrite(str(path), light[..., ::-1])
    stored = decode(path, max_megapixels=1).values
    assert abs(stored - light).max() <= 0.01  # a shared exponent keeps 8 bits
    assert abs(levels(path) - srgb(stored)).max() <= 0.6
    bright = np.tile(light, (4, 4, 1)) * 40
    bright[0, 0] = 60_000  # the sun must not darken all else
    cv2.imwrite(str(path), bright[..., ::-1])
    stored = decode(path, max_megapixels=1).values
    exposed = stored / np.percentile(stored.max(axis=2), 99)
    assert abs(levels(path) - srgb(exposed)).max() <= 0.6
    data = path.read_bytes()
    for old, new in ((b"-Y", b"+Y"), (b"rgbe", b"xyze")):
        path.write_bytes(data.replace(old, new, 1))
        assert reason(path).startswith("not supported: HDR")


def write_exr(path: Path, parts: list[dict[str, Any]]) -> None:
    """Each part: channels (name -> (H, W) or (H, W) values), and what else its spec says."""
    oiio = pytest.importorskip("OpenImageIO")
    specs = []
    for part in parts:
        first = next(iter(part["channels"].values()))
        spec = oiio.ImageSpec(first.shape[1], first.shape[0], len(part["channels"]), "float")
        spec.channelnames = list(part["channels"])
        spec.attribute("oiio:subimagename", part.get("name", ""))
        for name, value in part.get("fields", {}).items():
            setattr(spec, name, value)
        specs.append(spec)
    output = oiio.ImageOutput.create(str(path))
    assert output.open(str(path), tuple(specs)), output.geterror()
    for index, part in enumerate(parts):
        if index:
            assert output.open(str(path), specs[index], "AppendSubimage")
        assert output.write_image(np.stack(list(part["channels"].values()), axis=2))
    output.close()


LIGHT = (SHARES * 3).astype(np.float32)
RGB = {name: LIGHT[..., index] for index, name in enumerate("RGB")}
OTHER = np.full((HEIGHT, WIDTH), 0.5, np.float32)


@needs("OpenImageIO")
@pytest.mark.parametrize(
    "parts",
    [
        [{"channels": RGB}],
        [{"channels": RGB | {"A": OTHER}}],
        [{"channels": RGB | {"normal.R": OTHER, "normal.G": OTHER, "normal.B": OTHER}}],
        [{"channels": {f"View Layer.Combined.{n}": v for n, v in RGB.items()} | {"Z": OTHER}}],
        [
            {
                "channels": {f"L.DiffCol.{name}": OTHER for name in "RGB"}
                | {f"L.Combined.{name}": value for name, value in RGB.items()}
            }
        ],
        [{"channels": {"Z": OTHER}, "name": "depth"}, {"channels": RGB, "name": "rgba"}],
    ],
    ids=["RGB", "RGBA", "layers", "one layer", "Combined", "parts"],
)
def test_the_picture_of_an_exr_is_its_default_layer(
    tmp_path: Path, parts: list[dict[str, Any]]
) -> None:
    path = tmp_path / "a.exr"
    write_exr(path, parts)
    decoded = decode(path, max_megapixels=1)
    assert np.array_equal(decoded.values, LIGHT[..., :3])
    assert (decoded.space, decoded.mode, decoded.bits) == ("linear", "RGB;32F", 32)
    held = sum(len(part["channels"]) for part in parts)
    assert sum(page.size for page in pages(path)) == held * HEIGHT * WIDTH


@needs("OpenImageIO")
def test_exr_of_grey_of_a_window_with_nan_and_under_any_name(tmp_path: Path) -> None:
    path = tmp_path / os.fsdecode(b"not utf-8 \xff.exr")
    write_exr(tmp_path / "a.exr", [{"channels": {"Y": LIGHT[..., 0] / 3}}])
    (tmp_path / "a.exr").rename(path)
    assert abs(levels(path)[..., 0] - srgb(SHARES[..., 0])).max() <= 0.6

    path = tmp_path / "a.exr"
    fields = {"x": 2, "y": -3, "full_width": 40, "full_height": 10}
    write_exr(path, [{"channels": RGB, "fields": fields}])
    values = decode(path, max_megapixels=1).values
    assert values.shape == (10, 40, 3)
    assert np.array_equal(values[:, 2 : 2 + WIDTH], LIGHT[3:13, :, :3])
    assert not values[:, 2 + WIDTH :].any()

    bad = {name: value.copy() for name, value in RGB.items()}
    bad["R"][0, 0], bad["G"][1, 1] = np.nan, np.inf
    write_exr(path, [{"channels": bad}])
    decoded = decode(path, max_megapixels=1)
    assert np.isfinite(decoded.values).all()
    assert decoded.notes == ("NaN or infinite pixels: 2",)

    write_exr(path, [{"channels": {"X": OTHER, "Z": OTHER}}])
    assert reason(path) == "not supported: EXR without a colour layer"


@needs("OpenImageIO")
def test_the_primaries_of_an_exr_are_brought_to_those_of_srgb(tmp_path: Path) -> None:
    oiio = pytest.importorskip("OpenImageIO")
    acescg = (0.713, 0.293, 0.165, 0.830, 0.128, 0.044, 0.32168, 0.33767)
    for chromaticities, want in (
        (acescg, (142, 128, 124)),
        ((0.64, 0.33, 0.3, 0.6, 0.15, 0.06, 0.3127, 0.329), (137, 129, 125)),
        ((0.0,) * 8, (137, 129, 125)),
    ):
        spec = oiio.ImageSpec(8, 8, 3, "float")
        spec.attribute("chromaticities", oiio.TypeDesc("float[8]"), chromaticities)
        output = oiio.ImageOutput.create(str(tmp_path / "a.exr"))
        assert output.open(str(tmp_path / "a.exr"), spec)
        output.write_image(np.full((8, 8, 3), (0.25, 0.22, 0.205), np.float32))
        output.close()
        assert np.abs(levels(tmp_path / "a.exr")[0, 0].astype(int) - want).max() <= 1
    assert decode(tmp_path / "a.exr", max_megapixels=1).notes[0].startswith("metadata dropped: ")


@needs("imagecodecs")
@needs("OpenImageIO")
def test_jpeg_xl_of_any_depth(tmp_path: Path) -> None:
    import imagecodecs

    path = tmp_path / "a.jxl"
    for kind in ("u1", "u2", "f4"):
        for channels in (1, 2, 3, 4):
            values = scaled(channels, kind)
            path.write_bytes(imagecodecs.jpegxl_encode(values, lossless=True))
            decoded = decode(path, max_megapixels=1)
            assert np.array_equal(decoded.values, values)
            assert decoded.space == ("srgb" if kind == "u1" else "linear")  # as the encoder says
            assert np.array_equal(next(pages(path)), values)
    flat = np.full((300, 400, 3), 77, np.uint8)  # a file of 43 bytes
    path.write_bytes(imagecodecs.jpegxl_encode(flat, lossless=True))
    assert np.array_equal(levels(path), flat)
    assert reason(path, max_megapixels=0.1).startswith("too many pixels: 400 x 300 px")


@needs("pillow_heif")
def test_heic_of_8_and_10_bits(tmp_path: Path) -> None:
    import pillow_heif

    y, x = np.mgrid[0:64, 0:80]
    grey = (x + y) / 144  # smooth, so that the lossy colour of HEIC keeps it
    path = tmp_path / "a.heic"
    for mode, white in (("RGB", 255), ("RGB;16", 65535)):
        values = np.repeat((grey * white).astype(np.uint16)[..., None], 3, axis=2)
        stored = values.astype(np.uint8 if white == 255 else np.uint16)
        pillow_heif.encode(mode, (80, 64), stored.tobytes(), str(path), quality=100)
        decoded = decode(path, max_megapixels=1)
        assert (decoded.bits, decoded.format) == (8 if white == 255 else 10, "HEIF")
        assert abs(levels(path) - grey[..., None] * 255).max() <= 4
        assert np.array_equal(next(pages(path)), decoded.values)
    assert reason(path, max_megapixels=0.001).startswith("too many pixels: 80 x 64 px")


def written(tmp_path: Path, suffix: str) -> Path:
    """A sound file of a format."""
    path = tmp_path / f"sound{suffix}"
    if suffix == ".tif":
        write_tiff(path, scaled(3, "f4"), compression="zlib", rowsperstrip=4)
    elif suffix == ".psd":
        path.write_bytes(psd_bytes(np.moveaxis(scaled(3, "u2"), -1, 0), layers=b"layers"))
    elif suffix == ".hdr":
        cv2.imwrite(str(path), LIGHT[..., :3])
    elif suffix == ".exr":
        write_exr(path, [{"channels": RGB}])
    elif suffix == ".jxl":
        codecs = pytest.importorskip("imagecodecs")
        path.write_bytes(codecs.jpegxl_encode(scaled(3, "u2"), lossless=True))
    else:
        heif = pytest.importorskip("pillow_heif")
        heif.encode("RGB", (WIDTH, HEIGHT), scaled(3, "u1").tobytes(), str(path), quality=90)
    return path


FORMATS = [
    ".tif",
    ".psd",
    ".hdr",
    pytest.param(".exr", marks=needs("OpenImageIO")),
    pytest.param(".jxl", marks=needs("OpenImageIO")),
    pytest.param(".heic", marks=needs("pillow_heif")),
]


@pytest.mark.parametrize("suffix", FORMATS)
def test_a_file_cut_anywhere_is_refused_and_never_a_wrong_picture(
    tmp_path: Path, suffix: str
) -> None:
    sound = written(tmp_path, suffix)
    data = sound.read_bytes()
    true = decode(sound, max_megapixels=1).values
    cut = tmp_path / f"cut{suffix}"
    reasons = []
    for length in sorted({1, 9, 20, 33, *range(40, len(data), len(data) // 23), len(data) - 1}):
        cut.write_bytes(data[:length])
        try:
            values = decode(cut, max_megapixels=1).values
        except ImageFileError as error:
            reasons.append(error.reason)
        else:
            assert np.array_equal(values, true), length
    assert {text.partition(":")[0] for text in reasons} <= {"truncated", "corrupt", "not an image"}
    unclear = (str(tmp_path), "Invalid input", "Unspecified")
    assert not any(word in text for word in unclear for text in reasons)


@pytest.mark.parametrize("suffix", FORMATS)
def test_damaged_bytes_never_raise_anything_else(tmp_path: Path, suffix: str) -> None:
    data = written(tmp_path, suffix).read_bytes()
    random = np.random.default_rng(5)
    path = tmp_path / f"damaged{suffix}"
    for _ in range(60):
        damaged = bytearray(data)
        for at in random.integers(4, min(len(data), 400), 3):
            damaged[at] = random.integers(0, 256)
        path.write_bytes(damaged)
        try:
            decode(path, max_megapixels=1)
            for _ in pages(path):
                pass
        except ImageFileError:
            pass


def bomb(tmp_path: Path, suffix: str) -> Path:
    """A small file that claims 100,000 x 100,000 px."""
    path = written(tmp_path, suffix)
    data = bytearray(path.read_bytes())
    if suffix == ".tif":
        write_tiff(path, scaled(3, "f4"))
        with tifffile.TiffFile(path, mode="r+b") as tiff:
            for tag in (256, 257):
                tiff.pages.first.tags[tag].overwrite(100_000)
        return path
    if suffix == ".psd":
        data[14:22] = struct.pack(">II", 100_000, 100_000)
    elif suffix == ".hdr":
        data = data.replace(f"-Y {HEIGHT} +X {WIDTH}".encode(), b"-Y 100000 +X 100000")
    elif suffix == ".exr":
        for name in (b"dataWindow\0box2i\0", b"displayWindow\0box2i\0"):
            at = data.index(name) + len(name) + 4
            data[at : at + 16] = struct.pack("<4i", 0, 0, 99_999, 99_999)
    elif suffix == ".jxl":
        size = 0b0 | 3 << 1 | 99_999 << 3 | 0 << 33 | 3 << 36 | 99_999 << 38 | 1 << 68
        data = bytearray(b"\xff\x0a" + size.to_bytes(9, "little") + bytes(300))
    else:
        at = data.index(b"ispe") + 8
        data[at : at + 8] = struct.pack(">II", 100_000, 100_000)
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("suffix", FORMATS)
def test_the_size_is_checked_before_pixels_are_decoded(tmp_path: Path, suffix: str) -> None:
    told = reason(bomb(tmp_path, suffix), max_megapixels=500)
    if suffix in (".heic", ".exr"):  # libheif and OpenImageIO have limits too
        assert told.partition(":")[0] in ("too many pixels", "corrupt")
    else:
        assert told == "too many pixels: 100000 x 100000 px, over 500 megapixels"


def test_what_is_not_installed_is_named_with_the_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = {suffix for one in IMAGE_FORMATS if not one.pillow for suffix in one.suffixes.split()}
    assert {".psd", ".psb", ".hdr"} <= image_suffixes()
    assert missing_extra(".png") is None
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util,
        "find_spec",
        lambda name: None if name in ("OpenImageIO", "pillow_heif") else find_spec(name),
    )
    missing_extra.cache_clear()
    try:
        assert image_suffixes() & own == {".psd", ".psb", ".hdr"}
        path = tmp_path / "a.exr"
        path.write_bytes(b"v/1\x01" + bytes(40))
        for suffix in (".exr", ".EXR", ".heic", ".heif", ".jxl"):
            kind = suffix.lower()
            assert missing_extra(suffix) == f"format not supported ({kind}): {FORMATS_HINT}"
        assert reason(path) == f"format not supported (.exr): {FORMATS_HINT}"
    finally:
        missing_extra.cache_clear()


def test_the_content_says_what_a_file_is_and_not_its_suffix(tmp_path: Path) -> None:
    path = tmp_path / "a.exr"
    path.write_bytes(psd_bytes(np.moveaxis(scaled(3, "u1"), -1, 0)))
    assert decode(path, max_megapixels=1).format == "PSD"
    path.write_bytes(b"")
    assert reason(path) == "empty file"
    path.write_bytes(b"hello, world")
    assert reason(path) == "not an image"
    path.unlink()
    assert reason(path).startswith("cannot be read: ")


def test_no_library_is_imported_before_a_file_needs_it() -> None:
    code = "import sys, vaeneer.data.decoders; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    heavy = {"OpenImageIO", "pillow_heif", "imagecodecs", "tifffile", "cv2"}
    assert not heavy & set(done.stdout.split())
    assert ".psd" in image_suffixes()


@pytest.mark.parametrize("suffix", FORMATS)
def test_the_size_of_a_file_is_read_from_its_header(tmp_path: Path, suffix: str) -> None:
    assert stored_size(written(tmp_path, suffix)) == (WIDTH, HEIGHT)


def test_a_picture_of_every_format_is_read_upright_in_8_bits(tmp_path: Path) -> None:
    """Through `read_image`, the one way in."""
    turned = [(274, "H", 1, 6, True)]
    for kind in ("f4", "f8", "u4"):
        write_tiff(tmp_path / "a.tif", scaled(3, kind), extratags=turned)
        picture = read_image(tmp_path / "a.tif")
        assert (picture.width_px, picture.height_px) == (HEIGHT, WIDTH)
        upright = np.rot90(true_levels(3), -1)
        assert abs(np.asarray(picture.rgb) - upright).max() <= 0.6
        assert (picture.format, picture.plain) == ("TIFF", False)
    write_tiff(tmp_path / "a.tif", scaled(3, "u2"), separate=True)
    assert abs(np.asarray(read_image(tmp_path / "a.tif").rgb) - true_levels(3)).max() <= 0.51
    decoded = {suffix for one in IMAGE_FORMATS if not one.pillow for suffix in one.suffixes.split()}
    for suffix in sorted(decoded & image_suffixes() - {".psb", ".heif", ".hif"}):
        path = written(tmp_path, suffix)
        picture = read_image(path)
        assert np.array_equal(np.asarray(picture.rgb), levels(path)), suffix
        assert header_size(path) == picture.rgb.size
        with pytest.raises(ImageFileError, match="too many pixels"):
            read_image(path, max_megapixels=0.0001)


def test_a_preview_before_the_picture_is_not_taken_for_it(tmp_path: Path) -> None:
    path, values = tmp_path / "a.tif", scaled(3, "u1")
    with tifffile.TiffWriter(path) as writer:
        writer.write(values[::3, ::3], photometric="rgb")  # some writers mark it, some do not
        writer.write(values, photometric="rgb")
    assert np.array_equal(np.asarray(read_image(path).rgb), values)
    assert header_size(path) == (WIDTH, HEIGHT)


def test_a_linear_profile_of_a_deep_picture_is_applied_at_its_depth(tmp_path: Path) -> None:
    """In 8 bits the darkest greys of a linear profile would be a few steps."""
    profile = linear_profile()
    light = np.repeat(np.linspace(0, 0.02, 64, dtype=np.float32)[None, :, None], 3, axis=2)
    light = np.repeat(light, 16, axis=0)
    extra = [(34675, "B", len(profile), profile, True)]
    write_tiff(tmp_path / "a.tif", light, extratags=extra)
    grey = np.asarray(read_image(tmp_path / "a.tif").rgb)
    assert abs(grey - srgb(light)).max() <= 1.5
    planes = np.moveaxis(np.rint(light * 65535).astype(np.uint16), -1, 0)
    path = tmp_path / "a.psd"
    path.write_bytes(psd_bytes(planes, profile=profile))
    assert abs(np.asarray(read_image(path).rgb) - srgb(light)).max() <= 1.5


def linear_profile() -> bytes:
    """An ICC profile of sRGB's primaries without its curve."""
    data = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    curve = b"para" + bytes(4) + struct.pack(">HHi", 0, 0, 1 << 16)
    for number in range(struct.unpack_from(">I", data, 128)[0]):
        name, offset, size = struct.unpack_from(">4sII", data, 132 + 12 * number)
        if name in (b"rTRC", b"gTRC", b"bTRC"):
            data[offset : offset + size] = curve.ljust(size, b"\0")
            struct.pack_into(">I", data, 132 + 12 * number + 8, len(curve))
    return bytes(data)


def test_the_digest_of_a_file_is_of_all_that_it_holds(tmp_path: Path) -> None:
    first, second = tmp_path / "a.tif", tmp_path / "b.tif"
    write_tiff(first, scaled(3, "f4"))
    write_tiff(second, scaled(3, "f4"), compression="zlib", predictor=PREDICTED, bigtiff=True)
    assert pixel_digest(first) == pixel_digest(second)
    changed = scaled(3, "f4")
    changed[0, 0, 0] += 1e-4  # less than a level
    write_tiff(second, changed)
    assert pixel_digest(first) != pixel_digest(second)

    planes = np.moveaxis(scaled(4, "u1"), -1, 0)
    other_alpha = planes.copy()
    other_alpha[3, 0, 0] ^= 1
    digests = set()
    for flat, layers in ((planes, b"a"), (other_alpha, b"a"), (planes, b"b")):
        first.write_bytes(psd_bytes(flat, layers=layers))
        digests.add(pixel_digest(first))
    assert len(digests) == 3
    second.write_bytes(psd_bytes(planes, layers=b"b", compression=0))
    assert pixel_digest(second) in digests


def test_a_folder_lists_what_it_cannot_read_and_takes_the_rest(tmp_path: Path) -> None:
    written(tmp_path, ".psd")
    for name in ("photo.dng", "icon.SVG", "notes.txt"):
        (tmp_path / name).write_bytes(b"x")
    scan = scan_folder(tmp_path)
    assert [found.path.name for found in scan.images] == ["sound.psd"]
    remedy = "export it as 16-bit TIFF or PNG"
    assert scan.left_out == (
        ("icon.SVG", f"format not supported (.svg): {remedy}"),
        ("photo.dng", f"format not supported (.dng): {remedy}"),
    )
