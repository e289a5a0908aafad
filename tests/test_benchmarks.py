"""The plain recipe that benchmarks/ measures against is the reference's, and a fair one."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from PIL import Image

from vaeneer.data.crops import COLUMNS, CropRecipe, draw_crops
from vaeneer.model.losses import bce_nats, kl_per_latent_nats
from vaeneer.model.vae import VAE

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
SEED_CROPS = CropRecipe(scale=(0.2, 1.0), ratio=(3 / 4, 4 / 3))


@pytest.fixture
def seed_recipe(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """benchmarks/seed_recipe.py, as a program of that folder sees it."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import seed_recipe

    yield seed_recipe
    for name in ("seed_recipe", "sides"):
        sys.modules.pop(name, None)


def test_real_maps_are_read_right_from_their_names(monkeypatch: pytest.MonkeyPatch) -> None:
    table = BENCHMARKS.parent.parent / "shared" / "data" / "pbr.csv"
    if not table.is_file():
        pytest.skip("the table of real map sets, ../shared/data/pbr.csv, is not here")
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import map_names

    result = map_names.measure(table)
    assert result["map_accuracy"] >= 0.98
    assert result["set_accuracy"] >= 0.98


def test_plain_crops_have_the_distribution_of_vaeneers(seed_recipe: ModuleType) -> None:
    crop = seed_recipe.RandomResizedCrop()
    torch.manual_seed(3)
    boxes = np.array([crop.box(1024, 768) for _ in range(4000)], float)  # top, left, h, w
    top, left, height, width = boxes.T
    ours = drawn_boxes(4000, 1024, 768)
    for name, theirs, own in (
        ("area", height * width / (1024 * 768), ours["area"]),
        ("log ratio", np.log(width / height), ours["log_ratio"]),
        ("left", left, ours["left"]),
        ("top", top, ours["top"]),
    ):
        spread = np.sqrt(theirs.var() / len(theirs) + own.var() / len(own))
        assert abs(theirs.mean() - own.mean()) < 5 * spread, name
        assert theirs.std() == pytest.approx(own.std(), rel=0.08), name
    assert (left + width <= 1024).all()
    assert (top + height <= 768).all()


@pytest.mark.parametrize(("width", "height"), [(40, 400), (400, 40)])
def test_a_strip_gets_the_central_crop(seed_recipe: ModuleType, width: int, height: int) -> None:
    crop = seed_recipe.RandomResizedCrop(scale=(0.9, 1.0))
    torch.manual_seed(0)
    top, left, h, w = crop.box(width, height)
    assert (h, w) == ((53, 40) if height > width else (40, 53))
    assert (top, left) == ((height - h) // 2, (width - w) // 2)


def test_pixels_become_the_tensor_of_torchvision(seed_recipe: ModuleType) -> None:
    pixels = np.arange(24, dtype=np.uint8).reshape(2, 4, 3) * 10
    found = seed_recipe.to_tensor(Image.fromarray(pixels))
    assert found.dtype == torch.float32
    assert torch.equal(found, torch.from_numpy(pixels).permute(2, 0, 1) / 255)


def test_network_and_loss_are_those_of_vaeneer(seed_recipe: ModuleType) -> None:
    torch.manual_seed(11)
    plain, ours = seed_recipe.SeedVAE().train(), VAE().train()
    ours.load_state_dict(plain.state_dict())
    images, noise = torch.rand(3, 3, 254, 254), torch.randn(3, 512)
    with torch.no_grad():
        reconstruction, mean, log_var = plain(images, noise)
        posterior = ours.encode(images)
        logits = ours.decode(posterior.mu + (0.5 * posterior.log_var).exp() * noise)
        loss = seed_recipe.loss_function(reconstruction, images, mean, log_var)
    torch.testing.assert_close(reconstruction, logits.sigmoid())
    torch.testing.assert_close(mean, posterior.mu)
    kl = kl_per_latent_nats(posterior.mu, posterior.log_var).sum(1)
    total = (bce_nats(logits, images) + kl).double().sum().item()
    assert loss.item() == pytest.approx(total, rel=1e-5)


def test_an_epoch_sees_every_image_once(seed_recipe: ModuleType, data_set: Path) -> None:
    found = seed_recipe.train(data_set / "train", workers=0, batch=4)
    assert found["images"] == 10
    assert found["losses"][0] == pytest.approx(4 * 133_000 * 10 / 12, rel=0.05)  # 10 in 3 batches
    assert found["images_per_second"] > 0


def test_the_loops_one_by_one_see_every_image(seed_recipe: ModuleType, data_set: Path) -> None:
    evaluated = seed_recipe.evaluate(data_set / "valid")
    embedded = seed_recipe.embed(data_set / "valid")
    assert (evaluated["images"], embedded["images"]) == (4, 4)
    assert evaluated["mean_loss"] == pytest.approx(134_000, rel=0.02)
    assert embedded["dimensions"] == 512


def drawn_boxes(count: int, width: int, height: int) -> dict[str, np.ndarray]:
    """Figures of vaeneer's own boxes: area (a share), log_ratio, left, top."""
    numbers = np.random.default_rng(4).random((count, COLUMNS))
    crops = draw_crops(numbers, [width] * count, [height] * count, SEED_CROPS)
    return {
        "area": crops.width * crops.height / (width * height),
        "log_ratio": np.log(crops.width / crops.height),
        "left": crops.left,
        "top": crops.top,
    }
