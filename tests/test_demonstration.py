"""The demo: everything once, and one page that holds it all."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import vaeneer
from vaeneer import demonstration
from vaeneer.errors import OutputExistsError, SettingsError
from vaeneer.measuring.report import Headline, Picture, Section, Table, write_report


@pytest.mark.slow
def test_the_demo_runs_whole_on_procedural_surfaces(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(demonstration, "DEMO_SURFACES", 21)
    report = vaeneer.demo(out=tmp_path / "demo", epochs=1)
    assert report.train_images + report.valid_images == 21
    assert report.epochs == 1
    assert report.rgb_histogram_auc > 0.9
    for path in report.pictures:
        assert Path(path).is_file()
    page = Path(report.report).read_text(encoding="utf-8")
    assert "vaeneer prepare" in page
    assert "vaeneer train" in page
    assert page.count("data:image/") >= 8
    assert not re.search(r"(src|href)=[\"'](?!data:)", page)  # nothing is loaded from elsewhere
    with pytest.raises(OutputExistsError):
        vaeneer.demo(out=tmp_path / "demo")


@pytest.mark.slow
def test_the_demo_runs_on_ones_own_folder(tmp_path: Path, data_set: Path) -> None:
    before = sorted((path, path.stat().st_mtime_ns) for path in data_set.rglob("*"))
    report = vaeneer.demo(out=tmp_path / "demo", data=data_set / "train", epochs=1)
    assert report.train_images + report.valid_images == 10
    assert Path(report.report).is_file()
    assert before == sorted((path, path.stat().st_mtime_ns) for path in data_set.rglob("*"))


def test_epochs_fit_the_time(data_set: Path) -> None:
    from vaeneer.data.folder import open_data_set

    epochs = demonstration._fitting_epochs(open_data_set(data_set))
    assert epochs == demonstration.IMAGES_IN_TIME // 10
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
