"""What a model makes: sample, reconstruct."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

import vaeneer
from vaeneer import tables
from vaeneer.cli.options import Json, Overwrite, show
from vaeneer.console import ConsoleProgress
from vaeneer.settings.training import RECONSTRUCTIONS, SAMPLES, SEED


def sample(
    model: Path,
    *,
    out: Path = Path("samples.png"),
    count: int = SAMPLES,
    seed: int = SEED,
    device: str = "auto",
    overwrite: Overwrite = False,
    json: Json = False,
) -> None:
    """Draw random samples, decoded from latents of the prior, as one picture.

    Parameters
    ----------
    model
        A model, a run (its best model), or a name in the box.
    out
        The PNG file.
    count
        How many samples.
    seed
        Seed of the latents: one seed, one picture.
    device
        Where to compute: auto, cpu, cuda or cuda:N.
    """
    report = vaeneer.sample(
        model, out=out, count=count, seed=seed, device=device, overwrite=overwrite
    )
    show(report.to_dict(), partial(tables.plain, "sample"), json)


def reconstruct(
    model: Path,
    images: Annotated[list[Path], Parameter(negative="")],
    *,
    out: Path = Path("reconstructions.png"),
    count: int = RECONSTRUCTIONS,
    seed: int = SEED,
    device: str = "auto",
    all_maps: Annotated[bool, Parameter(negative="")] = False,
    overwrite: Overwrite = False,
    json: Json = False,
) -> None:
    """Draw images above what the model makes of them.

    Parameters
    ----------
    model
        A model, a run (its best model), or a name in the box.
    images
        Image files, or folders to choose from.
    out
        The PNG file.
    count
        How many images to choose from a folder.
    seed
        Seed of that choice.
    device
        Where to compute: auto, cpu, cuda or cuda:N.
    all_maps
        Also choose normal maps, roughness and the like from a folder; by default colour maps only.
    """
    report = vaeneer.reconstruct(
        model,
        images,
        out=out,
        count=count,
        seed=seed,
        device=device,
        all_maps=all_maps,
        overwrite=overwrite,
        progress=ConsoleProgress(),
    )
    show(report.to_dict(), partial(tables.plain, "reconstruct"), json)
