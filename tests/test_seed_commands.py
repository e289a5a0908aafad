"""The reference's three commands: no arguments, train-data/ and runs/, no display."""

from __future__ import annotations

import os
import runpy
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def command(name: str, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """A script in a process of its own."""
    hidden = ("DISPLAY", "WAYLAND_DISPLAY")
    environment = {name: value for name, value in os.environ.items() if name not in hidden}
    return subprocess.run(
        [sys.executable, str(ROOT / name), *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, few_crops: None) -> Callable[..., None]:
    """Run a script in this process, in `tmp_path`; quicker, since PyTorch is imported already."""
    monkeypatch.chdir(tmp_path)
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)

    def run(name: str, *arguments: str) -> None:
        monkeypatch.setattr(sys, "argv", [str(ROOT / name), *arguments])
        with pytest.raises(SystemExit) as left:
            runpy.run_path(str(ROOT / name), run_name="__main__")
        assert left.value.code in (0, None)

    return run


@pytest.mark.slow
def test_the_three_commands_in_order(
    tmp_path: Path, data_set: Path, here: Callable[..., None], no_plots: None
) -> None:
    shutil.copytree(data_set, tmp_path / "train-data")
    before = command("AEtest.py", tmp_path)
    assert before.returncode == 1
    assert "holds no model" in before.stderr
    done = command("trainer.py", tmp_path, "--epochs", "1")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "runs" / "001" / "plots" / "training-loss.png").is_file()
    settings = tomllib.loads((tmp_path / "runs" / "001" / "config.toml").read_text())["train"]
    assert settings["recipe"] == settings["architecture"] == "reference"
    here("AEtest.py")
    assert (tmp_path / "runs" / "001" / "evaluation-valid" / "loss-per-image.png").is_file()
    here("AEtest.py", "train-data/train")
    assert (tmp_path / "runs" / "001" / "evaluation-train" / "loss-per-image.png").is_file()
    done = command("feature_similarity.py", tmp_path, "--pairs-per-image", "1", "--bootstrap", "10")
    assert done.returncode == 0, done.stderr
    pictures = tmp_path / "runs" / "001" / "similarity-valid"
    for name in ("same-image-sampled.png", "different-image-sampled.png", "similarity.png"):
        assert (pictures / name).is_file()
    here("trainer.py", "--resume", "--epochs", "2")
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["001"]
    here("trainer.py", "--epochs", "1")
    assert sorted(path.name for path in (tmp_path / "runs").iterdir()) == ["001", "002"]


def test_each_is_a_few_lines_onto_the_package() -> None:
    for name in ("trainer.py", "AEtest.py", "feature_similarity.py"):
        assert len((ROOT / name).read_text().splitlines()) < 30
