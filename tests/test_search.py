"""search(): by file, pixels, id, box and several at once; filters, copies, order and mistakes."""

from __future__ import annotations

import io
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from rich.console import Console, RenderableType

from vaeneer.cli import library_tables as tables
from vaeneer.errors import DataError, ImageFileError, LibraryError, ModelFileError, SettingsError
from vaeneer.library.index.index import index
from vaeneer.library.library import Library
from vaeneer.library.search.filters import FilterError
from vaeneer.library.search.query import Query, box_of, mean_query, query_of, source_of
from vaeneer.library.search.search import search
from vaeneer.settings import IndexSettings, SearchSettings

ALL = SearchSettings(k=100)


@pytest.fixture(scope="module")
def library(small_library: Path) -> Iterator[Library]:
    with Library.open(small_library) as opened:
        yield opened


@pytest.fixture(scope="module")
def copies(library: Library, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Library]:
    """Five surfaces without parts; of the first also the same bytes and the same pixels."""
    folder = tmp_path_factory.mktemp("copies")
    raw = folder / "raw"
    pictures = [library.picture(item) for item in library.items()[:20:4]]
    for number, picture in enumerate(pictures):
        (raw / f"{number}").mkdir(parents=True)
        picture.save(raw / f"{number}" / "one.png")
    shutil.copyfile(raw / "0" / "one.png", raw / "0" / "bytes.png")
    shutil.copyfile(raw / "1" / "one.png", raw / "1" / "bytes.png")
    pictures[0].save(raw / "0" / "pixels.bmp")
    index(raw, library=folder / "library", settings=IndexSettings(parts="none"))
    with Library.open(folder / "library") as opened:
        yield opened


def overlap(one: tuple[int, ...], other: tuple[int, ...]) -> float:
    """Intersection over union of two boxes."""
    wide = min(one[0] + one[2], other[0] + other[2]) - max(one[0], other[0])
    high = min(one[1] + one[3], other[1] + other[3]) - max(one[1], other[1])
    shared = max(0, wide) * max(0, high)
    return shared / (one[2] * one[3] + other[2] * other[3] - shared)


def test_a_file_of_the_library_finds_itself_first(library: Library) -> None:
    for item in library.items()[::7]:
        report = search(library, library.path(item))
        best = report.hits[0]
        assert best.id == item.id
        assert best.score > 0.999
        assert best.path == str(library.path(item))
        assert Path(best.path).is_file()
        assert (best.width_px, best.height_px) == (160, 160)
        assert len(report.hits) == 10
        assert (best.match, best.box) == ("exact", (0, 0, 160, 160))
        assert all(hit.box is None for hit in report.hits if hit.match != "exact")
        scores = [hit.score for hit in report.hits]
        assert scores == sorted(scores, reverse=True)
        assert -1 <= scores[-1] < scores[0] <= 1


def test_every_way_to_give_an_image_asks_the_same(library: Library) -> None:
    item = library.items()[3]
    path = library.path(item)
    picture = library.picture(item)
    expected = search(library, path)  # by the vector in the library, which has half precision
    for source in (str(path), path.read_bytes(), picture, np.asarray(picture)):
        found = search(library, source)
        assert [hit.id for hit in found.hits] == [hit.id for hit in expected.hits]
        np.testing.assert_allclose(
            [hit.score for hit in found.hits], [hit.score for hit in expected.hits], atol=1e-4
        )


def test_a_picture_of_another_mode_is_read_as_its_file_would_be(
    library: Library, tmp_path: Path
) -> None:
    grey = library.picture(library.items()[5]).convert("L")
    deep = Image.fromarray(np.asarray(grey).astype(np.uint16) * 257)
    deep.save(tmp_path / "deep.png")
    scores = [search(library, source).hits[0].score for source in (deep, tmp_path / "deep.png")]
    assert scores[0] == pytest.approx(scores[1], abs=1e-5)


