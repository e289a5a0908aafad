"""Image files of any mode and depth, read as complete 8-bit RGB.

What becomes what:

- EXIF orientation is applied; of an animation the first frame counts.
- 16-bit grey is scaled by 1/257, 12-bit grey by 255/4095; 16-bit colour keeps its high byte.
- Floats, 32-bit integers and linear light are scaled as `levels` says.
- Alpha is dropped and the colours under it kept: in a material, alpha is another map
  (opacity, gloss), not a hole.
- An embedded ICC profile that is not sRGB is applied (grey, RGB and CMYK); a broken one ignored.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms

from vaeneer.data.color import Color, convert_to_srgb, read_color
from vaeneer.data.decoders import decode, stored_size
from vaeneer.data.image_files import (
    PILLOW,
    ImageSource,
    decode_file,
    error_reason,
    first_bytes,
    load_whole,
    seek_checked,
)
from vaeneer.data.image_formats import (
    DAMAGED_EXIF,
    MEDIA_TYPES,
    SIDEWAYS,
    format_of,
    known_formats,
    orientation_of,
    stored_bits,
    upright,
)
from vaeneer.data.pixel_levels import deep_grey, float_levels, to_16_bits, to_image
from vaeneer.data.tiff import seek_picture
from vaeneer.errors import DataError, ImageFileError

_PLAIN_MODES = frozenset({"1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX"})
_RETRIED = frozenset({"corrupt", "not an image", "not supported", "truncated"})
_HALVED_MODES = frozenset({"RGB", "RGBA", "RGBX"})  # in which Pillow keeps the high byte
_ROUNDING = 1e-3  # what resizing and bfloat16 may add to [0, 1]


@dataclass(frozen=True)
class Picture:
    """One image file, fully decoded."""

    rgb: Image.Image
    """The picture, upright, mode RGB."""

    width_px: int
    """Upright width of the picture in the file; that of `rgb`, unless it was decoded smaller."""

    height_px: int
    """Upright height of the picture in the file."""

    mode: str
    """Pillow's name of the pixels in the file: L, RGBA, I;16, CMYK, ..."""

    format: str
    """Pillow's name of the file format, by content and not by suffix: JPEG, PNG, ..."""

    plain: bool
    """Whether a browser and `Image.open(path).convert("RGB")` both show exactly `rgb`."""

    bits: int = 8
    """Bits per channel as the file stores them: 1 to 64; of a palette those of its colours."""

    notes: tuple[str, ...] = ()
    """What was not read as it stands, a short sentence each: "metadata dropped: ..."."""


def read_rgb(
    path: Path | str, *, max_megapixels: float = 500.0, at_least_px: int | None = None
) -> Image.Image:
    """Read an image file as an upright 8-bit picture, mode RGB; `at_least_px` as in `read_image`.

    Raises ImageFileError for a file that cannot be read or has more than `max_megapixels`.
    """
    return read_image(path, max_megapixels=max_megapixels, at_least_px=at_least_px).rgb


def read_image(
    path: Path | str, *, max_megapixels: float = 500.0, at_least_px: int | None = None
) -> Picture:
    """Read an image file and describe what it was. Threads may call this concurrently.

    at_least_px: a JPEG may be decoded at 1/2, 1/4 or 1/8 of its size, which is quick, as long as
    its short side keeps this many pixels. Without it every pixel is decoded.
    The number of pixels is checked in the header, before anything is decoded.
    Raises ImageFileError with a short reason: empty, a Git LFS pointer, not an image, truncated,
    corrupt, not supported, too many pixels, too long, not readable.
    """
    path = Path(path)
    kind = format_of(first_bytes(path))
    if kind not in (None, "TIFF"):
        return _read_deep(path, max_megapixels)

    def look(image: Image.Image, source: ImageSource) -> Picture:
        seek_checked(image, source, max_megapixels)
        full_size = _draft(image, at_least_px) if at_least_px else None
        color, notes = read_color(image)
        bits = stored_bits(image, source.start)
        load_whole(image, source)
        picture = _picture(image, full_size, color, bits, source.deep_colors, source.notes + notes)
        return replace(picture, plain=False) if source.rebuilt else picture

    try:
        return decode_file(path, look)
    except ImageFileError as error:
        if kind is None or error.reason.partition(":")[0] not in _RETRIED:
            raise
        return _read_deep(path, max_megapixels, error)


