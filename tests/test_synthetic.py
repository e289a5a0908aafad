"""Procedural surfaces: the same every time, no two alike, told apart by eye and by numbers."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from vaeneer.data.synthetic.synthesize import FAMILIES, surface, synthesize
from vaeneer.errors import OutputExistsError, SettingsError


@pytest.fixture(scope="module")
def surfaces() -> dict[str, list[NDArray[np.uint8]]]:
    """Six surfaces of 128 px of each family."""
    return {
        family: [surface(family, seed=seed, side_px=128) for seed in range(6)]
        for family in FAMILIES
    }


def test_there_are_many_families() -> None:
    assert len(FAMILIES) >= 14
    assert len(set(FAMILIES)) == len(FAMILIES)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_surface_is_an_image(family: str) -> None:
    pixels = surface(family, seed=3, side_px=97)
    assert pixels.shape == (97, 97, 3)
    assert pixels.dtype == np.uint8


def test_the_default_side_is_384_px() -> None:
    assert surface("sand", seed=0).shape == (384, 384, 3)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_surface_is_neither_flat_nor_clipped(
    family: str, surfaces: dict[str, list[NDArray[np.uint8]]]
) -> None:
    for pixels in surfaces[family]:
        grey = pixels.mean(axis=2)
        assert grey.std() > 4
        assert len(np.unique(pixels.reshape(-1, 3), axis=0)) > 100  # no drawing in a few colours
        assert np.mean((pixels == 255).all(axis=2)) < 0.2
        assert np.mean((pixels == 0).all(axis=2)) < 0.2


@pytest.mark.parametrize("family", FAMILIES)
def test_the_same_seed_makes_the_same_surface(
    family: str, surfaces: dict[str, list[NDArray[np.uint8]]]
) -> None:
    assert np.array_equal(surface(family, seed=2, side_px=128), surfaces[family][2])


def test_another_process_makes_the_same_surface() -> None:
    code = (
        "import hashlib; from vaeneer.data.synthetic.synthesize import surface;"
        "print(hashlib.sha256(surface('brick', seed=5, side_px=96).tobytes()).hexdigest())"
    )
    answer = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    here = hashlib.sha256(surface("brick", seed=5, side_px=96).tobytes()).hexdigest()
    assert answer.stdout.strip() == here


@pytest.mark.parametrize("family", FAMILIES)
def test_seeds_make_visibly_different_surfaces(
    family: str, surfaces: dict[str, list[NDArray[np.uint8]]]
) -> None:
    some = [pixels.astype(np.float64) for pixels in surfaces[family]]
    for i, one in enumerate(some):
        for other in some[:i]:
            assert np.abs(one - other).mean() > 6
    averages = np.array([one.mean(axis=(0, 1)) for one in some])
    assert averages.std(axis=0).max() > 5  # the palette varies, not just the layout


@pytest.mark.parametrize("family", FAMILIES)
def test_a_surface_tiles(family: str) -> None:
    """Across the border, neighbouring pixels differ no more than somewhere inside."""
    pixels = surface(family, seed=1, side_px=192).astype(np.float64)
    for axis in (0, 1):
        steps = np.abs(pixels - np.roll(pixels, 1, axis)).mean(axis=(1 - axis, 2))
        assert steps[0] <= steps[1:].max() * 1.2


def test_families_are_told_apart_by_simple_statistics(
    surfaces: dict[str, list[NDArray[np.uint8]]],
) -> None:
    """Leave one out, nearest neighbour on grey spectra: far above the chance of 1 in 21."""
    features = np.array([_statistics(p) for family in FAMILIES for p in surfaces[family]])
    features = (features - features.mean(axis=0)) / features.std(axis=0)
    family = np.repeat(np.arange(len(FAMILIES)), 6)
    distance = np.linalg.norm(features[:, None] - features[None], axis=2)
    np.fill_diagonal(distance, np.inf)
    right = np.mean(family[distance.argmin(axis=1)] == family)
    assert right > 0.4, f"only {right:.0%} of the nearest neighbours are of the same family"


def _statistics(pixels: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Log power in rings and in two directions of the spectrum, contrast and skew; no colour."""
    grey = pixels.mean(axis=2)
    grey = grey - grey.mean()
    power = np.abs(np.fft.fft2(grey)) ** 2 / grey.size
    down, across = np.meshgrid(*[np.fft.fftfreq(len(grey), 1 / len(grey))] * 2, indexing="ij")
    radius = np.hypot(down, across)
    rings = [power[(radius >= low) & (radius < 2 * low)] for low in (1, 2, 4, 8, 16, 32)]
    lines = [power[0, 1:].mean(), power[1:, 0].mean()]
    skew = (grey**3).mean() / (grey.std() ** 3 + 1e-9)
    return np.array(
        [*[np.log(ring.mean()) for ring in rings], abs(np.diff(np.log(lines))[0]), skew]
    )


