"""The one place that opens image files: any mode or depth in, verified 8-bit RGB out.

What becomes what:

- EXIF orientation is applied; of an animation the first frame counts.
- 16-bit grey is scaled by 1/257, 12-bit grey by 255/4095; 16-bit colour keeps its high byte.
- Float grey: values up to 1 are a share of white, up to 255 are levels, up to 65535 are 16-bit
  levels; below 0 is black; NaN, infinity and larger values are refused.
- 32-bit integers up to 65535 are 16-bit levels, larger ones the full unsigned 32-bit range.
- Alpha is dropped and the colours under it kept: in a material, alpha is another map
  (opacity, gloss), not a hole.
- An embedded ICC profile that is not sRGB is applied (grey, RGB and CMYK); a broken one ignored.
"""

from __future__ import annotations

import io
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageCms, ImageOps, UnidentifiedImageError

from vaeneer.errors import ImageFileError

# fmt: off
IMAGE_SUFFIXES = frozenset((
    ".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".apng", ".tif", ".tiff", ".tga", ".bmp",
    ".dib", ".webp", ".gif", ".ppm", ".pgm", ".pnm", ".jp2", ".avif", ".dds",
))
# fmt: on
"""Lower-case suffixes of the files that are taken for images."""

# An explicit list keeps Pillow from starting Ghostscript for an EPS file that is named .jpg.
_FORMATS = (
    "JPEG",
    "PNG",
    "TIFF",
    "WEBP",
    "BMP",
    "DIB",
    "GIF",
    "PPM",
    "JPEG2000",
    "AVIF",
    "DDS",
    "TGA",
)
_BROWSER_FORMATS = frozenset({"JPEG", "MPO", "PNG", "GIF", "BMP", "WEBP", "AVIF"})
_PLAIN_MODES = frozenset({"1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX"})
_PROFILE_SPACES = {"L": "GRAY", "RGB": "RGB", "CMYK": "CMYK"}
_SIDEWAYS = frozenset({5, 6, 7, 8})  # EXIF orientations that swap width and height
_LFS_START = b"version https://git-lfs"
_STARTS = (b"\x89PNG", b"\xff\xd8\xff", b"RIFF", b"II*\0", b"MM\0*", b"BM", b"GIF8")


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
    """Bits of each channel in the file: 1 to 64."""

    notes: tuple[str, ...] = ()
    """What was ignored or mended to read the file, a short sentence each."""


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
    """Read an image file and say what it was. Threads may call this at the same time.

    at_least_px: a JPEG may be decoded at 1/2, 1/4 or 1/8 of its size, which is quick, as long as
    its short side keeps this many pixels. Without it every pixel is decoded.
    The number of pixels is checked in the header, before anything is decoded.
    Raises ImageFileError with a short reason: empty, a Git LFS pointer, not an image, truncated,
    corrupt, too many pixels, not readable.
    """
    path = Path(path)
    start = _first_bytes(path)
    with _PILLOW.ours():
        try:
            with Image.open(path, formats=_known_formats()) as image:
                _check_pixels(path, image.size, max_megapixels)
                full_size = _draft(image, at_least_px) if at_least_px else None
                image.load()
                return _picture(image, full_size)
        except ImageFileError:
            raise
        except Exception as error:  # a damaged file makes Pillow raise nearly anything
            raise ImageFileError(path, _reason(error, start)) from error


def to_rgb(image: Image.Image) -> Image.Image:
    """An open picture of any mode as `read_rgb` gives it: upright, 8 bits, mode RGB.

    Raises ImageFileError for pixels that are no picture.
    """
    with _PILLOW.ours():
        try:
            return _picture(image.copy(), None).rgb
        except Exception as error:  # as in read_image
            raise ImageFileError("the picture given", _reason(error)) from error


def resize_rgb(image: Image.Image, side_px: int = 254) -> np.ndarray:
    """Squeeze an RGB picture to a square, as torchvision's Resize((side, side)) does.

    Bilinear and antialiased; the aspect is not kept. Returns (side_px, side_px, 3) uint8.
    """
    return np.array(image.resize((side_px, side_px), Image.Resampling.BILINEAR), dtype=np.uint8)