def _read_deep(path: Path, max_megapixels: float, error: ImageFileError | None = None) -> Picture:
    """A picture that Pillow does not read; error: why not."""
    with PILLOW.ours():
        try:
            decoded = decode(path, max_megapixels=max_megapixels)
            image = to_image(decoded)
            color, notes = read_color(image)
            if color and image.mode == "L" and decoded.bits > 8:
                image = Image.fromarray(to_16_bits(decoded))
            notes = (*decoded.notes, *notes)
            bits = decoded.bits
            picture = _picture(image, None, color, bits, lambda: to_16_bits(decoded), notes)
        except ImageFileError as again:
            cut = error is not None and error.reason.startswith("truncated")
            raise (error if error is not None and cut else again) from again
        except Exception as again:  # as Pillow does, so do other decoders
            raise ImageFileError(path, error_reason(again)) from again
    rgb = upright(picture.rgb, decoded.orientation)
    return Picture(rgb, *rgb.size, decoded.mode, decoded.format, False, decoded.bits, picture.notes)


def to_rgb(image: Image.Image) -> Image.Image:
    """An open picture of any mode as `read_rgb` gives it: upright, 8 bits, mode RGB.

    Raises ImageFileError for pixels that are no picture.
    """
    with PILLOW.ours():
        try:
            color, _ = read_color(image)
            return _picture(image.copy(), None, color, 8).rgb
        except Exception as error:  # as in read_image
            raise ImageFileError("the picture given", error_reason(error)) from error


def resize_rgb(image: Image.Image, side_px: int = 254) -> np.ndarray:
    """Squeeze an RGB picture to a square, as torchvision's Resize((side, side)) does.

    Bilinear and antialiased; the aspect is not kept. Returns (side_px, side_px, 3) uint8.
    """
    return np.array(image.resize((side_px, side_px), Image.Resampling.BILINEAR), dtype=np.uint8)


def header_size(path: Path) -> tuple[int, int] | None:
    """Width and height in pixels as the header says, not turned upright; None if unreadable."""
    with PILLOW.ours():
        try:
            kind = format_of(first_bytes(path))
            if kind in (None, "TIFF"):
                with suppress(Exception), Image.open(path, formats=known_formats()) as image:
                    if image.format != "TIFF" or seek_picture(image):
                        return image.size
            return stored_size(path) if kind else None
        except Exception:  # as in read_image
            return None


def _draft(image: Image.Image, at_least_px: int) -> tuple[int, int] | None:
    """Let a JPEG decode at a fraction of its size; the full size where it will."""
    if image.format not in ("JPEG", "MPO"):
        return None
    full_size = image.size
    image.draft(None, (at_least_px, at_least_px))
    return full_size


def _picture(
    image: Image.Image,
    full_size: tuple[int, int] | None,
    color: Color | None,
    bits: int,
    deep: Callable[[], NDArray[np.uint16] | None] = lambda: None,
    notes: tuple[str, ...] = (),
) -> Picture:
    """The picture of a loaded image. deep: its 16-bit colours, where `image` has only 8."""
    mode, kind = image.mode, str(image.format)
    still = kind == "MPO" or not getattr(image, "is_animated", False)
    orientation, intact = orientation_of(image)
    notes = notes if intact else (*notes, DAMAGED_EXIF)
    opaque_image, opaque = _without_alpha(image)
    levels = _deep_levels(color, deep()) if color and bits > 8 and mode in _HALVED_MODES else None
    rgb, exact = (levels, False) if levels is not None else _to_rgb(opaque_image, color)
    rgb = upright(rgb, orientation)
    plain = (
        kind in MEDIA_TYPES
        and mode in _PLAIN_MODES
        and still
        and opaque
        and exact
        and orientation == 1
    )
    width_px, height_px = full_size or rgb.size
    if full_size and orientation in SIDEWAYS:
        width_px, height_px = height_px, width_px
    return Picture(rgb, width_px, height_px, mode, kind, plain, bits, notes)


def _without_alpha(image: Image.Image) -> tuple[Image.Image, bool]:
    """The image without its alpha channel, and whether that was opaque everywhere."""
    if not image.has_transparency_data:
        return image, True
    if image.mode.startswith("I"):  # converted to RGBA it would be clipped to 255
        return image, not bool((np.asarray(image) == image.info.get("transparency")).any())
    grey = image.mode in ("LA", "La", "L", "1")
    rgba = image.convert("RGBA")
    opaque = rgba.getchannel("A").getextrema()[0] == 255
    return rgba.getchannel("R") if grey else rgba.convert("RGB"), opaque


