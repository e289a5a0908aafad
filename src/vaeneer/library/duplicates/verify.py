"""Whether two pictures are copies, by their pixels: in one frame, or one as a part of the other."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from vaeneer.library.catalog import PixelBox
from vaeneer.library.duplicates.features import (
    THUMB_PX,
    Features,
    Floats,
    ImageFeatures,
    Placement,
    align,
    at_working_size,
    thumb,
)

Kind = Literal["exact", "same_pixels", "near", "cropped", "recoloured"]

MAX_COLOUR_LEVELS = 6.0
"""Copies whose colours differ by more, on average and but for a gain, are recoloured."""

MAX_HUE_SHARE = 0.95
"""So are those of another hue, however pale, if their colours differ by `LEAST_COLOUR_LEVELS`."""

MAX_TONE_LEVELS = 8.0
"""Copies whose light and dark differ by more, but for a gain, were regraded: recoloured."""

LEAST_COLOUR_LEVELS = 2.0
"""What compression may do to the colours; JPEG of quality 40 stays below 1.3."""

MAX_GAIN = 1.6
"""Copies that are more often brighter or darker are recoloured too."""

LEAST_COVER = 0.9
"""A part that covers more of the other picture is a near copy of it."""

ORIENTATIONS = 8
"""Quarter turns, counter-clockwise: 0 to 3; 4 to 7: the same of the picture in the mirror."""
LEAST_LIKENESS = 0.45
"""Copies are at least so alike (docs/library.md has what was measured)."""
LEAST_STRUCTURE = 0.35
"""Below this correlation of whole frames, blocks need not be looked at."""
_OUTSIDE = 0.03  # of its sides, what a part may stick out
_REGION_PX = 2 * THUMB_PX
_BLUR_PX = 6.0
_BLOCKS = 4  # along each side
_NOISE_LEVELS = 0.1  # of rounding; keeps pictures without structure from being alike by chance
_REPEATED = 10  # singular vectors
_BLOCKS_BEHIND = 1.25
_FLOOR = _NOISE_LEVELS**2 * (THUMB_PX // _BLOCKS) ** 2
_PLAIN_LEVELS = 0.7  # less structure than this in the blocks of both says nothing
_MAX_PLAIN_DIFFERENCE = 2.0
_LEAST_PLAIN_STRUCTURE = 0.97
_PATCHES = 16
_LEAST_CHROMA_LEVELS = 0.5
_CHROMA = np.array([[-0.169, 0.5], [-0.331, -0.419], [0.5, -0.081]], np.float32)  # RGB to Cb, Cr


@dataclass(frozen=True)
class StructuralSimilarity:
    """What two pictures in one frame have in common."""

    value: float
    """0 to 1: the correlation of their structure, less what repeats along rows and columns."""

    gain: float
    """How much brighter the second is."""

    colour_levels: float
    """Mean distance of their colours (Cb, Cr) after that gain, in levels of 255."""

    colour_share: float
    """The same as a share of the colour that there is: 0.1 is a tint, 1 and more another hue."""

    tone_levels: float
    """Mean difference of their light and dark after that gain, in levels of 255."""


def oriented(picture: NDArray[np.float32], orientation: int) -> Floats:
    """A picture (S, S, 3) in one of the `ORIENTATIONS`."""
    seen = picture if orientation < 4 else picture[:, ::-1]
    return np.ascontiguousarray(np.rot90(seen, orientation % 4))


def best_orientations(one: Floats, others: Floats) -> tuple[Floats, NDArray[np.int64]]:
    """The correlation of a thumbnail with each of (k, 64, 64, 3), and how to turn `one` for it.

    1 for two pictures that have no structure.
    """
    right = np.stack([_detailed(other) for other in others]).reshape(len(others), -1, 3)
    left = _detailed(one)
    best = np.zeros(len(others), np.float32)
    turn = np.zeros(len(others), np.int64)
    right_scale, right_power = _powers(right)
    left_scale, left_power = _powers(left.reshape(1, -1, 3))
    for orientation in range(ORIENTATIONS):
        turned = oriented(left, orientation).reshape(-1, 3)
        shared = turned.T @ right / len(turned)  # (k, 3, 3)
        forth = ((left_scale @ shared) * shared).sum((1, 2)) / right_power
        back = ((shared @ right_scale) * shared).sum((1, 2)) / left_power
        found = np.sqrt(np.sqrt(np.clip(forth, 0, 1) * np.clip(back, 0, 1)))
        better = found > best
        best[better], turn[better] = found[better], orientation
    plain = (right_power < 3 * _PLAIN_LEVELS**2) & (left_power < 3 * _PLAIN_LEVELS**2)
    return np.where(plain, np.float32(1), best), np.where(plain, 0, turn)


def compare(one: Floats, other: Floats) -> StructuralSimilarity:
    """How alike two thumbnails (64, 64, 3) in one frame are."""
    left, right = _detailed(one).reshape(-1, 3), _detailed(other).reshape(-1, 3)
    noise = _NOISE_LEVELS**2 * len(left) * np.eye(3, dtype=np.float32)
    mapped = left @ np.linalg.solve(left.T @ left + noise, left.T @ right)
    shared = mapped.T @ right
    axis: Floats = np.linalg.eigh(shared + shared.T)[1][:, -1]  # the colour in which both vary most
    size = (THUMB_PX, THUMB_PX)
    ours, theirs = (
        _blocks(part)
        for part in _remove_repeats((mapped @ axis).reshape(size), (right @ axis).reshape(size))
    )
    powers = (ours**2).sum(1) + _FLOOR, (theirs**2).sum(1) + _FLOOR
    products = (ours * theirs).sum(1)
    most = float(np.median(products / np.sqrt(powers[0] * powers[1])))
    value = float(products.sum() / np.sqrt(powers[0].sum() * powers[1].sum()))
    value = min(value, _BLOCKS_BEHIND * most)  # a mark printed on two pictures is not enough
    gain, distance, share, tone = _colours(one, other)
    if min(_rms(ours), _rms(theirs)) < _PLAIN_LEVELS:
        value = max(value, _flat_similarity(one, other, left, right, gain))
    return StructuralSimilarity(max(0.0, min(1.0, value)), gain, distance, share, tone)


def _remove_repeats(one: Floats, other: Floats) -> tuple[Floats, Floats]:
    """Two pictures (S, S) less what both repeat along rows and columns."""
    scaled = [picture / (np.linalg.norm(picture) + 1e-6) for picture in (one, other)]
    rows, _, columns = np.linalg.svd(scaled[0] + scaled[1])
    down, across = rows[:, :_REPEATED], columns[:_REPEATED]

    def less(picture: Floats) -> Floats:
        rest = picture - down @ (down.T @ picture)
        return np.asarray(rest - (rest @ across.T) @ across, np.float32)

    return less(one), less(other)


def _flat_similarity(one: Floats, other: Floats, left: Floats, right: Floats, gain: float) -> float:
    """Of pictures of one colour, or of straight lines only: all of their pixels must agree."""
    difference = float(np.abs(one * gain - other).mean())
    if not 0.98 < gain < 1.02 or difference > _MAX_PLAIN_DIFFERENCE:
        return 0.0
    flat = _rms(left) < _PLAIN_LEVELS and _rms(right) < _PLAIN_LEVELS
    both = float((left * right).sum() / np.sqrt((left**2).sum() * (right**2).sum() + 1e-9))
    alike = flat or both >= _LEAST_PLAIN_STRUCTURE
    return 1 - difference / (2 * _MAX_PLAIN_DIFFERENCE) if alike else 0.0


def _colours(one: Floats, other: Floats) -> tuple[float, float, float, float]:
    """Gain, distance of the colours, its share and that of tone; by 16 x 16 patches."""
    side = THUMB_PX // _PATCHES
    left, right = (
        picture.reshape(_PATCHES, side, _PATCHES, side, 3).mean((1, 3)).reshape(-1, 3)
        for picture in (one, other)
    )
    gain = float((left * right).sum() + 1.0) / float((left * left).sum() + 1.0)
    ours, theirs = gain * left @ _CHROMA, right @ _CHROMA
    distance = _mean_length(ours - theirs)
    there_is = max(_mean_length(ours), _mean_length(theirs))
    tone = float(np.abs((gain * left - right).mean(1)).mean())
    return gain, distance, distance / (there_is + _LEAST_CHROMA_LEVELS), tone


def _mean_length(vectors: Floats) -> float:
    return float(np.linalg.norm(vectors, axis=1).mean())


def _detailed(picture: Floats) -> Floats:
    """Without its slow changes: (S, S, 3) float32 of mean 0."""
    import cv2

    slow = cv2.GaussianBlur(picture, (0, 0), _BLUR_PX, borderType=cv2.BORDER_REFLECT)
    fine = picture - slow
    return np.asarray(fine - fine.mean((0, 1)), np.float32)


def _powers(pictures: Floats) -> tuple[Floats, Floats]:
    """Inverse covariances (k, 3, 3) of the colours of (k, n, 3), and their total variance (k,)."""
    covariance = pictures.transpose(0, 2, 1) @ pictures / pictures.shape[1]
    covariance += _NOISE_LEVELS**2 * np.eye(3, dtype=np.float32)
    return np.linalg.inv(covariance), np.trace(covariance, axis1=1, axis2=2)


def _blocks(picture: Floats) -> Floats:
    """(blocks, pixels of a block) of (S, S), each less the means of its rows and columns."""
    side = THUMB_PX // _BLOCKS
    blocks = picture.reshape(_BLOCKS, side, _BLOCKS, side).transpose(0, 2, 1, 3)
    blocks = blocks - blocks.mean(2, keepdims=True)
    blocks = blocks - blocks.mean(3, keepdims=True)
    return np.ascontiguousarray(blocks).reshape(_BLOCKS**2, -1)


def _rms(values: Floats) -> float:
    return float(np.sqrt(np.mean(values**2)))


@dataclass(frozen=True)
class FrameMatch:
    """Two pictures show one frame."""

    orientation: int
    """How to turn the first for the second, see `ORIENTATIONS`."""

    similarity: StructuralSimilarity

    @property
    def kind(self) -> Kind:
        """near, or recoloured."""
        return copy_kind(self.similarity)


@dataclass(frozen=True)
class CropMatch:
    """One picture is a part of another, or nearly all of it."""

    swapped: bool
    """Whether the first that was asked about is the part, not the container."""

    corners: NDArray[np.float64]
    """(4, 2) of the part in the container, in shares of that picture's longer side."""

    cover: float
    """Share of the container's area."""

    placement: Placement
    similarity: StructuralSimilarity

    @property
    def kind(self) -> Kind:
        """cropped; near or recoloured where the part is nearly everything."""
        return copy_kind(self.similarity) if self.cover >= LEAST_COVER else "cropped"

    def box(self, width_px: int, height_px: int) -> PixelBox:
        """Around the part, in pixels of the container, which has so many."""
        points = np.clip(self.corners * max(width_px, height_px), 0, (width_px, height_px))
        left, top = (round(float(value)) for value in points.min(0))
        right, bottom = (round(float(value)) for value in points.max(0))
        return left, top, max(1, right - left), max(1, bottom - top)


