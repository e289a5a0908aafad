"""Text on pictures: no empty boxes, whichever fonts a system has."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
from fontTools.fontBuilder import FontBuilder
from fontTools.pens.ttGlyphPen import TTGlyphPen
from PIL import Image, ImageDraw

from vaeneer import text as text_module
from vaeneer.library.index.index import index
from vaeneer.library.library import Library
from vaeneer.library.search.contact_sheet import contact_sheet
from vaeneer.library.search.search import search
from vaeneer.settings import IndexSettings, SearchSettings
from vaeneer.text import Lettering, ascii_form

JAPANESE = "錆びた鉄.jpg"


def _font(file: Path, characters: Iterable[str]) -> str:
    """A font in which every character is a triangle."""
    names = {ord(sign): f"u{ord(sign):04X}" for sign in characters}
    pen = TTGlyphPen(None)
    pen.moveTo((50, 0))
    pen.lineTo((500, 0))
    pen.lineTo((50, 700))
    pen.closePath()
    glyphs = [".notdef", *names.values()]
    builder = FontBuilder(1000, isTTF=True)
    builder.setupGlyphOrder(glyphs)
    builder.setupCharacterMap(names)
    builder.setupGlyf(dict.fromkeys(glyphs, pen.glyph()))
    builder.setupHorizontalMetrics(dict.fromkeys(glyphs, (600, 50)))
    builder.setupHorizontalHeader(ascent=800, descent=-200)
    builder.setupNameTable({"familyName": "Triangles", "styleName": "Regular"})
    builder.setupOS2()
    builder.setupPost()
    builder.save(file)
    return str(file)


@pytest.fixture(params=["with a font for it", "without"])
def system(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> str | None:
    """The one font of the system, for Japanese, or none."""
    (tmp_path / "broken.ttf").write_bytes(b"no font")
    file = None
    if request.param != "without":
        file = _font(tmp_path / "japanese.ttf", set(JAPANESE) | {"…"})
    fonts = (str(tmp_path / "broken.ttf"), *([file] if file else []))
    monkeypatch.setattr(text_module, "system_fonts", lambda: fonts)
    return file


def test_a_name_is_written_in_a_font_that_has_it_or_in_ascii(system: str | None) -> None:
    letters = Lettering(13)
    text, font = letters.written(JAPANESE, number="item 3")
    if system:
        assert (text, font.path) == (JAPANESE, system)
    else:
        assert (text, font) == ("item 3: _.jpg", letters.font)
    assert letters.written("Größe Ω Я.png") == ("Größe Ω Я.png", letters.font)
    assert letters.written("錆\U0001f9f1 wall", number="item 4").text == "item 4: _ wall"


def test_a_text_without_any_ascii_is_named_by_its_number() -> None:
    assert ascii_form("石", number="cluster 3") == "cluster 3"
    assert ascii_form("石") == "_"
    assert ascii_form("Čech ﬁ 石 2") == "Cech fi _ 2"


def test_the_sheet_of_a_search_writes_japanese_names(
    system: str | None, small_library: Path, tmp_path: Path
) -> None:
    surfaces = sorted((small_library.parent / "raw").rglob("*_Albedo.jpg"))[:2]
    (tmp_path / "raw").mkdir()
    for source, name in zip(surfaces, ("query.jpg", JAPANESE), strict=True):
        shutil.copy(source, tmp_path / "raw" / name)
    index(tmp_path / "raw", library=tmp_path / "library", settings=IndexSettings(parts="none"))
    with Library.open(tmp_path / "library") as library:
        (asked,) = (item for item in library.items() if item.path == "query.jpg")
        report = search(library, asked.id, settings=SearchSettings(k=1))
        sheet = contact_sheet(library, report)
    (hit,) = report.hits
    text, font = Lettering(11).written(JAPANESE, number=f"item {hit.id}")
    assert font.path == (system or Lettering(11).font.path)
    expected = Image.new("RGB", (256, 14), (250, 250, 248))
    ImageDraw.Draw(expected).text((0, 0), text, (32, 33, 36), font)
    left, top = 36 + 400 + 40, 84 + 256 + 6 + 20
    shown = sheet.crop((left, top, left + 256, top + 14))
    assert np.array_equal(np.asarray(shown), np.asarray(expected))
