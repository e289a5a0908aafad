"""Exact matches: hits that contain the pixels of a query, and where; hits that are copies."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from PIL import Image

from vaeneer.data.perceptual_hash import Fingerprint, fingerprint, near_pairs
from vaeneer.errors import ImageFileError
from vaeneer.library.catalog import Floats, Item, PixelBox
from vaeneer.library.duplicates.features import (
    MOST_FEATURES,
    WORKING_PX,
    ImageFeatures,
    sketch,
)
from vaeneer.library.duplicates.verify import CropMatch, verify_crop
from vaeneer.library.search.query import Query, whole_vector_of
from vaeneer.library.store import OpenLibrary
from vaeneer.settings import PrepareSettings

LEAST_LIKENESS = 0.5
"""Min likeness of the pixels at a place, 0 to 1."""
PIXEL_MATCH_PROBABILITY = 0.99
"""Min probability of an exact match: of 324 such hits in benchmarks/regions.py 6 were another
surface, at least 4 of them a copy that the library has under another name."""
MAX_ENLARGED = 2.0
"""Max enlargement of a query over the item that contains it."""
_SEEN_PX = 100  # side of the query in the working picture of an item
_FINEST_PX = 1200
_MAX_FEATURES = 4000
_MARGIN = 0.08  # of its sides, around a place that is located again
_AGREE = 0.04  # of its longer side, by which the corners may move then
LEAST_COSINE = 0.98
"""Of the vectors of two copies. On 311 real surfaces two different ones reach 0.961; the same
pixels give 0.9999, JPEG of quality 90 0.98 to 0.999. Copies that differ more stay in the answer."""


def is_small(size_px: tuple[int, int], item: Item) -> bool:
    """Whether a picture of this size may be too small a part of an item for its usual sketch."""
    return _finer(size_px, item) > 1


def _finer(size_px: tuple[int, int], item: Item) -> float:
    """How much finer than usual an item must be looked at, to see a picture of this size in it."""
    least_share = max(size_px) / (MAX_ENLARGED * max(item.width_px, item.height_px))
    return _SEEN_PX / (least_share * WORKING_PX)


class Localizer:
    """Locates one picture in the items of a library."""

    def __init__(
        self, library: OpenLibrary, picture: Image.Image, size_px: tuple[int, int] | None = None
    ) -> None:
        """picture: the query, mode RGB; size_px: its width and height before it was reduced."""
        self._library = library
        self._picture = picture
        self._size_px = size_px or picture.size
        self._sketches = library.sketches

    def localize(self, item: Item) -> PixelBox | None:
        """The box in an item's pixels; None where its pixels are not there, or its file is gone."""
        try:
            proof = self._proof(self._sketch(item), self._reader(item))
            if proof is None:
                return None
            if proof.swapped:  # the item is a part of the query
                return 0, 0, item.width_px, item.height_px
            return self._located_again(item, proof.box(item.width_px, item.height_px))
        except ImageFileError:
            return None

    def places(self, candidates: Iterable[Item], max_misses: int) -> dict[int, PixelBox]:
        """The boxes of the candidates that are proved; ends after so many that are not."""
        found: dict[int, PixelBox] = {}
        misses = 0
        for item in candidates:
            box = self.localize(item)
            if box is not None:
                found[item.id] = box
                continue
            misses += 1
            if misses == max_misses:
                break
        return found

    @cached_property
    def _query(self) -> ImageFeatures:
        return sketch(self._picture)

    def _proof(
        self, container: ImageFeatures, read: Callable[[bool, int], Image.Image]
    ) -> CropMatch | None:
        return verify_crop(container, self._query, read, LEAST_LIKENESS)

    def _sketch(self, item: Item) -> ImageFeatures:
        """Of an item, as fine as the smallest part of it that the query may be needs."""
        finer = _finer(self._size_px, item)
        if finer <= 1:
            if item.sha256 in self._sketches:
                return self._sketches[item.sha256]
            return sketch(self._library.picture(item, at_least_px=WORKING_PX))
        most = min(_MAX_FEATURES, round(MOST_FEATURES * finer**2))
        side_px = (item.width_px * item.height_px) ** 0.5
        finest_px = side_px * min(1, _FINEST_PX / max(item.width_px, item.height_px))
        working_px = max(WORKING_PX, round(min(WORKING_PX * finer, finest_px)))
        return sketch(self._library.picture(item, at_least_px=working_px), working_px, most)

    def _reader(self, item: Item) -> Callable[[bool, int], Image.Image]:
        def read(of_query: bool, at_least_px: int) -> Image.Image:
            if of_query:
                return self._picture
            return self._library.picture(item, at_least_px=at_least_px)

        return read

    def _located_again(self, item: Item, box: PixelBox) -> PixelBox:
        """The box as found in a cut-out around it, which shows more of its pixels."""
        window = _around(box, item)
        if max(window[2:]) > 0.8 * max(item.width_px, item.height_px):
            return box
        shorter_px = min(item.width_px, item.height_px)
        at_least_px = min(shorter_px, round(shorter_px * _FINEST_PX / max(window[2:])))
        picture = self._library.picture(item, at_least_px=at_least_px)
        across, down = picture.width / item.width_px, picture.height / item.height_px
        x, y, width, height = window
        cut = picture.crop(
            (
                round(x * across),
                round(y * down),
                round((x + width) * across),
                round((y + height) * down),
            )
        )
        proof = self._proof(sketch(cut), lambda of_query, _: self._picture if of_query else cut)
        if proof is None or proof.swapped:
            return box
        inner = proof.box(width, height)
        again = (x + inner[0], y + inner[1], inner[2], inner[3])
        return (
            again
            if np.abs(_corners(again) - _corners(box)).max() <= _AGREE * max(box[2:]) + 2
            else box
        )


