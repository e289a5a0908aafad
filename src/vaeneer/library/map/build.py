"""A library as a map: each item with its place, its cluster and its neighbours."""

from __future__ import annotations

import colorsys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vaeneer.library.catalog import Floats, Item, Vectors
from vaeneer.library.map.clusters import ALONE, Cluster, cluster_labels, least_size, named_clusters
from vaeneer.library.map.layout import Layout, read_layout, updated, write_layout
from vaeneer.library.store import LAYOUT, OpenLibrary
from vaeneer.library.vector_index import Neighbours, nearest_others
from vaeneer.progress import Progress
from vaeneer.settings import SEED, ClusterSettings, MapSettings
from vaeneer.text import printable

LAYOUT_NAME = LAYOUT
PERPLEXITY = 15.0
SHOWN_NEIGHBOURS = 10
_GOLDEN = 0.618033988749895  # of a turn: hues that follow each other are far apart
_LIGHTNESS = (0.62, 0.72, 0.54)


@dataclass(frozen=True)
class LibraryMap:
    """All items in one order, by the ids of their vectors."""

    items: list[Item]
    wholes: Vectors
    layout: Layout
    labels: NDArray[np.int64]
    """(n,) the cluster of each, -1 alone."""
    clusters: list[Cluster]
    neighbours: Neighbours

    def __len__(self) -> int:
        return len(self.items)

    @property
    def xy(self) -> Floats:
        """(n, 2) places, y upwards."""
        return self.layout.xy


def map_of(
    library: OpenLibrary, settings: MapSettings, clustering: ClusterSettings, progress: Progress
) -> LibraryMap:
    """The map of a library; the layout is kept in it, and goes on from the one that was kept.

    Raises SettingsError for a perplexity below 1, a negative seed or least size.
    """
    items, wholes = items_with_vectors(library)
    layout = _layout(library, wholes, settings, progress)
    labels = cluster_labels(layout.xy, least_size(len(items), clustering.min_size))
    return LibraryMap(
        items=items,
        wholes=wholes,
        layout=layout,
        labels=labels,
        clusters=named_clusters(labels, items, wholes.vectors),
        neighbours=nearest_others(library.image_index, wholes, SHOWN_NEIGHBOURS, progress=progress),
    )


def items_with_vectors(library: OpenLibrary) -> tuple[list[Item], Vectors]:
    """The items and the vectors of their whole images, row by row, ordered by crop."""
    wholes = library.catalog.wholes()
    known = {item.id: item for item in library.catalog.items(wholes.items.tolist())}
    kept = np.array([item in known for item in wholes.items.tolist()], bool)
    wholes = Vectors(wholes.crops[kept], wholes.items[kept], wholes.vectors[kept])
    return [known[item] for item in wholes.items.tolist()], wholes


def _layout(
    library: OpenLibrary, wholes: Vectors, settings: MapSettings, progress: Progress
) -> Layout:
    """The layout that the library keeps, with what is new; kept again."""
    file = library.folder / LAYOUT_NAME
    kept = read_layout(file, library=library.catalog.library)
    if kept is None and file.is_file():
        progress.say(f"{file} is damaged or of another library; all items are laid out again")
    perplexity, seed = settings.perplexity, settings.seed
    if perplexity is None:
        perplexity = kept.perplexity if kept else PERPLEXITY
    if seed is None:
        seed = kept.seed if kept else SEED
    before = None if settings.recompute else kept
    layout = updated(
        before, library.image_index, wholes, perplexity=perplexity, seed=seed, progress=progress
    )
    if not _same(kept, layout):
        try:
            write_layout(file, layout, library=library.catalog.library)
        except OSError as error:  # such as a library on a disk that is only read
            progress.say(f"{file} cannot be written ({error.strerror}); the layout is not kept")
    return layout


def _same(one: Layout | None, two: Layout) -> bool:
    return (
        one is not None
        and np.array_equal(one.crops, two.crops)
        and np.array_equal(one.xy, two.xy)
        and (one.perplexity, one.seed) == (two.perplexity, two.seed)
    )


@dataclass(frozen=True)
class Groups:
    """Items in groups, each with a name and a colour."""

    kind: str
    """cluster or category."""
    labels: NDArray[np.int64]
    """(n,) the group of each item, -1 where it has none."""
    names: list[str]
    """Each once, for lists."""
    words: list[str]
    """What is written on the map."""

    @property
    def colours(self) -> list[tuple[int, int, int]]:
        """Of each group, in levels of 255, for a dark ground."""
        return [colour_of(number) for number in range(len(self.names))]


def by_cluster(labels: NDArray[np.int64], clusters: Sequence[Cluster]) -> Groups:
    """The clusters as groups."""
    names = [one.name for one in clusters]
    return Groups("cluster", labels, names, [printable(name) for name in names])


def by_category(items: Sequence[Item]) -> Groups:
    """The categories as groups, the largest first."""
    counts = Counter(item.category for item in items if item.category)
    names = sorted(counts, key=lambda name: (-counts[name], name))
    numbers = {name: number for number, name in enumerate(names)}
    labels = [numbers.get(item.category or "", ALONE) for item in items]
    words = [printable(name) for name in names]
    return Groups("category", np.array(labels, np.int64), names, words)


def colour_of(number: int) -> tuple[int, int, int]:
    """A colour for the n-th group."""
    hue = (0.07 + number * _GOLDEN) % 1
    red, green, blue = colorsys.hls_to_rgb(hue, _LIGHTNESS[number % 3], 0.62)
    return round(255 * red), round(255 * green), round(255 * blue)
