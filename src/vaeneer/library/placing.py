"""Where in a hit the very pixels lie that were asked for, where the hit has them.

Vectors say that a part looks alike, and their grid is coarse. Where the box was cut from the hit
itself, or from a copy of it, local features find it to the pixel, turned, scaled or mirrored
(geometry.py), and the pixels prove it (proving.py), as for duplicates.
"""

from __future__ import annotations

from collections.abc import Callable

from PIL import Image

from vaeneer.errors import ImageFileError
from vaeneer.library.catalog import Item, PixelBox
from vaeneer.library.library import Library
from vaeneer.library.proving import part_proof
from vaeneer.library.sketches import WORKING_PX, Sketch, sketch

LEAST_LIKENESS = 0.5
"""Of the pixels at a place, 0 to 1, before it is believed."""

PROVEN = 0.99
"""Probability, at least, of a hit that was placed by its pixels: of 538 such hits in
benchmarks/regions.py 5 were another surface, or a copy that the library has under another name."""


class Placer:
    """Looks for one cut-out picture in the items of a library."""

    def __init__(self, library: Library, asked: Image.Image) -> None:
        """asked: what lies in the box, mode RGB."""
        self._library = library
        self._picture = asked
        self._asked = sketch(asked)
        self._sketches = library.sketches

    def place(self, item: Item) -> PixelBox | None:
        """The box in an item's pixels; None where its pixels are not there, or its file is gone."""
        try:
            proof = part_proof(self._sketch(item), self._asked, self._reader(item), LEAST_LIKENESS)
        except ImageFileError:
            return None
        if proof is None:
            return None
        if proof.swapped:  # the item is a part of what was asked for
            return 0, 0, item.width_px, item.height_px
        return proof.box(item.width_px, item.height_px)

    def _sketch(self, item: Item) -> Sketch:
        if item.sha256 in self._sketches:
            return self._sketches[item.sha256]
        return sketch(self._library.picture(item, at_least_px=WORKING_PX))

    def _reader(self, item: Item) -> Callable[[bool, int], Image.Image]:
        def read(of_asked: bool, at_least_px: int) -> Image.Image:
            if of_asked:
                return self._picture
            return self._library.picture(item, at_least_px=at_least_px)

        return read
