"""What a VAE is here: encode, reparameterize, decode, sample, representation."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Generator, Tensor, nn
from torch.export import register_dataclass

from vaeneer.errors import ImageSizeError, SettingsError
from vaeneer.model import reference
from vaeneer.model.projection import Calibration, Readout
from vaeneer.model.reference import PhasedConvTranspose2d

FORMAT = 1
PREPROCESSING = "RGB / 255; whole images resized to a square, bilinear, antialiased"
_TYPES: dict[tuple[str, ...], type] = {
    ("architecture", "preprocessing", "reconstruction_loss", "vaeneer_version"): str,
    ("image_side_px", "latent_size", "parameters", "format"): int,
    ("data", "figures", "training"): dict,
}


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


def _is_numbers(values: Any, count: int | None) -> bool:
    """Whether a JSON value is a list of finite numbers, of so many where a count is given."""
    if not isinstance(values, list) or (count is not None and len(values) != count):
        return False
    return all(type(one) in (int, float) and math.isfinite(one) for one in values)


@dataclass(frozen=True)
class Posterior:
    """The diagonal Gaussian q(z | x) of each image: `mu` and `log_var`, (B, latent) float32."""

    mu: Tensor
    log_var: Tensor

    def sample(self, generator: Generator | None = None) -> Tensor:
        """One random latent of each image, (B, latent) float32."""
        return reparameterize(self.mu, self.log_var, generator)


@dataclass(frozen=True)
class VAEOutput:
    """What one forward pass gives; `logits` (B, 3, H, W), the rest (B, latent), float32."""

    logits: Tensor
    mu: Tensor
    log_var: Tensor
    z: Tensor

    @property
    def reconstruction(self) -> Tensor:
        """The mean of the decoded distribution, (B, 3, H, W) float32 in [0, 1]."""
        return self.logits.sigmoid()


for _output in (Posterior, VAEOutput):  # so that torch.export takes a VAE
    register_dataclass(_output, serialized_type_name=f"vaeneer.{_output.__name__}")


def reparameterize(
    mu: Tensor, log_var: Tensor, generator: Generator | None = None, *, noise: Tensor | None = None
) -> Tensor:
    """z = mu + sigma * epsilon with epsilon ~ N(0, I) (Kingma & Welling 2014, eq. 10).

    The noise is drawn on the generator's device, so that a CPU generator gives the same latents
    on every device; or it is given. All tensors (B, latent) float32.
    """
    if noise is None:
        device = mu.device if generator is None else generator.device
        noise = torch.randn(mu.shape, generator=generator, device=device, dtype=mu.dtype)
    return mu + (0.5 * log_var).exp() * noise.to(mu.device)


@contextmanager
def eval_mode(network: nn.Module) -> Iterator[None]:
    """Put a network in eval mode without gradients for the block, and back after it."""
    was_training = network.training
    network.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        network.train(was_training)


def in_channels_last(network: nn.Module) -> None:
    """Lay out the weights as convolutions run fastest, on CPUs and on CUDA."""
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


class VAE(nn.Module):
    """A variational autoencoder of an encoder and a decoder; by default those of reference.py.

    In training mode `forward` samples the posterior; in eval mode it takes the mean, so that the
    same image always gives the same answer, whatever batch it is in.
    """

    def __init__(
        self,
        encoder: nn.Module | None = None,
        decoder: nn.Module | None = None,
        *,
        image_side_px: int = reference.IMAGE_SIDE_PX,
        latent_size: int | None = None,
    ) -> None:
        super().__init__()
        self.encoder = reference.Encoder() if encoder is None else encoder
        self.decoder = reference.Decoder(PhasedConvTranspose2d) if decoder is None else decoder
        self.image_side_px = image_side_px
        own_size = getattr(self.encoder, "latent_size", reference.LATENT_SIZE)
        self.latent_size = int(own_size if latent_size is None else latent_size)
        self.texture_size = int(getattr(self.encoder, "texture_size", 0))
        self.card = ModelCard(image_side_px=image_side_px, latent_size=self.latent_size)
        self.readout: Readout | None = None
        self.calibration: Calibration | None = None
        in_channels_last(self)

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.parameters()).device

    def encode(self, images: Tensor) -> Posterior:
        """The approximate posterior q(z | x) of each image (Kingma & Welling 2014, eq. 9).

        images: (B, 3, 254, 254) float32 in [0, 1].
        Raises ImageSizeError for any other shape.
        """
        self._check(images)
        mu, log_var = self.encoder(images)
        return Posterior(_full(mu), _full(log_var))

    def decode(self, z: Tensor) -> Tensor:
        """Logits of the pixels' means, (B, 3, 254, 254) float32, for latents z (B, 512) float32.

        Raises ImageSizeError for latents of another shape.
        """
        if z.ndim != 2 or z.shape[1] != self.latent_size:
            raise ImageSizeError(
                f"latents have shape {tuple(z.shape)}; the network takes (B, {self.latent_size})."
            )
        return _full(self.decoder(z))

    @staticmethod
    def reparameterize(
        mu: Tensor,
        log_var: Tensor,
        generator: Generator | None = None,
        *,
        noise: Tensor | None = None,
    ) -> Tensor:
        """A random latent of the posterior; see `vaeneer.model.vae.reparameterize`."""
        return reparameterize(mu, log_var, generator, noise=noise)

    def forward(
        self, images: Tensor, generator: Generator | None = None, *, noise: Tensor | None = None
    ) -> VAEOutput:
        """Encode, choose a latent (sampled in training mode, the mean in eval mode), decode.

        images: (B, 3, 254, 254) float32 in [0, 1]; noise: (B, 512), or drawn from `generator`.
        Raises ImageSizeError for any other shape.
        """
        posterior = self.encode(images)
        mu, log_var = posterior.mu, posterior.log_var
        z = self.reparameterize(mu, log_var, generator, noise=noise) if self.training else mu
        return VAEOutput(self.decode(z), mu, log_var, z)

    def reconstruct(self, images: Tensor) -> Tensor:
        """Decode the posterior mean of each image: (B, 3, 254, 254) float32 in [0, 1], as given.

        In eval mode and without gradients, like `sample` and `representation`.
        """
        with eval_mode(self):
            return self.decode(self.encode(images).mu).sigmoid()

    def sample(
        self, count: int, generator: Generator | None = None, *, temperature: float = 1.0
    ) -> Tensor:
        """Decode `count` random latents of the prior N(0, I): (count, 3, 254, 254) in [0, 1].

        temperature: the scale of the latents. They are drawn on the CPU, so that a generator
        gives the same ones on every device.
        """
        weights = next(self.parameters())
        z = torch.randn(count, self.latent_size, generator=generator, dtype=weights.dtype)
        with eval_mode(self):
            return self.decode((temperature * z).to(weights.device)).sigmoid()

    def representation(
        self,
        images: Tensor,
        *,
        latent: Literal["mean", "sample"] = "mean",
        generator: Generator | None = None,
    ) -> Tensor:
        """The latent that stands for each image, (B, 512) float32.

        `latent="mean"` is the posterior's mean; "sample" is as in the reference, another answer
        at each call. images as for `encode`. Raises SettingsError for any other word.
        """
        if latent not in ("mean", "sample"):
            raise SettingsError(f"latent is {latent!r}; use mean or sample.")
        with eval_mode(self):
            posterior = self.encode(images)
        return posterior.mu if latent == "mean" else posterior.sample(generator)

    def texture(self, images: Tensor) -> Tensor:
        """The part of the posterior mean that says which surface it is, (B, K) float32.

        K is `texture_size`: the last latents, in standard deviations of their posterior, so that
        what is known better counts more; where that is 0, all latents as they are. In eval mode
        and without gradients. images as for `encode`.
        """
        alone = getattr(self.encoder, "texture", None)
        with eval_mode(self):
            if alone is None:
                posterior = self.encode(images)
                last = slice(-self.texture_size, None)  # -0: all
                mu, log_var = posterior.mu[:, last], posterior.log_var[:, last]
            else:
                self._check(images)
                mu, log_var = (_full(x) for x in alone(images))  # without the spatial part
            return mu * (-0.5 * log_var).exp() if self.texture_size else mu

    def _check(self, images: Tensor) -> None:
        side = self.image_side_px
        if images.ndim != 4 or images.shape[1:] != (3, side, side):
            raise ImageSizeError(
                f"images have shape {tuple(images.shape)}, not (B, 3, {side}, {side})."
            )


def _full(values: Tensor) -> Tensor:
    """What autocast lowered, back in float32."""
    return values.float() if values.dtype in (torch.bfloat16, torch.float16) else values
