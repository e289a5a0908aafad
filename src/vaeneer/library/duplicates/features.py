"""Local features of pictures, the transform between two, and the file that keeps them.

sketches.bin has a row for each distinct file, found by its SHA-256: a thumbnail of 64 x 64 px in
float16, its local features and a checksum. It grows until most of it is out of use; a torn last row
is cut off, and a damaged one is made again. It may be deleted at any time.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from vaeneer.errors import ImageFileError
from vaeneer.progress import Progress
from vaeneer.storage import writing
from vaeneer.workers import prefetch

Pixels = NDArray[np.uint8]
Floats = NDArray[np.float32]
NAME = "sketches.bin"
THUMB_PX = 64
"""Side of the square that pictures are squeezed to."""
WORKING_PX = 400
"""Side of the square that has as many pixels as pictures are brought to for their features."""
MOST_FEATURES = 384
"""Features of one picture, spread over coarse and fine ones."""
LEAST_INLIERS = 6
"""Matches that must agree on a transform before its pixels are looked at."""
MAX_SCALE = 12.0
"""A picture is not looked for in one that shows it so many times smaller or larger."""
_LONGEST_PX = 1200
_RATIO = 0.85  # of the distances to the best and the second best match
_FEW_MATCHES = 24
_LEAST_COSINE = 0.85  # of two descriptors where the ratio does not tell
_REPROJECTION_PX = 3.0
_LEAST_CONTRAST = 0.01  # far below SIFT's 0.04, since surfaces are stretched to full contrast
_LEAST_STRETCH_LEVELS = 4.0
_TRIES = 1000
_ROW = np.dtype(
    [
        ("sha256", np.uint8, 32),
        ("version", np.int32),
        ("width", np.float32),
        ("height", np.float32),
        ("features", np.int32),
        ("thumb", np.float16, (THUMB_PX, THUMB_PX, 3)),
        ("points", np.float32, (MOST_FEATURES, 2)),
        ("descriptors", np.uint8, (MOST_FEATURES, 128)),
        ("crc32", np.uint32),  # of all bytes before it
    ]
)
_VERSION = 3  # of how a sketch is made; rows of another are rebuilt
_WASTE = 2  # rows on file for each one in use, beyond which it is rebuilt


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
    same answer. Whether the pixels agree too is for verify.py to say.
    """
    import cv2

    best = None
    pixels = np.float32(512)  # the unit that the reprojection error is meant in
    flip = np.array([[-1, 0, part.width], [0, 1, 0], [0, 0, 1]])
    for seen in (part, mirrored(part)):
        there, here = _matches(container, seen)
        if len(here) < LEAST_INLIERS:
            continue
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
            continue
        fitted = np.asarray(matrix, np.float64)
        fitted[:, 2] /= pixels
        found = Placement(fitted, int(agree.sum()))
        better = best is None or found.inliers > best.inliers
        if better and 1 / MAX_SCALE < found.scale < MAX_SCALE:
            best = found if seen is part else Placement(fitted @ flip, found.inliers)
    return best


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


def thumb(picture: NDArray[np.uint8] | Floats) -> Floats:
    """A picture (H, W, 3), in levels, squeezed to (64, 64, 3) float32, not rounded."""
    import cv2

    size = (THUMB_PX, THUMB_PX)
    small = cv2.resize(picture.astype(np.float32), size, interpolation=cv2.INTER_AREA)
    return np.asarray(small, np.float32)


@dataclass(frozen=True)
class ImageFeatures:
    """What is compared of one picture."""

    thumb: Floats
    """(64, 64, 3), levels."""

    features: Features


def sketch(
    picture: Image.Image, working_px: int = WORKING_PX, most: int = MOST_FEATURES
) -> ImageFeatures:
    """The sketch of an RGB picture of any size.

    working_px: side of the square with as many pixels as the picture has while features are found,
    of which there are at most `most`.
    """
    pixels = np.asarray(picture)
    if max(pixels.shape) > _LONGEST_PX:  # large ones in 8 bits first, to save memory
        pixels = at_working_size(pixels, _LONGEST_PX)
    height, width = pixels.shape[:2]
    long = (max(height, width) / min(height, width)) ** 0.5
    longer_px = min(_LONGEST_PX, round(working_px * long))
    return ImageFeatures(thumb(pixels), find_features(at_working_size(pixels, longer_px), most))


def at_working_size(pixels: NDArray[np.uint8], longer_px: int) -> NDArray[np.uint8]:
    """A picture (H, W, 3) scaled so that its longer side has `longer_px`."""
    import cv2

    height, width = pixels.shape[:2]
    scale = longer_px / max(height, width)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(pixels, size, interpolation=how), np.uint8)


