"""What each part of the improved recipe and of the surface network is worth: one part at a time.

    python benchmarks/ablations.py DATA [--only NAME]... [--seeds 0 1] [--epochs 12]

DATA is what `vaeneer prepare` made. Each run is one thread, bfloat16 and batches of 16; images are
decoded once to a short side of 568 px. Rows are added to results/ablations.json under the name,
seed and epochs of the run, so that several processes may each do some of them.
"""

from __future__ import annotations

import fcntl
import json
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from pathlib import Path
from statistics import fmean, median
from typing import Annotated, Any

import cyclopts
import numpy as np
import torch
from machine import RESULTS, provenance
from PIL import Image
from torch import Generator, Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d

from vaeneer.data.crops import COLUMNS, CropRecipe, Pixels, cut_crop, draw_crops
from vaeneer.data.dataset import open_folder
from vaeneer.data.images import read_rgb, resize_rgb
from vaeneer.data.loader import pixel_entropy_nats, to_tensor
from vaeneer.files import write_json
from vaeneer.model import surface
from vaeneer.model.losses import bce_nats, elbo_terms, kl_per_latent_nats
from vaeneer.model.vae import VAE, eval_mode
from vaeneer.model.weights import scaled_start
from vaeneer.rng import UniformRows, rng_for
from vaeneer.settings import Recipe, TrainSettings
from vaeneer.training.optim import average_share, kl_share, learning_rate

BATCH, SIDE_PX = 16, 568
RESULT = RESULTS / "ablations.json"
Colour = tuple[float, float, float]


# Networks: (seed, mean colour) to a network ready to train


def plain(seed: int, mean: Colour) -> VAE:
    """The reference network as PyTorch starts it."""
    torch.manual_seed(seed)
    return VAE()


def scaled(seed: int, mean: Colour) -> VAE:
    """The reference network as the improved recipe starts it."""
    vae = plain(seed, mean)
    scaled_start(vae, mean, Generator().manual_seed(seed))
    return vae


def mean_colour_only(seed: int, mean: Colour) -> VAE:
    """PyTorch's start, but the last bias answers the mean colour."""
    vae = plain(seed, mean)
    vae.decoder.start_colour(mean)
    return vae


def he(seed: int, mean: Colour) -> VAE:
    """He et al. 2015 throughout: no bilinear enlargement, no blur."""
    vae = scaled(seed, mean)
    random = Generator().manual_seed(seed + 1)
    with torch.no_grad():
        for layer in vae.modules():
            if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
                taps = layer.kernel_size[0] ** 2
                if isinstance(layer, nn.ConvTranspose2d):
                    taps /= layer.stride[0] ** 2
                noise = torch.randn(layer.weight.shape, generator=random)
                layer.weight.copy_(noise * math.sqrt(2 / (layer.in_channels * taps)))
    return vae


def he_encoder(seed: int, mean: Colour) -> VAE:
    """Bilinear enlargement in the decoder, but no blur in the encoder."""
    vae = scaled(seed, mean)
    vae.encoder.load_state_dict(he(seed, mean).encoder.state_dict())
    return vae


def quiet_latents(seed: int, mean: Colour) -> VAE:
    """Posteriors that start narrow: log variance near -3."""
    vae = scaled(seed, mean)
    with torch.no_grad():
        vae.encoder.log_var.weight.mul_(0.1)
        vae.encoder.log_var.bias.fill_(-3)
    return vae


def coder(seed: int, mean: Colour) -> VAE:
    """The surface network."""
    torch.manual_seed(seed)
    vae = VAE(surface.Encoder(), surface.Decoder())
    scaled_start(vae, mean, Generator().manual_seed(seed))
    return vae


class CoderEncoder(surface.Encoder):
    """The transform coder alone."""

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """See surface.Encoder."""
        with torch.autocast(images.device.type, enabled=False):
            return self.transform(images.float(), torch.zeros(()))


