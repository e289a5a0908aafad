"""The README does what it says: its commands and its example are run, on less data."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import torch

import vaeneer
from vaeneer import demonstration
from vaeneer.cli.app import run

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
LESS = {
    "demo": ["--epochs", "1"],
    "synthesize": ["--count", "21", "--side-px", "96"],
    "train": ["--epochs", "1"],
    "similarity": ["--rounds", "1", "--bootstrap", "10"],
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
def test_the_commands_run_in_their_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(demonstration, "DEMO_SURFACES", 21)
    torch.save(vaeneer.VAE().state_dict(), "seed.pth")
    ran = []
    for program, *arguments in commands():
        if program == "vaeneer":
            assert run([*arguments, *LESS.get(arguments[0], [])]) == 0, arguments
            ran.append(arguments[0])
    assert ran == [
        "demo", "synthesize", "prepare", "train", "train", "evaluate", "similarity", "calibrate",
        "embed", "similarity", "index", "search", "search", "duplicates", "map", "cluster",
        "outliers", "stats", "doctor", "sample", "reconstruct", "info", "import-weights",
    ]  # fmt: skip
    for path in ("vaeneer-demo/report.html", "data/train", "run/best", "samples.png", "model"):
        assert Path(path).exists()


def test_the_make_targets_exist() -> None:
    makefile = (Path(__file__).parents[1] / "Makefile").read_text(encoding="utf-8")
    targets = [words[1] for words in commands() if words[0] == "make"]
    assert targets == ["demo", "test"]
    for target in targets:
        assert re.search(rf"^{target}:", makefile, re.MULTILINE)


@pytest.mark.slow
def test_the_example_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (example,) = blocks("python")
    assert "count=192" in example
    assert "epochs=16" in example
    code = example.replace("count=192", "count=21, side_px=96").replace("epochs=16", "epochs=1")
    printed: list[object] = []
    exec(compile(code, "README.md", "exec"), {"print": lambda *words: printed.extend(words)})
    assert len(printed) == 4
    assert printed[-1] == (1, 640)
