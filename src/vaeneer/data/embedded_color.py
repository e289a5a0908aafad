"""Colour space that a picture file names: an ICC profile, or the chunks of a PNG.

In a PNG cICP comes before iCCP before sRGB before gAMA and cHRM, as in the PNG specification,
third edition, section 13.2 onwards.
"""

from __future__ import annotations

import struct
from typing import IO

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from vaeneer.data.color import (
    D65_XY,
    SRGB_XY,
    Color,
    Curve,
    MatrixSpace,
    icc_color,
    primaries_matrix,
    srgb_curve,
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
