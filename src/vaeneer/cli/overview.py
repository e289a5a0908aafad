"""The whole, run or looked at: demo, info, doctor, bench."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

import vaeneer
from vaeneer import tables
from vaeneer.cli.options import Flat, Json, Overwrite, find, show
from vaeneer.console import ConsoleProgress
from vaeneer.settings.training import SEED, BenchSettings


def demo(
    *,
    out: Path = Path("vaeneer-demo"),
    data: Path | None = None,
    epochs: int = 0,
    seed: int = SEED,
    open: Annotated[bool, Parameter(negative="")] = False,
    overwrite: Overwrite = False,
    json: Json = False,
) -> None:
    """Show what vaeneer is for, in about three minutes: index, search, duplicates, map, training.

    Parameters
    ----------
    out
        Folder for all that the demo makes; report.html in it shows the whole.
    data
        Your own folder of surfaces instead of the built-in procedural ones.
    epochs
        Passes over the training images; 0 chooses as many as fit the time.
    seed
        Seed of the surfaces, the split and the training.
    open
        Open the page in the browser on what was made; a finished demo in --out is not made again.
    """
    from vaeneer.demo import folders_to_serve

    existing = folders_to_serve(out) if open and not overwrite else []
    if not existing:
        report = vaeneer.demo(
            out=out,
            data=data,
            epochs=epochs,
            seed=seed,
            overwrite=overwrite,
            progress=ConsoleProgress(),
        )
        show(report.to_dict(), tables.demonstration, json)
    if open:
        folders = existing or [out / "library", out / "run"]
        vaeneer.serve(folders, open_page=True, progress=ConsoleProgress())


def info(path: Path, *, json: Json = False) -> None:
    """Tell what a folder is (library, data set, run, model) and what there is to know of it.

    Parameters
    ----------
    path
        A library, a data set, a run or a folder of runs, a model or its name in the box, a cache of
        decoded images, or a folder of images.
    """
    show(vaeneer.info(path).to_dict(), tables.inspection, json)


def doctor(
    path: Path | None = None,
    *,
    mend: Annotated[bool, Parameter(negative="")] = False,
    json: Json = False,
) -> None:
    """Check every file that vaeneer wrote into a folder; exit code 1 where one is damaged.

    Parameters
    ----------
    path
        A library or the folder that was indexed, a run, a model or its name in the box, a data set,
        a cache of decoded images, or a Parquet file of vectors. By default the library of the
        current directory, or the only one in the user's data folder.
    mend
        Make again what can be: files of a library, copies of images in a data set, decoded images.
    """
    report = vaeneer.doctor(
        find(path) if path is None else path, mend=mend, progress=ConsoleProgress()
    )
    show(report.to_dict(), tables.health, json)
    if not report.healthy:
        raise SystemExit(1)


def bench(
    *,
    out: Path | None = None,
    settings: Annotated[BenchSettings, Flat] = BenchSettings(),
    overwrite: Overwrite = False,
    json: Json = False,
) -> None:
    """Measure what this machine can do, what training does of it, and name the bottleneck.

    Takes about a minute and needs no data. Close other programs first.

    Parameters
    ----------
    out
        Folder for bench.json and a chart; by default nothing is written.
    """
    report = vaeneer.bench(
        settings=settings, out=out, overwrite=overwrite, progress=ConsoleProgress()
    )
    show(report.to_dict(), tables.speed, json)
