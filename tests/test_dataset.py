"""Folders of images as training and measuring see them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from vaeneer.data.dataset import open_data_set, open_folder
from vaeneer.data.images import read_rgb
from vaeneer.data.loader import load_batches, to_tensor
from vaeneer.data.prepare import prepare
from vaeneer.errors import DataError, ImageFileError
from vaeneer.settings import PrepareSettings
from vaeneer.workers import chunks


def test_files_come_in_the_order_of_their_names_without_hidden_ones(
    tmp_path: Path, paint: object
) -> None:
    for name in ("b/z.png", "a/y.PNG", "c.png", ".hidden/x.png", "b/.y.png"):
        file = tmp_path / name
        file.parent.mkdir(exist_ok=True)
        Image.new("RGB", (8, 8)).save(file, format="PNG")
    (tmp_path / "notes.txt").write_text("no image")
    assert [item.name for item in open_folder(tmp_path).items] == ["a/y.PNG", "b/z.png", "c.png"]


def test_files_of_one_asset_are_known_by_their_names(tmp_path: Path) -> None:
    for name in ("wall_diff_1k.png", "wall_diff_2k.png", "floor_diff_1k.png"):
        Image.new("RGB", (8, 8)).save(tmp_path / name)
    assets = {item.name: item.asset for item in open_folder(tmp_path).items}
    assert assets["wall_diff_1k.png"] == assets["wall_diff_2k.png"]
    assert assets["wall_diff_1k.png"] != assets["floor_diff_1k.png"]


def test_a_prepared_data_set_knows_assets_categories_and_near_duplicates(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    raw = tmp_path / "raw"
    pictures = {}
    for number, name in enumerate(("wood/oak", "wood/ash", "stone/slate", "stone/chalk")):
        small = random.integers(0, 255, (8, 8, 3)).astype(np.uint8)
        pictures[name] = Image.fromarray(small).resize((128, 128), Image.Resampling.BICUBIC)
        (raw / name).parent.mkdir(parents=True, exist_ok=True)
        pictures[name].save(raw / f"{name}.png")
        assert number < 4
    pictures["wood/oak"].save(raw / "wood" / "elm.jpg", quality=90)  # oak again
    prepare(raw, out=tmp_path / "data", settings=PrepareSettings(valid_fraction=0.5))
    data = open_data_set(tmp_path / "data")
    items = {item.path.stem: item for item in data.train.items + data.valid.items}
    assert items["oak"].asset == items["elm"].asset
    assert items["oak"].asset != items["ash"].asset
    assert {name: item.category for name, item in items.items()} == {
        "oak": "wood", "elm": "wood", "ash": "wood", "slate": "stone", "chalk": "stone",
    }  # fmt: skip
    whole = {item.path.stem: item for item in open_folder(tmp_path / "data").items}
    assert {name: item.asset for name, item in whole.items()} == {
        name: item.asset for name, item in items.items()
    }


def test_a_manifest_is_found_from_inside_the_data_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(4):
        pixels = np.random.default_rng(number).integers(0, 255, (96, 96, 3)).astype(np.uint8)
        (tmp_path / "raw" / "wood").mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(tmp_path / "raw" / "wood" / f"oak_{number}.png")
    prepare(tmp_path / "raw", out=tmp_path / "data", settings=PrepareSettings(valid_fraction=0.5))
    monkeypatch.chdir(tmp_path / "data" / "valid")
    assert {item.category for item in open_folder(".").items} == {"wood"}


def test_near_duplicates_and_assets_join_even_over_a_given_split(tmp_path: Path) -> None:
    """Two files of one asset, one of them the look-alike of another: one surface in all."""
    random = np.random.default_rng(0)
    small = random.integers(0, 255, (8, 8, 3)).astype(np.uint8)
    oak = Image.fromarray(small).resize((128, 128), Image.Resampling.BICUBIC)
    (tmp_path / "raw").mkdir()
    oak.save(tmp_path / "raw" / "oak.png")
    oak.save(tmp_path / "raw" / "elm.jpg", quality=90)
    other = random.integers(0, 255, (128, 128, 3)).astype(np.uint8)
    Image.fromarray(other).save(tmp_path / "raw" / "ash.png")
    split = tmp_path / "split.csv"
    split.write_text("file,split\noak.png,train\nelm.jpg,valid\nash.png,valid\n")
    prepare(tmp_path / "raw", out=tmp_path / "data", settings=PrepareSettings(split=split))
    assets = {i.path.stem: i.asset for i in open_folder(tmp_path / "data").items}
    assert assets["oak"] == assets["elm"] != assets["ash"]


def test_folders_behind_links_are_followed(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    Image.new("RGB", (8, 8)).save(tmp_path / "real" / "a.png")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "link").symlink_to(tmp_path / "real")
    assert [item.name for item in open_folder(tmp_path / "data").items] == ["link/a.png"]


def test_a_fingerprint_changes_with_names_and_sizes(tmp_path: Path) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    first = open_folder(tmp_path).fingerprint()
    assert first == open_folder(tmp_path).fingerprint()
    Image.new("RGB", (8, 8)).save(tmp_path / "b.png")
    assert open_folder(tmp_path).fingerprint() != first


def test_what_is_missing_is_said(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="not a folder"):
        open_folder(tmp_path / "absent")
    (tmp_path / "a.txt").write_text("1")
    with pytest.raises(DataError, match=r"1 not an image file \(\.txt\)"):
        open_folder(tmp_path)


@pytest.mark.parametrize("workers", [1, 3])
def test_batches_come_in_order_and_exact(tmp_path: Path, workers: int) -> None:
    pixels = [np.full((4, 4, 3), value, np.uint8) for value in range(7)]
    found = list(load_batches(chunks(7, 3), lambda i: pixels[i], workers=workers))
    assert [batch.indices for batch in found] == [(0, 1, 2), (3, 4, 5), (6,)]
    assert torch.equal(torch.cat([batch.images for batch in found]), to_tensor(pixels))
    assert found[0].images.dtype == torch.float32
    assert found[2].images.max().item() == pytest.approx(6 / 255)


def test_a_file_that_vanishes_is_an_error_or_a_skip_as_asked(tmp_path: Path) -> None:
    Image.new("RGB", (4, 4)).save(tmp_path / "a.png")
    files = [tmp_path / "a.png", tmp_path / "gone.png"]

    def read(index: int) -> np.ndarray:
        return np.asarray(read_rgb(files[index]))

    with pytest.raises(ImageFileError, match=r"gone\.png"):
        list(load_batches([[0, 1]], read, workers=1))
    skipped: list[ImageFileError] = []
    found = list(load_batches([[0, 1], [1]], read, workers=1, skipped=skipped))
    assert [batch.indices for batch in found] == [(0,)]
    assert len(skipped) == 2
