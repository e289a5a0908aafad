"""The Embedder: unit vectors of any images, the same however they come, and averages over views."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from conftest import Painter
from vaeneer.data.tiles import square_boxes
from vaeneer.errors import (
    DataError,
    ImageFileError,
    ImageSizeError,
    ModelFileError,
    SettingsError,
)
from vaeneer.model.checkpoint import load, save
from vaeneer.model.embedder import Embedder
from vaeneer.model.projection import fit_calibration, fit_readout
from vaeneer.model.vae import VAE
from vaeneer.settings import ReadoutSettings


@pytest.fixture(scope="module")
def searching(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained network with a read-out of 8 numbers fitted to noise, and a probability."""
    with torch.random.fork_rng():
        torch.manual_seed(2)
        vae = VAE().eval()
    images = torch.rand(12, 3, 254, 254, generator=torch.Generator().manual_seed(1))
    scales = torch.linspace(0.2, 1, 12)[:, None, None, None]
    latents = vae.texture(images * scales).numpy().reshape(6, 2, -1)
    vae.readout = fit_readout(latents, ReadoutSettings(dimensions=8))
    vae.calibration = fit_calibration(np.array([0.8, 0.9, 0.5]), np.array([0.1, -0.2, 0.6]))
    return save(vae, tmp_path_factory.mktemp("model") / "searching")


@pytest.fixture(scope="module")
def embedder(searching: Path) -> Embedder:
    return Embedder(searching, device="cpu", precision="float32", batch_size=4)


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    random = np.random.default_rng(6)
    colours = random.integers(30, 226, (7, 3, 1, 1))
    return (colours + random.normal(0, 20, (7, 3, 254, 254))).clip(0, 255).astype(np.uint8)


def test_vectors_are_the_read_out_of_the_posterior_means(
    embedder: Embedder, images: np.ndarray, searching: Path
) -> None:
    vae = load(searching)
    assert vae.readout is not None
    expected = vae.readout(vae.representation(torch.from_numpy(images).float() / 255).numpy())
    found = embedder.embed(images)
    assert (found.shape, found.dtype) == ((7, embedder.dimensions), np.float32)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-6)


@pytest.mark.parametrize("size", [(64, 64), (100, 100), (568, 568), (64, 80), (300, 75)])
def test_any_size_from_64_up_gives_unit_vectors(embedder: Embedder, size: tuple[int, int]) -> None:
    found = embedder.embed(torch.rand(2, 3, *size, generator=torch.Generator().manual_seed(3)))
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-6)


def test_arrays_tensors_bytes_and_floats_are_one(embedder: Embedder, images: np.ndarray) -> None:
    first = embedder.embed(images)
    read_only = images.copy()
    read_only.flags.writeable = False
    for same in (
        torch.from_numpy(images),
        images.astype(np.float32) / 255,
        torch.from_numpy(images).double() / 255,
        images.transpose(0, 2, 3, 1).copy().transpose(0, 3, 1, 2),
        read_only,
    ):
        np.testing.assert_allclose(embedder.embed(same), first, atol=1e-5)
    assert embedder.embed(images[:0]).shape == (0, embedder.dimensions)


def test_an_image_has_one_vector_in_any_batch(embedder: Embedder, images: np.ndarray) -> None:
    whole = embedder.embed(images)
    alone = np.concatenate([embedder.embed(image[None]) for image in images])
    np.testing.assert_allclose(alone, whole, atol=1e-5)
    np.testing.assert_allclose(embedder.embed(images[::-1]), whole[::-1], atol=1e-5)
    assert np.array_equal(embedder.embed(images), whole)


@pytest.mark.parametrize("size", [(254, 254), (254, 500)])
def test_several_cores_give_the_vectors_of_one_in_their_order(
    embedder: Embedder, images: np.ndarray, size: tuple[int, int]
) -> None:
    batch = torch.from_numpy(np.concatenate([images, images[::-1]]))
    batch = torch.nn.functional.interpolate(batch.float() / 255, size=size)
    usual = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        expected = embedder.embed(batch)
        torch.set_num_threads(2)
        with ThreadPoolExecutor(1) as other:  # a thread of later has the usual number of cores
            found = embedder.embed(batch)
            assert other.submit(torch.get_num_threads).result() == 2
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(usual)
    assert np.allclose(found, expected, atol=1e-6)
    assert not np.allclose(found[:7], found[7:], atol=1e-3)


def test_threads_may_share_an_embedder(embedder: Embedder, images: np.ndarray) -> None:
    whole = embedder.embed(images)
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda image: embedder.embed(image[None]), images))
    np.testing.assert_allclose(np.concatenate(answers), whole, atol=1e-5)
    assert not embedder.vae.training


@pytest.mark.parametrize(
    ("shape", "remedy"),
    [
        ((3, 254, 254), "images\\[None\\]"),
        ((2, 254, 254, 3), "permute"),
        ((2, 1, 254, 254), "B, 3, H, W"),
        ((2, 3, 63, 254), "64 px or more"),
    ],
)
def test_wrong_shapes_are_refused_with_the_remedy(
    embedder: Embedder, shape: tuple[int, ...], remedy: str
) -> None:
    with pytest.raises(ImageSizeError, match=remedy):
        embedder.embed(np.zeros(shape, np.uint8))


