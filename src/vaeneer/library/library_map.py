"""A library as a map: each item with its place, its cluster and its neighbours."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vaeneer.library.catalog import Floats, Item, Vectors
from vaeneer.library.cluster_names import Cluster, named_clusters
from vaeneer.library.clusters import cluster_labels, least_size
from vaeneer.library.finishing import LAYOUT
from vaeneer.library.library import Library
from vaeneer.library.map_layout import Layout, read_layout, updated, write_layout
from vaeneer.library.neighbours import Neighbours, nearest_others
from vaeneer.progress import Progress
from vaeneer.settings.training import SEED, ClusterSettings, MapSettings

LAYOUT_NAME = LAYOUT
PERPLEXITY = 15.0
SHOWN_NEIGHBOURS = 10


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
    library: Library, settings: MapSettings, clustering: ClusterSettings, progress: Progress
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
        neighbours=nearest_others(library.wholes, wholes, SHOWN_NEIGHBOURS, progress=progress),
    )


def items_with_vectors(library: Library) -> tuple[list[Item], Vectors]:
    """The items and the vectors of their whole images, row by row, ordered by crop."""
    wholes = library.catalog.wholes()
    known = {item.id: item for item in library.catalog.items(wholes.items.tolist())}
    kept = np.array([item in known for item in wholes.items.tolist()], bool)
    wholes = Vectors(wholes.crops[kept], wholes.items[kept], wholes.vectors[kept])
    return [known[item] for item in wholes.items.tolist()], wholes


def _layout(library: Library, wholes: Vectors, settings: MapSettings, progress: Progress) -> Layout:
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
    before = None if settings.fresh else kept
    layout = updated(
        before, library.wholes, wholes, perplexity=perplexity, seed=seed, progress=progress
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