class FeatureStore:
    """The sketches of a library, read from its file row by row as they are needed."""

    def __init__(self, folder: Path) -> None:
        """folder: of the library."""
        self.file = folder / NAME
        self._rows: dict[bytes, int] = {}
        self._table: NDArray[np.void] = np.zeros(0, _ROW)
        self._checked: set[bytes] = set()
        self._open()

    def __contains__(self, sha256: str) -> bool:
        """Whether there is a sketch of the file with this hash that is not damaged."""
        key = bytes.fromhex(sha256)
        if key not in self._rows or key in self._checked:
            return key in self._checked
        if _crc32(self._table[self._rows[key]]) != self._table[self._rows[key]]["crc32"]:
            self._rows.pop(key, None)
            return False
        self._checked.add(key)
        return True

    def __getitem__(self, sha256: str) -> ImageFeatures:
        """The sketch of the file with this hash. Raises KeyError where there is none."""
        row = self._row(sha256)
        count = int(row["features"])
        features = Features(
            np.array(row["points"][:count]),
            np.array(row["descriptors"][:count]),
            float(row["width"]),
            float(row["height"]),
        )
        return ImageFeatures(row["thumb"].astype(np.float32), features)

    def thumb(self, sha256: str) -> Floats:
        """Only its thumbnail, (64, 64, 3) float32 levels."""
        return np.asarray(self._row(sha256)["thumb"], np.float32)

    def damaged_rows(self) -> int:
        """How many rows in use are not as they were written."""
        keys = list(self._rows)
        return sum(key.hex() not in self for key in keys)

    def _row(self, sha256: str) -> Any:
        if sha256 not in self:
            raise KeyError(sha256)
        return self._table[self._rows[bytes.fromhex(sha256)]]

    def ensure(
        self,
        pictures: Mapping[str, Callable[[], Image.Image]],
        *,
        workers: int,
        progress: Progress,
    ) -> list[ImageFileError]:
        """Make what is missing of `pictures`: by the hash of its file, how each is read.

        Returns why some could not be read.
        """
        unusable = len(self._table) > 0 and not self._rows
        if unusable or len(self._table) > _WASTE * max(1, len(pictures)):
            self._rows, self._table, self._checked = {}, np.zeros(0, _ROW), set()
            self.file.unlink(missing_ok=True)
        if self.file.is_file():  # cut off what a kill left of a row; a reader must not do that
            whole = self.file.stat().st_size // _ROW.itemsize
            with self.file.open("r+b") as torn:
                torn.truncate(whole * _ROW.itemsize)
        missing = [sha256 for sha256 in pictures if sha256 not in self]
        failed: list[ImageFileError] = []

        def made(number: int) -> NDArray[np.void] | ImageFileError:
            try:
                return _row(missing[number], sketch(pictures[missing[number]]()))
            except ImageFileError as error:
                return error

        with (
            writing(self.file, size_bytes=len(missing) * _ROW.itemsize),
            self.file.open("ab") as stream,
            progress.bar("looking at pictures", total=len(missing), unit="images") as bar,
        ):
            for row in prefetch(made, range(len(missing)), workers=workers):
                if isinstance(row, ImageFileError):
                    failed.append(row)
                else:
                    stream.write(row.tobytes())
                bar.advance()
        self._open()
        return failed

    def _open(self) -> None:
        """Look at the rows that are whole."""
        self._checked = set()
        size_bytes = self.file.stat().st_size if self.file.is_file() else 0
        count = size_bytes // _ROW.itemsize
        if not count:
            self._rows, self._table = {}, np.zeros(0, _ROW)
            return
        self._table = np.memmap(self.file, _ROW, "r", shape=(count,))
        hashes, versions = self._table["sha256"], self._table["version"]
        usable = np.flatnonzero(versions == _VERSION)  # nor is a row that never reached the disk
        self._rows = {hashes[row].tobytes(): row for row in usable.tolist()}


def _row(sha256: str, made: ImageFeatures) -> NDArray[np.void]:
    """As it is written; a void array of one."""
    row = np.zeros(1, _ROW)
    features = made.features
    count = len(features.points)
    row["sha256"] = np.frombuffer(bytes.fromhex(sha256), np.uint8)
    row["version"] = _VERSION
    row["width"], row["height"], row["features"] = features.width, features.height, count
    row["thumb"] = made.thumb
    row["points"][0, :count] = features.points
    row["descriptors"][0, :count] = features.descriptors
    row["crc32"] = _crc32(row[0])
    return row


def _crc32(row: Any) -> int:
    return zlib.crc32(row.tobytes()[: -_ROW["crc32"].itemsize])
