"""How improved training starts: sizes kept, smooth pictures, the mean colour."""

from __future__ import annotations

import pytest
import torch
from torch import Generator, Tensor, nn

from vaeneer.model import surface
from vaeneer.model.vae import VAE, eval_mode
from vaeneer.model.weights import scaled_start

MEAN = (0.5, 0.4, 0.3)


def started(seed: int = 0, vae: VAE | None = None) -> VAE:
    vae = VAE() if vae is None else vae
    scaled_start(vae, MEAN, Generator().manual_seed(seed))
    return vae


def images(count: int = 4) -> Tensor:
    return torch.rand(count, 3, 254, 254, generator=Generator().manual_seed(1))


def test_weights_depend_on_the_generator_alone() -> None:
    torch.manual_seed(1)
    first = started().state_dict()
    torch.manual_seed(2)
    second = started().state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)
    other = started(1).state_dict()
    assert not torch.equal(first["encoder.conv1.weight"], other["encoder.conv1.weight"])


def test_nothing_is_drawn_from_the_global_random_numbers() -> None:
    vae = VAE()
    torch.manual_seed(0)
    expected = torch.rand(1)
    torch.manual_seed(0)
    started(vae=vae)
    assert torch.equal(torch.rand(1), expected)


def test_latents_that_say_nothing_are_the_mean_colour() -> None:
    vae = started()
    with eval_mode(vae):
        answer = vae.decode(torch.zeros(1, 512)).sigmoid()
    assert answer.mean((0, 2, 3)).tolist() == pytest.approx(MEAN, abs=1e-5)
    assert answer.amax((0, 2, 3)).tolist() == pytest.approx(MEAN, abs=1e-5)


def test_the_signal_keeps_its_size_through_the_layers() -> None:
    """PyTorch's own start shrinks it to almost nothing, which is the reference plateau."""
    sizes = []
    for vae in (VAE(), started()):
        with eval_mode(vae):
            logits = vae.decode(torch.randn(8, 512, generator=Generator().manual_seed(0)))
        sizes.append(logits.std(0).mean().item())
    assert sizes[0] < 0.02
    assert 0.2 < sizes[1] < 2


def test_the_first_pictures_are_smooth() -> None:
    vae = started()
    with eval_mode(vae):
        logits = vae.decode(torch.randn(8, 512, generator=Generator().manual_seed(0)))
    steps = logits.diff(dim=3).square().mean()
    assert steps < 0.02 * logits.var(0).mean()


def test_transposed_convolutions_keep_a_level() -> None:
    torch.manual_seed(0)
    vae = started()
    x = torch.ones(1, 256, 6, 6)
    layer = vae.decoder.t_conv1
    inside = layer(x)[0, :, 2:-2, 2:-2]
    assert torch.allclose(inside, inside[:, :1, :1].expand_as(inside), atol=1e-5)


def test_the_surface_network_stays_the_transform_coder() -> None:
    vae = VAE(surface.Encoder(), surface.Decoder())
    before = {name: value.clone() for name, value in vae.state_dict().items()}
    with eval_mode(vae):
        answer = vae(images()).logits
    started(vae=vae)
    with eval_mode(vae):
        assert torch.equal(vae(images()).logits, answer)
    changed = [n for n, v in vae.state_dict().items() if not torch.equal(v, before[n])]
    layers = [n for n, m in vae.named_modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    assert changed
    assert {name.rpartition(".")[0] for name in changed} <= set(layers)
