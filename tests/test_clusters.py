"""cluster: items that lie together, called by what is said of most of them and of few others."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from vaeneer.errors import SettingsError
from vaeneer.library.catalog import Item
from vaeneer.library.library import Library
from vaeneer.library.map import clusters
from vaeneer.library.map.clusters import cluster_labels, least_size, named_clusters, title_of
from vaeneer.library.map.map import cluster
from vaeneer.settings import ClusterSettings


def islands(sizes: list[int], seed: int = 0) -> np.ndarray:
    """Places around as many centres, in turn, far from each other."""
    random = np.random.default_rng(seed)
    return np.concatenate(
        [
            random.normal(size=(size, 2)) + np.array([30 * place, 0])
            for place, size in enumerate(sizes)
        ]
    ).astype(np.float32)


def an_item(
    path: str, category: str | None = None, tags: tuple[str, ...] = (), name: str | None = None
) -> Item:
    return Item(1, path, path, name, category, tags, 9, 9, "RGB", "PNG", 1, 1, "", (0.5, 0.5, 0.5))


def names(items: list[Item], labels: list[int]) -> list[tuple[str, str]]:
    vectors = np.ones((len(items), 4), np.float32) / 2
    return [(one.name, one.named_by) for one in named_clusters(np.array(labels), items, vectors)]


def test_islands_are_clusters_the_largest_first_and_strays_are_alone() -> None:
    xy = np.concatenate([islands([8, 30, 12]), [[15, 90], [400, 3]]]).astype(np.float32)
    labels = cluster_labels(xy, 5)
    assert labels[-2:].tolist() == [-1, -1]
    for label, start, stop in ((0, 8, 38), (1, 38, 50), (2, 0, 8)):
        found, times = np.unique(labels[start:stop], return_counts=True)
        assert found[times.argmax()] == label
        assert times.max() >= 0.8 * (stop - start)
    assert (cluster_labels(xy, 100) == -1).all()
    assert cluster_labels(xy[:1], 2).tolist() == [-1]
    assert cluster_labels(xy[:0], 2).tolist() == []


def test_of_very_many_a_sample_is_compared_and_the_rest_follow(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    xy = islands([300, 200])
    monkeypatch.setattr(clusters, "_MOST_COMPARED", 200)
    labels = cluster_labels(xy, 40)
    assert (labels[:300] == 0).mean() > 0.8
    assert (labels[300:] == 1).mean() > 0.8


def test_the_least_size_grows_with_the_library() -> None:
    assert [least_size(count, 0) for count in (10, 311, 20_000)] == [5, 5, 35]
    assert least_size(20_000, 7) == 7


def test_a_cluster_is_called_by_what_tells_it_from_the_others() -> None:
    items = [an_item(f"{n}.png", "wood" if n < 5 else "stone", ("scan",)) for n in range(10)]
    labels = [0] * 5 + [1] * 5
    assert names(items, labels) == [("wood", "category"), ("stone", "category")]
    tagged = [an_item(f"{n}.png", "wall", ("wet",) if n < 5 else ()) for n in range(10)]
    assert names(tagged, labels)[0] == ("wet", "tag")
    mixed = [an_item(f"{n}.png", ("wood", "bark", "moss")[n % 3]) for n in range(6)]
    others = [an_item(f"{n}.png", "stone") for n in range(24)]
    assert names([*mixed, *others], [0] * 6 + [1] * 24)[0] == ("bark, moss", "category")


def test_words_of_files_and_names_tell_clusters_apart() -> None:
    items = [an_item(f"wood_{'planks' if n < 4 else 'bark'}_{n}.png", "wood") for n in range(8)]
    others = [an_item(f"{n}.png", "stone") for n in range(16)]
    found = names([*items, *others], [0] * 4 + [1] * 4 + [2] * 16)
    assert [name for name, _ in found] == ["wood (planks)", "wood (bark)", "stone"]
    named = [an_item(f"{n}.png", name="Mossy wall" if n < 4 else "Slate") for n in range(12)]
    assert names(named, [0] * 4 + [1] * 8) == [("mossy", "word"), ("slate", "word")]


def test_folders_and_words_that_say_nothing_of_a_material_name_no_cluster() -> None:
    tags = ("Downloads", "2019", "My photos")
    items = [an_item(f"2019/IMG_{n}.jpg", tags=tags if n < 4 else ()) for n in range(8)]
    found = names([*items[:3], an_item("x/oak_4K_albedo.png", tags=tags)], [0] * 4)
    assert found == [("IMG", "item")]
    mixed = [an_item(f"IMG_{n}.jpg", category) for n, category in enumerate("abcdefgh")]
    others = [an_item(f"{n}.png", "stone") for n in range(8)]
    assert names([*mixed, *others], [0] * 8 + [1] * 8)[0] == ("a, b", "category")
    garden = [an_item(f"{n}.png", tags=("Garden", "2K") if n < 4 else ()) for n in range(8)]
    assert names(garden, [0] * 4 + [1] * 4)[0] == ("Garden", "tag")


def test_no_name_is_given_twice_whatever_is_known() -> None:
    items = [an_item(f"{n}.png", "wood" if n < 8 else "Wood") for n in range(24)]
    others = [an_item(f"x/{n}.png", "stone") for n in range(24)]
    found = names([*items, *others], [0] * 4 + [1] * 4 + [2] * 16 + [3] * 24)
    called = [name for name, _ in found]
    assert called == ["wood", "wood 2", "Wood 3", "stone"]
    tiles = [an_item(f"tile_{'tiles' if n < 4 else n}.png", "tile") for n in range(8)]
    found = names([*tiles, *others], [0] * 4 + [1] * 4 + [2] * 24)
    assert [name for name, _ in found][:2] == ["tile", "tile 2"]  # and not "tile (tiles)"


def test_where_nothing_is_known_an_item_gives_its_words() -> None:
    vectors = np.array([[1, 0], [0.8, 0.6], [0, 1]], np.float32)
    unknown = [an_item(f"scan_{n}/dark_planks_01{n}.jpg") for n in range(3)]
    (one,) = named_clusters(np.zeros(3, int), unknown, vectors)
    assert (one.name, one.named_by, one.central) == ("dark planks", "item", 1)


def test_titles_are_names_or_what_files_say() -> None:
    assert title_of(an_item("a/b.png", name="Oak")) == "Oak"
    assert title_of(an_item("wood/wood_dark-planks_019.jpg", "wood")) == "dark planks"
    assert title_of(an_item("019.jpg")) == "019"
    assert title_of(an_item("wood/wood.jpg", "wood")) == "wood"
    assert title_of(an_item(".png")) == "png"


def test_the_clusters_of_a_library(small_library: Path) -> None:
    with Library.open(small_library) as library:
        report = cluster(library, settings=ClusterSettings(min_size=2)).to_dict()
        paths = {item.path for item in library.items()}
    json.dumps(report, allow_nan=False)
    listed = [item["path"] for one in report["clusters"] for item in one["items"]]
    listed += [item["path"] for item in report["unclustered"]]
    assert sorted(listed) == sorted(paths)
    assert len(report["clusters"]) >= 2
    assert all(one["size"] == len(one["items"]) >= 2 for one in report["clusters"])
    called = [one["name"] for one in report["clusters"]]
    assert len(set(called)) == len(called)
    none = cluster(small_library, settings=ClusterSettings(min_size=25))
    assert (none.clusters, len(none.unclustered)) == ([], 24)
    with pytest.raises(SettingsError, match="min_size is -1"):
        cluster(small_library, settings=ClusterSettings(min_size=-1))
