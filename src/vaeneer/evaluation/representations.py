"""Vectors of crops: the embedding, the latents, and the baselines beside them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import interpolate

from vaeneer.data.crops import (
    COLUMNS,
    CROPS,
    GALLERY,
    QUERIES,
    STRICT_COLUMNS,
    CropRecipe,
    StrictRecipe,
    centre_square,
    cut_crop,
    draw_crops,
    relit,
    strict_crops,
)
from vaeneer.data.dataset import ImageItem
from vaeneer.data.images import read_rgb
from vaeneer.data.pixel_cache import Pack
from vaeneer.device import Precision
from vaeneer.errors import ImageFileError, ModelFileError
from vaeneer.evaluation.baselines import BASELINES, Whitening, joined, load_whitening
from vaeneer.evaluation.metrics import Round
from vaeneer.evaluation.pairs import Comparison
from vaeneer.evaluation.per_image import noise_of
from vaeneer.model.bundled_models import bundled_model
from vaeneer.model.checkpoint import load
from vaeneer.model.embedder import Embedder
from vaeneer.model.vae import VAE, Posterior, reparameterize
from vaeneer.progress import Progress
from vaeneer.rng import UniformRows, sampled
from vaeneer.settings import SimilaritySettings, TrainSettings
from vaeneer.workers import core_count, prefetch_groups

Place = tuple[int, ...]
Rows = dict[str, Tensor]  # by name, (B, D) float32 on the CPU
REFERENCE = "reference-base"
"""The bundled model that was trained as the reference trains."""
OWN = ("embedding", "sampled", "mean", "centred")
TITLES = {
    "embedding": "embedding",
    "sampled": "sampled latent",
    "mean": "posterior mean",
    "centred": "posterior mean, centred",
    **{name: title for name, (title, _) in BASELINES.items()},
    "whitened": "LBP + grey world, whitened",
    "reference_sampled": "reference VAE, sampled latent",
    "reference_mean": "reference VAE, posterior mean",
}
COLOUR_BASELINES = ("rgb_histogram", "grey_world_histogram")
NO_REFERENCE = (
    f"The model {REFERENCE} is not in this vaeneer, so the reference VAE is left out of the"
    " baselines."
)
NO_CENTRE = (
    "The model does not know the mean of its training latents, so the centred posterior mean is"
    " left out; a finished run knows it, and weights of another program get it with:"
    " vaeneer import-weights FILE.pth --out MODEL --data DATA"
)
Crops = NDArray[np.float32]  # (crops of one image, 3, side, side) in [0, 1]
Vectors = NDArray[np.float32]  # (images, crops of each, D)
_CROPS_AT_ONCE = 64
_GROUPS_AHEAD = 2
_STRICT = tuple(range(CROPS))
_GAP = (0, 4, 2, 5)  # columns of the four crops with a scale gap: the queries are the same ones
_OF_EACH_LIGHT = CROPS + len(GALLERY)
STRICT_COLUMNS_OF = {
    "photometric": _STRICT,
    "plain": tuple(_OF_EACH_LIGHT + column for column in _STRICT),
    "photometric_scale_gap": _GAP,
    "plain_scale_gap": tuple(_OF_EACH_LIGHT + column for column in _GAP),
}
"""Which of the crops of `strict_image` each variant compares."""


class Representations:
    """Describes crops in every way that is asked for; each crop once, whatever its batch."""

    def __init__(self, embedder: Embedder, *, seed: int) -> None:
        self.embedder = embedder
        self.notes: list[str] = []
        """What is left out, and why."""
        self._seed = seed
        self._baselines: dict[str, Callable[[Tensor], Tensor]] = {}
        self._whitening: Whitening | None = None
        self._reference: VAE | None = None
        if embedder.vae.card.latent_mean is None:
            self.notes.append(NO_CENTRE)

    def add_baselines(self, model: Path | str, whitened: Path | None = None) -> None:
        """Also describe crops by every baseline.

        model: the one under test; the reference VAE is skipped if it is that model. whitened:
        another matrix than the package's. Raises ModelFileError for a damaged file.
        """
        self._baselines = {name: function for name, (_, function) in BASELINES.items()}
        self._whitening = load_whitening(whitened)
        known = bundled_model(REFERENCE)
        if known is None:
            self.notes.append(NO_REFERENCE)
        elif known != bundled_model(model):
            self._reference = load(known, device=self.embedder.device)

    def describe(self, crops: Tensor, places: Sequence[Place]) -> Rows:
        """Every representation of crops (B, 3, H, W) float32 in [0, 1], by name.

        places: what seeds the noise of each crop's sampled latent, so that batches change nothing.
        Raises ModelFileError when a latent is not finite.
        """
        rows = {"embedding": torch.from_numpy(self.embedder.embed(crops))}
        own = self._latents(self.embedder.vae, crops, places)
        rows |= own
        if self.embedder.vae.card.latent_mean is not None:
            rows["centred"] = own["mean"] - torch.tensor(self.embedder.vae.card.latent_mean)
        for name, function in self._baselines.items():
            rows[name] = function(crops)
        if self._whitening is not None:
            rows["whitened"] = self._whitening(joined(rows["lbp"], rows["grey_world_histogram"]))
        if self._reference is not None:
            found = self._latents(self._reference, crops, places)
            rows |= {f"reference_{name}": values for name, values in found.items()}
        return rows

    def _latents(self, vae: VAE, crops: Tensor, places: Sequence[Place]) -> Rows:
        embedder = self.embedder
        posterior = _posterior(vae, crops, embedder.batch_size, embedder.precision)
        noise = noise_of("compared latent", self._seed, places, vae.latent_size)
        drawn = reparameterize(posterior.mu, posterior.log_var, noise=noise)
        if not drawn.isfinite().all():
            raise ModelFileError(
                "The model gives latents that are not finite; its weights are broken."
            )
        return {"sampled": drawn, "mean": posterior.mu}


def _posterior(vae: VAE, crops: Tensor, batch_size: int, precision: Precision) -> Posterior:
    side = vae.image_side_px
    answers = []
    with torch.no_grad(), precision.autocast():
        for part in torch.split(crops, batch_size):
            sent = part.to(precision.device)
            if sent.shape[2:] != (side, side):
                sent = interpolate(sent, size=(side, side), mode="bilinear", antialias=True)
            answers.append(vae.encode(sent))
    return Posterior(
        torch.cat([answer.mu for answer in answers]).float().cpu(),
        torch.cat([answer.log_var for answer in answers]).float().cpu(),
    )


@dataclass(frozen=True)
class CropVectors:
    """The crops of the readable images under each representation."""

    items: tuple[ImageItem, ...]
    vectors: dict[str, Vectors]
    """(n, crops, D) float32 each."""
    skipped: tuple[ImageFileError, ...]
    crops_of: Callable[[int], Crops]
    """Cuts the crops of image 0 .. n - 1 once more, for pictures."""


def reference_comparison(rounds: int) -> Comparison:
    """In each round the first crop of an image asks, and the second ones of all images answer."""
    pairs = tuple(Round((2 * place,), (2 * place + 1,)) for place in range(rounds))
    return Comparison(2 * rounds, pairs)


def strict_comparison(variant: str) -> Comparison:
    """Every crop asks all others; with a scale gap, crops 0 and 2 ask crops 1 and 3."""
    if variant.endswith("scale_gap"):
        return Comparison(CROPS, (Round(QUERIES, GALLERY),), mixed=False)
    return Comparison(CROPS, (Round(_STRICT, _STRICT),))


def describe_reference_crops(
    representations: Representations,
    items: Sequence[ImageItem],
    settings: SimilaritySettings,
    progress: Progress,
) -> CropVectors:
    """The reference crops of at most `max_images` of the images, a seeded sample of them.

    Crops 2 r and 2 r + 1 of an image are the pair of round r, drawn by the recipe of the training
    defaults, whatever the model was trained with, so that models can be compared. Unreadable files
    are left out and listed. Raises ModelFileError when a latent is not finite.
    """
    side_px = representations.embedder.vae.image_side_px

    def cut(index: int) -> Crops:
        return reference_image(np.asarray(read_rgb(items[index].path)), settings, side_px, index)

    def places(index: int) -> list[tuple[int, ...]]:
        return [
            (round_, index, which) for round_ in range(settings.pairs_per_image) for which in (0, 1)
        ]

    chosen = sampled(len(items), settings.max_images, "compared images", settings.seed)
    skipped: list[ImageFileError] = []
    kept, vectors = _describe(representations, chosen, cut, places, skipped, progress)
    found = tuple(items[index] for index in kept)
    return CropVectors(found, vectors, tuple(skipped), lambda place: cut(kept[place]))


def describe_strict_crops(
    representations: Representations, pack: Pack, settings: SimilaritySettings, progress: Progress
) -> CropVectors:
    """The strict crops of all variants (see STRICT_COLUMNS_OF) of at most `max_images` images.

    pack: of short sides of 568 px. Raises ModelFileError when a latent is not finite.
    """

    def cut(index: int) -> Crops:
        return strict_image(pack.image(index), settings, index)

    def places(index: int) -> list[tuple[int, ...]]:
        return [(index, which) for which in range(2 * _OF_EACH_LIGHT)]

    chosen = sampled(len(pack), settings.max_images, "compared images", settings.seed)
    kept, vectors = _describe(representations, chosen, cut, places, None, progress)
    found = tuple(pack.item(index) for index in kept)
    return CropVectors(found, vectors, pack.skipped, lambda place: cut(kept[place]))


def reference_image(
    image: NDArray[np.uint8], settings: SimilaritySettings, side_px: int, index: int
) -> Crops:
    """The reference crops of one image (H, W, 3) uint8: (2 * rounds, 3, side, side) in [0, 1]."""
    recipe = replace(CropRecipe.of(TrainSettings(recipe="reference")), side_px=side_px)
    rows = [
        UniformRows("compared crop", settings.seed, round_, which, columns=COLUMNS).rows([index])
        for round_ in range(settings.pairs_per_image)
        for which in (0, 1)
    ]
    height, width = image.shape[:2]
    count = len(rows)
    crops = draw_crops(np.concatenate(rows), [width] * count, [height] * count, recipe)
    cut = np.stack([cut_crop(image, crops, place, side_px) for place in range(count)])
    return cut.transpose(0, 3, 1, 2).astype(np.float32) / np.float32(255)


def strict_image(image: NDArray[np.uint8], settings: SimilaritySettings, index: int) -> Crops:
    """Twelve crops of one image: six relit ones, then the same six as they were.

    The six: the four of the strict protocol, and its two of the gallery with the scale gap.
    """
    square = centre_square(image)
    table = UniformRows("strict crop", settings.seed, 0, columns=STRICT_COLUMNS)
    numbers = table.rows([index])[0]
    usual = strict_crops(square, numbers, StrictRecipe(light=False))
    gap = strict_crops(square, numbers, StrictRecipe(light=False, scale_gap=settings.scale_gap))
    lit = [relit(usual, numbers), relit(gap, numbers)[list(GALLERY)]]
    return np.concatenate([*lit, usual, gap[list(GALLERY)]])


def _describe(
    representations: Representations,
    chosen: Sequence[int],
    cut: Callable[[int], Crops],
    places: Callable[[int], list[tuple[int, ...]]],
    skipped: list[ImageFileError] | None,
    progress: Progress,
) -> tuple[list[int], dict[str, Vectors]]:
    """The images that were read, and the vectors of their crops by name."""
    rows: list[dict[str, Tensor]] = []
    kept: list[int] = []
    together = max(1, _CROPS_AT_ONCE // len(places(0)))
    groups = [chosen[start : start + together] for start in range(0, len(chosen), together)]
    with progress.bar("comparing crops", total=len(chosen), unit="images") as bar:
        for read in prefetch_groups(
            cut, groups, workers=core_count(), ahead=_GROUPS_AHEAD, skipped=skipped
        ):
            group = [index for index, _ in read]
            crops = torch.from_numpy(np.concatenate([four for _, four in read]))
            of_each = [place for index in group for place in places(index)]
            rows.append(representations.describe(crops, of_each))
            kept += group
            bar.advance(len(group))
    return kept, {
        name: torch.cat([row[name] for row in rows]).numpy().reshape(len(kept), len(places(0)), -1)
        for name in (rows[0] if rows else ())
    }
