"""The pairs that a representation gets wrong: their crops side by side, with the cosine."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from vaeneer.measuring.crop_vectors import CropVectors
from vaeneer.measuring.pairing import CropPairs
from vaeneer.measuring.pictures import save_grid
from vaeneer.measuring.statistics import Floats

PAIRS = 8
_SLIT_PX = 4


def hardest(pairs: CropPairs, scores: Floats, *, lowest: bool) -> list[int]:
    """The places of up to eight pairs with the lowest or highest scores, of other images each."""
    order = np.argsort(scores if lowest else -scores, kind="stable")
    seen: set[tuple[int, ...]] = set()
    found = []
    for place in order:
        images = tuple(sorted(pairs.images[place].tolist()))
        if images not in seen:
            seen.add(images)
            found.append(int(place))
        if len(found) == PAIRS:
            break
    return found


def draw_pairs(
    path: Path,
    found: CropVectors,
    pairs: CropPairs,
    scores: Floats,
    places: Sequence[int],
    columns: Sequence[int],
) -> Path:
    """Write pairs of crops side by side as one PNG; returns `path`.

    columns: which of the crops that `found.crops_of` cuts the numbers in `pairs` mean.
    """
    tiles, captions = [], []
    for place in places:
        images, crops = pairs.images[place].tolist(), pairs.crops[place].tolist()
        tiles.append(
            _side_by_side(
                [
                    found.crops_of(image)[columns[crop]]
                    for image, crop in zip(images, crops, strict=True)
                ]
            )
        )
        names = [PurePosixPath(found.items[image].name).stem for image in dict.fromkeys(images)]
        captions.append(f"{scores[place]:.3f}  {' | '.join(names)}")
    return save_grid(tiles, path, columns=2, captions=captions)


def _side_by_side(crops: Sequence[NDArray[np.float32]]) -> NDArray[np.uint8]:
    """Crops (3, side, side) in [0, 1] with white between them, (side, width, 3) uint8."""
    slit = np.ones((3, crops[0].shape[1], _SLIT_PX), np.float32)
    row = np.concatenate([crops[0], slit, crops[1]], axis=2)
    pixels: NDArray[np.uint8] = np.rint(255 * row).astype(np.uint8).transpose(1, 2, 0)
    return np.ascontiguousarray(pixels)
