"""embed(): a folder of images, or what a library holds, as one table of vectors."""

from __future__ import annotations

import shlex
from pathlib import Path

from vaeneer.errors import LibraryError, OutputExistsError, SettingsError
from vaeneer.library.library import Library
from vaeneer.library.library_folders import existing_library
from vaeneer.library.library_vectors import export_library
from vaeneer.library.vector_shards import Shard, parse_shard
from vaeneer.library.vector_tables import EmbedReport as EmbedReport
from vaeneer.library.vector_tables import check_suffix
from vaeneer.model.bundled_models import is_in_box
from vaeneer.progress import Progress, Silent
from vaeneer.settings.training import EmbedSettings

_OF_A_FOLDER = ("vectors", "views", "shard", "all_maps")
"""Settings that say how images are embedded, which those of a library are already."""
_OF_A_MODEL = ("config.json", "config.toml")  # of a model folder, of a run


def embed(
    model: Path | str | Library,
    folder: Path | str | None = None,
    *,
    out: Path | str,
    settings: EmbedSettings | None = None,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> EmbedReport:
    """Write a vector of every image of a folder to a Parquet file, or to .npy with ids beside.

    model: a model folder, a run (its best model) or a name in the box. Columns: file, asset,
    category and vector: the `Embedder`'s unit vector (D float32), or with `vectors="latent"` the
    posterior mean of the whole image, less the mean latent of the training crops where the model
    knows it. What is finished is kept in OUT.partial/ until OUT is written, so that a run that was
    stopped goes on. With `shard` "i/n" the i-th of n parts goes to OUT.shard-i-of-n.parquet, for
    `merge_vectors`.

    Without `folder`, `model` is a library or a folder that was indexed: all vectors that it holds
    are exported, of whole images and of parts, and no image is read.
    Raises ModelFileError, LibraryError, DataError, OutputExistsError or SettingsError.
    """
    settings = settings or EmbedSettings()
    progress = progress or Silent()
    shard = parse_shard(settings.shard) if settings.shard else None
    target = _target(Path(out), settings, shard, overwrite)
    if folder is None:
        with _library(model, settings) as library:
            return export_library(library, target, progress)
    if isinstance(model, Library):
        raise SettingsError(
            f"{model!r} is no model; name one to embed {folder}, such as surface-base."
        )
    from vaeneer.library.folder_vectors import embed_folder  # imports PyTorch

    return embed_folder(model, folder, target, shard, settings, progress)


def _target(out: Path, settings: EmbedSettings, shard: Shard | None, overwrite: bool) -> Path:
    """Where this run writes, once all that can be refused at once is refused."""
    check_suffix(out)
    target = shard.file(out) if shard else out
    if target.exists() and not overwrite:
        raise OutputExistsError(f"{target} exists; name another file, or pass --overwrite.")
    return target


def _library(named: Path | str | Library, settings: EmbedSettings) -> Library:
    """The library to export, opened anew."""
    default = EmbedSettings()
    for name in _OF_A_FOLDER:
        if (value := getattr(settings, name)) != getattr(default, name):
            raise SettingsError(
                f"{name} is {value!r}, and the vectors of a library are exported as they are; leave"
                " it out, or name a model and a folder of images."
            )
    if isinstance(named, Library):
        return Library(named.folder)
    if (folder := existing_library(named)) is not None:
        return Library(folder)
    shown = shlex.quote(str(named))
    if is_in_box(named) or any((Path(named) / name).is_file() for name in _OF_A_MODEL):
        raise SettingsError(
            f"{named} is a model; name a folder of images, too: vaeneer embed {shown} IMAGES"
        )
    if Path(named).is_dir():
        raise LibraryError(
            f"{named} is no library; make one with: vaeneer index {shown}, or name a model before"
            f" it: vaeneer embed surface-base {shown}"
        )
    raise LibraryError(f"{named} does not exist; name a library, or a model and a folder.")
