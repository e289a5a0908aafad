"""map.html: the map as one file that works offline; thumbnails, names and script are inside."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vaeneer.files import write_text
from vaeneer.library.catalog import Item
from vaeneer.library.map.build import Groups
from vaeneer.library.map.clusters import title_of
from vaeneer.library.map.grid import Grid, Label
from vaeneer.library.map.render import Tiles, sheets, smaller
from vaeneer.library.vector_index import Neighbours
from vaeneer.look import stylesheet

MOST_PIXELS = 26_000_000
"""Of all thumbnails together: some 6 MB as WebP."""
LONGEST_TILE_PX = 192
SMALL_TILE_PX = 24
LETTERS = 0.3
"""Height of a name in cells."""
Mode = tuple[Groups, Sequence[Label] | None]
"""A way to colour the items, with the places of its names where they are written."""


def page_data(
    items: Sequence[Item],
    grid: Grid,
    tiles: Tiles,
    modes: Sequence[Mode],
    neighbours: Neighbours,
) -> dict[str, Any]:
    """What the script of the page reads; lists of items have one order."""
    levels = [tiles]
    if tiles.shape[1] >= 2 * SMALL_TILE_PX and len(tiles):
        levels.append(smaller(tiles, SMALL_TILE_PX))
    found = [sheets(level) for level in levels]
    return {
        "columns": grid.columns,
        "rows": grid.rows,
        "cells": grid.cells.ravel().tolist(),
        "names": [title_of(item) for item in items],
        "files": [item.path for item in items],
        "tags": [", ".join(item.tags) for item in items],
        "means": "".join(_hexadecimal(item) for item in items),
        "levels": [{"side": one.side_px, "across": one.across, "urls": one.urls} for one in found],
        "modes": [_mode(groups, labels) for groups, labels in modes],
        "neighbours": neighbours.places.tolist(),
        "letters": LETTERS,
    }


def write_page(path: Path, data: dict[str, Any], *, title: str, line: str) -> None:
    """Write the page, whole or not at all. Texts of items are data in it, never markup."""
    from jinja2 import Environment, PackageLoader, select_autoescape

    environment = Environment(
        loader=PackageLoader("vaeneer.library.map", "."), autoescape=select_autoescape(["html"])
    )
    page = environment.get_template("map.html").render(
        title=title, line=line, data=data, look=stylesheet()
    )
    write_text(path, page)


def _mode(groups: Groups, labels: Sequence[Label] | None) -> dict[str, Any]:
    places: Sequence[Label | None] = labels or [None] * len(groups.names)
    sizes: NDArray[np.int64] = np.bincount(
        groups.labels[groups.labels >= 0], minlength=len(groups.names)
    )
    return {
        "name": groups.kind,
        "of": groups.labels.tolist(),
        "groups": [
            {
                "name": name,
                "word": word,
                "colour": "#{:02x}{:02x}{:02x}".format(*colour),
                "size": size,
                "place": [round(place.x, 3), round(place.y, 3)] if place else None,
            }
            for name, word, colour, size, place in zip(
                groups.names, groups.words, groups.colours, sizes.tolist(), places, strict=True
            )
        ],
    }


def _hexadecimal(item: Item) -> str:
    return "".join(f"{min(255, max(0, round(255 * level))):02x}" for level in item.mean_rgb)
