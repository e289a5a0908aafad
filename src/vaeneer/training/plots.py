"""The pictures of a run, redrawn after each epoch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator, StrMethodFormatter

from vaeneer.data.loader import to_tensor
from vaeneer.data.pixel_cache import Pack
from vaeneer.measuring.charts import PER_IMAGE, QUIET, TRAIN, VALID, new_chart, save_chart
from vaeneer.measuring.measurement import Measurements
from vaeneer.measuring.pictures import save_grid, to_pixels
from vaeneer.model.vae import VAE, eval_mode
from vaeneer.training.run_folder import RunFolder, read_metrics

SHOWN = 8
Lines = list[dict[str, Any]]


def draw_epoch(folder: RunFolder, vae: VAE, valid: Pack, found: Measurements, seed: int) -> None:
    """Redraw all plots of a run from its metrics and its network."""
    lines, plots = read_metrics(folder.root), folder.plots
    draw_training_loss(lines, plots / "training-loss.png")
    draw_validation(lines, plots / "validation.png")
    draw_kl_per_latent(found, plots / "kl-per-latent.png")
    draw_active_units(lines, plots / "active-units.png")
    if lines[-1]["train"]["consistency"] is not None:
        draw_consistency(lines, plots / "consistency.png")
    draw_reconstructions(vae, valid, plots / "reconstructions.png")
    draw_samples(vae, plots / "samples.png", seed)


def draw_training_loss(lines: Lines, path: Path) -> Path:
    """The training loss after each epoch; the title has the sum over 16 images, as in seed.md."""
    losses = [line["train"]["nats_per_image"] for line in lines]
    figure, axes = new_chart(
        f"Training loss: {losses[-1]:,.0f} nats per image after epoch {len(lines)}"
        f" ({lines[-1]['train']['seed_loss']:,.0f} over 16 images)",
        "epoch",
        PER_IMAGE,
    )
    axes.plot(_epochs(lines), losses, marker=".", color=TRAIN)
    _epoch_axis(axes, lines)
    return save_chart(figure, path)


def draw_validation(lines: Lines, path: Path) -> Path:
    """Validation loss above the entropy, beside one flat colour per image; KL below."""
    figure, axes = new_chart(
        "Validation loss above the minimum",
        "epoch",
        PER_IMAGE,
    )
    excess = [line["valid"]["excess_nats"] for line in lines]
    kl = [line["valid"]["kl_nats"] for line in lines]
    own_mean = lines[-1]["valid"]["trivial_excess_nats"]["own_mean"]
    axes.plot(_epochs(lines), excess, marker=".", color=VALID, label="model")
    axes.plot(_epochs(lines), kl, marker=".", color=TRAIN, label="KL part")
    axes.axhline(own_mean, color=QUIET, linestyle="--", label="one flat colour per image")
    axes.set_ylim(bottom=0)
    _epoch_axis(axes, lines)
    axes.legend(frameon=False)
    return save_chart(figure, path)


def draw_kl_per_latent(found: Measurements, path: Path) -> Path:
    """How many nats each latent carries, the largest first."""
    kl = np.sort(found.kl_per_latent_nats)[::-1]
    figure, axes = new_chart(
        f"KL per latent: {kl.sum():,.0f} nats, {found.active_units} of {len(kl)} active",
        "latent, the largest first",
        PER_IMAGE,
    )
    axes.plot(np.arange(1, len(kl) + 1), np.maximum(kl, 1e-6), color=TRAIN)
    axes.set_xscale("log")
    axes.set_yscale("log")
    return save_chart(figure, path)


def draw_active_units(lines: Lines, path: Path) -> Path:
    """Latents that vary from image to image, after each epoch; a collapse is a fall to 0."""
    valid = lines[-1]["valid"]
    figure, axes = new_chart(
        f"Active units: {valid['active_units']} after epoch {len(lines)}", "epoch", "latents"
    )
    curves = (("active_units", "all latents", VALID), ("texture_active_units", "texture", TRAIN))
    for name, label, color in curves:
        counts = [line["valid"].get(name) for line in lines]
        if counts[-1] is not None:
            axes.plot(_epochs(lines), counts, marker=".", color=color, label=label)
    axes.set_ylim(bottom=0)
    _epoch_axis(axes, lines)
    axes.legend(frameon=False)
    return save_chart(figure, path)


def draw_consistency(lines: Lines, path: Path) -> Path:
    """How far apart crops of one surface are, by the term that the run trains with."""
    figure, axes = new_chart(
        f"Consistency term: {lines[-1]['train']['consistency']:.3f} after epoch {len(lines)}",
        "epoch",
        "consistency / crop",
    )
    for side, color in (("train", TRAIN), ("valid", VALID)):
        terms = [line[side]["consistency"] for line in lines]
        axes.plot(_epochs(lines), terms, marker=".", color=color, label=side)
    _epoch_axis(axes, lines)
    axes.legend(frameon=False)
    return save_chart(figure, path)


def draw_reconstructions(vae: VAE, pack: Pack, path: Path) -> Path:
    """Some images of a pack of squares, spread over it, each above its reconstruction."""
    places = np.linspace(0, len(pack) - 1, min(SHOWN, len(pack))).astype(int)
    images = [pack.image(place) for place in places]
    device = next(vae.parameters()).device
    with eval_mode(vae):
        answers = vae.reconstruct(to_tensor(images).to(device))
    return save_grid([*images, *to_pixels(answers)], path, columns=len(images))


def draw_samples(vae: VAE, path: Path, seed: int, *, count: int = 2 * SHOWN) -> Path:
    """Random samples, the same latents at each call with one seed."""
    with eval_mode(vae):
        samples = vae.sample(count, torch.Generator().manual_seed(seed))
    return save_grid(to_pixels(samples), path, columns=min(count, SHOWN))


def _epochs(lines: Lines) -> list[int]:
    return [line["epoch"] for line in lines]


def _epoch_axis(axes: Axes, lines: Lines) -> None:
    """Whole epochs below, the only one in the middle; thousands with commas at the side."""
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.yaxis.set_major_formatter(StrMethodFormatter("{x:,g}"))
    if len(lines) == 1:
        (only,) = _epochs(lines)
        axes.set_xlim(only - 0.9, only + 0.9)
