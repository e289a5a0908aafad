"""OpenEXR and JPEG XL files by OpenImageIO, which the extra `formats` installs.

The picture of an EXR file is R, G and B of the layer without a name, else Y of it, else the only
layer that has R, G and B, or the one called Combined, Beauty or RGBA. It is linear light.
"""

from __future__ import annotations

import re
import shutil
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any, cast

import numpy as np

from vaeneer.data.color import primaries_matrix
from vaeneer.data.pixel_levels import (
    Array,
    CheckSize,
    Decoded,
    Space,
    blacken_non_finite,
    name_mode,
)
from vaeneer.errors import ImageFileError

_SUFFIXES = {"openexr": ".exr", "jpegxl": ".jxl"}
_LAYERS = ("combined", "beauty", "rgba", "rgb")  # what renderers call the picture itself
_SHORT_BYTES = 256  # OpenImageIO takes a shorter JPEG XL file for none
_PARTS = 1_000
_LINEAR, _SRGB, _PQ, _HLG = 8, 13, 16, 18  # CICP transfer characteristics (ITU-T H.273)
_RATIOS = {1: (1, 1), 2: (12, 10), 3: (4, 3), 4: (3, 2), 5: (16, 9), 6: (5, 4), 7: (2, 1)}


def read_exr(path: Path, check_size: CheckSize) -> Decoded:
    """Read the picture of an OpenEXR file; its display window, black where no pixels are.

    Raises ImageFileError with a short reason.
    """
    with _opened(path, "openexr") as image:
        part, first, count = _colour_channels(path, image)
        spec = image.spec(part, 0)
        check_size(spec.full_width, spec.full_height)
        check_size(spec.width, spec.height)
        values = _read(path, image, part, first, first + count)
    window = (spec.full_x, spec.full_y, spec.full_width, spec.full_height)
    if (spec.x, spec.y, spec.width, spec.height) != window:
        values = _fit_window(values, spec)
    values, notes = blacken_non_finite(values)
    matrix, dropped = _to_srgb(spec.getattribute("chromaticities"))
    bits = values.dtype.itemsize * 8
    base = "L" if count == 1 else "RGB"
    values = values[..., 0] if count == 1 else values
    mode = name_mode(base, values, bits)
    return Decoded(values, "linear", 1, mode, "EXR", bits, notes + dropped, matrix=matrix)


def exr_contents(path: Path) -> Iterator[Array]:
    """All channels of every part, (H, W, C). Raises ImageFileError with a short reason."""
    with _opened(path, "openexr") as image:
        for part, spec in _parts(image):
            yield _read(path, image, part, 0, spec.nchannels)


def read_jxl(path: Path, check_size: CheckSize) -> Decoded:
    """Read the first frame of a JPEG XL file, upright.

    Raises ImageFileError with a short reason.
    """
    check_size(*_jxl_size(path))
    with _opened(path, "jpegxl") as image:
        spec = image.spec(0, 0)
        check_size(spec.width, spec.height)
        if spec.nchannels > 4:
            raise ImageFileError(path, f"not supported: JPEG XL of {spec.nchannels} channels")
        values = _read(path, image, 0, 0, spec.nchannels)
        cicp = spec.getattribute("CICP")
        icc = spec.getattribute("ICCProfile")
    primaries, transfer = (int(number) for number in cicp[:2]) if cicp is not None else (-1, -1)
    if transfer in (_PQ, _HLG):
        raise ImageFileError(path, "not supported: JPEG XL in HDR (PQ or HLG), save it as EXR")
    common = primaries in (0, 1)  # grey or Rec. 709
    space: Space = "linear" if transfer == _LINEAR and common else "srgb"
    bits = values.dtype.itemsize * 8
    base = ("L", "LA", "RGB", "RGBA")[spec.nchannels - 1]
    profile = None if icc is None or (common and transfer in (_LINEAR, _SRGB)) else bytes(icc)
    values = values[..., 0] if spec.nchannels == 1 else values
    mode = name_mode(base, values, bits)
    return Decoded(values, space, 1, mode, "JXL", bits, profile=profile)


def jxl_contents(path: Path) -> Iterator[Array]:
    """Pixels of every frame. Raises ImageFileError with a short reason."""
    try:
        import imagecodecs

        yield imagecodecs.jpegxl_decode(path.read_bytes(), numthreads=1)
    except Exception as error:  # its errors have no common root
        raise ImageFileError(path, _reason(str(error))) from error


@cache
def _library() -> ModuleType:
    import OpenImageIO

    OpenImageIO.attribute("try_all_readers", 0)  # only the reader of the format that it is
    OpenImageIO.attribute("threads", 1)  # callers read files in parallel
    OpenImageIO.attribute("exr_threads", -1)
    return OpenImageIO


