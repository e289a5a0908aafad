"""One look: reports have the colours, type and controls of the served page, dark and light."""

from __future__ import annotations

import re
from pathlib import Path

from PIL import Image

import vaeneer
from vaeneer.evaluation.report import Row, Section, Tile, write_report

WEB = Path(vaeneer.__file__).parent / "web" / "static"
LOOK = "".join((WEB / "css" / name).read_text("utf-8") for name in ("look.css", "controls.css"))


def report(folder: Path) -> Path:
    tile = Tile(Image.new("RGB", (40, 20)), "<wall>.png", "a note", boxes=[(0.25, 0.5, 0.5, 0.25)])
    section = Section("Hits", rows=[Row("Matches", "2 of 8", [tile])])
    return write_report(
        folder / "report.html", title="T", lead="", headlines=[], sections=[section], footer=""
    )


def test_every_report_has_the_look_of_the_served_page(small_library: Path, tmp_path: Path) -> None:
    vaeneer.map(small_library, out=tmp_path / "map.html")
    vaeneer.duplicates(small_library, out_html=tmp_path / "duplicates.html")
    pages = [report(tmp_path), tmp_path / "map.html", tmp_path / "duplicates.html"]
    for page in pages:
        text = page.read_text(encoding="utf-8")
        assert LOOK in text, page.name
        own = text.replace(LOOK, "")
        styles = "".join(re.findall(r"<style>(.*?)</style>", own, re.DOTALL))
        assert not re.findall(r"#[0-9a-fA-F]{3,8}\b(?=[^{}]*[;}])", styles), page.name
    index = (WEB / "index.html").read_text(encoding="utf-8")
    assert all(f"css/{name}" in index for name in ("look.css", "controls.css"))
    assert "prefers-color-scheme: light" in LOOK


def test_a_tile_shows_its_box_where_it_lies(tmp_path: Path) -> None:
    text = report(tmp_path).read_text(encoding="utf-8")
    assert "left: 25.0%; top: 50.0%; width: 50.0%; height: 25.0%" in text
    assert "&lt;wall&gt;.png" in text
