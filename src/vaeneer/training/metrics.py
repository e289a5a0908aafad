"""Metrics of an epoch in nats per image, their plots, and TensorBoard events."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator, StrMethodFormatter

from vaeneer.data.dataset import RGB
from vaeneer.data.pixel_cache import Pack
from vaeneer.errors import TrainingError
from vaeneer.evaluation.per_image import Measurements, latent_use, trivial_excess_nats
from vaeneer.evaluation.plots import (
    PER_IMAGE,
    QUIET,
    TRAIN,
    VALID,
    new_chart,
    reconstructed,
    save_chart,
    save_grid,
    to_pixels,
)
from vaeneer.model.losses import ReconstructionLoss
from vaeneer.model.vae import VAE
from vaeneer.training.resume_state import TrainState
from vaeneer.training.run_folder import RunFolder, read_metrics

SEED_BATCH = 16  # the reference quotes losses summed over batches of 16
SHOWN = 8
Lines = list[dict[str, Any]]


def epoch_line(
    state: TrainState,
    loss: ReconstructionLoss,
    found: Measurements,
    training_mean: RGB | None,
    *,
    texture_size: int = 0,
    valid_consistency: float | None = None,
    consistency_weight: float = 0.0,
) -> dict[str, Any]:
    """One line of metrics.jsonl (docs/formats.md), for the epoch that `state` has just trained."""
    valid = _valid_figures(loss, found, training_mean)
    added = 0.0 if valid_consistency is None else consistency_weight * valid_consistency
    return {
        "epoch": state.epoch + 1,
        "step": state.step,
        "seconds": state.seconds,
        "images_per_second": state.sums["images"] / max(state.epoch_seconds, 1e-9),
        "train": _train_figures(state, loss, 3 * found.side_px**2),
        "valid": {
            **valid,
            **_latent_figures(found, texture_size),
            "consistency": valid_consistency,
            "trained_loss": valid["elbo_loss"] + added,  # what "best" goes by
        },
    }


def _train_figures(state: TrainState, loss: ReconstructionLoss, dims: int) -> dict[str, Any]:
    total = state.mean("reconstruction") + state.mean("kl")
    return {
        "loss": loss,
        "images": int(state.sums["images"]),
        "nats_per_image": total,
        "reconstruction_nats": state.mean("reconstruction"),
        "kl_nats": state.mean("kl"),
        "nats_per_dim": total / dims,
        "entropy_nats": state.mean("entropy"),
        "excess_nats": total - state.mean("entropy") if loss == "bce" else None,
        "seed_loss": SEED_BATCH * total,
        "consistency": state.mean("consistency") if "consistency" in state.sums else None,
    }


def _valid_figures(
    loss: ReconstructionLoss, found: Measurements, training_mean: RGB | None
) -> dict[str, Any]:
    total = float(found.total_nats.mean())
    trained_on = found.reconstruction_nats if loss == "bce" else found.squared_error
    return {
        "images": len(found.items),
        "elbo_loss": float((trained_on + found.kl_nats).mean()),
        "nats_per_image": total,
        "reconstruction_nats": float(found.reconstruction_nats.mean()),
        "kl_nats": float(found.kl_nats.mean()),
        "nats_per_dim": total / (3 * found.side_px**2),
        "entropy_nats": float(found.entropy_nats.mean()),
        "excess_nats": float(found.excess_nats.mean()),
        "squared_error": float(found.squared_error.mean()),
        "trivial_excess_nats": trivial_excess_nats(found, training_mean),
    }


def _latent_figures(found: Measurements, texture_size: int) -> dict[str, Any]:
    """What the latents carry, and of them those of the texture part; null where there is none."""
    whole = latent_use(found)
    texture = latent_use(found, texture_size) if texture_size else None
    return {
        "latents": whole.latents,
        "active_units": whole.active_units,
        "used_latents": whole.used,
        "texture_latents": texture.latents if texture else None,
        "texture_active_units": texture.active_units if texture else None,
        "texture_used_latents": texture.used if texture else None,
        "texture_kl_nats": texture.kl_nats if texture else None,
    }


def format_epoch(line: dict[str, Any], epochs: int) -> str:
    """An epoch's figures as one line for people."""
    train, valid = line["train"], line["valid"]
    unit = "" if train["loss"] == "bce" else " (squared errors)"
    return (
        f"epoch {line['epoch']:>{len(str(epochs))}}/{epochs}"
        f"  train {train['nats_per_image']:>9,.0f}{unit}"
        f"  valid {valid['nats_per_image']:>9,.0f} nats per image"
        f" (KL {valid['kl_nats']:,.0f}, {valid['active_units']} active)"
        f"  {valid['excess_nats']:,.0f} above the minimum"
        f" (one flat colour per image: {valid['trivial_excess_nats']['own_mean']:,.0f})"
        f"{_spoken_consistency(train, valid)}"
        f"  {line['images_per_second']:.0f} images/s"
    )


def _spoken_consistency(train: dict[str, Any], valid: dict[str, Any]) -> str:
    if train["consistency"] is None:
        return ""
    return f"  consistency {train['consistency']:.3f}, valid {valid['consistency']:.3f}"


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
    return save_grid([*images, *reconstructed(vae, images)], path, columns=len(images))


def draw_samples(vae: VAE, path: Path, seed: int, *, count: int = 2 * SHOWN) -> Path:
    """Random samples, the same latents at each call with one seed."""
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


def write_events(folder: Path, line: dict[str, Any]) -> None:
    """Write one epoch's figures (a line of metrics.jsonl) as scalars at its step.

    A resumed epoch writes its step again, and TensorBoard shows the later one.
    Raises TrainingError when TensorBoard is not installed.
    """
    require_tensorboard()
    from torch.utils.tensorboard import SummaryWriter  # slow to import, and optional

    with SummaryWriter(str(folder), purge_step=line["step"]) as writer:
        for side in ("train", "valid"):
            for name, value in line[side].items():
                if isinstance(value, int | float):
                    writer.add_scalar(f"{side}/{name}", value, line["step"])
        writer.add_scalar("images_per_second", line["images_per_second"], line["step"])


def require_tensorboard() -> None:
    """Raise TrainingError, with the remedy, when TensorBoard is not installed."""
    try:
        import tensorboard  # noqa: F401
    except ImportError as error:
        raise TrainingError("TensorBoard is not installed; run: pip install tensorboard") from error
