"""items.faiss and crops.faiss: whatever state they are in, what is searched is the catalog."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from vaeneer.library.catalog import Catalog, Floats
from vaeneer.library.vector_index import PARTS, WHOLES, Ids, VectorIndex, synced, synced_one
from vector_indexes import index_of

DIMENSIONS = 16
Fill = Callable[..., Catalog]


def vectors_of(count: int, seed: int) -> Floats:
    vectors = np.random.default_rng(seed).standard_normal((count, DIMENSIONS))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors.astype(np.float16).astype(np.float32)


@pytest.fixture
def filled() -> Iterator[Fill]:
    """Make a catalog of items with one whole and two parts each."""
    made: list[Catalog] = []

    def fill(folder: Path, items: int, seed: int = 0) -> Catalog:
        catalog = Catalog.create(folder)
        catalog.set_meta("root", str(folder))
        catalog.set_meta("dimensions", str(DIMENSIONS))
        add(catalog, items, seed)
        made.append(catalog)
        return catalog

    yield fill
    for catalog in made:
        catalog.close()


def add(catalog: Catalog, items: int, seed: int) -> None:
    vectors = iter(vectors_of(3 * items, seed).astype(np.float16))
    with catalog.writing() as connection:
        for number in range(items):
            path = f"{seed}-{number}.png"
            item = connection.execute(
                "INSERT INTO items (path, asset, size_bytes, mtime_ns, sha256, width_px, height_px,"
                " mode, format, red, green, blue, phashes, thumb, embedded)"
                " VALUES (?, 'a', 1, 1, x'00', 9, 9, 'RGB', 'PNG', 0, 0, 0, x'', x'', 1)",
                (path,),
            ).lastrowid
            connection.executemany(
                "INSERT INTO crops (item, scale, x, y, width, height, vector)"
                " VALUES (?, ?, 0, 0, 9, 9, ?)",
                [(item, scale, next(vectors).tobytes()) for scale in (0, 1, 2)],
            )


def remove(catalog: Catalog, items: int) -> None:
    catalog.execute("DELETE FROM items WHERE id IN (SELECT id FROM items LIMIT ?)", (items,))


def is_the_catalog(catalog: Catalog, index: VectorIndex, *, whole: bool) -> None:
    """Every vector of the catalog finds itself first, and nothing else is there."""
    known = catalog.wholes() if whole else catalog.parts()
    assert index.ids.tolist() == known.crops.tolist()
    cosines, found = index.search(known.vectors, 1)
    assert found[:, 0].tolist() == known.crops.tolist()
    assert (cosines > 0.999).all()


def both_are(catalog: Catalog, folder: Path, *, write: bool = True, ivf_from: int = 10**6) -> None:
    wholes, parts = synced(catalog, folder, write=write, ivf_from=ivf_from)
    is_the_catalog(catalog, wholes, whole=True)
    is_the_catalog(catalog, parts, whole=False)


def written_at(folder: Path) -> list[int]:
    return [(folder / name).stat().st_mtime_ns for name in (WHOLES, PARTS)]


def test_files_follow_the_catalog(tmp_path: Path, filled: Fill) -> None:
    catalog = filled(tmp_path, 30)
    both_are(catalog, tmp_path)
    before = written_at(tmp_path)
    both_are(catalog, tmp_path)
    assert written_at(tmp_path) == before  # nothing changed, nothing is written
    add(catalog, 5, seed=1)
    remove(catalog, 3)
    both_are(catalog, tmp_path)
    after = written_at(tmp_path)
    assert all(new > old for new, old in zip(after, before, strict=True))
    for name, whole in ((WHOLES, True), (PARTS, False)):
        is_the_catalog(catalog, VectorIndex.read(tmp_path / name), whole=whole)


def test_few_changes_keep_the_clusters_and_many_make_new_ones(tmp_path: Path, filled: Fill) -> None:
    catalog = filled(tmp_path, 400)

    def trained_for() -> int:
        return synced(catalog, tmp_path, write=True, ivf_from=300)[0].training.trained_for

    assert trained_for() == 400
    add(catalog, 300, seed=1)
    assert trained_for() == 400
    is_the_catalog(catalog, VectorIndex.read(tmp_path / PARTS), whole=False)
    add(catalog, 100, seed=2)
    assert trained_for() == 800
    remove(catalog, 700)
    assert trained_for() == 0  # exact again


def test_without_write_nothing_is_written(tmp_path: Path, filled: Fill) -> None:
    catalog = filled(tmp_path, 10)
    both_are(catalog, tmp_path, write=False)
    assert not (tmp_path / WHOLES).exists()
    synced(catalog, tmp_path, write=True)
    before = written_at(tmp_path)
    add(catalog, 4, seed=1)
    both_are(catalog, tmp_path, write=False)
    is_the_catalog(catalog, synced_one(catalog, tmp_path, whole=False), whole=False)
    assert written_at(tmp_path) == before


def cut_short(path: Path, _: Fill) -> None:
    path.write_bytes(path.read_bytes()[:-200])


def emptied(path: Path, _: Fill) -> None:
    path.write_bytes(b"")


def of_another_library(path: Path, filled: Fill) -> None:
    elsewhere = path.parent.parent / f"other-{path.name}"
    other = filled(elsewhere, 30, seed=9)  # the same ids, other vectors
    synced(other, elsewhere, write=True)
    path.write_bytes((elsewhere / path.name).read_bytes())


def of_another_model(path: Path, _: Fill) -> None:
    index_of(np.arange(90) + 1, np.eye(90, dtype=np.float32)).write(path)


def with_one_vector_gone(path: Path, _: Fill) -> None:
    index = VectorIndex.read(path)
    index.remove(index.ids[:1])
    index.write(path)


def with_old_ones_left(path: Path, _: Fill) -> None:
    index = VectorIndex.read(path)
    ids: Ids = np.arange(20) + 5000
    index.add(ids, vectors_of(20, seed=3))
    index.write(path)


@pytest.mark.parametrize(
    "spoil",
    [
        cut_short,
        emptied,
        of_another_library,
        of_another_model,
        with_one_vector_gone,
        with_old_ones_left,
    ],
)
def test_whatever_is_in_the_file_the_catalog_is_searched(
    tmp_path: Path, filled: Fill, spoil: Callable[[Path, Fill], None]
) -> None:
    (tmp_path / "own").mkdir()
    catalog = filled(tmp_path / "own", 30)
    synced(catalog, tmp_path / "own", write=True)
    for name in (WHOLES, PARTS):
        spoil(tmp_path / "own" / name, filled)
    both_are(catalog, tmp_path / "own", write=False)
    both_are(catalog, tmp_path / "own")
    for name, whole in ((WHOLES, True), (PARTS, False)):
        is_the_catalog(catalog, VectorIndex.read(tmp_path / "own" / name), whole=whole)


def test_a_catalog_without_items_has_empty_indexes(tmp_path: Path, filled: Fill) -> None:
    catalog = filled(tmp_path, 0)
    assert [len(index) for index in synced(catalog, tmp_path, write=True)] == [0, 0]
    add(catalog, 3, seed=1)
    both_are(catalog, tmp_path)
