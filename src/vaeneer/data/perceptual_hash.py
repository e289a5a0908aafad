"""Pictures of one surface: recompressed, rescaled, turned, mirrored, brighter, recoloured.

Two pictures are near duplicates when, in any of the 8 orientations of a square, their perceptual
hashes differ in few bits and their 8 x 8 colour thumbnails agree; or in up to twice as many bits
and the light and dark of the thumbnails agree, whatever the colours (a scan regraded). Groups
are transitive: a copy of a copy belongs. The limits were measured on 311 real surfaces.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

MAX_GAIN = 1.15
"""How much brighter one picture may be as a whole."""

MAX_COLOUR_DIFFERENCE = 4.0
"""Greatest mean absolute difference of two thumbnails after that gain, in levels of 255."""

MIN_CORRELATION = 0.9
"""Least correlation of the light and dark of two thumbnails whose colours may differ."""

MAX_FLAT_DIFFERENCE = 2.0
"""Largest mean difference in colour of flat pictures, whose hashes say nothing; levels."""

_THUMB_PX = 8
_HASH_PX = 32
_FLAT_LEVELS = 1.0  # a 32 x 32 reduction with less contrast than this has no structure to hash
_FLAT_HASH_BITS = 8  # the median splits any structure in halves: 32 bits of 64
_CHUNK_PAIRS = 2**26  # about the most candidates held at once, 12 bytes each

_TURNS = Image.Transpose
_ORIENTATIONS = (
    None,
    _TURNS.ROTATE_90,
    _TURNS.ROTATE_180,
    _TURNS.ROTATE_270,
    _TURNS.FLIP_LEFT_RIGHT,
    _TURNS.FLIP_TOP_BOTTOM,
    _TURNS.TRANSPOSE,
    _TURNS.TRANSVERSE,
)


@dataclass(frozen=True)
class Fingerprint:
    """What is remembered of a picture to find its near duplicates."""

    hashes: bytes
    """64 bytes: the 64-bit perceptual hash in each of the 8 orientations, upright first."""

    thumb: bytes
    """192 bytes: the picture squeezed to 8 x 8 RGB, row by row."""


def fingerprint(image: Image.Image) -> Fingerprint:
    """The hashes and the thumbnail of an RGB picture of any size."""
    import imagehash

    box = Image.Resampling.BOX
    if max(image.size) > 256:
        image = image.resize((min(image.width, 256), min(image.height, 256)), box)
    thumb = image.resize((_THUMB_PX, _THUMB_PX), box)
    grey = image.convert("L").convert("F").resize((_HASH_PX, _HASH_PX), box)
    # Full contrast in 8 bits, so that rounding does not drown a low-contrast surface.
    values = np.asarray(grey)
    low, high = float(values.min()), float(values.max())
    if high - low < _FLAT_LEVELS:
        grey = Image.new("L", grey.size, 128)
    else:
        grey = Image.fromarray(np.rint((values - low) * (255 / (high - low))).astype(np.uint8))
    turned = [grey if turn is None else grey.transpose(turn) for turn in _ORIENTATIONS]
    bits = [imagehash.phash(picture).hash for picture in turned]
    return Fingerprint(
        np.packbits(np.stack(bits).reshape(8, 64), axis=1).tobytes(), thumb.tobytes()
    )


def near_duplicate_groups(prints: Sequence[Fingerprint], max_bits: int) -> list[list[int]]:
    """Groups of two or more positions in `prints` that show one surface, each sorted.

    Memory grows with the number of pictures, not with its square. Time grows with the square,
    below 1 ns for each pair and orientation.
    """
    from scipy.cluster.hierarchy import DisjointSet

    distinct: dict[Fingerprint, list[int]] = defaultdict(list)
    for position, one in enumerate(prints):
        distinct[one].append(position)  # thousands of equal flat pictures cost one query
    members = list(distinct.values())
    surfaces = DisjointSet(range(len(members)))
    for first, second in near_pairs(list(distinct), max_bits):
        surfaces.merge(first, second)
    groups = (
        sorted(position for index in surface for position in members[index])
        for surface in surfaces.subsets()
    )
    return sorted(group for group in groups if len(group) > 1)


def near_pairs(prints: Sequence[Fingerprint], max_bits: int) -> Iterator[tuple[int, int]]:
    """Pairs (i, j), i < j, of positions that show one surface; a pair may come more than once."""
    if len(prints) < 2:
        return
    hashes = np.frombuffer(b"".join(one.hashes for one in prints), np.uint8).reshape(-1, 8, 8)
    thumbs = np.frombuffer(b"".join(one.thumb for one in prints), np.uint8)
    thumbs = thumbs.reshape(-1, _THUMB_PX, _THUMB_PX, 3)
    flat = np.unpackbits(hashes[:, 0], axis=1).sum(1) <= _FLAT_HASH_BITS
    flats, others = np.flatnonzero(flat), np.flatnonzero(~flat)
    for positions, pairs in (
        (flats, _flat_pairs(thumbs[flats])),
        (others, _structured_pairs(hashes[others], thumbs[others], max_bits)),
    ):
        for first, second in pairs:
            yield from zip(positions[first].tolist(), positions[second].tolist(), strict=True)


def _flat_pairs(thumbs: NDArray[np.uint8]) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Pairs of pictures without structure: by colour alone, turned or not."""
    import faiss

    colours = thumbs.mean((1, 2), dtype=np.float32)  # (N, 3) levels
    index = faiss.IndexFlat(3, faiss.METRIC_L1)
    index.add(colours)
    rows = _rows_at_once(len(thumbs))
    for start in range(0, len(thumbs), rows):
        part = colours[start : start + rows]
        ends, _, found = index.range_search(part, 3 * MAX_FLAT_DIFFERENCE + 0.01)
        asked = _askers(ends) + start
        yield asked[found > asked], found[found > asked]


