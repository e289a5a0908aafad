"""The catalog of a library: what is read, transactions, versions, threads, read-only disks."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from vaeneer.errors import LibraryError
from vaeneer.library import catalog_schema
from vaeneer.library.catalog import NAME, Catalog
from vaeneer.library.catalog_file import break_seal


@pytest.fixture
def catalog(small_library: Path) -> Iterator[Catalog]:
    opened = Catalog.open(small_library)
    yield opened
    opened.close()


def test_items_come_by_path_with_what_side_cars_say(catalog: Catalog) -> None:
    items = catalog.items()
    assert [item.path for item in items] == sorted(item.path for item in items)
    assert len(items) == 24
    assert all(item.category and item.tags for item in items)
    assert all(item.width_px == item.height_px == 160 for item in items)
    assert all(0 < share < 1 for item in items for share in item.mean_rgb)


def test_items_are_given_in_the_order_asked_for(catalog: Catalog) -> None:
    ids = [item.id for item in catalog.items()][::-3]
    assert [item.id for item in catalog.items([*ids, 10**9])] == ids


def test_conditions_choose_items(catalog: Catalog) -> None:
    one = catalog.items()[5]
    assert catalog.item_ids("path = ?", (one.path,)).tolist() == [one.id]
    in_folder = catalog.item_ids(
        "folder = ? AND file = ?", (str(Path(one.path).parent), Path(one.path).name)
    )
    assert in_folder.tolist() == [one.id]


def test_vectors_have_length_one_and_belong_to_their_items(catalog: Catalog) -> None:
    wholes, parts = catalog.wholes(), catalog.parts()
    assert wholes.vectors.shape == (24, catalog.dimensions)
    assert np.allclose(np.linalg.norm(wholes.vectors, axis=1), 1, atol=2e-3)
    assert np.allclose(np.linalg.norm(parts.vectors, axis=1), 1, atol=2e-3)
    assert set(parts.items) == set(wholes.items)
    crops = catalog.crops(parts.crops)
    assert all(crops[int(c)].item == item for c, item in zip(parts.crops, parts.items, strict=True))
    shuffled = parts.crops[::-7]
    assert catalog.vectors(shuffled).crops.tolist() == shuffled.tolist()
    assert catalog.crop_ids(whole=False).tolist() == parts.crops.tolist()


def test_the_crops_of_an_item_begin_with_the_whole(catalog: Catalog) -> None:
    item = catalog.items()[0]
    crops = catalog.crops_of(item.id)
    assert [crop.scale for crop in crops] == [0, 1, 2, 2, 2, 2]
    assert crops[0].box == (0, 0, item.width_px, item.height_px)


def test_threads_share_a_catalog(catalog: Catalog) -> None:
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: len(catalog.items()), range(64)))
    assert found == [24] * 64


def test_a_block_that_fails_leaves_nothing(tmp_path: Path) -> None:
    catalog = Catalog.create(tmp_path)

    def half_done() -> None:
        with catalog.writing():
            catalog.set_meta("root", "somewhere")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        half_done()
    assert catalog.get_meta("root") is None
    catalog.close()


def test_pixel_hashes_are_remembered(small_library: Path, tmp_path: Path) -> None:
    shutil.copytree(small_library, tmp_path / "copy")
    catalog = Catalog.open(tmp_path / "copy")
    assert catalog.pixel_hashes() == {}
    first = catalog.items()[0].id
    catalog.keep_pixel_hashes({first: b"x" * 32})
    assert catalog.pixel_hashes() == {first: b"x" * 32}


def test_a_folder_without_a_catalog_is_named_with_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(LibraryError, match="vaeneer index"):
        Catalog.open(tmp_path)


def test_a_damaged_catalog_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / NAME).write_bytes(b"no database at all" * 100)
    with pytest.raises(LibraryError, match="cannot be read as a catalog"):
        Catalog.open(tmp_path)


def test_a_newer_catalog_is_refused(small_library: Path, tmp_path: Path) -> None:
    shutil.copytree(small_library, tmp_path / "copy")
    break_seal(tmp_path / "copy")
    connection = sqlite3.connect(tmp_path / "copy" / NAME)
    connection.execute(f"PRAGMA user_version = {catalog_schema.VERSION + 1}")
    connection.close()
    with pytest.raises(LibraryError, match="update vaeneer"):
        Catalog.open(tmp_path / "copy")


def test_an_older_catalog_is_brought_up_to_date(
    small_library: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(small_library, tmp_path / "copy")
    steps = (*catalog_schema.STEPS, "ALTER TABLE items ADD COLUMN colour TEXT DEFAULT 'new';")
    monkeypatch.setattr(catalog_schema, "STEPS", steps)
    monkeypatch.setattr(catalog_schema, "VERSION", len(steps))
    monkeypatch.setattr("vaeneer.library.catalog.VERSION", len(steps))
    catalog = Catalog.open(tmp_path / "copy")
    assert catalog.execute("SELECT DISTINCT colour FROM items").fetchall() == [("new",)]
    assert len(catalog.items()) == 24


def test_a_step_that_fails_leaves_the_version_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Catalog.create(tmp_path).close()
    steps = (*catalog_schema.STEPS, "CREATE TABLE half (a); CREATE TABLE half (a);")
    monkeypatch.setattr(catalog_schema, "STEPS", steps)
    monkeypatch.setattr(catalog_schema, "VERSION", len(steps))
    with pytest.raises(LibraryError):
        Catalog.create(tmp_path)
    connection = sqlite3.connect(tmp_path / NAME)
    names = {row[0] for row in connection.execute("SELECT name FROM sqlite_master")}
    assert "half" not in names
    assert connection.execute("PRAGMA user_version").fetchone() == (len(steps) - 1,)
    connection.close()
