"""The read-out: what each closed-form step does to vectors whose covariances are known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from vaeneer.errors import DataError, SettingsError
from vaeneer.model.projection import Readout, fit_readout, plain_readout
from vaeneer.settings import ReadoutSettings

EXACT = ReadoutSettings(shrinkage=0, min_relative_std=0)
OFF = ReadoutSettings(centre=False, min_relative_std=0, whiten=False, dimensions=0, norm=False)


def made(images: int = 300, crops: int = 8, size: int = 12, seed: int = 1) -> NDArray[np.float64]:
    """Latents of images that differ in four directions, and crops that differ in all, unevenly."""
    random = np.random.default_rng(seed)
    between = random.normal(size=(images, 4)) @ random.normal(size=(4, size))
    scales = np.geomspace(0.1, 3, size)
    within = random.normal(size=(images, crops, size)) * scales
    return 5 + between[:, None] + within


def inside(vectors: NDArray[np.floating], images: int) -> NDArray[np.float64]:
    """The covariance of vectors (images * crops, D) inside an image."""
    groups = vectors.reshape(images, -1, vectors.shape[-1]).astype(float)
    apart = (groups - groups.mean(1, keepdims=True)).reshape(-1, vectors.shape[-1])
    return apart.T @ apart / (images * (groups.shape[1] - 1))


def answers(readout: Readout, latents: NDArray[np.float64]) -> NDArray[np.float32]:
    return readout(latents.reshape(-1, latents.shape[-1]))


def test_after_whitening_crops_of_an_image_vary_alike_in_all_directions() -> None:
    latents = made()
    readout = fit_readout(latents, replace(EXACT, dimensions=0, norm=False))
    np.testing.assert_allclose(inside(answers(readout, latents), 300), np.eye(12), atol=1e-3)
    few = fit_readout(latents, replace(EXACT, dimensions=3, norm=False))
    np.testing.assert_allclose(inside(answers(few, latents), 300), np.eye(3), atol=1e-3)


def test_the_directions_kept_are_those_in_which_images_differ() -> None:
    latents = made()
    readout = fit_readout(latents, replace(EXACT, dimensions=5))
    assert readout.dimensions == 5
    assert list(readout.ratios) == sorted(readout.ratios, reverse=True)
    assert readout.ratios[3] > 5 * readout.ratios[4]  # the images differ in four directions
    assert readout.ratios[4] == pytest.approx(1 / 8, rel=0.5)  # the noise of a mean of 8 crops


def test_whitening_tells_images_apart_better_than_the_latents_do() -> None:
    train, valid = made(seed=1), made(images=50, seed=1)  # seed: the same directions

    def right(readout: Readout) -> float:
        vectors = answers(readout, valid)
        cosines = vectors @ vectors.T
        np.fill_diagonal(cosines, -1)
        return float((cosines.argmax(1) // 8 == np.arange(400) // 8).mean())

    plain = right(fit_readout(train, ReadoutSettings(whiten=False, dimensions=0)))
    whitened = right(fit_readout(train, ReadoutSettings(dimensions=4, shrinkage=0.1)))
    assert whitened > plain + 0.1


@pytest.mark.parametrize("weigh", [0.0, 0.5])
def test_any_invertible_map_of_the_latents_gives_the_same_cosines(weigh: float) -> None:
    latents = made()
    mixing = np.random.default_rng(3).normal(size=(12, 12))
    settings = replace(EXACT, dimensions=4, discriminant_power=weigh)
    first = answers(fit_readout(latents, settings), latents)
    mixed = latents @ mixing + 7
    second = answers(fit_readout(mixed, settings), mixed)
    np.testing.assert_allclose(second @ second[:20].T, first @ first[:20].T, atol=2e-3)


def test_with_every_step_off_latents_come_out_as_they_are() -> None:
    latents = made(images=5, crops=3)
    np.testing.assert_allclose(answers(fit_readout(latents, OFF), latents), latents.reshape(15, 12))


def test_each_step_alone() -> None:
    latents = made(images=20)
    centred = answers(fit_readout(latents, replace(OFF, centre=True)), latents)
    np.testing.assert_allclose(centred.mean(0), 0, atol=1e-5)
    unit = answers(fit_readout(latents, replace(OFF, norm=True)), latents)
    np.testing.assert_allclose(np.linalg.norm(unit, axis=1), 1, atol=1e-6)
    turned = answers(fit_readout(latents, replace(OFF, centre=True, dimensions=12)), latents)
    np.testing.assert_allclose(turned @ turned.T, centred @ centred.T, rtol=1e-3, atol=1e-3)
    drawn = fit_readout(latents, replace(OFF, whiten=True, shrinkage=1)).projection
    np.testing.assert_allclose(drawn, np.eye(12) * drawn[0, 0], atol=1e-6)


def test_dead_latents_are_left_out() -> None:
    latents = made()
    latents[..., 5] = 3.0
    latents[..., 7] = 1e-6 * np.random.default_rng(0).normal(size=latents.shape[:2])
    dropped = fit_readout(latents, ReadoutSettings())
    assert np.flatnonzero((dropped.projection == 0).all(1)).tolist() == [5, 7]
    assert (fit_readout(latents, ReadoutSettings(min_relative_std=0)).projection[7] != 0).any()


def test_weighing_multiplies_directions_by_their_ratio() -> None:
    latents = made()
    plain = fit_readout(latents, replace(EXACT, dimensions=4))
    weighed = fit_readout(latents, replace(EXACT, dimensions=4, discriminant_power=0.5))
    np.testing.assert_allclose(
        weighed.projection, plain.projection * np.sqrt(plain.ratios), rtol=1e-4
    )


def test_fewer_images_than_dimensions_work() -> None:
    latents = made(images=5, crops=4, size=40)
    readout = fit_readout(latents, ReadoutSettings())
    assert readout.projection.shape == (40, 4)  # five means span four directions
    same = answers(readout, latents).reshape(5, 4, -1)
    near = np.einsum("icd,ied->ice", same, same).mean()
    far = np.einsum("icd,jed->ijce", same, same).mean()
    assert near > far + 0.5
    one_image = fit_readout(latents[:1], ReadoutSettings())
    assert np.isfinite(answers(one_image, latents)).all()


def test_a_collapsed_posterior_gives_zeros_rather_than_an_error() -> None:
    constant = np.ones((6, 4, 10))
    assert not answers(fit_readout(constant, ReadoutSettings()), constant).any()


def test_zeros_stay_zeros_and_batches_change_nothing() -> None:
    latents = made()
    readout = fit_readout(latents, ReadoutSettings())
    assert not readout(readout.mean[None]).any()
    whole = answers(readout, latents)
    np.testing.assert_allclose(readout(latents[0, :1]), whole[:1], atol=1e-6)
    assert whole.dtype == np.float32


def test_a_model_without_a_readout_gives_unit_vectors_centred_where_it_can() -> None:
    latents, mean = np.random.default_rng(2).normal(size=(3, 6)), np.arange(6.0)
    for centre in (None, mean):
        moved = latents - (0 if centre is None else centre)
        expected = moved / np.linalg.norm(moved, axis=1, keepdims=True)
        np.testing.assert_allclose(plain_readout(6, centre)(latents), expected, atol=1e-6)


def test_what_cannot_be_fitted_is_said() -> None:
    latents = made(images=4)
    with pytest.raises(DataError, match="2 or more"):
        fit_readout(latents[:, :1])
    with pytest.raises(DataError, match=r"\(images, crops, K\)"):
        fit_readout(latents[0])
    latents[2, 1, 3] = np.nan
    with pytest.raises(DataError, match="not finite"):
        fit_readout(latents)


@pytest.mark.parametrize(
    "wrong",
    [
        {"shrinkage": 1.5},
        {"min_relative_std": 1.0},
        {"dimensions": -1},
        {"discriminant_power": float("nan")},
    ],
)
def test_settings_out_of_range_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(SettingsError, match=next(iter(wrong))):
        fit_readout(made(images=4), replace(ReadoutSettings(), **wrong))  # type: ignore[arg-type]
