"""What tells near copies apart: alpha, further pages and frames, and which was regraded.

Two decals of one colour and other shapes look like copies by their colours; so does a page of a
document beside the whole. This extra content is read where the colours of files are near copies,
and remembered in the catalog until the file changes.

Of copies in different colours or brightness, two traces show which is the original; the container
does not, since a regraded JPEG may be saved as PNG or as 16-bit TIFF. A curve laid over 8-bit
values leaves gaps and peaks in their histogram. And a picture without loss that shows the 8 x 8
blocks of JPEG was made of one. Both were measured on 81 colour maps (docs/library.md).
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from vaeneer.data.decoders import decode, format_of, pages
from vaeneer.data.image_files import (
    ImageSource,
    check_pixels,
    decode_file,
    first_bytes,
    load_whole,
    seek_checked,
)
from vaeneer.data.image_headers import orientation_of, upright_values
from vaeneer.data.pixel_digest import spare_channel
from vaeneer.errors import ImageFileError
from vaeneer.library.catalog import Catalog
from vaeneer.library.duplicates.features import THUMB_PX, Floats
from vaeneer.library.duplicates.verify import (
    LEAST_COLOUR_LEVELS,
    StructuralSimilarity,
    frame_proofs,
    oriented,
)

MAX_ALPHA_LEVELS = 4.0
"""By which a cell of two alpha channels of 64 x 64 may differ, where the pictures have one size."""

MAX_SCALED_ALPHA_LEVELS = 16.0
"""The same of pictures of two sizes, after a blur. Hard edges scaled to half differ by up to 12, a
hole of a ten thousandth of the picture by more."""

_MAX_MEGAPIXELS = 500.0  # as `read_image`
_BARE_FORMATS = frozenset({"JPEG", "MPO", "PPM"})  # without alpha; the rest of an MPO is previews

SAME_GAIN = 0.03
"""Copies that are brighter or darker by more, as a share, were graded."""
SAME_TONE_LEVELS = 2.0
"""So were those whose light and dark differ by more levels of 255."""

LEAST_COMB = 0.2
"""Unevenness of a histogram that a curve leaves. Nine of ten of 81 colour maps had 0.047 and less;
as PNG with the brightness changed, nine of ten 0.399 and more."""
COMB_RATIO = 3.0
"""So many times that of the other grade: some originals have gaps, too."""
LEAST_BLOCKS = 0.08
"""Steps at every eighth pixel, in shares of those between others: JPEG. Without JPEG 0.053 at most;
every other JPEG colour map of 81 had 0.092 and more."""
NO_BLOCKS = 0.03
"""A picture with less, whose copy as JPEG shows blocks, was not made of that."""

_SIDE_PX = 1024  # of the square in the middle that is looked at
_RANGE = (0.01, 0.99)  # of the values: what was clipped piles up at the ends
_LEAST_LEVELS = 16

GAPS = "its histogram has gaps"
FROM_JPEG = "it was made of a JPEG"
LOSSY = "the other picture is without loss and was not made of it"


@dataclass(frozen=True, eq=False)
class ExtraContent:
    """What one file holds beside the colours of its first frame."""

    alpha: NDArray[np.uint8] | None = None
    """(64, 64), of the upright first frame; None where all of it is opaque."""

    frames: bytes = b""
    """SHA-256 of the further pages or frames; empty where there are none."""

    def __bool__(self) -> bool:
        return self.alpha is not None or bool(self.frames)

    def agrees(self, other: ExtraContent, orientation: int, *, scaled: bool) -> bool:
        """Whether both hold the same, this one turned to one of `likeness.ORIENTATIONS`.

        scaled: whether the pictures have different numbers of pixels.
        """
        import cv2

        if self.frames != other.frames:
            return False
        if self.alpha is None or other.alpha is None:
            return self.alpha is other.alpha
        turned = oriented(self.alpha[..., None].astype(np.float32), orientation)[..., 0]
        difference = turned - other.alpha
        if scaled:
            difference = np.asarray(cv2.GaussianBlur(difference, (0, 0), 1.0), np.float32)
        most = MAX_SCALED_ALPHA_LEVELS if scaled else MAX_ALPHA_LEVELS
        return float(np.abs(difference).max()) <= most


def read_extra(path: Path) -> ExtraContent:
    """Extra content of a picture file. Raises ImageFileError."""
    kind = format_of(first_bytes(path))

    def look(image: Image.Image, source: ImageSource) -> ExtraContent:
        check_pixels(path, image.size, _MAX_MEGAPIXELS)
        spare = spare_channel(image, source)
        return _extra(image) if spare is None else ExtraContent(_small(spare, 1))

    if kind in (None, "TIFF"):
        try:
            return decode_file(path, look)
        except ImageFileError:
            if kind is None:
                raise
    return _deep_extra(path)


def content_classes(
    extras: Sequence[ExtraContent | None], agree: Callable[[int, int], bool]
) -> list[list[int]]:
    """Numbers of the files that hold something, grouped by what; an unknown one (None) is alone.

    agree: whether the extra content of two numbers is the same.
    """
    classes: list[list[int]] = []
    for number, extra in enumerate(extras):
        if extra is not None and not extra:
            continue
        known = (own for own in classes if extra is not None and agree(number, own[0]))
        own = next(known, None)
        if own is None:
            classes.append([number])
        else:
            own.append(number)
    return classes


def known_extras(catalog: Catalog) -> dict[int, ExtraContent]:
    """Extra content of the items where it was read before."""
    rows = catalog.execute("SELECT id, alpha, frames FROM items WHERE alpha NOT NULL")
    return {one: ExtraContent(_unpacked(alpha), frames) for one, alpha, frames in rows}


def keep_extras(catalog: Catalog, found: dict[int, ExtraContent]) -> None:
    """Remember extra content until the files change."""
    rows = [(_packed(extra.alpha), extra.frames, item) for item, extra in found.items()]
    with catalog.writing() as connection:
        connection.executemany("UPDATE items SET alpha = ?, frames = ? WHERE id = ?", rows)


def _extra(image: Image.Image) -> ExtraContent:
    if image.format in _BARE_FORMATS:
        return ExtraContent()
    alpha = _alpha(image) if image.has_transparency_data else None
    digest, count = hashlib.sha256(), getattr(image, "n_frames", 1)
    for number in range(1, count):
        image.seek(number)
        frame = image.convert("RGBA")
        digest.update(f"{frame.width} {frame.height} ".encode())
        digest.update(frame.tobytes())
    return ExtraContent(alpha, digest.digest() if count > 1 else b"")


def _deep_extra(path: Path) -> ExtraContent:
    """The same of a file that Pillow does not read."""
    decoded = decode(path, max_megapixels=_MAX_MEGAPIXELS)
    values = decoded.values
    channels = values.shape[2] if values.ndim == 3 else 1
    alpha = None
    if channels in (2, 4) and not decoded.mode.startswith("CMYK"):
        white = np.iinfo(values.dtype).max if values.dtype.kind in "iu" else 1.0
        share = np.clip(values[..., -1].astype(np.float32) / white, 0, 1)
        alpha = _small(np.rint(share * 255).astype(np.uint8), decoded.orientation)
    digest, more = hashlib.sha256(), False
    for number, page in enumerate(pages(path)):  # the first has all channels of the picture
        if number or page.size > channels * values.shape[0] * values.shape[1]:
            digest.update(page.tobytes())
            more = True
    return ExtraContent(alpha, digest.digest() if more else b"")


def _alpha(image: Image.Image) -> NDArray[np.uint8] | None:
    values = np.asarray(image.convert("RGBA").getchannel("A"))
    return _small(values, orientation_of(image)[0])


def _small(alpha: NDArray[np.uint8], orientation: int) -> NDArray[np.uint8] | None:
    """An alpha channel (H, W), upright and (64, 64); None where all of it is opaque."""
    import cv2

    if alpha.min() == 255:
        return None
    turned = np.ascontiguousarray(upright_values(alpha, orientation))
    return np.asarray(
        cv2.resize(turned, (THUMB_PX, THUMB_PX), interpolation=cv2.INTER_AREA), np.uint8
    )


def _packed(alpha: NDArray[np.uint8] | None) -> bytes:
    return b"" if alpha is None else zlib.compress(alpha.tobytes())


def _unpacked(stored: bytes) -> NDArray[np.uint8] | None:
    if not stored:
        return None
    return np.frombuffer(zlib.decompress(stored), np.uint8).reshape(THUMB_PX, THUMB_PX)


@dataclass(frozen=True)
class Traces:
    """What the stored pixels of a file say of its history."""

    comb: float
    """Unevenness of the histogram, 0 and more."""
    blocks: float
    """Strength of the blocks of JPEG, about 0 for none."""


@dataclass
class Grade:
    """Copies of one look, at one place of a family of copies."""

    items: list[int]
    lossless: list[Traces] = field(default_factory=list)
    lossy: list[Traces] = field(default_factory=list)

    @property
    def comb(self) -> float:
        """Of its most uneven file without loss: JPEG wipes the trace out."""
        return max((one.comb for one in self.lossless), default=0.0)

    @property
    def made_of_jpeg(self) -> bool:
        """Whether each file without loss shows the blocks of JPEG, and there are such files."""
        return bool(self.lossless) and all(one.blocks >= LEAST_BLOCKS for one in self.lossless)

    @property
    def shows_jpeg(self) -> bool:
        """Whether a copy of one of its JPEGs would show blocks."""
        return any(one.blocks >= LEAST_BLOCKS for one in self.lossy)


def grades_of(items: Sequence[int], thumb: Callable[[int], Floats]) -> list[list[int]]:
    """Copies of one structure by their look: those of one brightness and colour together."""
    grades: list[list[int]] = []
    for one in items:
        firsts = [thumb(grade[0]) for grade in grades]
        proofs = frame_proofs(thumb(one), np.stack(firsts), 0.0) if firsts else []
        same = (
            grade
            for grade, proof in zip(grades, proofs, strict=True)
            if proof is not None and _same_look(proof.likeness)
        )
        grade = next(same, None)
        if grade is None:
            grades.append([one])
        else:
            grade.append(one)
    return grades


def regraded(grades: Sequence[Grade]) -> dict[int, str]:
    """Items that were regraded, with the trace that says so; empty where none does."""
    reasons = [_reason(grade, [one for one in grades if one is not grade]) for grade in grades]
    if all(reasons):  # each says that the other came first
        return {}
    return {
        one: reason
        for grade, reason in zip(grades, reasons, strict=True)
        for one in grade.items
        if reason
    }


def read_traces(path: Path) -> Traces:
    """Traces in the middle of a picture, as its file stores it. Raises ImageFileError."""

    def decode(image: Image.Image, source: ImageSource) -> NDArray[np.uint8]:
        seek_checked(image, source, _MAX_MEGAPIXELS)
        load_whole(image, source)
        left, top = (max(0, side - _SIDE_PX) // 16 * 8 for side in image.size)
        middle = image.crop(
            (left, top, left + min(_SIDE_PX, image.width), top + min(_SIDE_PX, image.height))
        )
        return np.asarray(middle.convert("RGB"))

    pixels = decode_file(path, decode)
    return Traces(_comb(pixels), _blocks(pixels))


def try_traces(path: Path) -> Traces | None:
    """The same; None for a file that is not read."""
    try:
        return read_traces(path)
    except ImageFileError:
        return None


def name_order(paths: Iterable[str]) -> tuple[int, str]:
    """What sorts grades where nothing says which came first: the shortest name, then the path."""
    return min((len(PurePosixPath(path).stem), path) for path in paths)


def _reason(grade: Grade, others: Sequence[Grade]) -> str:
    """Why a grade was made of another one; empty for no reason.

    Gaps alone do not say so, since drawn pictures may have them: either the other grade is even and
    without loss, or the gaps came after JPEG, which leaves none.
    """
    pure = [one for other in others for one in other.lossless if one.comb < LEAST_COMB]
    even = any(COMB_RATIO * one.comb <= grade.comb for one in pure)
    if grade.comb >= LEAST_COMB and (even or grade.made_of_jpeg):
        return GAPS
    if grade.made_of_jpeg and not grade.lossy and any(one.shows_jpeg for one in others):
        return FROM_JPEG
    first = any(one.blocks <= NO_BLOCKS for one in pure)
    return LOSSY if first and not grade.lossless and grade.shows_jpeg else ""


def _same_look(likeness: StructuralSimilarity) -> bool:
    return (
        abs(likeness.gain - 1) <= SAME_GAIN
        and likeness.colour_levels <= LEAST_COLOUR_LEVELS
        and likeness.tone_levels <= SAME_TONE_LEVELS
    )


def _comb(pixels: NDArray[np.uint8]) -> float:
    """Of the most uneven channel: how far each level's count is from its neighbours' mean."""
    found = 0.0
    for channel in range(3):
        counts = np.bincount(pixels[..., channel].ravel(), minlength=256).astype(np.float64)
        low, high = np.searchsorted(np.cumsum(counts) / counts.sum(), _RANGE)
        if high - low < _LEAST_LEVELS:
            continue
        levels = np.arange(max(low, 1), min(high, 254) + 1)
        around = (counts[levels - 1] + counts[levels + 1]) / 2
        found = max(found, float(np.abs(counts[levels] - around).sum() / counts[levels].sum()))
    return found


def _blocks(pixels: NDArray[np.uint8]) -> float:
    """How much larger steps are at every eighth pixel than beside it, mean of both directions."""
    grey = pixels.astype(np.float32).mean(2)
    found = []
    for picture in (grey, grey.T):
        steps = np.abs(np.diff(picture, axis=1))
        if steps.shape[1] < 3 * 8 or not steps.any():
            return 0.0
        extra = (steps[:, 1:-1] - (steps[:, :-2] + steps[:, 2:]) / 2).mean(0) / steps.mean()
        edges = (np.arange(extra.size) + 2) % 8 == 0
        found.append(float(extra[edges].mean() - extra[~edges].mean()))
    return sum(found) / 2
