"""Colour spaces of picture files and their conversion to sRGB.

ICC profiles are applied by LittleCMS; PNG's cICP, gAMA and cHRM, and the 16-bit colours of
matrix profiles, by curves and a matrix. A space counts as sRGB by what it does to colours,
whatever its name: where no probe colour moves by more than a level.
"""

from __future__ import annotations

import hashlib
import io
import struct
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import IO

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms

Curve = Callable[[NDArray[np.float64]], NDArray[np.float64]]
"""Linear light, 0 to 1, of stored values, 0 to 1."""
_SAME_LEVELS = 1  # a larger difference on any probe colour is another colour space
_GREYS = 256  # of a probe, its first
_LEAST_RANGE, _MOST_FALL, _MOST_TINT = 128, 8, 96  # levels that a sound profile leaves of greys
_BLOCK_PX = 2**20
D65_XY = (0.3127, 0.3290)
SRGB_XY = ((0.64, 0.33), (0.30, 0.60), (0.15, 0.06))
_BRADFORD = np.array(
    [(0.8951, 0.2664, -0.1614), (-0.7502, 1.7135, 0.0367), (0.0389, -0.0685, 1.0296)]
)
_SPACES = {
    **dict.fromkeys(("1", "L", "LA", "La", "I;16", "I;16B", "I;16L"), "GRAY"),
    **dict.fromkeys(("P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "YCbCr"), "RGB"),
    "CMYK": "CMYK",
}
"""Channels that the ICC profile of a picture must be for, by Pillow's mode."""
_SIGNATURE_BYTES = 8
_READ = {b"cICP": 4, b"sRGB": 1, b"gAMA": 4, b"cHRM": 32}  # chunks and their bytes
_SRGB_GAMMA = 0.45455
_SAME_GAMMA = 0.05  # of it: libpng's threshold
_GAMMAS = (0.1, 5.0)  # what any device or program writes; beyond it is rubbish
_CICP_PRIMARIES = {
    1: (SRGB_XY, D65_XY),
    4: (((0.67, 0.33), (0.21, 0.71), (0.14, 0.08)), (0.310, 0.316)),
    5: (((0.64, 0.33), (0.29, 0.60), (0.15, 0.06)), D65_XY),
    6: (((0.630, 0.340), (0.310, 0.595), (0.155, 0.070)), D65_XY),
    7: (((0.630, 0.340), (0.310, 0.595), (0.155, 0.070)), D65_XY),
    9: (((0.708, 0.292), (0.170, 0.797), (0.131, 0.046)), D65_XY),
    11: (((0.680, 0.320), (0.265, 0.690), (0.150, 0.060)), (0.314, 0.351)),
    12: (((0.680, 0.320), (0.265, 0.690), (0.150, 0.060)), D65_XY),
}
"""xy of red, green and blue, and of white, by their number in ITU-T H.273."""
_REFERENCE_WHITE_NITS = 203.0  # of HDR pictures, ITU-R BT.2408


@dataclass(frozen=True)
class MatrixSpace:
    """RGB colour space of three transfer curves and three primaries."""

    curves: tuple[Curve, Curve, Curve]
    matrix: NDArray[np.float64]
    """(3, 3): linear light of this space to linear light of sRGB."""

    def to_srgb(self, values: NDArray[np.uint8] | NDArray[np.uint16]) -> NDArray[np.uint8]:
        """Convert (H, W, 3) colours or (H, W) greys of 8 or 16 bits; the same shape, uint8."""
        white = int(np.iinfo(values.dtype).max)
        levels = np.linspace(0, 1, white + 1)
        tables = [curve(levels).astype(np.float32) for curve in self.curves]
        if values.ndim == 2 or np.allclose(self.matrix, np.eye(3), atol=2e-3):
            luts = [encode_srgb(table) for table in tables]
            if values.ndim == 2:
                return luts[1][values]
            return np.stack([luts[c][values[..., c]] for c in range(3)], axis=-1)
        out = np.empty(values.shape, np.uint8)
        rows = max(1, _BLOCK_PX // max(1, values.shape[1]))
        turned = self.matrix.T.astype(np.float32)
        for top in range(0, values.shape[0], rows):
            block = values[top : top + rows]
            light = np.stack([tables[c][block[..., c]] for c in range(3)], axis=-1)
            out[top : top + rows] = encode_srgb(light @ turned)
        return out

    @property
    def is_srgb(self) -> bool:
        """Whether no probe colour moves."""
        probe = np.asarray(_probe("RGB"))
        moved = np.abs(self.to_srgb(probe).astype(int) - probe)
        return int(moved.max()) <= _SAME_LEVELS


def encode_srgb(light: NDArray[np.float32]) -> NDArray[np.uint8]:
    """8-bit sRGB levels of linear light, which is clipped to 0..1 (IEC 61966-2-1)."""
    return _encoding_table()[np.rint(np.clip(light, 0, 1) * 65535).astype(np.uint16)]


@cache
def _encoding_table() -> NDArray[np.uint8]:
    """sRGB level of linear light in steps of 1/65535."""
    light = np.linspace(0, 1, 65536)
    value = np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
    levels: NDArray[np.uint8] = np.rint(value * 255).astype(np.uint8)
    return levels


def srgb_curve(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Linear light of sRGB values (IEC 61966-2-1)."""
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def primaries_matrix(
    primaries: tuple[tuple[float, float], ...], white: tuple[float, float]
) -> NDArray[np.float64]:
    """Matrix from linear light of RGB primaries to that of sRGB, white to white (Bradford).

    primaries: xy of red, green and blue. Raises ValueError for primaries that span no space.
    """
    if min(white) <= 0 or any(y <= 0 for _, y in primaries):
        raise ValueError("chromaticities of zero")
    adapted = _adaptation(white) @ _rgb_to_xyz(primaries, white)
    matrix = np.linalg.inv(_rgb_to_xyz(SRGB_XY, D65_XY)) @ adapted
    if not np.isfinite(matrix).all() or np.abs(matrix).max() > 20:
        raise ValueError("primaries that span no space")
    return np.asarray(matrix, np.float64)


def _xyz(xy: tuple[float, float]) -> NDArray[np.float64]:
    x, y = xy
    return np.array([x / y, 1.0, (1 - x - y) / y])


def _rgb_to_xyz(
    primaries: tuple[tuple[float, float], ...], white: tuple[float, float]
) -> NDArray[np.float64]:
    columns = np.stack([_xyz(xy) for xy in primaries], axis=1)
    try:
        return columns * np.linalg.solve(columns, _xyz(white))
    except np.linalg.LinAlgError as error:
        raise ValueError("primaries on one line") from error


def _adaptation(white: tuple[float, float]) -> NDArray[np.float64]:
    """XYZ under a white to XYZ under D65."""
    gains = (_BRADFORD @ _xyz(D65_XY)) / (_BRADFORD @ _xyz(white))
    return np.asarray(np.linalg.inv(_BRADFORD) @ (gains[:, None] * _BRADFORD), np.float64)


@dataclass(frozen=True)
class Color:
    """What the stored values of a picture mean, where that is not sRGB."""

    key: bytes
    """Equal for equal spaces."""

    matrix_space: MatrixSpace | None
    """Its curves and primaries; None for a profile with anything else."""

    profile: bytes | None = None
    """ICC profile; None for a space that the file describes in another way."""

    def image_to_srgb(self, image: Image.Image) -> Image.Image:
        """Convert a picture of mode L, RGB or CMYK; mode L or RGB.

        Raises PyCMSError where LittleCMS fails.
        """
        if image.mode == "RGB" and self.profile is not None and self.profile[16:20] == b"GRAY":
            image = image.getchannel("G")
        precise = self.profile is None or image.mode == "L"  # LittleCMS is coarse in dark greys
        if precise and self.matrix_space is not None:
            return Image.fromarray(self.matrix_space.to_srgb(np.asarray(image)))
        return convert_to_srgb(image, ImageCms.ImageCmsProfile(io.BytesIO(self.profile or b"")))

    def grey_to_srgb(self, values: NDArray[np.uint16]) -> Image.Image:
        """Convert 16-bit greys (H, W); mode L or RGB. Raises PyCMSError as above."""
        if self.matrix_space is not None:
            return Image.fromarray(self.matrix_space.to_srgb(values))
        return self.image_to_srgb(Image.fromarray((values >> 8).astype(np.uint8)))


def convert_to_srgb(image: Image.Image, profile: ImageCms.ImageCmsProfile) -> Image.Image:
    """Convert a picture with LittleCMS; mode RGB. Raises PyCMSError."""
    srgb = ImageCms.createProfile("sRGB")
    converted = ImageCms.profileToProfile(image, profile, srgb, outputMode="RGB")
    assert converted is not None  # only in-place conversions answer None
    return converted


@lru_cache(maxsize=32)
def icc_color(data: bytes, space: str) -> Color | None:
    """Read an ICC profile; None where it is sRGB or made for other channels.

    space: GRAY, RGB or CMYK. Raises ValueError for a profile that cannot be applied.
    """
    try:
        profile = ImageCms.ImageCmsProfile(io.BytesIO(data))
        if profile.profile.xcolor_space.strip() != space:
            return None
        probe = _probe("L" if space == "GRAY" else space)
        shown = np.asarray(convert_to_srgb(probe, profile)).astype(int)
    except (ImageCms.PyCMSError, OSError, TypeError) as error:
        raise ValueError("the ICC profile is damaged") from error
    if space != "CMYK" and not _shows_greys(shown[0, :_GREYS]):
        raise ValueError("the ICC profile is damaged")
    matrix_space = None if space == "CMYK" else _matrix_profile(data, grey=space == "GRAY")
    if matrix_space is not None and space == "GRAY":
        same = matrix_space.is_srgb
    else:
        moved = np.abs(shown - np.asarray(probe.convert("RGB")))
        same = int(moved.max()) <= _SAME_LEVELS and space != "CMYK"
    return None if same else Color(hashlib.sha256(data).digest(), matrix_space, data)


def _shows_greys(shown: NDArray[np.int64]) -> bool:
    """Whether the greys of a probe, from black to white, are shown as anything like greys."""
    light = shown.mean(1)
    rises = light[-1] - light[0] >= _LEAST_RANGE and np.diff(light).min() >= -_MOST_FALL
    return bool(rises and np.ptp(shown, axis=1).max() <= _MOST_TINT)


@lru_cache(maxsize=3)
def _probe(mode: str) -> Image.Image:
    """All greys, ramps of each channel and a grid of colours."""
    ramp = np.arange(_GREYS, dtype=np.uint8)
    if mode == "L":
        return Image.fromarray(ramp[None])
    zero = np.zeros_like(ramp)
    rows = [(ramp, ramp, ramp), (ramp, zero, zero), (zero, ramp, zero), (zero, zero, ramp)]
    ramps = np.stack([np.stack(row, axis=-1) for row in rows]).reshape(-1, 3)
    steps = np.arange(0, 256, 51, dtype=np.uint8)
    grid = np.stack(np.meshgrid(steps, steps, steps), axis=-1).reshape(-1, 3)
    return Image.fromarray(np.concatenate([ramps, grid])[None]).convert(mode)


def _matrix_profile(data: bytes, *, grey: bool) -> MatrixSpace | None:
    """Curves and primaries of a profile that has only these; None for one with tables."""
    tags: dict[bytes, bytes] = {}
    count = int.from_bytes(data[128:132], "big")
    for at in range(132, 132 + 12 * min(count, 200), 12):
        offset, size = (int.from_bytes(data[at + i : at + i + 4], "big") for i in (4, 8))
        tags[data[at : at + 4]] = data[offset : offset + size]
    if b"A2B0" in tags or data[20:24] != b"XYZ ":
        return None
    try:
        if grey:
            curve = _icc_curve(tags[b"kTRC"])
            return MatrixSpace((curve, curve, curve), np.eye(3))
        red, green, blue = (_icc_curve(tags[name]) for name in (b"rTRC", b"gTRC", b"bTRC"))
        columns = [np.frombuffer(tags[name][8:20], ">i4") for name in (b"rXYZ", b"gXYZ", b"bXYZ")]
    except (KeyError, ValueError, IndexError):
        return None
    to_xyz = np.stack(columns, axis=1) / 65536  # under D50
    x, y, z = 0.9642, 1.0, 0.8249
    d50 = (x / (x + y + z), y / (x + y + z))
    matrix = np.linalg.inv(_rgb_to_xyz(SRGB_XY, D65_XY)) @ _adaptation(d50) @ to_xyz
    return MatrixSpace((red, green, blue), matrix)


def _icc_curve(tag: bytes) -> Curve:
    """Curve of a `curv` or `para` tag. Raises ValueError for any other."""
    kind, body = tag[:4], tag[12:]
    if kind == b"curv":
        count = int.from_bytes(tag[8:12], "big")
        if count == 0:
            return lambda values: values
        table = np.frombuffer(body[: 2 * count], ">u2").astype(np.float64)
        if count == 1:
            gamma = float(table[0]) / 256
            return lambda values: values**gamma
        steps = np.linspace(0, 1, len(table))
        return lambda values: np.interp(values, steps, table / 65535)
    if kind == b"para":
        return _parametric(tag[9], (np.frombuffer(body[:28], ">i4") / 65536).tolist())
    raise ValueError(f"curve of type {kind!r}")


def _parametric(kind: int, numbers: list[float]) -> Curve:
    """Parametric curve of ICC.1:2022, table 68."""
    g, a, b, c, d, e, f = (*numbers, *[0.0] * 7)[:7]
    if kind == 0:
        a, b, c, d, e, f = 1.0, 0.0, 0.0, 0.0, 0.0, 0.0
    elif kind in (1, 2):
        e = f = c if kind == 2 else 0.0
        c, d = 0.0, -b / a
    elif kind == 3:
        e = f = 0.0
    elif kind != 4:
        raise ValueError(f"parametric curve of type {kind}")

    def curve(values: NDArray[np.float64]) -> NDArray[np.float64]:
        power = np.maximum(a * values + b, 0) ** g + e
        return np.clip(np.where(values >= d, power, c * values + f), 0, 1)

    return curve


def read_color(image: Image.Image) -> tuple[Color | None, tuple[str, ...]]:
    """Colour space of an open picture, None for sRGB, and notes about what was dropped.

    To be called before the pixels are loaded: a PNG is read again up to them.
    """
    notes: tuple[str, ...] = ()
    color, profile = None, image.info.get("icc_profile")
    valid = isinstance(profile, bytes) and len(profile) > 0
    space = "GRAY" if _is_deep_grey_alpha(image) else _SPACES.get(image.mode)
    if valid and space is not None:
        try:
            color = icc_color(profile, space)
        except ValueError as error:
            notes, valid = (f"metadata dropped: {error}",), False
    elif "icc_profile" in image.info and not valid:
        notes = ("metadata dropped: the ICC profile is damaged",)
    if image.format != "PNG":
        return color, notes
    stream = getattr(image, "fp", None)
    chunks = _chunks_of_info(image) if stream is None else _color_chunks(stream)
    try:
        named = _png_color(chunks, color, has_profile=valid)
    except ValueError as error:
        return color, (*notes, f"metadata dropped: {error}")
    return named, notes


def _is_deep_grey_alpha(image: Image.Image) -> bool:
    """Whether an open PNG is grey and alpha of 16 bits, which Pillow makes RGBA of."""
    tiles = getattr(image, "tile", []) if image.format == "PNG" and image.mode == "RGBA" else []
    return bool(tiles) and tiles[0].args == "LA;16B"


def _color_chunks(stream: IO[bytes]) -> dict[bytes, bytes]:
    """Read the chunks about colour before the pixels, of right size; the stream stays put."""
    back = stream.tell()
    chunks: dict[bytes, bytes] = {}
    try:
        stream.seek(_SIGNATURE_BYTES)
        while len(head := stream.read(8)) == 8:
            size, name = struct.unpack(">I4s", head)
            if name in (b"IDAT", b"IEND"):
                break
            if _READ.get(name) == size:
                chunks.setdefault(name, stream.read(size))
                stream.seek(4, 1)
            else:
                stream.seek(size + 4, 1)
    finally:
        stream.seek(back)
    return chunks


def _chunks_of_info(image: Image.Image) -> dict[bytes, bytes]:
    """What Pillow remembers of a PNG whose file is closed."""
    info, chunks = image.info, dict[bytes, bytes]()
    if "srgb" in info:
        chunks[b"sRGB"] = bytes([info["srgb"]])
    if "gamma" in info:
        chunks[b"gAMA"] = round(info["gamma"] * 100_000).to_bytes(4, "big")
    if "chromaticity" in info:
        chunks[b"cHRM"] = struct.pack(">8I", *(round(xy * 100_000) for xy in info["chromaticity"]))
    return chunks


def _png_color(
    chunks: dict[bytes, bytes], profile: Color | None, *, has_profile: bool
) -> Color | None:
    """Colour space of a PNG by its chunks and its valid ICC profile, None for sRGB.

    Raises ValueError for chunks that make no sense.
    """
    if b"cICP" in chunks:
        named = _cicp_space(chunks[b"cICP"])
        if named is not None:
            return _unless_srgb(named, b"cICP" + chunks[b"cICP"])
    if has_profile:
        return profile
    if b"sRGB" in chunks or not chunks.keys() & {b"gAMA", b"cHRM"}:
        return None
    gamma = int.from_bytes(chunks[b"gAMA"], "big") / 100_000 if b"gAMA" in chunks else _SRGB_GAMMA
    if not _GAMMAS[0] <= gamma <= _GAMMAS[1]:
        raise ValueError(f"gAMA is {gamma:g}")
    same = abs(gamma / _SRGB_GAMMA - 1) <= _SAME_GAMMA
    curve = srgb_curve if same else _power(1 / gamma)
    matrix = _chrm_matrix(chunks[b"cHRM"]) if b"cHRM" in chunks else np.eye(3)
    key = b"gAMA" + chunks.get(b"gAMA", b"") + b"cHRM" + chunks.get(b"cHRM", b"")
    return _unless_srgb(MatrixSpace((curve, curve, curve), matrix), key)


def _unless_srgb(space: MatrixSpace, key: bytes) -> Color | None:
    return None if space.is_srgb else Color(key, space)


def _chrm_matrix(data: bytes) -> NDArray[np.float64]:
    numbers = [number / 100_000 for number in struct.unpack(">8I", data)]
    if max(numbers) > 2:
        raise ValueError("cHRM is out of range")
    white, *primaries = zip(numbers[::2], numbers[1::2], strict=True)
    try:
        return primaries_matrix(tuple(primaries), white)
    except ValueError as error:
        raise ValueError(f"cHRM has {error}") from error


def _cicp_space(data: bytes) -> MatrixSpace | None:
    """Space of a cICP chunk; None for numbers that PNG or H.273 does not have."""
    primaries, transfer, matrix, full_range = data
    curve = _cicp_curve(transfer)
    if primaries not in _CICP_PRIMARIES or curve is None or matrix != 0 or full_range > 1:
        return None
    if not full_range:
        full = curve

        def curve(values: NDArray[np.float64]) -> NDArray[np.float64]:
            return full(np.clip((values * 255 - 16) / 219, 0, 1))

    return MatrixSpace((curve, curve, curve), primaries_matrix(*_CICP_PRIMARIES[primaries]))


def _cicp_curve(transfer: int) -> Curve | None:
    """Linear light, 1 for the white of paper, by the transfer function's number in H.273."""
    curves: dict[int, Curve] = {
        **dict.fromkeys((1, 6, 14, 15), _bt709),
        4: _power(2.2),
        5: _power(2.8),
        8: _power(1.0),
        13: srgb_curve,
        16: _perceptual_quantizer,
        18: _hybrid_log_gamma,
    }
    return curves.get(transfer)


def _power(exponent: float) -> Curve:
    def curve(values: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray(values**exponent, np.float64)

    return curve


def _bt709(values: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.where(values < 0.081, values / 4.5, ((values + 0.099) / 1.099) ** (1 / 0.45))


def _perceptual_quantizer(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """SMPTE ST 2084, without tone mapping: what is brighter than paper is white."""
    m1, m2, c1, c2, c3 = 0.1593017578125, 78.84375, 0.8359375, 18.8515625, 18.6875
    power = values ** (1 / m2)
    light = (np.maximum(power - c1, 0) / (c2 - c3 * power)) ** (1 / m1)
    return np.asarray(np.clip(light * 10_000 / _REFERENCE_WHITE_NITS, 0, 1), np.float64)


def _hybrid_log_gamma(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """ARIB STD-B67 on a display of 1,000 nits; what is brighter than paper is white."""
    a, b, c = 0.17883277, 0.28466892, 0.55991073
    scene = np.where(values <= 0.5, values**2 / 3, (np.exp((values - c) / a) + b) / 12)
    return np.asarray(np.clip(scene**1.2 * 1_000 / _REFERENCE_WHITE_NITS, 0, 1), np.float64)
