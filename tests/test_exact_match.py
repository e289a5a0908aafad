"""Exact matches: items that contain the pixels of a query, whatever was done to it."""

from __future__ import annotations

import io
import shutil
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vaeneer import synthesize
from vaeneer.library.catalog import Item, PixelBox
from vaeneer.library.index.index import index
from vaeneer.library.library import Library
from vaeneer.library.search import search as search_module
from vaeneer.library.search.exact_match import PIXEL_MATCH_PROBABILITY, Localizer
from vaeneer.library.search.search import search
from vaeneer.settings import IndexSettings, SearchSettings

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
    assert near(Localizer(library, cut(library, item)).localize(item), BOX)


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
    assert near(Localizer(library, change(cut(library, item))).localize(item), BOX, 5)


def test_what_is_not_there_has_no_place(library: Library) -> None:
    part = cut(library, item_of(library, "gravel"))
    placer = Localizer(library, part)
    others = [item for item in library.items() if item.category != "gravel"]
    assert [placer.localize(item) for item in others] == [None] * len(others)


def test_an_item_inside_what_was_asked_for_is_a_place_as_a_whole(library: Library) -> None:
    item = item_of(library, "rock")
    wide = Image.new("RGB", (400, 300), (90, 90, 90))
    wide.paste(library.picture(item), (120, 70))
    assert Localizer(library, wide).localize(item) == (0, 0, 160, 160)


def test_a_file_that_is_gone_has_no_place(small_library: Path, tmp_path: Path) -> None:
    shutil.copytree(small_library.parent, tmp_path / "copy")
    with Library.open(small_library) as library:
        item = item_of(library, "rock")
        part = cut(library, item)
    with Library.open(tmp_path / "copy" / "library") as moved:
        moved.root = tmp_path / "nowhere"
        assert Localizer(moved, part).localize(item) is None


def test_search_puts_proven_hits_first_and_says_how_they_were_placed(library: Library) -> None:
    item = item_of(library, "brick")
    hits = library.search(library.path(item), box=BOX, k=24)
    assert hits[0].id == item.id
    assert hits[0].placed == "pixels"
    assert near(hits[0].box, BOX)
    assert (hits[0].probability or 0) >= PIXEL_MATCH_PROBABILITY
    assert {hit.placed for hit in hits[1:]} == {"part"}
    scores = [hit.score for hit in hits[1:]]
    assert scores == sorted(scores, reverse=True)


def test_exact_matches_can_be_left_out(library: Library) -> None:
    item = item_of(library, "brick")
    settings = SearchSettings(k=5, exact_match=False)
    hits = search(library, library.path(item), box=BOX, settings=settings).hits
    assert {hit.placed for hit in hits} == {"part"}
    plain = SearchSettings(k=2, exact_match=False)
    whole = search(library, cut(library, item), settings=plain).hits
    assert [(hit.box, hit.placed, hit.match != "exact") for hit in whole] == [
        (None, None, True)
    ] * 2


