"""map() and cluster(): a library in one picture, page or table, and its items in groups."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vaeneer.checksums import write_parquet
from vaeneer.errors import OutputExistsError, SettingsError
from vaeneer.files import save_picture
from vaeneer.library.catalog import Floats, Item, Vectors
from vaeneer.library.map import render
from vaeneer.library.map.clusters import (
    ALONE,
    Cluster,
    by_category,
    by_cluster,
    cluster_labels,
    least_size,
    named_clusters,
    title_of,
)
from vaeneer.library.map.layout import Layout, gridded, read_layout, updated, write_layout
from vaeneer.library.store import LAYOUT, LibraryLike, OpenLibrary, opened_library
from vaeneer.library.vector_index import Neighbours, nearest_others
from vaeneer.progress import Progress, Silent
from vaeneer.settings import SEED, ClusterSettings, MapSettings
from vaeneer.text import printable

LAYOUT_NAME = LAYOUT
PERPLEXITY = 15.0
SHOWN_NEIGHBOURS = 10
IMAGE_SIDE_PX = 96
SUFFIXES = (".html", ".png", ".parquet")


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
class MapReport:
    """What was drawn."""

    out: str
    library: str
    items: int
    clusters: int
    unclustered: int
    """Items that belong to no cluster."""
    added_later: int
    """Items that came into a layout that was there, and have moved no other."""
    perplexity: float
    seed: int
    size_bytes: int
    seconds: float

    def to_dict(self) -> dict[str, Any]:
        """The report as one JSON object."""
        return asdict(self)


@dataclass(frozen=True)
class ClusterItem:
    """An item of a cluster, or one that belongs to none."""

    id: int
    path: str


@dataclass(frozen=True)
class NamedCluster:
    """Items that lie together on the map."""

    id: int
    """From 0, the largest first."""
    name: str
    named_by: str
    """category, tag, word (of names and files) or item: where the name comes from."""
    size: int
    """How many items."""
    central: str
    """Path of the item nearest to the mean of all."""
    items: list[ClusterItem]


@dataclass(frozen=True)
class ClusterReport:
    """The clusters of a library, the largest first."""

    library: str
    items: int
    clusters: list[NamedCluster]
    unclustered: list[ClusterItem]
    """Items that belong to none."""
    seconds: float

    def to_dict(self) -> dict[str, Any]:
        """The report as one JSON object."""
        return asdict(self)


def map(
    library: LibraryLike,
    *,
    out: Path | str,
    settings: MapSettings | None = None,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> MapReport:
    """Draw a library as a map, by the suffix: a page, a picture or a table.

    out: .html (one file, works offline), .png, or .parquet (columns that embedding-atlas reads).
    The layout is kept in the library: a later map places what is new and moves nothing else.
    Raises LibraryError, SettingsError or OutputExistsError.
    """
    settings = settings or MapSettings()
    progress = progress or Silent()
    started = time.monotonic()
    target = _target(Path(out), overwrite)
    with opened_library(library) as opened:
        found = map_of(opened, settings, ClusterSettings(), progress)
        draw = {".html": _page, ".png": _picture, ".parquet": _table}[target.suffix.lower()]
        draw(target, opened, found, settings, progress)
    return MapReport(
        out=str(target),
        library=str(opened.folder),
        items=len(found),
        clusters=len(found.clusters),
        unclustered=int((found.labels < 0).sum()),
        added_later=int(found.layout.placed.sum()),
        perplexity=found.layout.perplexity,
        seed=found.layout.seed,
        size_bytes=target.stat().st_size,
        seconds=time.monotonic() - started,
    )


def cluster(
    library: LibraryLike,
    *,
    settings: ClusterSettings | None = None,
    progress: Progress | None = None,
) -> ClusterReport:
    """Group the items that look alike, with names from what is known of them.

    The groups are those of the map. Raises LibraryError or SettingsError.
    """
    started = time.monotonic()
    with opened_library(library) as opened:
        found = map_of(opened, MapSettings(), settings or ClusterSettings(), progress or Silent())
    return ClusterReport(
        library=str(opened.folder),
        items=len(found),
        clusters=[
            NamedCluster(
                id=one.id,
                name=one.name,
                named_by=one.named_by,
                size=len(one.rows),
                central=found.items[one.central].path,
                items=_listed(found, one.rows),
            )
            for one in found.clusters
        ],
        unclustered=_listed(found, np.flatnonzero(found.labels < 0)),
        seconds=time.monotonic() - started,
    )


def _listed(found: LibraryMap, rows: NDArray[np.int64]) -> list[ClusterItem]:
    return [ClusterItem(found.items[row].id, found.items[row].path) for row in rows.tolist()]


def _target(out: Path, overwrite: bool) -> Path:
    if out.suffix.lower() not in SUFFIXES:
        raise SettingsError(f"{out} has no known suffix; name it *.html, *.png or *.parquet.")
    if out.exists() and not overwrite:
        raise OutputExistsError(f"{out} exists; name another file, or pass --overwrite.")
    return out


def _page(
    out: Path, library: OpenLibrary, found: LibraryMap, settings: MapSettings, progress: Progress
) -> None:
    side = render.tile_side_px(
        len(found), most_pixels=render.HTML_MAX_PIXELS, longest_px=render.HTML_MAX_TILE_PX
    )
    tiles = _tiles(library, found, side, progress)
    grid = gridded(found.xy, found.labels)
    clusters, categories = by_cluster(found.labels, found.clusters), by_category(found.items)
    names = render.names_on(grid, clusters, 1.5 * render.LETTERS, 0.68 * render.LETTERS)
    modes: list[render.Mode] = [(clusters, names), (categories, None)]
    if settings.colour == "category":
        modes.reverse()
    shown = [mode for mode in modes if mode[0] is clusters or mode[0].names]
    data = render.page_data(found.items, grid, tiles, shown, found.neighbours)
    render.write_page(out, data, title=_title(library), line=_line(found))


def _picture(
    out: Path, library: OpenLibrary, found: LibraryMap, settings: MapSettings, progress: Progress
) -> None:
    grid = gridded(found.xy, found.labels)
    side = render.tile_side_px(
        grid.columns * grid.rows,
        most_pixels=render.PNG_MAX_PIXELS,
        longest_px=render.PNG_MAX_TILE_PX,
    )
    tiles = _tiles(library, found, side, progress)
    names = by_cluster(found.labels, found.clusters)
    colours = names if settings.colour == "cluster" else by_category(found.items)
    picture = render.draw_map(tiles, grid, colours, names, title=_title(library), line=_line(found))
    save_picture(picture, out)


def _tiles(
    library: OpenLibrary, found: LibraryMap, side_px: int, progress: Progress
) -> render.Tiles:
    return render.load_tiles(
        lambda row: library.thumbnail_image(found.items[row]),
        [item.mean_rgb for item in found.items],
        side_px,
        progress,
    )


def _title(library: OpenLibrary) -> str:
    return printable(library.root.name or str(library.root))


def _line(found: LibraryMap) -> str:
    return f"{len(found):,} images · {len(found.clusters):,} clusters"


def _table(
    out: Path, library: OpenLibrary, found: LibraryMap, settings: MapSettings, progress: Progress
) -> None:
    """Write a row for each item, whole or not at all.

    `neighbors` has ids, which are rows of this table from 0, and distances, 1 - cosine; `image` has
    a JPEG of each tile (n, side, side, 3).
    """
    import pyarrow

    tiles = _tiles(library, found, IMAGE_SIDE_PX, progress)
    items, vectors = found.items, np.ascontiguousarray(found.wholes.vectors, np.float32)
    flat = pyarrow.array(vectors.ravel())
    names = [one.name for one in found.clusters]
    text = pyarrow.string()
    labels = found.labels.tolist()
    columns = {
        "id": pyarrow.array([item.id for item in items], pyarrow.int64()),
        "x": pyarrow.array(found.xy[:, 0]),
        "y": pyarrow.array(found.xy[:, 1]),
        "vector": pyarrow.FixedSizeListArray.from_arrays(flat, vectors.shape[1]),
        "neighbors": _neighbours(found),
        "name": pyarrow.array([title_of(item) for item in items], text),
        "path": pyarrow.array([item.path for item in items], text),
        "asset": pyarrow.array([item.asset for item in items], text),
        "category": pyarrow.array([item.category for item in items], text),
        "tags": pyarrow.array([list(item.tags) for item in items], pyarrow.list_(text)),
        "cluster": pyarrow.array(labels, pyarrow.int64()),
        "cluster_name": pyarrow.array(
            [None if label == ALONE else names[label] for label in labels], text
        ),
        "width": pyarrow.array([item.width_px for item in items], pyarrow.int32()),
        "height": pyarrow.array([item.height_px for item in items], pyarrow.int32()),
        "format": pyarrow.array([item.format for item in items], text),
        "mode": pyarrow.array([item.mode for item in items], text),
        "bytes": pyarrow.array([item.size_bytes for item in items], pyarrow.int64()),
        "image": pyarrow.array(
            [
                {"bytes": render.jpeg(tile), "path": item.path}
                for tile, item in zip(tiles, items, strict=True)
            ],
            pyarrow.struct([("bytes", pyarrow.binary()), ("path", text)]),
        ),
    }
    write_parquet(out, pyarrow.table(columns))


def _neighbours(found: LibraryMap) -> object:
    import pyarrow

    kind = pyarrow.struct(
        [
            ("ids", pyarrow.list_(pyarrow.int64())),
            ("distances", pyarrow.list_(pyarrow.float32())),
        ]
    )
    places, away = found.neighbours.places, np.maximum(0, 1 - found.neighbours.cosines)
    rows = [
        {"ids": ids, "distances": distances}
        for ids, distances in zip(places.tolist(), away.tolist(), strict=True)
    ]
    return pyarrow.array(rows, kind)
