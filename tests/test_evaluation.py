"""Evaluation: exact averages, the same for every batch size, beside trivial predictors."""

from __future__ import annotations

import csv
import io
import json
import math
import shutil
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from rich.console import Console

from vaeneer.cli import tables
from vaeneer.data.dataset import open_folder
from vaeneer.data.pixel_cache import Pack, PackLayout, open_pack
from vaeneer.device import choose_precision
from vaeneer.errors import DataError, ModelFileError, OutputExistsError, SettingsError
from vaeneer.evaluation.evaluate import evaluate
from vaeneer.evaluation.per_image import METRICS, Metric, measure
from vaeneer.model.checkpoint import load
from vaeneer.model.losses import bce_nats
from vaeneer.settings import EvaluateSettings

QUICK = EvaluateSettings(device="cpu", precision="float32", worst=2)
EXACT = choose_precision("float32", torch.device("cpu"))
PROMISED = {
    "images",
    "nats_per_image",
    "reconstruction_nats",
    "kl_nats",
    "nats_per_dim",
    "entropy_nats",
    "excess_nats",
    "psnr_db",
    "ssim",
    "active_units",
}


def squares(folder: Path) -> Pack:
    return open_pack(open_folder(folder), PackLayout(254, square=True))


@pytest.fixture(scope="module")
def valid(data_set: Path) -> Path:
    return data_set / "valid"


def test_the_report_has_what_is_promised_and_adds_up(model: Path, valid: Path) -> None:
    report = evaluate(model, valid, settings=QUICK)
    assert set(report.to_dict()) >= PROMISED
    assert report.images == 4
    assert report.nats_per_image == pytest.approx(report.reconstruction_nats + report.kl_nats)
    assert report.nats_per_dim == pytest.approx(report.nats_per_image / 193_548)
    assert report.excess_nats == pytest.approx(report.nats_per_image - report.entropy_nats)
    assert report.excess_nats > 0
    assert report.best_image_nats <= report.nats_per_image <= report.worst_image_nats
    assert report.metrics.keys() == METRICS.keys()
    assert -1 <= report.to_dict()["ssim"] <= 1
    json.dumps(report.to_dict(), allow_nan=False)


@pytest.mark.parametrize("batch_size", [1, 3, 4, 50])
def test_the_average_is_exact_for_every_batch_size(
    model: Path, valid: Path, batch_size: int
) -> None:
    first = evaluate(model, valid, settings=QUICK).to_dict()
    other = evaluate(model, valid, settings=replace(QUICK, batch_size=batch_size)).to_dict()
    for name in PROMISED:
        assert other[name] == pytest.approx(first[name], rel=1e-5)


def test_figures_are_those_of_the_network_on_resized_images(model: Path, valid: Path) -> None:
    vae, pack = load(model), squares(valid)
    found = measure(vae, pack, precision=EXACT, quality=True)
    for place, item in enumerate(pack.items()):
        with Image.open(item.path) as file:
            pixels = np.asarray(file.convert("RGB").resize((254, 254), Image.Resampling.BILINEAR))
        image = torch.from_numpy(pixels.copy()).permute(2, 0, 1)[None].float() / 255
        with torch.no_grad():
            posterior = vae.encode(image)
            kl = -0.5 * torch.sum(
                1 + posterior.log_var - posterior.mu.pow(2) - posterior.log_var.exp()
            )
            error = (vae.decode(posterior.mu).sigmoid() - image).square().mean()
        assert found.kl_nats[place] == pytest.approx(kl.item(), rel=1e-4)
        assert found.metrics["psnr_db"][place] == pytest.approx(
            -10 * math.log10(error.item()), rel=1e-4
        )


def test_trivial_predictors_score_what_they_would(model: Path, valid: Path) -> None:
    """grey is ln 2 for each dimension; the others are the BCE of a constant picture."""
    report = evaluate(model, valid, settings=QUICK)
    trivial = report.trivial_excess_nats
    grey, own, training = trivial["grey"], trivial["own_mean"], trivial["training_mean"]
    assert grey is not None
    assert own is not None
    assert training is not None
    assert grey + report.entropy_nats == pytest.approx(193_548 * math.log(2), rel=1e-6)
    assert 0 <= own < min(training, grey)
    costs = []
    for item in open_folder(valid).items:
        with Image.open(item.path) as file:
            resized = file.resize((254, 254), Image.Resampling.BILINEAR)
        image = torch.from_numpy(np.asarray(resized).copy()).permute(2, 0, 1)[None].double() / 255
        constant = torch.tensor([0.4, 0.5, 0.6]).reshape(1, 3, 1, 1).expand_as(image)
        costs.append(bce_nats(constant.logit(), image).item())
    assert training + report.entropy_nats == pytest.approx(np.mean(costs), rel=1e-5)


def test_the_importance_weighted_bound_is_tighter(model: Path, valid: Path) -> None:
    single = evaluate(model, valid, settings=replace(QUICK, iwae=1))
    many = evaluate(model, valid, settings=replace(QUICK, iwae=32))
    assert evaluate(model, valid, settings=QUICK).iwae_nats is None
    assert single.iwae_nats == pytest.approx(single.nats_per_image, rel=1e-3)
    assert many.iwae_nats is not None
    assert single.iwae_nats is not None
    assert many.iwae_nats < single.iwae_nats
    assert many.iwae_samples == 32


