"""Images of a folder as vectors: decoded once, embedded in chunks, written as a table."""

from __future__ import annotations

import hashlib
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vaeneer.data.dataset import ImageFolder, open_folder
from vaeneer.data.decode_worker import SOURCE_SIDE_PX
from vaeneer.data.images import read_rgb
from vaeneer.data.loader import load_batches
from vaeneer.data.pixel_cache import Pack, PackLayout, open_pack
from vaeneer.device import Precision, choose_device, choose_precision, describe_device
from vaeneer.errors import (
    DataError,
    ImageFileError,
    ModelFileError,
)
from vaeneer.library.embed.tables import (
    EmbedReport,
    Shard,
    VectorTable,
    partial_beside,
    write_vectors,
)
from vaeneer.model.checkpoint import find_model, load
from vaeneer.model.embedder import Embedder
from vaeneer.model.vae import VAE, eval_mode
from vaeneer.progress import Progress, Silent
from vaeneer.settings import EmbedSettings

if TYPE_CHECKING:
    import pyarrow


_MODEL_FILES = ("config.json", "model.safetensors", "readout.json", "readout.safetensors")


def decoded_images(
    folder: ImageFolder,
    layout: PackLayout,
    cache: Path | None,
    progress: Progress,
    *,
    none_is_fine: bool,
) -> Pack | None:
    """The pack of a folder; with `none_is_fine`, as for a shard, None where no image is readable.

    Raises DataError where none is and that is not fine, or where the pack cannot be written.
    """
    if none_is_fine and not len(folder):
        return None
    try:
        return open_pack(folder, layout, cache=cache, progress=progress)
    except DataError:
        if not none_is_fine or any(_readable(item.path) for item in folder.items):
            raise
        return None


def digest_of(folder: ImageFolder) -> str:
    """SHA-256 over names, sizes and times of the files: whether a folder is as it was."""
    digest = hashlib.sha256()
    for item in folder.items:
        size, changed = _size_and_time(item.path)
        digest.update(f"{item.name}\0{size}\0{changed}\n".encode(errors="surrogateescape"))
    return digest.hexdigest()


def why_skipped(folder: ImageFolder, pack: Pack | None) -> dict[str, str]:
    """The files that have no row, with the reason."""
    if pack is None:
        return {str(item.path): "no image of this shard is readable" for item in folder.items}
    return {str(error.path): error.reason for error in pack.skipped}


def names_of(pack: Pack | None) -> pyarrow.Table:
    """file, asset and category of each row, as text."""
    import pyarrow

    text = pyarrow.string()
    names = ("name", "asset", "category")
    columns = [pack.table[name].cast(text) if pack else pyarrow.array([], text) for name in names]
    return pyarrow.table(columns, names=["file", "asset", "category"])


def _size_and_time(file: Path) -> tuple[int, int]:
    try:
        status = file.stat()
    except OSError:
        return -1, -1
    return status.st_size, status.st_mtime_ns


def _readable(file: Path) -> bool:
    try:
        read_rgb(file, at_least_px=64)
    except ImageFileError:
        return False
    return True


@dataclass(frozen=True)
class _Job:
    """A model and what it is to do with the images of a pack."""

    vae: VAE
    embedder: Embedder
    settings: EmbedSettings
    precision: Precision

    @property
    def searched(self) -> bool:
        return self.settings.vectors == "embedding"

    @property
    def layout(self) -> PackLayout:
        return (
            PackLayout(SOURCE_SIDE_PX)
            if self.searched
            else PackLayout(self.vae.image_side_px, square=True)
        )

    @property
    def dimensions(self) -> int:
        return self.embedder.dimensions if self.searched else self.vae.latent_size

    @property
    def representation(self) -> str:
        if self.searched:
            return "embedding"
        return "mean" if self.vae.card.latent_mean is None else "centred"

    def vectors(self, pack: Pack, group: range) -> NDArray[np.float32]:
        """Of some images of the pack, one row for each."""
        if self.searched:
            found = self.embedder.embed_each(lambda n: pack.image(group.start + n), len(group))[0]
        else:
            found = _latents(
                self.vae, pack, group, self.precision, self.settings.batch_size, Silent()
            )
            if self.vae.card.latent_mean is not None:
                found = found - np.asarray(self.vae.card.latent_mean, np.float32)
        if not np.isfinite(found).all():
            raise ModelFileError(
                f"{self.embedder.name} gives latents that are not finite; its weights are broken."
            )
        return found


