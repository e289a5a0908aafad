"""A library's own copy of its model, and how another model is told from it."""

from __future__ import annotations

import hashlib
import shutil
from contextlib import suppress
from pathlib import Path

from vaeneer.checksums import SUMS, damaged_file, write_sums
from vaeneer.errors import LibraryError, ModelFileError
from vaeneer.files import replacing_folder
from vaeneer.library.catalog import Catalog

FOLDER = "model"
DEFAULT = "surface-base"
MODEL_FILES = ("config.json", "model.safetensors", "readout.json", "readout.safetensors")


def model_fingerprint(folder: Path) -> str:
    """SHA-256 over the files of a model that its vectors and probabilities follow from."""
    digest = hashlib.sha256()
    for name in MODEL_FILES:
        file = folder / name
        digest.update(f"{name}\0".encode())
        if file.is_file():
            with file.open("rb") as stream:
                digest.update(hashlib.file_digest(stream, "sha256").digest())
    return digest.hexdigest()


def settle_model(catalog: Catalog, library: Path, model: Path | str | None) -> None:
    """Give a new library its model, or hold that an old one is asked for its own.

    model: None is the library's own, and surface-base for a new one. A damaged copy is put back
    from where it came from. Raises LibraryError for another model than the library's,
    ModelFileError when there is none.
    """
    known = catalog.state("model_fingerprint")
    folder = library / FOLDER
    if known is not None and is_whole(folder, known) and model is None:
        if not (folder / SUMS).is_file() or damaged_file(folder, MODEL_FILES):
            write_sums(folder, MODEL_FILES)
        return
    from vaeneer.model.checkpoint import check_model_files, find_model  # imports PyTorch

    if known is not None and model is None:
        _put_back(catalog, folder, known)
        return
    left = folder if (folder / "config.json").is_file() else None  # of a catalog that is lost
    source = find_model(model or left or DEFAULT)
    check_model_files(source)
    found = model_fingerprint(source)
    if known is None:
        boxed = model is None and found == model_fingerprint(find_model(DEFAULT))
        name = DEFAULT if boxed else str(model or source)
        if source != folder:
            _copy(source, folder)
        with catalog.writing():
            catalog.keep_state("model", name)
            catalog.keep_state("model_fingerprint", found)
    elif known != found:
        raise LibraryError(
            f"{library} has the vectors of {catalog.needed('model')}, and those of {model} cannot"
            " be compared with them; leave --model out, or name another --library."
        )
    elif not is_whole(folder, known):
        _copy(source, folder)


def is_whole(folder: Path, fingerprint: str) -> bool:
    """Whether a library's copy of its model is as it was copied."""
    return model_fingerprint(folder) == fingerprint


def check_own_model(catalog: Catalog, library: Path) -> None:
    """Raise ModelFileError where the library's copy of its model is damaged."""
    known = catalog.state("model_fingerprint")
    if known is not None and not is_whole(library / FOLDER, known):
        raise ModelFileError(f"{library / FOLDER} is damaged: {catalog.remedy}.")


def _put_back(catalog: Catalog, folder: Path, known: str) -> None:
    """Copy a library's model again. Raises ModelFileError where it is not there any more."""
    from vaeneer.model.checkpoint import find_model

    name = catalog.needed("model")
    with suppress(ModelFileError):
        source = find_model(name)
        if model_fingerprint(source) == known:
            _copy(source, folder)
            return
    raise ModelFileError(
        f"{folder} is damaged, and {name} is not there or has changed; name the same model where"
        " it lies now with --model, or index into a new --library."
    )


def _copy(source: Path, folder: Path) -> None:
    names = [name for name in MODEL_FILES if (source / name).is_file()]
    size_bytes = sum((source / name).stat().st_size for name in names)
    with replacing_folder(folder, kind="model", size_bytes=size_bytes) as temporary:
        for name in names:
            shutil.copyfile(source / name, temporary / name)
        write_sums(temporary, MODEL_FILES)