def test_wrong_numbers_are_refused(embedder: Embedder, images: np.ndarray) -> None:
    with pytest.raises(DataError, match="255"):
        embedder.embed(images.astype(np.float32))
    with pytest.raises(DataError, match="nan"):
        embedder.embed(np.full((1, 3, 64, 64), np.nan, np.float32))
    with pytest.raises(DataError, match="uint8"):
        embedder.embed(images.astype(np.int64))


def test_files_are_averages_over_squares_that_cover_them(
    embedder: Embedder, paint: Painter, tmp_path: Path
) -> None:
    paths = [paint(tmp_path / f"{seed}.png", seed, side_px=200) for seed in range(3)]
    pixels = np.asarray(Image.open(paths[0])).transpose(2, 0, 1)[None]
    squares = [pixels, *(pixels[..., y : y + 100, x : x + 100] for y in (0, 100) for x in (0, 100))]
    mean = sum(embedder.embed(square) for square in squares)
    found = embedder.embed_files(paths)
    assert found.shape == (3, embedder.dimensions)
    np.testing.assert_allclose(found[0], (mean / np.linalg.norm(mean))[0], atol=3e-3)
    np.testing.assert_allclose(embedder.embed_files(paths[1:2])[0], found[1], atol=1e-6)


def test_a_plank_counts_as_a_whole(embedder: Embedder, tmp_path: Path) -> None:
    random = np.random.default_rng(5)
    tiles = [np.full((150, 150, 3), random.integers(20, 235, 3), np.uint8) for _ in range(4)]
    Image.fromarray(np.concatenate(tiles, axis=1)).save(tmp_path / "plank.png")
    squares = Embedder(embedder.vae, precision=embedder.precision, views="squares")
    mean = embedder.embed(np.stack(tiles).transpose(0, 3, 1, 2)).sum(0)
    expected = mean / np.linalg.norm(mean)
    np.testing.assert_allclose(
        squares.embed_files([tmp_path / "plank.png"])[0], expected, atol=1e-5
    )
    centre = Embedder(embedder.vae, precision=embedder.precision, views="centre")
    assert not np.allclose(centre.embed_files([tmp_path / "plank.png"])[0], expected, atol=1e-2)


def test_a_bad_file_is_named_or_left_out(
    embedder: Embedder, paint: Painter, tmp_path: Path
) -> None:
    good = [paint(tmp_path / f"{seed}.png", seed) for seed in range(2)]
    bad = tmp_path / "broken.jpg"
    bad.write_bytes(b"\xff\xd8 nothing")
    with pytest.raises(ImageFileError, match=r"broken\.jpg"):
        embedder.embed_files([good[0], bad, good[1]])
    skipped: list[ImageFileError] = []
    found = embedder.embed_files([good[0], bad, good[1]], skipped=skipped)
    np.testing.assert_allclose(found, embedder.embed_files(good), atol=1e-6)
    assert [error.path for error in skipped] == [bad]
    assert embedder.embed_files([]).shape == (0, embedder.dimensions)


def test_probabilities_need_a_calibration(
    embedder: Embedder, model: Path, images: np.ndarray
) -> None:
    vectors = embedder.embed(images)
    likely = embedder.probability(vectors @ vectors.T)
    assert likely.shape == (7, 7)
    assert (likely >= 0).all()
    assert (likely <= 1).all()
    assert embedder.probability(0.9) > embedder.probability(0.1)
    plain = Embedder(model, device="cpu")
    assert not plain.calibrated
    with pytest.raises(ModelFileError, match=f"vaeneer calibrate {model}"):
        plain.probability(0.5)


def test_a_model_without_a_read_out_gives_centred_latents(model: Path, images: np.ndarray) -> None:
    vae = load(model)
    latents = vae.representation(torch.from_numpy(images).float() / 255).numpy()
    latents -= np.asarray(vae.card.latent_mean, np.float32)
    expected = latents / np.linalg.norm(latents, axis=1, keepdims=True)
    found = Embedder(model, device="cpu", precision="float32").embed(images)
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_broken_weights_are_named(model: Path, images: np.ndarray) -> None:
    vae = load(model)
    with torch.no_grad():
        vae.encoder.mu.bias.fill_(float("nan"))  # type: ignore[union-attr, operator]
    with pytest.raises(ModelFileError, match="not finite"):
        Embedder(vae).embed(images)


def test_settings_out_of_range_are_refused(model: Path) -> None:
    with pytest.raises(SettingsError, match="batch_size"):
        Embedder(model, batch_size=0)
    with pytest.raises(SettingsError, match="squares"):
        Embedder(model, views="everything")  # type: ignore[arg-type]


@pytest.mark.parametrize("size", [(568, 568), (568, 900), (2272, 568), (100, 90), (6000, 568)])
def test_boxes_lie_inside_and_reach_both_ends(size: tuple[int, int]) -> None:
    height, width = size
    slack = min(size) / 8  # an image is not covered twice for the sake of a narrow rim
    for views in ("all", "squares", "tiles"):
        boxes = square_boxes(height, width, views)
        assert all(b.top >= 0 and b.left >= 0 for b in boxes)
        assert height - slack <= max(b.top + b.side for b in boxes) <= height
        assert width - slack <= max(b.left + b.side for b in boxes) <= width
        assert max(min(b.top for b in boxes), min(b.left for b in boxes)) <= slack
        assert len(boxes) <= 20
