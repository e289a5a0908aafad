"""What is known of a model beside its weights: the fields of its config.json."""

from __future__ import annotations

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
