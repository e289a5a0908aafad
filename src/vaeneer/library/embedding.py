"""embed(): a folder of images as one table of vectors."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vaeneer.config import EmbedSettings, require
from vaeneer.data.folder import open_folder
from vaeneer.data.loading import chunks, load_batches
from vaeneer.data.packs import Pack, PackLayout, open_pack
from vaeneer.data.square_views import SOURCE_SIDE_PX
from vaeneer.errors import ModelFileError, OutputExistsError, SettingsError
from vaeneer.files import replacing
from vaeneer.model.checkpoint import load
from vaeneer.model.embedder import Embedder
from vaeneer.model.vae import VAE, eval_mode
from vaeneer.progress import Progress, Silent
from vaeneer.runtime import Precision, choose_device, choose_precision, describe_device


@dataclass(frozen=True)
class EmbedReport:
    """Where the vectors of a folder lie, and what they are."""

    out: str
    model: str
    folder: str
    images: int
    dimensions: int
    representation: str
    """embedding: unit vectors for search. Of latents, mean: the posterior mean of the whole image;
    centred: less the mean of the training crops."""
    device: str
    skipped: dict[str, str]
    """Files that could not be read, with the reason."""
    images_per_second: float
    """Of the network and what feeds it, once the images are decoded."""
    seconds: float

    def to_dict(self) -> dict[str, Any]:
        """The report as one JSON object."""
        return asdict(self)


def embed(
    model: Path | str,
    folder: Path | str,
    *,
    out: Path | str,
    settings: EmbedSettings | None = None,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> EmbedReport:
    """Write a vector of every image of a folder to a Parquet file, one row for each image.

    model: a model folder, a run (its best model) or a name in the box. Columns: file, asset,
    category and vector: the `Embedder`'s unit vector (D float32), or with `vectors="latent"` the
    posterior mean of the whole image, less the mean latent of the training crops where the model
    knows it. Raises ModelFileError, DataError, OutputExistsError or SettingsError.
    """
    settings = settings or EmbedSettings()
    require(settings, batch_size=1)
    if settings.vectors not in ("embedding", "latent"):
        raise SettingsError(f"vectors is {settings.vectors!r}; use embedding or latent.")
    progress = progress or Silent()
    started = time.monotonic()
    target = Path(out)
    if target.exists() and not overwrite:
        raise OutputExistsError(f"{target} exists; name another file, or pass --overwrite.")
    precision = choose_precision(settings.precision, choose_device(settings.device))
    vae = load(model, device=precision.device)
    searched = settings.vectors == "embedding"
    layout = PackLayout(SOURCE_SIDE_PX) if searched else PackLayout(vae.image_side_px, square=True)
    embedder = Embedder(
        vae,
        name=str(model),
        precision=precision,
        views=settings.views,
        batch_size=settings.batch_size,
    )
    pack = open_pack(open_folder(folder), layout, cache=settings.cache, progress=progress)
    decoded = time.monotonic()
    if searched:
        vectors, _ = embedder.embed_each(pack.image, len(pack), progress=progress)
        representation = "embedding"
    else:
        vectors, representation = _latents(vae, pack, precision, settings, progress)
    embedding_seconds = time.monotonic() - decoded
    if not np.isfinite(vectors).all():
        raise ModelFileError(f"{model} gives latents that are not finite; its weights are broken.")
    write_vectors(target, pack, vectors)
    return EmbedReport(
        out=str(target),
        model=str(model),
        folder=str(folder),
        images=len(pack),
        dimensions=vectors.shape[1],
        representation=representation,
        device=describe_device(precision.device, precision.name),
        skipped={str(error.path): error.reason for error in pack.skipped},
        images_per_second=len(pack) / max(embedding_seconds, 1e-9),
        seconds=time.monotonic() - started,
    )


def _latents(
    vae: VAE, pack: Pack, precision: Precision, settings: EmbedSettings, progress: Progress
) -> tuple[NDArray[np.float32], str]:
    """The latents of whole images, and what they are: centred where the centre is known."""
    mu = embedded(vae, pack, precision, batch_size=settings.batch_size, progress=progress)
    if vae.card.latent_mean is None:
        return mu, "mean"
    return mu - np.asarray(vae.card.latent_mean, np.float32), "centred"


def embedded(
    vae: VAE, pack: Pack, precision: Precision, *, batch_size: int, progress: Progress
) -> NDArray[np.float32]:
    """The posterior mean of every image of a pack of squares, (n, latent) float32."""
    found: list[Tensor] = []
    with (
        eval_mode(vae),
        precision.autocast(),
        progress.bar("embedding", total=len(pack), unit="images") as bar,
    ):
        for batch in load_batches(chunks(len(pack), batch_size), pack.image, workers=1):
            found.append(vae.encode(batch.to(precision.device).images).mu)
            bar.advance(len(batch.indices))
    vectors: NDArray[np.float32] = torch.cat(found).cpu().numpy()
    return vectors


def write_vectors(path: Path, pack: Pack, vectors: NDArray[np.float32]) -> None:
    """Write file, asset, category and vector of each image, whole or not at all."""
    import pyarrow
    import pyarrow.parquet

    flat = pyarrow.array(np.ascontiguousarray(vectors).ravel())
    columns = {
        "file": pack.table["name"],
        "asset": pack.table["asset"],
        "category": pack.table["category"],
        "vector": pyarrow.FixedSizeListArray.from_arrays(flat, vectors.shape[1]),
    }
    with replacing(path) as temporary:
        pyarrow.parquet.write_table(pyarrow.table(columns), temporary)
