"""The loop: resumable to the bit, stoppable anywhere, and honest about what went wrong."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from vaeneer.data.dataset import open_folder
from vaeneer.data.pixel_cache import PackLayout, open_pack
from vaeneer.device import choose_precision
from vaeneer.errors import (
    DataError,
    NonFiniteLossError,
    OutputExistsError,
    SettingsError,
    TrainingError,
    TrainingInterrupted,
)
from vaeneer.evaluation.per_image import measure
from vaeneer.model.checkpoint import load
from vaeneer.model.vae import VAE
from vaeneer.progress import Bar
from vaeneer.settings import EvaluateSettings, Recipe, TrainSettings, read_settings
from vaeneer.training import metrics
from vaeneer.training import train as train_module
from vaeneer.training.run_folder import newest_run, next_run, read_metrics
from vaeneer.training.train import train

pytestmark = pytest.mark.usefixtures("few_crops", "no_plots")
TINY = TrainSettings(
    recipe="reference",
    epochs=2,
    batch_size=4,
    workers=2,
    device="cpu",
    precision="float32",
    checkpoint_every=1,
)
PLOTS = [
    "active-units",
    "kl-per-latent",
    "reconstructions",
    "samples",
    "training-loss",
    "validation",
]


class Counting:
    """A Progress that calls `at_step` after each training step, and keeps what is said."""

    def __init__(self, at_step: Callable[[int], None] = lambda step: None) -> None:
        self.at_step = at_step
        self.steps = 0
        self.lines: list[str] = []
        self.titles: list[str] = []

    def bar(self, title: str, *, total: int, unit: str) -> AbstractContextManager[Bar]:
        self.titles.append(title)
        return nullcontext(self)

    def advance(self, count: int = 1, note: str = "") -> None:
        if note:
            self.steps += 1
            self.at_step(self.steps)

    def say(self, line: str) -> None:
        self.lines.append(line)


@pytest.fixture(scope="module")
def whole(data_set: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two epochs (six steps) that nobody disturbed."""
    out = tmp_path_factory.mktemp("runs") / "whole"
    train(data_set, out=out, settings=TINY)
    return out


def stop_at(step: int, number: signal.Signals) -> Counting:
    def stop(done: int) -> None:
        if done == step:
            os.kill(os.getpid(), number)

    return Counting(stop)


def same_models(first: Path, second: Path) -> None:
    for name in ("last", "best"):
        one, other = (load_file(run / name / "model.safetensors") for run in (first, second))
        assert one.keys() == other.keys()
        assert all(torch.equal(one[key], other[key]) for key in one)
        cards = [json.loads((run / name / "config.json").read_text()) for run in (first, second)]
        assert cards[0]["latent_mean"] == cards[1]["latent_mean"]
        assert cards[0]["figures"] == cards[1]["figures"]


def figures(run: Path) -> list[object]:
    lines = read_metrics(run)
    return [(line["epoch"], line["step"], line["train"], line["valid"]) for line in lines]


def test_a_run_leaves_models_metrics_plots_and_its_settings(whole: Path, data_set: Path) -> None:
    for name in ("best", "last", "checkpoints/epoch-0001", "checkpoints/epoch-0002"):
        assert isinstance(load(whole / name), VAE)
    for name in PLOTS:
        with Image.open(whole / "plots" / f"{name}.png") as picture:
            picture.load()
    lines = read_metrics(whole)
    assert [line["epoch"] for line in lines] == [1, 2]
    for line in lines:
        train_, valid = line["train"], line["valid"]
        total = train_["reconstruction_nats"] + train_["kl_nats"]
        assert train_["nats_per_image"] == pytest.approx(total)
        assert train_["seed_loss"] == pytest.approx(16 * total)
        assert train_["images"] == 10
        assert train_["excess_nats"] == pytest.approx(total - train_["entropy_nats"])
        assert valid["nats_per_dim"] == pytest.approx(valid["nats_per_image"] / 193_548)
        assert set(valid["trivial_excess_nats"]) == {"grey", "training_mean", "own_mean"}
        assert 0 <= valid["active_units"] <= 512
    facts = json.loads((whole / "run.json").read_text())
    assert facts["train_images"] == 10
    assert facts["data"]["path"] == str(data_set)
    assert not list(whole.rglob("*.part"))
    assert not [path for path in whole.rglob("*") if path.suffix in (".pth", ".pt", ".pkl")]


