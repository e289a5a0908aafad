"""Losses against other implementations of the same formulas."""

from __future__ import annotations

import math

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.distributions import Bernoulli, Normal, kl_divergence
from torch.nn import functional as F

from vaeneer.data.loader import pixel_entropy_nats, to_tensor
from vaeneer.model.losses import bce_nats, elbo_terms, kl_per_latent_nats, mse_nats
from vaeneer.model.vae import VAEOutput


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


def test_bce_is_the_seeds_per_image() -> None:
    logits, images = random(3, 3, 8, 8) * 6 - 3, random(3, 3, 8, 8, seed=1)
    expected = F.binary_cross_entropy(logits.sigmoid(), images, reduction="none").sum((1, 2, 3))
    assert torch.allclose(bce_nats(logits, images), expected, rtol=1e-5)


def test_bce_stays_finite_and_exact_for_sure_answers() -> None:
    logits = torch.tensor([-200.0, 200.0, 200.0]).reshape(1, 3, 1, 1)
    images = torch.tensor([0.0, 1.0, 0.0]).reshape(1, 3, 1, 1)
    assert bce_nats(logits, images).item() == 200.0


def test_mse_is_a_gaussians_likelihood_of_variance_one_half_less_its_constant() -> None:
    logits, images = random(2, 3, 8, 8) * 6 - 3, random(2, 3, 8, 8, seed=1)
    gaussian = Normal(logits.sigmoid(), math.sqrt(0.5))
    constant = 0.5 * math.log(2 * math.pi * 0.5)
    expected = (-gaussian.log_prob(images) - constant).sum((1, 2, 3))
    assert torch.allclose(mse_nats(logits, images), expected, rtol=1e-4)


@settings(deadline=None)
@given(st.integers(0, 1000))
def test_kl_is_that_of_two_gaussians(seed: int) -> None:
    mu, log_var = random(2, 7, seed=seed) * 4 - 2, random(2, 7, seed=seed + 1) * 4 - 2
    expected = kl_divergence(Normal(mu, (0.5 * log_var).exp()), Normal(0.0, 1.0))
    found = kl_per_latent_nats(mu, log_var)
    assert torch.allclose(found, expected, atol=1e-5)
    assert (found > -1e-6).all()


def test_the_elbo_weighs_only_the_kl_with_beta() -> None:
    images, latents = random(2, 3, 8, 8), random(2, 5)
    output = VAEOutput(random(2, 3, 8, 8, seed=2), latents, latents, latents)
    terms = elbo_terms(output, images)
    assert torch.equal(terms.total_nats(), terms.reconstruction_nats + terms.kl_nats)
    assert torch.allclose(terms.total_nats(0.5), terms.reconstruction_nats + 0.5 * terms.kl_nats)
    assert torch.equal(
        elbo_terms(output, images, "mse").reconstruction_nats, mse_nats(output.logits, images)
    )


def test_the_entropy_is_the_least_that_bce_can_be() -> None:
    pixels = (random(6, 6, 3).numpy() * 255).astype("uint8")
    images = to_tensor([pixels])
    found = pixel_entropy_nats(pixels)
    assert math.isclose(found, Bernoulli(images).entropy().sum().item(), rel_tol=1e-5)
    perfect = bce_nats(images.clamp(1e-7, 1 - 1e-7).logit(), images).item()
    assert math.isclose(found, perfect, rel_tol=1e-4)


def test_grey_costs_ln_2_for_each_dimension() -> None:
    images = random(1, 3, 254, 254)
    assert math.isclose(
        bce_nats(torch.zeros_like(images), images).item(), 193_548 * math.log(2), rel_tol=1e-6
    )
