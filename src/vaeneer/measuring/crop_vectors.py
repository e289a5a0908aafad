"""The crops that `similarity` compares, and the vectors that stand for them.

Each image is decoded once and gives `rounds` pairs of crops by the seed's recipe (the defaults of
training, whatever the model was trained with, so that models can be compared). What is drawn for
a crop depends on the seed, the round, the image's place in its folder and which of the two it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vaeneer.config import SimilaritySettings, TrainSettings
from vaeneer.data.crops import COLUMNS, CropRecipe, cut_crop, draw_crops
from vaeneer.data.folder import ImageItem
from vaeneer.data.images import read_rgb
from vaeneer.data.loading import load_batches
from vaeneer.errors import ImageFileError, ModelFileError
from vaeneer.measuring.baselines import rgb_histogram
from vaeneer.measuring.statistics import Floats
from vaeneer.model.vae import VAE, Posterior
from vaeneer.progress import Progress
from vaeneer.runtime import Precision, core_count
from vaeneer.seeds import NumberTable, numbers_for

Vectors = NDArray[np.float32]  # (images, crops of each, D)

TITLES = {
    "sampled": "sampled latent (seed)",
    "mean": "posterior mean",
    "centred": "posterior mean, centred",
    "rgb_histogram": "RGB histogram (baseline)",
}


@dataclass(frozen=True)
class CropVectors:
    """The crops of the readable images under each representation, named as in TITLES."""

    items: tuple[ImageItem, ...]
    vectors: dict[str, Vectors]
    """(n, 2 * rounds, D) float32 each; crops 2 r and 2 r + 1 are the pair of round r."""
    skipped: tuple[ImageFileError, ...]


def describe_crops(
    vae: VAE,
    items: Sequence[ImageItem],
    settings: SimilaritySettings,
    precision: Precision,
    progress: Progress,
) -> CropVectors:
    """Describe the crops of at most `max_images` of the images, a seeded sample of them.

    vae: in eval mode. The crops themselves are not kept, and unreadable files are left out and
    listed. Raises ModelFileError when a latent is not finite.
    """
    chosen = _chosen(len(items), settings)
    crops = 2 * settings.rounds
    together = max(1, settings.batch_size // crops)  # images whose crops fill a batch
    skipped: list[ImageFileError] = []
    kept: list[int] = []
    rows: list[dict[str, Tensor]] = []
    batches = load_batches(
        [chosen[start : start + together] for start in range(0, len(chosen), together)],
        lambda index: _crop_strip(items[index].path, vae.image_side_px, settings, index),
        workers=core_count(),
        skipped=skipped,
    )
    with (
        torch.no_grad(),
        progress.bar("comparing crops", total=len(chosen), unit="images") as bar,
    ):
        for batch in batches:
            images = _unrolled(batch.images, crops)
            with precision.autocast():
                rows.append(_represent(vae, images, batch.indices, settings))
            kept.extend(batch.indices)
            bar.advance(len(batch.indices))
    vectors = {
        name: torch.cat([row[name] for row in rows]).numpy().reshape(len(kept), crops, -1)
        for name in (rows[0] if rows else ())
    }
    return CropVectors(tuple(items[index] for index in kept), vectors, tuple(skipped))


def _chosen(count: int, settings: SimilaritySettings) -> list[int]:
    if count <= settings.max_images:
        return list(range(count))
    random = numbers_for("compared images", settings.seed)
    return sorted(random.choice(count, settings.max_images, replace=False).tolist())


def _crop_strip(
    path: Path, side_px: int, settings: SimilaritySettings, index: int
) -> NDArray[np.uint8]:
    """All crops of one image below each other: (2 * rounds * side, side, 3) uint8."""
    image = np.asarray(read_rgb(path))
    recipe = replace(CropRecipe.of(TrainSettings()), side_px=side_px)
    rows = [
        NumberTable("compared crop", settings.seed, round_, which, columns=COLUMNS).rows([index])
        for round_ in range(settings.rounds)
        for which in (0, 1)
    ]
    height, width = image.shape[:2]
    count = len(rows)
    crops = draw_crops(np.concatenate(rows), [width] * count, [height] * count, recipe)
    return np.concatenate([cut_crop(image, crops, place, side_px) for place in range(count)])


def _places(rounds: int, index: int) -> list[tuple[int, int, int]]:
    """What seeds each crop of an image: round, place in the whole folder, which of the two."""
    return [(round_, index, which) for round_ in range(rounds) for which in (0, 1)]


def _unrolled(strips: Tensor, crops: int) -> Tensor:
    """(n, 3, crops * side, side) -> (n * crops, 3, side, side)."""
    count, channels, height, width = strips.shape
    crops_of_each = strips.reshape(count, channels, crops, height // crops, width)
    return crops_of_each.transpose(1, 2).flatten(0, 1)


def _represent(
    vae: VAE, images: Tensor, indices: Sequence[int], settings: SimilaritySettings
) -> dict[str, Tensor]:
    """Every representation of crops (B, 3, side, side), those of the images `indices` in turn."""
    device = next(vae.parameters()).device
    answers = [vae.encode(part.to(device)) for part in torch.split(images, settings.batch_size)]
    posterior = Posterior(
        torch.cat([answer.mu for answer in answers]).float().cpu(),
        torch.cat([answer.log_var for answer in answers]).float().cpu(),
    )
    sampled = posterior.mu + (0.5 * posterior.log_var).exp() * _noise(vae, indices, settings)
    if not sampled.isfinite().all():
        raise ModelFileError("The model gives latents that are not finite; its weights are broken.")
    rows = {"sampled": sampled, "mean": posterior.mu}
    if vae.card.latent_mean is not None:
        rows["centred"] = posterior.mu - torch.tensor(vae.card.latent_mean)
    return rows | {"rgb_histogram": rgb_histogram(images)}


def _noise(vae: VAE, indices: Sequence[int], settings: SimilaritySettings) -> Tensor:
    """Each crop's own noise, so that batches change nothing: (B, latent) float32."""
    draws = [
        numbers_for("compared latent", settings.seed, *place).standard_normal(
            vae.latent_size, np.float32
        )
        for index in indices
        for place in _places(settings.rounds, index)
    ]
    return torch.from_numpy(np.stack(draws))


def unit_vectors(vectors: Vectors) -> Floats:
    """Vectors of length 1 in float64; a zero vector stays zero, so that its cosines are 0."""
    exact = vectors.astype(np.float64)
    lengths = np.linalg.norm(exact, axis=-1, keepdims=True)
    unit: Floats = np.divide(exact, lengths, out=np.zeros_like(exact), where=lengths > 0)
    return unit
