"""From a data set to a run: train."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

import vaeneer
from vaeneer import tables
from vaeneer.cli.options import OUTPUT, Flat, Json, Overwrite, show
from vaeneer.console import ConsoleProgress
from vaeneer.settings.training import TrainSettings


def train(
    data: Path,
    *,
    out: Path,
    settings: Annotated[TrainSettings, Flat] = TrainSettings(),
    resume: Annotated[bool, Parameter(negative="", group=OUTPUT)] = False,
    overwrite: Overwrite = False,
    json: Json = False,
) -> None:
    """Train a network; models, metrics and plots land in a run folder.

    Ctrl-C leaves a state that --resume goes on from, to the bit.

    Parameters
    ----------
    data
        A data set: a folder with train/ and valid/, made by prepare or by you.
    out
        The run folder.
    resume
        Go on with the run in --out where there is one, with its own settings.
    """
    report = vaeneer.train(
        data,
        out=out,
        settings=settings,
        resume=resume,
        overwrite=overwrite,
        progress=ConsoleProgress(),
    )
    show(report.to_dict(), tables.training, json)
