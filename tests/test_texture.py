"""The texture part: statistics that light does not change, and a start that finds surfaces."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from skimage.feature import local_binary_pattern
from torch import Tensor

from conftest import Painter
from vaeneer.data.dataset import open_folder
from vaeneer.data.loader import to_tensor
from vaeneer.data.pixel_cache import PackLayout, open_pack
from vaeneer.data.synthetic.synthesize import FAMILIES
from vaeneer.data.synthetic.synthesize import surface as procedural_surface
from vaeneer.model import texture as texture_module
from vaeneer.model.losses import infonce_nats, kl_per_latent_nats
from vaeneer.model.projection import unit_length
from vaeneer.model.surface import Decoder, Encoder
from vaeneer.model.texture import (
    DIRECTIONS,
    STATISTICS,
    TEXTURE_SIZE,
    Texture,
    TextureStatistics,
    block_sizes,
)
from vaeneer.model.vae import VAE, eval_mode
from vaeneer.progress import Silent
from vaeneer.settings import Recipe, TrainSettings
from vaeneer.training import texture_init
from vaeneer.training.texture_init import (
    learn_from_statistics,
    start_texture,
    texture_crops,
)


@pytest.fixture(scope="module")
def surfaces() -> Tensor:
    """One surface of each family, (n, 3, 508, 508) in [0, 1]."""
    return to_tensor([procedural_surface(family, seed=3, side_px=508) for family in FAMILIES])


def quadrants(images: Tensor, light: torch.Generator | None = None) -> Tensor:
    """Four crops of each image, (n, 4, 3, 254, 254), each relit where a generator is given."""
    crops = images.unfold(2, 254, 254).unfold(3, 254, 254)  # (n, 3, 2, 2, 254, 254)
    crops = crops.permute(0, 2, 3, 1, 4, 5).flatten(1, 2).contiguous()
    return crops if light is None else relit(crops.flatten(0, 1), light).view_as(crops)


def relit(images: Tensor, generator: torch.Generator) -> Tensor:
    """Another gamma and another gain of each channel, never so bright that pixels are clipped."""
    count = len(images)
    gamma = (0.2 * torch.randn(count, 1, 1, 1, generator=generator)).exp()
    gain = 0.5 + 0.5 * torch.rand(count, 3, 1, 1, generator=generator)
    return images**gamma * gain


def blocks(statistics: Tensor) -> dict[str, Tensor]:
    parts = statistics.split(list(block_sizes().values()), 1)
    return dict(zip(block_sizes(), parts, strict=True))


def test_as_many_statistics_as_promised(surfaces: Tensor) -> None:
    found = TextureStatistics()(surfaces[:2, :, :254, :254])
    assert found.shape == (2, STATISTICS)
    assert found.dtype == torch.float32
    assert found.isfinite().all()


def test_flat_black_and_white_images_have_finite_statistics() -> None:
    images = torch.stack([torch.full((3, 254, 254), level) for level in (0.0, 0.5, 1.0)])
    assert TextureStatistics()(images).isfinite().all()


def test_crops_that_the_light_has_made_white_are_alike(surfaces: Tensor) -> None:
    """Whatever rounding leaves of them; and a few grey pixels change little."""
    white = (surfaces[:2, :, :254, :254] * 1e3 + 1).clamp(0, 1)
    specked = white.clone()
    specked[1, :, 100:103, 50:53] = 0.97
    one, other = TextureStatistics()(specked)
    kept = torch.cat([one[6:518], one[518:-252]]) - torch.cat([other[6:518], other[518:-252]])
    assert kept.abs().max() < 0.25
    assert kept.norm() < 0.5


@pytest.mark.parametrize("side", [160, 161, 300])
def test_any_side_from_160_up_gives_all_statistics(surfaces: Tensor, side: int) -> None:
    found = TextureStatistics()(surfaces[:1, :, :side, :side])
    assert found.shape == (1, STATISTICS)
    assert found.isfinite().all()


def test_a_gain_of_each_channel_changes_next_to_nothing(surfaces: Tensor) -> None:
    images = surfaces[:, :, :254, :254]
    dimmed = images * torch.tensor([0.9, 0.7, 0.8]).view(1, 3, 1, 1)
    before, after = (blocks(TextureStatistics()(x)) for x in (images, dimmed))
    for name in before:
        if name != "light":  # which says what the light was
            assert (before[name] - after[name]).abs().mean() < 0.01, name


def test_quarter_turns_and_mirroring_change_no_more_than_another_place(surfaces: Tensor) -> None:
    crops = quadrants(surfaces)
    statistics = TextureStatistics()
    here, elsewhere = statistics(crops[:, 0]), statistics(crops[:, 1])
    for same in (crops[:, 0].rot90(1, (2, 3)), crops[:, 0].flip(3)):
        turned = blocks((statistics(same) - here).abs())
        for name, change in blocks((elsewhere - here).abs()).items():
            assert turned[name].mean() <= change.mean(), name


def test_the_near_patterns_are_those_of_scikit_image(surfaces: Tensor) -> None:
    """On whole numbers; where a neighbour is interpolated, a tie may fall the other way."""
    plane = torch.from_numpy(np.random.default_rng(0).random((64, 64)) * 100).round().float()
    circle = TextureStatistics().near
    signs, _ = texture_module._codes(plane[None, None], circle, 1)
    known = local_binary_pattern(plane.numpy().astype(np.uint8), 8, 1, "uniform")[1:-1, 1:-1]
    assert (signs[0].numpy() == known).mean() > 0.98  # ties of interpolated points may differ


def test_histograms_are_roots_of_shares(surfaces: Tensor) -> None:
    found = blocks(TextureStatistics()(surfaces[:, :, :254, :254]))
    for name, block in found.items():
        if name in texture_module.MOMENTS:
            continue
        assert (block >= 0).all()
        histograms = 4 if name.startswith("colour patterns") else 2 if name.startswith("far") else 1
        assert torch.allclose(block.square().sum(1), torch.tensor(float(histograms)), atol=1e-4)


def described(surfaces: Tensor) -> Tensor:
    """Statistics of four crops of each surface in another light, (n, 4, STATISTICS)."""
    crops = quadrants(surfaces, torch.Generator().manual_seed(1))
    return TextureStatistics()(crops.flatten(0, 1)).unflatten(0, crops.shape[:2])


@pytest.fixture(scope="module")
def statistics(surfaces: Tensor) -> Tensor:
    return described(surfaces)


def fitted(statistics: Tensor) -> Texture:
    torch.manual_seed(0)
    texture = Texture().eval()
    texture.fit(statistics)
    return texture


def test_the_closed_form_finds_unseen_surfaces_in_another_light(surfaces: Tensor) -> None:
    seen = [procedural_surface(f, seed=s, side_px=508) for s in (10, 11) for f in FAMILIES]
    texture = fitted(described(to_tensor(seen)))
    crops = quadrants(surfaces, torch.Generator().manual_seed(2))
    mu, log_var = texture(crops.flatten(0, 1))
    unit = unit_length((mu * (-0.5 * log_var).exp()).detach().numpy())
    cosines = unit @ unit.T
    np.fill_diagonal(cosines, -1)
    owner = np.repeat(np.arange(len(crops)), 4)
    assert (owner[cosines.argmax(1)] == owner).mean() > 0.9


def test_the_posterior_of_the_closed_form_has_the_prior_as_its_mean(statistics: Tensor) -> None:
    """Averaged over what it was fitted to, mu^2 + variance is 1: as the KL term wants it."""
    mu, log_var = fitted(statistics).read(statistics.flatten(0, 1))
    second = mu.square().mean(0) + log_var.exp().mean(0)  # (128,)
    known = log_var[0] < -1.0
    assert known.any()
    assert torch.allclose(second[known], torch.ones(int(known.sum())), atol=0.25)


def test_latents_without_a_direction_say_nothing(surfaces: Tensor, statistics: Tensor) -> None:
    texture = fitted(statistics[:5])  # five surfaces differ in four directions
    mu, log_var = texture(surfaces[:3, :, :254, :254])
    assert not mu[:, 4:].any()
    assert not log_var[:, 4:].any()
    assert mu[:, :4].any()
    read = texture.read(texture.statistics(surfaces[:3, :, :254, :254]))
    assert torch.equal(mu, read[0])
    assert torch.equal(log_var, read[1])


def test_the_encoder_ends_on_the_texture_part(surfaces: Tensor) -> None:
    torch.manual_seed(0)
    vae = VAE(Encoder(), Decoder())
    images = surfaces[:2, :, :254, :254].contiguous()
    with eval_mode(vae):
        posterior = vae.encode(images)
    assert vae.texture_size == TEXTURE_SIZE
    mu, log_var = posterior.mu[:, -TEXTURE_SIZE:], posterior.log_var[:, -TEXTURE_SIZE:]
    assert torch.allclose(vae.texture(images), mu * (-0.5 * log_var).exp(), atol=1e-4)


def test_the_decoder_uses_the_texture_part() -> None:
    torch.manual_seed(0)
    vae = VAE(Encoder(), Decoder())
    with torch.no_grad():
        vae.decoder.get_submodule("detail").weight.normal_(std=0.01)  # type: ignore[union-attr]
    z = torch.zeros(2, vae.latent_size)
    z[1, -TEXTURE_SIZE:] = 1
    with eval_mode(vae):
        plain, textured = vae.decode(z)
    assert not torch.equal(plain, textured)


def test_bfloat16_changes_no_texture(surfaces: Tensor) -> None:
    texture = Texture().eval()
    images = surfaces[:2, :, :254, :254]
    with torch.autocast("cpu", torch.bfloat16):
        lower, _ = texture(images)
    exact, _ = texture(images)
    assert torch.equal(lower, exact)
    assert exact.shape == (2, TEXTURE_SIZE)
    assert texture.projection.shape == (STATISTICS, DIRECTIONS)


def test_steps_on_statistics_lower_the_term_and_are_seeded(statistics: Tensor) -> None:
    assets = torch.arange(len(statistics))
    recipe = Recipe.of(TrainSettings(recipe="surface"))
    weights, terms = [], []
    for _ in range(2):
        texture = fitted(statistics)
        for steps in (0, texture_init.STEPS):
            if steps:
                learn_from_statistics(texture, statistics, assets, recipe, seed=7)
            mu, log_var = texture.read(statistics.flatten(0, 1))
            noise = torch.randn(mu.shape, generator=torch.Generator().manual_seed(3))
            vectors = mu * (-0.5 * log_var).exp() + noise
            owners = assets.repeat_interleave(4)
            kl = kl_per_latent_nats(mu, log_var).sum(1).mean()
            apart = infonce_nats(vectors, owners, recipe.temperature).mean()
            terms.append((recipe.consistency_weight * apart + kl).item())
        weights.append([weight.clone() for weight in texture.parameters()])
    assert terms[1] < terms[0]
    assert all(torch.equal(a, b) for a, b in zip(*weights, strict=True))


def test_the_start_sees_what_the_recipe_ignores(data_set: Path) -> None:
    """Relit crops where light is ignored, crops at two scales where scale is."""
    pack = open_pack(open_folder(data_set / "train"), PackLayout(568), cache=data_set / "cache")
    drawn = {}
    for words in ("none", "light", "scale"):
        recipe = Recipe.of(TrainSettings(recipe="surface", invariant_to=words))
        (drawn[words],) = texture_crops(pack, [0], recipe, seed=0)
    assert drawn["none"].shape == (4 * texture_init.DRAWS, 3, 254, 254)
    assert not np.allclose(drawn["light"][0], drawn["none"][0])
    assert np.array_equal(drawn["scale"][:4], drawn["none"][:4])  # the first draw has one scale
    assert not np.allclose(drawn["scale"][5], drawn["none"][5])


def test_one_image_gives_no_directions_and_breaks_nothing(tmp_path: Path, paint: Painter) -> None:
    paint(tmp_path / "train" / "wall" / "wall_a.png", 1)
    pack = open_pack(open_folder(tmp_path / "train"), PackLayout(568), cache=tmp_path / "cache")
    torch.manual_seed(0)
    texture = Texture()
    before = texture.projection.clone()
    recipe = Recipe.of(TrainSettings(recipe="surface"))
    start_texture(texture, pack, recipe, seed=0, progress=Silent())
    assert torch.equal(texture.projection, before)
    assert all(value.isfinite().all() for value in texture.state_dict().values())
