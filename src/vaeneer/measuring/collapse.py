"""Posterior collapse: what a model's latents carry, and one line on whether a run is healthy.

A latent is active when its posterior mean varies over the images by more than 0.01 (Burda et al.
2016, section 4.2). A collapsed posterior is the prior: the decoder answers every image alike.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from vaeneer.measuring.measurement import ACTIVE_VARIANCE, Measurements

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
        return f"lower --beta, which is {beta:g}, or let it rise: --kl-warmup 0.3"
    return (
        "start again with --start scaled and --kl-warmup 0.3, a smaller --learning-rate or a"
        " --beta below 1"
    )


def _flat_colour_nats(valid: Mapping[str, Any]) -> float | None:
    """Excess of painting each image in its mean colour: three numbers instead of a network."""
    flat = valid.get("trivial_excess_nats", {}).get("own_mean")
    return None if flat is None or valid.get("excess_nats") is None else float(flat)


def _better_pixels(valid: Mapping[str, Any]) -> str:
    """What lowers the excess: the surface network, and where it is used, longer training."""
    if valid.get("texture_latents"):
        return "train longer (--epochs), on more images, or from --init surface-base"
    return "train with --recipe surface, or from --init surface-base"


def _most_useful_nats(valid: Mapping[str, Any]) -> float | None:
    """What saying everything gains over saying grey: latents that cost more pay for nothing."""
    grey = valid.get("trivial_excess_nats", {}).get("grey")
    return None if grey is None else float(grey)