def _structured_pairs(
    hashes: NDArray[np.uint8], thumbs: NDArray[np.uint8], max_bits: int
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Pairs of pictures with structure, by (N, 8, 8) hashes and (N, 8, 8, 3) thumbnails."""
    import faiss

    index = faiss.IndexBinaryFlat(64)
    index.add(np.ascontiguousarray(hashes[:, 0]))
    rows = _rows_at_once(len(thumbs))
    for start in range(0, len(thumbs), rows):
        for turn in range(len(_ORIENTATIONS)):
            queries = np.ascontiguousarray(hashes[start : start + rows, turn])
            ends, bits, found = index.range_search(queries, 2 * max_bits + 1)  # finds < radius
            asked = _askers(ends) + start
            later = found > asked  # each pair is asked from both sides, by inverse turns
            asked, found, few = asked[later], found[later], bits[later] <= max_bits
            for begin in range(0, len(asked), 2**14):  # floats of a few only, to stay small
                part = slice(begin, begin + 2**14)
                left, right = _turned(thumbs[asked[part]], turn), thumbs[found[part]]
                # The left one is brought to the brightness of the right one, by MAX_GAIN at most.
                one = left.reshape(len(left), -1).astype(np.float32)
                two = right.reshape(len(right), -1).astype(np.float32)
                gain = np.clip((two.mean(1) + 0.01) / (one.mean(1) + 0.01), 1 / MAX_GAIN, MAX_GAIN)
                difference_levels = np.abs(one * gain[:, None] - two).mean(1)
                near = few[part] & (difference_levels <= MAX_COLOUR_DIFFERENCE)
                correlation = (_light_and_dark(left) * _light_and_dark(right)).sum(1)
                near |= correlation >= MIN_CORRELATION
                yield asked[part][near], found[part][near]


def _rows_at_once(count: int) -> int:
    return max(64, min(4096, _CHUNK_PAIRS // max(1, count)))


def _askers(ends: NDArray[Any]) -> NDArray[np.int64]:
    """The query that each result of a faiss range search belongs to."""
    ends = ends.astype(np.int64)
    return np.repeat(np.arange(len(ends) - 1), ends[1:] - ends[:-1])


def _turned(thumbs: NDArray[np.uint8], turn: int) -> NDArray[np.uint8]:
    """(N, 8, 8, 3) thumbnails in another orientation, in the order of _ORIENTATIONS."""
    if turn < 4:
        return np.rot90(thumbs, turn, axes=(1, 2))
    if turn == 4:
        return thumbs[:, :, ::-1]
    if turn == 5:
        return thumbs[:, ::-1]
    swapped = thumbs.transpose(0, 2, 1, 3)
    return swapped if turn == 6 else swapped[:, ::-1, ::-1]


def _light_and_dark(thumbs: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Brightness of (N, 8, 8, 3) thumbnails, (N, 64) float32 of mean 0 and length 1."""
    grey = (thumbs @ np.array([0.299, 0.587, 0.114], np.float32)).reshape(len(thumbs), -1)
    grey -= grey.mean(1, keepdims=True)
    answer: NDArray[np.float32] = grey / (np.linalg.norm(grey, axis=1, keepdims=True) + 1e-6)
    return answer
