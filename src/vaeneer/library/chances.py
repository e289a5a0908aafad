"""Probability that a hit shows the surface of the query, by the model and the size of the library.

A model's probability (model/projection.py) supposes that as many pairs show one surface as show
two. Of the N items of a library nearly all show another one, and the best of N strangers looks
more alike than a stranger picked at random. So the odds are divided by N - 1: Bayes, with one item
expected to match (docs/library.md has the reliability of both).
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from vaeneer.checksums import damaged_file
from vaeneer.errors import ModelFileError
from vaeneer.files import read_json
from vaeneer.library.own_model import FOLDER as MODEL
from vaeneer.library.sealing import remedy
from vaeneer.model.projection import Calibration, calibration_of, logistic
from vaeneer.storage import storage_error


def chance(calibration: Calibration, cosine: float, items: int) -> float:
    """Probability that one of `items` with this cosine shows the surface of the query, 0 to 1."""
    log_odds = calibration.slope * cosine + calibration.intercept - math.log(max(1, items - 1))
    return float(logistic(np.float64(log_odds)))


def calibration_in(library: Path, *, needed: bool) -> Calibration | None:
    """How likely a cosine means one surface, as the library's model knows; without PyTorch.

    Raises ModelFileError where it is needed and the model is not calibrated, or its file damaged.
    """
    file = library / MODEL / "readout.json"
    if file.is_file():
        try:
            if damaged_file(file.parent, (file.name,)) is not None:
                raise ValueError("another SHA-256")
            known = read_json(file)["calibration"]
            if known is not None:
                return calibration_of(known)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise storage_error(error, file, verb="read") or ModelFileError(
                f"{file} is damaged ({error}); {remedy(library)}."
            ) from error
    if needed:
        raise ModelFileError(
            f"The model of {library} is not calibrated, so that hits have no probability;"
            " leave min_probability out, or index with a model that `vaeneer calibrate` went over."
        )
    return None