@pytest.mark.parametrize(
    ("family", "seed", "side_px", "word"),
    [("velvet", 0, 384, "brick"), ("brick", -1, 384, "seed"), ("brick", 0, 63, "64")],
)
def test_a_wrong_request_is_refused(family: str, seed: int, side_px: int, word: str) -> None:
    with pytest.raises(SettingsError, match=word):
        surface(family, seed=seed, side_px=side_px)


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Path]]:
    """Two of each family and three more."""
    folder = tmp_path_factory.mktemp("raw") / "library"
    return folder, synthesize(folder, count=2 * len(FAMILIES) + 3, side_px=64)


def test_a_library_is_balanced_and_laid_out_by_asset(library: tuple[Path, list[Path]]) -> None:
    folder, written = library
    assert len(written) == 2 * len(FAMILIES) + 3
    assert written == sorted(set(written), key=written.index)
    counts = Counter(path.relative_to(folder).parts[0] for path in written)
    assert set(counts) == set(FAMILIES)
    assert max(counts.values()) - min(counts.values()) <= 1
    for path in written:
        family, asset, name = path.relative_to(folder).parts
        assert asset.startswith(f"{family}_")
        assert name == f"{asset}_Albedo.jpg"


def test_colour_maps_are_jpeg_of_the_side_asked_for(library: tuple[Path, list[Path]]) -> None:
    for path in library[1]:
        with Image.open(path) as image:
            assert (image.format, image.mode, image.size) == ("JPEG", "RGB", (64, 64))


def test_every_third_asset_has_a_normal_map(library: tuple[Path, list[Path]]) -> None:
    folder, written = library
    assert len(list(folder.rglob("*_Normal.png"))) == -(-len(written) // 3)
    with Image.open(folder / "brick" / "brick_000" / "brick_000_Normal.png") as image:
        assert (image.format, image.size) == ("PNG", (32, 32))
        normal = np.asarray(image).astype(np.float64) / 127.5 - 1
    assert np.allclose(np.linalg.norm(normal, axis=2), 1, atol=0.02)
    assert normal[..., 2].mean() > 0.5


def test_a_side_car_says_what_an_asset_is(library: tuple[Path, list[Path]]) -> None:
    _, written = library
    seen = set()
    for path in written:
        asset = path.parent
        about = json.loads((asset / f"{asset.name}.json").read_text(encoding="utf-8"))
        assert {"id", "name", "categories", "tags"} <= set(about)
        assert about["categories"] == ["surface", asset.parent.name]
        assert asset.parent.name in about["tags"]
        seen.add(about["id"])
    assert len(seen) == len(written)


def test_nothing_half_written_is_left(library: tuple[Path, list[Path]]) -> None:
    assert not list(library[0].rglob("*.part"))


def test_a_library_is_the_same_again_and_another_by_another_seed(tmp_path: Path) -> None:
    first, again, other = (
        synthesize(tmp_path / name, count=3, side_px=64, seed=seed)
        for name, seed in (("first", 0), ("again", 0), ("other", 1))
    )
    assert [p.read_bytes() for p in first] == [p.read_bytes() for p in again]
    assert all(a.read_bytes() != b.read_bytes() for a, b in zip(first, other, strict=True))


@pytest.mark.parametrize("wrong", [{"count": 0}, {"side_px": 63}, {"seed": -1}])
def test_a_wrong_library_is_refused_before_anything_is_made(
    tmp_path: Path, wrong: dict[str, int]
) -> None:
    with pytest.raises(SettingsError):
        synthesize(tmp_path / "library", **wrong)
    assert not (tmp_path / "library").exists()


def test_a_folder_that_holds_something_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("keep me")
    with pytest.raises(OutputExistsError):
        synthesize(tmp_path, count=1, side_px=64)
    assert (tmp_path / "mine.txt").read_text() == "keep me"
