"""A run is being trained, stopped or finished; several runs are listed side by side."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import vaeneer
from vaeneer.cli.app import run as command
from vaeneer.errors import TrainingError
from vaeneer.progress import Silent
from vaeneer.settings import TrainSettings
from vaeneer.training.run_folder import RunFolder

pytestmark = pytest.mark.usefixtures("few_crops", "no_plots")
SETTINGS = TrainSettings(
    recipe="reference", epochs=2, batch_size=4, workers=1, device="cpu", precision="float32"
)


@pytest.fixture(scope="module")
def finished(data_set: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of runs with one that had all of its two epochs."""
    runs = tmp_path_factory.mktemp("runs")
    vaeneer.train(data_set, out=runs / "first", settings=SETTINGS)
    return runs / "first"


class Looking(Silent):
    """Notes what a run is while it trains."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.states: set[str] = set()

    def say(self, line: str) -> None:
        if line.startswith("epoch"):
            self.states.add(RunFolder(self.folder).state_of(1))


def test_a_run_is_training_while_it_is_trained_and_finished_then(
    data_set: Path, tmp_path: Path
) -> None:
    looking = Looking(tmp_path / "run")
    vaeneer.train(data_set, out=tmp_path / "run", settings=SETTINGS, progress=looking)
    assert looking.states == {"training"}
    assert RunFolder(tmp_path / "run").state_of(2) == "finished"
    assert RunFolder(tmp_path / "run").state_of(1) == "stopped"


def test_a_run_whose_process_was_killed_is_stopped_and_can_go_on(
    finished: Path, data_set: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    shutil.copytree(finished, run)
    code = f"""
import time
from pathlib import Path
from vaeneer.training.run_folder import RunFolder
with RunFolder(Path({str(run)!r})).training():
    print("held", flush=True)
    time.sleep(600)
"""
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            process.stdout.readline()
            assert RunFolder(run).state_of(1) == "training"
            for resume, overwrite in ((True, False), (False, True)):
                with pytest.raises(TrainingError, match=r"another process.*another\s+--out"):
                    vaeneer.train(
                        data_set, out=run, settings=SETTINGS, resume=resume, overwrite=overwrite
                    )
            assert (run / "best").is_dir()
        finally:
            os.kill(process.pid, signal.SIGKILL)
    assert RunFolder(run).state_of(1) == "stopped"
    more = TrainSettings(epochs=3)
    assert vaeneer.train(data_set, out=run, settings=more, resume=True).epochs == 3


def test_runs_of_older_versions_and_folders_that_cannot_be_written_are_not_training(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "run"
    shutil.copytree(finished, run)
    (run / ".training.lock").unlink()
    assert RunFolder(run).state_of(1) == "stopped"
    assert not (run / ".training.lock").exists()  # whoever looks writes nothing
    (run / "config.toml").write_text("[train")
    assert RunFolder(run).state_of(2) == "stopped"


def test_info_of_a_folder_of_runs_lists_them(
    finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = tmp_path / "runs"
    shutil.copytree(finished, runs / "b-finished")
    shutil.copytree(finished, runs / "a-stopped")
    lines = (runs / "a-stopped" / "metrics.jsonl").read_text().splitlines(keepends=True)
    (runs / "a-stopped" / "metrics.jsonl").write_text(lines[0])
    shutil.copytree(finished, runs / "c-damaged")
    (runs / "c-damaged" / "config.toml").write_text("[train")
    assert command(["info", str(runs), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["kind"] == "runs"
    stopped, done, damaged = found["facts"]["runs"]
    assert (stopped["name"], stopped["state"], stopped["epochs"]) == ("a-stopped", "stopped", 1)
    assert (done["state"], done["planned_epochs"], done["recipe"]) == ("finished", 2, "reference")
    best = json.loads(lines[done["best_epoch"] - 1])["valid"]["trained_loss"]
    assert done["best_valid_nats"] == best
    assert damaged["recipe"] is None
    assert command(["info", str(runs)]) == 0
    table = capsys.readouterr().out
    assert "1 of 2" in table
    assert "stopped" in table
    assert command(["info", str(runs / "b-finished")]) == 0
    facts = capsys.readouterr().out
    assert "finished" in facts
    assert "nats per image" in facts
    assert "seed loss" not in facts
