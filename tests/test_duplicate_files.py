"""Copies as files: links, further names, alpha, depth, pages, offline and changed ones."""

from __future__ import annotations

import csv
import io
import os
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from vaeneer.cli.app import run
from vaeneer.data.synthetic.synthesize import surface
from vaeneer.library.catalog import Catalog
from vaeneer.library.duplicates.duplicates import duplicates
from vaeneer.library.duplicates.near_copies import read_extra
from vaeneer.library.duplicates.report import DuplicateGroup, DuplicatesReport, csv_text
from vaeneer.library.index.index import index
from vaeneer.library.library import Library
from vaeneer.library.search.search import search
from vaeneer.settings import IndexSettings, SearchSettings

SIDE_PX = 128


def picture(seed: int, family: str = "rock") -> Image.Image:
    return Image.fromarray(surface(family, seed=seed, side_px=SIDE_PX))


def holed(image: Image.Image) -> Image.Image:
    """A decal with a hole of 4 x 4 px."""
    image = image.copy()
    alpha = np.asarray(image.getchannel("A")).copy()
    alpha[60:64, 60:64] = 0
    image.putalpha(Image.fromarray(alpha))
    return image


def save(image: Image.Image, path: Path, **options: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, **options)
    return path


def indexed(raw: Path) -> Path:
    """The library of a folder, beside it."""
    library = raw.parent / "library"
    index(raw, library=library, settings=IndexSettings(parts="none"))
    return library


def told(report: DuplicatesReport) -> dict[str, dict[str, str]]:
    """Path of the file to keep -> path of each other file -> what it is; of the largest groups."""
    return {
        group.keep: {
            item.path: f"{item.relation} {item.change}".strip() for item in group.items[1:]
        }
        for group in report.groups
    }


def group_of(report: DuplicatesReport, name: str) -> DuplicateGroup | None:
    """The last group, so that near comes after exact, that has a file of this name."""
    own = [g for g in report.groups if any(Path(i.path).name == name for i in g.items)]
    return own[-1] if own else None


