"""Where the latents of a data set lie."""

from __future__ import annotations

import torch

from vaeneer.data.crops import COLUMNS
from vaeneer.data.loader import PackedCrops, chunks
from vaeneer.device import Precision
from vaeneer.model.vae import VAE, eval_mode
from vaeneer.progress import Progress
from vaeneer.rng import NumberTable, numbers_for
from vaeneer.settings.training import SEED

MOST_CROPS = 2000


def latent_mean(
    vae: VAE,
    crops: PackedCrops,
    *,
    precision: Precision,
    progress: Progress,
    seed: int = SEED,
    batch_size: int = 16,
) -> list[float]:
    """The mean of the posterior means over one random crop of each image: `latent_size` numbers.

    Of a pack with more than 2,000 images, a seeded sample of that many.
    """
    count = len(crops.pack)
    order = numbers_for("latent mean order", seed).permutation(count)[:MOST_CROPS].tolist()
    groups = [[order[place] for place in chunk] for chunk in chunks(len(order), batch_size)]
    numbers = NumberTable("latent mean crop", seed, columns=COLUMNS)
    total = torch.zeros(vae.latent_size, dtype=torch.float64, device=precision.device)
    with (
        eval_mode(vae),
        precision.autocast(),
        progress.bar("mean of the latents", total=len(order), unit="crops") as bar,
    ):
        for batch in crops.batches(groups, numbers):
            total += vae.representation(batch.images).double().sum(0)
            bar.advance(len(batch.indices))
    mean: list[float] = (total / len(order)).tolist()
    return mean
