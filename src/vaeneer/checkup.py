"""doctor(): every file that vaeneer wrote into a folder, read whole and compared with its checksum.

Nothing is changed unless `mend` is set; then what follows from other files is made again. Only the
catalog of an older version is brought up to date, as it is by every command that opens it.
"""

from __future__ import annotations

import json
import shlex
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from vaeneer.checksums import file_sha256, read_parquet
from vaeneer.data.cache_files import default_cache
from vaeneer.data.cache_index import INDEX_NAME, PackLayout, damaged_rows, read_index
from vaeneer.data.dataset import MANIFEST_NAME, ManifestRow, read_manifest
from vaeneer.data.images import read_image
from vaeneer.errors import (
    DataError,
    LibraryDamagedError,
    LibraryError,
    LibraryUnavailableError,
    VaeneerError,
)
from vaeneer.files import atomic_write
from vaeneer.library.catalog import Catalog
from vaeneer.library.catalog_file import CATALOG, FACTS, listed_facts, remedy
from vaeneer.library.embed.tables import read_vectors
from vaeneer.library.index.index import index
from vaeneer.library.library_folders import existing_library, find_library
from vaeneer.library.repair import DERIVED, library_faults
from vaeneer.model.bundled_models import bundled_model
from vaeneer.model.checkpoint import CARD, WEIGHTS, load
from vaeneer.progress import Progress, Silent
from vaeneer.provenance import kind_of_folder
from vaeneer.training.resume_state import read_state
from vaeneer.training.run_folder import RunFolder, damaged_metrics

Fault = tuple[Path, str, str]
"""A file, what is wrong with it, and how to mend it."""


@dataclass(frozen=True)
class Finding:
    """One file that is damaged."""

    path: str
    problem: str
    remedy: str
    mended: bool = False
    """Whether it was made again."""


@dataclass(frozen=True)
class DoctorReport:
    """What is damaged of a library, run, model, data set, cache or file of vectors."""

    path: str
    kind: str
    """library, run, model, data set, cache or vectors."""
    findings: list[Finding] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def healthy(self) -> bool:
        """Whether nothing is damaged, or all of it was mended."""
        return all(finding.mended for finding in self.findings)

    def to_dict(self) -> dict[str, Any]:
        """The report as one JSON object."""
        return {**asdict(self), "healthy": self.healthy}


def doctor(
    path: Path | str | None = None, *, mend: bool = False, progress: Progress | None = None
) -> DoctorReport:
    """Check a library, run, model, data set, cache of decoded images or file of vectors whole.

    path: one of these, or a folder that was indexed; None is the library of `Library.open()`.
    mend: make again what follows from other files: all of a library that can be, copies of images
    in a data set, decoded images. Raises DataError for anything else.
    """
    started, progress = time.monotonic(), progress or Silent()
    folder = _folder(path)
    kind = _kind(folder)
    faults = list(_CHECKS[kind](folder, progress))
    left = {str(file) for file, _, _ in faults}
    if faults and mend:
        _mend(kind, folder, faults, progress)
        left = {str(file) for file, _, _ in _CHECKS[kind](folder, progress)}
    findings = [
        Finding(str(file), problem, remedy, mended=str(file) not in left)
        for file, problem, remedy in faults
    ]
    return DoctorReport(str(folder), kind, findings, round(time.monotonic() - started, 3))


def _folder(path: Path | str | None) -> Path:
    """A path that vaeneer wrote, or the library of a folder that it only indexed."""
    if path is None:
        return find_library()
    if (model := bundled_model(path)) is not None:
        return model
    try:
        _kind(Path(path))
    except DataError:
        return existing_library(path) or Path(path)
    return Path(path)


def _kind(folder: Path) -> str:
    if folder.is_file() and folder.suffix == ".parquet":
        return "vectors"
    if not folder.is_dir():
        raise DataError(
            f"{folder} is not a folder; name a library, a run, a model, a data set, a cache or a"
            " Parquet file of vectors."
        )
    if RunFolder(folder).config.is_file() or RunFolder(folder).facts.is_file():
        return "run"
    if (folder / CATALOG).is_file() or (folder / FACTS).is_file():
        return "library"
    if (folder / CARD).is_file() or (folder / WEIGHTS).is_file():
        return "model"
    if (folder / MANIFEST_NAME).is_file():
        return "data set"
    names = {entry.name for entry in folder.iterdir()}
    if _packs(folder) or kind_of_folder(folder, names, names) == "cache":
        return "cache"
    raise DataError(
        f"{folder} is no library, run, model, data set or cache that vaeneer wrote; name one."
    )


def _run_faults(folder: Path, progress: Progress) -> Iterator[Fault]:
    """Of config.toml, run.json, metrics, state and models."""
    run = RunFolder(folder)
    new = "start a new run with another --out"
    try:
        run.check()
    except VaeneerError as error:
        yield folder, str(error), f"put the file back from a copy, or {new}"
    if count := damaged_metrics(folder):
        again = "the others are read; nothing to do, or train again for the whole history"
        yield run.metrics, f"{count} damaged lines", again
    if run.state.is_file():
        try:
            read_state(run.state)
        except VaeneerError as error:
            yield (
                run.state,
                str(error),
                f"put it back from a copy, or {new} and --init-from {folder}",
            )
    models = [run.best, run.last, *sorted(folder.glob("checkpoints/*"))]
    for model in (one for one in models if one.is_dir()):
        yield from _model_faults(model, progress)


