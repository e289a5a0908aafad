"""Whether two pictures are copies, by their pixels: in one frame, or one as a part of the other."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from vaeneer.library.catalog import PixelBox
from vaeneer.library.duplicates.features import ImageFeatures, at_working_size
from vaeneer.library.duplicates.registration import (
    LEAST_STRUCTURE,
    THUMB_PX,
    Features,
    Floats,
    Placement,
    StructuralSimilarity,
    align,
    best_orientations,
    compare,
    oriented,
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

_OUTSIDE = 0.03  # of its sides, what a part may stick out
_REGION_PX = 2 * THUMB_PX


@dataclass(frozen=True)
class CopyMatch:
    """Two pictures show one frame."""

    orientation: int
    """How to turn the first for the second, see `likeness.ORIENTATIONS`."""

    likeness: StructuralSimilarity

    @property
    def kind(self) -> Kind:
        """near, or recoloured."""
        return copy_kind(self.likeness)


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
    likeness: StructuralSimilarity

    @property
    def kind(self) -> Kind:
        """cropped; near or recoloured where the part is nearly everything."""
        return copy_kind(self.likeness) if self.cover >= LEAST_COVER else "cropped"

    def box(self, width_px: int, height_px: int) -> PixelBox:
        """Around the part, in pixels of the container, which has so many."""
        points = np.clip(self.corners * max(width_px, height_px), 0, (width_px, height_px))
        left, top = (round(float(value)) for value in points.min(0))
        right, bottom = (round(float(value)) for value in points.max(0))
        return left, top, max(1, right - left), max(1, bottom - top)


def copy_kind(likeness: StructuralSimilarity) -> Kind:
    """near, or recoloured where more than a gain tells the colours or the light and dark apart."""
    steady = 1 / MAX_GAIN <= likeness.gain <= MAX_GAIN
    levels = likeness.colour_levels
    turned = likeness.colour_share > MAX_HUE_SHARE and levels > LEAST_COLOUR_LEVELS
    steady &= likeness.tone_levels <= MAX_TONE_LEVELS
    return "near" if steady and levels <= MAX_COLOUR_LEVELS and not turned else "recoloured"


def frame_proofs(one: Floats, others: Floats, least: float) -> list[CopyMatch | None]:
    """Which of the thumbnails (k, 64, 64, 3) show the frame of `one`, in any orientation."""
    found: list[CopyMatch | None] = [None] * len(others)
    structures, turns = best_orientations(one, others)
    for place in np.flatnonzero(structures >= min(least, LEAST_STRUCTURE)).tolist():
        turn = int(turns[place])
        likeness = compare(oriented(one, turn), others[place])
        if likeness.value >= least:
            found[place] = CopyMatch(turn, likeness)
    return found


def verify_crop(
    first: ImageFeatures,
    second: ImageFeatures,
    read: Callable[[bool, int], Image.Image],
    least: float,
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
    likeness = compare(region(picture, placement, part), (first if swapped else second).thumb)
    if likeness.value < least:
        return None
    cover = placement.scale**2 * part.area / container.area
    return CropMatch(swapped, corners, cover, placement, likeness)


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
