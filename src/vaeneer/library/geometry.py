"""Where one picture lies in another: moved, scaled, turned or mirrored.

Local features (SIFT, Lowe 2004; as RootSIFT, Arandjelovic & Zisserman 2012) of both are matched,
and a similarity transform is fitted to the matches (RANSAC, Fischler & Bolles 1981). A mirrored
picture needs no features of its own: mirroring only permutes the numbers of a descriptor.
"""

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
    same answer. Whether the pixels agree too is for likeness.py to say.
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
