"""Metrics of each image under a model, and posterior collapse: the same whatever the batch size."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vaeneer.data.dataset import RGB, ImageItem
from vaeneer.data.loader import load_batches
from vaeneer.data.pixel_cache import Pack
from vaeneer.device import Precision
from vaeneer.errors import ImageFileError
from vaeneer.model.losses import bce_nats, kl_per_latent_nats, mse_nats
from vaeneer.model.vae import VAE, Posterior, eval_mode, reparameterize
from vaeneer.progress import Progress, Silent
from vaeneer.rng import rng_for
from vaeneer.settings import SEED
from vaeneer.workers import chunks, core_count

Figures = NDArray[np.float64]
ACTIVE_VARIANCE = 0.01  # Burda et al. 2016, section 4.2
GREY: RGB = (0.5, 0.5, 0.5)
FEWEST_IMAGES = 4
"""Of fewer validation images the variance of a mean says nothing."""
COLLAPSED_NATS = 1.0
"""A posterior that carries less than this about an image is the prior."""
FEW_ACTIVE = 2
"""Fewer active units than this are a collapse: one number cannot say a colour."""
USED_NATS = 0.01
"""A latent that carries less than this on average is not used."""
UNUSED_TEXTURE_SHARE = 0.02
"""Of the texture part's latents: with fewer active ones it is not used."""
State = Literal[
    "healthy", "collapsed", "kl exploding", "worse than one colour", "texture unused", "unknown"
]


@dataclass(frozen=True)
class Measurements:
    """Figures of n images; each array is (n,) float64 unless it says otherwise."""

    items: tuple[ImageItem, ...]
    skipped: tuple[ImageFileError, ...]
    side_px: int
    reconstruction_nats: Figures
    """BCE with a latent sampled from the posterior."""
    squared_error: Figures
    """Squared errors summed over the pixels, with the same latent."""
    kl_nats: Figures
    entropy_nats: Figures
    rgb: Figures
    """(n, 3): each image's mean colour in [0, 1]."""
    kl_per_latent_nats: Figures
    """(latent,): mean over the images."""
    mu: NDArray[np.float32]
    """(n, latent): the posterior means."""
    iwae_nats: Figures | None
    metrics: dict[str, Figures]
    """The METRICS that were measured, by name."""

    @property
    def total_nats(self) -> Figures:
        """The negative ELBO (beta 1, BCE) of each image."""
        return self.reconstruction_nats + self.kl_nats

    @property
    def excess_nats(self) -> Figures:
        """What each image costs above its entropy, the least that BCE can be."""
        return self.total_nats - self.entropy_nats

    @property
    def active_units(self) -> int:
        """Latents whose mean varies over the images by more than 0.01 (Burda et al. 2016)."""
        return int((self.mu.var(axis=0) > ACTIVE_VARIANCE).sum())

    def one_colour_excess_nats(self, colour: RGB | Figures) -> float:
        """What saying `colour` for all pixels of an image costs above the entropy, mean nats.

        colour: one, or (n, 3) for one each. Exact: that BCE depends on mean colours alone.
        """
        p = np.clip(np.asarray(colour), 1e-6, 1 - 1e-6)
        nats = -(self.rgb * np.log(p) + (1 - self.rgb) * np.log1p(-p)).sum(1) * self.side_px**2
        return float((nats - self.entropy_nats).mean())


def trivial_excess_nats(found: Measurements, training_mean: RGB | None) -> dict[str, float | None]:
    """The excess of the predictors that any model must beat, mean nats per image.

    grey (0.5), training_mean (None where it is not known) and own_mean, each image's own colour.
    """
    colours = {"grey": GREY, "training_mean": training_mean, "own_mean": found.rgb}
    return {
        name: None if colour is None else found.one_colour_excess_nats(colour)
        for name, colour in colours.items()
    }


def psnr_db(images: Tensor, others: Tensor) -> Tensor:
    """Peak signal-to-noise ratio of images (B, 3, H, W) in [0, 1], (B,) decibels, 120 at most."""
    error = (others - images).square().flatten(1).mean(1)
    return -10 * error.clamp_min(1e-12).log10()


def ssim(images: Tensor, others: Tensor) -> Tensor:
    """Structural similarity of images (B, 3, H, W) in [0, 1], by scikit-image, (B,)."""
    from skimage.metrics import structural_similarity  # slow to import, and training goes without

    of_one = partial(structural_similarity, channel_axis=2, data_range=1.0)
    sides = [pixels.permute(0, 2, 3, 1).cpu().numpy() for pixels in (images, others)]
    with ThreadPoolExecutor(core_count()) as pool:
        return torch.tensor([float(value) for value in pool.map(of_one, *sides)]).double()


