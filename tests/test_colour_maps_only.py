"""Commands on a folder take colour maps, as `index` does; --all-maps takes the others, too."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from vaeneer.cli.app import run
from vaeneer.data.dataset import open_data_set, open_folder
from vaeneer.errors import DataError
from vaeneer.progress import Silent

Painter = Callable[[Path, int], Path]
SURFACES = 4
pytestmark = pytest.mark.usefixtures("few_crops", "no_plots")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, paint: Painter) -> Path:
    """Four surfaces with a normal and a roughness map each."""
    root = tmp_path_factory.mktemp("maps") / "scans"
    for number in range(SURFACES):
        for seed, kind in enumerate(("Color", "NormalGL", "Roughness")):
            paint(root / f"wood{number}_{kind}.png", 10 * number + seed)
    return root


class Said(Silent):
    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, line: str) -> None:
        self.lines.append(line)


def test_a_folder_is_its_colour_maps(folder: Path) -> None:
    said = Said()
    found = open_folder(folder, progress=said)
    assert [item.name for item in found.items] == [f"wood{n}_Color.png" for n in range(SURFACES)]
    assert found.other_maps == 2 * SURFACES
    (line,) = said.lines
    assert "left out 8 other maps" in line
    assert "--all-maps" in line
    everything = open_folder(folder, all_maps=True, progress=said)
    assert (len(everything), everything.other_maps, len(said.lines)) == (12, 0, 1)


def test_a_folder_of_other_maps_alone_says_what_to_do(tmp_path: Path, paint: Painter) -> None:
    for number in range(2):
        paint(tmp_path / f"wood{number}_NormalGL.png", number)
        paint(tmp_path / f"wood{number}_Roughness.png", number + 5)
    with pytest.raises(DataError, match=r"no colour map, and 4 other maps; --all-maps"):
        open_folder(tmp_path)


def test_a_prepared_data_set_is_taken_as_it_is(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "data"
    arguments = ["--out", str(out), "--min-side-px", "16", "--valid-fraction", "0.5"]
    assert run(["prepare", str(folder), *arguments]) == 0
    (out / "train").rename(tmp_path / "train")
    (tmp_path / "train").rename(out / "train")
    sides = open_data_set(out)
    assert len(sides.train) + len(sides.valid) == SURFACES
    assert sides.train.other_maps == sides.valid.other_maps == 0


@pytest.mark.parametrize(
    ("command", "rest", "count"),
    [
        ("embed", ["--vectors", "latent"], lambda report: report["images"]),
        ("evaluate", [], lambda report: report["images"]),
        (
            "similarity",
            ["--pairs-per-image", "1", "--bootstrap", "1", "--baselines", "off"],
            lambda report: report["images"],
        ),
        ("reconstruct", ["--count", "20"], lambda report: report["images"]),
    ],
)
def test_commands_take_colour_maps_and_write_nothing_beside_them(
    command: str,
    rest: list[str],
    count: Callable[[dict[str, int]], int],
    folder: Path,
    model: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    before = sorted(folder.parent.rglob("*"))
    names = {"embed": "v.parquet", "reconstruct": "r.png"}
    out = ["--out", str(tmp_path / names.get(command, "out"))]
    arguments = [command, str(model), str(folder), *out, *rest, "--json", "--overwrite"]
    assert run(arguments) == 0
    shown = capsys.readouterr()
    assert count(json.loads(shown.out)) == SURFACES
    assert "left out 8 other maps" in shown.err
    assert run([*arguments, "--all-maps"]) == 0
    assert count(json.loads(capsys.readouterr().out)) == 3 * SURFACES
    assert sorted(folder.parent.rglob("*")) == before


def test_train_takes_colour_maps(
    tmp_path: Path, paint: Painter, capsys: pytest.CaptureFixture[str]
) -> None:
    for side, count in (("train", 4), ("valid", 2)):
        for number in range(count):
            paint(tmp_path / "data" / side / f"{side}{number}_Color.png", number)
            paint(tmp_path / "data" / side / f"{side}{number}_Normal.png", 50 + number)
    before = sorted(tmp_path.rglob("*"))
    run_folder = tmp_path / "run"
    rest = ["--recipe", "reference", "--epochs", "1", "--batch-size", "4", "--json"]
    assert run(["train", str(tmp_path / "data"), "--out", str(run_folder), *rest]) == 0
    assert "left out 4 other maps" in capsys.readouterr().err
    assert json.loads((run_folder / "run.json").read_text())["train_images"] == 4
    kept = [path for path in sorted(tmp_path.rglob("*")) if run_folder not in (path, *path.parents)]
    assert kept == before


def test_a_run_of_an_older_version_continues_with_all_its_maps(
    tmp_path: Path, paint: Painter, capsys: pytest.CaptureFixture[str]
) -> None:
    for side in ("train", "valid"):
        for number in range(2):
            paint(tmp_path / "data" / side / f"{side}{number}_Color.png", number)
            paint(tmp_path / "data" / side / f"{side}{number}_Normal.png", 50 + number)
    out, rest = tmp_path / "run", ["--recipe", "reference", "--batch-size", "4"]
    start = ["train", str(tmp_path / "data"), "--out", str(out), *rest]
    assert run([*start, "--epochs", "1", "--all-maps"]) == 0
    config = out / "config.toml"  # older versions have no such setting
    lines = [line for line in config.read_text().splitlines() if "all_maps" not in line]
    config.write_text("\n".join(lines) + "\n")
    (out / "SHA256SUMS").unlink()
    resume = [*start, "--epochs", "2", "--resume"]
    capsys.readouterr()
    assert run(resume) == 1
    assert "--all-maps" in capsys.readouterr().err.splitlines()[-1]
    assert run([*resume, "--all-maps"]) == 0
    assert len((out / "metrics.jsonl").read_text().splitlines()) == 2
