"""The latents of strict crops of a pack's images, and the cosines of their pairs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from vaeneer.data.crops import CROPS, STRICT_COLUMNS, StrictRecipe, centre_square, strict_crops
from vaeneer.data.pixel_cache import Pack
from vaeneer.device import Precision
from vaeneer.evaluation.metrics import Floats
from vaeneer.model.embedder import texture_latents
from vaeneer.model.projection import Vectors
from vaeneer.model.vae import VAE
from vaeneer.progress import Progress
from vaeneer.rng import UniformRows, rng_for
from vaeneer.settings import CalibrateSettings
from vaeneer.workers import core_count, prefetch


class Side(NamedTuple):
    """Some images of a pack, and what each shows."""

    pack: Pack
    indices: list[int]

    def assets(self) -> NDArray[np.intp]:
        """A number for the asset of each image, (n,)."""
        names = self.pack.table["asset"].to_pylist()
        _, numbers = np.unique([names[index] for index in self.indices], return_inverse=True)
        return numbers


class CosinePairs(NamedTuple):
    """Cosines of pairs of crops: of one image, (S,), and of two assets, (D,)."""

    same: Floats
    different: Floats


def strict_latents(
    vae: VAE,
    side: Side,
    settings: CalibrateSettings,
    precision: Precision,
    progress: Progress,
    *,
    title: str,
) -> Vectors:
    """Latents of the four strict crops of each image, `draws` times: (images, draws, 4, K).

    vae: in eval mode, on the device of `precision`. Raises ModelFileError for broken weights.
    """
    recipe = StrictRecipe(side_px=vae.image_side_px, light=settings.color_jitter)
    tables = [
        UniformRows("strict crop", settings.seed, draw, columns=STRICT_COLUMNS)
        for draw in range(settings.draws)
    ]

    def crops_of(index: int) -> NDArray[np.float32]:
        square = centre_square(side.pack.image(index))
        return np.concatenate([strict_crops(square, t.rows([index])[0], recipe) for t in tables])

    found: list[Vectors] = []
    with progress.bar(title, total=len(side.indices), unit="images") as bar:
        for crops in prefetch(crops_of, side.indices, workers=core_count()):
            parts = torch.from_numpy(crops).to(precision.device).split(settings.batch_size)
            found += [texture_latents(vae, part, precision) for part in parts]
            bar.advance()
    return np.concatenate(found).reshape(len(side.indices), settings.draws, CROPS, -1)


def cosine_pairs(
    vectors: Vectors, assets: NDArray[np.intp], *, most_different: int, seed: int
) -> CosinePairs:
    """Cosines of all pairs of crops of one draw of one image, and of a sample of other pairs.

    vectors: (images, draws, 4, D). assets: (images,); crops of two images of one asset are in
    neither. Two draws of one image are not paired, since their crops may overlap.
    """
    lengths = np.linalg.norm(vectors, axis=-1, keepdims=True)
    unit = np.divide(vectors, lengths, out=np.zeros_like(vectors), where=lengths > 0)
    first, second = np.triu_indices(vectors.shape[2], 1)
    same = np.einsum("nrpd,nrpd->nrp", unit[:, :, first], unit[:, :, second])
    flat = unit.reshape(-1, unit.shape[-1])
    owners = np.repeat(assets, len(flat) // len(assets))
    random = rng_for("different pairs", seed)
    ones, others = random.integers(0, len(flat), (2, 2 * most_different))
    apart = np.flatnonzero(owners[ones] != owners[others])[:most_different]
    pairs, drawn = np.unique(ones[apart] * len(flat) + others[apart], return_inverse=True)
    each = np.einsum("pd,pd->p", flat[pairs // len(flat)], flat[pairs % len(flat)])
    different = each[drawn]  # few images are drawn often, and compared once
    return CosinePairs(same.ravel().astype(np.float64), different.astype(np.float64))


def sampled(count: int, most: int, seed: int) -> list[int]:
    """The indices of `count` images, or a seeded sample of `most` of them, in order."""
    if count <= most:
        return list(range(count))
    random = rng_for("calibrated images", seed)
    chosen: Sequence[int] = random.choice(count, most, replace=False).tolist()
    return sorted(chosen)