@dataclass(frozen=True)
class Metric:
    """A figure of an image beside its reconstruction, the decoded mean of its posterior."""

    compute: Callable[[Tensor, Tensor], Tensor]
    """Of images and reconstructions, (B, 3, H, W) float32 in [0, 1] each: (B,)."""
    title: str
    unit: str
    better: Literal["lower", "higher"]
    help: str
    """One sentence for docs/measuring.md."""
    digits: int = 3
    """Digits behind the point in tables."""

    def shown(self, value: float) -> str:
        """A value with title and unit, as tables and captions have it."""
        return f"{self.title} {value:.{self.digits}f} {self.unit}".rstrip()


METRICS = {
    "psnr_db": Metric(
        psnr_db, "PSNR", "dB", "higher", "Peak signal-to-noise ratio; 120 dB at most.", digits=2
    ),
    "ssim": Metric(ssim, "SSIM", "", "higher", "Structural similarity, by scikit-image."),
}
"""Metrics of reconstructions that `evaluate` measures with `quality`. An entry is all of one:
report, table, per-image.csv, worst.png and the test of docs/measuring.md follow."""


def measure(
    vae: VAE,
    pack: Pack,
    *,
    precision: Precision,
    batch_size: int = 16,
    seed: int = SEED,
    quality: bool = False,
    iwae: int = 0,
    title: str = "measuring",
    progress: Progress | None = None,
) -> Measurements:
    """Measure each image of a pack of squares, resized as the reference does, in eval mode.

    `quality` adds METRICS; `iwae` adds the importance-weighted bound with that many samples.
    """
    rows: list[dict[str, Tensor]] = []
    batches = load_batches(chunks(len(pack), batch_size), pack.image, workers=1)
    with (
        eval_mode(vae),
        (progress or Silent()).bar(title, total=len(pack), unit="images") as bar,
    ):
        for batch in batches:
            images = batch.to(precision.device).images
            with precision.autocast():
                row, posterior = _measure_batch(vae, images, batch.indices, seed)
                if quality:
                    means = vae.decode(posterior.mu).sigmoid()  # what `reconstruct` shows
                    row |= {name: one.compute(images, means) for name, one in METRICS.items()}
                if iwae:
                    row["iwae_nats"] = _importance_weighted(
                        vae, posterior, images, batch.indices, seed, iwae
                    )
            rows.append(row | {"entropy_nats": batch.entropy_nats})
            bar.advance(len(batch.indices))
    columns = {name: torch.cat([row[name] for row in rows]).cpu().numpy() for name in rows[0]}
    exact = {name: values.astype(np.float64) for name, values in columns.items()}
    return Measurements(
        items=tuple(pack.items()),
        skipped=pack.skipped,
        side_px=vae.image_side_px,
        reconstruction_nats=exact["reconstruction_nats"],
        squared_error=exact["squared_error"],
        kl_nats=exact["kl"].sum(1),
        entropy_nats=exact["entropy_nats"],
        rgb=exact["rgb"],
        kl_per_latent_nats=exact["kl"].mean(0),
        mu=columns["mu"],
        iwae_nats=exact.get("iwae_nats"),
        metrics={name: exact[name] for name in METRICS if name in exact},
    )


def _measure_batch(
    vae: VAE, pixels: Tensor, indices: Sequence[int], seed: int
) -> tuple[dict[str, Tensor], Posterior]:
    posterior = vae.encode(pixels)
    noise = noise_of("measured latent", seed, [(index, 0) for index in indices], vae.latent_size)
    z = reparameterize(posterior.mu, posterior.log_var, noise=noise)
    logits = vae.decode(z)
    row = {
        "reconstruction_nats": bce_nats(logits, pixels),
        "squared_error": mse_nats(logits, pixels),
        "kl": kl_per_latent_nats(posterior.mu, posterior.log_var),
        "rgb": pixels.mean((2, 3)),
        "mu": posterior.mu,
    }
    return row, posterior


def _importance_weighted(
    vae: VAE, posterior: Posterior, pixels: Tensor, indices: Sequence[int], seed: int, samples: int
) -> Tensor:
    """-log(1/K sum_k p(x, z_k) / q(z_k | x)) (Burda et al. 2016, eq. 8), (B,) nats."""
    log_weights = []
    for k in range(samples):
        places = [(index, k) for index in indices]
        noise = noise_of("measured latent", seed, places, vae.latent_size).to(pixels.device)
        z = reparameterize(posterior.mu, posterior.log_var, noise=noise)
        log_ratio = 0.5 * (noise.square() - z.square() + posterior.log_var).sum(1)  # p(z) / q(z|x)
        log_weights.append(log_ratio - bce_nats(vae.decode(z), pixels))
    return math.log(samples) - torch.stack(log_weights).logsumexp(0)


