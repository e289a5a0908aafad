"""The commands end to end on procedural surfaces, and how they refuse."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from conftest import Painter
from vaeneer.cli.app import run
from vaeneer.cli.options import own_folder
from vaeneer.data.synthetic.synthesize import synthesize
from vaeneer.model import bundled_models
from vaeneer.model.vae import VAE

pytestmark = pytest.mark.usefixtures("few_crops", "no_plots")
BRIEF = ["--pairs-per-image", "1", "--bootstrap", "10"]


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("library") / "raw"
    synthesize(folder, count=21, side_px=96, seed=3)
    (folder / "brick" / "broken.jpg").write_bytes(b"\xff\xd8 nothing")
    return folder


@pytest.fixture(scope="module")
def data(raw: Path) -> Path:
    out = raw.parent / "data"
    assert run(["prepare", str(raw), "--out", str(out), "--valid-fraction", "0.3"]) == 0
    return out


@pytest.fixture(scope="module")
def trained(data: Path) -> Path:
    out = data.parent / "run"
    command = ["train", str(data), "--out", str(out), "--recipe", "reference", "--device", "cpu"]
    assert run([*command, "--epochs", "1"]) == 0
    return out


def answer(capsys: pytest.CaptureFixture[str], *arguments: object) -> dict[str, Any]:
    """The one JSON object that a command prints with --json."""
    capsys.readouterr()
    assert run([*map(str, arguments), "--json"]) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def refusal(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    """The one sentence of a command that fails with exit code 1."""
    capsys.readouterr()
    assert run([*map(str, arguments)]) == 1
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "Traceback" not in printed.err
    assert printed.err.count("\n") == 1
    return printed.err


def test_prepare_reports_what_it_kept_and_why_not_the_rest(
    raw: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report = answer(capsys, "prepare", raw, "--out", tmp_path / "data")
    assert report["kept"] == 21
    assert report["maps"] == 7
    assert report["sidecars"] == 21
    assert sum(report["skipped"].values()) == 1
    assert report["train"] + report["valid"] == 21
    dry = answer(capsys, "prepare", raw, "--out", tmp_path / "dry", "--dry-run")
    assert dry["kept"] == 21
    assert not (tmp_path / "dry").exists()


def test_evaluate_prints_the_promised_object_and_writes_beside_the_model(
    data: Path, trained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report = answer(capsys, "evaluate", trained, data / "valid", "--iwae", 2)
    assert report["nats_per_image"] == pytest.approx(
        report["reconstruction_nats"] + report["kl_nats"]
    )
    assert report["iwae_samples"] == 2
    assert (trained / "evaluation-valid" / "evaluation.json").is_file()
    again = answer(capsys, "evaluate", trained, data / "valid")  # its own folder is replaced
    assert again["nats_per_image"] == report["nats_per_image"]
    assert "exists" in refusal(
        capsys, "evaluate", trained, data / "valid", "--out", trained / "evaluation-valid"
    )


def test_similarity_prints_every_representation_beside_the_histogram(
    data: Path, trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report = answer(
        capsys, "similarity", trained, data / "valid", "--out", tmp_path / "out",
        "--pairs-per-image", 1,
        "--bootstrap", 10,
    )  # fmt: skip
    rows = report["representations"]
    baselines = ["rgb_histogram", "grey_world_histogram", "lbp", "random_convolutions", "whitened"]
    seeds = ["reference_sampled", "reference_mean"]
    assert list(rows) == ["embedding", "sampled", "mean", "centred", *baselines, *seeds]
    assert all(0 <= row["auc"] <= 1 for row in rows.values())
    assert (tmp_path / "out" / "similarity.png").is_file()


def test_the_strict_protocol_prints_both_variants(
    data: Path, trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report = answer(
        capsys, "similarity", trained, data / "valid", "--out", tmp_path / "out", "--protocol",
        "strict", "--baselines", "off", "--bootstrap", 10,
    )  # fmt: skip
    for variant in ("photometric", "plain"):
        assert report[variant]["protocol"] == "strict"
        assert next(iter(report[variant]["representations"])) == "embedding"
    assert (tmp_path / "out" / "similarity.html").is_file()


def test_pictures_are_drawn(
    data: Path, trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    answer(capsys, "sample", trained, "--count", 2, "--out", tmp_path / "s.png")
    answer(
        capsys, "reconstruct", trained, data / "valid", "--count", 2, "--out", tmp_path / "r.png"
    )
    for name in ("s.png", "r.png"):
        with Image.open(tmp_path / name) as picture:
            picture.load()


@pytest.mark.parametrize("kind", ["data set", "run", "model", "images"])
def test_info_knows_what_a_folder_is(
    data: Path, trained: Path, kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = {"data set": data, "run": trained, "model": trained / "best", "images": data / "train"}
    report = answer(capsys, "info", path[kind])
    assert report["kind"] == kind
    if kind == "run":
        assert report["facts"]["epochs"] == 1
    if kind == "model":
        assert report["facts"]["parameters"] == 3_297_571


def test_import_weights_makes_a_model(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.save({f"module.{k}": v for k, v in VAE().state_dict().items()}, tmp_path / "seed.pth")
    answer(capsys, "import-weights", tmp_path / "seed.pth", "--out", tmp_path / "model")
    report = answer(capsys, "evaluate", tmp_path / "model", data / "valid")
    assert report["trivial_excess_nats"]["training_mean"] is None
    similar = answer(capsys, "similarity", tmp_path / "model", data / "valid", *BRIEF)
    assert "centred" not in similar["representations"]
    assert any("import-weights" in note for note in similar["notes"])


def test_tables_are_for_people(
    data: Path, trained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for arguments, words in (
        (["evaluate", trained, data / "valid"], ("this model", "constant grey", "PSNR", "picture")),
        (["similarity", trained, data / "valid", *BRIEF], ("RGB histogram", "recall@1")),
        (["info", trained], ("train images", "best epoch")),
        (["info", data], ("valid assets", "categories")),
    ):
        capsys.readouterr()
        assert run([*map(str, arguments)]) == 0
        printed = capsys.readouterr().out
        assert all(word in printed for word in words), printed


def test_a_runs_config_does_the_run_again(
    data: Path, trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = ["--config", trained / "config.toml"]
    report = answer(capsys, *config, "train", "--out", tmp_path / "again")
    metrics = [json.loads(line) for line in (trained / "metrics.jsonl").read_text().splitlines()]
    assert report["figures"]["valid"] == metrics[-1]["valid"]
    other = answer(capsys, *config, "train", "--out", tmp_path / "other", "--seed", 9)
    assert other["figures"]["valid"] != metrics[-1]["valid"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[train]\nepochz = 3\n", ("epochz", "epochs")),
        ("[trian]\nepochs = 3\n", ("trian", "train")),
        ("epochs = 3\n", ("epochs", "section")),
        ("[train\n", ("settings.toml", "TOML")),
    ],
)
def test_a_wrong_settings_file_is_refused_with_a_hint(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, words: tuple[str]
) -> None:
    (tmp_path / "settings.toml").write_text(text)
    said = refusal(
        capsys, "train", data, "--out", tmp_path / "run", "--config", tmp_path / "settings.toml"
    )
    assert all(word in said for word in words)
    assert not (tmp_path / "run").exists()


def test_refusals_are_one_sentence_with_the_value_and_exit_code_1(
    data: Path, trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    (empty / "notes.txt").write_text("none")
    cases: list[tuple[list[object], str]] = [
        (["trian"], "train"),
        (["train", data], "--out"),
        (["train"], "vaeneer train needs DATA; see: vaeneer train --help"),
        (["search"], "vaeneer search needs what to search for"),
        (["train", data, "--out", tmp_path / "r", "--epochs", "many"], "many"),
        (["train", data, "--out", tmp_path / "r", "--epochz", "3"], "--epochs"),
        (["train", data, "--out", tmp_path / "r", "--epochs", "0"], "0"),
        (["train", data, "--out", trained], "--overwrite"),
        (["train", tmp_path / "absent", "--out", tmp_path / "r"], "absent"),
        (["prepare", empty, "--out", tmp_path / "d"], "empty"),
        (["prepare", tmp_path / "absent", "--out", tmp_path / "d"], "absent"),
        (["prepare", data, "--out", tmp_path / "d", "--valid-fraction", "2"], "2"),
        (["evaluate", empty, data / "valid"], "no model"),
        (["evaluate", trained, empty, "--out", tmp_path / "e"], "no image"),
        (["evaluate", trained, data / "valid", "--seed", "-1"], "-1"),
        (["similarity", trained, data / "valid", "--pairs-per-image", "0"], "pairs_per_image"),
        (["sample", trained, "--out", tmp_path / "s.png", "--seed", str(10**30)], "seed"),
        (["info", tmp_path / "absent"], "absent"),
        (["import-weights", empty / "notes.txt", "--out", tmp_path / "m"], "notes.txt"),
        (["evaluate", trained, data / "valid", "--device", "cuda:99"], "cuda:99"),
    ]
    for arguments, word in cases:
        assert word in refusal(capsys, *arguments), arguments
    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty"]


def test_debug_shows_the_traceback(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["info", str(tmp_path / "absent"), "--debug"]) == 1
    assert "Traceback" in capsys.readouterr().err


def test_a_reader_that_goes_away_is_no_error(trained: Path) -> None:
    for arguments in ("--help", f"info {trained} --json"):
        command = f"{sys.executable} -m vaeneer {arguments} | head -c 1"
        done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
        assert len(done.stdout) == 1
        assert done.stderr == ""


def test_ctrl_c_is_one_word_whatever_the_command_was_doing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("vaeneer.info", stop)
    assert run(["info", "surface-base"]) == 130
    assert capsys.readouterr().err == "Stopped.\n"


def test_ctrl_c_leaves_a_state_that_resume_takes_up(paint: Painter, tmp_path: Path) -> None:
    """A real process, a real signal: exit code 130, one sentence, and the run goes on after it."""
    data, out = tmp_path / "data", tmp_path / "run"
    for number in range(6):
        paint(data / ("train" if number < 4 else "valid") / f"{number}.png", number)
    command = [sys.executable, "-m", "vaeneer", "train", str(data), "--out", str(out)]
    process = subprocess.Popen(
        [*command, "--recipe", "reference", "--epochs", "50"],
        stderr=subprocess.PIPE,
        text=True,
        env=dict(os.environ),
    )
    waited = time.monotonic() + 120
    while not (out / "metrics.jsonl").exists() and time.monotonic() < waited:
        time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=120)
    assert process.returncode == 130, said
    assert "--resume" in said.splitlines()[-1]
    assert "Traceback" not in said
    epochs = len((out / "metrics.jsonl").read_text().splitlines())
    done = subprocess.run(
        [*command, "--resume", "--epochs", str(epochs + 1), "--json"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["epochs"] == epochs + 1


def test_results_of_a_model_in_the_box_do_not_go_into_the_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "models" / "wall-base").mkdir(parents=True)
    (tmp_path / "models" / "wall-base" / "config.json").write_text("{}")
    monkeypatch.setattr(bundled_models, "BOX", tmp_path / "models")
    monkeypatch.chdir(tmp_path)
    folder = Path("data/valid")
    here = Path("evaluation-wall-base-valid")
    assert own_folder(Path("wall-base"), "evaluation", folder) == here
    assert own_folder(tmp_path / "models" / "wall-base", "evaluation", folder) == here
    assert own_folder(Path("run"), "evaluation", folder) == Path("run/evaluation-valid")
