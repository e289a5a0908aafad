"""Models from elsewhere: import-weights."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import vaeneer
from vaeneer import tables
from vaeneer.cli.options import Json, Overwrite, show
from vaeneer.console import ConsoleProgress


def import_weights(
    file: Path,
    *,
    out: Path,
    data: Path | None = None,
    overwrite: Overwrite = False,
    json: Json = False,
) -> None:
    """Make a model folder of a .pth state dict that the reference's code saved.

    Read as data only: a file that would have to run code is refused.

    Parameters
    ----------
    file
        The .pth (or .safetensors) file.
    out
        The model folder.
    data
        The folder of its training images; adds their mean colour and mean latent.
    """
    report = vaeneer.import_weights(
        file, out=out, data=data, overwrite=overwrite, progress=ConsoleProgress()
    )
    show(report.to_dict(), partial(tables.plain, "import-weights"), json)
