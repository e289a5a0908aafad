"""A folder as vectors: embed."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated

import vaeneer
from vaeneer import tables
from vaeneer.cli.options import Flat, Json, Overwrite, show
from vaeneer.config import EmbedSettings
from vaeneer.console import ConsoleProgress


def embed(
    model: Path,
    folder: Path,
    *,
    out: Path = Path("vectors.parquet"),
    settings: Annotated[EmbedSettings, Flat] = EmbedSettings(),
    overwrite: Overwrite = False,
    json: Json = False,
) -> None:
    """Write the latent of every image of a folder to a Parquet file.

    Parameters
    ----------
    model
        A model, a run (its best model), or a name in the box.
    folder
        Images, such as DATA/valid.
    out
        The Parquet file: file, asset, category, vector.
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