class CoderDecoder(surface.Decoder):
    """The transform coder alone."""

    def forward(self, z: Tensor) -> Tensor:
        """See surface.Decoder."""
        with torch.autocast(z.device.type, enabled=False):
            return self.synthesis.T @ self.transform(z.float()) @ self.synthesis + self.bias


class BlindEncoder(surface.Encoder):
    """The convolutions do not change the logits that are transformed, only the latents."""

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """See surface.Encoder."""
        x = self.blocks(self.stem(images - 0.5))
        pooled = torch.cat([x.mean((2, 3)), adaptive_avg_pool2d(x, 4).flatten(1)], 1)
        mu, log_var = self.mu(pooled), self.log_var(pooled)
        with torch.autocast(images.device.type, enabled=False):
            coded_mu, coded_log_var = self.transform(images.float(), torch.zeros(()))
            return coded_mu + mu.float(), coded_log_var + log_var.float()


def coder_of(
    encoder: type[surface.Encoder], decoder: type[surface.Decoder], **changed: float
) -> Callable[[int, Colour], VAE]:
    """The surface network with other parts; `styles=0` takes the styles' influence away."""

    def start(seed: int, mean: Colour) -> VAE:
        torch.manual_seed(seed)
        vae = VAE(encoder(), decoder())
        scaled_start(vae, mean, Generator().manual_seed(seed))
        with torch.no_grad():
            for part in (vae.encoder, vae.decoder):
                part.scales.patterns.mul_(changed.get("styles", 1))
                part.scales.log_scale[3:].add_(changed.get("wider", 0))
        return vae

    return start


# Runs

SEED = Recipe()
IMPROVED = Recipe(
    epochs=12, learning_rate=2e-3, init="scaled", warmup_fraction=0.1, min_lr_ratio=0.01,
    clip_norm=2e4,
    rotate_flip=True,
)  # fmt: skip
SURFACE = replace(IMPROVED, learning_rate=1e-3)
RUNS: dict[str, tuple[Callable[[int, Colour], VAE], Recipe]] = {
    "seed": (plain, SEED),
    "improved": (scaled, IMPROVED),
    "improved, PyTorch's start": (plain, IMPROVED),
    "improved, PyTorch's start and the mean colour": (mean_colour_only, IMPROVED),
    "improved, He's start": (he, IMPROVED),
    "improved, He's start in the encoder": (he_encoder, IMPROVED),
    "improved, narrow posteriors at the start": (quiet_latents, IMPROVED),
    "improved, rate 1e-3": (scaled, replace(IMPROVED, learning_rate=1e-3)),
    "improved, rate 3e-3": (scaled, replace(IMPROVED, learning_rate=3e-3)),
    "improved, no clipping": (scaled, replace(IMPROVED, clip_norm=0)),
    "improved, no warm-up": (scaled, replace(IMPROVED, warmup_fraction=0)),
    "improved, constant rate": (scaled, replace(IMPROVED, min_lr_ratio=1)),
    "improved, KL warm-up 0.3": (scaled, replace(IMPROVED, kl_warmup_fraction=0.3)),
    "improved, averaging 0.98": (scaled, replace(IMPROVED, ema_decay=0.98)),
    "improved, weight decay 0.05": (scaled, replace(IMPROVED, weight_decay=0.05)),
    "improved, no turns": (scaled, replace(IMPROVED, rotate_flip=False)),
    "surface": (coder, SURFACE),
    "surface, rate 2e-3": (coder, IMPROVED),
    "surface, no turns": (coder, replace(SURFACE, rotate_flip=False)),
    "surface, averaging 0.98": (coder, replace(SURFACE, ema_decay=0.98)),
    "surface, coder alone": (coder_of(CoderEncoder, CoderDecoder), SURFACE),
    "surface, coder alone, no styles": (
        coder_of(CoderEncoder, CoderDecoder, styles=0, wider=0.75), SURFACE
    ),
    "surface, convolutions in the encoder alone": (
        coder_of(surface.Encoder, CoderDecoder), SURFACE
    ),
    "surface, convolutions in the decoder alone": (
        coder_of(CoderEncoder, surface.Decoder), SURFACE
    ),
    "surface, logits untouched": (coder_of(BlindEncoder, surface.Decoder), SURFACE),
}  # fmt: skip


