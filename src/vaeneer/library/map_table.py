"""map.parquet: the map as a table that embedding-atlas reads as it is.

embedding-atlas map.parquet --x x --y y --vector vector --neighbors neighbors --image image
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from vaeneer.files import write_parquet
from vaeneer.library.clusters import ALONE, title_of
from vaeneer.library.library_map import LibraryMap
from vaeneer.library.map_tiles import Tiles, jpeg

IMAGE_SIDE_PX = 96


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
