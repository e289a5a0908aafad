"""map: a layout that stays when the library grows, as a page, a picture and a table."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as parquet
import pytest
from PIL import Image

import vaeneer
from vaeneer.errors import ImageFileError, LibraryError, OutputExistsError, SettingsError
from vaeneer.library.catalog import Item, Vectors
from vaeneer.library.index.index import index
from vaeneer.library.library import Library
from vaeneer.library.map import map as map_module
from vaeneer.library.map import render
from vaeneer.library.map.clusters import Groups, by_category
from vaeneer.library.map.layout import (
    Layout,
    gridded,
    laid_out,
    name_places,
    principal_plane,
    read_layout,
    updated,
    write_layout,
)
from vaeneer.library.map.map import map
from vaeneer.library.map.render import load_tiles, sheets, tile_side_px
from vaeneer.library.vector_index import VectorIndex, nearest_among, nearest_others
from vaeneer.progress import Silent
from vaeneer.settings import MapSettings
from vector_indexes import index_of

CENTRES = 6


def some_vectors(count: int, seed: int = 0) -> np.ndarray:
    """Unit vectors around six directions, in turn."""
    random = np.random.default_rng(seed)
    centres = np.random.default_rng(99).normal(size=(CENTRES, 16))
    found = centres[np.arange(count) % CENTRES] + 0.3 * random.normal(size=(count, 16))
    return (found / np.linalg.norm(found, axis=1, keepdims=True)).astype(np.float32)


def wholes_of(vectors: np.ndarray) -> Vectors:
    count = len(vectors)
    return Vectors(10 + 3 * np.arange(count), np.arange(count), vectors)


def indexed(wholes: Vectors) -> VectorIndex:
    return index_of(wholes.crops, wholes.vectors) if len(wholes.crops) else EMPTY


EMPTY = VectorIndex.empty(16)


def some(wholes: Vectors, rows: np.ndarray) -> Vectors:
    return Vectors(wholes.crops[rows], wholes.items[rows], wholes.vectors[rows])


def lay(wholes: Vectors, before: Layout | None = None, perplexity: float = 5.0) -> Layout:
    return updated(
        before, indexed(wholes), wholes, perplexity=perplexity, seed=1, progress=Silent()
    )


def test_neighbours_are_the_nearest_others_whatever_the_index_holds() -> None:
    vectors = some_vectors(40)
    vectors[7] = vectors[8] = vectors[9]  # copies must not find themselves
    wholes = wholes_of(vectors)
    cosines = vectors @ vectors.T
    np.fill_diagonal(cosines, -np.inf)
    expected = np.sort(cosines, axis=1)[:, ::-1][:, :5]
    full = indexed(wholes)
    lacking = index_of(wholes.crops[::2], wholes.vectors[::2])
    strange = index_of(np.append(wholes.crops, 9999), np.append(vectors, vectors[:1], 0))
    for kind in (full, lacking, strange):
        found = nearest_others(kind, wholes, 5)
        assert (found.places != np.arange(40)[:, None]).all()
        if kind is not lacking:
            np.testing.assert_allclose(found.cosines, expected, atol=2e-3)
    assert nearest_others(full, wholes, 99).places.shape == (40, 39)
    assert nearest_others(indexed(some(wholes, np.arange(1))), wholes_of(vectors[:1]), 5)
    odd, even = np.arange(1, 40, 2), np.arange(0, 40, 2)
    among = nearest_among(full, wholes, odd, even, 3)
    assert (among.places % 2 == 0).all()
    np.testing.assert_allclose(among.cosines, np.sort(cosines[odd][:, even])[:, :-4:-1], atol=2e-3)


def test_an_index_that_lacks_most_is_made_up_for() -> None:
    wholes = wholes_of(some_vectors(12))
    empty = index_of(wholes.crops[:2], wholes.vectors[:2])
    full = nearest_others(indexed(wholes), wholes, 4)
    np.testing.assert_array_equal(nearest_others(empty, wholes, 4).places, full.places)


def test_what_is_alike_lies_together_each_time_at_the_same_place() -> None:
    wholes = wholes_of(some_vectors(90))
    layout = lay(wholes)
    np.testing.assert_array_equal(lay(wholes).xy, layout.xy)
    away = np.linalg.norm(layout.xy[:, None] - layout.xy[None], axis=2)
    np.fill_diagonal(away, np.inf)
    assert (away.argmin(1) % CENTRES == np.arange(90) % CENTRES).mean() > 0.95
    assert not layout.placed.any()


def test_new_items_move_no_other_and_removed_ones_leave() -> None:
    wholes = wholes_of(some_vectors(90))
    old = np.delete(np.arange(90), [3, 17, 50, 51])
    before = lay(some(wholes, old))
    after = lay(wholes, before)
    np.testing.assert_array_equal(after.xy[old], before.xy)
    assert np.flatnonzero(after.placed).tolist() == [3, 17, 50, 51]
    np.testing.assert_array_equal(lay(wholes, before).xy, after.xy)
    for row in (3, 17, 50, 51):  # they lie among their like
        nearest = np.linalg.norm(before.xy - after.xy[row], axis=1).argsort()[:5]
        assert (old[nearest] % CENTRES == row % CENTRES).sum() >= 4
    less = lay(some(wholes, old[10:]), after)
    np.testing.assert_array_equal(less.xy, before.xy[10:])
    np.testing.assert_array_equal(lay(wholes, after).xy, after.xy)


def test_it_is_laid_out_anew_when_most_would_be_placed_or_asked_otherwise() -> None:
    wholes = wholes_of(some_vectors(60))
    before = lay(some(wholes, np.arange(20)))
    assert not lay(wholes, before).placed.any()
    other = lay(some(wholes, np.arange(20)), before, perplexity=3)
    assert other.perplexity == 3
    assert not np.array_equal(other.xy, before.xy)
    few = lay(some(wholes, np.arange(4)))
    assert not lay(some(wholes, np.arange(6)), few).placed.any()


@pytest.mark.parametrize("count", range(9))
def test_small_libraries_have_a_layout(count: int) -> None:
    wholes = wholes_of(some_vectors(count))
    layout = laid_out(indexed(wholes), wholes, perplexity=30, seed=0, progress=Silent())
    assert layout.xy.shape == (count, 2)
    assert np.isfinite(layout.xy).all()
    assert len(gridded(layout.xy, np.full(count, -1)).cells) == count


def test_equal_pictures_have_a_layout() -> None:
    wholes = wholes_of(np.repeat(some_vectors(1), 30, axis=0))
    assert np.isfinite(lay(wholes).xy).all()
    assert not principal_plane(wholes.vectors).any()


def test_a_layout_is_kept_and_a_damaged_one_is_none(tmp_path: Path) -> None:
    layout = lay(wholes_of(some_vectors(12)))
    file = tmp_path / "map.npz"
    assert read_layout(file) is None
    write_layout(file, layout)
    found = read_layout(file)
    assert found is not None
    np.testing.assert_array_equal(found.xy, layout.xy)
    np.testing.assert_array_equal(found.crops, layout.crops)
    assert (found.perplexity, found.seed) == (5.0, 1)
    for damaged in (file.read_bytes()[:-40], b"", b"PK\x03\x04 no"):
        file.write_bytes(damaged)
        assert read_layout(file) is None
    write_layout(file, replace(layout, xy=layout.xy[:5]))
    assert read_layout(file) is None


@pytest.mark.parametrize("count", [1, 2, 40, 400])
def test_no_picture_covers_another_and_each_is_near_its_place(count: int) -> None:
    random = np.random.default_rng(count)
    xy = random.normal(size=(count, 2)).astype(np.float32)
    grid = gridded(xy, np.zeros(count, int))
    assert len(np.unique(grid.cells, axis=0)) == count
    assert (grid.cells >= 1).all()
    assert (grid.cells < (grid.columns - 1, grid.rows - 1)).all()
    assert grid.taken().sum() == count
    if count == 400:
        assert np.corrcoef(xy[:, 0], grid.cells[:, 0])[0, 1] > 0.97
        assert np.corrcoef(-xy[:, 1], grid.cells[:, 1])[0, 1] > 0.97


def test_copies_and_lines_find_cells_too() -> None:
    for xy in (np.zeros((50, 2)), np.stack([np.arange(50), np.zeros(50)], 1)):
        grid = gridded(xy.astype(np.float32), np.full(50, -1))
        assert len(np.unique(grid.cells, axis=0)) == 50


def test_names_lie_beside_the_pictures_and_not_on_each_other() -> None:
    xy = np.random.default_rng(0).normal(size=(300, 2)).astype(np.float32)
    labels = (xy[:, 0] > 0).astype(int) + 2 * (xy[:, 1] > 0)
    grid = gridded(xy, labels)
    widths = np.array([2.4, 3.0, 1.2, 40.0])
    taken = grid.taken().astype(int)
    places = name_places(grid, labels, widths, 0.8)
    assert [place.free for place in places] == [True, True, True, False]  # one is too long
    for place, width in zip(places[:3], widths[:3].tolist(), strict=True):
        left, top = round(place.x - np.ceil(width) / 2), round(place.y - 0.5)
        box = taken[top : top + 1, left : left + int(np.ceil(width))]
        assert not box.any()
        box += 1


def test_tiles_are_the_middle_of_each_picture_or_its_colour() -> None:
    wide = np.zeros((20, 60, 3), np.uint8)
    wide[:, 14:46] = 200

    def picture(number: int) -> Image.Image:
        if number == 1:
            raise ImageFileError("gone.png", "no such file")
        return Image.fromarray(wide)

    tiles = load_tiles(picture, [(0, 0, 0), (1.0, 0.5, 0)], 8, Silent())
    assert (tiles[0] == 200).all()
    assert tiles[1, 4, 4].tolist() == [255, 128, 0]
    assert tile_side_px(20_000, most_pixels=26_000_000, longest_px=192) == 36
    assert tile_side_px(3, most_pixels=26_000_000, longest_px=192) == 192
    large = np.zeros((5000, 64, 64, 3), np.uint8)
    found = sheets(large)
    assert (found.across, len(found.urls)) == (64, 2)  # 4,096 on the first


EVIL = '</script><img src=x onerror="document.title=1">&{{7*7}}.png'


def evil_page(path: Path, name: str) -> dict[str, object]:
    """A page of three items that are called `name`; returns its data."""
    item = Item(1, name, name, name, name, (name,), 9, 9, "RGB", "PNG", 1, 1, "", (0.5, 0.5, 0.5))
    items = [replace(item, id=number) for number in range(3)]
    wholes = wholes_of(some_vectors(3))
    grid = gridded(wholes.vectors[:, :2], np.zeros(3, int))
    tiles = np.full((3, 32, 32, 3), 90, np.uint8)
    groups = Groups("cluster", np.zeros(3, int), [name], [name])
    labels = name_places(grid, groups.labels, np.array([2.0]), 0.5)
    modes: list[render.Mode] = [(groups, labels), (by_category(items), None)]
    neighbours = nearest_others(indexed(wholes), wholes, 2)
    data = render.page_data(items, grid, tiles, modes, neighbours)
    render.write_page(path, data, title=name, line=name)
    return data


def page_json(page: str) -> dict[str, object]:
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL)
    assert found
    return dict(json.loads(found[1]))


def test_names_of_files_are_data_in_the_page_and_never_markup(tmp_path: Path) -> None:
    data = evil_page(tmp_path / "map.html", EVIL)
    page = (tmp_path / "map.html").read_text()
    assert EVIL not in page
    assert "<img" not in page
    assert "49" not in page.partition("<style>")[0]
    assert page.count("</script>") == 2  # the data and the script
    assert page_json(page) == data
    assert page_json(page)["names"] == [EVIL] * 3


def test_the_page_loads_nothing_from_elsewhere(tmp_path: Path) -> None:
    evil_page(tmp_path / "map.html", "plain")
    page = (tmp_path / "map.html").read_text()
    assert "default-src 'none'" in page
    assert not re.search(r"https?:|(src|href)\s*=\s*[\"'](?!data:)", page)
    assert not re.search(r"fetch\(|XMLHttpRequest|import\s*\(|innerHTML", page)


@pytest.mark.skipif(not shutil.which("chromium"), reason="needs the browser chromium")
def test_a_browser_shows_the_map_and_runs_no_name(tmp_path: Path) -> None:
    evil_page(tmp_path / "map.html", EVIL)
    command = ["chromium", "--headless", "--no-sandbox", "--disable-gpu", "--dump-dom"]
    command += ["--virtual-time-budget=2000", f"--user-data-dir={tmp_path / 'profile'}"]
    done = subprocess.run(
        [*command, (tmp_path / "map.html").as_uri()], capture_output=True, text=True, timeout=120
    )
    page = done.stdout
    assert page.count('aria-pressed="true">cluster<') == 1, done.stderr[-2000:]
    assert page.count("<li>") == 1  # the list of groups, which the script makes
    assert "<img" not in page


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory, small_library: Path) -> Path:
    """A copy that may be changed."""
    folder = tmp_path_factory.mktemp("mapped")
    shutil.copytree(small_library.parent, folder, dirs_exist_ok=True)
    return folder / small_library.name


@pytest.mark.parametrize("colour", ["cluster", "category"])
def test_the_picture_shows_every_item(library: Path, tmp_path: Path, colour: str) -> None:
    settings = MapSettings(colour=colour)  # type: ignore[arg-type]
    report = map(library, out=tmp_path / "map.png", settings=settings)
    assert (report.items, report.added_later, report.perplexity) == (24, 0, 15.0)
    json.dumps(report.to_dict(), allow_nan=False)
    first = (tmp_path / "map.png").read_bytes()
    with Image.open(tmp_path / "map.png") as image:
        pixels = np.asarray(image.convert("L"), float)
        assert min(image.size) > 500
    lit = (pixels > 45).mean()  # the ground is darker
    assert 0.1 < lit < 0.7
    with pytest.raises(OutputExistsError, match="--overwrite"):
        map(library, out=tmp_path / "map.png")
    map(library, out=tmp_path / "map.png", settings=settings, overwrite=True)
    assert (tmp_path / "map.png").read_bytes() == first


def test_the_page_has_the_items_of_the_library(library: Path, tmp_path: Path) -> None:
    map(library, out=tmp_path / "map.html")
    data = page_json((tmp_path / "map.html").read_text())
    with Library.open(library) as opened:
        paths = [item.path for item in opened.items()]
    assert sorted(data["files"]) == sorted(paths)  # type: ignore[call-overload]
    map(
        library,
        out=tmp_path / "map.html",
        settings=MapSettings(colour="category"),
        overwrite=True,
    )
    modes = page_json((tmp_path / "map.html").read_text())["modes"]
    assert [mode["name"] for mode in modes] == ["category", "cluster"]  # type: ignore[attr-defined]


def test_the_table_has_the_columns_that_embedding_atlas_reads(
    library: Path, tmp_path: Path
) -> None:
    map(library, out=tmp_path / "map.parquet")
    table = parquet.read_table(tmp_path / "map.parquet")
    assert {"id", "x", "y", "vector", "neighbors", "image", "path", "category", "cluster"} <= set(
        table.column_names
    )
    vectors = np.stack(table["vector"].to_numpy(zero_copy_only=False))
    for row, found in enumerate(table["neighbors"].to_pylist()):
        assert row not in found["ids"]  # rows of this table
        away = 1 - vectors[found["ids"]] @ vectors[row]
        np.testing.assert_allclose(found["distances"], away, atol=2e-3)
        assert np.sort(away) == pytest.approx(away, abs=2e-3)
    picture = table["image"][0].as_py()
    assert picture["bytes"].startswith(b"\xff\xd8")
    with Library.open(library) as opened:
        assert {item.id: item.path for item in opened.items()} == dict(
            zip(table["id"].to_pylist(), table["path"].to_pylist(), strict=True)
        )


def places(library: Path, out: Path) -> dict[str, tuple[float, float]]:
    map(library, out=out, overwrite=True)
    rows = parquet.read_table(out).to_pylist()
    return {row["path"]: (row["x"], row["y"]) for row in rows}


def test_a_library_that_grows_keeps_its_map(library: Path, tmp_path: Path) -> None:
    before = places(library, tmp_path / "m.parquet")
    raw = library.parent / "raw"
    vaeneer.synthesize(tmp_path / "more", count=2, side_px=160, seed=77)
    shutil.copytree(tmp_path / "more", raw / "more")
    gone = next(iter(before))
    (raw / gone).unlink()
    index(raw, library=library, folder_moved=True)
    after = places(library, tmp_path / "m.parquet")
    kept = before.keys() & after.keys()
    assert gone not in after
    assert len(kept) == 23
    assert len(after) == 25
    assert {path: after[path] for path in kept} == {path: before[path] for path in kept}
    report = map(library, out=tmp_path / "m.png")
    assert report.added_later == 2
    anew = map(
        library, out=tmp_path / "m.png", settings=MapSettings(recompute=True), overwrite=True
    )
    assert anew.added_later == 0
    other = MapSettings(perplexity=4, seed=2)
    map(library, out=tmp_path / "m.png", settings=other, overwrite=True)
    again = map(library, out=tmp_path / "m.png", overwrite=True)  # as it is kept
    assert (again.perplexity, again.seed) == (4.0, 2)


def test_a_library_that_cannot_be_written_has_a_map(
    library: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = []

    class Listener(Silent):
        def say(self, line: str) -> None:
            said.append(line)

    def refused(path: Path, layout: Layout, *, library: str) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(map_module, "write_layout", refused)
    map(library, out=tmp_path / "m.png", settings=MapSettings(seed=9), progress=Listener())
    assert (tmp_path / "m.png").is_file()
    assert ["Read-only" in line for line in said] == [True]


def test_what_cannot_be_done_is_said(library: Path, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="suffix"):
        map(library, out=tmp_path / "map.gif")
    for wrong, message in (
        ({"colour": "hue"}, "colour is 'hue'"),
        ({"perplexity": 0.5}, r"perplexity is 0\.5"),
        ({"seed": -1}, "seed is -1"),
    ):
        with pytest.raises(SettingsError, match=message):
            MapSettings(**wrong)  # type: ignore[arg-type]
    with pytest.raises(LibraryError, match="not a library"):
        map(tmp_path, out=tmp_path / "map.png")
    assert not list(tmp_path.iterdir())
