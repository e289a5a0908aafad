"""What is known of a model beside its weights: the fields of its config.json."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

FORMAT = 1
PREPROCESSING = "RGB / 255; whole images resized to a square, bilinear, antialiased"


@dataclass(frozen=True)
class ModelCard:
    """What config.json says of a model beside its weights."""

    architecture: str = "reference"
    image_side_px: int = 254
    latent_size: int = 512
    parameters: int = 0
    preprocessing: str = PREPROCESSING
    reconstruction_loss: str = "bce"
    training_mean_rgb: tuple[float, float, float] | None = None
    """Mean colour of the training images, each channel in [0, 1]."""
    latent_mean: list[float] | None = None
    """Mean of the posterior means over training crops: `latent_size` numbers."""
    data: dict[str, Any] = field(default_factory=dict)
    """Of the training images: fingerprint and count."""
    figures: dict[str, Any] = field(default_factory=dict)
    """Figures on the validation images when the model was saved."""
    training: dict[str, Any] = field(default_factory=dict)
    """Epochs, steps and settings behind the weights, or where they were imported from."""
    vaeneer_version: str = ""
    format: int = FORMAT


def card_of(values: Any) -> ModelCard:
    """The card that a config.json holds, every field of its type.

    Raises ValueError, or TypeError for a field that is unknown.
    """
    if not isinstance(values, dict):
        raise ValueError(f"it holds a {type(values).__name__}, not an object")
    for names, kind in _TYPES.items():
        for name in names:
            if name in values and type(values[name]) is not kind:
                raise ValueError(
                    f"{name} is {str(values[name])[:40]!r}, not of type {kind.__name__}"
                )
    mean, color = values.get("latent_mean"), values.get("training_mean_rgb")
    for name, numbers, count in (("latent_mean", mean, None), ("training_mean_rgb", color, 3)):
        if numbers is not None and not _is_numbers(numbers, count):
            raise ValueError(f"{name} is no list of {count or 'finite'} numbers")
    card = ModelCard(**values)
    if min(card.image_side_px, card.latent_size) < 1 or card.parameters < 0:
        raise ValueError("a size is below 1")
    if card.format < 1:
        raise ValueError(f"format is {card.format}")
    return card


_TYPES: dict[tuple[str, ...], type] = {
    ("architecture", "preprocessing", "reconstruction_loss", "vaeneer_version"): str,
    ("image_side_px", "latent_size", "parameters", "format"): int,
    ("data", "figures", "training"): dict,
}


def _is_numbers(values: Any, count: int | None) -> bool:
    """Whether a JSON value is a list of finite numbers, of so many where a count is given."""
    if not isinstance(values, list) or (count is not None and len(values) != count):
        return False
    return all(type(one) in (int, float) and math.isfinite(one) for one in values)
