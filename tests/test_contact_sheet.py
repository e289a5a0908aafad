"""The contact sheet: every hit is there, boxes lie where they should, odd names do no harm."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vaeneer.errors import SettingsError
from vaeneer.library.library import Library
from vaeneer.library.search.contact_sheet import contact_sheet, write_sheet
from vaeneer.library.search.search import search
from vaeneer.settings import SearchSettings

MARK = (255, 98, 0)
LEFT, TOP, ASKED, TILE, STEP, ROW = 36, 84, 400, 256, 276, 322
HITS = LEFT + ASKED + 40


@pytest.fixture(scope="module")
def library(small_library: Path) -> Iterator[Library]:
    with Library.open(small_library) as opened:
        yield opened


def marked(sheet: Image.Image, left: int, top: int, side: int) -> tuple[int, int, int, int] | None:
    """Left, top, right, bottom of what is drawn in the marking colour in a square of the sheet."""
    pixels = np.asarray(sheet)[top : top + side, left : left + side]
    rows, columns = np.nonzero((pixels == MARK).all(2))
    if not len(rows):
        return None
    return int(columns.min()), int(rows.min()), int(columns.max()), int(rows.max())


def test_every_hit_is_shown_as_its_file(library: Library) -> None:
    item = library.items()[0]
    report = search(library, item.id, settings=SearchSettings(k=7))
    sheet = contact_sheet(library, report)
    assert sheet.mode == "RGB"
    for place, hit in enumerate(report.hits):
        left, top = HITS + place % 5 * STEP, TOP + place // 5 * ROW
        assert marked(sheet, left, top, TILE) is None  # whole images have no boxes
        shown = sheet.crop((left, top, left + TILE, top + TILE))
        (found,) = library.catalog.items([hit.id])
        expected = library.picture(found).resize((TILE, TILE), Image.Resampling.LANCZOS)
        assert np.abs(np.asarray(shown, float) - np.asarray(expected, float)).mean() < 1


def test_boxes_are_drawn_where_they_are(library: Library) -> None:
    item = library.items()[3]
    report = search(library, library.path(item), box=(40, 0, 80, 120))
    sheet = contact_sheet(library, report)
    scale = ASKED / 160
    asked = marked(sheet, LEFT, TOP, ASKED)
    expected = (40 * scale, 0, 120 * scale, 120 * scale)
    assert asked is not None
    assert np.abs(np.subtract(asked, expected)).max() <= 3
    for place, hit in enumerate(report.hits):
        found = marked(sheet, HITS + place % 5 * STEP, TOP + place // 5 * ROW, TILE)
        assert found is not None
        assert hit.box is not None
        x, y, width, height = (side * TILE / 160 for side in hit.box)
        assert np.abs(np.subtract(found, (x, y, x + width, y + height))).max() <= 3


def test_several_images_and_no_hits_fit_too(library: Library) -> None:
    ids = [item.id for item in library.items()[:6]]
    many = contact_sheet(library, search(library, ids, settings=SearchSettings(k=1)))
    none = contact_sheet(library, search(library, ids[0], settings=SearchSettings(where="id < 0")))
    assert many.size == none.size
    assert np.asarray(none)[TOP:, HITS:].std() > 0  # it says that nothing was found


def test_the_suffix_says_the_format(library: Library, tmp_path: Path) -> None:
    report = search(library, library.items()[0].id)
    for suffix, kind in ((".png", "PNG"), (".JPG", "JPEG"), (".webp", "WEBP")):
        path = write_sheet(tmp_path / f"sheet{suffix}", library, report)
        with Image.open(path) as picture:
            assert picture.format == kind
    with pytest.raises(SettingsError, match=r"sheet\.svg is no picture's name.*\.png"):
        write_sheet(tmp_path / "sheet.svg", library, report)
    assert len(list(tmp_path.iterdir())) == 3


def test_a_file_that_is_gone_is_shown_by_its_thumbnail(
    library: Library, small_library: Path, tmp_path: Path
) -> None:
    shutil.copytree(small_library, tmp_path / "library")
    with Library.open(tmp_path / "library") as other:
        other.root = tmp_path / "nowhere"
        report = search(other, other.items()[0].id, settings=SearchSettings(k=2))
        whole, moved = contact_sheet(library, report), contact_sheet(other, report)
        difference = np.abs(np.asarray(whole, float) - np.asarray(moved, float))
        assert 0 < difference.mean() < 4  # WebP, but the same pictures
        shutil.rmtree(tmp_path / "library" / "thumbs")
        assert contact_sheet(other, report).size == whole.size


def test_names_are_data(library: Library) -> None:
    report = search(library, library.items()[0].id, settings=SearchSettings(k=2))
    names = ("a" * 5000 + ".png", "new\nline\t\x00\x1b[31m.png")
    hits = [replace(hit, path=name) for hit, name in zip(report.hits, names, strict=True)]
    odd = replace(report, hits=hits, images=["\n" * 9, "x" * 9000], library="l" * 900)
    assert contact_sheet(library, odd).size == contact_sheet(library, report).size