def main(
    data: Path,
    *,
    only: Annotated[list[str] | None, cyclopts.Parameter(consume_multiple=True)] = None,
    seeds: Annotated[list[int] | None, cyclopts.Parameter(consume_multiple=True)] = None,
    epochs: int | None = None,
    times: bool = False,
) -> None:
    """Do the runs named (all of them) with each seed and write their curves; or time the steps."""
    torch.set_num_threads(1)
    if times:
        return add("step_ms", step_times())
    images = [shrunk(item.path) for item in open_folder(data / "train").items]
    red, green, blue = np.mean([image.mean((0, 1)) / 255 for image in images], 0).tolist()
    valid = [resize_rgb(read_rgb(item.path)) for item in open_folder(data / "valid").items]
    for name in only or RUNS:
        for seed in seeds or [0]:
            start, recipe = RUNS[name]
            recipe = replace(recipe, epochs=epochs or recipe.epochs)
            curve = []
            for point in trained(start(seed, (red, green, blue)), recipe, seed, images, valid):
                curve.append(point)
                print(name, seed, point, flush=True)
            row = {"name": name, "seed": seed, "recipe": asdict(recipe), "curve": curve}
            add(f"{name}, seed {seed}, {recipe.epochs} epochs", row)
    return None


def trained(
    vae: VAE, recipe: Recipe, seed: int, images: list[Pixels], valid: list[Pixels]
) -> Iterator[dict[str, Any]]:
    """Train; the figures at the start and after about every fifth of the epochs."""
    vae.train().to(memory_format=torch.channels_last)
    averaged = None
    if recipe.ema_decay:
        averaged = VAE(type(vae.encoder)(), type(vae.decoder)())
        averaged.load_state_dict(vae.state_dict())
    optimizer = torch.optim.AdamW(
        vae.parameters(), recipe.learning_rate, weight_decay=recipe.weight_decay, fused=True
    )
    noise, step = Generator().manual_seed(seed), 0
    steps = recipe.epochs * math.ceil(len(images) / BATCH)
    marks = {round(recipe.epochs * part / 4) for part in range(1, 5)} | {1}
    yield figures(vae, valid, 0, 0.0)
    seconds = 0.0
    for epoch in range(recipe.epochs):
        for x in batches(images, recipe, seed, epoch):
            tick = time.perf_counter()
            for group in optimizer.param_groups:
                group["lr"] = learning_rate(recipe, step, steps)
            with torch.autocast("cpu", torch.bfloat16):
                output = vae(x, noise)
            terms = elbo_terms(output, x)
            beta = kl_share(recipe, step, steps) if recipe.kl_warmup_fraction else 1.0
            optimizer.zero_grad(set_to_none=True)
            terms.total_nats(beta).mean().backward()
            if recipe.clip_norm:
                nn.utils.clip_grad_norm_(vae.parameters(), recipe.clip_norm)
            optimizer.step()
            if averaged is not None:
                average(averaged, vae, average_share(recipe, step))
            step += 1
            seconds += time.perf_counter() - tick
        if epoch + 1 in marks:
            yield figures(averaged or vae, valid, (epoch + 1) * len(images), seconds)


@torch.no_grad()
def average(averaged: VAE, vae: VAE, share: float) -> None:
    """Move the averaged weights and batch statistics towards the network's."""
    for mean, value in zip(averaged.state_dict().values(), vae.state_dict().values(), strict=True):
        if mean.is_floating_point():
            mean.lerp_(value, 1 - share)
        else:
            mean.copy_(value)


