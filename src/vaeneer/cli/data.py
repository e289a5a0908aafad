"""From a raw library to a data set: synthesize, prepare."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

import vaeneer
from vaeneer import tables
from vaeneer.cli.options import OUTPUT, Flat, Json, Overwrite, show
from vaeneer.console import ConsoleProgress
from vaeneer.settings.training import SEED, SURFACE_SIDE_PX, SURFACES, PrepareSettings


def synthesize(
    folder: Path,
    *,
    count: int = SURFACES,
    side_px: int = SURFACE_SIDE_PX,
    seed: int = SEED,
    overwrite: Overwrite = False,
    json: Json = False,
) -> None:
    """Write a raw library of procedural surfaces, as a scanner would leave it.

    Parameters
    ----------
    folder
        Where to write.
    count
        How many surfaces, spread over all families.
    side_px
        Width and height of each colour map.
    seed
        Seed of all surfaces.
    """
    maps = vaeneer.synthesize(
        folder, count=count, side_px=side_px, seed=seed, progress=ConsoleProgress()
    )
    values = {"folder": str(folder), "surfaces": len(maps), "first": str(maps[0])}
    show(values, partial(tables.plain, "synthesize"), json)


def prepare(
    raw: Path,
    *,
    out: Path,
    settings: Annotated[PrepareSettings, Flat] = PrepareSettings(),
    dry_run: Annotated[bool, Parameter(negative="", group=OUTPUT)] = False,
    overwrite: Overwrite = False,
    json: Json = False,
) -> None:
    """Make a data set of a raw folder: verify, group by asset, find duplicates, split.

    The raw folder is never changed. Running it again is quick and takes up what is new.

    Parameters
    ----------
    raw
        Folder of surfaces, scanned with all folders below it.
    out
        The data set: train/, valid/, manifest.parquet and report.json.
    dry_run
        Say what would be done and write nothing.
    """
    report = vaeneer.prepare(
        raw,
        out=out,
        settings=settings,
        dry_run=dry_run,
        overwrite=overwrite,
        progress=ConsoleProgress(),
    )
    show(report.to_dict(), tables.preparation, json)
