"""The figures of an epoch, in honest units: nats per image, per dimension, above the entropy."""

from __future__ import annotations

from typing import Any

from vaeneer.data.dataset import RGB
from vaeneer.measuring.collapse import latent_use
from vaeneer.measuring.measurement import Measurements, trivial_excess_nats
from vaeneer.model.losses import ReconstructionLoss
from vaeneer.training.state import TrainState

SEED_BATCH = 16  # the reference quotes losses summed over batches of 16


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


def spoken(line: dict[str, Any], epochs: int) -> str:
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
