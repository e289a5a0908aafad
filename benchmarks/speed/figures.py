"""The figures of a bench: shares of ceilings, shares of an epoch, and the bottleneck in words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from speed.ceilings import Ceilings
from speed.layers import LayerFigures

DECODED_TO_EVALUATE = 2
"""`evaluate` decodes a sampled latent and the mean."""
_WORDS = {"crop": "cutting crops", "step": "the step", "rest": "what is neither crop nor step"}


@dataclass(frozen=True)
class PartFigures:
    """One part of the work, beside the most that the machine could do of it."""

    images_per_s: float
    """Median of five or more repetitions."""
    ceiling: str
    """matrix product, copying, JPEG decoding, or step: what bounds it."""
    ceiling_images_per_s: float
    """The most that it allows."""
    share: float
    """images_per_s / ceiling_images_per_s."""


@dataclass(frozen=True)
class NetworkFigures:
    """What the network asks of the machine, counted, for one image."""

    architecture: str
    """Name of the network."""
    parameters: int
    """Trained numbers."""
    step_gflop: float
    """10^9 operations forward and backward; a multiplication and an addition are two."""
    encode_gflop: float
    """10^9 operations of the encoder."""
    decode_gflop: float
    """10^9 operations of the decoder."""
    layers_images_per_s: float
    """All layers one by one, forward and backward, and nothing between them."""
    roofline_images_per_s: float
    """No quicker: each layer by its work or by its bytes, whichever takes longer."""


@dataclass(frozen=True)
class Found:
    """All that was measured."""

    ceilings: Ceilings
    network: NetworkFigures
    layers: list[LayerFigures]
    rates: dict[str, float]
    """Images a second of each part."""
    crop_bytes: float
    """Read and written for one crop, on average."""


def part_figures(found: Found, precision: str) -> dict[str, PartFigures]:
    """Each part beside its ceiling."""
    network, rates = found.network, found.rates
    product = found.ceilings.matmul_gflop_per_s[precision]
    evaluate_gflop = network.encode_gflop + DECODED_TO_EVALUATE * network.decode_gflop
    most = {
        "decode": ("JPEG decoding", found.ceilings.jpeg_images_per_s),
        "crop": ("copying", found.ceilings.copy_gb_per_s * 1e9 / found.crop_bytes),
        "step": ("matrix product", product / network.step_gflop),
        "evaluate": ("matrix product", product / evaluate_gflop),
        "embed": ("matrix product", product / network.encode_gflop),
        "epoch": ("step", rates["step"]),
    }
    return {
        name: PartFigures(rate, *most[name], share=rate / most[name][1])
        for name, rate in rates.items()
    }


def epoch_shares(rates: Mapping[str, float]) -> dict[str, float]:
    """What crops and steps would take alone, and the rest, of an epoch's time.

    Where crops are cut beside the step, the first two may add up to more than 1.
    """
    shares = {name: rates["epoch"] / rates[name] for name in ("crop", "step")}
    return {**shares, "rest": max(0.0, 1 - sum(shares.values()))}


def largest(shares: Mapping[str, float]) -> str:
    """The name of the largest share."""
    return max(shares, key=lambda name: shares[name])


def summary(
    shares: Mapping[str, float], figures: Mapping[str, PartFigures], network: NetworkFigures
) -> str:
    """What holds the machine up, in one line."""
    name = largest(shares)
    line = f"Bottleneck: {_WORDS[name]}, {shares[name]:.0%} of an epoch's time"
    if name == "rest":
        return f"{line}."
    part = figures[name]
    line += f", at {part.share:.0%} of what this machine's {part.ceiling} allows"
    if name == "step":
        alone = network.layers_images_per_s / part.ceiling_images_per_s
        line += f" (its layers alone: {alone:.0%})"
    return f"{line}."
