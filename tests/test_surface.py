"""The surface network: frozen names, the cosine basis, and a start that is already useful."""

from __future__ import annotations

import hashlib
import json

import numpy as np
import pytest
import torch
from torch import Generator, Tensor
from torch.nn.functional import binary_cross_entropy

from vaeneer.data.loader import pixel_entropy_nats, to_tensor
from vaeneer.data.synthetic.synthesize import FAMILIES
from vaeneer.data.synthetic.synthesize import surface as procedural_surface
from vaeneer.model import surface
from vaeneer.model import surface as surface_module
from vaeneer.model.losses import elbo_terms
from vaeneer.model.vae import VAE, VAEOutput, eval_mode


@pytest.fixture(scope="module")
def vae() -> VAE:
    torch.manual_seed(0)
    return VAE(surface.Encoder(), surface.Decoder())


def images(count: int = 2) -> Tensor:
    return torch.rand(count, 3, 254, 254, generator=Generator().manual_seed(1))


def test_shapes_and_types(vae: VAE) -> None:
    with eval_mode(vae):
        posterior = vae.encode(images())
        logits = vae.decode(posterior.mu)
    assert posterior.mu.shape == posterior.log_var.shape == (2, 640)
    assert logits.shape == (2, 3, 254, 254)
    assert {x.dtype for x in (posterior.mu, posterior.log_var, logits)} == {torch.float32}


def test_float32_comes_out_of_bfloat16_too(vae: VAE) -> None:
    with eval_mode(vae), torch.autocast("cpu", torch.bfloat16):
        posterior = vae.encode(images())
        logits = vae.decode(posterior.mu)
    assert {x.dtype for x in (*vars(posterior).values(), logits)} == {torch.float32}


def test_an_image_has_the_same_answer_in_any_batch(vae: VAE) -> None:
    x = images(3)
    with eval_mode(vae):
        together, alone = vae(x), vae(x[1:2])
        again = vae(x)
    assert torch.equal(together.logits, again.logits)
    assert torch.allclose(together.mu[1:2], alone.mu, atol=1e-4)
    assert torch.allclose(together.logits[1:2], alone.logits, atol=1e-3)


def test_names_and_shapes_are_frozen(vae: VAE) -> None:
    """Model files of this architecture exist: another layout needs another name."""
    names = {name: list(value.shape) for name, value in vae.state_dict().items()}
    digest = hashlib.sha256(json.dumps(names, sort_keys=True).encode()).hexdigest()
    assert (len(names), digest[:16]) == (61, "3070a1e63a167fdd")


def test_everything_that_matters_is_in_the_state_dict(vae: VAE) -> None:
    with torch.device("meta"):
        empty = VAE(surface.Encoder(), surface.Decoder())
    empty.load_state_dict(vae.state_dict(), assign=True)
    with eval_mode(vae), eval_mode(empty):
        assert torch.equal(empty(images()).logits, vae(images()).logits)


def test_each_weight_has_a_gradient() -> None:
    torch.manual_seed(0)
    vae = VAE(surface.Encoder(), surface.Decoder())
    with torch.no_grad():
        for weight in vae.parameters():
            if not weight.any():  # what begins at 0 hides what lies before it
                weight.normal_(std=0.01)
    output = vae(images(), Generator().manual_seed(0))
    elbo_terms(output, images()).total_nats().sum().backward()
    silent = [n for n, w in vae.named_parameters() if w.grad is None or not w.grad.any()]
    assert silent == []


def test_cosines_are_orthonormal() -> None:
    waves = surface_module.cosines(254, np.arange(254) + 0.5)
    assert np.allclose(waves @ waves.T, np.eye(254))
    colours = surface._COLOURS
    assert np.allclose(colours @ colours.T, np.eye(3))


def test_the_coefficients_are_different_and_begin_with_the_mean_colour() -> None:
    known = surface_module.coefficients()
    assert len(set(known.place.tolist())) == surface_module.COEFFICIENTS == 508
    constant = [0, surface_module.FREQUENCIES**2, 2 * surface_module.FREQUENCIES**2]
    assert set(constant) <= set(known.place.tolist())
    assert known.patterns.shape == (4, 508)


def test_rows_and_columns_are_treated_alike() -> None:
    y, x = np.divmod(
        surface_module.coefficients().place[: -sum(surface_module._CHROMA)],
        surface_module.FREQUENCIES,
    )
    there = set(zip(y.tolist(), x.tolist(), strict=True))
    assert len(there - {(b, a) for a, b in there}) <= 1  # 504 is cut somewhere


def test_one_colour_is_coded_as_it_is(vae: VAE) -> None:
    colour = torch.tensor([0.7, 0.4, 0.2])
    flat = colour[:, None, None].expand(1, 3, 254, 254).contiguous()
    with eval_mode(vae):
        answer = vae(flat).reconstruction
    assert torch.allclose(answer, flat, atol=0.01)


def test_untrained_it_beats_the_own_mean_colour_of_procedural_surfaces(vae: VAE) -> None:
    x = to_tensor([procedural_surface(family, seed=5, side_px=254) for family in FAMILIES])
    grey = torch.full_like(x, 0.5)
    own_mean = x.mean((2, 3), keepdim=True).expand_as(x)
    untrained = excess(vae, x)
    assert untrained < 0.25 * one_colour_excess(grey, x)
    assert untrained < one_colour_excess(own_mean, x)


def excess(vae: VAE, x: Tensor) -> float:
    with eval_mode(vae):
        posterior = vae.encode(x)
        z = posterior.sample(Generator().manual_seed(0))
        output = VAEOutput(vae.decode(z), posterior.mu, posterior.log_var, z)
    return (elbo_terms(output, x).total_nats().double() - entropy(x)).mean().item()


def one_colour_excess(p: Tensor, x: Tensor) -> float:
    nats = binary_cross_entropy(p.double(), x.double(), reduction="none").flatten(1).sum(1)
    return (nats - entropy(x)).mean().item()


def entropy(x: Tensor) -> Tensor:
    pixels = (x * 255).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()
    return torch.tensor([pixel_entropy_nats(image) for image in pixels])