def test_an_item_does_not_answer_itself(library: Library) -> None:
    item = library.items()[8]
    by_file = search(library, library.path(item), settings=ALL).hits
    by_id = search(library, item.id, settings=ALL).hits
    assert len(by_file) == len(library)
    assert [hit.id for hit in by_id] == [hit.id for hit in by_file if hit.id != item.id]
    by_box = search(library, item.id, box=(0, 0, 80, 80), settings=ALL).hits
    assert item.id not in {hit.id for hit in by_box}


def test_a_box_finds_its_place(library: Library) -> None:
    found = []
    for item in library.items()[::5]:
        for box in ((0, 0, 80, 80), (80, 0, 80, 80), (0, 80, 80, 80)):
            report = search(library, library.path(item), box=box, settings=SearchSettings(k=24))
            best = report.hits[0]
            found.append(best.id == item.id and overlap(best.box or (0, 0, 1, 1), box))
            assert report.compared == "parts"
            assert len({hit.id for hit in report.hits}) == len(report.hits) == 24
            for hit in report.hits:
                assert hit.box is not None
                x, y, width, height = hit.box
                assert min(x, y) >= 0
                assert x + width <= hit.width_px
                assert y + height <= hit.height_px
    assert np.mean([place == 1.0 for place in found]) > 0.9  # the box is one of the parts


def test_a_long_box_is_seen_whole(library: Library) -> None:
    """Two different surfaces side by side: a box on both differs from a box on one."""
    one, two = (np.asarray(library.picture(item)) for item in (library.items()[i] for i in (0, 12)))
    both = np.concatenate([one, two], axis=1)
    left = search(library, both, box=(0, 0, 160, 160)).hits[0]
    wide = search(library, both, box=(0, 0, 320, 160), settings=ALL).hits
    assert left.id == library.items()[0].id
    assert {library.items()[0].id, library.items()[12].id} <= {hit.id for hit in wide[:6]}


def test_whole_images_can_be_placed_too(library: Library) -> None:
    report = search(library, library.items()[2].id, settings=SearchSettings(parts=True))
    assert report.compared == "parts"
    assert all(hit.box is not None for hit in report.hits)


def test_filters_leave_the_nearest_of_the_rest(library: Library) -> None:
    item = library.items()[0]
    everything = search(library, item.id, settings=ALL).hits
    categories = {hit.category for hit in everything if hit.category}
    assert len(categories) > 1
    for category in categories:
        expected = [hit.id for hit in everything if hit.category == category][:4]
        for settings in (
            SearchSettings(k=4, category=category),
            SearchSettings(k=4, where=f"category = '{category}'"),
            SearchSettings(k=4, category=category, where="width = 160"),
        ):
            assert [hit.id for hit in search(library, item.id, settings=settings).hits] == expected
    ids = [hit.id for hit in everything[5:9]]
    chosen = SearchSettings(where=f"id in ({','.join(map(str, ids))})")
    assert [hit.id for hit in search(library, item.id, settings=chosen).hits] == ids
    parts = search(library, item.id, settings=replace(chosen, parts=True)).hits
    assert {hit.id for hit in parts} == set(ids)
    assert search(library, item.id, settings=SearchSettings(where="width > 160")).hits == []
    assert search(library, item.id, settings=SearchSettings(tag="no such tag")).hits == []


def test_a_wrong_condition_is_told_before_anything_is_read(library: Library) -> None:
    with pytest.raises(FilterError, match="did you mean category"):
        search(library, "no such file.png", settings=SearchSettings(where="categry = 'a'"))


