"""Small procedural data shared by the tests."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import settings as hypothesis_settings
from PIL import Image

from vaeneer.model.checkpoint import save
from vaeneer.model.vae import VAE, ModelCard
from vaeneer.training import texture_init
from vaeneer.training import train as train_module

LONG = (
    "test_page.py", "test_surface_training.py", "test_training.py", "test_readme.py",
    "test_demonstration.py", "test_similarity.py", "test_seed_commands.py", "test_index.py",
    "test_serving_openapi.py", "test_cli.py", "test_duplicates.py",
)  # fmt: skip


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the files that take longest, so that at the end no core waits for one of them."""
    items.sort(key=lambda item: LONG.index(item.path.name) if item.path.name in LONG else len(LONG))


Painter = Callable[[Path, int], Path]
hypothesis_settings.register_profile("no clock", deadline=None)  # a busy machine is no fault
hypothesis_settings.load_profile("no clock")


@pytest.fixture(scope="session", autouse=True)
def user_folders(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The user's data and cache folders of this session: no test writes into the real ones."""
    folder = tmp_path_factory.mktemp("user")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_DATA_HOME", str(folder / "data"))
        patch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
        yield folder


@pytest.fixture(scope="module")
def few_crops() -> Iterator[None]:
    """A start and a read-out of four crops of each image, throughout a module: quicker runs."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(texture_init, "STEPS", 20)
        patch.setattr(texture_init, "DRAWS", 1)
        patch.setattr(train_module, "DRAWS", {"best": 1, "last": 1})
        yield


@pytest.fixture
def no_plots(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs of this test draw no charts; those of a module's fixtures, made before, do."""
    monkeypatch.setattr(train_module, "draw_epoch", lambda *_: None)


@pytest.fixture(scope="session")
def paint() -> Painter:
    """Write one small surface: a seeded colour with noise and a slow gradient."""

    def write(path: Path, seed: int, side_px: int = 72) -> Path:
        random = np.random.default_rng(seed)
        colour = random.integers(40, 216, 3)
        slope = np.linspace(-20, 20, side_px)[:, None, None]
        pixels = colour + slope + random.normal(0, 8, (side_px, side_px, 1))
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(path)
        return path

    return write


@pytest.fixture(scope="session")
def data_set(tmp_path_factory: pytest.TempPathFactory, paint: Painter) -> Path:
    """A data set in the reference layout: 10 images to train on, 4 to validate."""
    root = tmp_path_factory.mktemp("train-data")
    for number in range(10):
        paint(root / "train" / "wall" / f"wall_{chr(97 + number)}.png", number)
    for number in range(4):
        paint(root / "valid" / "floor" / f"floor_{chr(97 + number)}.png", 100 + number)
    return root


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained reference network with a card that knows a mean colour and a mean latent."""
    with torch.random.fork_rng():
        torch.manual_seed(5)
        vae = VAE()
    card = ModelCard(training_mean_rgb=(0.4, 0.5, 0.6), latent_mean=[0.001] * 512)
    return save(vae, tmp_path_factory.mktemp("models") / "untrained", card=card)


@pytest.fixture(scope="session")
def small_library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A library of 24 procedural surfaces, 160 px, in `LIB`, its images in `LIB/../raw`.

    Shared by all tests, so that it is never to be changed: copy both folders' parent to do that,
    and index again with `folder_moved=True`.
    """
    import vaeneer
    from vaeneer.library.index.index import index

    folder = tmp_path_factory.mktemp("small")
    vaeneer.synthesize(folder / "raw", count=24, side_px=160, seed=3)
    index(folder / "raw", library=folder / "library")
    return folder / "library"
