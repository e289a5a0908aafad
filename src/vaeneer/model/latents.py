"""Where the latents of a data set lie."""

from __future__ import annotations

import torch

from vaeneer.config import SEED
from vaeneer.data.crops import CropRecipe, random_crop
from vaeneer.data.folder import ImageFolder
from vaeneer.data.images import read_rgb
from vaeneer.data.loading import Pixels, chunks, load_batches
from vaeneer.model.vae import VAE, eval_mode
from vaeneer.progress import Progress
from vaeneer.runtime import core_count
from vaeneer.seeds import numbers_for

MOST_CROPS = 2000


def latent_mean(
    vae: VAE,
    folder: ImageFolder,
    recipe: CropRecipe,
    *,
    progress: Progress,
    seed: int = SEED,
    batch_size: int = 16,
    workers: int = 0,
) -> list[float]:
    """The mean of the posterior means over one random crop of each image: `latent_size` numbers.

    Of a folder with more than 2,000 images, a seeded sample of that many.
    Raises ImageFileError when an image cannot be read (survey the folder first).
    """
    order = numbers_for("latent mean order", seed).permutation(len(folder))[:MOST_CROPS].tolist()

    def read(index: int) -> Pixels:
        random = numbers_for("latent mean crop", seed, index)
        return random_crop(read_rgb(folder.items[index].path), recipe, random)

    batches = load_batches(
        [[order[place] for place in chunk] for chunk in chunks(len(order), batch_size)],
        read,
        workers=core_count(workers),
    )
    device = next(vae.parameters()).device
    total = torch.zeros(vae.latent_size, dtype=torch.float64)
    with (
        eval_mode(vae),
        progress.bar("mean of the latents", total=len(order), unit="crops") as bar,
    ):
        for batch in batches:
            total += vae.representation(batch.images.to(device)).double().sum(0).cpu()
            bar.advance(len(batch.indices))
    mean: list[float] = (total / len(order)).tolist()
    return mean