def test_several_images_ask_by_their_mean(library: Library) -> None:
    items = library.items()
    vectors = {
        item.id: library.catalog.vectors([library.catalog.crops_of(item.id)[0].id]).vectors[0]
        for item in items
    }
    asked, against = [items[1].id, items[6].id], [items[11].id]
    mean = np.mean([vectors[one] for one in asked], axis=0)
    for without, vector in (([], mean), (against, mean - 0.5 * vectors[against[0]])):
        hits = search(library, asked, negative=without, settings=ALL).hits
        vector = vector / np.linalg.norm(vector)
        expected = {one: float(vectors[one] @ vector) for one in vectors}
        for one in (*asked, *without):
            del expected[one]
        assert {hit.id for hit in hits} == set(expected)
        for hit in hits:
            assert hit.score == pytest.approx(expected[hit.id], abs=2e-3)
    item = items[1].id
    with pytest.raises(SettingsError, match="cancel"):
        mean_query([query_of(library, item)], [opposite(query_of(library, item))])


def opposite(query: Query) -> Query:
    """What the negative part takes away as much as the query gives."""
    return replace(query, vector=2 * query.vector)


def test_the_odds_are_the_models_over_the_strangers_and_can_be_asked_for(
    library: Library,
) -> None:
    item = library.items()[4]
    everything = search(library, library.path(item), settings=ALL).hits
    scores = np.array([hit.score for hit in everything])
    even = library.embedder.probability(scores)  # were as many items the same as another
    expected = even / (even + (1 - even) * (len(library) - 1))
    np.testing.assert_allclose([hit.probability for hit in everything], expected, atol=1e-4)
    least = float(np.median(expected))
    settings = SearchSettings(k=100, min_probability=least)
    likely = search(library, library.path(item), settings=settings).hits
    assert 1 <= len(likely) < len(everything)
    assert [hit.id for hit in likely] == [
        hit.id for hit in everything if (hit.probability or 0) >= least
    ]


def test_hits_are_likely_from_a_threshold_and_else_only_similar(library: Library) -> None:
    item = library.items()[4]
    path = library.path(item)
    everything = search(library, path, settings=ALL).hits
    threshold = sorted(hit.probability or 0 for hit in everything)[10]
    report = search(library, path, settings=replace(ALL, likely_threshold=threshold))
    for hit in report.hits:
        if hit.match != "exact":
            assert hit.match == ("likely" if (hit.probability or 0) >= threshold else "similar")
    assert report.matches["similar"] == 10
    assert sum(report.matches.values()) == len(report.hits) == len(library)
    assert report.gallery_size == len(library)
    values = report.to_dict()
    assert values["gallery_size"] == 24
    assert values["hits"][0]["match"] == report.hits[0].match
    shown = words_of(tables.hits(values))
    assert f"{report.matches['likely']} likely, 10 only similar. Probabilities" in shown
    assert "a library of 24 items" in shown
    with pytest.raises(SettingsError, match=r"likely_threshold is 1\.5; use 0 to 1"):
        search(library, path, settings=SearchSettings(likely_threshold=1.5))


def words_of(table: RenderableType) -> str:
    """What a terminal shows, without its line ends."""
    console = Console(width=200, file=io.StringIO(), record=True)
    console.print(table)
    return " ".join(console.export_text().split())


def test_a_model_that_is_not_calibrated_has_no_probability(copies: Library, tmp_path: Path) -> None:
    shutil.copytree(copies.folder, tmp_path / "library")
    file = tmp_path / "library" / "model" / "readout.json"
    file.with_name("SHA256SUMS").unlink()
    file.write_text(json.dumps(json.loads(file.read_text()) | {"calibration": None}))
    number = copies.items()[0].id
    report = search(tmp_path / "library", number)
    assert {(hit.probability, hit.match) for hit in report.hits} == {(None, None)}
    assert report.matches == {}
    assert "Probabilities" not in words_of(tables.hits(report.to_dict()))
    with pytest.raises(ModelFileError, match="not calibrated"):
        search(tmp_path / "library", number, settings=SearchSettings(min_probability=0.5))