def embed_folder(
    model: Path | str,
    folder: Path | str,
    target: Path,
    shard: Shard | None,
    settings: EmbedSettings,
    progress: Progress,
) -> EmbedReport:
    """Write the vectors of a folder, or of one shard of it, to `target`: see `embed`."""
    started = time.monotonic()
    job = _job(model, settings)
    whole = open_folder(folder, all_maps=settings.all_maps, progress=progress)
    facts = _facts(model, whole, job, shard)
    # A shard decodes to a place of its own: shards neither wait for, nor drop, each other's.
    with partial_beside(target, progress) as kept:
        mine = shard.of(whole) if shard else whole
        cache = kept.cache(settings.cache) if shard else settings.cache
        pack = decoded_images(mine, job.layout, cache, progress, none_is_fine=shard is not None)
        decoded = time.monotonic()
        vectors, known = np.zeros((0, job.dimensions), np.float32), 0
        if pack is not None:
            kept.start({**facts, "readable": pack.fingerprint()})
            vectors, known = kept.compute(len(pack), partial(job.vectors, pack))
        embedding_seconds = time.monotonic() - decoded
        files = write_vectors(target, VectorTable(names_of(pack), vectors, facts))
        kept.remove()
    return EmbedReport(
        out=str(target),
        model=str(model),
        folder=str(folder),
        shard=settings.shard,
        images=len(vectors),
        resumed=known,
        dimensions=vectors.shape[1],
        representation=job.representation,
        device=describe_device(job.precision.device, job.precision.name),
        skipped=why_skipped(mine, pack),
        images_per_second=(len(vectors) - known) / max(embedding_seconds, 1e-9),
        seconds=time.monotonic() - started,
        files=[str(file) for file in files],
    )


def embedded(
    vae: VAE, pack: Pack, precision: Precision, *, batch_size: int, progress: Progress
) -> NDArray[np.float32]:
    """The posterior mean of every image of a pack of squares, (n, latent) float32."""
    return _latents(vae, pack, range(len(pack)), precision, batch_size, progress)


def _latents(
    vae: VAE,
    pack: Pack,
    group: range,
    precision: Precision,
    batch_size: int,
    progress: Progress,
) -> NDArray[np.float32]:
    batches = [group[start : start + batch_size] for start in range(0, len(group), batch_size)]
    found: list[Tensor] = []
    with (
        eval_mode(vae),
        precision.autocast(),
        progress.bar("embedding", total=len(group), unit="images") as bar,
    ):
        for batch in load_batches(batches, pack.image, workers=1):
            found.append(vae.encode(batch.to(precision.device).images).mu.float())
            bar.advance(len(batch.indices))
    vectors: NDArray[np.float32] = torch.cat(found).cpu().numpy()
    return vectors


def _job(model: Path | str, settings: EmbedSettings) -> _Job:
    precision = choose_precision(settings.precision, choose_device(settings.device))
    vae = load(model, device=precision.device)
    embedder = Embedder(
        vae,
        name=str(model),
        precision=precision,
        views=settings.views,
        batch_size=settings.batch_size,
    )
    return _Job(vae, embedder, settings, precision)


def _facts(
    model: Path | str, folder: ImageFolder, job: _Job, shard: Shard | None
) -> dict[str, object]:
    """What the vectors depend on, and so what a resumed run and all shards have in common."""
    digest = hashlib.sha256()
    for name in _MODEL_FILES:
        file = find_model(model) / name
        digest.update(file.read_bytes() if file.is_file() else b"-")
    return {
        "model": str(model),
        "model_sha256": digest.hexdigest(),
        "folder_sha256": digest_of(folder),
        "images": len(folder),
        "representation": job.representation,
        "views": job.settings.views if job.searched else None,
        "precision": job.precision.name,
        "shard": [shard.number, shard.count] if shard else None,
    }
