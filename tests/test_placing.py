"""Hits that have the very pixels of a box are placed by them, whatever was done to the box."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vaeneer.config import SearchSettings
from vaeneer.library import searching
from vaeneer.library.catalog import Item, PixelBox
from vaeneer.library.library import Library
from vaeneer.library.placing import PROVEN, Placer

BOX = (30, 50, 90, 80)


@pytest.fixture
def library(small_library: Path) -> Iterator[Library]:
    with Library.open(small_library) as opened:
        yield opened


def item_of(library: Library, category: str) -> Item:
    return next(item for item in library.items() if item.category == category)


def cut(library: Library, item: Item, box: PixelBox = BOX) -> Image.Image:
    x, y, width, height = box
    return library.picture(item).crop((x, y, x + width, y + height))


def near(found: PixelBox | None, wanted: PixelBox, most_px: int = 3) -> bool:
    return found is not None and max(np.abs(np.subtract(found, wanted))) <= most_px


@pytest.mark.parametrize("category", ["brick", "gravel", "rock", "terrazzo", "bark"])
def test_a_part_is_found_to_the_pixel(library: Library, category: str) -> None:
    item = item_of(library, category)
    assert near(Placer(library, cut(library, item)).place(item), BOX)


@pytest.mark.parametrize(
    "change",
    [
        lambda part: part.transpose(Image.Transpose.ROTATE_90),
        lambda part: part.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
        lambda part: part.resize((180, 160), Image.Resampling.BICUBIC),
        lambda part: part.point(lambda level: int(255 * (level / 255) ** 1.3 * 0.9)),
    ],
    ids=["turned", "mirrored", "twice as large", "in another light"],
)
def test_a_part_is_found_after_a_change(library: Library, change: object) -> None:
    assert callable(change)
    item = item_of(library, "gravel")
    assert near(Placer(library, change(cut(library, item))).place(item), BOX, 5)


def test_what_is_not_there_has_no_place(library: Library) -> None:
    part = cut(library, item_of(library, "gravel"))
    placer = Placer(library, part)
    others = [item for item in library.items() if item.category != "gravel"]
    assert [placer.place(item) for item in others] == [None] * len(others)


def test_an_item_inside_what_was_asked_for_is_a_place_as_a_whole(library: Library) -> None:
    item = item_of(library, "rock")
    wide = Image.new("RGB", (400, 300), (90, 90, 90))
    wide.paste(library.picture(item), (120, 70))
    assert Placer(library, wide).place(item) == (0, 0, 160, 160)


def test_a_file_that_is_gone_has_no_place(small_library: Path, tmp_path: Path) -> None:
    shutil.copytree(small_library.parent, tmp_path / "copy")
    with Library.open(small_library) as library:
        item = item_of(library, "rock")
        part = cut(library, item)
    with Library.open(tmp_path / "copy" / "library") as moved:
        moved.root = tmp_path / "nowhere"
        assert Placer(moved, part).place(item) is None


def test_search_puts_proven_hits_first_and_says_how_they_were_placed(library: Library) -> None:
    item = item_of(library, "brick")
    hits = library.search(library.path(item), box=BOX, k=24)
    assert hits[0].id == item.id
    assert hits[0].placed == "pixels"
    assert near(hits[0].box, BOX)
    assert (hits[0].probability or 0) >= PROVEN
    assert {hit.placed for hit in hits[1:]} == {"part"}
    scores = [hit.score for hit in hits[1:]]
    assert scores == sorted(scores, reverse=True)


def test_exact_places_can_be_left_out(library: Library) -> None:
    from vaeneer.library.searching import search

    item = item_of(library, "brick")
    settings = SearchSettings(k=5, exact_places=False)
    hits = search(library, library.path(item), box=BOX, settings=settings).hits
    assert {hit.placed for hit in hits} == {"part"}
    whole = search(library, library.path(item), settings=SearchSettings(k=2)).hits
    assert [(hit.box, hit.placed) for hit in whole] == [(None, None)] * 2


def test_a_proven_hit_comes_before_likelier_ones(
    library: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    item = item_of(library, "brick")
    before = library.search(library.path(item), box=BOX, k=6)
    last = before[-1].id

    class LastAlone(Placer):
        def place(self, item: Item) -> PixelBox | None:
            return (1, 2, 30, 40) if item.id == last else None

    monkeypatch.setattr(searching, "Placer", LastAlone)
    monkeypatch.setattr(searching, "_WORTH_PLACING", 0.0)
    after = library.search(library.path(item), box=BOX, k=6)
    assert [hit.id for hit in after] == [last, *(hit.id for hit in before[:-1])]
    assert (after[0].box, after[0].placed) == ((1, 2, 30, 40), "pixels")
    assert (after[0].probability or 0) >= PROVEN