def test_best_is_the_epoch_with_the_least_validation_loss(whole: Path) -> None:
    lines = read_metrics(whole)
    best = min(lines, key=lambda line: line["valid"]["elbo_loss"])
    card = load(whole / "best").card
    assert card.training["epochs"] == best["epoch"]
    assert card.figures["nats_per_image"] == best["valid"]["nats_per_image"]


def test_the_models_know_the_means_of_their_training_images(whole: Path) -> None:
    card = load(whole / "last").card
    assert card.training_mean_rgb is not None
    assert card.latent_mean is not None
    assert len(card.latent_mean) == 512
    assert any(value != 0 for value in card.latent_mean)


def test_a_finished_run_can_be_searched_with(whole: Path) -> None:
    for name in ("best", "last"):
        vae = load(whole / name)
        assert vae.readout is not None
        assert vae.readout.data["images"] == 10
        assert vae.calibration is not None
        assert vae.calibration.images == 4


def test_config_toml_reproduces_the_run(whole: Path, data_set: Path, tmp_path: Path) -> None:
    settings = read_settings(whole / "config.toml", TrainSettings, "train", ignore=("data",))
    assert settings.recipe == "reference"
    left_open = dict.fromkeys(["recipe", *asdict(Recipe())])
    assert replace(settings, **left_open) == replace(TINY, **left_open)
    assert Recipe.of(settings) == Recipe(epochs=2, batch_size=4), "all of the recipe is written"
    train(data_set, out=tmp_path / "again", settings=settings)
    same_models(whole, tmp_path / "again")
    assert figures(whole) == figures(tmp_path / "again")


@pytest.mark.parametrize("step", [1, 2, 3, 5])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stopped_run_goes_on_to_the_bit(
    whole: Path, data_set: Path, tmp_path: Path, step: int, number: signal.Signals
) -> None:
    out = tmp_path / "run"
    with pytest.raises(TrainingInterrupted, match="--resume"):
        train(data_set, out=out, settings=TINY, progress=stop_at(step, number))
    assert not (out / "last" / "model.safetensors").exists() or step > 3
    report = train(data_set, out=out, settings=TrainSettings(workers=1), resume=True)
    assert report.steps == 6
    assert report.epochs == 2
    same_models(whole, out)
    assert figures(whole) == figures(out)


def test_a_run_killed_hard_goes_on_from_its_last_epoch(
    whole: Path, data_set: Path, tmp_path: Path
) -> None:
    """SIGKILL in the second epoch, after a metrics line that the state does not know yet."""
    script = (
        "import os, signal, sys\n"
        "sys.path.insert(0, sys.argv[3])\n"
        "from test_training import TINY, Counting\n"
        "from vaeneer.training.train import train\n"
        "kill = lambda step: step == 5 and os.kill(os.getpid(), signal.SIGKILL)\n"
        "train(sys.argv[1], out=sys.argv[2], settings=TINY, progress=Counting(kill))\n"
    )
    out = tmp_path / "run"
    here = str(Path(__file__).parent)
    arguments = [sys.executable, "-c", script, str(data_set), str(out), here]
    done = subprocess.run(arguments, check=False)
    assert done.returncode == -signal.SIGKILL
    with (out / "metrics.jsonl").open("a") as file:
        file.write('{"epoch": 2, "step": 6}\n{"epoch": 3, "st')
    train(data_set, out=out, resume=True)
    same_models(whole, out)
    assert figures(whole) == figures(out)


