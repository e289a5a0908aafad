"""outliers: files that do not belong among surfaces, each with its reason."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vaeneer.data.perceptual_hash import Fingerprint, fingerprint
from vaeneer.errors import LibraryError
from vaeneer.library.index.index import index
from vaeneer.library.library import Library
from vaeneer.library.map.map import items_with_vectors
from vaeneer.library.outliers import (
    blank,
    deviations,
    like_normal_map,
    outliers,
    shading,
    unevenness,
)
from vaeneer.progress import Silent
from vaeneer.settings import OutliersSettings


def normal_map(seed: int, side_px: int = 160, steep: float = 0.6) -> np.ndarray:
    """The normals of a random bumpy ground, as colours."""
    from scipy.ndimage import gaussian_filter

    height = gaussian_filter(np.random.default_rng(seed).normal(size=(side_px, side_px)), 3)
    down, right = np.gradient(height / height.std() * steep)
    normals = np.stack([-right, down, np.ones_like(height)], -1)
    normals /= np.linalg.norm(normals, axis=2, keepdims=True)
    return np.rint((normals + 1) * 127.5).astype(np.uint8)


def prints(*pictures: np.ndarray) -> list[Fingerprint]:
    return [fingerprint(Image.fromarray(picture)) for picture in pictures]


def test_blank_pictures_and_normal_maps_are_known_by_their_colours() -> None:
    random = np.random.default_rng(0)
    grey = np.full((80, 80, 3), 130, np.uint8)
    noise = random.integers(120, 140, (80, 80, 3)).astype(np.uint8)
    slope = np.repeat(np.linspace(90, 160, 80)[:, None, None], 80, 1).repeat(3, 2).astype(np.uint8)
    sky = np.full((80, 80, 3), (120, 150, 235), np.uint8)
    found = prints(grey, noise, slope, sky, normal_map(0), normal_map(1, steep=1.0))
    assert blank(found).tolist() == [True, False, False, True, False, False]
    assert like_normal_map(found).tolist() == [False, False, False, True, True, True]
    dark = np.full((80, 80, 3), (60, 60, 200), np.uint8)
    assert like_normal_map(prints(dark, noise)).tolist() == [False, False]
    even, sloping = shading(prints(noise, slope)).tolist()
    assert sloping > even


def test_deviations_are_robust_and_need_some_to_compare_with() -> None:
    values = np.append(np.random.default_rng(0).normal(5, 2, 999), 1e6)
    found = deviations(values)
    assert np.median(found) == pytest.approx(0, abs=1e-6)
    assert np.std(found[:-1]) == pytest.approx(1, abs=0.1)
    assert found[-1] > 1e4
    assert not deviations(np.array([1.0, 2, 900])).any()
    assert not deviations(np.full(20, 3.0)).any()
    unknown = deviations(np.append(values, np.nan))
    assert unknown[-1] == 0
    np.testing.assert_array_equal(unknown[:-1], found)


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory, small_library: Path) -> Path:
    """A library of 24 surfaces, and five files among them that are none."""
    folder = tmp_path_factory.mktemp("mixed")
    shutil.copytree(small_library.parent, folder, dirs_exist_ok=True)
    raw, side = folder / "raw", 256
    strange = {
        "blank": np.full((side, side, 3), (90, 140, 70), np.uint8),
        "rock_normal_like": normal_map(3, side),
        "patches": patchwork(side, 1),
        "collage": patchwork(side, 2),
    }
    for name, pixels in strange.items():
        Image.fromarray(pixels).save(raw / f"{name}.png")
    index(raw, library=folder / "library", folder_moved=True)
    return folder / "library"


def patchwork(side_px: int, seed: int) -> np.ndarray:
    """Sixteen patches that have nothing in common."""
    random, patch = np.random.default_rng(seed), side_px // 4
    picture = np.zeros((side_px, side_px, 3))
    y, x = np.mgrid[:patch, :patch]
    for number in range(16):
        top, left = divmod(number, 4)
        waves = np.sin(x * random.uniform(0, 2) + y * random.uniform(0, 2))
        colour = random.uniform(0, 255, 3)
        part = colour + 90 * random.uniform() * waves[:, :, None]
        part += random.normal(size=(patch, patch, 1)) * 50 * random.uniform()
        picture[top * patch :, left * patch :][:patch, :patch] = part
    return picture.clip(0, 255).astype(np.uint8)


def test_the_strange_files_of_a_library_come_first_with_their_reason(mixed: Path) -> None:
    report = outliers(mixed)
    json.dumps(report.to_dict(), allow_nan=False)
    kinds = {item.path: item.kind for item in report.outliers}
    assert kinds["blank.png"] == "blank"
    assert kinds["rock_normal_like.png"] == "normal map"
    assert kinds["patches.png"] == kinds["collage.png"] == "uneven"
    assert [item.path for item in report.outliers[:2]] == ["blank.png", "rock_normal_like.png"]
    assert report.items == 28
    assert report.found == len(report.outliers) <= 8  # of 24 surfaces few
    scores = [item.score for item in report.outliers]
    assert scores == sorted(scores, reverse=True)
    assert min(scores) >= 0.75
    for item in report.outliers:
        assert len(item.nearest) == 3
        assert item.path not in [near.path for near in item.nearest]
    assert "90, 140, 70" in report.outliers[0].reason


def test_as_many_are_listed_as_were_asked_for(mixed: Path) -> None:
    every = outliers(mixed)
    two = outliers(mixed, settings=OutliersSettings(limit=2))
    assert two.found == every.found
    assert two.outliers == every.outliers[:2]
    with pytest.raises(LibraryError, match="not a library"):
        outliers(mixed.parent)


def test_unevenness_is_of_pictures_with_parts(mixed: Path) -> None:
    with Library.open(mixed) as library:
        items, wholes = items_with_vectors(library)
        found = unevenness(library.catalog, wholes, Silent())
        sql = "SELECT item, count(*) FROM crops WHERE scale = 2 GROUP BY item"
        count = dict(library.catalog.execute(sql).fetchall())
    assert [count.get(item.id, 0) >= 4 for item in items] == np.isfinite(found).tolist()
    assert np.isfinite(found).sum() >= 24


def test_a_library_of_few_items_has_no_far_ones(small_library: Path, tmp_path: Path) -> None:
    raw = tmp_path / "raw"
    raw.mkdir()
    for file in sorted((small_library.parent / "raw").rglob("*.*"))[:3]:
        if file.suffix in (".png", ".jpg"):
            shutil.copy(file, raw)
    Image.new("RGB", (100, 100), (10, 20, 30)).save(raw / "none.png")
    index(raw, library=tmp_path / "lib")
    report = outliers(tmp_path / "lib")
    assert [item.kind for item in report.outliers] == ["blank"]