@pytest.fixture(scope="module")
def linked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders with links of every kind, each with a surface of its own, and the library."""
    folder = tmp_path_factory.mktemp("linked")
    raw, outside = folder / "raw", folder / "outside"
    save(picture(1), raw / "zz/real.jpg")
    (raw / "a_best").mkdir()
    (raw / "a_best/link.jpg").symlink_to("../zz/real.jpg")
    (raw / "a_best/chain.jpg").symlink_to(raw / "a_best/link.jpg")  # a link to a link, absolute
    save(picture(2), raw / "hard/m.png")
    os.link(raw / "hard/m.png", raw / "hard/z.png")
    (raw / "copies").mkdir()
    shutil.copyfile(raw / "hard/m.png", raw / "copies/separate.png")
    save(picture(3), outside / "far.png")
    (raw / "far_1.png").symlink_to(outside / "far.png")
    (raw / "far_2.png").symlink_to(outside / "far.png")
    save(picture(4), outside / "folder/inside.png")
    (raw / "way").symlink_to(outside / "folder", target_is_directory=True)
    (raw / "a_best/into.png").symlink_to("../way/inside.png")
    save(picture(5).resize((256, 256)), outside / "large.png")
    (raw / "large.png").symlink_to(outside / "large.png")
    save(picture(5), raw / "small.png")
    save(picture(6), raw / "twice/a.png")
    shutil.copyfile(raw / "twice/a.png", raw / "twice/b.png")
    os.link(raw / "twice/b.png", outside / "elsewhere.png")
    save(picture(7), raw / "used/z.png")
    (raw / "used/link.png").symlink_to("z.png")
    shutil.copyfile(raw / "used/z.png", raw / "used/a.png")
    indexed(raw)
    return folder


def test_a_link_is_never_kept_and_frees_nothing(linked: Path) -> None:
    report = duplicates(linked / "library")
    frees = "deleting it frees nothing"
    groups = told(report)
    assert groups["zz/real.jpg"] == {
        "a_best/link.jpg": f"exact a symbolic link to zz/real.jpg: {frees}",
        "a_best/chain.jpg": f"exact a symbolic link to zz/real.jpg: {frees}",
    }
    inside = (linked / "outside/folder/inside.png").as_posix()
    assert groups["way/inside.png"] == {
        "a_best/into.png": f"exact a symbolic link to {inside}: {frees}"
    }
    far = (linked / "outside/far.png").as_posix()
    assert groups["far_1.png"] == {"far_2.png": f"exact a symbolic link to {far}: {frees}"}
    assert list(groups["small.png"]) == ["large.png"]  # though the link leads to more pixels
    assert groups["small.png"]["large.png"].endswith(frees)
    assert groups["used/z.png"]["used/a.png"] == "exact"  # the link needs the other one


def test_names_of_one_file_are_counted_once(linked: Path) -> None:
    raw, report = linked / "raw", duplicates(linked / "library")
    groups = told(report)
    frees = "deleting it frees nothing"
    assert groups["hard/m.png"] == {
        "copies/separate.png": "exact",
        "hard/z.png": f"exact a hard link, another name of hard/m.png: {frees}",
    }
    assert groups["twice/a.png"] == {
        "twice/b.png": f"exact a hard link, with other names elsewhere: {frees}"
    }
    redundant = {i.path for g in report.groups for i in g.items if i.redundant}
    assert redundant == {"copies/separate.png", "used/a.png"}
    assert report.redundant_files == 2
    assert report.redundant_bytes == sum((raw / path).stat().st_size for path in redundant)
    items = {i.path: i for g in report.groups for i in g.items}
    assert items["hard/z.png"].same_file == "hard/m.png"
    assert items["a_best/link.jpg"].link == "zz/real.jpg"
    rows = {r["path"]: r for r in csv.DictReader(io.StringIO(csv_text(report.groups)))}
    assert {path for path, row in rows.items() if row["decision"] == "redundant"} == redundant


def test_beside_the_csv_links_are_named(linked: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["duplicates", str(linked / "library"), "--csv"]) == 0
    out, errors = capsys.readouterr()
    assert "a symbolic link" not in out  # of a table with fixed columns
    frees = "deleting it frees nothing"
    assert f"a_best/link.jpg: a symbolic link to zz/real.jpg: {frees}" in errors
    assert f"hard/z.png: a hard link, another name of hard/m.png: {frees}" in errors
    assert "copies/separate.png" not in errors


def test_the_page_and_a_search_take_a_link_and_its_target_for_one(linked: Path) -> None:
    duplicates(linked / "library", out_html=linked / "page.html")
    page = (linked / "page.html").read_text(encoding="utf-8")
    assert "a symbolic link to zz/real.jpg: deleting it frees nothing" in page
    with Library.open(linked / "library") as library:
        ids = {item.path: item.id for item in library.items()}
        settings = SearchSettings(k=100, exclude_duplicates=True)
        hits = {hit.id for hit in search(library, ids["small.png"], settings=settings).hits}
        names = {path for path, one in ids.items() if one in hits}
    assert len(names & {"zz/real.jpg", "a_best/link.jpg", "a_best/chain.jpg"}) == 1


def test_what_became_a_link_after_it_was_found_is_told_so(tmp_path: Path) -> None:
    raw = tmp_path / "raw"
    save(picture(8), raw / "a.png")
    shutil.copyfile(raw / "a.png", raw / "b.png")
    library = indexed(raw)
    assert told(duplicates(library)) == {"a.png": {"b.png": "exact"}}
    (raw / "a.png").unlink()
    (raw / "a.png").symlink_to("b.png")  # as programs do that make links of copies
    link = "exact a symbolic link to b.png: deleting it frees nothing"
    assert told(duplicates(library)) == {"b.png": {"a.png": link}}
    generations = []
    for again in (False, True, True):
        if again:
            indexed(raw)
        with Library.open(library) as opened:
            generations.append(opened.catalog.generation)
            assert [item.link for item in opened.items()] == (
                ["b.png", None] if again else [None] * 2
            )
    assert generations[0] < generations[1] == generations[2]  # so that a server asks again, once


def decal(colour: Image.Image, shape: str) -> Image.Image:
    """A surface with an alpha channel: a disc, a square or all of it."""
    y, x = np.mgrid[:SIDE_PX, :SIDE_PX] - SIDE_PX / 2
    inside = {
        "disc": x**2 + y**2 < 50**2,
        "square": np.maximum(abs(x), abs(y)) < 40,
        "all": x < 999,
    }
    image = colour.copy()
    image.putalpha(Image.fromarray((inside[shape] * 255).astype(np.uint8)))
    return image


def scaled(image: Image.Image) -> Image.Image:
    """Three quarters of the size, each channel for itself: Pillow's resize darkens clear pixels."""
    return Image.merge("RGBA", [channel.resize((96, 96)) for channel in image.split()])