def test_the_seed_decides_the_latents(model: Path, valid: Path) -> None:
    first = evaluate(model, valid, settings=QUICK)
    assert evaluate(model, valid, settings=QUICK).nats_per_image == first.nats_per_image
    other = evaluate(model, valid, settings=replace(QUICK, seed=1))
    assert other.nats_per_image != first.nats_per_image


def test_pictures_and_files_are_written(model: Path, valid: Path, tmp_path: Path) -> None:
    report = evaluate(model, valid, out=tmp_path / "out", settings=QUICK)
    assert [Path(name).name for name in report.pictures] == ["loss-per-image.png", "worst.png"]
    for name in report.pictures:
        with Image.open(name) as picture:
            picture.load()
    assert json.loads((tmp_path / "out" / "evaluation.json").read_text()) == report.to_dict()
    with (tmp_path / "out" / "per-image.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["file"] for row in rows] == [item.name for item in open_folder(valid).items]
    mean = np.mean([float(row["nats"]) for row in rows])
    assert mean == pytest.approx(report.nats_per_image)


def test_an_output_that_exists_is_refused(model: Path, valid: Path, tmp_path: Path) -> None:
    (tmp_path / "kept.txt").write_text("1")
    with pytest.raises(OutputExistsError):
        evaluate(model, valid, out=tmp_path, settings=QUICK)
    with pytest.raises(OutputExistsError, match="cannot be replaced"):
        evaluate(model, valid, out=valid, settings=QUICK, overwrite=True)
    assert len(open_folder(valid)) == 4


def test_a_bad_file_is_skipped_listed_and_counted(model: Path, valid: Path, tmp_path: Path) -> None:
    shutil.copytree(valid, tmp_path / "valid")
    (tmp_path / "valid" / "aaa.jpg").write_bytes(b"not an image")
    clean = evaluate(model, valid, settings=QUICK)
    report = evaluate(model, tmp_path / "valid", settings=QUICK)
    assert [Path(path).name for path in report.skipped] == ["aaa.jpg"]
    assert report.images == clean.images
    assert report.metrics["psnr_db"] == pytest.approx(clean.metrics["psnr_db"], rel=1e-5)


def test_a_folder_of_bad_files_is_an_error(model: Path, tmp_path: Path) -> None:
    (tmp_path / "aaa.jpg").write_bytes(b"not an image")
    with pytest.raises(DataError, match="readable"):
        evaluate(model, tmp_path, settings=QUICK)


def test_missing_things_are_named(model: Path, valid: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="not a folder"):
        evaluate(model, tmp_path / "absent", settings=QUICK)
    with pytest.raises(DataError, match="no image files"):
        evaluate(model, tmp_path, settings=QUICK)
    with pytest.raises(ModelFileError):
        evaluate(tmp_path, valid, settings=QUICK)
    with pytest.raises(SettingsError, match="iwae"):
        evaluate(model, valid, settings=replace(QUICK, iwae=-1))


def test_active_units_are_the_latents_that_vary(model: Path, valid: Path) -> None:
    found = measure(load(model), squares(valid), precision=EXACT)
    loud = replace(found, mu=np.concatenate([np.eye(4, 3), np.zeros((4, 5))], 1))
    assert loud.active_units == 3


def test_each_images_latent_is_its_own_in_every_batch(model: Path, valid: Path) -> None:
    """With a decoder that makes much of its latent, noise by place in the batch would show."""
    vae, pack = load(model), squares(valid)
    with torch.no_grad():
        vae.decoder.fc.weight.mul_(100)
        vae.decoder.t_conv6.weight.mul_(100)
    measured = partial(measure, vae, pack, precision=EXACT)
    whole, alone = (measured(batch_size=size).reconstruction_nats for size in (4, 1))
    other = measured(batch_size=4, seed=1).reconstruction_nats
    assert alone == pytest.approx(whole, rel=1e-5)
    assert (np.abs(other - whole) > 1e-3 * whole).all()


def test_without_quality_the_rest_is_the_same(model: Path, valid: Path, tmp_path: Path) -> None:
    whole = evaluate(model, valid, settings=QUICK)
    less = evaluate(model, valid, out=tmp_path / "out", settings=replace(QUICK, quality=False))
    assert set(less.metrics.values()) == {None}
    assert less.to_dict()["psnr_db"] is None
    assert less.excess_nats == whole.excess_nats
    with (tmp_path / "out" / "per-image.csv").open(newline="") as file:
        assert [row["ssim"] for row in csv.DictReader(file)] == [""] * 4


def test_a_new_metric_is_one_entry(
    model: Path, valid: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Report, JSON, per-image.csv and the table of the command line follow."""

    def distance(images: torch.Tensor, others: torch.Tensor) -> torch.Tensor:
        return (images - others).abs().flatten(1).mean(1)

    monkeypatch.setitem(METRICS, "distance", Metric(distance, "L1", "", "lower", "Any."))
    report = evaluate(model, valid, out=tmp_path / "out", settings=QUICK)
    value = report.metrics["distance"]
    assert value is not None
    assert 0 < value < 1
    assert json.loads((tmp_path / "out" / "evaluation.json").read_text())["distance"] == value
    with (tmp_path / "out" / "per-image.csv").open(newline="") as file:
        of_each = [float(row["distance"]) for row in csv.DictReader(file)]
    assert np.mean(of_each) == pytest.approx(value)
    console = Console(width=200, record=True, file=io.StringIO())
    console.print(tables.evaluation(report.to_dict()))
    assert f"L1 {value:.3f}" in console.export_text()