@contextmanager
def _opened(path: Path, reader: str) -> Iterator[Any]:
    """The file opened by one reader, which OpenImageIO picks by the suffix of a UTF-8 path."""
    library = _library()
    suffix = _SUFFIXES[reader]
    with ExitStack() as stack:
        name = path
        short = reader == "jpegxl" and path.stat().st_size < _SHORT_BYTES
        if short or path.suffix.lower() != suffix or not str(path).isprintable():
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="vaeneer-"))
            name = Path(folder) / f"image{suffix}"
            if short:
                name.write_bytes(path.read_bytes().ljust(_SHORT_BYTES, b"\0"))
            else:
                _link(name, path)
        image = library.ImageInput.open(str(name))
        try:
            if image is None:
                raise ImageFileError(path, _reason(str(library.geterror())))
            if image.spec(0, 0).deep:
                raise ImageFileError(path, "not supported: deep EXR, save it flat")
            yield image
        except UnicodeDecodeError as error:  # an error text, or a name, with rubbish in it
            raise ImageFileError(path, "corrupt: damaged header") from error
        finally:
            if image is not None:
                image.close()
            with suppress(UnicodeDecodeError):
                library.geterror()  # else it is printed when Python ends


def _link(name: Path, target: Path) -> None:
    try:
        name.symlink_to(target.resolve())
    except OSError:
        shutil.copyfile(target, name)


def _read(path: Path, image: Any, part: int, first: int, end: int) -> Array:
    """Channels `first` to `end` of a part, (H, W, C), of the file's own dtype."""
    values = image.read_image(part, 0, first, end, image.spec(part, 0).channelformat(first))
    if values is None:
        raise ImageFileError(path, _reason(str(image.geterror())))
    return cast(Array, values)


def _parts(image: Any) -> Iterator[tuple[int, Any]]:
    for part in range(_PARTS):
        if not image.seek_subimage(part, 0):
            return
        yield part, image.spec(part, 0)


def _colour_channels(path: Path, image: Any) -> tuple[int, int, int]:
    """Part, first channel and number of channels of the picture: three, or one for grey."""
    layers: dict[str, tuple[int, int]] = {}
    grey: tuple[int, int] | None = None
    for part, spec in _parts(image):
        names = [name.upper() for name in spec.channelnames]
        groups: dict[str, dict[str, int]] = defaultdict(dict)
        for index, name in enumerate(names):
            layer, _, channel = name.rpartition(".")
            groups[layer][channel] = index
        for layer, channels in groups.items():
            at = [channels.get(channel, -9) for channel in "RGB"]
            if at == [at[0], at[0] + 1, at[0] + 2]:
                layers.setdefault(layer, (part, at[0]))
            elif layer == "" and "Y" in channels and grey is None:
                if {"RY", "BY"} & set(channels):
                    raise ImageFileError(path, "not supported: EXR in luminance and chroma")
                grey = (part, channels["Y"])
    if "" in layers:
        return (*layers[""], 3)
    if grey:
        return (*grey, 1)
    named = [at for layer, at in layers.items() if layer.lower().rpartition(".")[2] in _LAYERS]
    if len(layers) == 1 or named:
        return (*(named or list(layers.values()))[0], 3)
    raise ImageFileError(path, "not supported: EXR without a colour layer")


def _to_srgb(chromaticities: Any) -> tuple[Array | None, tuple[str, ...]]:
    """Matrix from the primaries that a file names (red, green, blue, white) to those of sRGB."""
    if chromaticities is None:
        return None, ()
    try:
        red, green, blue, white = (
            (float(x), float(y))
            for x, y in zip(chromaticities[::2], chromaticities[1::2], strict=True)
        )
        matrix = primaries_matrix((red, green, blue), white)
    except (TypeError, ValueError) as error:
        return None, (f"metadata dropped: {error}",)
    return (None if np.allclose(matrix, np.eye(3), atol=0.002) else matrix), ()


def _fit_window(values: Array, spec: Any) -> Array:
    """The display window, of which the pixels in the file may be a part, or more."""
    window = np.zeros((spec.full_height, spec.full_width, values.shape[2]), values.dtype)
    left, top = spec.x - spec.full_x, spec.y - spec.full_y
    right, bottom = (
        min(left + spec.width, spec.full_width),
        min(top + spec.height, spec.full_height),
    )
    x, y = max(left, 0), max(top, 0)
    if right > x and bottom > y:
        window[y:bottom, x:right] = values[y - top : bottom - top, x - left : right - left]
    return window


def _jxl_size(path: Path) -> tuple[int, int]:
    """Width and height in pixels, from the header of a JPEG XL codestream (ISO/IEC 18181-1)."""
    with path.open("rb") as stream:
        data = stream.read(1 << 16)
    start = data.find(b"\xff\x0a", 0 if data[:2] == b"\xff\x0a" else data.find(b"jxl", 8))
    bits = int.from_bytes(data[start + 2 : start + 18], "little") if start >= 0 else 0

    def take(count: int) -> int:
        nonlocal bits
        value = bits & ((1 << count) - 1)
        bits >>= count
        return value

    def length(small: int) -> int:
        return (take(5) + 1) * 8 if small else take((9, 13, 18, 30)[take(2)]) + 1

    small = take(1)
    height = length(small)
    ratio = take(3)
    width = height * _RATIOS[ratio][0] // _RATIOS[ratio][1] if ratio else length(small)
    return width, height


def _reason(text: str) -> str:
    text = " ".join(re.sub(r"\(.*?image\.\w+\)|\(/.*?\)|\".*?\"", "", text).split())[:120]
    cut = ("end of file", "truncated", "early", "exr_err_read_io", "unable to read", "incomplete")
    if any(word in text.lower() for word in cut):
        return "truncated: the file ends too early"
    return f"corrupt: {text}" if text else "corrupt: damaged header"