def _around(box: PixelBox, item: Item) -> PixelBox:
    """A box with a margin, inside the item."""
    x, y, width, height = box
    more = round(_MARGIN * max(width, height)) + 4
    left, top = max(0, x - more), max(0, y - more)
    right, bottom = min(item.width_px, x + width + more), min(item.height_px, y + height + more)
    return left, top, right - left, bottom - top


def _corners(box: PixelBox) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    x, y, width, height = box
    return np.array([x, y, x + width, y + height])


@dataclass(frozen=True, eq=False)
class _Known:
    sha256: str | None
    prints: Fingerprint
    vector: Floats


class Copies:
    """Remembers what a search has shown: files by their bytes, pictures by hash and vector."""

    def __init__(self, library: OpenLibrary, queries: Sequence[Query]) -> None:
        """queries: the query images, which count as shown."""
        self._library = library
        self._shown = [self._of_query(query) for query in queries]

    def seen_before_or_add(self, item: Item) -> bool:
        """Whether something shown was the same picture; if not, the item counts as shown now."""
        if any(one.sha256 == item.sha256 for one in self._shown):
            return True
        own = self._of_item(item)
        if own is None:
            return False
        for one in self._shown:
            alike = float(one.vector @ own.vector) >= LEAST_COSINE
            if alike and _near(one.prints, own.prints):
                return True
        self._shown.append(own)
        return False

    def _of_query(self, query: Query) -> _Known:
        known = self._of_item(query.item) if query.item is not None else None
        if known is not None:
            return known
        assert query.picture is not None  # only items are not decoded
        vector = whole_vector_of(self._library, query)
        return _Known(query.sha256, fingerprint(query.picture), vector)

    def _of_item(self, item: Item) -> _Known | None:
        """What the catalog knows of an item; None where it left meanwhile."""
        row = self._library.catalog.execute(
            "SELECT items.phashes, items.thumb, crops.id FROM items JOIN crops"
            " ON crops.item = items.id AND crops.scale = 0 WHERE items.id = ?",
            (item.id,),
        ).fetchone()
        if row is None:
            return None
        (vector,) = self._library.catalog.vectors([row[2]]).vectors
        return _Known(item.sha256, Fingerprint(row[0], row[1]), vector)


def _near(one: Fingerprint, other: Fingerprint) -> bool:
    return next(near_pairs([one, other], PrepareSettings.near_duplicate_bits), None) is not None