def header_size(path: Path) -> tuple[int, int] | None:
    """Width and height in pixels as the header says, not turned upright; None if unreadable."""
    with _PILLOW.ours():
        try:
            _first_bytes(path)
            with Image.open(path, formats=_known_formats()) as image:
                return image.size
        except Exception:  # as in read_image
            return None


def _draft(image: Image.Image, at_least_px: int) -> tuple[int, int] | None:
    """Let a JPEG decode at a fraction of its size; the full size where it will."""
    if image.format not in ("JPEG", "MPO"):
        return None
    full_size = image.size
    image.draft(None, (at_least_px, at_least_px))
    return full_size


def _picture(image: Image.Image, full_size: tuple[int, int] | None) -> Picture:
    mode, kind = image.mode, str(image.format)
    still = kind == "MPO" or not getattr(image, "is_animated", False)
    orientation = image.getexif().get(0x0112, 1)
    upright = image if orientation == 1 else ImageOps.exif_transpose(image)  # it copies in any case
    opaque_image, opaque = _without_alpha(upright)
    rgb, exact = _to_rgb(opaque_image)
    plain = (
        kind in _BROWSER_FORMATS
        and mode in _PLAIN_MODES
        and still
        and opaque
        and exact
        and orientation == 1
    )
    width_px, height_px = full_size or rgb.size
    if full_size and orientation in _SIDEWAYS:
        width_px, height_px = height_px, width_px
    return Picture(rgb, width_px, height_px, mode, kind, plain)


def _without_alpha(image: Image.Image) -> tuple[Image.Image, bool]:
    """The image without its alpha channel, and whether that was opaque everywhere."""
    if not image.has_transparency_data:
        return image, True
    grey = image.mode in ("LA", "La", "L", "1")
    rgba = image.convert("RGBA")
    opaque = rgba.getchannel("A").getextrema()[0] == 255
    bare = rgba.getchannel("R") if grey else rgba.convert("RGB")
    bare.info["icc_profile"] = image.info.get("icc_profile")
    return bare, opaque


