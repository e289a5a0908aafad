"""A library's own copy of its model, and how another model is told from it."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

from vaeneer.errors import LibraryError
from vaeneer.files import replacing_folder
from vaeneer.library.catalog import Catalog

FOLDER = "model"
DEFAULT = "surface-base"
_FILES = ("config.json", "model.safetensors", "readout.json", "readout.safetensors")


def model_fingerprint(folder: Path) -> str:
    """SHA-256 over the files of a model that its vectors and probabilities follow from."""
    digest = hashlib.sha256()
    for name in _FILES:
        file = folder / name
        digest.update(f"{name}\0".encode())
        if file.is_file():
            with file.open("rb") as stream:
                digest.update(hashlib.file_digest(stream, "sha256").digest())
    return digest.hexdigest()


def settle_model(catalog: Catalog, library: Path, model: Path | str | None) -> None:
    """Give a new library its model, or hold that an old one is asked for its own.

    model: None is the library's own, and surface-base for a new one. Raises LibraryError for
    another model than the library's, ModelFileError when there is none.
    """
    known = catalog.state("model_fingerprint")
    if known is not None and model is None:
        return
    from vaeneer.model.checkpoint import find_model  # imports PyTorch: only where it is needed

    source = find_model(model or DEFAULT)
    found = model_fingerprint(source)
    if known is None:
        with replacing_folder(library / FOLDER, kind="model") as temporary:
            for name in (name for name in _FILES if (source / name).is_file()):
                shutil.copyfile(source / name, temporary / name)
        name = str(model or DEFAULT)
        with catalog.writing():
            catalog.keep_state("model", name)
            catalog.keep_state("model_fingerprint", found)
    elif known != found:
        raise LibraryError(
            f"{library} has the vectors of {catalog.needed('model')}, and those of {model} cannot"
            " be compared with them; leave --model out, or name another --library."
        )
