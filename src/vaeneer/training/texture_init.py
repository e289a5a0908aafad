"""The texture part's start: in closed form, then some steps on the statistics alone.

A consistency term wants many surfaces in a step, and a decoder takes no part in it. The statistics
of the crops are known after the closed form, so these steps cost seconds, not minutes.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vaeneer.data.crops import StrictRecipe
from vaeneer.data.pixel_cache import Pack
from vaeneer.evaluation.calibrate import SAMPLE_OF, draw_strict_crops
from vaeneer.model.losses import infonce_nats, kl_per_latent_nats
from vaeneer.model.texture import Texture
from vaeneer.progress import Progress
from vaeneer.rng import sampled
from vaeneer.settings import Recipe

MOST_IMAGES = 512
"""Of a larger library, a seeded sample gives the start."""
DRAWS = 4
"""How often the four crops of an image are drawn."""
STEPS, SURFACES_AT_ONCE, VIEWS = 200, 64, 4
"""Of the steps on statistics: how many, of how many surfaces, with how many crops of each."""
_LEARNING_RATE = 1e-3
_HALF = 0.5


def start_texture(
    texture: Texture, train: Pack, recipe: Recipe, *, seed: int, progress: Progress
) -> None:
    """Fit the texture part to crops that differ in what the recipe wants it to be invariant to.

    On the device of `texture`; a minute and a half for 267 images on two cores. One image differs
    from none: the part then stays as it was drawn.
    """
    indices = sampled(len(train), MOST_IMAGES, SAMPLE_OF, seed)
    if len(indices) < 2:
        return
    crops = texture_crops(train, indices, recipe, seed)
    device = texture.centre.device
    found: list[Tensor] = []
    with progress.bar("texture start", total=len(indices), unit="images") as bar:
        for images in crops:
            found.append(texture.statistics(torch.from_numpy(images).to(device)).cpu())
            bar.advance()
    statistics = torch.stack(found)  # (images, 4 * DRAWS, STATISTICS)
    texture.cpu().fit(statistics)
    if recipe.consistency == "infonce":
        names = train.table["asset"].to_pylist()
        _, assets = np.unique([names[index] for index in indices], return_inverse=True)
        learn_from_statistics(texture, statistics, torch.from_numpy(assets), recipe, seed=seed)
    texture.to(device)


def learn_from_statistics(
    texture: Texture, statistics: Tensor, assets: Tensor, recipe: Recipe, *, seed: int
) -> None:
    """Train the texture part on the consistency term and its own KL term, on the CPU.

    statistics: (images, crops, STATISTICS); assets: (images,), equal for images of one asset.
    """
    x = texture.directions(statistics)  # (images, crops, 160)
    optimizer = torch.optim.AdamW(texture.parameters(), lr=_LEARNING_RATE, weight_decay=0.0)
    random = torch.Generator().manual_seed(seed)
    for step in range(STEPS):
        left = 1 - step / STEPS
        optimizer.param_groups[0]["lr"] = _LEARNING_RATE * left
        chosen = torch.randperm(len(x), generator=random)[:SURFACES_AT_ONCE]
        crops = torch.rand(len(chosen), x.shape[1], generator=random).argsort(1)[:, :VIEWS]
        mu, log_var = texture.posterior(x[chosen[:, None], crops].flatten(0, 1))
        units = (-0.5 * log_var.detach()).exp()
        drawn = mu * units + torch.randn(mu.shape, generator=random)  # in standard deviations
        apart = infonce_nats(
            drawn, assets[chosen].repeat_interleave(crops.shape[1]), recipe.temperature
        )
        loss = (
            recipe.consistency_weight * apart.mean() + kl_per_latent_nats(mu, log_var).sum(1).mean()
        )
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def texture_crops(
    train: Pack, indices: list[int], recipe: Recipe, seed: int
) -> Iterator[NDArray[np.float32]]:
    """The strict crops of each image in turn, (4 * DRAWS, 3, 254, 254) float32."""
    lit = recipe.color_jitter > 0
    gaps = (1.0, _HALF) if recipe.varies_scale else (1.0,)
    recipes = [StrictRecipe(light=lit, scale_gap=gaps[draw % len(gaps)]) for draw in range(DRAWS)]
    return draw_strict_crops(train, indices, recipes, "texture start", seed)