def test_equal_scores_are_in_the_order_of_their_paths(copies: Library) -> None:
    item = next(item for item in copies.items() if item.path == "0/one.png")
    hits = search(copies, copies.path(item), settings=SearchSettings(k=1)).hits
    assert [Path(hit.path).name for hit in hits] == ["bytes.png"]
    hits = search(copies, copies.path(item)).hits
    names = [Path(hit.path).relative_to(copies.root).as_posix() for hit in hits]
    assert sorted(names[:3]) == ["0/bytes.png", "0/one.png", "0/pixels.bmp"]
    assert names.index("0/bytes.png") < names.index("0/one.png")
    assert len(hits) == len(copies) == 8
    assert hits == search(copies, copies.path(item)).hits


def test_copies_can_be_left_out(copies: Library) -> None:
    settings = SearchSettings(exclude_duplicates=True)
    by_path = {item.path: item for item in copies.items()}
    for asked in (by_path["0/one.png"].id, copies.path(by_path["0/one.png"])):
        names = {
            Path(hit.path).parent.name for hit in search(copies, asked, settings=settings).hits
        }
        assert names == {"1", "2", "3", "4"}  # none of folder 0
    pixels = np.asarray(copies.picture(by_path["2/one.png"]))
    hits = search(copies, pixels, settings=settings).hits
    assert sorted(Path(hit.path).parent.name for hit in hits) == ["0", "1", "3", "4"]
    limited = search(copies, pixels, settings=replace(settings, k=3)).hits
    assert limited == hits[:3]


def test_copies_of_the_image_under_a_box_are_left_out(library: Library) -> None:
    item = library.items()[9]
    settings = SearchSettings(exclude_duplicates=True)
    report = search(library, library.path(item), box=(0, 0, 80, 80), settings=settings)
    assert item.id not in {hit.id for hit in report.hits}
    assert len(report.hits) == 10


def test_items_that_left_are_passed_over(small_library: Path, tmp_path: Path) -> None:
    shutil.copytree(small_library, tmp_path / "library")
    with Library.open(tmp_path / "library") as library:
        number = library.items()[0].id
        before = search(library, number, settings=ALL).hits
        library.catalog.execute("DELETE FROM items WHERE id = ?", (before[0].id,))
        after = search(library, number, settings=ALL).hits
        assert [hit.id for hit in after] == [hit.id for hit in before[1:]]


def test_a_library_without_parts_says_so(copies: Library) -> None:
    with pytest.raises(LibraryError, match=r"no vectors of parts.*--parts halves --library"):
        search(copies, copies.items()[0].id, box=(0, 0, 64, 64))


@pytest.mark.parametrize(
    ("box", "said"),
    [
        ((100, 0, 61, 20), "100,0,61,20, which is not inside .*160 x 160 px"),
        ((0, -1, 20, 20), "not inside"),
        ((0, 0, 15, 100), "16 px or more"),
        ((0, 0, -50, 100), "16 px or more"),
        ((0.5, 0, 50, 100), "give x, y, width and height"),
        ((0, 0, 50), "give x, y, width and height"),
    ],
)
def test_a_box_must_be_on_the_image(library: Library, box: tuple[int, ...], said: str) -> None:
    with pytest.raises(SettingsError, match=said):
        search(library, library.path(library.items()[0]), box=box)  # type: ignore[arg-type]


def test_what_cannot_be_asked_by_is_refused(library: Library, tmp_path: Path) -> None:
    (tmp_path / "bad.png").write_bytes(b"not an image")
    for source, error, said in (
        (tmp_path / "none.png", ImageFileError, "no such file"),
        (tmp_path / "bad.png", ImageFileError, "not an image"),
        (b"not an image", ImageFileError, "the bytes given: not an image"),
        (10**6, LibraryError, "no item 1000000"),
        (np.zeros((50, 50, 2), np.uint8), DataError, r"\(50, 50, 2\)"),
        (np.full((50, 50, 3), 9, np.float32), DataError, "divide by 255"),
        (np.zeros((9, 50, 3), np.uint8), DataError, "50 x 9 px"),
        (True, DataError, "bool"),
        ([], SettingsError, "no query image"),
    ):
        with pytest.raises(error, match=said):
            search(library, source)  # type: ignore[arg-type]
    with pytest.raises(SettingsError, match="A box needs a single query image"):
        search(library, [1, 2], box=(0, 0, 80, 80))
    with pytest.raises(SettingsError, match="k is 0"):
        search(library, 1, k=0)
    with pytest.raises(LibraryError, match="not a library"):
        search(tmp_path, 1)