def test_a_proven_hit_comes_before_likelier_ones(
    library: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    item = item_of(library, "brick")
    before = library.search(library.path(item), box=BOX, k=6)
    last = before[-1].id

    class LastAlone(Localizer):
        def places(self, candidates: Iterable[Item], max_misses: int) -> dict[int, PixelBox]:
            return {one.id: (1, 2, 30, 40) for one in candidates if one.id == last}

    monkeypatch.setattr(search_module, "Localizer", LastAlone)
    monkeypatch.setattr(search_module, "_WORTH_BOX", 0.0)
    after = library.search(library.picture(item), box=BOX, k=6)
    assert [hit.id for hit in after] == [last, *(hit.id for hit in before[:-1])]
    assert (after[0].box, after[0].placed) == ((1, 2, 30, 40), "pixels")
    assert (after[0].probability or 0) >= PIXEL_MATCH_PROBABILITY


CHANGES = {
    "as it is": lambda part: part,
    "half as large": lambda part: part.resize((60, 60), Image.Resampling.LANCZOS),
    "twice as large": lambda part: part.resize((240, 240), Image.Resampling.BICUBIC),
    "turned": lambda part: part.transpose(Image.Transpose.ROTATE_90),
    "mirrored": lambda part: part.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
}


@pytest.mark.parametrize("category", ["brick", "gravel"])
@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_crop_given_whole_finds_its_place(
    library: Library, category: str, change: Callable[[Image.Image], Image.Image]
) -> None:
    item, box = item_of(library, category), (30, 24, 120, 120)
    jpeg = io.BytesIO()
    change(cut(library, item, box)).save(jpeg, "JPEG", quality=85)
    best, second = library.search(jpeg.getvalue(), k=2)
    assert (best.id, best.match, best.placed) == (item.id, "exact", "pixels")
    assert near(best.box, box, 2)
    assert (best.probability or 0) >= PIXEL_MATCH_PROBABILITY
    assert (second.match != "exact", second.box) == (True, None)


@pytest.fixture(scope="module")
def mosaic(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Library]:
    """Four surfaces in one image, and the other half of the first one as an image of its own."""
    folder = tmp_path_factory.mktemp("mosaic")
    synthesize(folder / "made", count=6, side_px=320, seed=5)
    made = [Image.open(file).convert("RGB") for file in sorted((folder / "made").rglob("*.jpg"))]
    whole = Image.new("RGB", (320, 320))
    for number, picture in enumerate(made[:4]):
        whole.paste(picture.crop((0, 0, 160, 160)), (number % 2 * 160, number // 2 * 160))
    (folder / "raw").mkdir()
    whole.save(folder / "raw" / "mosaic.png")
    made[0].crop((160, 160, 320, 320)).save(folder / "raw" / "half.png")
    made[5].save(folder / "raw" / "other.png")
    index(folder / "raw", library=folder / "library")
    with Library.open(folder / "library") as opened:
        yield opened


def test_a_crop_is_first_though_another_whole_image_looks_more_alike(mosaic: Library) -> None:
    """The items that are not proved stay in the order of whole images."""
    (item,) = (one for one in mosaic.items() if one.path == "mosaic.png")
    part = cut(mosaic, item, (20, 20, 130, 130))
    before = search(mosaic, part, settings=SearchSettings(exact_match=False)).hits
    assert before[0].id != item.id
    after = search(mosaic, part)
    assert [hit.id for hit in after.hits if hit.match == "exact"] == [after.hits[0].id] == [item.id]
    assert near(after.hits[0].box, (20, 20, 130, 130), 2)
    assert after.hits[1:] == [hit for hit in before if hit.id != item.id]
    assert after.compared == "images"
    assert after.matches["exact"] == 1


def test_a_library_without_parts_proves_what_whole_images_find(
    mosaic: Library, tmp_path: Path
) -> None:
    index(mosaic.root, library=tmp_path / "library", settings=IndexSettings(parts="none"))
    with Library.open(tmp_path / "library") as wholes:
        (item,) = (one for one in wholes.items() if one.path == "other.png")
        best = wholes.search(cut(wholes, item, (10, 30, 250, 250)))[0]
        assert (best.id, best.match) == (item.id, "exact")
        assert near(best.box, (10, 30, 250, 250), 2)


def test_filters_hold_for_exact_matches_too(library: Library) -> None:
    item = item_of(library, "brick")
    part = cut(library, item, (30, 24, 120, 120))
    assert library.search(part, k=1)[0].id == item.id
    hits = library.search(part, where=f"id != {item.id}")
    assert item.id not in {hit.id for hit in hits}
    assert "exact" not in {hit.match for hit in hits}


def test_a_picture_of_no_item_is_no_exact_match(library: Library, tmp_path: Path) -> None:
    synthesize(tmp_path / "other", count=12, side_px=160, seed=77)
    files = sorted((tmp_path / "other").rglob("*_Albedo.jpg"))
    assert len(files) == 12
    for file in files:
        assert "exact" not in {hit.match for hit in library.search(file)}


def test_the_file_itself_is_exact_without_a_look_at_its_features(
    library: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Localizer, "localize", lambda *_: pytest.fail("was looked at"))
    item = item_of(library, "rock")
    best = library.search(library.path(item), where=f"id = {item.id}")[0]
    assert (best.match, best.box) == ("exact", (0, 0, 160, 160))
    boxed = library.search(library.path(item), where=f"id = {item.id}", box=BOX)[0]
    assert (boxed.match, boxed.box) == ("exact", BOX)
