"""calibrate: a read-out and a probability for one's own library, in place or as a copy."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import vaeneer
from conftest import Painter
from vaeneer.cli.app import run
from vaeneer.data.dataset import open_folder
from vaeneer.data.pixel_cache import PackLayout, open_pack
from vaeneer.device import choose_device, choose_precision
from vaeneer.errors import DataError, ModelFileError, OutputExistsError, SettingsError
from vaeneer.evaluation.calibrate import calibrate, cosine_pairs, fit_similarity, split_sides
from vaeneer.model import bundled_models
from vaeneer.model.checkpoint import load, save
from vaeneer.progress import Silent
from vaeneer.settings import CalibrateSettings, ReadoutSettings

QUICK = CalibrateSettings(draws=2, device="cpu", precision="float32", dimensions=6)


@pytest.fixture
def own(model: Path, tmp_path: Path) -> Path:
    """A model folder of one's own, with something else in it."""
    folder = tmp_path / "own"
    shutil.copytree(model, folder)
    (folder / "evaluation-valid").mkdir()
    (folder / "evaluation-valid" / "evaluation.json").write_text("{}")
    return folder


def test_a_model_is_calibrated_in_place_and_keeps_the_rest(own: Path, data_set: Path) -> None:
    weights = (own / "model.safetensors").read_bytes()
    report = calibrate(own, data_set, settings=QUICK)
    assert (report.train_images, report.held_out_images) == (10, 4)
    assert (report.crops, report.latents, report.dimensions) == (8, 512, 6)
    assert report.out == str(own)
    assert (own / "model.safetensors").read_bytes() == weights
    assert (own / "evaluation-valid" / "evaluation.json").is_file()
    assert [Path(picture).is_file() for picture in report.pictures] == [True]
    embedder = vaeneer.Embedder(own, device="cpu", precision="float32")
    assert embedder.dimensions == 6
    assert report.cosine_at_half is not None
    assert embedder.probability(report.cosine_at_half) == pytest.approx(0.5)
    assert embedder.readout.settings == ReadoutSettings(dimensions=6)
    assert embedder.readout.data["held_out_images"] == 4
    assert vaeneer.info(own).facts.readout["calibration"]["slope"] == report.slope
    json.dumps(report.to_dict(), allow_nan=False)


def test_the_read_out_helps_and_a_second_fit_says_what_the_first_reached(
    own: Path, data_set: Path
) -> None:
    first = calibrate(own, data_set, settings=QUICK).figures
    assert first["before"] == first["latents"]
    assert first["after"]["auc"] > first["latents"]["auc"]
    second = calibrate(own, data_set, settings=replace(QUICK, whiten=False)).figures
    assert second["before"] == first["after"]
    assert second["after"] != first["after"]


def test_a_copy_leaves_the_model_as_it_was(own: Path, data_set: Path, tmp_path: Path) -> None:
    before = {path.name for path in own.iterdir()}
    report = calibrate(own, data_set, out=tmp_path / "copy", settings=QUICK)
    assert {path.name for path in own.iterdir()} == before
    assert {path.name for path in (tmp_path / "copy").iterdir()} == {
        ".vaeneer.json", "SHA256SUMS", "config.json", "model.safetensors", "readout.json",
        "readout.safetensors",
        "reliability.png",
    }  # fmt: skip
    assert load(report.out).calibration is not None
    with pytest.raises(OutputExistsError, match="--overwrite"):
        calibrate(own, data_set, out=tmp_path / "copy", settings=QUICK)
    again = replace(QUICK, dimensions=3)
    calibrate(own, data_set, out=tmp_path / "copy", settings=again, overwrite=True)
    assert vaeneer.Embedder(tmp_path / "copy").dimensions == 3
    with pytest.raises(OutputExistsError, match="is in it"):
        calibrate(own, data_set, out=own, settings=QUICK, overwrite=True)


def test_a_run_means_its_best_model(own: Path, data_set: Path, tmp_path: Path) -> None:
    shutil.copytree(own, tmp_path / "run" / "best")
    report = calibrate(tmp_path / "run", data_set, settings=QUICK)
    assert report.out == str(tmp_path / "run" / "best")
    assert load(tmp_path / "run").readout is not None