def test_a_report_is_json(library: Library) -> None:
    path = str(library.path(library.items()[0]))
    values = json.loads(json.dumps(search(library, path, box=(0, 0, 80, 90)).to_dict()))
    assert values["query"]["images"] == [path]
    assert values["query"]["box"] == [0, 0, 80, 90]
    assert values["query"]["k"] == 10
    first = values["hits"][0]
    assert list(first)[:7] == ["id", "path", "asset", "score", "probability", "match", "box"]
    assert len(first["box"]) == 4
    plain = json.loads(json.dumps(search(library, path).to_dict()))
    assert plain["hits"][0]["box"] == [0, 0, 160, 160]
    assert plain["hits"][-1]["box"] is None
    assert plain["query"]["box"] is None


def test_words_of_the_command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert source_of("12") == 12
    (tmp_path / "12").touch()
    assert source_of("12") == Path("12")
    assert source_of("oak.png") == Path("oak.png")
    assert source_of("٣") == Path("٣")
    assert box_of("1, 2,30,40") == (1, 2, 30, 40)
    for text in ("1,2,3", "1,2,3,4,5", "a,b,c,d", "", "1.5,2,3,4"):
        with pytest.raises(SettingsError, match=r"x,y,width,height"):
            box_of(text)


def test_asking_by_an_item_needs_no_pytorch(small_library: Path) -> None:
    code = f"""
import sys
from vaeneer.library.search.search import search
assert len(search({str(small_library)!r}, 1).hits) == 10
assert "torch" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_search_by_a_file_of_the_library_needs_no_pytorch(small_library: Path) -> None:
    with Library.open(small_library) as library:
        file = library.path(library.items()[0])
    code = f"""
import sys
from pathlib import Path
from vaeneer.library.search.search import search
assert search({str(small_library)!r}, Path({str(file)!r})).hits[0].path == {str(file)!r}
assert "torch" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_search_by_a_file_imports_no_more_than_it_needs(
    small_library: Path, tmp_path: Path
) -> None:
    """2 s are allowed for `vaeneer search LIB FILE`: held by its imports, and not by a clock."""
    file = tmp_path / "oak.png"
    Image.effect_noise((300, 280), 60).save(file)
    code = f"""
import sys
from vaeneer.cli.app import run
assert run(["search", {str(small_library)!r}, {str(file)!r}]) == 0
sys.stderr.write(" ".join(sys.modules))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    heavy = {"matplotlib", "pandas", "pyarrow", "scipy", "skimage", "sklearn", "sympy"}
    compiler = {"torch._dynamo", "torch._inductor", "torch.fx.experimental.symbolic_shapes"}
    assert not (heavy | compiler) & set(done.stderr.split())


def test_boxes_of_a_sideways_photo_are_upright(library: Library, tmp_path: Path) -> None:
    """The box is in the pixels that a viewer shows, whatever the EXIF orientation of the file."""
    one, two = (library.picture(library.items()[i]) for i in (0, 12))
    upright = Image.new("RGB", (320, 160))
    upright.paste(one, (0, 0))
    upright.paste(two, (160, 0))
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by a quarter, clockwise
    stream = io.BytesIO()
    upright.transpose(Image.Transpose.ROTATE_90).save(stream, "PNG", exif=exif)
    for box, place in (((0, 0, 160, 160), 0), ((160, 0, 160, 160), 12)):
        hits = search(library, stream.getvalue(), box=box).hits
        assert hits[0].id == library.items()[place].id
        assert hits[0].score > 0.99
