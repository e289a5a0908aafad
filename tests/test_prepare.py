"""prepare: clean, grouped, deduplicated, split without leaks; safe to repeat; source untouched."""

import csv
import hashlib
import json
import os
import shutil
import subprocess
import sys
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from vaeneer.data import decode_worker
from vaeneer.data import prepare as prepare_module
from vaeneer.data import split as split_module
from vaeneer.data.dataset import Manifest, ManifestRow, read_manifest, write_manifest
from vaeneer.data.prepare import prepare
from vaeneer.data.split import (
    asset_folder_name,
    leaking_pairs,
    match_split,
    read_split,
    split_by_asset,
    units,
)
from vaeneer.errors import DataError, OutputExistsError, SettingsError
from vaeneer.settings import PrepareSettings


def surface(seed: int, side_px: int = 96) -> Image.Image:
    small = np.random.default_rng(seed).integers(0, 256, (9, 9, 3), np.uint8)
    return Image.fromarray(small).resize((side_px, side_px), Image.Resampling.BICUBIC)


def save(path: Path, seed: int, **options: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    surface(seed).save(path, **options)
    return path


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    """Twelve plain surfaces in two folders."""
    for seed in range(12):
        save(tmp_path / "raw" / ("brick" if seed % 2 else "wood") / f"s_{seed:02}.png", seed)
    return tmp_path / "raw"


def manifest(data: Path) -> Manifest:
    found = read_manifest(data)
    assert found is not None
    return found


def rows(data: Path) -> dict[str, ManifestRow]:
    return {row.path: row for row in manifest(data).rows}


def files(folder: Path) -> dict[str, str]:
    """Every file below a folder and the hash of its bytes."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@contextmanager
def counting_decodes(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Path]]:
    opened: list[Path] = []

    def read_image(path: Path, **options: Any) -> Any:
        opened.append(path)
        return original(path, **options)

    original = decode_worker.read_image
    with monkeypatch.context() as patch:
        patch.setattr(decode_worker, "read_image", read_image)
        yield opened


# What comes out


def test_layout_links_and_report(raw: Path, tmp_path: Path) -> None:
    before = files(raw)
    report = prepare(raw, out=tmp_path / "data")
    assert files(raw) == before
    assert (report.scanned, report.kept, report.assets) == (12, 12, 12)
    assert report.train + report.valid == 12
    assert report.valid >= 1
    assert report.train >= 1
    for path, row in rows(tmp_path / "data").items():
        asset = path.replace("/", "__").removesuffix(".png")
        assert row.output == f"{row.split}/{asset}/{Path(path).name}"
        assert (tmp_path / "data" / row.output).samefile(raw / path)
        assert row.category == path.split("/")[0]
    written = json.loads((tmp_path / "data" / "report.json").read_text())
    assert written["kept"] == 12
    assert written["settings"]["seed"] == 0
    assert report.to_dict()["kept"] == 12


def test_copies_where_links_are_impossible(
    raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def link(*_: Any) -> None:
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr(split_module.os, "link", link)
    prepare(raw, out=tmp_path / "data")
    for path, row in rows(tmp_path / "data").items():
        copy = tmp_path / "data" / str(row.output)
        assert copy.read_bytes() == (raw / path).read_bytes()
        assert not copy.samefile(raw / path)


def test_one_colour_map_represents_an_asset(tmp_path: Path) -> None:
    raw = tmp_path / "raw"
    for number, kind in enumerate(("1K_Albedo", "4K_Albedo", "4K_Normal", "Preview")):
        path = save(raw / "abc" / f"abc1_{kind}.png", number)
        if kind == "4K_Albedo":
            surface(9, 200).save(path)
    save(raw / "only" / "x_normal.png", 20)
    save(raw / "plain.jpg", 21)
    report = prepare(raw, out=tmp_path / "data")
    assert (report.kept, report.maps) == (2, 2)
    assert report.skipped == {"no colour map": 1, "preview": 1}
    found = rows(tmp_path / "data")
    assert found["abc/abc1_4K_Albedo.png"].status == "kept"
    assert found["abc/abc1_1K_Albedo.png"].reason == "abc/abc1_4K_Albedo.png represents the asset"
    assert found["abc/abc1_4K_Normal.png"].kind == "normal"
    assert found["only/x_normal.png"].reason == "no colour map"


def kept_of(data: Path) -> list[str]:
    return [path for path, row in rows(data).items() if row.status == "kept"]


def test_each_tile_is_an_image_of_its_asset_on_one_side(tmp_path: Path) -> None:
    raw = tmp_path / "raw"
    for tile in range(1001, 1009):
        save(raw / f"wall_BaseColor.{tile}.png", tile)
        save(raw / f"wall_Normal_{tile}.png", tile + 100)
    for seed in range(4):
        save(raw / f"plain_{seed}.png", seed)
    report = prepare(raw, out=tmp_path / "data")
    assert (report.kept, report.maps, report.assets) == (12, 8, 5)
    tiles = [row for path, row in rows(tmp_path / "data").items() if path.startswith("wall_B")]
    assert {(row.asset, row.kind, row.status) for row in tiles} == {("wall", "color", "kept")}
    assert len({row.split for row in tiles}) == 1


def test_pictures_that_differ_in_suffix_or_number_are_lost_only_where_they_look_alike(
    tmp_path: Path,
) -> None:
    raw = tmp_path / "raw"
    save(raw / "wall.jpg", 1, quality=95)
    save(raw / "wall.png", 2)
    save(raw / "same.jpg", 3, quality=95)
    save(raw / "same.png", 3)
    for name, seed in {"_01": 5, "_02": 6, "_03": 6}.items():
        save(raw / f"tile_albedo{name}.jpg", seed, quality=95 if name == "_02" else 90)
    save(raw / "tile_normal.png", 7)
    shutil.copy(save(raw / "twin_albedo.png", 8), raw / "twin_albedo - Copy.png")
    prepare(raw, out=tmp_path / "data")
    assert kept_of(tmp_path / "data") == [
        "same.jpg", "tile_albedo_01.jpg", "tile_albedo_02.jpg", "twin_albedo - Copy.png",
        "wall.jpg", "wall.png",
    ]  # fmt: skip
    assert rows(tmp_path / "data")["twin_albedo.png"].status == "duplicate"
    assert rows(tmp_path / "data")["same.png"].reason == "same.jpg represents the asset"


def test_the_first_colour_variant_represents_its_asset(tmp_path: Path) -> None:
    raw = tmp_path / "raw"
    for number, name in enumerate(("COL_VAR1_3K", "COL_VAR2_3K", "NRM16_3K", "DISP16_3K")):
        save(raw / f"Brick_{name}.png", number)
    report = prepare(raw, out=tmp_path / "data")
    assert (report.kept, report.maps) == (1, 3)
    assert kept_of(tmp_path / "data") == ["Brick_COL_VAR1_3K.png"]
    assert rows(tmp_path / "data")["Brick_COL_VAR2_3K.png"].kind == "color"


def test_a_broken_colour_map_gives_way_to_the_next(tmp_path: Path) -> None:
    raw = tmp_path / "raw"
    save(raw / "a_1k_color.png", 1)
    save(raw / "a_2k_color.png", 2).write_bytes(b"\x89PNG broken")
    prepare(raw, out=tmp_path / "data")
    assert rows(tmp_path / "data")["a_1k_color.png"].status == "kept"


def test_bad_files_are_skipped_with_reasons(raw: Path, tmp_path: Path) -> None:
    whole = save(raw / "cut.jpg", 50, quality=95).read_bytes()
    (raw / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    (raw / "empty.png").touch()
    (raw / "lfs.png").write_text("version https://git-lfs.github.com/spec/v1\n")
    (raw / "page.jpg").write_text("<html>")
    surface(60, 63).save(raw / "small.png")
    (raw / "notes.txt").write_text("x")
    (raw / "height.dng").write_text("x")
    save(raw / ".hidden.png", 70)
    save(raw / ".cache" / "a.png", 71)
    report = prepare(raw, out=tmp_path / "data")
    assert report.kept == 12
    assert report.skipped == {
        "truncated": 1,
        "empty file": 1,
        "a Git LFS pointer, not the image": 1,
        "not an image": 1,
        "too small": 1,
        "not an image file (.txt)": 1,
        "format not supported (.dng)": 1,
        "hidden": 2,
    }
    assert dict(report.skipped_files)["small.png"] == "too small: 63 x 63 px, under 64 px"
    assert report.scanned == 17


def test_too_many_pixels(raw: Path, tmp_path: Path) -> None:
    surface(60, 1200).save(raw / "huge.png")
    report = prepare(raw, out=tmp_path / "data", settings=PrepareSettings(max_megapixels=1))
    assert report.skipped == {"too many pixels": 1}


def test_only_what_others_would_misread_is_converted(tmp_path: Path) -> None:
    raw = tmp_path / "raw"
    save(raw / "plain.jpg", 1, quality=95)
    save(raw / "named_png.jpg", 2, format="PNG")
    save(raw / "old.tga", 3)
    save(raw / "old.png", 4)
    surface(5).convert("CMYK").save(raw / "print.jpg")
    clear = surface(6)
    clear.putalpha(100)
    clear.save(raw / "clear.png")
    Image.fromarray(np.arange(96 * 96, dtype=np.uint16).reshape(96, 96) * 7).save(raw / "deep.png")
    report = prepare(raw, out=tmp_path / "data")
    found = rows(tmp_path / "data")
    converted = {path for path, row in found.items() if row.converted}
    assert converted == {"print.jpg", "clear.png", "deep.png", "old.tga"}
    assert report.converted == 4
    outputs = {str(found[name].output) for name in ("old.tga", "old.png")}
    assert len(outputs) == 2  # two pictures, though both would be old.png
    with Image.open(tmp_path / "data" / str(found["clear.png"].output)) as image:
        assert np.array_equal(np.asarray(image), np.asarray(surface(6)))


def test_side_cars_and_categories(raw: Path, tmp_path: Path) -> None:
    value = {"id": "s_01", "name": "Old wall", "categories": ["surface", "brick"], "tags": ["red"]}
    (raw / "brick" / "s_01.json").write_text(json.dumps(value))
    (raw / "wood" / "broken.json").write_text("{")
    report = prepare(raw, out=tmp_path / "data")
    row = rows(tmp_path / "data")["brick/s_01.png"]
    assert (row.name, row.category, row.asset_id) == ("Old wall", "brick", "s_01")
    assert (row.categories, row.tags) == (("surface", "brick"), ("red",))
    assert row.sidecar == "brick/s_01.json"
    assert report.sidecars == 2
    assert any("broken.json" in line for line in report.warnings)
    assert report.skipped == {}


def test_folders_of_single_assets_are_no_categories(tmp_path: Path) -> None:
    for seed in range(3):
        save(tmp_path / "raw" / f"asset{seed}" / "diffuse.png", seed)
    prepare(tmp_path / "raw", out=tmp_path / "data")
    found = rows(tmp_path / "data").values()
    assert {row.asset for row in found} == {"asset0", "asset1", "asset2"}
    assert {row.category for row in found} == {None}


# Duplicates and the split


def test_exact_duplicates_are_kept_once(raw: Path, tmp_path: Path) -> None:
    shutil.copy(raw / "brick" / "s_01.png", raw / "copy.png")
    report = prepare(raw, out=tmp_path / "data")
    assert (report.kept, report.exact_duplicates) == (12, 1)
    assert rows(tmp_path / "data")["copy.png"].duplicate_of == "brick/s_01.png"


def test_a_link_stands_for_no_file_with_the_same_bytes(raw: Path, tmp_path: Path) -> None:
    (raw / "a_first.png").symlink_to(raw / "brick" / "s_01.png")
    prepare(raw, out=tmp_path / "data")
    found = rows(tmp_path / "data")
    assert found["a_first.png"].duplicate_of == "brick/s_01.png"
    assert found["brick/s_01.png"].status == "kept"


def test_near_duplicates_stay_together(raw: Path, tmp_path: Path) -> None:
    for seed in range(12):
        with Image.open(next(raw.glob(f"*/s_{seed:02}.png"))) as image:
            turned = image.transpose(Image.Transpose.ROTATE_90)
            turned.save(raw / f"turned_{seed}.jpg", quality=85)
    report = prepare(raw, out=tmp_path / "data", settings=PrepareSettings(valid_fraction=0.4))
    assert (report.kept, report.near_groups, report.near_images) == (24, 12, 24)
    sides: dict[str | None, set[str | None]] = {}
    for row in rows(tmp_path / "data").values():
        sides.setdefault(row.near_group, set()).add(row.split)
    assert all(len(side) == 1 for side in sides.values())


def kept(asset: str, **fields: Any) -> ManifestRow:
    row = ManifestRow(
        path=f"{asset}.png", asset=asset, kind="color", status="kept", size_bytes=1, mtime_ns=1
    )
    return replace(row, **fields)


def split(members: list[ManifestRow], **options: Any) -> dict[str, str]:
    return split_by_asset(members, **({"seed": 0, "valid_fraction": 0.15, "earlier": {}} | options))


def test_the_fraction_is_about_right() -> None:
    sides = split([kept(f"a{n}") for n in range(4000)])
    assert 0.13 < sum(side == "valid" for side in sides.values()) / 4000 < 0.17


@given(
    st.sets(st.text("abc", min_size=1, max_size=5), min_size=30, max_size=60),
    st.sets(st.text("xyz", min_size=1, max_size=5), max_size=60),
)
@settings(max_examples=30, deadline=None)
def test_adding_files_moves_nobody(old: set[str], new: set[str]) -> None:
    before = split([kept(asset) for asset in old])
    after = split([kept(asset) for asset in old | new], earlier=before)
    assert {asset: after[asset] for asset in old} == before


@given(st.lists(st.sampled_from("abcdefg"), min_size=2, max_size=40), st.integers(0, 5))
@settings(max_examples=50, deadline=None)
def test_no_group_is_on_both_sides_and_no_side_is_empty(groups: list[str], seed: int) -> None:
    members = [kept(f"asset{n}", near_group=group) for n, group in enumerate(groups)]
    sides = split(members, seed=seed)
    for part in units(members):
        assert len({sides[row.asset] for row in part}) == 1
    assert set(sides.values()) == ({"train", "valid"} if len(set(groups)) > 1 else {"train"})


def test_a_group_that_spanned_both_sides_goes_to_train() -> None:
    members = [kept("a", near_group="a"), kept("b", near_group="a"), kept("c"), kept("d")]
    sides = split(members, earlier={"a": "train", "b": "valid", "c": "valid", "d": "train"})
    assert sides == {"a": "train", "b": "train", "c": "valid", "d": "train"}


def test_another_seed_is_another_split() -> None:
    members = [kept(f"a{n}") for n in range(100)]
    assert split(members) != split(members, seed=1)


def test_files_that_are_added_join_the_side_of_their_look_alike(raw: Path, tmp_path: Path) -> None:
    data, options = tmp_path / "data", PrepareSettings(valid_fraction=0.4)
    prepare(raw, out=data, settings=options)
    before = {path: row.split for path, row in rows(data).items()}
    for seed in range(12):
        surface(seed, 150).save(raw / f"a_{seed}.jpg", quality=90)  # other keys, other hashes
    shutil.copy(raw / "brick" / "s_01.png", raw / "a_copy.png")  # now the first in path order
    prepare(raw, out=data, settings=options)
    after = rows(data)
    assert after["brick/s_01.png"].duplicate_of == "a_copy.png"
    assert after["a_copy.png"].split == before.pop("brick/s_01.png")
    assert {path: after[path].split for path in before} == before
    for seed in range(12):
        old = next(path for path in after if path.endswith(f"/s_{seed:02}.png"))
        if after[old].status == "kept":
            assert after[f"a_{seed}.jpg"].split == after[old].split


# A given split


def write_split(path: Path, lines: list[tuple[str, str]], header: str = "file,split") -> Path:
    with path.open("w", newline="") as stream:
        stream.write(header + "\r\n")
        csv.writer(stream).writerows(lines)
    return path


def test_a_given_split_is_obeyed(raw: Path, tmp_path: Path) -> None:
    shutil.copy(raw / "wood" / "s_00.png", raw / "zz.png")
    surface(1, 150).save(raw / "look_alike.jpg", quality=90)
    given_split = [
        ("wood/s_00.png", "valid"),
        ("zz.png", "train"),
        ("brick/s_01.png", "train"),
        ("look_alike.jpg", "valid"),
        ("gone.png", "train"),
    ]
    path = write_split(tmp_path / "split.csv", given_split)
    report = prepare(raw, out=tmp_path / "data", settings=PrepareSettings(split=path))
    found = rows(tmp_path / "data")
    assert (report.train, report.valid) == (2, 1)
    assert found["wood/s_00.png"].duplicate_of == "zz.png"  # the kept copy is the train one
    assert report.missing == ("gone.png",)
    assert report.leaking_pairs == (("brick/s_01.png", "look_alike.jpg"),)
    assert report.skipped == {"not named in the split file": 10}
    assert len(report.warnings) == 2


def test_a_given_split_keeps_files_of_one_asset(tmp_path: Path) -> None:
    save(tmp_path / "raw" / "a_1k.png", 1)
    save(tmp_path / "raw" / "a_2k.png", 2)
    path = write_split(tmp_path / "s.csv", [("a_1k.png", "train"), ("a_2k.png", "valid")])
    report = prepare(tmp_path / "raw", out=tmp_path / "data", settings=PrepareSettings(split=path))
    assert (report.train, report.valid) == (1, 1)
    assert len(report.leaking_pairs) == 1


@pytest.mark.parametrize(
    ("lines", "header", "words"),
    [
        ([("wood/s_00.png", "test")], "file,split", "line 2: split is 'test'"),
        ([("wood/s_00.png", "train")], "name,split", "file,split"),
        ([("a", "train"), ("a", "valid")], "file,split", "in train and in valid"),
        ([("x.png", "train")], "file,split", "names must be paths below"),
        ([], "file,split", "names must be paths below"),
    ],
)
def test_a_wrong_split_file_says_so(
    raw: Path, tmp_path: Path, lines: list[tuple[str, str]], header: str, words: str
) -> None:
    path = write_split(tmp_path / "split.csv", lines, header)
    with pytest.raises((SettingsError, DataError), match=words):
        prepare(raw, out=tmp_path / "data", settings=PrepareSettings(split=path))
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize(("disk", "listed"), [("NFC", "NFD"), ("NFD", "NFC")])
def test_names_in_a_split_file_match_in_nfc_and_nfd(tmp_path: Path, disk: Any, listed: Any) -> None:
    paths = [unicodedata.normalize(disk, name) for name in ("Grün/Käse.png", "Öl.png", "c.png")]
    names = [unicodedata.normalize(listed, name) for name in (".\\Grün\\Käse.png", "./Öl.png")]
    text = f"\ufeffFile,split\r\n{names[0]},train\r\n{names[1]},valid\r\n{names[1]},valid\r\n\r\n"
    file = tmp_path / "split.csv"
    file.write_text(text + "gone.png,train\n", encoding="utf-8", newline="")
    sides, missing = match_split(read_split(file), paths)
    assert sides == {paths[0]: "train", paths[1]: "valid"}
    assert missing == ("gone.png",)
    assert match_split({"a/b.png": "train"}, ["a\\b.png"]) == ({"a\\b.png": "train"}, ())


def test_two_normalizations_of_one_name_are_told_apart_where_both_are_there() -> None:
    nfc, nfd = "K\u00e4se.png", "Ka\u0308se.png"
    split = {nfc: "train", nfd: "valid"}
    assert match_split(split, [nfc, nfd]) == (split, ())
    ring, angstrom = "\u00c5.png", "\u212b.png"
    with pytest.raises(SettingsError, match=r"\.png is in train and in valid"):
        match_split({ring: "train", angstrom: "valid"}, ["A\u030a.png"])


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ("file,split\nKäse.png,train".encode("latin-1"), "not UTF-8"),
        ("file,split\na.png,train".encode("utf-16"), "not UTF-8"),
        ("file,split\na.png,train".encode("utf-16-le"), "NUL characters"),
        (b"file,split\na\0.png,train", "NUL characters"),
        (b"file,split\n\xed\xa0\x80.png,train", "not UTF-8"),
        (b"file,split\na,b.png,train", "line 2: 3 columns"),
        (b"file,split\na.png", "line 2: 1 columns"),
        (b'file,split\n"a.png,train\nb.png,valid', "line 3: 1 columns"),
        (b"file,split\n" + b"a" * 200_000 + b",train", "cannot be read: field larger"),
        (b"file,split\n\x1b[2J,train\n\x1b[2J,valid", r"line 3: \\x1b\[2J is in train and in"),
        (b"", "file,split"),
    ],
)
def test_a_split_file_that_cannot_be_read_says_why(tmp_path: Path, data: bytes, words: str) -> None:
    (tmp_path / "split.csv").write_bytes(data)
    with pytest.raises(SettingsError, match=words):
        read_split(tmp_path / "split.csv")


def test_a_missing_split_file(raw: Path, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="cannot be read"):
        prepare(raw, out=tmp_path / "data", settings=PrepareSettings(split=tmp_path / "none.csv"))


# Again


def test_a_second_run_decodes_nothing_and_changes_nothing(
    raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save(raw / "old.tga", 40)
    save(raw / "bad.png", 41).write_bytes(b"no image")
    prepare(raw, out=tmp_path / "data")
    before = files(tmp_path / "data")
    stamps = {path: (tmp_path / "data" / path).stat().st_ino for path in before}
    with counting_decodes(monkeypatch) as opened:
        report = prepare(raw, out=tmp_path / "data")
    assert opened == []
    assert report.decoded == 0
    after = files(tmp_path / "data")
    del before["report.json"], after["report.json"]  # says other seconds
    assert after == before
    kept = [path for path in before if path.startswith(("train", "valid"))]
    assert [(tmp_path / "data" / path).stat().st_ino for path in kept] == [
        stamps[path] for path in kept
    ]


def test_only_new_and_changed_files_are_decoded(
    raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepare(raw, out=tmp_path / "data")
    save(raw / "new.png", 80)
    save(raw / "wood" / "s_00.png", 81)
    with counting_decodes(monkeypatch) as opened:
        prepare(raw, out=tmp_path / "data")
    assert sorted(path.name for path in opened) == ["new.png", "s_00.png"]
    for path, row in rows(tmp_path / "data").items():
        output = tmp_path / "data" / str(row.output)
        assert output.read_bytes() == (raw / path).read_bytes()


def test_outputs_of_vanished_files_go_and_nothing_else(raw: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    prepare(raw, out=data)
    gone = rows(data)["wood/s_00.png"]
    mine = data / "train" / "notes.txt"
    mine.write_text("mine")
    (raw / "wood" / "s_00.png").unlink()
    prepare(raw, out=data)
    assert not (data / str(gone.output)).parent.exists()
    assert mine.read_text() == "mine"
    assert len(manifest(data).by_output()) == 11


def test_a_changed_side_moves_the_output(raw: Path, tmp_path: Path) -> None:
    data, before = tmp_path / "data", files(raw)
    prepare(raw, out=data)
    prepare(raw, out=data, settings=PrepareSettings(seed=3, valid_fraction=0.5))
    outputs = {path for path in files(data) if path.startswith(("train", "valid"))}
    assert outputs == set(manifest(data).by_output())
    assert files(raw) == before


def test_a_lost_output_is_made_again(raw: Path, tmp_path: Path) -> None:
    prepare(raw, out=tmp_path / "data")
    output = next(iter(manifest(tmp_path / "data").by_output()))
    (tmp_path / "data" / output).unlink()
    prepare(raw, out=tmp_path / "data")
    assert (tmp_path / "data" / output).is_file()


def test_an_interrupted_run_can_be_repeated(
    raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(split_module, "_link", interrupt)
        with pytest.raises(KeyboardInterrupt):
            prepare(raw, out=tmp_path / "data")
    assert prepare(raw, out=tmp_path / "data").kept == 12
    assert all(
        (tmp_path / "data" / path).is_file() for path in manifest(tmp_path / "data").by_output()
    )


def test_dry_run_writes_nothing(raw: Path, tmp_path: Path) -> None:
    report = prepare(raw, out=tmp_path / "data", dry_run=True)
    assert report.kept == 12
    assert not (tmp_path / "data").exists()
    prepare(raw, out=tmp_path / "data")
    (raw / "wood" / "s_00.png").unlink()
    before = files(tmp_path / "data")
    assert prepare(raw, out=tmp_path / "data", dry_run=True).kept == 11
    assert files(tmp_path / "data") == before


# Refusals


def test_a_folder_of_other_things_is_not_overwritten(raw: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    (data / "thesis.txt").write_text("years of work")
    with pytest.raises(OutputExistsError, match="not made by vaeneer prepare"):
        prepare(raw, out=data)
    assert (data / "thesis.txt").exists()
    prepare(raw, out=data, overwrite=True)
    assert not (data / "thesis.txt").exists()


def test_overwrite_never_empties_sources(raw: Path) -> None:
    before = files(raw)
    with pytest.raises(OutputExistsError, match="inside the raw folder"):
        prepare(raw, out=raw / "wood", overwrite=True)
    assert files(raw) == before


def test_out_inside_raw_is_not_scanned(raw: Path) -> None:
    first = prepare(raw, out=raw / "data")
    second = prepare(raw, out=raw / "data")
    assert (first.scanned, second.scanned) == (12, 12)
    assert second.exact_duplicates == 0


def test_raw_inside_out_is_refused(raw: Path, tmp_path: Path) -> None:
    for out in (raw, tmp_path):
        with pytest.raises(DataError, match="name another --out"):
            prepare(raw, out=out, overwrite=True)


def test_a_missing_raw_folder(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="does not exist"):
        prepare(tmp_path / "none", out=tmp_path / "data")
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match="is a file"):
        prepare(tmp_path / "file", out=tmp_path / "data")


def test_nothing_usable_says_what_was_found(tmp_path: Path) -> None:
    raw = tmp_path / "raw"
    raw.mkdir()
    with pytest.raises(DataError, match="it is empty"):
        prepare(raw, out=tmp_path / "data")
    (raw / "a.txt").touch()
    (raw / "b.png").touch()
    with pytest.raises(DataError, match=r"1 empty file, 1 not an image file \(.txt\)"):
        prepare(raw, out=tmp_path / "data")
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("valid_fraction", 0.0),
        ("valid_fraction", 1.5),
        ("valid_fraction", float("nan")),
        ("min_side_px", 0),
        ("max_megapixels", -1.0),
        ("max_megapixels", float("nan")),
        ("near_duplicate_bits", 40),
        ("workers", -2),
    ],
)
def test_settings_out_of_range(raw: Path, tmp_path: Path, name: str, value: Any) -> None:
    with pytest.raises(SettingsError, match=f"{name} is {value}"):
        prepare(raw, out=tmp_path / "data", settings=PrepareSettings(**{name: value}))


def test_a_damaged_manifest_says_the_remedy(raw: Path, tmp_path: Path) -> None:
    prepare(raw, out=tmp_path / "data")
    (tmp_path / "data" / "manifest.parquet").write_bytes(b"PAR1 no")
    with pytest.raises(DataError, match="--overwrite"):
        prepare(raw, out=tmp_path / "data")
    prepare(raw, out=tmp_path / "data", overwrite=True)


# Awkward folders


def test_links_that_loop_or_lead_nowhere(raw: Path, tmp_path: Path) -> None:
    (raw / "loop").symlink_to(raw)
    (raw / "up").symlink_to(raw.parent)
    (raw / "wood" / "self").symlink_to(raw / "wood")
    (raw / "none.png").symlink_to(raw / "nothing.png")
    save(tmp_path / "elsewhere" / "far.png", 90)
    (raw / "a_link").symlink_to(tmp_path / "elsewhere")
    (raw / "one.png").symlink_to(save(tmp_path / "single.png", 91))
    report = prepare(raw, out=tmp_path / "data")
    assert report.kept == 14
    assert report.skipped == {"link to nothing": 1}
    assert not any(path.is_symlink() for path in (tmp_path / "data").rglob("*"))


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such file names")
def test_awkward_file_names(raw: Path, tmp_path: Path) -> None:
    names = ["ü 木.png", "a'b;$(c).png", "#1 100%.png", "x" * 250 + ".tga", "..two.png", "con.png"]
    for number, name in enumerate(names):
        save(raw / name, 100 + number)
    (raw / os.fsdecode(b"\xff\xfe.png")).write_bytes(b"x")
    report = prepare(raw, out=tmp_path / "data")
    assert report.kept == 12 + len(names) - 1  # ..two.png is hidden
    assert report.skipped == {"file name is not UTF-8": 1, "hidden": 1}
    assert all(
        (tmp_path / "data" / path).is_file() for path in manifest(tmp_path / "data").by_output()
    )


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="root may read everything")
def test_unreadable_files_and_folders(raw: Path, tmp_path: Path) -> None:
    (raw / "wood" / "s_00.png").chmod(0)
    (raw / "brick").chmod(0)
    try:
        report = prepare(raw, out=tmp_path / "data")
    finally:
        (raw / "brick").chmod(0o755)
    assert report.kept == 5
    assert report.skipped == {"cannot be read": 1}
    assert any("brick" in line for line in report.warnings)


@given(
    st.sets(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1))
)
def test_asset_folder_names_are_unique_and_safe(keys: set[str]) -> None:
    names = {asset_folder_name(key) for key in keys}
    assert len(names) == len(keys)
    for name in names:
        assert 0 < len(name.encode()) < 140
        assert not set(name) & set('/\\:*?"<>| ')
        assert not name.startswith(".")


def test_asset_folder_names_that_could_collide() -> None:
    keys = ["a/b", "a__b", "a_b", "a b", "a/b ", "x" * 121, "x" * 122, "con"]
    assert len({asset_folder_name(key) for key in keys}) == len(keys)
    assert asset_folder_name("a/b") == "a__b"


# Processes


def test_processes_give_the_same_answer(
    raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save(raw / "old.tga", 40)
    (raw / "bad.jpg").write_bytes(b"\xff\xd8\xff\xe0 broken")
    alone = prepare(raw, out=tmp_path / "alone")
    monkeypatch.setattr(decode_worker, "_BYTES_WORTH_PROCESSES", 0)
    many = prepare(raw, out=tmp_path / "many", settings=PrepareSettings(workers=2))
    assert manifest(tmp_path / "alone").rows == manifest(tmp_path / "many").rows
    assert alone.skipped == many.skipped == {"truncated": 1}


def test_a_script_without_a_main_guard_works(raw: Path, tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "from vaeneer.settings import PrepareSettings\n"
        "from vaeneer.data import decode_worker\n"
        "from vaeneer.data.prepare import prepare\n"
        "print('started')\n"
        "decode_worker._BYTES_WORTH_PROCESSES = 0\n"
        f"report = prepare({str(raw)!r}, out={str(tmp_path / 'data')!r},"
        " settings=PrepareSettings(workers=2))\n"
        "print(report.kept)\n"
    )
    run = subprocess.run([sys.executable, script], capture_output=True, text=True, check=False)
    assert (run.stdout.split(), run.stderr) == (["started", "12"], "")


def die(_: int) -> None:
    os._exit(9)


def test_a_killed_process_is_a_clear_error() -> None:
    with pytest.raises(DataError, match="memory ran out"):
        list(decode_worker.in_processes(die, range(4), workers=2, size_bytes=2**40))


# The manifest


def test_the_manifest_keeps_every_field(tmp_path: Path) -> None:
    row = kept(
        "ä", categories=("a", "b"), tags=("t",), thumb=bytes(192), phashes=bytes(64), notes=("n",)
    )
    write_manifest(tmp_path, [row, kept("b")], {"settings": {}})
    assert manifest(tmp_path).rows == (row, kept("b"))
    assert manifest(tmp_path).info["format"] == 2


def test_no_manifest_is_none(tmp_path: Path) -> None:
    assert read_manifest(tmp_path) is None


def test_straddling_pairs_need_two_sides() -> None:
    near = [kept("a", near_group="a", split="train"), kept("b", near_group="a", split="train")]
    assert leaking_pairs(near) == []
    near[1] = replace(near[1], split="valid")
    assert leaking_pairs(near) == [("a.png", "b.png")]


def test_maps_are_verified_without_fingerprints(tmp_path: Path) -> None:
    save(tmp_path / "raw" / "a_color.png", 1)
    save(tmp_path / "raw" / "a_normal.png", 2)
    prepare(tmp_path / "raw", out=tmp_path / "data")
    row = rows(tmp_path / "data")["a_normal.png"]
    assert row.sha256 is not None
    assert row.phashes is None
    assert prepare_module.NOT_NAMED not in str(row.reason)
