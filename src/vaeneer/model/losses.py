"""Reconstruction, KL and ELBO per image, in nats; contrastive terms of crops of a surface."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import mse_loss, softplus

from vaeneer.errors import SettingsError
from vaeneer.model.vae import Posterior, VAEOutput
from vaeneer.settings import Recipe

ReconstructionLoss = Literal["bce", "mse"]
_LEAST_SQUARE = 1e-6  # added to squared norms: a vector near 0 has a finite gradient
_VARIANCE_FLOOR = 1e-4  # Bardes et al. 2022, section 4.1, as are the three weights
_INVARIANCE, _VARIANCE, _COVARIANCE = 25.0, 25.0, 1.0


@dataclass(frozen=True)
class ElboTerms:
    """The two terms of the negative ELBO of each image, (B,) float32, nats."""

    reconstruction_nats: Tensor
    kl_nats: Tensor

    def total_nats(self, beta: float | Tensor = 1.0) -> Tensor:
        """reconstruction + beta * KL, (B,) nats; beta 1 is the negative ELBO."""
        return self.reconstruction_nats + beta * self.kl_nats

    def detach(self) -> ElboTerms:
        """The same figures without their graph."""
        return ElboTerms(self.reconstruction_nats.detach(), self.kl_nats.detach())


def bce_nats(logits: Tensor, images: Tensor) -> Tensor:
    """Binary cross entropy summed over an image's pixels, (B,) nats (seed.md, "Loss").

    logits, images: (B, 3, H, W); images in [0, 1]. Computed on logits in float32, since
    plain BCE of probabilities loses precision near 0 and 1. The form log(1 + e^x) - x t takes
    half the time of PyTorch's own on a CPU.
    """
    x = logits.float()
    return (softplus(x) - x * images.float()).sum((1, 2, 3))


def mse_nats(logits: Tensor, images: Tensor) -> Tensor:
    """Squared errors summed over an image's pixels, (B,).

    This is, less its constant, the negative log likelihood in nats of a Gaussian of variance 1/2
    around sigmoid(logits). logits, images: (B, 3, H, W); images in [0, 1].
    """
    return (logits.float().sigmoid() - images.float()).square().sum((1, 2, 3))


def kl_per_latent_nats(mu: Tensor, log_var: Tensor) -> Tensor:
    """KL(q(z | x) || N(0, I)) of each latent, (B, latent) nats.

    -0.5 * (1 + log_var - mu^2 - exp(log_var)): seed.md, "Loss"; Kingma & Welling 2014, app. B.
    """
    return -0.5 * (1 + log_var - mu.pow(2) - log_var.exp())


def elbo_terms(output: VAEOutput, images: Tensor, loss: ReconstructionLoss = "bce") -> ElboTerms:
    """Both terms of the negative ELBO of each image.

    output: what `VAE.forward` gave for images (B, 3, H, W) float32 in [0, 1].
    Raises SettingsError for an unknown loss.
    """
    if loss not in ("bce", "mse"):
        raise SettingsError(f"loss is {loss!r}; use bce or mse.")
    reconstruct = bce_nats if loss == "bce" else mse_nats
    return ElboTerms(
        reconstruct(output.logits, images),
        kl_per_latent_nats(output.mu.float(), output.log_var.float()).sum(1),
    )


def consistency_of(
    posterior: Posterior | VAEOutput, assets: Tensor, recipe: Recipe, texture_size: int = 0
) -> Tensor | None:
    """The term that a recipe asks for: (B,) float32, or None where it asks for none.

    `infonce` and `kl` are in nats, `vicreg` has no unit. posterior: of n * recipe.views crops, the
    views of one surface side by side. assets: (B,) int64, equal for crops of one surface.
    """
    if recipe.consistency == "off":
        return None
    size = texture_size or posterior.mu.shape[1]
    mu, log_var = posterior.mu[:, -size:].float(), posterior.log_var[:, -size:].float()
    with torch.autocast(mu.device.type, enabled=False):
        if recipe.consistency == "infonce":
            drawn = posterior.z[:, -size:].float() if isinstance(posterior, VAEOutput) else mu
            # A texture part is compared in standard deviations of its posterior, as it is searched.
            units = (-0.5 * log_var.detach()).exp() if texture_size else 1.0
            return infonce_nats(drawn * units, assets, recipe.temperature)
        if recipe.consistency == "vicreg":
            return vicreg(mu, recipe.views)
        return symmetric_kl_nats(mu, log_var, recipe.views)


def infonce_nats(vectors: Tensor, assets: Tensor, temperature: float) -> Tensor:
    """How hard it is to find a crop's own surface among the batch, (B,) nats.

    -log(exp(s_ip / t) / sum_a exp(s_ia / t)), its mean over the other crops p of the surface, a all
    crops but i, s cosines of the centred vectors (InfoNCE, van den Oord et al. 2018; with several
    views, supervised contrastive learning, Khosla et al. 2020, eq. 2). Crops of two images of one
    asset are of one surface. 0 for a crop that is alone.
    vectors: (B, K) float32; assets: (B,).
    """
    centred = vectors - vectors.mean(0)
    unit = centred * (centred.square().sum(1, keepdim=True) + _LEAST_SQUARE).rsqrt()
    itself = torch.eye(len(unit), dtype=torch.bool, device=unit.device)
    cosines = (unit @ unit.T / temperature).masked_fill(itself, -1e9)  # (B, B)
    same = ((assets[:, None] == assets) & ~itself).float()  # (B, B)
    surprise = cosines.logsumexp(1, keepdim=True) - cosines  # (B, B)
    return (same * surprise).sum(1) / same.sum(1).clamp_min(1)


def vicreg(vectors: Tensor, views: int) -> Tensor:
    """Variance, invariance and covariance of the views (Bardes et al. 2022), (B,), all alike.

    As in the authors' program: each term is a mean over the latents too. Each view is compared
    with the next, the last with the first. vectors: (n * views, K) float32.
    """
    z = vectors.unflatten(0, (-1, views))  # (n, views, K)
    invariance = mse_loss(z, z.roll(1, dims=1))
    centred = z - z.mean(0)
    least = max(len(z) - 1, 1)  # one surface has no variance; never a division by 0
    deviation = (centred.square().sum(0) / least + _VARIANCE_FLOOR).sqrt()  # (views, K)
    variance = (1 - deviation).relu().mean()
    covariance = torch.einsum("nvj,nvk->vjk", centred, centred) / least  # (views, K, K)
    diagonal = covariance.diagonal(dim1=1, dim2=2)
    crossed = covariance.square().sum((1, 2)) - diagonal.square().sum(1)  # (views,)
    covariances = 2 * crossed.mean() / z.shape[2]
    total: Tensor = _INVARIANCE * invariance + _VARIANCE * variance + _COVARIANCE * covariances
    return total.expand(len(vectors))


def symmetric_kl_nats(mu: Tensor, log_var: Tensor, views: int) -> Tensor:
    """Half of KL(q_a || q_b) + KL(q_b || q_a) of a crop a and the next view b of it, (B,) nats.

    Consistency regularisation of a VAE (Sinha & Dieng 2021), here symmetric, since neither crop is
    the original. mu, log_var: (n * views, K) float32.
    """
    mu, log_var = (x.unflatten(0, (-1, views)) for x in (mu, log_var))  # (n, views, K)
    next_mu, next_log_var = mu.roll(-1, dims=1), log_var.roll(-1, dims=1)
    apart = (mu - next_mu).square()
    ratio = (0.5 * (log_var - next_log_var)).sinh().square()  # of the variances, both ways
    nats = 0.25 * apart * ((-log_var).exp() + (-next_log_var).exp()) + ratio
    return nats.sum(2).flatten()
