"""What is in a library as a whole: duplicates, map, cluster, outliers."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

import vaeneer
from vaeneer import library_tables
from vaeneer.cli.options import (
    OUTPUT,
    Flat,
    Json,
    LibraryFolder,
    Overwrite,
    find,
    show,
    write_bytes,
)
from vaeneer.console import ConsoleProgress
from vaeneer.settings.training import (
    ClusterSettings,
    DuplicatesSettings,
    MapSettings,
    OutliersSettings,
)


def duplicates(
    library: LibraryFolder = None,
    *,
    settings: Annotated[DuplicatesSettings, Flat] = DuplicatesSettings(),
    html: Annotated[Path | None, Parameter(group=OUTPUT)] = None,
    csv: Annotated[bool, Parameter(negative="", group=OUTPUT)] = False,
    json: Json = False,
) -> None:
    """Find what a library has twice, and propose which to keep. Nothing is deleted.

    Kinds: exact (the same bytes), same_pixels (another container or metadata), near (rescaled,
    recompressed, turned, mirrored, a little brighter or recoloured), cropped (a part of another,
    with the place) and recoloured (the same structure in other colours).

    Parameters
    ----------
    html
        Also write a page with the groups side by side: report.html.
    csv
        Print one line for each file of the groups instead of a table: path, group, kind, decision
        (keep or redundant), keep_path, box. Paths are below the folder of the images.
    """
    report = vaeneer.duplicates(
        find(library), settings=settings, out_html=html, progress=ConsoleProgress()
    )
    if csv and not json:
        from vaeneer.library.decisions import csv_text

        write_bytes(csv_text(report.groups).encode())
        return
    show(report.to_dict(), library_tables.copies, json)


def map(
    library: LibraryFolder = None,
    *,
    out: Path = Path("map.html"),
    settings: Annotated[MapSettings, Flat] = MapSettings(),
    overwrite: Overwrite = False,
    json: Json = False,
) -> None:
    """Draw a library as a map: what looks alike lies together.

    Items that came later are placed, and the others stay where they are.

    Parameters
    ----------
    out
        map.html (one page that pans and zooms, offline), map.png or map.parquet (a table that
        embedding-atlas reads).
    """
    report = vaeneer.map(
        find(library), out=out, settings=settings, overwrite=overwrite, progress=ConsoleProgress()
    )
    show(report.to_dict(), library_tables.drawn, json)


def cluster(
    library: LibraryFolder = None,
    *,
    settings: Annotated[ClusterSettings, Flat] = ClusterSettings(),
    json: Json = False,
) -> None:
    """Group the items that look alike, named by what is known of them."""
    report = vaeneer.cluster(find(library), settings=settings, progress=ConsoleProgress())
    show(report.to_dict(), library_tables.clusters, json)


def outliers(
    library: LibraryFolder = None,
    *,
    settings: Annotated[OutliersSettings, Flat] = OutliersSettings(),
    json: Json = False,
) -> None:
    """List files that do not belong, each with the reason: candidates to look at."""
    report = vaeneer.outliers(find(library), settings=settings, progress=ConsoleProgress())
    show(report.to_dict(), library_tables.strange, json)