def copy_kind(similarity: StructuralSimilarity) -> Kind:
    """near, or recoloured where more than a gain tells the colours or the light and dark apart."""
    steady = 1 / MAX_GAIN <= similarity.gain <= MAX_GAIN
    levels = similarity.colour_levels
    turned = similarity.colour_share > MAX_HUE_SHARE and levels > LEAST_COLOUR_LEVELS
    steady &= similarity.tone_levels <= MAX_TONE_LEVELS
    return "near" if steady and levels <= MAX_COLOUR_LEVELS and not turned else "recoloured"


def verify_frames(one: Floats, others: Floats, threshold: float) -> list[FrameMatch | None]:
    """Which of the thumbnails (k, 64, 64, 3) show the frame of `one`, in any orientation."""
    found: list[FrameMatch | None] = [None] * len(others)
    structures, turns = best_orientations(one, others)
    for place in np.flatnonzero(structures >= min(threshold, LEAST_STRUCTURE)).tolist():
        turn = int(turns[place])
        similarity = compare(oriented(one, turn), others[place])
        if similarity.value >= threshold:
            found[place] = FrameMatch(turn, similarity)
    return found


def verify_crop(
    first: ImageFeatures,
    second: ImageFeatures,
    read: Callable[[bool, int], Image.Image],
    threshold: float,
) -> CropMatch | None:
    """Whether the second picture is a part of the first, or the first of the second.

    read: `read(second, min_side_px)` returns one of the two images; called only where the features
    agree on a place.
    """
    placement = align(first.features, second.features)
    if placement is None:
        return None
    container, part = first.features, second.features
    swapped = placement.scale**2 * part.area > container.area
    if swapped:
        placement, container, part = placement.inverse(), part, container
    corners = placement.corners(part.width, part.height)
    slack = _OUTSIDE * placement.scale
    if (corners < -slack).any() or (corners > _size(container) + slack).any():
        return None
    shorter = placement.scale * min(_size(part)) / min(_size(container))
    picture = np.asarray(read(swapped, round(_REGION_PX / shorter)))
    similarity = compare(region(picture, placement, part), (first if swapped else second).thumb)
    if similarity.value < threshold:
        return None
    cover = placement.scale**2 * part.area / container.area
    return CropMatch(swapped, corners, cover, placement, similarity)


def region(container: NDArray[np.uint8], placement: Placement, part: Features) -> Floats:
    """What a container (H, W, 3) shows where a part lies, as the thumbnail of the part."""
    import cv2

    longer_px = max(container.shape[:2])
    wanted_px = round(2 * _REGION_PX / (placement.scale * max(_size(part))))
    if wanted_px < longer_px:  # by area first, since the warp takes single pixels
        container = at_working_size(container, wanted_px)
    steps = np.diag([part.width / _REGION_PX, part.height / _REGION_PX, 1.0])
    steps[:2, 2] = 0.5 * steps[[0, 1], [0, 1]]  # from the centre of a pixel to that of another
    matrix = placement.matrix @ steps * max(container.shape[:2])
    matrix[:, 2] -= 0.5
    seen = cv2.warpAffine(
        container.astype(np.float32),
        matrix,
        (_REGION_PX, _REGION_PX),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REPLICATE,
    )
    return thumb(np.asarray(seen, np.float32))


def _size(features: Features) -> NDArray[np.float64]:
    return np.array([features.width, features.height])
