"""The demo: what vaeneer is for, and one page that shows it."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import vaeneer
from vaeneer import demonstration
from vaeneer.cli.app import run
from vaeneer.demo_report import verdict
from vaeneer.errors import OutputExistsError, SettingsError
from vaeneer.evaluation.report import Headline, Picture, Section, Table, write_report


@pytest.fixture(scope="module")
def few_surfaces(few_crops: None) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(demonstration, "DEMO_SURFACES", 21)
        yield


@pytest.fixture(scope="module")
def made(few_surfaces: None, tmp_path_factory: pytest.TempPathFactory) -> demonstration.DemoReport:
    return vaeneer.demo(out=tmp_path_factory.mktemp("demo") / "demo", epochs=1)


@pytest.mark.slow
def test_the_demo_searches_finds_copies_and_trains(made: demonstration.DemoReport) -> None:
    root = Path(made.report).parent
    assert made.images == 21 + 6  # six planted copies
    assert Path(made.photo_match).parent.parent.name == "bark"
    assert Path(made.board_match).is_file()
    assert made.duplicate_groups >= 5
    assert made.redundant_files >= 3
    assert (made.train_images + made.valid_images, made.epochs) == (21, 1)  # without the copies
    assert made.surface_base_recall_at_1 > made.rgb_histogram_recall_at_1
    for path in (*made.pictures, *(root / name for name in ("duplicates.csv", "map.html"))):
        assert Path(path).is_file()
    with pytest.raises(OutputExistsError):
        vaeneer.demo(out=root)


@pytest.mark.slow
def test_the_report_shows_pictures_before_figures(made: demonstration.DemoReport) -> None:
    page = Path(made.report).read_text(encoding="utf-8")
    headings = re.findall(r"<h2>(.*?)</h2>", page)
    assert headings == [
        "The library", "Search with a photo", "Search with a part of a picture", "Duplicates",
        "The map", "A model of your own", "The figures", "Open it",
    ]  # fmt: skip
    assert page.index("<table") > page.index("<h2>The figures")
    assert page.count("data:image/") >= 30
    assert page.count('class="mark"') >= 3  # the box, its match, the part of a copy
    assert not re.search(r"(src|href)=[\"'](?!data:)", page)  # nothing is loaded from elsewhere
    for name in ("RGB histogram", "surface-base", "this training", "21 thumbnails"):
        assert name in page
    commands = re.findall(r"<pre>(.*?)</pre>", page)
    root = Path(made.report).parent
    assert commands[-1] == f"vaeneer serve {root / 'library'} {root / 'run'} --open"


@pytest.mark.slow
def test_demo_open_serves_what_was_made(
    made: demonstration.DemoReport, monkeypatch: pytest.MonkeyPatch
) -> None:
    served: list[object] = []
    monkeypatch.setattr(vaeneer, "serve", lambda folders, **_: served.append(folders))
    root = Path(made.report).parent
    before = Path(made.report).stat().st_mtime_ns
    assert run(shlex.split(made.open)[1:]) == 0
    assert served == [[root / "library", root / "run"]]
    assert Path(made.report).stat().st_mtime_ns == before


@pytest.mark.slow
def test_the_demo_runs_on_ones_own_folder(few_crops: None, tmp_path: Path, data_set: Path) -> None:
    before = sorted((path, path.stat().st_mtime_ns) for path in data_set.rglob("*"))
    report = vaeneer.demo(out=tmp_path / "demo", data=data_set / "train", epochs=1)
    assert report.images == report.train_images + report.valid_images == 10
    assert Path(report.report).is_file()
    assert before == sorted((path, path.stat().st_mtime_ns) for path in data_set.rglob("*"))


def test_a_short_training_that_loses_is_said_beside_surface_base() -> None:
    rows = {"embedding": 0.8, "mean": 0.99, "rgb_histogram": 0.9}
    said = verdict(figures(rows), figures({"embedding": 0.97}))
    assert "too short: rgb_histogram has AUC 0.9000, this model 0.8000" in said
    assert "surface-base, which comes with vaeneer, has 0.9700" in said
    ahead = verdict(figures({**rows, "embedding": 0.95}), figures({"embedding": 0.97}))
    assert ahead.startswith("This short training is ahead of every baseline")


def figures(aucs: dict[str, float]) -> Any:
    return {name: SimpleNamespace(auc=auc, title=name) for name, auc in aucs.items()}


def test_epochs_fit_the_time(data_set: Path) -> None:
    from vaeneer.data.dataset import open_data_set

    epochs = demonstration._fitting_epochs(open_data_set(data_set))
    assert epochs == demonstration.CROPS_IN_TIME // 20
    with pytest.raises(SettingsError, match="epochs"):
        vaeneer.demo(epochs=-1)


def test_a_page_escapes_what_it_shows(tmp_path: Path) -> None:
    path = write_report(
        tmp_path / "a.html",
        title="<script>alert(1)</script>",
        lead="a & b",
        headlines=[Headline("1", "<b>", "x")],
        sections=[Section("H", ["p"], Table(["<i>"], [["<u>"]]))],
        footer="f",
    )
    page = path.read_text(encoding="utf-8")
    assert "<script>" not in page
    assert "a &amp; b" in page
    assert "<u>" not in page


def test_large_photographs_are_packed_smaller(tmp_path: Path) -> None:
    from PIL import Image

    Image.effect_noise((900, 900), 80).convert("RGB").save(tmp_path / "large.png")
    Image.new("RGB", (20, 20)).save(tmp_path / "small.png")
    pictures = [Picture(tmp_path / "large.png", ""), Picture(tmp_path / "small.png", "")]
    path = write_report(
        tmp_path / "a.html", title="", lead="", headlines=[],
        sections=[Section("H", pictures=pictures)], footer="",
    )  # fmt: skip
    page = path.read_text(encoding="utf-8")
    assert "data:image/webp" in page
    assert "data:image/png" in page
    assert len(page) < (tmp_path / "large.png").stat().st_size