def test_a_finished_run_can_go_on_for_more_epochs(
    whole: Path, data_set: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    train(data_set, out=out, settings=replace(TINY, epochs=1))
    report = train(data_set, out=out, settings=replace(TINY, epochs=2), resume=True)
    assert report.epochs == 2
    assert figures(out) == figures(whole)
    assert torch.equal(
        load(out / "last").state_dict()["encoder.mu.weight"],
        load(whole / "last").state_dict()["encoder.mu.weight"],
    )


def test_resume_refuses_other_settings_and_other_data(
    whole: Path, data_set: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    shutil.copytree(whole, out)
    with pytest.raises(SettingsError, match="batch_size"):
        train(data_set, out=out, settings=replace(TINY, batch_size=8), resume=True)
    other = tmp_path / "data"
    shutil.copytree(data_set, other)
    next((other / "train").rglob("*.png")).unlink()
    with pytest.raises(TrainingError, match="not those"):
        train(other, out=out, resume=True)


def test_resume_without_a_run_begins_one(data_set: Path, tmp_path: Path) -> None:
    report = train(data_set, out=tmp_path / "run", settings=replace(TINY, epochs=1), resume=True)
    assert report.epochs == 1


def test_an_output_that_exists_is_refused(whole: Path, data_set: Path) -> None:
    with pytest.raises(OutputExistsError, match="--overwrite"):
        train(data_set, out=whole, settings=TINY)
    assert (whole / "best" / "model.safetensors").is_file()


def test_overwrite_never_deletes_the_data(data_set: Path) -> None:
    with pytest.raises(OutputExistsError, match="cannot be replaced"):
        train(data_set, out=data_set, settings=TINY, overwrite=True)
    assert (data_set / "train").is_dir()


def test_a_non_finite_loss_stops_with_step_and_files_and_keeps_the_last_good_state(
    data_set: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    good = train_module.elbo_terms
    calls = []

    def poisoned(output, images, loss):  # type: ignore[no-untyped-def]
        calls.append(1)
        terms = good(output, images, loss)
        if len(calls) == 5:
            return replace(terms, kl_nats=terms.kl_nats * float("nan"))
        return terms

    monkeypatch.setattr(train_module, "elbo_terms", poisoned)
    with pytest.raises(NonFiniteLossError, match=r"step 4 .*wall_[a-j]\.png, .*state\.safetensors"):
        train(data_set, out=tmp_path / "run", settings=TINY)
    state = load_file(tmp_path / "run" / "state.safetensors")
    assert all(torch.isfinite(value).all() for value in state.values())
    monkeypatch.undo()
    assert train(data_set, out=tmp_path / "run", resume=True).epochs == 2


def test_weights_that_are_not_finite_are_never_kept(data_set: Path, tmp_path: Path) -> None:
    """A step so large that the weights overflow after the last finite loss of the epoch."""
    settings = replace(TINY, batch_size=16, learning_rate=1e36, epochs=1)
    with pytest.raises(NonFiniteLossError, match="learning-rate"):
        train(data_set, out=tmp_path / "run", settings=replace(settings, epochs=3))
    state = load_file(tmp_path / "run" / "state.safetensors")
    assert all(torch.isfinite(value).all() for value in state.values())


def test_mse_trains_on_squared_errors(
    data_set: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(train_module, "draw_epoch", metrics.draw_epoch)  # charts without an excess
    train(
        data_set, out=tmp_path / "run", settings=replace(TINY, epochs=1, reconstruction_loss="mse")
    )
    line = read_metrics(tmp_path / "run")[0]
    assert line["train"]["excess_nats"] is None
    assert line["train"]["reconstruction_nats"] < 60_000
    valid = line["valid"]
    assert valid["elbo_loss"] == pytest.approx(valid["squared_error"] + valid["kl_nats"])
    assert load(tmp_path / "run").card.reconstruction_loss == "mse"
    assert (tmp_path / "run" / "plots" / "validation.png").is_file()


def test_beta_zero_trains_without_kl(data_set: Path, whole: Path, tmp_path: Path) -> None:
    train(data_set, out=tmp_path / "run", settings=replace(TINY, epochs=1, beta=0.0))
    assert figures(tmp_path / "run") != figures(whole)[:1]


def test_an_unreadable_image_is_skipped_and_listed(data_set: Path, tmp_path: Path) -> None:
    shutil.copytree(data_set, tmp_path / "data")
    (tmp_path / "data" / "train" / "broken.jpg").write_bytes(b"\xff\xd8 nothing")
    progress = Counting()
    report = train(
        tmp_path / "data",
        out=tmp_path / "run",
        settings=replace(TINY, epochs=1),
        progress=progress,
    )
    assert [Path(name).name for name in report.skipped] == ["broken.jpg"]
    assert any("broken.jpg" in line for line in progress.lines)
    assert json.loads((tmp_path / "run" / "run.json").read_text())["train_images"] == 10


def test_progress_names_epochs_and_figures(whole: Path, data_set: Path, tmp_path: Path) -> None:
    progress = Counting()
    train(data_set, out=tmp_path / "run", settings=replace(TINY, epochs=1), progress=progress)
    assert figures(tmp_path / "run") == figures(whole)[:1]
    assert "epoch 1/1" in progress.titles
    assert progress.steps == 3
    assert "one flat colour per image" in progress.lines[-1]


@pytest.mark.parametrize("missing", ["train", "valid"])
def test_a_data_set_with_one_side_is_refused(data_set: Path, tmp_path: Path, missing: str) -> None:
    shutil.copytree(data_set, tmp_path / "data")
    shutil.rmtree(tmp_path / "data" / missing)
    with pytest.raises(DataError, match=f"{missing}.*vaeneer prepare"):
        train(tmp_path / "data", out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("epochs", 0),
        ("batch_size", 0),
        ("learning_rate", 0.0),
        ("learning_rate", float("nan")),
        ("beta", -1.0),
        ("crop_scale_min", 0.0),
        ("crop_ratio_min", 2.0),
        ("device", "abacus"),
        ("reconstruction_loss", "hinge"),
        ("workers", -1),
        ("views", 0),
        ("views", 3),
        ("invariant_to", "weather"),
    ],
)
def test_impossible_settings_are_refused_before_anything_is_written(
    data_set: Path, tmp_path: Path, name: str, value: object
) -> None:
    with pytest.raises(SettingsError, match=name.split("_")[0]):
        train(
            data_set, out=tmp_path / "run", settings=TrainSettings(**{**asdict(TINY), name: value})
        )
    assert not (tmp_path / "run").exists()


def test_tensorboard_gets_the_figures(data_set: Path, tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    settings = replace(TINY, epochs=2, tensorboard=True)
    train(data_set, out=tmp_path / "run", settings=settings)
    events = EventAccumulator(str(tmp_path / "run" / "tensorboard"))
    events.Reload()
    found = events.Scalars("valid/nats_per_image")
    lines = read_metrics(tmp_path / "run")
    assert [event.step for event in found] == [line["step"] for line in lines]
    assert found[-1].value == pytest.approx(lines[-1]["valid"]["nats_per_image"], rel=1e-6)


def test_the_reported_validation_figures_are_those_of_evaluate(whole: Path, data_set: Path) -> None:
    from vaeneer.evaluation.evaluate import evaluate

    settings = EvaluateSettings(device="cpu", precision="float32")
    report = evaluate(whole / "last", data_set / "valid", settings=settings)
    line = read_metrics(whole)[-1]["valid"]
    assert report.nats_per_image == pytest.approx(line["nats_per_image"], rel=1e-6)
    assert report.trivial_excess_nats == pytest.approx(line["trivial_excess_nats"])


def test_run_folders_are_numbered_and_the_newest_is_found(tmp_path: Path) -> None:
    assert next_run(tmp_path / "runs").name == "001"
    assert newest_run(tmp_path / "runs") is None
    for number, name in enumerate(("001", "007", "mine")):
        (tmp_path / "runs" / name).mkdir(parents=True)
        config = tmp_path / "runs" / name / "config.toml"
        config.write_text("")
        stamp = time.time() + number
        os.utime(config, (stamp, stamp))
    assert next_run(tmp_path / "runs").name == "008"
    assert newest_run(tmp_path / "runs") == tmp_path / "runs" / "mine"


def test_measuring_leaves_the_network_in_training_mode(data_set: Path) -> None:
    vae = VAE().train()
    pack = open_pack(open_folder(data_set / "valid"), PackLayout(254, square=True))
    measure(vae, pack, precision=choose_precision("float32", torch.device("cpu")))
    assert vae.training


IMPROVED = replace(TINY, recipe="improved", init="pytorch")  # what a start does: initialisation


def test_the_improved_recipe_is_resumed_to_the_bit_with_its_averages(
    data_set: Path, tmp_path: Path
) -> None:
    train(data_set, out=tmp_path / "whole", settings=IMPROVED)
    out = tmp_path / "run"
    with pytest.raises(TrainingInterrupted):
        train(data_set, out=out, settings=IMPROVED, progress=stop_at(4, signal.SIGTERM))
    train(data_set, out=out, settings=TrainSettings(), resume=True)
    same_models(tmp_path / "whole", out)
    assert figures(tmp_path / "whole") == figures(out)


def test_averaged_weights_are_what_is_kept(data_set: Path, tmp_path: Path) -> None:
    settings = replace(TINY, ema_decay=0.9, epochs=1)
    train(data_set, out=tmp_path / "run", settings=settings)
    state = load_file(tmp_path / "run" / "state.safetensors")
    kept = load_file(tmp_path / "run" / "last" / "model.safetensors")
    for name, value in kept.items():
        assert torch.equal(value, state[f"averaged.{name}"])
    assert not torch.equal(kept["encoder.mu.weight"], state["model.encoder.mu.weight"])


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("rotate_flip", True),
        ("color_jitter", 1.0),
        ("weight_decay", 0.1),
        ("clip_norm", 1.0),
        ("kl_warmup_fraction", 0.5),
        ("warmup_fraction", 0.5),
        ("min_lr_ratio", 0.0),
        ("learning_rate", 3e-4),
        ("views", 2),
        ("invariant_to", "turn"),
    ],
)
def test_each_setting_of_a_recipe_changes_the_run(
    data_set: Path, whole: Path, tmp_path: Path, name: str, value: object
) -> None:
    """Beside the first epoch of `whole`, which a run of one epoch without the setting repeats."""
    settings = replace(TINY, epochs=1, **{name: value})
    train(data_set, out=tmp_path / "run", settings=settings)
    assert figures(tmp_path / "run") != figures(whole)[:1]
    written = read_settings(tmp_path / "run/config.toml", TrainSettings, "train", ignore=("data",))
    assert getattr(written, name) == value


def test_bfloat16_trains_like_float32_and_is_written_down(
    data_set: Path, whole: Path, tmp_path: Path
) -> None:
    settings = replace(TINY, epochs=1, precision="bfloat16")
    train(data_set, out=tmp_path / "run", settings=settings)
    exact, found = read_metrics(whole)[0], read_metrics(tmp_path / "run")[-1]
    assert found["train"]["nats_per_image"] == pytest.approx(
        exact["train"]["nats_per_image"], rel=2e-3
    )
    facts = json.loads((tmp_path / "run" / "run.json").read_text())
    assert facts["precision"] == "bfloat16"
    assert "bfloat16" in facts["device"]
    weights = load_file(tmp_path / "run" / "last" / "model.safetensors")
    assert {value.dtype for value in weights.values()} == {torch.float32, torch.int64}


def test_a_second_run_decodes_nothing(data_set: Path, tmp_path: Path) -> None:
    settings = replace(TINY, epochs=1, cache=tmp_path / "cache")
    first, second = Counting(), Counting()
    train(data_set, out=tmp_path / "first", settings=settings, progress=first)
    train(data_set, out=tmp_path / "second", settings=settings, progress=second)
    assert any("decoded 10 images" in line for line in first.lines)
    assert not any("decoded" in line for line in second.lines)
    assert figures(tmp_path / "first") == figures(tmp_path / "second")


VIEWS = replace(TINY, views=2, invariant_to="light,turn", batch_size=6)


def test_several_views_are_resumed_to_the_bit(data_set: Path, tmp_path: Path) -> None:
    report = train(data_set, out=tmp_path / "whole", settings=VIEWS)
    assert report.steps == 2 * 3, "10 images in threes; the last one joins the step before"
    assert report.figures["train"]["images"] == 20
    out = tmp_path / "run"
    with pytest.raises(TrainingInterrupted):
        train(data_set, out=out, settings=VIEWS, progress=stop_at(4, signal.SIGTERM))
    train(data_set, out=out, resume=True)
    same_models(tmp_path / "whole", out)
    assert figures(tmp_path / "whole") == figures(out)