def _model_faults(folder: Path, _: Progress) -> Iterator[Fault]:
    """Of the files of a model, which is loaded."""
    try:
        load(folder)
    except VaeneerError as error:
        yield folder, str(error), "copy the folder again, or train or import the model again"


def _data_set_faults(folder: Path, progress: Progress) -> Iterator[Fault]:
    """Of the manifest, the images and the decoded images beside them."""
    raw = "RAW"
    try:
        manifest = read_manifest(folder)
    except VaeneerError as error:
        yield folder / MANIFEST_NAME, str(error), _prepare(raw, folder)
        return
    assert manifest is not None  # `_kind` saw the file
    raw = str(manifest.info.get("raw", raw))
    rows = manifest.by_output()
    with progress.bar("images", total=len(rows), unit="images") as bar:
        for name, row in rows.items():
            problem = _image_problem(folder / name, row)
            if problem is not None:
                yield folder / name, problem, _prepare(raw, folder)
            bar.advance()
    for side in ("train", "valid"):
        if (folder / side).is_dir():
            yield from _cache_faults(default_cache(folder / side), progress)
            break


def _image_problem(file: Path, row: ManifestRow) -> str | None:
    """What is wrong with an image of a data set."""
    try:
        if not file.is_file():
            return "it is missing"
        if row.converted:  # a PNG of its pixels, with a checksum of each block
            read_image(file)
        elif row.sha256 is not None and file_sha256(file) != row.sha256:
            return "its SHA-256 is not that in the manifest"
    except (OSError, VaeneerError) as error:
        return str(error)
    return None


def _prepare(raw: str, folder: Path) -> str:
    out = shlex.quote(str(folder))
    return f"prepare it again: vaeneer prepare {shlex.quote(raw)} --out {out} --overwrite"


def _cache_faults(folder: Path, _: Progress) -> Iterator[Fault]:
    """Of packs: their index, and each image of their pixels."""
    remedy = "delete the folder: images are decoded again when they are needed"
    for pack in _packs(folder):
        layout = _layout(pack)
        index_ = None if layout is None else read_index(pack, layout)
        if index_ is None:
            yield pack, "its index or its file of pixels is damaged", remedy
        elif count := int(damaged_rows(pack, index_).sum()):
            yield pack, f"the pixels of {count} images are damaged", remedy


def _packs(folder: Path) -> list[Path]:
    found = [folder, *folder.glob("*")] if folder.is_dir() else []
    return sorted(one for one in found if (one / INDEX_NAME).is_file())


def _layout(pack: Path) -> PackLayout | None:
    try:
        metadata = read_parquet(pack / INDEX_NAME).schema.metadata[b"vaeneer"]
        return PackLayout(**json.loads(metadata)["layout"])
    except Exception:  # whatever Arrow, JSON and the layout say of damage
        return None


def _vector_faults(file: Path, _: Progress) -> Iterator[Fault]:
    """Of a table of vectors."""
    try:
        read_vectors(file)
    except VaeneerError as error:
        yield file, str(error), "embed the folder again: vaeneer embed MODEL FOLDER --overwrite"


def _mend(kind: str, folder: Path, faults: list[Fault], progress: Progress) -> None:
    """Make again what follows from other files."""
    if kind == "library":
        _mend_library(folder, faults, progress)
    for file, _, _ in faults:
        if (file / INDEX_NAME).is_file():
            shutil.rmtree(file)
    if kind == "data set" and (folder / MANIFEST_NAME) not in {file for file, _, _ in faults}:
        _copy_images(folder, {file for file, _, _ in faults})


def _mend_library(folder: Path, faults: list[Fault], progress: Progress) -> None:
    for file, _, _ in faults:
        if file.name in DERIVED or file.suffix == ".webp":
            file.unlink(missing_ok=True)
    root = listed_facts(folder).get("root")
    if not isinstance(root, str):
        catalog = Catalog.open(folder)
        root = str(catalog.root)
        catalog.close()
    index(root, library=folder, progress=progress)


def _copy_images(folder: Path, files: set[Path]) -> None:
    """Copy damaged images of a data set again from the raw folder, where that has them whole."""
    manifest = read_manifest(folder)
    assert manifest is not None
    raw = Path(str(manifest.info.get("raw", "")))
    for name, row in manifest.by_output().items():
        source = raw / row.path
        if folder / name not in files or row.converted or not source.is_file():
            continue
        if row.sha256 is not None and file_sha256(source) == row.sha256:
            with atomic_write(folder / name) as temporary:
                shutil.copyfile(source, temporary)


def _library_check(folder: Path, progress: Progress) -> Iterator[Fault]:
    try:
        yield from library_faults(folder, progress)
    except LibraryError as error:
        of_now = isinstance(error, LibraryUnavailableError)  # no word on what is in it
        if of_now and not isinstance(error, LibraryDamagedError):
            raise
        yield folder / CATALOG, str(error), remedy(folder)


_CHECKS: dict[str, Callable[[Path, Progress], Iterator[Fault]]] = {
    "library": _library_check,
    "run": _run_faults,
    "model": _model_faults,
    "data set": _data_set_faults,
    "cache": _cache_faults,
    "vectors": _vector_faults,
}
