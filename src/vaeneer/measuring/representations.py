"""The vectors that stand for a crop: the embedding, the latents, and the baselines beside them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from vaeneer.device import Precision
from vaeneer.errors import ModelFileError
from vaeneer.measuring.baselines import BASELINES
from vaeneer.measuring.whitened_baseline import Whitening, joined, load_whitening
from vaeneer.model.bundled_models import box_model
from vaeneer.model.checkpoint import load
from vaeneer.model.embedder import Embedder
from vaeneer.model.vae import VAE, Posterior
from vaeneer.rng import numbers_for

Place = tuple[int, ...]
Rows = dict[str, Tensor]  # by name, (B, D) float32 on the CPU

REFERENCE = "reference-base"
"""The model in the box that was trained as the reference trains."""
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

        model: the one under test; the reference VAE is left out where it is that itself. whitened:
        another matrix than the package's. Raises ModelFileError for a damaged file.
        """
        self._baselines = {name: function for name, (_, function) in BASELINES.items()}
        self._whitening = load_whitening(whitened)
        known = box_model(REFERENCE)
        if known is None:
            self.notes.append(NO_REFERENCE)
        elif known != box_model(model):
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
        noise = torch.from_numpy(
            np.stack(
                [
                    numbers_for("compared latent", self._seed, *place).standard_normal(
                        vae.latent_size, np.float32
                    )
                    for place in places
                ]
            )
        )
        sampled = posterior.mu + (0.5 * posterior.log_var).exp() * noise
        if not sampled.isfinite().all():
            raise ModelFileError(
                "The model gives latents that are not finite; its weights are broken."
            )
        return {"sampled": sampled, "mean": posterior.mu}


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
