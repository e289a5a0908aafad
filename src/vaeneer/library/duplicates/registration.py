"""Transform between two pictures, and their structural similarity once registered."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]
MOST_FEATURES = 384
"""Features of one picture, spread over coarse and fine ones."""
LEAST_INLIERS = 6
"""Matches that must agree on a transform before its pixels are looked at."""
MAX_SCALE = 12.0
"""A picture is not looked for in one that shows it so many times smaller or larger."""
_RATIO = 0.85  # of the distances to the best and the second best match
_FEW_MATCHES = 24
_LEAST_COSINE = 0.85  # of two descriptors where the ratio does not tell
_REPROJECTION_PX = 3.0
_LEAST_CONTRAST = 0.01  # far below SIFT's 0.04, since surfaces are stretched to full contrast
_LEAST_STRETCH_LEVELS = 4.0
_TRIES = 1000
Floats = NDArray[np.float32]
THUMB_PX = 64
"""Side of the square that pictures are squeezed to."""
ORIENTATIONS = 8
"""Quarter turns, counter-clockwise: 0 to 3; 4 to 7: the same of the picture in the mirror."""
LEAST_LIKENESS = 0.45
"""Copies are at least so alike (docs/library.md has what was measured)."""
LEAST_STRUCTURE = 0.35
"""Below this correlation of whole frames, blocks need not be looked at."""
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
class Features:
    """Local features of one picture."""

    points: NDArray[np.float32]
    """(n, 2) x, y in shares of the picture's longer side."""

    descriptors: NDArray[np.uint8]
    """(n, 128) SIFT."""

    width: float
    """Of the picture, in shares of its longer side; so is `height`."""

    height: float

    @property
    def area(self) -> float:
        """Of the picture, in squares of its longer side."""
        return self.width * self.height


@dataclass(frozen=True)
class Placement:
    """Where one picture lies in another: a similarity transform."""

    matrix: NDArray[np.float64]
    """(2, 3): x, y of the one, in shares of its longer side, to x, y of the other in its own."""

    inliers: int
    """Matches of features that agree."""

    @property
    def mirrored(self) -> bool:
        """Whether it is seen as in a mirror."""
        return bool(np.linalg.det(self.matrix[:, :2]) < 0)

    @property
    def scale(self) -> float:
        """Length in the other picture of what is 1 long in this one."""
        return math.sqrt(abs(float(np.linalg.det(self.matrix[:, :2]))))

    @property
    def turn_degrees(self) -> float:
        """How far it is turned, counter-clockwise as seen, -180 to 180 (after any mirroring)."""
        across, down = self.matrix[:, 0] * (-1 if self.mirrored else 1)
        return math.degrees(math.atan2(-down, across))

    def inverse(self) -> Placement:
        """Where the other picture lies in this one."""
        square = np.vstack([self.matrix, [0, 0, 1]])
        return Placement(np.linalg.inv(square)[:2], self.inliers)

    def corners(self, width: float, height: float) -> NDArray[np.float64]:
        """(4, 2) corners in the other picture of this one, which is `width` x `height`."""
        own = np.array([[0, 0, 1], [width, 0, 1], [width, height, 1], [0, height, 1]])
        return np.asarray(own @ self.matrix.T)


def find_features(picture: Pixels, most: int = MOST_FEATURES) -> Features:
    """Features of a picture (H, W, 3) uint8; best with a longer side of about 512 px.

    Contrast is stretched first, so that pale surfaces have some too. most: max number of features.
    """
    import cv2

    height, width = picture.shape[:2]
    longer = max(height, width)
    size = {"width": width / longer, "height": height / longer}
    # 12 and 1.2: the edge limit and the blur of the input; SIFT's own are 10 and 1.6.
    sift = cv2.SIFT.create(0, 3, _LEAST_CONTRAST, 12, 1.2)
    grey = stretched(picture)
    found = _spread_over_sizes(sift.detect(grey, None), most)
    if not found:
        return Features(np.zeros((0, 2), np.float32), np.zeros((0, 128), np.uint8), **size)
    kept, descriptors = sift.compute(grey, found)
    points = np.array([one.pt for one in kept], np.float32)
    points = (points + np.float32(0.5)) / np.float32(longer)  # OpenCV counts from pixel centres
    return Features(points, np.asarray(descriptors).astype(np.uint8), **size)


def stretched(picture: Pixels) -> Pixels:
    """The light and dark of a picture (H, W, 3), stretched to 0..255: (H, W) uint8."""
    grey = picture.astype(np.float32) @ np.array([0.299, 0.587, 0.114], np.float32)
    low, high = np.percentile(grey, [1, 99])
    grey = (grey - low) * (255 / max(high - low, _LEAST_STRETCH_LEVELS))
    return np.asarray(np.clip(grey, 0, 255), np.uint8)


