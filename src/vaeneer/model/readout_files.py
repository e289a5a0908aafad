"""readout.safetensors and readout.json: what a model folder knows beside its weights for search."""

from __future__ import annotations

from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors import numpy as numpy_tensors

from vaeneer.checksums import damaged_file
from vaeneer.errors import ModelFileError
from vaeneer.files import native_name, read_json, write_json
from vaeneer.model.probability import Calibration, calibration_of
from vaeneer.model.readout import Readout
from vaeneer.settings.training import ReadoutSettings
from vaeneer.storage import storage_error

TENSORS, FACTS = "readout.safetensors", "readout.json"
FORMAT = 1
READOUT_REMEDY = (
    f"delete {TENSORS} and {FACTS} there to do without them, or run vaeneer calibrate then"
)


def write_readout(folder: Path, readout: Readout, calibration: Calibration | None) -> None:
    """Write both files into a model folder that is being made (`replacing_folder`)."""
    tensors = {name: np.ascontiguousarray(getattr(readout, name)) for name in _shapes(0, 0)}
    numpy_tensors.save_file(tensors, folder / TENSORS)
    facts = {
        "settings": asdict(readout.settings),
        "calibration": None if calibration is None else asdict(calibration),
        "data": readout.data,
        "figures": readout.figures,
        "vaeneer_version": version("vaeneer"),
        "format": FORMAT,
    }
    write_json(folder / FACTS, facts)


def read_readout(folder: Path, size: int) -> tuple[Readout | None, Calibration | None]:
    """The read-out of a model whose texture has `size` latents, and its probability; None: none.

    Raises ModelFileError when a file is missing, damaged, newer or another model's.
    """
    there = [(folder / name).is_file() for name in (TENSORS, FACTS)]
    if not any(there):
        return None, None
    try:
        if not all(there):
            raise ValueError("one of the two files is missing")
        facts = _facts(folder)
        if facts["format"] > FORMAT:
            raise ValueError(f"it has format {facts['format']}, and this vaeneer reads {FORMAT}")
        with native_name(folder / TENSORS) as name:
            tensors = numpy_tensors.load_file(name)
        _check(tensors, size)
        known = facts["calibration"]
        readout = Readout(
            **tensors,
            settings=ReadoutSettings(**facts["settings"]),
            data=dict(facts["data"]),
            figures=dict(facts["figures"]),
        )
        return readout, None if known is None else calibration_of(known)
    except (OSError, ValueError, TypeError, KeyError, AttributeError, SafetensorError) as error:
        raise storage_error(error, folder / TENSORS, verb="read") or ModelFileError(
            f"The read-out in {folder} cannot be used ({type(error).__name__}: {error});"
            f" {READOUT_REMEDY}."
        ) from error


def readout_facts(folder: Path) -> dict[str, Any] | None:
    """What readout.json says, without its long lists; None where a model has no read-out.

    Raises ModelFileError when it cannot be read.
    """
    if not (folder / FACTS).is_file():
        return None
    try:
        facts = _facts(folder)
        (facts.get("calibration") or {}).pop("reliability", None)
    except (OSError, ValueError, AttributeError) as error:
        raise storage_error(error, folder / FACTS, verb="read") or ModelFileError(
            f"{folder / FACTS} cannot be read ({error}); {READOUT_REMEDY}."
        ) from error
    return facts


def _facts(folder: Path) -> dict[str, Any]:
    """What readout.json says. Raises OSError, or ValueError for a damaged file."""
    if (damaged := damaged_file(folder, (FACTS,))) is not None:
        raise ValueError(f"{damaged} is damaged: another SHA-256")
    facts = read_json(folder / FACTS)
    if not isinstance(facts, dict):
        raise ValueError("readout.json holds no object")
    return facts


def _shapes(size: int, dimensions: int) -> dict[str, tuple[int, ...]]:
    return {"mean": (size,), "projection": (size, dimensions), "ratios": (dimensions,)}


def _check(tensors: dict[str, np.ndarray], size: int) -> None:
    """Raise ValueError unless the tensors are those of a read-out of `size` latents."""
    dimensions = tensors["projection"].shape[-1]
    wanted, found = _shapes(size, dimensions), {name: t.shape for name, t in tensors.items()}
    if found != wanted:
        raise ValueError(f"its tensors are {found}, and the model needs {wanted}")
    for name, values in tensors.items():
        if values.dtype != np.float32 or not np.isfinite(values).all():
            raise ValueError(f"{name} is not finite float32")
