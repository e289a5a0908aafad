"""Embedder: pixels in, unit vectors out; network, preprocessing and read-out in one object."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from vaeneer.data.cache_index import PackLayout
from vaeneer.data.crops import Pixels
from vaeneer.data.decode_worker import SOURCE_SIDE_PX, reduced_pixels
from vaeneer.data.images import picture_of
from vaeneer.data.loader import to_unit
from vaeneer.data.tiles import (
    Box,
    Part,
    Views,
    cut,
    resized,
    square_boxes,
    views_ahead,
)
from vaeneer.device import Precision, choose_device, choose_precision, compute_on_one_core
from vaeneer.errors import DataError, ImageFileError, ImageSizeError, ModelFileError
from vaeneer.model.checkpoint import load
from vaeneer.model.projection import Readout, Vectors, plain_readout, unit_length
from vaeneer.model.vae import VAE
from vaeneer.progress import Progress, Silent
from vaeneer.settings import Count, check
from vaeneer.workers import core_count, prefetch

LEAST_SIDE_PX = 64
_PIECE = 4  # crops that one core embeds at once, at least
_OVER = 1e-3  # what resizing and bfloat16 may add to [0, 1]
OneImage = Path | str | Image.Image | NDArray[Any] | Tensor
"""A file, or an image in memory (data/images.py)."""
Images = OneImage | Sequence[OneImage]
Cosines = TypeVar("Cosines", float, NDArray[np.float64], NDArray[np.float32])


class Embedder:
    """Turns images into the vectors that search compares by their cosine.

    It never changes after it is made, so that threads may share one.
    """

    def __init__(
        self,
        model: VAE | Path | str,
        *,
        name: str | None = None,
        device: str = "auto",
        precision: Precision | str = "auto",
        views: Views = "all",
        batch_size: int = 16,
    ) -> None:
        """The embedder of a bundled model by its name, of a model folder, a run or a network.

        model: a network keeps its device. A model without a projection gives its latents, centred
        where the centre is known. name: what errors call it. views: see `embed_files`. Raises
        ModelFileError or SettingsError.
        """
        check("batch_size", batch_size, Count)
        square_boxes(1, 1, views)  # refuses an unknown word
        if isinstance(precision, str):
            place = model.device if isinstance(model, VAE) else None
            precision = choose_precision(precision, place or choose_device(device))
        self.precision = precision
        self.name = name or ("the model" if isinstance(model, VAE) else str(model))
        vae = model if isinstance(model, VAE) else load(model, device=precision.device)
        self.vae = vae.eval()
        self.device = vae.device
        self.views: Views = views
        self.batch_size = batch_size
        self.readout = vae.readout or plain_readout_of(vae)

    @property
    def dimensions(self) -> int:
        """How many numbers a vector has."""
        return self.readout.dimensions

    @property
    def calibrated(self) -> bool:
        """Whether `probability` has an answer."""
        return self.vae.calibration is not None

    def __repr__(self) -> str:
        return f"Embedder({self.name!r}, {self.dimensions} numbers, on {self.device})"

    def embed(self, images: Images) -> Vectors:
        """Vectors of length 1, (B, D) float32, of images (B, 3, H, W), H and W from 64 up.

        images: a tensor or an array, float in [0, 1] or uint8; or a list of files, Pillow images,
        arrays (H, W, 3) and tensors (3, H, W); or one file or Pillow image. Batches are resized
        to what the network takes; of images that are not square, the vectors of the squares along
        them are averaged; those of a list are treated as `embed_files` treats files. Raises
        ImageSizeError for another shape, DataError for other numbers, ImageFileError.
        """
        if not isinstance(images, Tensor | np.ndarray):
            given = [images] if isinstance(images, Path | str | Image.Image) else list(images)
            return self.embed_each(lambda number: _pixels(given[number], number), len(given))[0]
        batch = _checked(images)
        boxes = square_boxes(batch.shape[2], batch.shape[3], "squares")
        answers = [np.zeros((0, self.dimensions), np.float32)]
        pieces, cores = self._pieces(batch)
        if cores == 1:
            answers += [self._vectors(piece, boxes) for piece in pieces]
        else:
            answers += prefetch(
                lambda number: self._vectors(pieces[number], boxes),
                range(len(pieces)),
                workers=cores,
                initializer=compute_on_one_core,
            )
        return np.concatenate(answers)

    def _pieces(self, batch: Tensor) -> tuple[Sequence[Tensor], int]:
        """Images in batches, and by how many threads at once, each on one core.

        On a CPU several threads with small pieces are quicker than all cores on one batch: none
        waits for the slowest at each layer, so that other work on the machine costs less
        (benchmarks/busy_machine.py). Worth it from two pieces for each core on.
        """
        cores = torch.get_num_threads() if self.device.type == "cpu" else 1
        size = max(self.batch_size // (2 * cores), min(self.batch_size, _PIECE))
        if cores > 1 and len(batch) > (2 * cores - 1) * size:
            return torch.split(batch, size), cores
        return torch.split(batch, self.batch_size) if len(batch) else (), 1

    def embed_files(
        self,
        paths: Sequence[Path | str],
        *,
        skipped: list[ImageFileError] | None = None,
        progress: Progress | None = None,
    ) -> Vectors:
        """Vectors of length 1, (n, D) float32, of image files, each the average over its views.

        The views are squares that cover the image (`views`, see `square_boxes`), so a 4:1 plank
        counts as a whole. A file that cannot be read raises ImageFileError; where a list `skipped`
        is given, the error goes there instead and the file has no row.
        """
        return self.embed_each(
            lambda number: _pixels(paths[number], number),
            len(paths),
            skipped=skipped,
            progress=progress,
        )[0]

    def embed_each(
        self,
        read: Callable[[int], Pixels],
        count: int,
        *,
        workers: int = 0,
        skipped: list[ImageFileError] | None = None,
        progress: Progress | None = None,
    ) -> tuple[Vectors, list[int]]:
        """As `embed_files`, of the images (H, W, 3) uint8 that `read` gives for 0 .. count - 1.

        read: called by `workers` threads (0: one for each core). Returns the vectors, and the
        numbers of the images that have one.
        """
        answers, kept = [np.zeros((0, self.dimensions), np.float32)], []
        ahead = views_ahead(
            read,
            count,
            self.vae.image_side_px,
            self.views,
            workers=core_count(workers),
            skipped=skipped,
        )
        square = [Box(0, 0, self.vae.image_side_px)]
        with (progress or Silent()).bar("embedding", total=count, unit="images") as bar:
            for number, views in ahead:
                seen = [self._vectors(v, square) for v in torch.split(views, self.batch_size)]
                answers.append(self._average(np.concatenate(seen)[:, None]))
                kept.append(number)
                bar.advance()
        return np.concatenate(answers), kept

    def probability(self, cosine: Cosines) -> Cosines:
        """How likely two images show one surface, in [0, 1], for the cosine of their vectors.

        Fitted where same and different pairs were as many as each other (docs/measuring.md).
        Raises ModelFileError where the model is not calibrated.
        """
        if self.vae.calibration is None:
            raise ModelFileError(
                f"{self.name} is not calibrated, so that a cosine has no probability;"
                f" run: vaeneer calibrate {self.name} DATA"
            )
        return self.vae.calibration.probability(cosine)

    def _vectors(self, images: Tensor, boxes: Sequence[Box]) -> Vectors:
        """The mean vector of each image, (B, D), over squares of images (B, 3, H, W)."""
        sent, side_px = images.to(self.device), self.vae.image_side_px
        pixels = to_unit(sent) if sent.dtype == torch.uint8 else sent.float()
        with self.precision.autocast():
            latents = [self.vae.texture(resized(cut(pixels, box), side_px)) for box in boxes]
        seen = [self.readout(latents_as_array(one, self.name)) for one in latents]
        return seen[0] if len(seen) == 1 else self._average(np.stack(seen))

    def _average(self, seen: Vectors) -> Vectors:
        """The mean over views (views, B, D), of length 1 where the read-out gives that."""
        mean: Vectors = seen.mean(0)
        return unit_length(mean) if self.readout.settings.norm else mean


def latents_as_array(latents: Tensor, name: str = "The model") -> Vectors:
    """What `VAE.texture` gives, (B, K), as float32 on the CPU for the read-out.

    Raises ModelFileError when a latent is not finite.
    """
    array: Vectors = latents.float().cpu().numpy()
    if not np.isfinite(array).all():
        raise ModelFileError(f"{name} gives latents that are not finite; its weights are broken.")
    return array


def whole_vector(vectors: Vectors, parts: Sequence[Part]) -> Vectors:
    """The vector of a whole image, (D,): the mean of its squares and halves, of length 1."""
    seen = [row for row, part in enumerate(parts) if part.scale <= 2]
    mean: Vectors = unit_length(vectors[seen].mean(0, keepdims=True))[0]
    return mean


def plain_readout_of(vae: VAE) -> Readout:
    """What stands in for the read-out that a model lacks."""
    mean = vae.card.latent_mean
    size = vae.texture_size or vae.latent_size
    return plain_readout(size, None if mean is None else np.asarray(mean[-size:]))


def _pixels(image: OneImage, number: int) -> Pixels:
    """A file or an image in memory, reduced, (H, W, 3) uint8. Raises ImageFileError, DataError."""
    layout = PackLayout(SOURCE_SIDE_PX)
    if isinstance(image, Path | str):
        return reduced_pixels(Path(image), layout)
    picture = picture_of(image)
    if min(picture.size) < LEAST_SIDE_PX:
        raise ImageSizeError(
            f"image {number} is {picture.width} x {picture.height} px;"
            f" give {LEAST_SIDE_PX} px or more on each side."
        )
    size = layout.stored_size(*picture.size)
    return np.asarray(picture.resize(size, Image.Resampling.HAMMING))


def _checked(images: Tensor | NDArray[Any]) -> Tensor:
    """Any images that `embed` takes, as a tensor."""
    batch = images if isinstance(images, Tensor) else torch.from_numpy(np.array(images))
    shape = tuple(batch.shape)
    if len(shape) != 4 or shape[1] != 3:
        remedy = "a single image as images[None]" if len(shape) == 3 else "channels after the batch"
        if len(shape) == 4 and shape[3] == 3:
            remedy = "images.permute(0, 3, 1, 2) or images.transpose(0, 3, 1, 2)"
        raise ImageSizeError(f"images have shape {shape}, not (B, 3, H, W); give {remedy}.")
    if min(shape[2:]) < LEAST_SIDE_PX:
        raise ImageSizeError(
            f"images are {shape[2]} x {shape[3]} px; give {LEAST_SIDE_PX} px or more on each side."
        )
    if batch.dtype == torch.uint8 or not len(batch):
        return batch
    if not batch.is_floating_point():
        raise DataError(f"images are {batch.dtype}; give uint8, or float in [0, 1].")
    low, high = (float(bound) for bound in torch.aminmax(batch))
    if not (low >= -_OVER and high <= 1 + _OVER):
        raise DataError(
            f"float images lie in [0, 1], and these go from {low:g} to {high:g};"
            " divide by 255, or give uint8."
        )
    return batch
