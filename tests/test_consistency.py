"""Terms that ask crops of one surface to agree: known values, plain forms, finite gradients."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.distributions import Independent, Normal, kl_divergence

from vaeneer.model.losses import consistency_of, infonce_nats, symmetric_kl_nats, vicreg
from vaeneer.model.vae import Posterior
from vaeneer.settings import Recipe

KINDS = ["infonce", "vicreg", "kl"]


def posterior(crops: int, latents: int = 24, seed: int = 0) -> Posterior:
    generator = torch.Generator().manual_seed(seed)
    mu, log_var = torch.randn(2, crops, latents, generator=generator)
    return Posterior(mu.requires_grad_(), log_var.requires_grad_())


def recipe(kind: str, views: int = 3) -> Recipe:
    return Recipe(consistency=kind, views=views, temperature=0.2)  # type: ignore[arg-type]


def slow_infonce(vectors: Tensor, assets: list[int], temperature: float) -> list[float]:
    """Khosla et al. 2020, eq. 2, term by term."""
    z = vectors - vectors.mean(0)
    z = z / z.norm(dim=1, keepdim=True)
    found = []
    for i in range(len(z)):
        others = [a for a in range(len(z)) if a != i]
        below = sum(math.exp(float(z[i] @ z[a]) / temperature) for a in others)
        own = [p for p in others if assets[p] == assets[i]]
        terms = [-math.log(math.exp(float(z[i] @ z[p]) / temperature) / below) for p in own]
        found.append(sum(terms) / len(own) if own else 0.0)
    return found


@pytest.mark.parametrize("assets", [[0, 0, 1, 1, 2, 2], [5, 5, 5, 5, 1, 1], [0, 0, 0, 1, 2, 3]])
def test_infonce_is_its_formula(assets: list[int]) -> None:
    mu = posterior(6).mu.detach()
    found = infonce_nats(mu, torch.tensor(assets), 0.3)
    assert found.tolist() == pytest.approx(slow_infonce(mu.double(), assets, 0.3), abs=1e-5)


def test_infonce_knows_certainty_and_chance() -> None:
    assets = torch.tensor([0, 0, 1, 1, 2, 2, 3, 3])
    apart = torch.eye(4).repeat_interleave(2, 0)
    assert infonce_nats(apart, assets, 0.01).max() < 1e-6
    alike = torch.zeros(8, 4)
    assert infonce_nats(alike, assets, 0.1).tolist() == pytest.approx([math.log(7)] * 8)


def test_two_images_of_one_asset_are_not_held_against_each_other() -> None:
    vectors = torch.randn(6, 8, generator=torch.Generator().manual_seed(1))
    vectors[2:4] = vectors[:2]  # two anchors of one asset, alike
    as_one = infonce_nats(vectors, torch.tensor([0, 0, 0, 0, 1, 1]), 0.05)
    as_two = infonce_nats(vectors, torch.tensor([0, 0, 2, 2, 1, 1]), 0.05)
    assert as_two[:4].mean() > as_one[4:].mean()
    vectors = torch.tensor([[1.0, 0], [1, 0], [1, 0], [1, 0], [-1, 0], [-1, 0]])
    assert infonce_nats(vectors, torch.tensor([0, 0, 0, 0, 1, 1]), 0.1)[:4].tolist() == (
        pytest.approx([math.log(3)] * 4, rel=1e-3)
    ), "what is left is the choice among three right answers"


def test_symmetric_kl_is_that_of_the_gaussians() -> None:
    found = posterior(6)
    gaussians = [
        Independent(Normal(mu, (0.5 * log_var).exp()), 1)
        for mu, log_var in zip(found.mu, found.log_var, strict=True)
    ]
    for views in (2, 3):
        nats = symmetric_kl_nats(found.mu, found.log_var, views)
        for place in range(6):
            one = gaussians[place]
            other = gaussians[place - place % views + (place + 1) % views]
            both = kl_divergence(one, other) + kl_divergence(other, one)
            assert nats[place].item() == pytest.approx(0.5 * both.item(), rel=1e-4)


def test_symmetric_kl_of_equal_posteriors_is_nothing() -> None:
    mu = torch.randn(1, 5).expand(4, 5)
    assert symmetric_kl_nats(mu, torch.zeros(4, 5), 2).tolist() == [0.0] * 4
    apart = torch.tensor([[0.0], [2.0]])
    assert symmetric_kl_nats(apart, torch.zeros(2, 1), 2).tolist() == [2.0, 2.0], "0.5 * 2^2"


def slow_vicreg(x: Tensor, y: Tensor) -> float:
    """Bardes et al. 2022, as in the authors' main_vicreg.py, of two views."""
    invariance = ((x - y) ** 2).mean()
    spread = sum((1 - (v.var(0) + 1e-4).sqrt()).relu().mean() / 2 for v in (x, y))
    crossed = 0.0
    for view in (x, y):
        covariance = torch.cov(view.T)
        crossed += (covariance - covariance.diag().diag()).square().sum() / view.shape[1]
    return float(25 * invariance + 25 * spread + crossed)


def test_vicreg_is_the_authors_own_for_two_views() -> None:
    z = torch.randn(12, 7, generator=torch.Generator().manual_seed(3)) * 0.6
    found = vicreg(z, 2)
    assert found.shape == (12,)
    assert found.unique().numel() == 1
    assert found[0].item() == pytest.approx(slow_vicreg(z[::2], z[1::2]), rel=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_terms_are_float32_with_finite_gradients_under_bfloat16(kind: str) -> None:
    found, assets = posterior(6), torch.tensor([0, 0, 0, 1, 1, 1])
    with torch.autocast("cpu", torch.bfloat16):
        terms = consistency_of(found, assets, recipe(kind))
    assert terms is not None
    assert terms.dtype == torch.float32
    assert terms.shape == (6,)
    exact = consistency_of(found, assets, recipe(kind))
    assert exact is not None
    assert torch.equal(terms, exact)
    terms.mean().backward()
    assert found.mu.grad is not None
    assert found.mu.grad.isfinite().all()
    assert found.mu.grad.abs().sum() > 0


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("crops", [3, 6])
def test_gradients_are_finite_where_all_crops_are_alike(kind: str, crops: int) -> None:
    mu, log_var = torch.zeros(2, crops, 5)
    mu.requires_grad_()
    assets = torch.arange(crops) // 3
    terms = consistency_of(Posterior(mu, log_var), assets, recipe(kind))
    assert terms is not None
    assert terms.isfinite().all()
    terms.sum().backward()
    assert mu.grad is not None
    assert mu.grad.isfinite().all()


@pytest.mark.parametrize("kind", KINDS)
def test_only_the_texture_part_is_asked_where_there_is_one(kind: str) -> None:
    found, assets = posterior(6), torch.tensor([0, 0, 0, 1, 1, 1])
    terms = consistency_of(found, assets, recipe(kind), texture_size=8)
    assert terms is not None
    terms.sum().backward()
    assert found.mu.grad is not None
    assert found.mu.grad[:, :-8].abs().max() == 0
    assert found.mu.grad[:, -8:].abs().min() > 0


def test_off_is_no_term() -> None:
    assert consistency_of(posterior(2), torch.arange(2), Recipe()) is None