def _to_rgb(image: Image.Image) -> tuple[Image.Image, bool]:
    """The image in mode RGB, and whether its stored values were taken as they are."""
    if image.mode == "LAB":
        return _apply_profile(image, ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB"))), False
    if image.mode.startswith("I") or image.mode == "F":
        return Image.fromarray(_grey_levels(image)).convert("RGB"), False
    if image.mode in ("P", "PA", "RGBX", "RGBA"):
        profile = image.info.get("icc_profile")
        image = image.convert("RGB")
        image.info["icc_profile"] = profile
    foreign = _foreign_profile(image)
    if foreign is not None:
        try:
            return _apply_profile(image, foreign), False
        except (ImageCms.PyCMSError, OSError, ValueError):  # a broken profile is ignored
            pass
    return image if image.mode == "RGB" else image.convert("RGB"), True


def _apply_profile(image: Image.Image, profile: ImageCms.ImageCmsProfile) -> Image.Image:
    srgb = ImageCms.createProfile("sRGB")
    converted = ImageCms.profileToProfile(image, profile, srgb, outputMode="RGB")
    assert converted is not None  # only in-place conversions answer None
    return converted


def _foreign_profile(image: Image.Image) -> ImageCms.ImageCmsProfile | None:
    """The embedded profile where it fits the mode and says anything else than sRGB."""
    data = image.info.get("icc_profile")
    if not data or image.mode not in _PROFILE_SPACES:
        return None
    try:
        profile = ImageCms.ImageCmsProfile(io.BytesIO(data))
        space = profile.profile.xcolor_space.strip()
        name = ImageCms.getProfileDescription(profile)
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        return None
    if space != _PROFILE_SPACES[image.mode]:
        return None
    return None if "sRGB" in name and "linear" not in name.lower() else profile


def _grey_levels(image: Image.Image) -> np.ndarray:
    """Grey of 12 to 32 bits as (H, W) uint8; the scales are in the module's docstring."""
    values = np.asarray(image)
    if image.mode == "F":
        return _float_levels(values)
    if image.mode == "I" and (values.max() > 65535 or values.min() < -32768):
        levels = values.astype(np.int32).view(np.uint32) / 16843009.0  # (2^32 - 1) / 255
    else:
        tags = getattr(image, "tag_v2", {})
        white = 4095 if tags.get(258) == (12,) else 65535  # BitsPerSample
        levels = np.clip(values, 0, white) * (255.0 / white)
        if tags.get(262) == 0 and image.mode != "I":  # WhiteIsZero, which Pillow leaves as it is
            levels = 255.0 - levels
    return np.rint(levels).astype(np.uint8)


def _float_levels(values: np.ndarray) -> np.ndarray:
    if not np.isfinite(values).all():
        raise ValueError("float pixels that are NaN or infinite")
    top = float(values.max())
    if top > 65535:
        raise ValueError(f"float pixels up to {top:g}, which no picture has")
    white = 1.0 if top <= 1 else 255.0 if top <= 255 else 65535.0
    return np.rint(np.clip(values / white, 0, 1) * 255).astype(np.uint8)


def _first_bytes(path: Path) -> bytes:
    """The first bytes of an image file; refuses what Pillow has no good words for."""
    try:
        if not path.is_file():  # a named pipe would block for ever
            raise ImageFileError(path, "not a file" if path.exists() else "no such file")
        with path.open("rb") as stream:
            start = stream.read(len(_LFS_START))
    except OSError as error:
        raise ImageFileError(path, _reason(error)) from error
    if not start:
        raise ImageFileError(path, "empty file")
    if start == _LFS_START:
        raise ImageFileError(path, "a Git LFS pointer, not the image: run git lfs pull")
    return start


def _check_pixels(path: Path, size: tuple[int, int], max_megapixels: float) -> None:
    width_px, height_px = size
    if width_px * height_px > max_megapixels * 1e6:
        reason = f"{width_px} x {height_px} px, over {max_megapixels:g} megapixels"
        raise ImageFileError(path, f"too many pixels: {reason}")


def _reason(error: Exception, start: bytes = b"") -> str:
    """A short reason; the words before the colon are the same for all errors of a kind."""
    text = " ".join(str(error).split())[:120]
    if isinstance(error, UnidentifiedImageError):
        damaged = start.startswith(_STARTS)
        return "corrupt: damaged header" if damaged else "not an image"
    if isinstance(error, MemoryError):
        return "too large for the memory of this machine"
    if isinstance(error, OSError) and error.strerror:
        return f"cannot be read: {error.strerror}"
    if isinstance(error, EOFError) or "truncated" in text.lower():
        return "truncated: the file ends too early"
    return f"corrupt: {text}" if text else f"corrupt: {type(error).__name__}"


def _known_formats() -> tuple[str, ...]:
    Image.init()
    return tuple(name for name in _FORMATS if name in Image.OPEN)  # AVIF is not in every Pillow


class _PillowState:
    """Pillow's pixel limit and warnings are global: ours while any thread reads, then restored."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._readers = 0
        self._limit: int | None = None
        self._warnings = warnings.catch_warnings()

    @contextmanager
    def ours(self) -> Iterator[None]:
        self._enter()
        try:
            yield
        finally:
            self._leave()

    def _enter(self) -> None:
        with self._lock:
            if self._readers == 0:
                self._limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
                self._warnings = warnings.catch_warnings()
                self._warnings.__enter__()
                warnings.simplefilter("ignore")
            self._readers += 1

    def _leave(self) -> None:
        with self._lock:
            self._readers -= 1
            if self._readers == 0:
                self._warnings.__exit__(None, None, None)
                Image.MAX_IMAGE_PIXELS = self._limit


_PILLOW = _PillowState()
