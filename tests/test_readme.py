"""The README does what it says: its commands and its example are run, on less data."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import torch

import vaeneer
from vaeneer.cli.app import run

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
LESS = {
    "synthesize": ["--count", "21", "--side-px", "96"],
    "train": ["--epochs", "1"],
    "similarity": ["--bootstrap", "10"],
    "calibrate": ["--draws", "1"],
}
"""What the test adds to a command so that it is quick; nothing that the README says is changed."""


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def commands() -> list[list[str]]:
    lines = [line for block in blocks("bash") for line in block.splitlines()]
    found = [shlex.split(line, comments=True) for line in lines]
    return [words for words in found if words]


@pytest.mark.slow
@pytest.mark.usefixtures("few_crops")
def test_the_commands_run_in_their_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "user"))
    torch.save(vaeneer.VAE().state_dict(), "seed.pth")
    ran = []
    for program, *arguments in commands():
        assert program == "vaeneer"
        assert run([*arguments, *LESS.get(arguments[0], [])]) == 0, arguments
        ran.append(arguments[0])
    assert ran == [
        "synthesize", "index", "search", "search", "search", "duplicates", "map", "outliers",
        "doctor", "prepare", "train", "evaluate", "similarity", "calibrate", "embed", "sample",
        "reconstruct", "info", "import-weights",
    ]  # fmt: skip
    for path in ("results.png", "duplicates.html", "map.html", "data/train", "run/best", "model"):
        assert Path(path).exists()


def test_the_readme_is_short() -> None:
    assert len(README.splitlines()) <= 120


def test_the_make_targets_exist() -> None:
    makefile = (Path(__file__).parents[1] / "Makefile").read_text(encoding="utf-8")
    targets = re.findall(r"`make (\w+)`", README)
    assert targets == ["demo", "test"]
    for target in targets:
        assert re.search(rf"^{target}:", makefile, re.MULTILINE)


@pytest.mark.slow
@pytest.mark.usefixtures("few_crops")
def test_the_example_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "user"))
    (example,) = blocks("python")
    assert "count=192" in example
    assert "epochs=8" in example
    code = example.replace("count=192", "count=21, side_px=96").replace("epochs=8", "epochs=1")
    printed: list[object] = []
    exec(compile(code, "README.md", "exec"), {"print": lambda *words: printed.extend(words)})
    assert len(printed) == 3 * 2 + 4
    assert printed[-1] == (1, 128)
