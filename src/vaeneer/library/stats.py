"""stats(): what a library holds, counted."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from vaeneer.library.catalog import Catalog
from vaeneer.library.library_folders import find_library

_MOST = 50  # rows of a list


@dataclass(frozen=True, kw_only=True)
class StatsReport:
    """A library in numbers."""

    library: str
    folder: str
    model: str
    images: int
    offline: int
    """Images whose folder was not there when the library was last indexed."""
    assets: int
    maps: dict[str, int]
    """Other maps beside the colour images, by kind."""
    skipped: int
    """Files that could not be read; errors.csv has them."""
    left_out: dict[str, int]
    """Reason -> number of files that were not looked at; errors.csv has those that are pictures."""
    categories: dict[str, int]
    """Images of each, the most first, at most 50; the empty name is those without."""
    tags: dict[str, int]
    """Images with each, the most first, at most 50."""
    formats: dict[str, int]
    sides_px: dict[str, int]
    """The smallest, the median and the largest short side."""
    equal_files: int
    """Images whose bytes another one has too."""
    images_bytes: int
    library_bytes: int
    vectors: int
    """Of whole images and of their parts."""
    dimensions: int
    smallest_parts: str
    parts_pending: int
    """Images whose smallest parts are still to be embedded; `vaeneer index` goes on with them."""
    generation: int
    """Counts up whenever vectors come or go."""

    def to_dict(self) -> dict[str, Any]:
        """The report as one JSON object."""
        return asdict(self)


def stats(library: Path | str | None = None) -> StatsReport:
    """Count what a library holds.

    library: its folder, or the folder that was indexed; None as in `Library.open`. Raises
    LibraryError when there is none.
    """
    folder = find_library(library)
    catalog = Catalog.open(folder)
    try:
        images = _number(catalog, "count(*) FROM items WHERE embedded")
        distinct = _number(catalog, "count(DISTINCT sha256) FROM items WHERE embedded")
        return StatsReport(
            library=str(folder),
            folder=str(catalog.root),
            model=catalog.require_meta("model"),
            images=images,
            offline=_number(catalog, "count(*) FROM items WHERE embedded AND offline"),
            assets=_number(catalog, "count(DISTINCT asset) FROM items WHERE embedded"),
            maps=_counts(catalog, "kind, count(*) FROM maps"),
            skipped=_number(catalog, "count(*) FROM failures"),
            left_out=catalog.left_out(),
            categories=_counts(catalog, "ifnull(category, ''), count(*) FROM item_facts"),
            tags=_counts(
                catalog,
                "value, count(*) FROM metadata JOIN item_facts USING (asset) WHERE key = 'tag'",
            ),
            formats=_counts(catalog, "format, count(*) FROM item_facts"),
            sides_px=_sides(catalog, images),
            equal_files=images - distinct,
            images_bytes=_number(catalog, "ifnull(sum(bytes), 0) FROM item_facts"),
            library_bytes=sum(p.stat().st_size for p in folder.rglob("*") if p.is_file()),
            vectors=_number(catalog, "count(*) FROM crops"),
            dimensions=catalog.dimensions,
            smallest_parts=catalog.require_meta("parts"),
            parts_pending=catalog.parts_pending,
            generation=catalog.generation,
        )
    finally:
        catalog.close()


def _number(catalog: Catalog, what: str) -> int:
    return int(catalog.execute(f"SELECT {what}").fetchone()[0])


def _counts(catalog: Catalog, what: str) -> dict[str, int]:
    sql = f"SELECT {what} GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT {_MOST}"
    return {str(name): int(count) for name, count in catalog.execute(sql)}


def _sides(catalog: Catalog, images: int) -> dict[str, int]:
    sql = "min(width, height) AS side FROM item_facts ORDER BY side LIMIT 1 OFFSET"
    places = {"smallest": 0, "median": images // 2, "largest": images - 1}
    return {name: _number(catalog, f"{sql} {at}") for name, at in places.items()} if images else {}
