"""Queries of a search as vectors: a file, bytes, pixels or an item, whole or a box."""

from __future__ import annotations

import math
import operator
import os
import re
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Union

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from vaeneer.data.cache_index import PackLayout
from vaeneer.data.decode_worker import SOURCE_SIDE_PX, sha256_of
from vaeneer.data.images import header_size, picture_of, read_image
from vaeneer.errors import DataError, ImageFileError, LibraryError, SettingsError
from vaeneer.library.catalog import Floats, Item, PixelBox

if TYPE_CHECKING:
    from torch import Tensor

    from vaeneer.library.store import OpenLibrary


Source = Union[Path, str, bytes, int, Image.Image, NDArray[Any], "Tensor"]
"""A file, the bytes of one, the id of an item, or an image in memory (data/images.py)."""
_WHOLE_NUMBER = re.compile(r"\s*-?[0-9]{1,18}\s*")
LEAST_PX = 16
"""Min side of a box and of a query image."""
_BOX_PX = SOURCE_SIDE_PX // 4  # short side of the smallest parts in the index
_NEGATIVE_WEIGHT = 0.5  # weight of negative examples beside the positive (Rocchio 1971)


@dataclass(frozen=True, eq=False)
class Query:
    """One query image of a search."""

    vector: Floats
    """(D,) of length 1."""
    name: str
    """What reports call it."""
    item: Item | None
    """The item, for a query by its id."""
    box: PixelBox | None
    size_px: tuple[int, int]
    """Upright width and height in the file."""
    sha256: str | None
    """Of the file, hexadecimal; None for pixels."""
    picture: Image.Image | None
    """RGB, often decoded smaller; None for an item without a box, which was not decoded."""


@dataclass(frozen=True, eq=False)
class _Decoded:
    name: str
    rgb: Image.Image
    size_px: tuple[int, int]
    sha256: str | None


def query_of(library: OpenLibrary, source: Source, box: PixelBox | None = None) -> Query:
    """The query that an image makes, with the vector that the library would give it.

    box: x, y, width, height in its upright pixels; the vector is then that of the squares along
    the box. Raises ImageFileError for a file that cannot be read, LibraryError for an unknown id
    and for a box on an item whose file is gone, DataError for other pixels, SettingsError for a
    box that is not on the image or too small.
    """
    item, box = None, None if box is None else _whole_numbers(box)
    if isinstance(source, Path | str) and not os.path.lexists(source):
        gone = library.item_at(source)
        source = source if gone is None else gone.id
    if isinstance(source, int | np.integer) and not isinstance(source, bool):
        item = library.item(int(source))
        if box is None:
            size_px = item.width_px, item.height_px
            vector = _stored_vector(library, item)
            return Query(vector, item.path, item, None, size_px, item.sha256, None)
        found = _read(_present(library, item), box, item.path)
    else:
        found = _decoded(source, box)
    if min(found.size_px) < LEAST_PX:
        width, height = found.size_px
        raise DataError(f"{found.name} is {width} x {height} px; give {LEAST_PX} px or more.")
    if box is not None:
        _check_inside(box, found.size_px, found.name)
    reduced = _reduced(found, box)
    same = None if box is not None else _item_of(library, found.sha256)
    vector = (
        _vector(library, reduced, found.size_px, box)
        if same is None
        else _stored_vector(library, same)  # of the very file: no network is loaded
    )
    return Query(vector, found.name, item, box, found.size_px, found.sha256, reduced)


def crop_query(query: Query) -> Image.Image | None:
    """The part of a query image inside its box, mode RGB; all of it where it has no box.

    None for an item, which was not decoded.
    """
    if query.box is None or query.picture is None:
        return query.picture
    return query.picture.crop(_scaled(query.box, query.size_px, query.picture.size))


def mean_query(queries: Sequence[Query], against: Sequence[Query] = ()) -> Floats:
    """One vector (D,) of length 1 for several images: their mean, less half that of `against`.

    Raises SettingsError where nothing is left of it.
    """
    mean = np.mean([query.vector for query in queries], axis=0)
    if against:
        mean -= _NEGATIVE_WEIGHT * np.mean([query.vector for query in against], axis=0)
    length = float(np.linalg.norm(mean))
    if length < 1e-6:
        raise SettingsError(
            "The query images and the negative examples cancel each other out; remove some."
        )
    answer: Floats = (mean / length).astype(np.float32)
    return answer


def whole_vector_of(library: OpenLibrary, query: Query) -> Floats:
    """The vector (D,) of the whole image of a query, wherever its box is."""
    if query.box is None or query.picture is None:
        return query.vector
    layout = PackLayout(SOURCE_SIDE_PX)
    size = layout.stored_size(*query.picture.size)
    whole = query.picture.resize(size, Image.Resampling.HAMMING)
    return _vector(library, whole, query.size_px, None)


def source_of(word: str) -> Path | int:
    """What a word on the command line names: a file of that name, else the id of an item."""
    if word.isascii() and word.isdigit() and len(word) < 19 and not Path(word).exists():
        return int(word)
    return Path(word)