def test_a_model_in_the_box_is_only_read(
    model: Path, data_set: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(model, tmp_path / "models" / "wall-base")
    monkeypatch.setattr(bundled_models, "BOX", tmp_path / "models")
    for name in ("wall-base", tmp_path / "models" / "wall-base"):
        with pytest.raises(OutputExistsError, match="--out"):
            calibrate(name, data_set, settings=QUICK)
    calibrate("wall-base", data_set, out=tmp_path / "mine", settings=QUICK)
    assert load("wall-base").readout is None
    assert load(tmp_path / "mine").readout is not None


def test_a_plain_folder_is_split_by_asset(own: Path, paint: Painter, tmp_path: Path) -> None:
    for number in range(12):
        for part in "ab":  # two images of each asset
            paint(tmp_path / "raw" / f"wall{number}" / f"wall{number}_{part}.png", number)
    report = calibrate(own, tmp_path / "raw", settings=QUICK)
    assert report.train_images + report.held_out_images == 24
    pack = open_pack(open_folder(tmp_path / "raw"), PackLayout(568))
    sides = split_sides(pack, None, QUICK)
    names = pack.table["asset"].to_pylist()
    train, held_out = ({names[i] for i in side.indices} for side in sides)
    assert not train & held_out
    assert len(held_out) >= 2
    few = split_sides(pack, None, replace(QUICK, max_images=7))
    assert len(few.train.indices) + len(few.held_out.indices) == 7


def test_the_fit_is_the_same_each_time_and_leaves_the_network_alone(
    own: Path, data_set: Path
) -> None:
    vae = load(own)
    packs = [open_pack(open_folder(data_set / s), PackLayout(568)) for s in ("train", "valid")]
    exact = choose_precision("float32", choose_device("cpu"))
    first, second = (
        fit_similarity(vae, packs[0], packs[1], settings, exact, Silent())
        for settings in (QUICK, replace(QUICK, batch_size=5))
    )
    largest = np.abs(first[0].projection).max()
    np.testing.assert_allclose(
        first[0].projection, second[0].projection, atol=1e-3 * largest, rtol=0
    )
    assert first[1] is not None
    assert second[1] is not None
    assert first[1].slope == pytest.approx(second[1].slope, rel=1e-3)
    assert vae.readout is None


def test_pairs_are_of_one_draw_of_one_image_or_of_two_assets() -> None:
    vectors = np.eye(3, dtype=np.float32)[[0, 1, 1]][:, None, None].repeat(2, 1).repeat(4, 2)
    found = cosine_pairs(vectors, np.array([0, 1, 1]), most_different=500, seed=0)
    assert found.same.shape == (3 * 2 * 6,)
    assert (found.same == 1).all()
    assert len(found.different) > 100
    assert (found.different == 0).all()  # images 1 and 2 are one asset


def test_a_pair_counts_as_often_as_it_is_drawn() -> None:
    surfaces = np.array([[1, 0], [0, 1], [0.6, 0.8]], np.float32)
    vectors = surfaces[:, None, None].repeat(2, 1).repeat(4, 2)
    found = cosine_pairs(vectors, np.arange(3), most_different=500, seed=0)
    counts = [np.isclose(found.different, cosine).sum() for cosine in (0, 0.6, 0.8)]
    assert sum(counts) == len(found.different) == 500
    assert min(counts) > 100


def test_what_cannot_be_done_is_said(
    own: Path, data_set: Path, paint: Painter, tmp_path: Path
) -> None:
    with pytest.raises(SettingsError, match="draws"):
        calibrate(own, data_set, settings=replace(QUICK, draws=0))
    with pytest.raises(SettingsError, match="shrinkage"):
        calibrate(own, data_set, settings=replace(QUICK, shrinkage=2))
    paint(tmp_path / "few" / "brick.png", 1)
    paint(tmp_path / "few" / "wood.png", 2)
    with pytest.raises(DataError, match="two assets"):
        calibrate(own, tmp_path / "few", settings=QUICK)
    with pytest.raises(ModelFileError, match="no bundled model"):
        calibrate("no-such-model", data_set, settings=QUICK)
    assert load(own).readout is None


def test_the_command(own: Path, data_set: Path, capsys: pytest.CaptureFixture[str]) -> None:
    quick = ["--draws", "1", "--device", "cpu", "--dimensions", "4"]
    assert run(["calibrate", str(own), str(data_set), *quick]) == 0
    assert "vectors now" in capsys.readouterr().out
    assert run(["calibrate", str(own), str(data_set), *quick, "--no-whiten", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["dimensions"] == 4
    assert load(own).readout.settings.whiten is False  # type: ignore[union-attr]


def test_saving_again_keeps_the_calibration(own: Path, data_set: Path, tmp_path: Path) -> None:
    calibrate(own, data_set, settings=QUICK)
    save(load(own), tmp_path / "again")
    assert load(tmp_path / "again").calibration == load(own).calibration
