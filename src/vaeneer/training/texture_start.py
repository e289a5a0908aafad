"""The texture part's start in closed form, from strict crops of the training images."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vaeneer.data.ahead import made_ahead
from vaeneer.data.packs import Pack
from vaeneer.data.strict_crops import COLUMNS, StrictRecipe, centre_square, strict_crops
from vaeneer.measuring.strict_latents import sampled
from vaeneer.model.texture import Texture
from vaeneer.progress import Progress
from vaeneer.recipes import Recipe
from vaeneer.runtime import core_count
from vaeneer.seeds import NumberTable

MOST_IMAGES = 512
"""Of a larger library, a seeded sample gives the start."""
DRAWS = 4
"""How often the four crops of an image are drawn."""
_HALF = 0.5


def start_texture(
    texture: Texture, train: Pack, recipe: Recipe, *, seed: int, progress: Progress
) -> None:
    """Fit the texture part to crops that differ in what the recipe wants it to be invariant to.

    On the device of `texture`; half a minute for 267 images on two cores.
    """
    indices = sampled(len(train), MOST_IMAGES, seed)
    crops = texture_crops(train, indices, recipe, seed)
    device = texture.centre.device
    found: list[Tensor] = []
    with progress.bar("texture start", total=len(indices), unit="images") as bar:
        for images in crops:
            found.append(texture.statistics(torch.from_numpy(images).to(device)).cpu())
            bar.advance()
    texture.cpu().fit(torch.stack(found))
    texture.to(device)


def texture_crops(
    train: Pack, indices: list[int], recipe: Recipe, seed: int
) -> Iterator[NDArray[np.float32]]:
    """The strict crops of each image in turn, (4 * DRAWS, 3, 254, 254) float32."""
    lit = recipe.light > 0
    gaps = (1.0, _HALF) if recipe.varies_scale else (1.0,)
    recipes = [StrictRecipe(light=lit, scale_gap=gaps[draw % len(gaps)]) for draw in range(DRAWS)]
    tables = [NumberTable("texture start", seed, draw, columns=COLUMNS) for draw in range(DRAWS)]

    def crops_of(index: int) -> NDArray[np.float32]:
        square = centre_square(train.image(index))
        rows = [table.rows([index])[0] for table in tables]
        cut = [strict_crops(square, row, each) for row, each in zip(rows, recipes, strict=True)]
        return np.concatenate(cut)

    return made_ahead(crops_of, indices, workers=core_count())
