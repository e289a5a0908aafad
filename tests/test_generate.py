"""Picture grids: seeded, one pixel for one pixel, with clear refusals."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from vaeneer.data.images import read_rgb, resize_rgb
from vaeneer.errors import DataError, OutputExistsError, SettingsError
from vaeneer.evaluation.plots import has_display, save_grid, show_pictures, to_pixels
from vaeneer.generate import reconstruct, sample
from vaeneer.model.checkpoint import load
from vaeneer.model.vae import eval_mode


def tile(picture: Path, row: int, column: int, *, caption_px: int = 0) -> np.ndarray:
    with Image.open(picture) as image:
        pixels = np.asarray(image)
    top, left = 6 + row * (254 + caption_px + 6), 6 + column * 260
    return pixels[top : top + 254, left : left + 254]


def test_samples_are_those_of_the_network_and_follow_the_seed(model: Path, tmp_path: Path) -> None:
    report = sample(model, out=tmp_path / "a.png", count=3, seed=4)
    assert report.images == 3
    with eval_mode(load(model)):
        expected = to_pixels(load(model).sample(3, torch.Generator().manual_seed(4)))
    assert np.array_equal(tile(tmp_path / "a.png", 0, 0), expected[0])
    assert np.array_equal(tile(tmp_path / "a.png", 0, 2), expected[2])
    sample(model, out=tmp_path / "b.png", count=3, seed=4)
    sample(model, out=tmp_path / "c.png", count=3, seed=5)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    assert (tmp_path / "a.png").read_bytes() != (tmp_path / "c.png").read_bytes()


def test_reconstructions_stand_below_their_images(
    model: Path, data_set: Path, tmp_path: Path
) -> None:
    files = sorted((data_set / "train").rglob("*.png"))[:3]
    reconstruct(model, files, out=tmp_path / "a.png")
    for column, file in enumerate(files):
        expected = resize_rgb(read_rgb(file))
        assert np.array_equal(tile(tmp_path / "a.png", 0, column, caption_px=18), expected)
    image = torch.from_numpy(resize_rgb(read_rgb(files[0])).copy())
    vae = load(model)
    with eval_mode(vae):
        answer = to_pixels(vae.reconstruct(image.permute(2, 0, 1)[None].float() / 255))[0]
    shown = tile(tmp_path / "a.png", 1, 0, caption_px=18)
    assert np.abs(shown.astype(int) - answer.astype(int)).max() <= 1


def test_a_folder_gives_a_seeded_choice(model: Path, data_set: Path, tmp_path: Path) -> None:
    first = reconstruct(model, [data_set / "train"], out=tmp_path / "a.png", count=2, seed=1)
    assert first.images == 2
    reconstruct(model, [data_set / "train"], out=tmp_path / "b.png", count=2, seed=1)
    reconstruct(model, [data_set / "train"], out=tmp_path / "c.png", count=2, seed=2)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    assert (tmp_path / "a.png").read_bytes() != (tmp_path / "c.png").read_bytes()


def test_bad_files_are_skipped_unless_nothing_is_left(
    model: Path, data_set: Path, tmp_path: Path
) -> None:
    good = next((data_set / "train").rglob("*.png"))
    (tmp_path / "bad.png").write_bytes(b"nothing")
    report = reconstruct(model, [tmp_path / "bad.png", good], out=tmp_path / "a.png")
    assert [Path(name).name for name in report.skipped] == ["bad.png"]
    with pytest.raises(DataError, match=r"bad\.png"):
        reconstruct(model, [tmp_path / "bad.png"], out=tmp_path / "b.png")


def test_outputs_are_png_files_that_do_not_exist(model: Path, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_text("mine")
    with pytest.raises(OutputExistsError, match="--overwrite"):
        sample(model, out=tmp_path / "a.png")
    assert (tmp_path / "a.png").read_text() == "mine"
    sample(model, out=tmp_path / "a.png", count=1, overwrite=True)
    with pytest.raises(OutputExistsError, match="folder"):
        sample(model, out=tmp_path)
    with pytest.raises(SettingsError, match=r"\.png"):
        sample(model, out=tmp_path / "a.jpg")
    with pytest.raises(SettingsError, match="count"):
        sample(model, out=tmp_path / "b.png", count=0)


def test_captions_are_cut_to_their_tile(tmp_path: Path) -> None:
    tiles = [np.zeros((40, 40, 3), np.uint8)] * 3
    save_grid(tiles, tmp_path / "a.png", columns=2, captions=["a" * 90, "b", ""])
    with Image.open(tmp_path / "a.png") as picture:
        assert picture.size == (2 * 46 + 6, 2 * 64 + 6)


def test_windows_open_only_where_there_is_a_display(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Image.new("RGB", (4, 4)).save(tmp_path / "a.png")
    shown: list[str] = []
    monkeypatch.setattr(Image.Image, "show", lambda self, title: shown.append(title))
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    assert not has_display()
    assert show_pictures(tmp_path) == 0
    assert shown == []
    monkeypatch.setenv("DISPLAY", ":0")
    assert show_pictures(tmp_path) == 1
    assert shown == ["a.png"]
