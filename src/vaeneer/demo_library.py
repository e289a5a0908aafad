"""What a demo shows its search: a library with planted copies, a photo, and a board of pieces."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from vaeneer.data.synthetic.synthesize import synthesize
from vaeneer.files import new_output_dir, write_bytes
from vaeneer.library.catalog import PixelBox
from vaeneer.library.library import Library
from vaeneer.progress import Progress

Pixels = NDArray[np.uint8]
COPIES = "downloads"
"""The folder of the planted copies."""
_THUMB_PX, _PHOTO_PX, _PIECE_PX = 128, 512, 320
_HUE_SHIFT = 96  # of 256
_PHOTO_SHARE, _PIECE_SHARE = 0.7, 0.6  # of the shorter side


def _half(picture: Image.Image) -> Image.Image:
    return picture.resize((picture.width // 2, picture.height // 2), Image.Resampling.LANCZOS)


def _part(picture: Image.Image) -> Image.Image:
    wide, high = picture.size
    return picture.crop((wide // 5, high // 4, 4 * wide // 5, 3 * high // 4))


def _other_colours(picture: Image.Image) -> Image.Image:
    values = np.array(picture.convert("HSV"))
    values[..., 0] += np.uint8(_HUE_SHIFT)  # wraps around, as hue does
    return Image.fromarray(values, "HSV").convert("RGB")


_CHANGES: tuple[tuple[str, Callable[[Image.Image], Image.Image], dict[str, Any]], ...] = (
    (" (1).png", lambda picture: picture, {}),
    ("_small.jpg", _half, {"quality": 90}),
    ("_web.jpg", lambda picture: picture, {"quality": 45}),
    ("_turned.jpg", lambda picture: picture.transpose(Image.Transpose.ROTATE_90), {"quality": 95}),
    ("_part.jpg", _part, {"quality": 95}),
    ("_recoloured.jpg", _other_colours, {"quality": 95}),
)
"""End of a copy's name, what was done to the picture, how it is saved."""


@dataclass(frozen=True)
class Question:
    """A picture to search for that is not in the library."""

    path: Path
    made_of: str
    """Path of the item that is searched for, below the library's folder of images."""
    box: PixelBox | None = None


def raw_library(folder: Path, *, count: int, seed: int, progress: Progress) -> None:
    """Write procedural surfaces with maps and side-cars, a thumbnail of each, and planted copies.

    The copies lie in `COPIES`: the same pixels, smaller, compressed, turned, cut, recoloured.
    """
    albedos = synthesize(folder, count=count, seed=seed, progress=progress)
    thumbs = {path.parent for path in albedos}
    for asset in sorted(thumbs):
        new_output_dir(asset / "thumbs", kind=None)
    for path in albedos:
        with Image.open(path) as picture:
            small = picture.resize((_THUMB_PX, _THUMB_PX), Image.Resampling.LANCZOS)
        _write(small, path.parent / "thumbs" / f"{path.stem}.jpg", quality=85)
    copies = new_output_dir(folder / COPIES, kind=None)
    chosen = _spread(len(albedos), len(_CHANGES))
    for number, (end, change, options) in zip(chosen, _CHANGES, strict=True):
        with Image.open(albedos[number]) as picture:
            copy = change(picture.convert("RGB"))
        _write(copy, copies / f"{albedos[number].parent.name}{end}", **options)


def photo_of(library: Library, path: Path, seed: int) -> Question:
    """Write a picture of one surface in another light, cut and turned, as a camera might see it."""
    rng = np.random.default_rng(seed)
    items = library.items()
    item = items[len(items) // 20]
    seen = _seen(library.picture(item), _PHOTO_SHARE, _PHOTO_PX, rng)
    _write(Image.fromarray(seen), path, quality=92)
    return Question(path, item.path)


def board_of(library: Library, path: Path, seed: int) -> Question:
    """Write a board of four surfaces in other light, side by side; the box marks the first."""
    rng = np.random.default_rng(seed + 1)
    items = library.items()
    chosen = [items[number] for number in _spread(len(items), 4)]
    board = Image.new("RGB", (2 * _PIECE_PX, 2 * _PIECE_PX))
    for place, item in enumerate(chosen):
        piece = _seen(library.picture(item), _PIECE_SHARE, _PIECE_PX, rng)
        board.paste(Image.fromarray(piece), (place % 2 * _PIECE_PX, place // 2 * _PIECE_PX))
    _write(board, path, quality=92)
    edge = _PIECE_PX // 16
    box = (edge, edge, _PIECE_PX - 2 * edge, _PIECE_PX - 2 * edge)
    return Question(path, chosen[0].path, box)


def _seen(picture: Image.Image, share: float, side_px: int, rng: np.random.Generator) -> Pixels:
    """A square of a picture, cut at random, turned by a quarter, with other exposure and colour."""
    side = max(1, round(share * min(picture.size)))
    left, top = (int(rng.integers(0, most - side + 1)) for most in picture.size)
    cut = picture.convert("RGB").crop((left, top, left + side, top + side))
    turned = cut.resize((side_px, side_px), Image.Resampling.BICUBIC).transpose(
        Image.Transpose.ROTATE_90
    )
    light = (np.asarray(turned, np.float32) / 255) ** rng.uniform(0.75, 1.3)
    light *= rng.uniform(0.85, 1.1, 3) * rng.uniform(0.8, 1.05)
    return np.rint(255 * np.clip(light, 0, 1)).astype(np.uint8)


def _write(picture: Image.Image, path: Path, **options: Any) -> None:
    """Write a picture that is a surface, so one that does not name vaeneer as its software."""
    stream = io.BytesIO()
    picture.save(stream, "PNG" if path.suffix == ".png" else "JPEG", **options)
    write_bytes(path, stream.getvalue())


def _spread(count: int, most: int) -> list[int]:
    """`most` numbers below `count`, as far from each other as can be."""
    return [int((place + 0.5) * count / most) for place in range(most)]