@torch.no_grad()
def figures(vae: VAE, valid: list[Pixels], images: int, seconds: float) -> dict[str, Any]:
    """What `evaluate` finds in float32: the same squares, entropy and noise."""
    nats, kl, mu = [], [], []
    with eval_mode(vae):
        for index, pixels in enumerate(valid):
            x = to_tensor([pixels]).contiguous(memory_format=torch.channels_last)
            posterior = vae.encode(x)
            noise = rng_for("measured latent", 0, index, 0).standard_normal((1, 512), "f4")
            z = posterior.mu + (0.5 * posterior.log_var).exp() * torch.from_numpy(noise)
            kl.append(kl_per_latent_nats(posterior.mu, posterior.log_var).sum().item())
            nats.append(bce_nats(vae.decode(z), x).item() - pixel_entropy_nats(pixels))
            mu.append(posterior.mu)
    return {
        "images": images,
        "seconds": round(seconds, 1),
        "excess_nats": round(fmean(nats) + fmean(kl), 1),
        "kl_nats": round(fmean(kl), 1),
        "active_units": int((torch.cat(mu).var(0, correction=0) > 0.01).sum()),
    }


def shrunk(path: Path) -> Pixels:
    """An image at a short side of at most 568 px: (H, W, 3) uint8."""
    image = read_rgb(path)
    scale = min(SIDE_PX / min(image.size), 1)
    size = (round(scale * image.width), round(scale * image.height))
    return np.asarray(image.resize(size, Image.Resampling.BOX))


def batches(images: list[Pixels], recipe: Recipe, seed: int, epoch: int) -> Iterator[Tensor]:
    """The crops of one epoch, (B, 3, 254, 254) float32 in [0, 1], channels last."""
    crop = replace(CropRecipe.of(TrainSettings(recipe="reference")), rotate_flip=recipe.rotate_flip)
    order = rng_for("order", seed, epoch).permutation(len(images))
    table = UniformRows("crop", seed, epoch, columns=COLUMNS)
    for group in np.split(order, range(BATCH, len(order), BATCH)):
        own = [images[index] for index in group]
        sides = [image.shape[1] for image in own], [image.shape[0] for image in own]
        crops = draw_crops(table.rows(group.tolist()), *sides, crop)
        cut = [cut_crop(image, crops, n, crop.side_px) for n, image in enumerate(own)]
        yield to_tensor(cut).contiguous(memory_format=torch.channels_last)


def step_times() -> dict[str, float]:
    """Median milliseconds of a training step at batch 16, the networks taking turns."""
    x = torch.rand(BATCH, 3, 254, 254).contiguous(memory_format=torch.channels_last)
    starts = {
        "reference": scaled, "surface": coder, "coder alone": RUNS["surface, coder alone"][0]
    }  # fmt: skip
    networks = {name: start(0, (0.5, 0.5, 0.5)).train() for name, start in starts.items()}
    found: dict[str, list[float]] = {name: [] for name in networks}
    for vae in networks.values():
        vae.to(memory_format=torch.channels_last)
    optimizers = {n: torch.optim.AdamW(v.parameters(), fused=True) for n, v in networks.items()}
    for _ in range(15):
        for name, vae in networks.items():
            tick = time.perf_counter()
            with torch.autocast("cpu", torch.bfloat16):
                output = vae(x)
            optimizers[name].zero_grad(set_to_none=True)
            elbo_terms(output, x).total_nats().mean().backward()
            optimizers[name].step()
            found[name].append(1000 * (time.perf_counter() - tick))
    return {name: round(median(values[3:]), 1) for name, values in found.items()}


def add(name: str, row: Any) -> None:
    """Put one row into the result file; other processes may do the same."""
    with Path(__file__).open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        known = json.loads(RESULT.read_text()) if RESULT.is_file() else {}
        rows = {**known.get("rows", {}), name: row}
        write_json(RESULT, {**known, "provenance": provenance(), "rows": rows})


if __name__ == "__main__":
    cyclopts.run(main)