def mirrored(features: Features) -> Features:
    """The features of the picture as seen in a mirror (left is right)."""
    bins = features.descriptors.reshape(-1, 4, 4, 8)  # rows, columns, directions
    flipped = bins[:, ::-1][..., [0, 7, 6, 5, 4, 3, 2, 1]].reshape(-1, 128)
    points = features.points.copy()
    points[:, 0] = np.float32(features.width) - points[:, 0]
    return Features(points, flipped, features.width, features.height)


def align(container: Features, part: Features) -> Placement | None:
    """Where a picture, or its mirror image, lies in another; None where too little agrees.

    Of the two answers, the one with more matches that agree. The same pictures always give the
    same answer. Whether the pixels agree too is for registration.py to say.
    """
    plain = _fitted(container, part)
    turned_over = _fitted(container, mirrored(part))
    if turned_over is not None and (plain is None or turned_over.inliers > plain.inliers):
        flip = np.array([[-1, 0, part.width], [0, 1, 0], [0, 0, 1]])
        return Placement(turned_over.matrix @ flip, turned_over.inliers)
    return plain


def _fitted(container: Features, part: Features) -> Placement | None:
    import cv2

    there, here = _matches(container, part)
    if len(here) < LEAST_INLIERS:
        return None
    pixels = np.float32(512)  # the unit that the reprojection error is meant in
    cv2.setRNGSeed(0)
    matrix, agree = cv2.estimateAffinePartial2D(
        here * pixels,
        there * pixels,
        method=cv2.RANSAC,
        ransacReprojThreshold=_REPROJECTION_PX,
        maxIters=_TRIES,
        confidence=0.995,
    )
    if matrix is None or int(agree.sum()) < LEAST_INLIERS:
        return None
    fitted = np.asarray(matrix, np.float64)
    fitted[:, 2] /= pixels
    found = Placement(fitted, int(agree.sum()))
    return found if 1 / MAX_SCALE < found.scale < MAX_SCALE else None


def _matches(
    container: Features, part: Features
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Points of both, (n, 2) each, whose descriptors are like each other and like no second.

    A surface that repeats has few such: then those that are each other's nearest.
    """
    nothing = np.zeros((0, 2), np.float32)
    if len(container.points) < 2 or len(part.points) < LEAST_INLIERS:
        return nothing, nothing
    cosines = _rooted(part.descriptors) @ _rooted(container.descriptors).T
    best = cosines.argmax(1)
    rows = np.arange(len(cosines))
    mutual = cosines.argmax(0)[best] == rows
    first = cosines[rows, best]
    cosines[rows, best] = -1
    second = cosines.max(1)
    clear = 1 - first < _RATIO**2 * (1 - second)  # squared distances of unit vectors, halved
    if clear.sum() < _FEW_MATCHES:
        clear = clear | (mutual & (first > _LEAST_COSINE))
    return container.points[best[clear]], part.points[clear]


def _rooted(descriptors: NDArray[np.uint8]) -> NDArray[np.float32]:
    values = descriptors.astype(np.float32)
    answer: NDArray[np.float32] = np.sqrt(values / (values.sum(1, keepdims=True) + 1e-6))
    return answer


def _spread_over_sizes(found: Sequence[Any], most: int) -> list[Any]:
    """The strongest keypoints, coarse octaves first, each octave with its share of what is left.

    By strength alone nearly all were fine, and a scaled copy would show none of them.
    """
    if not found:
        return []
    packed = np.array([one.octave for one in found], np.int64) & 255  # the low byte, with a sign
    octaves = np.where(packed > 127, packed - 256, packed)
    strength = np.array([one.response for one in found])
    across, down = np.array([one.pt for one in found]).T
    angles = np.array([one.angle for one in found])
    order = np.lexsort((angles, down, across, -strength, -octaves))
    sizes = np.unique(octaves)[::-1]
    kept: list[Any] = []
    for place, octave in enumerate(sizes):
        share = (most - len(kept)) // (len(sizes) - place)
        kept += [found[row] for row in order[octaves[order] == octave][:share].tolist()]
    return kept


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


def thumb(picture: NDArray[np.uint8] | Floats) -> Floats:
    """A picture (H, W, 3), in levels, squeezed to (64, 64, 3) float32, not rounded."""
    import cv2

    size = (THUMB_PX, THUMB_PX)
    small = cv2.resize(picture.astype(np.float32), size, interpolation=cv2.INTER_AREA)
    return np.asarray(small, np.float32)


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
        value = max(value, _plain_likeness(one, other, left, right, gain))
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


def _plain_likeness(one: Floats, other: Floats, left: Floats, right: Floats, gain: float) -> float:
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
