"""A model against images: evaluate, similarity."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import vaeneer
from vaeneer import tables
from vaeneer.cli.options import Flat, Json, Overwrite, own_folder, show
from vaeneer.console import ConsoleProgress
from vaeneer.settings.training import EvaluateSettings, SimilaritySettings


def evaluate(
    model: Path,
    folder: Path,
    *,
    out: Path | None = None,
    settings: Annotated[EvaluateSettings, Flat] = EvaluateSettings(),
    overwrite: Overwrite = False,
    json: Json = False,
) -> None:
    """Measure a model on the images of a folder: ELBO and its parts, PSNR, SSIM, the worst images.

    Parameters
    ----------
    model
        A model, a run (its best model), or a name in the box.
    folder
        Images, such as DATA/valid.
    out
        Folder for evaluation.json, per-image.csv and the pictures; by default
        MODEL/evaluation-FOLDER, replaced at each call (of a model in the box:
        evaluation-MODEL-FOLDER here).
    """
    report = vaeneer.evaluate(
        model,
        folder,
        out=out or own_folder(model, "evaluation", folder),
        settings=settings,
        overwrite=overwrite or out is None,
        progress=ConsoleProgress(),
    )
    show(report.to_dict(), tables.evaluation, json)


def similarity(
    model: Path,
    folder: Path,
    *,
    out: Path | None = None,
    settings: Annotated[SimilaritySettings, Flat] = SimilaritySettings(),
    overwrite: Overwrite = False,
    json: Json = False,
) -> None:
    """Tell crops of one image from crops of two, by a model and by descriptors without learning.

    Parameters
    ----------
    model
        A model, a run (its best model), or a name in the box.
    folder
        Images, such as DATA/valid.
    out
        Folder for similarity.json, similarity.html and pictures; by default
        MODEL/similarity-FOLDER, replaced at each call (of a model in the box:
        similarity-MODEL-FOLDER here).
    """
    report = vaeneer.similarity(
        model,
        folder,
        out=out or own_folder(model, "similarity", folder),
        settings=settings,
        overwrite=overwrite or out is None,
        progress=ConsoleProgress(),
    )
    show(report.to_dict(), tables.similarity, json)
