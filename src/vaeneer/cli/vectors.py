"""Images as vectors: calibrate, embed, merge-vectors."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated

import vaeneer
from vaeneer import tables
from vaeneer.cli.options import Flat, Json, Overwrite, show
from vaeneer.console import ConsoleProgress
from vaeneer.settings.training import CalibrateSettings, EmbedSettings


def calibrate(
    model: Path,
    data: Path,
    *,
    out: Path | None = None,
    settings: Annotated[CalibrateSettings, Flat] = CalibrateSettings(),
    overwrite: Overwrite = False,
    json: Json = False,
) -> None:
    """Fit a model's vectors, and the probability of the same surface, to a library.

    In closed form, in minutes: the network stays as it is.

    Parameters
    ----------
    model
        A model, a run (its best model), or a name in the box.
    data
        A data set, or a folder of images (a fifth of its assets is then held out).
    out
        Folder for a calibrated copy of the model; by default MODEL itself is changed. A model in
        the box needs it.
    """
    report = vaeneer.calibrate(
        model,
        data,
        out=out,
        settings=settings,
        overwrite=overwrite,
        progress=ConsoleProgress(),
    )
    show(report.to_dict(), tables.calibration, json)


def embed(
    model: Path,
    folder: Path | None = None,
    *,
    out: Path = Path("vectors.parquet"),
    settings: Annotated[EmbedSettings, Flat] = EmbedSettings(),
    overwrite: Overwrite = False,
    json: Json = False,
) -> None:
    """Write a vector of every image of a folder, or all vectors of a library, to a table.

    A run that was stopped goes on. Vectors of a library are exported as they are, of whole images
    and of parts: no image is read.

    Parameters
    ----------
    model
        A model, a run (its best model), or a name in the box. Without FOLDER: a library, or a
        folder that was indexed.
    folder
        Images, such as DATA/valid.
    out
        A Parquet file (file, asset, category, vector), or an array .npy with its ids beside.
    """
    report = vaeneer.embed(
        model,
        folder,
        out=out,
        settings=settings,
        overwrite=overwrite,
        progress=ConsoleProgress(),
    )
    show(report.to_dict(), partial(tables.plain, "embed"), json)


def merge_vectors(out: Path, *, overwrite: Overwrite = False, json: Json = False) -> None:
    """Join the files that `embed --shard i/n` wrote.

    Parameters
    ----------
    out
        What each shard was given as --out.
    """
    report = vaeneer.merge_vectors(out, overwrite=overwrite)
    show(report.to_dict(), partial(tables.plain, "merge-vectors"), json)
