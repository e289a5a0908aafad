"""Training for similarity: crops of one surface that agree, and runs that start from others."""

from __future__ import annotations

import json
import signal
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch
from PIL import Image

from test_training import Counting, figures, same_models, stop_at
from vaeneer.errors import ModelFileError, OutputExistsError, SettingsError, TrainingInterrupted
from vaeneer.inspection import info
from vaeneer.model.checkpoint import load, read_card
from vaeneer.settings import Recipe, TrainSettings, read_settings
from vaeneer.training.run_folder import read_metrics
from vaeneer.training.train import train

pytestmark = pytest.mark.usefixtures("few_crops", "no_plots")
SURFACE = TrainSettings(
    recipe="surface", views=2, batch_size=8, epochs=2, device="cpu", precision="float32"
)


@pytest.fixture(scope="module")
def whole(data_set: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of the surface recipe, two epochs of three steps."""
    out = tmp_path_factory.mktemp("runs") / "whole"
    train(data_set, out=out, settings=SURFACE)
    return out


def test_the_term_is_in_the_figures_and_the_pictures_of_a_run(whole: Path) -> None:
    lines = read_metrics(whole)
    assert [line["step"] for line in lines] == [3, 6]
    for line in lines:
        train_, valid = line["train"], line["valid"]
        assert train_["images"] == 20, "two crops of ten images"
        assert train_["nats_per_image"] == pytest.approx(
            train_["reconstruction_nats"] + train_["kl_nats"]
        ), "the ELBO is what it was"
        assert train_["consistency"] > 0
        weight = Recipe.of(SURFACE).consistency_weight
        assert valid["trained_loss"] == pytest.approx(
            valid["elbo_loss"] + weight * valid["consistency"]
        )
    with Image.open(whole / "plots" / "consistency.png") as picture:
        picture.load()


def test_best_is_the_epoch_with_the_least_of_what_is_trained(whole: Path) -> None:
    best = min(read_metrics(whole), key=lambda line: line["valid"]["trained_loss"])
    assert read_card(whole / "best").training["epochs"] == best["epoch"]


def test_config_toml_tells_all_of_the_recipe_and_reads_back(whole: Path) -> None:
    written = read_settings(whole / "config.toml", TrainSettings, "train", ignore=("data",))
    assert Recipe.of(written) == Recipe.of(SURFACE)
    assert (written.recipe, written.architecture) == ("surface", "surface")


@pytest.mark.parametrize("step", [1, 4])
def test_a_stopped_run_with_a_term_goes_on_to_the_bit(
    whole: Path, data_set: Path, tmp_path: Path, step: int
) -> None:
    out = tmp_path / "run"
    with pytest.raises(TrainingInterrupted):
        train(data_set, out=out, settings=SURFACE, progress=stop_at(step, signal.SIGTERM))
    train(data_set, out=out, resume=True)
    same_models(whole, out)
    assert figures(whole) == figures(out)


@pytest.mark.parametrize("kind", ["vicreg", "kl"])
def test_each_term_trains(data_set: Path, tmp_path: Path, kind: str) -> None:
    progress = Counting()
    settings = replace(SURFACE, consistency=kind, epochs=1)  # type: ignore[arg-type]
    line = train(data_set, out=tmp_path / "run", settings=settings, progress=progress).figures
    assert line["train"]["consistency"] >= 0
    assert any("consistency" in said for said in progress.lines)


def test_the_term_pulls_crops_of_one_surface_together(data_set: Path, tmp_path: Path) -> None:
    """The same steps with and without the weight: the term is lower with it, on both sides."""
    found = {}
    for weight in (0.0, 3000.0):
        settings = replace(SURFACE, epochs=4, consistency_weight=weight, learning_rate=3e-3, seed=1)
        line = train(data_set, out=tmp_path / f"{weight:g}", settings=settings).figures
        found[weight] = [line[side]["consistency"] for side in ("train", "valid")]
    assert found[3000.0][0] < 0.8 * found[0.0][0]
    assert found[3000.0][1] < 0.9 * found[0.0][1]


def test_a_term_that_compares_needs_views(data_set: Path, tmp_path: Path) -> None:
    for settings in (
        TrainSettings(recipe="reference", consistency="kl"),
        TrainSettings(recipe="surface", views=1),
    ):
        with pytest.raises(SettingsError, match="--views 2"):
            train(data_set, out=tmp_path / "run", settings=settings)
    with pytest.raises(SettingsError, match="off, infonce, vicreg or kl"):
        replace(SURFACE, consistency="hinge")  # type: ignore[arg-type]
    with pytest.raises(SettingsError, match="temperature is 0"):
        replace(SURFACE, temperature=0.0)
    assert not (tmp_path / "run").exists()


# Runs that start from a model


def test_a_run_starts_from_the_weights_of_a_model(
    whole: Path, data_set: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(whole.parent)
    out = tmp_path / "run"
    settings = replace(
        TrainSettings(init_from="whole", device="cpu", precision="float32"), epochs=1, batch_size=8,
        learning_rate=1e-12, views=2,
    )  # fmt: skip
    train(data_set, out=out, settings=settings)
    before, after = (load(run / "best").state_dict() for run in (whole, out))
    assert all(torch.allclose(before[name], after[name], atol=1e-6) for name in before)
    card = read_card(out)
    assert card.architecture == "surface"
    assert card.training["settings"]["init_from"] == str(whole)
    written = read_settings(out / "config.toml", TrainSettings, "train", ignore=("data",))
    assert (written.init_from, written.recipe) == (str(whole), "surface"), "the model's own recipe"


def test_a_run_that_started_from_a_model_goes_on_without_it(
    model: Path, data_set: Path, tmp_path: Path
) -> None:
    import shutil

    start = shutil.copytree(model, tmp_path / "start")
    settings = replace(SURFACE, recipe=None, init_from=str(start), epochs=1, views=1)
    train(data_set, out=tmp_path / "run", settings=settings)
    shutil.rmtree(start)
    more = replace(settings, epochs=2)
    assert train(data_set, out=tmp_path / "run", settings=more, resume=True).epochs == 2
    other = replace(settings, init_from=str(tmp_path / "other"))
    with pytest.raises(SettingsError, match="init_from"):
        train(data_set, out=tmp_path / "run", settings=other, resume=True)


def test_another_architecture_cannot_start_a_run(
    model: Path, data_set: Path, tmp_path: Path
) -> None:
    settings = TrainSettings(init_from=str(model), architecture="surface")
    with pytest.raises(SettingsError, match=r"reference network.*--architecture"):
        train(data_set, out=tmp_path / "run", settings=settings)
    with pytest.raises(SettingsError, match=r"reference network.*--recipe"):
        train(data_set, out=tmp_path / "run", settings=replace(SURFACE, init_from=str(model)))
    with pytest.raises(ModelFileError, match="nothing-here"):
        train(data_set, out=tmp_path / "run", settings=TrainSettings(init_from="nothing-here"))
    assert not (tmp_path / "run").exists()


def test_overwrite_never_deletes_the_model_to_start_from(whole: Path, data_set: Path) -> None:
    settings = replace(SURFACE, init_from=str(whole / "best"))
    with pytest.raises(OutputExistsError, match="cannot be replaced"):
        train(data_set, out=whole, settings=settings, overwrite=True)
    assert load(whole)


# What the latents carry


def test_a_collapsed_run_is_told_with_a_remedy(data_set: Path, tmp_path: Path, whole: Path) -> None:
    """A KL term ten thousand times too heavy leaves nothing of the latents."""
    heavy = TrainSettings(
        recipe="improved", warmup_fraction=0.0, beta=1e4, epochs=2, batch_size=4, device="cpu"
    )
    train(data_set, out=tmp_path / "run", settings=heavy)
    told = info(tmp_path / "run").to_dict()["facts"]["diagnosis"]
    assert told.startswith("collapsed")
    assert "--beta, which is 10000" in told
    assert info(whole).to_dict()["facts"]["diagnosis"].startswith("healthy")


def test_an_old_run_is_read_without_the_new_figures(whole: Path, tmp_path: Path) -> None:
    import shutil

    old = shutil.copytree(whole, tmp_path / "old")
    lines = read_metrics(old)
    for line in lines:
        for name in [n for n in line["valid"] if n.startswith(("texture", "used", "latents"))]:
            del line["valid"][name]
        del line["valid"]["trained_loss"], line["valid"]["consistency"]
    (old / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    facts = info(old).to_dict()["facts"]
    assert facts["diagnosis"].startswith("healthy")
    assert facts["best_epoch"] in (1, 2)


def test_settings_are_plain_values() -> None:
    json.dumps(asdict(SURFACE))
