"""The reference network is that of seed.md: names, shapes, layers, outputs and gradients."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import Tensor

import reference_numbers
from vaeneer.model.losses import bce_nats, elbo_terms, kl_per_latent_nats, mse_nats
from vaeneer.model.vae import VAE, VAEOutput, reparameterize

# seed.md, "Model", letter by letter
PRINTED = """VAE(
  (encoder): encoder(
    (conv1): Conv2d(3, 32, kernel_size=(3, 3), stride=(2, 2))
    (conv2): Conv2d(32, 64, kernel_size=(3, 3), stride=(2, 2))
    (bn1): BatchNorm2d(64, eps=1e-05, momentum=0.1, affine=True, track_running_stats=True)
    (conv3): Conv2d(64, 64, kernel_size=(3, 3), stride=(2, 2))
    (conv4): Conv2d(64, 128, kernel_size=(3, 3), stride=(2, 2))
    (bn2): BatchNorm2d(128, eps=1e-05, momentum=0.1, affine=True, track_running_stats=True)
    (conv5): Conv2d(128, 128, kernel_size=(3, 3), stride=(2, 2))
    (conv6): Conv2d(128, 256, kernel_size=(3, 3), stride=(2, 2))
    (conv7): Conv2d(256, 256, kernel_size=(1, 1), stride=(1, 1))
    (mu): Linear(in_features=1024, out_features=512, bias=True)
    (log_var): Linear(in_features=1024, out_features=512, bias=True)
  )
  (decoder): decoder(
    (fc): Linear(in_features=512, out_features=1024, bias=True)
    (t_conv0): ConvTranspose2d(256, 256, kernel_size=(1, 1), stride=(1, 1))
    (t_conv1): ConvTranspose2d(256, 128, kernel_size=(4, 4), stride=(2, 2))
    (t_conv2): ConvTranspose2d(128, 128, kernel_size=(4, 4), stride=(2, 2))
    (t_conv3): ConvTranspose2d(128, 64, kernel_size=(4, 4), stride=(2, 2))
    (t_conv4): ConvTranspose2d(64, 64, kernel_size=(4, 4), stride=(2, 2))
    (t_conv5): ConvTranspose2d(64, 32, kernel_size=(4, 4), stride=(2, 2))
    (t_conv6): ConvTranspose2d(32, 3, kernel_size=(4, 4), stride=(2, 2))
  )
)"""
Numbers = dict[str, dict[str, list[float]]]
NO_TRUE_GRADIENT = ("encoder.conv2.bias", "encoder.conv4.bias")  # a batch norm follows


@pytest.fixture(scope="module")
def stored() -> Numbers:
    found: Numbers = json.loads(
        (Path(__file__).parent / "data" / "reference_numbers.json").read_text()
    )
    return found


@pytest.fixture
def vae() -> VAE:
    network = VAE()
    weights = reference_numbers.fixed_weights()
    network.load_state_dict(
        {k: v.float() if v.is_floating_point() else v for k, v in weights.items()}
    )
    return network


def run(vae: VAE, *, sampled: bool) -> tuple[VAEOutput, Tensor]:
    images = reference_numbers.fixed_images().float()
    posterior = vae.encode(images)
    z = posterior.mu
    if sampled:
        z = z + (0.5 * posterior.log_var).exp() * reference_numbers.fixed_noise().float()
    return VAEOutput(vae.decode(z), posterior.mu, posterior.log_var, z), images


def close(found: Tensor, stored: list[float], tolerance: float = 2e-4) -> None:
    flat = found.detach().double().flatten()
    places = torch.linspace(0, len(flat) - 1, 5).round().long()
    root_mean_square = flat.square().mean().sqrt().item()
    assert root_mean_square == pytest.approx(stored[1], rel=tolerance)
    entries = [flat.mean().item(), *flat[places].tolist()]
    for value, expected in zip(entries, [stored[0], *stored[2:]], strict=True):
        assert value == pytest.approx(expected, rel=tolerance, abs=tolerance * stored[1])


def test_state_dict_has_the_seeds_44_names_in_order_with_their_shapes() -> None:
    found = {name: list(value.shape) for name, value in VAE().state_dict().items()}
    assert list(found) == list(reference_numbers.shapes())
    assert found == reference_numbers.shapes()
    assert len(found) == 44


def test_parameter_count() -> None:
    assert sum(weight.numel() for weight in VAE().parameters()) == 3_297_571


def test_prints_as_in_seed_md() -> None:
    assert repr(VAE()) == PRINTED


def test_outputs_and_losses_in_eval_mode(vae: VAE, stored: Numbers) -> None:
    output, images = run(vae.eval(), sampled=False)
    close(output.mu, stored["eval"]["mu"])
    close(output.log_var, stored["eval"]["log_var"])
    close(output.reconstruction, stored["eval"]["answer"])
    close(bce_nats(output.logits, images), stored["eval"]["bce"], 1e-6)
    close(mse_nats(output.logits, images), stored["eval"]["mse"], 1e-6)
    close(kl_per_latent_nats(output.mu, output.log_var).sum(1), stored["eval"]["kl"])


def test_loss_and_gradients_in_training_mode(vae: VAE, stored: Numbers) -> None:
    output, images = run(vae.train(), sampled=True)
    terms = elbo_terms(output, images)
    close(terms.reconstruction_nats, stored["train"]["bce"], 1e-6)
    close(terms.kl_nats, stored["train"]["kl"])
    terms.total_nats().sum().backward()
    for name, weight in vae.named_parameters():
        if name not in NO_TRUE_GRADIENT:
            assert weight.grad is not None
            close(weight.grad, stored["gradients"][name], 2e-3)


def test_initial_weights_come_in_the_seeds_random_order() -> None:
    """The constructor order is the random-number order: the last bias is the last draw."""
    torch.manual_seed(0)
    first = torch.nn.Conv2d(3, 32, kernel_size=3, stride=2)
    torch.manual_seed(0)
    network = VAE()
    assert torch.equal(network.encoder.conv1.weight, first.weight)
    after = torch.rand(1)
    torch.manual_seed(0)
    layers = [
        *(torch.nn.Conv2d(i, o, 3) for i, o in reference_numbers.ENCODER),
        torch.nn.Conv2d(256, 256, 1),
        torch.nn.Linear(1024, 512),
        torch.nn.Linear(1024, 512),
        torch.nn.Linear(512, 1024),
        torch.nn.ConvTranspose2d(256, 256, 1),
        *(torch.nn.ConvTranspose2d(i, o, 4) for i, o in reference_numbers.DECODER),
    ]
    assert torch.equal(network.decoder.t_conv6.bias, layers[-1].bias)
    assert torch.equal(after, torch.rand(1))


def test_reparameterize_is_mu_plus_sigma_times_noise() -> None:
    mu, log_var = torch.tensor([[1.0, -2.0]]), torch.tensor([[0.0, 2.0]])
    z = reparameterize(mu, log_var, torch.Generator().manual_seed(1))
    noise = torch.randn((1, 2), generator=torch.Generator().manual_seed(1))
    assert torch.allclose(z, mu + torch.tensor([[1.0, torch.e]]) * noise)
