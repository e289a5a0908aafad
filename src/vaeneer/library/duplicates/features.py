"""sketches.bin: what is compared of each picture, made once for each distinct file.

A row for each picture, found by the SHA-256 of its file: a thumbnail of 64 x 64 px in float16, its
local features and a checksum. The file grows until most of it is out of use; a torn last row is cut
off, and a damaged one is made again. It may be deleted at any time.
"""

from __future__ import annotations

import contextlib
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from vaeneer.errors import ImageFileError
from vaeneer.library.duplicates.registration import (
    MOST_FEATURES,
    THUMB_PX,
    Features,
    Floats,
    find_features,
    thumb,
)
from vaeneer.progress import Progress
from vaeneer.storage import writing
from vaeneer.workers import prefetch

NAME = "sketches.bin"
WORKING_PX = 400
"""Side of the square that has as many pixels as pictures are brought to for their features."""

_LONGEST_PX = 1200

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
            self._start_anew()
        self._cut_short_row()
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

    def _cut_short_row(self) -> None:
        """Drop what a kill left of a row; a reader must not, since a writer may be at it."""
        if self.file.is_file():
            whole = self.file.stat().st_size // _ROW.itemsize
            with self.file.open("r+b") as stream:
                stream.truncate(whole * _ROW.itemsize)

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

    def _start_anew(self) -> None:
        self._rows, self._table, self._checked = {}, np.zeros(0, _ROW), set()
        with contextlib.suppress(FileNotFoundError):
            self.file.unlink()


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
