"""The reference's three commands: no arguments, train-data/ and runs/, no display."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def command(name: str, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
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


@pytest.mark.slow
def test_the_three_commands_in_order(tmp_path: Path, data_set: Path) -> None:
    shutil.copytree(data_set, tmp_path / "train-data")
    before = command("AEtest.py", tmp_path)
    assert before.returncode == 1
    assert "holds no model" in before.stderr
    done = command("trainer.py", tmp_path, "--epochs", "1")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "runs" / "001" / "plots" / "training-loss.png").is_file()
    settings = tomllib.loads((tmp_path / "runs" / "001" / "config.toml").read_text())["train"]
    assert settings["recipe"] == settings["architecture"] == "reference"
    done = command("AEtest.py", tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "runs" / "001" / "evaluation-valid" / "loss-per-image.png").is_file()
    done = command("AEtest.py", tmp_path, "train-data/train")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "runs" / "001" / "evaluation-train" / "loss-per-image.png").is_file()
    done = command("feature_similarity.py", tmp_path, "--pairs-per-image", "1", "--bootstrap", "10")
    assert done.returncode == 0, done.stderr
    pictures = tmp_path / "runs" / "001" / "similarity-valid"
    for name in ("same-image-sampled.png", "different-image-sampled.png", "similarity.png"):
        assert (pictures / name).is_file()
    done = command("trainer.py", tmp_path, "--resume", "--epochs", "2")
    assert done.returncode == 0, done.stderr
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["001"]
    done = command("trainer.py", tmp_path, "--epochs", "1")
    assert sorted(path.name for path in (tmp_path / "runs").iterdir()) == ["001", "002"]


def test_each_is_a_few_lines_onto_the_package() -> None:
    for name in ("trainer.py", "AEtest.py", "feature_similarity.py"):
        assert len((ROOT / name).read_text().splitlines()) < 30