@pytest.fixture(scope="module")
def contents(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures that look alike and hold more or less, and the library."""
    raw = tmp_path_factory.mktemp("contents") / "raw"
    one, two, three, four, five, six = (picture(seed) for seed in range(11, 17))
    save(decal(one, "disc"), raw / "disc.png")
    save(decal(one, "square"), raw / "square.png")
    save(decal(one, "disc"), raw / "disc_again.tif", compression="tiff_lzw")
    save(scaled(decal(one, "disc")), raw / "disc_small.png")
    save(decal(one, "square").transpose(Image.Transpose.ROTATE_90), raw / "square_turned.png")
    save(holed(decal(one, "disc")), raw / "disc_with_a_hole.png")
    save(one, raw / "disc_without.bmp")
    save(decal(two, "all"), raw / "opaque.png")
    save(two, raw / "opaque_without.png", compress_level=1)
    save(decal(three, "disc"), raw / "cut_out.png")
    save(three, raw / "not_cut_out.jpg", quality=95)
    deep = (
        np.asarray(four).astype(np.uint16) * 257
        + np.arange(SIDE_PX, dtype=np.uint16)[:, None, None]
    )
    cv2.imwrite(str(raw / "deep.png"), deep[..., ::-1])
    save(four, raw / "shallow.bmp")
    save(four, raw / "shallow.tga")
    save(
        five, raw / "pages.tif", save_all=True, append_images=[picture(30)], compression="tiff_lzw"
    )
    save(five, raw / "other_pages.tif", save_all=True, append_images=[picture(31)])
    save(five, raw / "page.bmp")
    for shape in ("disc", "square"):
        save(decal(picture(17), shape), raw / f"bmp_{shape}.bmp")  # Pillow reads it without alpha
        rgba = np.asarray(decal(picture(18), shape)).astype(np.uint16) * 256 + 5
        cv2.imwrite(str(raw / f"deep_{shape}.png"), rgba[..., [2, 1, 0, 3]])
    save(six.convert("P"), raw / "moving.gif", save_all=True, append_images=[picture(32)])
    save(six.convert("P").convert("RGB"), raw / "still.bmp")
    indexed(raw)
    return raw


def test_same_pixels_are_those_of_everything_in_the_file(contents: Path) -> None:
    report = duplicates(contents.parent / "library")
    same = {
        frozenset(Path(item.path).name for item in group.items)
        for group in report.groups
        if group.kind == "same_pixels"
    }
    assert same == {
        frozenset({"disc.png", "disc_again.tif"}),
        frozenset({"opaque.png", "opaque_without.png"}),
        frozenset({"shallow.bmp", "shallow.tga"}),
    }


def test_what_differs_in_alpha_pages_or_frames_is_no_copy(contents: Path) -> None:
    report = duplicates(contents.parent / "library")
    groups = {
        name: {Path(item.path).name for item in group.items} if group else set()
        for name in ("disc.png", "square.png", "disc_without.bmp", "other_pages.tif", "pages.tif")
        for group in [group_of(report, name)]
    }
    assert groups["disc.png"] == {"disc.png", "disc_again.tif", "disc_small.png"}
    assert groups["square.png"] == {"square.png", "square_turned.png"}
    for name in ("disc_with_a_hole.png", "bmp_disc.bmp", "deep_square.png"):
        assert group_of(report, name) is None
    assert groups["disc_without.bmp"] == set()  # each decal would lose its shape with it
    assert groups["other_pages.tif"] == groups["pages.tif"] == set()
    assert group_of(report, "still.bmp") is None  # it is the best, and the other one holds more


def test_what_holds_less_is_a_copy_of_what_holds_more(contents: Path) -> None:
    groups = told(duplicates(contents.parent / "library"))
    assert groups["cut_out.png"] == {"not_cut_out.jpg": "near without alpha"}
    near = groups["deep.png"]
    assert set(near) == {"shallow.bmp", "shallow.tga"}
    assert near["shallow.bmp"] == "near 8 bits instead of 16"


def test_a_deeper_file_is_not_redundant_for_a_larger_one(tmp_path: Path) -> None:
    raw = tmp_path / "raw"
    deep = np.asarray(picture(40)).astype(np.uint16) * 257
    save(picture(40).resize((2 * SIDE_PX, 2 * SIDE_PX)), raw / "large.png")
    assert cv2.imwrite(str(raw / "deep.png"), deep[..., ::-1])
    save(picture(40), raw / "shallow.png")
    report = duplicates(indexed(raw))
    (group,) = report.groups
    assert group.keep.endswith("large.png")
    assert {Path(item.path).name for item in group.items if item.redundant} == {"shallow.png"}


def test_the_depth_of_an_older_library_is_read_once(contents: Path, tmp_path: Path) -> None:
    shutil.copytree(contents.parent / "library", tmp_path / "library")
    (tmp_path / "library" / "duplicates.json").unlink(missing_ok=True)
    catalog = Catalog.open(tmp_path / "library")
    with catalog.writing():
        catalog.execute("UPDATE items SET bits = NULL")
    groups = told(duplicates(tmp_path / "library"))
    assert "deep.png" in groups
    known = dict(catalog.execute("SELECT path, bits FROM items WHERE bits NOT NULL").fetchall())
    catalog.close()
    assert known["deep.png"] == 16
    assert known["shallow.bmp"] == 8


def test_alpha_is_read_once(
    contents: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = duplicates(contents.parent / "library")
    shutil.copytree(contents.parent / "library", tmp_path / "library")
    (tmp_path / "library" / "duplicates.json").unlink()

    def refuse(*_: object) -> None:
        raise AssertionError("read again")

    monkeypatch.setattr("vaeneer.library.duplicates.near_copies.read_extra", refuse)
    assert duplicates(tmp_path / "library").groups == before.groups


def test_extra_content_of_files_that_pillow_does_not_read(tmp_path: Path) -> None:
    tifffile = pytest.importorskip("tifffile")
    colours = np.asarray(picture(20)).astype(np.float32) / 255
    alpha = np.ones((SIDE_PX, SIDE_PX, 1), np.float32)
    hole = alpha.copy()
    hole[:, :64] = 0
    written = {
        "plain": [colours],
        "opaque": [np.concatenate([colours, alpha], 2)],
        "hole": [np.concatenate([colours, hole], 2)],
        "pages": [colours, colours[::-1]],
    }
    for name, planes in written.items():
        with tifffile.TiffWriter(tmp_path / f"{name}.tif") as out:
            for values in planes:
                samples = ["unassalpha"] if values.shape[2] == 4 else []
                out.write(values, photometric="rgb", extrasamples=samples)
    extras = {name: read_extra(tmp_path / f"{name}.tif") for name in written}
    assert not extras["plain"]
    assert not extras["opaque"]
    assert extras["pages"].alpha is None
    assert len(extras["pages"].frames) == 32
    shown = extras["hole"].alpha
    assert shown is not None
    assert (shown[:, :32] == 0).all()
    assert (shown[:, 32:] == 255).all()


@pytest.fixture
def shelf(tmp_path: Path) -> Path:
    """A folder of a drive with the larger files, and copies beside it; and the library."""
    raw = tmp_path / "raw"
    one, two = picture(40), picture(41)
    save(one.resize((256, 256)), raw / "drive/large.png")
    save(one, raw / "a.png")
    save(one, raw / "b.bmp")
    save(two, raw / "drive/equal.png")
    shutil.copyfile(raw / "drive/equal.png", raw / "equal.png")
    save(picture(42), raw / "drive/alone.png")
    shutil.copyfile(raw / "drive/alone.png", raw / "drive/alone_too.png")
    indexed(raw)
    return raw


@pytest.mark.parametrize(("index_again", "searched_before"), [(True, True), (False, False)])
def test_nothing_is_proposed_for_files_that_are_offline(
    shelf: Path, index_again: bool, searched_before: bool
) -> None:
    library = shelf.parent / "library"
    if searched_before:
        assert "drive/large.png" in told(duplicates(library))
    (shelf / "drive").rename(shelf.parent / "unplugged")
    if index_again:
        indexed(shelf)
    report = duplicates(library)
    groups = told(report)
    assert groups["equal.png"] == {"drive/equal.png": "exact offline: its folder is not there"}
    assert groups["drive/alone.png"] == {
        "drive/alone_too.png": "exact offline: its folder is not there"
    }
    (near,) = (keep for keep in groups if keep in ("a.png", "b.bmp"))
    assert ("drive/large.png" in groups[near]) == searched_before
    redundant = [item.path for group in report.groups for item in group.items if item.redundant]
    assert {Path(path).name for path in redundant} == {"a.png", "b.bmp"} - {near}
    assert report.redundant_files == 1
    skipped = {Path(path).name for path in report.skipped}
    assert ("large.png" in skipped) != searched_before
    assert all(reason.startswith("offline: ") for reason in report.skipped.values())
    (shelf.parent / "unplugged").rename(shelf / "drive")
    if index_again:
        indexed(shelf)
    back = duplicates(library)
    assert "drive/large.png" in told(back)
    assert not any(item.offline for group in back.groups for item in group.items)


def test_files_that_are_gone_or_changed_are_no_copies_any_more(shelf: Path) -> None:
    library = shelf.parent / "library"
    assert "equal.png" in str(told(duplicates(library)))
    (shelf / "drive/equal.png").unlink()
    save(picture(43), shelf / "drive/alone.png")
    os.utime(shelf / "a.png")  # another time, the same bytes
    report = duplicates(library)
    assert {Path(p).name: r.split(":")[0] for p, r in report.skipped.items()} == {
        "equal.png": "no such file",
        "alone.png": "changed since it was indexed",
    }
    names = {Path(item.path).name for group in report.groups for item in group.items}
    assert names == {"large.png", "a.png", "b.bmp"}


def test_a_data_set_in_an_older_library_stands_for_no_source(tmp_path: Path) -> None:
    raw = tmp_path / "raw"
    save(picture(50), raw / "z.png")
    save(picture(51), raw / "y.png")
    shutil.copytree(raw, raw / "data/train")
    library = indexed(raw)
    (raw / "data/manifest.parquet").write_bytes(b"")  # as a version before the mark left it
    catalog = Catalog.open(library)
    with catalog.writing() as connection:
        connection.execute("UPDATE items SET bits = NULL")
    catalog.close()
    report = duplicates(library)
    assert report.groups == []
    assert {Path(path).parent.name for path in report.skipped} == {"train"}
    assert index(raw, library=library).images == 2


def test_the_plain_name_is_kept_and_no_map_set_loses_its_colour(tmp_path: Path) -> None:
    raw = tmp_path / "raw"
    first = save(picture(31), raw / "a/wall.png")
    for name in ("wall (1)", "wall - Copy", "Kopie von wall", "wall - Copy (2)"):
        shutil.copy(first, raw / f"a/{name}.png")
    for folder in ("b set", "c same set"):
        save(picture(32), raw / folder / "sand_albedo.png")
        save(picture(33), raw / folder / "sand_normal.png")
    shutil.copy(raw / "b set/sand_albedo.png", raw / "a/a.png")
    shutil.copy(raw / "b set/sand_albedo.png", raw / "b set/sand_albedo (1).png")
    small = save(picture(34).resize((96, 96)), raw / "d/rock_albedo.png")
    save(picture(33), small.with_name("rock_normal.png"))
    save(picture(34), raw / "e/large.png")
    for tile in (1001, 1002):
        save(picture(35), raw / f"f/robot_BaseColor.{tile}.png")
    report = duplicates(indexed(raw))
    redundant = {
        group.keep: sorted(item.path for item in group.items if item.redundant)
        for group in report.groups
    }
    assert redundant == {
        "a/wall.png": [f"a/{name}.png" for name in (
            "Kopie von wall", "wall (1)", "wall - Copy (2)", "wall - Copy",
        )],
        "b set/sand_albedo.png": [
            "a/a.png", "b set/sand_albedo (1).png", "c same set/sand_albedo.png",
        ],
        "d/rock_albedo.png": [],
        "f/robot_BaseColor.1001.png": [],
    }  # fmt: skip
    rock = group_of(report, "rock_albedo.png")
    assert rock is not None
    assert rock.items[1].change == (
        "scaled by 1.33; more pixels than the file to keep, which has 96 x 96 px"
    )
