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
from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from vaeneer.data.decoders import decode, pages
from vaeneer.data.image_files import (
    ImageSource,
    check_pixels,
    decode_file,
    first_bytes,
    load_whole,
    seek_checked,
)
from vaeneer.data.image_formats import format_of, orientation_of, upright_values
from vaeneer.data.pixel_digest import spare_channel
from vaeneer.errors import ImageFileError
from vaeneer.library.duplicates.features import THUMB_PX, FeatureStore, Floats
from vaeneer.library.duplicates.groups import Facts, Families, is_lossless
from vaeneer.library.duplicates.verify import LEAST_COLOUR_LEVELS, oriented, verify_frames
from vaeneer.library.store import OpenLibrary
from vaeneer.progress import Progress
from vaeneer.workers import core_count, prefetch

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
        return bool(self.words)

    @property
    def words(self) -> list[str]:
        """What there is, in words."""
        held = {"alpha": self.alpha is not None, "further pages or frames": bool(self.frames)}
        return [name for name, there in held.items() if there]

    def agrees(self, other: ExtraContent, orientation: int, *, scaled: bool) -> bool:
        """Whether both hold the same, this one turned to one of `verify.ORIENTATIONS`.

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


def with_contents(
    facts: Facts,
    families: Families,
    library: OpenLibrary,
    features: FeatureStore,
    progress: Progress,
) -> Facts:
    """Facts that part families of near copies whose alpha, pages or frames differ.

    What holds less is a near copy of what holds more, where that is the one to keep.
    """
    several: list[dict[int, list[int]]] = []
    for family in families.near:
        units: dict[int, list[int]] = defaultdict(list)  # those of the same pixels together
        for one in family:
            units[families.same_pixels.root(one)].append(one)
        if len(units) > 1:
            several.append({unit[0]: unit for unit in units.values()})
    firsts = [first for units in several for first in units]
    extras = _extras_of(firsts, facts, library, progress)
    contents: dict[int, int] = {}
    for units in several:
        classes: list[list[int]] = []
        for first in units:
            extra = extras[first]
            if extra is not None and not extra:
                continue
            for own in classes:
                if extra is not None and _agree(first, own[0], extras, facts, features):
                    own.append(first)
                    break
            else:
                classes.append([first])
        best = facts.best(one for unit in units.values() for one in unit)
        if len(classes) == 1 and any(best in units[first] for first in classes[0]):
            continue
        for own in classes:
            contents |= {one: own[0] for first in own for one in units[first]}
    words = {one: extra.words for one, extra in extras.items() if extra}
    return replace(facts, extras=words, contents=contents)


def _extras_of(
    items: Sequence[int], facts: Facts, library: OpenLibrary, progress: Progress
) -> dict[int, ExtraContent | None]:
    """Extra content of items, read where it is not stored; None where it is unknown."""
    rows = library.catalog.execute("SELECT id, alpha, frames FROM items WHERE alpha NOT NULL")
    extras: dict[int, ExtraContent | None] = {}
    for one, packed, frames in rows:
        alpha = np.frombuffer(zlib.decompress(packed), np.uint8) if packed else None
        shape = (THUMB_PX, THUMB_PX)
        extras[one] = ExtraContent(None if alpha is None else alpha.reshape(shape), frames)
    unknown = [one for one in items if one not in extras]
    found: list[tuple[bytes, bytes, int]] = []

    def read(number: int) -> ExtraContent | None:
        item = facts.readable(unknown[number])
        try:
            return None if item is None else read_extra(library.path(item))
        except ImageFileError:
            return None

    results = prefetch(read, range(len(unknown)), workers=core_count())
    with progress.bar("comparing alpha and pages", total=len(unknown), unit="images") as bar:
        for one, extra in zip(unknown, results, strict=True):
            bare = extra is None and "A" not in facts.items[one].mode
            extras[one] = ExtraContent() if bare else extra
            if extra is not None:
                packed = b"" if extra.alpha is None else zlib.compress(extra.alpha.tobytes())
                found.append((packed, extra.frames, one))
            bar.advance()
    if found:
        with library.catalog.writing() as connection:
            connection.executemany("UPDATE items SET alpha = ?, frames = ? WHERE id = ?", found)
    return extras


def _agree(
    one: int,
    other: int,
    extras: Mapping[int, ExtraContent | None],
    facts: Facts,
    features: FeatureStore,
) -> bool:
    """Whether two near copies have the same extra content; False where that is unknown."""
    ours, theirs = extras[one], extras[other]
    items = [facts.items[one], facts.items[other]]
    if ours is None or theirs is None or not all(item.sha256 in features for item in items):
        return False
    thumbs = [features.thumb(item.sha256) for item in items]
    (frame,) = verify_frames(thumbs[0], thumbs[1][None], 0.0)
    scaled = len({item.width_px * item.height_px for item in items}) > 1
    return frame is not None and ours.agrees(theirs, frame.orientation, scaled=scaled)


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


def _extra(image: Image.Image) -> ExtraContent:
    if image.format in _BARE_FORMATS:
        return ExtraContent()
    alpha = None
    if image.has_transparency_data:
        values = np.asarray(image.convert("RGBA").getchannel("A"))
        alpha = _small(values, orientation_of(image)[0])
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


def _small(alpha: NDArray[np.uint8], orientation: int) -> NDArray[np.uint8] | None:
    """An alpha channel (H, W), upright and (64, 64); None where all of it is opaque."""
    import cv2

    if alpha.min() == 255:
        return None
    turned = np.ascontiguousarray(upright_values(alpha, orientation))
    return np.asarray(
        cv2.resize(turned, (THUMB_PX, THUMB_PX), interpolation=cv2.INTER_AREA), np.uint8
    )


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


def with_grades(
    facts: Facts,
    families: Families,
    library: OpenLibrary,
    features: FeatureStore,
    progress: Progress,
) -> Facts:
    """Facts with the looks of copies that differ in brightness or colour, and regraded ones."""
    several = []
    for own in families.structures:
        shas = {one: facts.items[one].sha256 for one in own}
        seen = {one: features.thumb(sha256) for one, sha256 in shas.items() if sha256 in features}
        looks = grades_of(seen)
        if len(looks) > 1:
            several.append(looks)
    numbers: dict[int, int] = {}
    reasons: dict[int, str] = {}
    with progress.bar("comparing grades", total=len(several), unit="groups") as bar:
        for looks in several:
            reasons |= regraded([_traced(look, facts, families, library) for look in looks])
            # Where nothing says which came first: the shortest name, then the path.
            looks.sort(
                key=lambda look: min(
                    (len(PurePosixPath(facts.items[one].path).stem), facts.items[one].path)
                    for one in look
                )
            )
            numbers |= {one: number for number, look in enumerate(looks) for one in look}
            bar.advance()
    return replace(facts, grades=numbers, regraded=reasons)


def grades_of(thumbs: Mapping[int, Floats]) -> list[list[int]]:
    """Copies of one structure by their look: those of one brightness and colour together."""
    grades: list[list[int]] = []
    for one, thumb in thumbs.items():
        firsts = [thumbs[grade[0]] for grade in grades]
        frames = verify_frames(thumb, np.stack(firsts), 0.0) if firsts else []
        for grade, frame in zip(grades, frames, strict=True):
            if (
                frame is not None
                and abs(frame.similarity.gain - 1) <= SAME_GAIN
                and frame.similarity.colour_levels <= LEAST_COLOUR_LEVELS
                and frame.similarity.tone_levels <= SAME_TONE_LEVELS
            ):
                grade.append(one)
                break
        else:
            grades.append([one])
    return grades


def _traced(items: list[int], facts: Facts, families: Families, library: OpenLibrary) -> Grade:
    """Copies of one look with the traces of the largest files: smaller ones have lost theirs."""
    grade = Grade(items)
    distinct = {families.same_pixels.root(one): facts.items[one] for one in items}.values()
    most_px = max(item.width_px * item.height_px for item in distinct)
    for one in distinct:
        item = facts.readable(one.id)
        if item is None or one.width_px * one.height_px < most_px:
            continue
        with suppress(ImageFileError):
            traces = read_traces(library.path(item))
            (grade.lossless if is_lossless(item) else grade.lossy).append(traces)
    return grade


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