def noise_of(purpose: str, seed: int, places: Sequence[tuple[int, ...]], size: int) -> Tensor:
    """Noise of latents by the place of each, so that batches change nothing: (B, size) float32."""
    draws = [rng_for(purpose, seed, *place).standard_normal(size, np.float32) for place in places]
    return torch.from_numpy(np.stack(draws))


@dataclass(frozen=True)
class LatentUse:
    """What some latents carry about the images that were measured."""

    latents: int
    active_units: int
    """Latents whose mean varies over the images by more than 0.01."""
    used: int
    """Latents that carry more than 0.01 nats."""
    kl_nats: float
    """What all of them carry about an image, on average."""


@dataclass(frozen=True)
class Diagnosis:
    """Whether a run is in order, and what to do where not."""

    state: State
    sentence: str

    def __str__(self) -> str:
        return self.sentence


def latent_use(found: Measurements, last: int = 0) -> LatentUse:
    """What the latents carry: all of them, or the last `last`."""
    mu, kl = found.mu[:, -last:], found.kl_per_latent_nats[-last:]  # -0: all
    return LatentUse(
        latents=mu.shape[1],
        active_units=int((mu.var(axis=0) > ACTIVE_VARIANCE).sum()),
        used=int((kl > USED_NATS).sum()),
        kl_nats=float(kl.sum()),
    )


def diagnose(valid: Mapping[str, Any], beta: float = 1.0) -> Diagnosis:
    """One line on a run, with a remedy, from the `valid` figures of an epoch.

    Figures that an older run lacks are taken as in order.
    """
    active, kl = int(valid["active_units"]), float(valid["kl_nats"])
    if valid["images"] < FEWEST_IMAGES:
        count = f"{valid['images']} validation images"
        return Diagnosis("unknown", f"unknown: {count} are too few to see a collapse")
    if active < FEW_ACTIVE or kl < COLLAPSED_NATS:
        return Diagnosis(
            "collapsed",
            f"collapsed: {active} active units, KL {kl:.2f} nats, so every image is coded alike;"
            f" {_less_pull(beta)}",
        )
    most = _most_useful_nats(valid)
    if most is not None and kl > most:
        return Diagnosis(
            "kl exploding",
            f"KL exploding: {kl:,.0f} nats an image, more than all that pixels can gain"
            f" ({most:,.0f}); use a smaller --learning-rate"
            + (", a --clip-norm" if beta >= 1 else f", or raise --beta, which is {beta:g}"),
        )
    if (flat := _flat_colour_nats(valid)) is not None and valid["excess_nats"] > flat:
        return Diagnosis(
            "worse than one colour",
            f"worse than one flat colour per image: {valid['excess_nats']:,.0f} nats above the"
            f" minimum, the flat colour {flat:,.0f}; {_better_pixels(valid)}",
        )
    texture, texture_active = valid.get("texture_latents"), valid.get("texture_active_units")
    if texture and texture_active is not None and texture_active < UNUSED_TEXTURE_SHARE * texture:
        return Diagnosis(
            "texture unused",
            f"texture part unused: {texture_active} of its {texture} latents are active; train with"
            " --consistency infonce (--recipe surface), or raise --consistency-weight",
        )
    of = f" of {valid['latents']}" if valid.get("latents") else ""
    part = f", {texture_active} of {texture} in the texture part" if texture else ""
    return Diagnosis("healthy", f"healthy: {active}{of} active units{part}, KL {kl:,.0f} nats")


def _less_pull(beta: float) -> str:
    """What frees a posterior from the prior."""
    if beta > 1:
        return f"lower --beta, which is {beta:g}, or let it rise: --kl-warmup-fraction 0.3"
    return (
        "start again with --init scaled and --kl-warmup-fraction 0.3, a smaller --learning-rate"
        " or a"
        " --beta below 1"
    )


def _flat_colour_nats(valid: Mapping[str, Any]) -> float | None:
    """Excess of painting each image in its mean colour: three numbers instead of a network."""
    flat = valid.get("trivial_excess_nats", {}).get("own_mean")
    return None if flat is None or valid.get("excess_nats") is None else float(flat)


def _better_pixels(valid: Mapping[str, Any]) -> str:
    """What lowers the excess: the surface network, and where it is used, longer training."""
    if valid.get("texture_latents"):
        return "train longer (--epochs), on more images, or from --init-from surface-base"
    return "train with --recipe surface, or from --init-from surface-base"


def _most_useful_nats(valid: Mapping[str, Any]) -> float | None:
    """What saying everything gains over saying grey: latents that cost more pay for nothing."""
    grey = valid.get("trivial_excess_nats", {}).get("grey")
    return None if grey is None else float(grey)
