"""What a VAE promises: exact sizes, calm eval mode, seeded samples."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import vaeneer
from vaeneer.errors import ImageSizeError, SettingsError
from vaeneer.model.vae import VAE, eval_mode


@pytest.fixture(scope="module")
def vae() -> VAE:
    torch.manual_seed(3)
    return VAE().eval()


@pytest.fixture(scope="module")
def images() -> torch.Tensor:
    return torch.rand(5, 3, 254, 254, generator=torch.Generator().manual_seed(4))


def test_the_contract_of_the_public_name(images: torch.Tensor) -> None:
    network = vaeneer.VAE()
    posterior = network.encode(images[:2])
    assert posterior.mu.shape == posterior.log_var.shape == (2, 512)
    assert network.decode(posterior.mu).shape == (2, 3, 254, 254)
    output = network(images[:2])
    assert output.z.shape == output.mu.shape == output.log_var.shape == (2, 512)
    assert torch.equal(output.reconstruction, output.logits.sigmoid())


def test_a_batch_is_as_many_batches_of_one_in_eval_mode(vae: VAE, images: torch.Tensor) -> None:
    with torch.no_grad():
        whole = vae(images)
        alone = [vae(images[i : i + 1]) for i in range(len(images))]
    for name in ("logits", "mu", "log_var", "z"):
        single = torch.cat([getattr(output, name) for output in alone])
        assert torch.allclose(getattr(whole, name), single, atol=1e-5)


def test_eval_mode_takes_the_mean_and_training_mode_samples(images: torch.Tensor) -> None:
    network = VAE()
    first, second = network(images), network(images)
    assert not torch.equal(first.z, first.mu)
    assert not torch.equal(first.z, second.z)
    calm = network.eval()(images)
    assert torch.equal(calm.z, calm.mu)


@settings(deadline=None, max_examples=25)
@given(st.integers(150, 300), st.integers(150, 300))
def test_any_other_size_is_refused(height: int, width: int) -> None:
    if (height, width) != (254, 254):
        with pytest.raises(ImageSizeError, match="254"):
            VAE().encode(torch.zeros(1, 3, height, width))


@pytest.mark.parametrize("shape", [(3, 254, 254), (1, 1, 254, 254), (1, 4, 254, 254)])
def test_other_ranks_and_channels_are_refused(vae: VAE, shape: tuple[int, ...]) -> None:
    with pytest.raises(ImageSizeError):
        vae.encode(torch.zeros(shape))


@pytest.mark.parametrize("shape", [(512,), (1, 511), (1, 512, 1)])
def test_latents_of_another_shape_are_refused(vae: VAE, shape: tuple[int, ...]) -> None:
    with pytest.raises(ImageSizeError, match="512"):
        vae.decode(torch.zeros(shape))


def test_samples_of_the_prior_follow_the_generator(vae: VAE) -> None:
    first = vae.sample(3, torch.Generator().manual_seed(1))
    again = vae.sample(3, torch.Generator().manual_seed(1))
    other = vae.sample(3, torch.Generator().manual_seed(2))
    assert first.shape == (3, 3, 254, 254)
    assert 0 <= first.min() <= first.max() <= 1
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_representation_is_the_mean_and_on_demand_the_seeds_sample(
    vae: VAE, images: torch.Tensor
) -> None:
    mean = vae.representation(images)
    assert torch.equal(mean, vae.encode(images).mu)
    sampled = vae.representation(images, latent="sample")
    assert not torch.equal(sampled, vae.representation(images, latent="sample"))
    seeded = vae.representation(images, latent="sample", generator=torch.Generator().manual_seed(1))
    again = vae.representation(images, latent="sample", generator=torch.Generator().manual_seed(1))
    assert torch.equal(seeded, again)


def test_reconstruct_decodes_the_mean(vae: VAE, images: torch.Tensor) -> None:
    with torch.no_grad():
        assert torch.equal(vae.reconstruct(images), vae(images).reconstruction)


def test_eval_mode_is_left_as_it_was_found_even_after_an_error() -> None:
    network = VAE().train()

    def fail() -> None:
        with eval_mode(network):
            assert not network.training
            raise RuntimeError("as planned")

    with pytest.raises(RuntimeError, match="as planned"):
        fail()
    assert network.training


def test_representations_leave_a_network_in_training_as_it_was(images: torch.Tensor) -> None:
    network = VAE().train()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    network.representation(images)
    network.reconstruct(images)
    network.sample(1)
    assert network.training
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())


def test_an_unknown_latent_is_refused(vae: VAE, images: torch.Tensor) -> None:
    with pytest.raises(SettingsError, match="mode"):
        vae.representation(images, latent="mode")  # type: ignore[arg-type]


class TwoParts(torch.nn.Module):
    """An encoder of 3 spatial and 2 texture latents; counts how often both are asked for."""

    texture_size = 2

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(()))
        self.asked_whole = 0

    def texture(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        mu = torch.stack([images.mean((1, 2, 3)), images.std((1, 2, 3))], dim=1) * self.weight
        return mu, torch.zeros_like(mu)

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        self.asked_whole += 1
        mu = torch.cat([images[:, :, 0, 0], self.texture(images)[0]], dim=1)
        return mu, torch.zeros_like(mu)


class LastLatents(TwoParts):
    """The same without a way to compute the texture part alone."""

    texture = None  # type: ignore[assignment]

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        self.asked_whole += 1
        mu = torch.cat([images[:, :, 0, 0], TwoParts.texture(self, images)[0]], dim=1)
        return mu, torch.zeros_like(mu)


def test_the_texture_part_is_the_last_latents(images: torch.Tensor) -> None:
    for encoder, whole in ((TwoParts(), 0), (LastLatents(), 1)):
        vae = VAE(encoder, latent_size=5)
        assert vae.texture_size == 2
        found = vae.texture(images)
        assert encoder.asked_whole == whole
        assert not found.requires_grad
        assert torch.equal(found, vae.encode(images).mu[:, 3:])
        with pytest.raises(ImageSizeError, match="254"):
            vae.texture(images[:, :, :250])


def test_without_a_texture_part_all_latents_are_taken(vae: VAE, images: torch.Tensor) -> None:
    assert vae.texture_size == 0
    assert torch.equal(vae.texture(images), vae.representation(images))