def box_of(text: str) -> PixelBox:
    """The box that "x,y,width,height" says. Raises SettingsError for anything else."""
    parts = text.split(",")
    if len(parts) != 4 or not all(_WHOLE_NUMBER.fullmatch(part) for part in parts):
        raise SettingsError(
            f"box is {text!r}; give x,y,width,height in pixels, such as 0,0,512,512."
        )
    x, y, width, height = map(int, parts)
    return x, y, width, height


def _present(library: OpenLibrary, item: Item) -> Path:
    """The file of an item. Raises LibraryError where it is not there now."""
    path = library.path(item)
    if not library.has_file(item):
        what = "is offline: its folder is not there" if item.offline else "is not there any more"
        raise LibraryError(
            f"{path} {what}, and a box is cut from the file itself; connect its drive, or search"
            f" by {item.id} without a box, which needs no file."
        )
    return path


def _item_of(library: OpenLibrary, sha256: str | None) -> Item | None:
    """An item whose file has this content."""
    if sha256 is None:
        return None
    sql = "SELECT id FROM items WHERE sha256 = ? AND embedded LIMIT 1"
    row = library.catalog.execute(sql, [bytes.fromhex(sha256)]).fetchone()
    return None if row is None else library.item(row[0])


def _stored_vector(library: OpenLibrary, item: Item) -> Floats:
    crops = library.catalog.crops_of(item.id)
    vector: Floats = library.catalog.vectors([crops[0].id]).vectors[0]
    return vector


def _decoded(source: Source, box: PixelBox | None) -> _Decoded:
    if isinstance(source, Path | str):
        return _read(Path(source), box, str(source))
    if isinstance(source, bytes):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "image"
            path.write_bytes(source)
            try:
                return _read(path, box, "the bytes given")
            except ImageFileError as error:
                raise ImageFileError("the bytes given", error.reason) from error
    rgb = picture_of(source)
    return _Decoded("the picture given", rgb, rgb.size, None)


def _read(path: Path, box: PixelBox | None, name: str) -> _Decoded:
    """A file, decoded no larger than its box or its whole needs."""
    sha256 = sha256_of(path).hex() if path.is_file() else None
    short = min(header_size(path) or (1, 1))
    picture = read_image(path, at_least_px=_side_px(short, box))
    return _Decoded(name, picture.rgb, (picture.width_px, picture.height_px), sha256)


def _side_px(short: int, box: PixelBox | None) -> int:
    """The short side to reduce an image to: as in the index, or more, to see a small box well."""
    if box is None:
        return SOURCE_SIDE_PX
    return max(SOURCE_SIDE_PX, math.ceil(_BOX_PX * short / min(box[2:])))


def _reduced(found: _Decoded, box: PixelBox | None) -> Image.Image:
    layout = PackLayout(_side_px(min(found.size_px), box))
    size = layout.stored_size(*found.size_px)
    return found.rgb.resize(size, Image.Resampling.HAMMING)


def _vector(
    library: OpenLibrary, reduced: Image.Image, size_px: tuple[int, int], box: PixelBox | None
) -> Floats:
    from vaeneer.data.tiles import Part, part_boxes, part_views, square_boxes
    from vaeneer.model.embedder import whole_vector

    if box is not None:
        reduced = reduced.crop(_scaled(box, size_px, reduced.size))
    pixels = np.asarray(reduced)
    height, width = pixels.shape[:2]
    if box is None:
        parts = part_boxes(height, width, "none")
    else:
        parts = [Part(1, square) for square in square_boxes(height, width, "squares")]
    embedder = library.embedder
    vectors = embedder.embed(part_views(pixels, parts, embedder.vae.image_side_px))
    return whole_vector(vectors, parts)


def _scaled(
    box: PixelBox, size_px: tuple[int, int], reduced_px: tuple[int, int]
) -> tuple[int, int, int, int]:
    """A box as left, top, right and bottom in a reduced picture, one pixel at least."""
    across, down = reduced_px[0] / size_px[0], reduced_px[1] / size_px[1]
    x, y, width, height = box
    left, top = round(x * across), round(y * down)
    return (
        left,
        top,
        max(left + 1, round((x + width) * across)),
        max(top + 1, round((y + height) * down)),
    )


def _whole_numbers(box: PixelBox) -> PixelBox:
    try:
        x, y, width, height = (operator.index(side) for side in box)
    except (TypeError, ValueError):
        raise SettingsError(f"box is {box!r}; give x, y, width and height in pixels.") from None
    if min(width, height) < LEAST_PX:
        raise SettingsError(
            f"box is {x},{y},{width},{height}; draw one of {LEAST_PX} px or more on each side."
        )
    return x, y, width, height


def _check_inside(box: PixelBox, size_px: tuple[int, int], name: str) -> None:
    x, y, width, height = box
    if x < 0 or y < 0 or x + width > size_px[0] or y + height > size_px[1]:
        raise SettingsError(
            f"box is {x},{y},{width},{height}, which is not inside {name},"
            f" {size_px[0]} x {size_px[1]} px; give x,y,width,height."
        )