def _to_rgb(image: Image.Image, color: Color | None) -> tuple[Image.Image, bool]:
    """The image in mode RGB, and whether its stored values were taken as they are."""
    if image.mode == "LAB":
        lab = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB"))
        return convert_to_srgb(image, lab), False
    if color and image.mode.startswith("I;16"):
        return color.grey_to_srgb(deep_grey(image)).convert("RGB"), False
    if image.mode.startswith("I") or image.mode == "F":
        return Image.fromarray(_grey_levels(image)).convert("RGB"), False
    if image.mode not in ("L", "CMYK", "RGB"):  # to RGB again would be a copy
        image = image.convert("L" if image.mode == "1" else "RGB")
    if color:
        return color.image_to_srgb(image).convert("RGB"), False
    return image if image.mode == "RGB" else image.convert("RGB"), True


def _deep_levels(color: Color, values: NDArray[np.uint16] | None) -> Image.Image | None:
    """8-bit sRGB of 16-bit colours in a space of curves and primaries; None for another."""
    space = color.matrix_space
    if values is None or space is None:
        return None
    return Image.fromarray(space.to_srgb(values[..., :3]))


def _grey_levels(image: Image.Image) -> np.ndarray:
    """Grey of 12 to 32 bits as (H, W) uint8; the scales are in the module's docstring."""
    values = np.asarray(image)
    if image.mode == "F":
        return float_levels(values)
    if image.mode == "I" and (values.max() > 65535 or values.min() < -32768):
        levels = values.astype(np.int32).view(np.uint32) / 16843009.0  # (2^32 - 1) / 255
    elif image.mode == "I":
        levels = np.clip(values, 0, 65535) / 257.0
    else:
        levels = deep_grey(image) / 257.0
    return np.rint(levels).astype(np.uint8)


def picture_of(image: Any) -> Image.Image:
    """One image in memory as an RGB picture.

    image: a Pillow image of any mode; an array (H, W), (H, W, 1), (H, W, 3) or (H, W, 4); or a
    tensor (H, W), (1, H, W), (3, H, W) or (4, H, W). Numbers are uint8, or float in [0, 1]; alpha
    is left out. Raises DataError for anything else.
    """
    if isinstance(image, Image.Image):
        return to_rgb(image)
    if is_tensor(image):
        pixels = image.detach().cpu()
        pixels = pixels.float().numpy() if pixels.is_floating_point() else pixels.numpy()
        if pixels.ndim == 3:
            if pixels.shape[0] not in (1, 3, 4):
                raise _refused(image, "a tensor (3, H, W)")
            pixels = pixels.transpose(1, 2, 0)
    elif isinstance(image, np.ndarray):
        pixels = image
    else:
        raise DataError(
            f"a {type(image).__name__} is no image; give a file, a picture, an array or a tensor."
        )
    return Image.fromarray(_rgb(pixels, image))


def is_tensor(image: Any) -> bool:
    """Whether an object is one of PyTorch's tensors, found without importing PyTorch."""
    return type(image).__module__.partition(".")[0] == "torch" and hasattr(image, "detach")


def _rgb(pixels: NDArray[Any], image: Any) -> NDArray[np.uint8]:
    """Pixels (H, W) or (H, W, 1, 3 or 4) as (H, W, 3) uint8."""
    if pixels.ndim == 2:
        pixels = pixels[:, :, None]
    if pixels.ndim != 3 or pixels.shape[2] not in (1, 3, 4) or 0 in pixels.shape:
        raise _refused(image, "an array (H, W, 3)")
    if pixels.dtype == np.uint8:
        levels = pixels
    elif np.issubdtype(pixels.dtype, np.floating):
        low, high = float(pixels.min()), float(pixels.max())
        if not (low >= -_ROUNDING and high <= 1 + _ROUNDING):
            raise DataError(
                f"float images lie in [0, 1], and this one goes from {low:g} to {high:g};"
                " divide by 255, or give uint8."
            )
        levels = np.rint(np.clip(pixels.astype(np.float32), 0, 1) * 255).astype(np.uint8)
    else:
        raise DataError(f"the image is {pixels.dtype}; give uint8, or float in [0, 1].")
    colours = levels[:, :, :3]
    return np.ascontiguousarray(np.repeat(colours, 3, axis=2) if colours.shape[2] == 1 else colours)


def _refused(image: Any, remedy: str) -> DataError:
    return DataError(f"the image has shape {tuple(image.shape)}; give {remedy}.")
