"""map() and cluster(): a library in one picture, page or table, and its items in groups."""

from __future__ import annotations

import time
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vaeneer.checksums import write_parquet
from vaeneer.errors import OutputExistsError, SettingsError
from vaeneer.files import save_picture
from vaeneer.library.catalog import Item
from vaeneer.library.map import render
from vaeneer.library.map import render as render_module
from vaeneer.library.map.build import LibraryMap, by_category, by_cluster, map_of
from vaeneer.library.map.clusters import ALONE, title_of
from vaeneer.library.map.layout import gridded
from vaeneer.library.map.render import Tiles, jpeg, load_tiles, tile_side_px
from vaeneer.library.store import LibraryLike, OpenLibrary
from vaeneer.progress import Progress, Silent
from vaeneer.settings import ClusterSettings, MapSettings
from vaeneer.text import printable

IMAGE_SIDE_PX = 96
SUFFIXES = (".html", ".png", ".parquet")


def write_table(path: Path, found: LibraryMap, tiles: Tiles) -> None:
    """Write a row for each item, whole or not at all.

    `neighbors` has ids, which are rows of this table from 0, and distances, 1 - cosine; `image` has
    a JPEG of each tile (n, side, side, 3).
    """
    import pyarrow

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
                {"bytes": jpeg(tile), "path": item.path}
                for tile, item in zip(tiles, items, strict=True)
            ],
            pyarrow.struct([("bytes", pyarrow.binary()), ("path", text)]),
        ),
    }
    write_parquet(path, pyarrow.table(columns))


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
class ClusterReport:
    """The clusters of a library, the largest first."""

    library: str
    items: int
    clusters: list[dict[str, Any]]
    """id, name, named_by (category, tag, word, item), size, central (path) and items (id, path)."""
    unclustered: list[dict[str, Any]]
    """id and path of the items that belong to none."""
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
    with ExitStack() as stack:
        opened = (
            library if isinstance(library, OpenLibrary) else stack.enter_context(_open(library))
        )
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
    with ExitStack() as stack:
        opened = (
            library if isinstance(library, OpenLibrary) else stack.enter_context(_open(library))
        )
        found = map_of(opened, MapSettings(), settings or ClusterSettings(), progress or Silent())
    return ClusterReport(
        library=str(opened.folder),
        items=len(found),
        clusters=[
            {
                "id": one.id,
                "name": one.name,
                "named_by": one.named_by,
                "size": len(one.rows),
                "central": found.items[one.central].path,
                "items": [_named(found.items[row]) for row in one.rows.tolist()],
            }
            for one in found.clusters
        ],
        unclustered=[_named(found.items[row]) for row in np.flatnonzero(found.labels < 0).tolist()],
        seconds=time.monotonic() - started,
    )


def _open(folder: Path | str) -> OpenLibrary:
    return OpenLibrary.open(folder)


def _named(item: Item) -> dict[str, Any]:
    return {"id": item.id, "path": item.path}


def _target(out: Path, overwrite: bool) -> Path:
    if out.suffix.lower() not in SUFFIXES:
        raise SettingsError(f"{out} has no known suffix; name it *.html, *.png or *.parquet.")
    if out.exists() and not overwrite:
        raise OutputExistsError(f"{out} exists; name another file, or pass --overwrite.")
    return out


def _page(
    out: Path, library: OpenLibrary, found: LibraryMap, settings: MapSettings, progress: Progress
) -> None:
    side = tile_side_px(
        len(found),
        most_pixels=render_module.HTML_MAX_PIXELS,
        longest_px=render_module.HTML_MAX_TILE_PX,
    )
    tiles = _tiles(library, found, side, progress)
    grid = gridded(found.xy, found.labels)
    clusters, categories = by_cluster(found.labels, found.clusters), by_category(found.items)
    letters = render_module.LETTERS
    names = render.names_on(grid, clusters, 1.5 * letters, 0.68 * letters)
    modes: list[render_module.Mode] = [(clusters, names), (categories, None)]
    if settings.colour == "category":
        modes.reverse()
    shown = [mode for mode in modes if mode[0] is clusters or mode[0].names]
    data = render_module.page_data(found.items, grid, tiles, shown, found.neighbours)
    render_module.write_page(out, data, title=_title(library), line=_line(found))


def _picture(
    out: Path, library: OpenLibrary, found: LibraryMap, settings: MapSettings, progress: Progress
) -> None:
    grid = gridded(found.xy, found.labels)
    side = tile_side_px(
        grid.columns * grid.rows,
        most_pixels=render.PNG_MAX_PIXELS,
        longest_px=render.PNG_MAX_TILE_PX,
    )
    tiles = _tiles(library, found, side, progress)
    names = by_cluster(found.labels, found.clusters)
    colours = names if settings.colour == "cluster" else by_category(found.items)
    picture = render.draw_map(tiles, grid, colours, names, title=_title(library), line=_line(found))
    save_picture(picture, out)


def _table(
    out: Path, library: OpenLibrary, found: LibraryMap, settings: MapSettings, progress: Progress
) -> None:
    tiles = _tiles(library, found, IMAGE_SIDE_PX, progress)
    write_table(out, found, tiles)


def _tiles(library: OpenLibrary, found: LibraryMap, side_px: int, progress: Progress) -> Tiles:
    return load_tiles(
        lambda row: library.thumbnail_image(found.items[row]),
        [item.mean_rgb for item in found.items],
        side_px,
        progress,
    )


def _title(library: OpenLibrary) -> str:
    return printable(library.root.name or str(library.root))


def _line(found: LibraryMap) -> str:
    return f"{len(found):,} images · {len(found.clusters):,} clusters"
