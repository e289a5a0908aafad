"""VectorIndex: the nearest vectors, exactly or nearly, whatever was added and removed before."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from vaeneer.errors import DataError, LibraryError
from vaeneer.library.vector_index import MARGIN, Floats, Ids, VectorIndex, query_places, recall_of
from vector_indexes import index_of

DIMENSIONS = 24


def unit(count: int, seed: int, around: int = 0) -> Floats:
    """Vectors of length 1; in clusters where `around` says how many."""
    random = np.random.default_rng(seed)
    vectors = random.standard_normal((count, DIMENSIONS))
    if around:
        centres = np.random.default_rng(99).standard_normal((around, DIMENSIONS))
        vectors = 0.4 * vectors + centres[random.integers(0, around, count)]
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors.astype(np.float16).astype(np.float32)


def brute_force(ids: Ids, vectors: Floats, queries: Floats, k: int) -> tuple[Floats, Ids]:
    cosines = queries @ vectors.T
    order = np.argsort(-cosines, axis=1, kind="stable")[:, :k]
    return np.take_along_axis(cosines, order, 1), ids[order]


def clustered(count: int = 4000) -> tuple[Ids, Floats, VectorIndex]:
    ids, vectors = np.arange(count) * 2 + 5, unit(count, 0, around=40)
    return ids, vectors, index_of(ids, vectors, ivf_from=1000)


def test_exact_is_brute_force() -> None:
    ids, vectors, queries = np.arange(300) * 7 + 3, unit(300, 0), unit(9, 1)
    index = index_of(ids, vectors)
    cosines, found = index.search(queries, 10)
    expected, named = brute_force(ids, vectors, queries, 10)
    assert index.kind == "exact"
    assert cosines.dtype == np.float32
    assert found.dtype == np.int64
    np.testing.assert_array_equal(found, named)
    np.testing.assert_allclose(cosines, expected, atol=1e-3)


@pytest.mark.parametrize("ivf_from", [10**6, 100], ids=["exact", "ivf"])
@pytest.mark.parametrize("share", [0.9, 0.3, 0.01])
def test_a_filter_finds_the_nearest_of_what_it_lets_through(ivf_from: int, share: float) -> None:
    ids, vectors, queries = np.arange(2000) * 3, unit(2000, 0, around=20), unit(5, 1, around=20)
    index = index_of(ids, vectors, ivf_from=ivf_from)
    places = np.flatnonzero(np.random.default_rng(2).random(2000) < share)
    cosines, found = index.search(queries, 10, ids[places])
    expected, named = brute_force(ids[places], vectors[places], queries, 10)
    assert np.isin(found, ids[places]).all()
    if share < 0.5 or index.kind == "exact":
        np.testing.assert_array_equal(found, named)
        np.testing.assert_allclose(cosines, expected, atol=1e-3)
    assert (found == named).mean() >= 0.9


@pytest.mark.parametrize("ivf_from", [10**6, 100], ids=["exact", "ivf"])
def test_where_there_are_fewer_the_rest_is_minus_one(ivf_from: int) -> None:
    ids, vectors = np.arange(400), unit(400, 0)
    index = index_of(ids, vectors, ivf_from=ivf_from)
    cosines, found = index.search(vectors[:2], 5, np.array([7, 9, 10_000]))
    assert set(found[0, :2].tolist()) == {7, 9}
    assert (found[:, 2:] == -1).all()
    assert np.isneginf(cosines[:, 2:]).all()
    cosines, found = index.search(vectors[:2], 500)
    assert (np.sort(found[:, :400]) == ids).all()
    assert (found[:, 400:] == -1).all()
    assert (index.search(vectors[:1], 3, np.zeros(0, np.int64))[1] == -1).all()


def test_an_empty_index_works(tmp_path: Path) -> None:
    index = VectorIndex.empty(DIMENSIONS)
    index.write(tmp_path / "empty.faiss")
    for one in (index, VectorIndex.read(tmp_path / "empty.faiss")):
        assert (len(one), one.dimensions, one.kind) == (0, DIMENSIONS, "exact")
        assert one.ids.tolist() == []
        assert (one.search(unit(2, 0), 3)[1] == -1).all()
        assert one.remove(np.array([1])) == 0
    assert index_of(np.zeros(0, np.int64), np.zeros((0, 5), np.float32)).dimensions == 5


@pytest.mark.parametrize("ivf_from", [10**6, 100], ids=["exact", "ivf"])
def test_what_is_removed_is_gone_and_what_is_added_is_found(ivf_from: int) -> None:
    ids, vectors = np.arange(1000), unit(1000, 0)
    index = index_of(ids[:800], vectors[:800], ivf_from=ivf_from)
    assert index.remove(np.array([3, 5, 799, 12_345])) == 3
    index.add(ids[800:], vectors[800:])
    assert index.ids.tolist() == [i for i in range(1000) if i not in (3, 5, 799)]
    assert len(index) == 997
    everything = index.search(vectors[[3, 900]], 997)[1]
    assert not np.isin([3, 5, 799], everything).any()
    assert everything[1, 0] == 900


def test_clusters_find_nearly_all_and_say_how_many() -> None:
    ids, vectors, index = clustered()
    facts = index.facts()
    assert index.kind == "ivf"
    assert facts["vectors"] == 4000
    assert facts["recall_at_10"] >= 0.98
    assert 1 <= facts["probes"] < facts["lists"]
    queries = unit(100, 7, around=40)
    found, (_, named) = index.search(queries, 10)[1], brute_force(ids, vectors, queries, 10)
    hits = [len({*one} & {*two}) for one, two in zip(found.tolist(), named.tolist(), strict=True)]
    assert np.mean(hits) / 10 >= 0.95


def test_a_margin_above_the_fewest_clusters_is_searched() -> None:
    ids, vectors, index = clustered()
    facts = index.facts()
    fewest = facts["probes"] // MARGIN
    assert facts["probes"] == MARGIN * fewest < facts["lists"]
    assert fewest > 1  # else this test says nothing
    sample = vectors[query_places(len(ids))]
    mixed = sample + np.roll(sample, 1, axis=0) + np.roll(sample, 2, axis=0)
    mixed /= np.linalg.norm(mixed, axis=1, keepdims=True)
    nearest = brute_force(ids, vectors, mixed, 10)[1]
    recalls = []
    for probes in (facts["probes"], fewest, fewest - 1):
        index._index.nprobe = probes
        recalls.append(recall_of(index.search(mixed, 10)[1], nearest))
    assert recalls[0] == pytest.approx(facts["recall_at_10"], abs=0.005)
    assert recalls[0] > 0.975
    assert recalls[1] > 0.975
    assert recalls[2] < 0.98


def test_recall_counts_what_is_there() -> None:
    nearest = np.array([[1, 2, 3], [4, -1, -1]])
    assert recall_of(nearest, nearest) == 1
    assert recall_of(np.array([[3, 9, 1], [-1, -1, -1]]), nearest) == 0.5
    assert recall_of(nearest[:, :0], nearest) == 0


def test_building_twice_gives_the_same_answers() -> None:
    queries = unit(20, 3)
    one, two = (clustered()[2].search(queries, 10) for _ in range(2))
    np.testing.assert_array_equal(one[0], two[0])
    np.testing.assert_array_equal(one[1], two[1])


@pytest.mark.parametrize("ivf_from", [10**6, 100], ids=["exact", "ivf"])
def test_threads_may_search_one_index(ivf_from: int) -> None:
    ids, vectors, queries = np.arange(2000), unit(2000, 0, around=20), unit(64, 1, around=20)
    index = index_of(ids, vectors, ivf_from=ivf_from)
    allowed = [ids[number % 5 :: 5] for number in range(len(queries))]
    expected = [index.search(queries[[n]], 5, allowed[n])[1] for n in range(len(queries))]
    with ThreadPoolExecutor(8) as threads:
        found = threads.map(lambda n: index.search(queries[[n]], 5, allowed[n])[1], range(64))
        for one, other in zip(found, expected, strict=True):
            np.testing.assert_array_equal(one, other)


def test_vectors_of_an_outgrown_index_ask_for_another() -> None:
    exact = VectorIndex.empty(DIMENSIONS)
    assert not exact.needs_rebuild(999, ivf_from=1000)
    assert exact.needs_rebuild(1000, ivf_from=1000)
    index = clustered()[2]
    assert not index.needs_rebuild(7999, ivf_from=1000)
    assert index.needs_rebuild(8000, ivf_from=1000)  # twice as many as at training
    assert not index.needs_rebuild(500, ivf_from=1000)
    assert index.needs_rebuild(499, ivf_from=1000)


@pytest.mark.parametrize("ivf_from", [10**6, 100], ids=["exact", "ivf"])
def test_a_file_keeps_all(tmp_path: Path, ivf_from: int) -> None:
    ids, vectors = np.arange(1000) + 4, unit(1000, 0)
    index = index_of(ids, vectors, ivf_from=ivf_from)
    index.write(tmp_path / "items.faiss")
    again = VectorIndex.read(tmp_path / "items.faiss")
    assert again.facts() == index.facts()
    assert again.ids.tolist() == ids.tolist()
    for one, two in zip(index.search(vectors[:9], 5), again.search(vectors[:9], 5), strict=True):
        np.testing.assert_array_equal(one, two)
    assert [file.name for file in tmp_path.iterdir()] == ["items.faiss"]


@pytest.mark.parametrize("kept", [0, 1, 40, 0.5, 0.99])
def test_a_file_cut_short_is_refused(tmp_path: Path, kept: float) -> None:
    path = tmp_path / "items.faiss"
    index_of(np.arange(500), unit(500, 0)).write(path)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(kept if kept >= 1 else kept * len(whole))])
    with pytest.raises(LibraryError, match="damaged"):
        VectorIndex.read(path)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LibraryError, match="missing"):
        VectorIndex.read(tmp_path / "items.faiss")


def test_other_shapes_are_refused() -> None:
    index = VectorIndex.empty(DIMENSIONS)
    with pytest.raises(DataError, match=r"\(3, 9\)"):
        index.add(np.arange(3), np.zeros((3, 9), np.float32))
    with pytest.raises(DataError, match=r"\(2, 24\).*\(3, 24\)"):
        index.add(np.arange(3), unit(2, 0))
    with pytest.raises(DataError, match="-1"):
        index.add(np.array([-1]), unit(1, 0))
    with pytest.raises(DataError, match=r"\(24,\)"):
        index.search(unit(1, 0)[0], 3)
