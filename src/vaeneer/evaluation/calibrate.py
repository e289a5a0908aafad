"""calibrate(): a model's read-out and its probability, fitted to strict crops of a library."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from vaeneer.checksums import write_sums
from vaeneer.data.crops import CROPS, STRICT_COLUMNS, StrictRecipe, centre_square, strict_crops
from vaeneer.data.dataset import ImageFolder, open_data_set, open_folder
from vaeneer.data.decode_worker import SOURCE_SIDE_PX
from vaeneer.data.pixel_cache import Pack, PackLayout, open_pack
from vaeneer.device import Precision, choose_device, choose_precision, describe_device
from vaeneer.errors import DataError, ImageFileError, OutputExistsError
from vaeneer.evaluation.metrics import Floats, roc
from vaeneer.evaluation.plots import QUIET, TRAIN, VALID, new_chart, save_chart
from vaeneer.files import atomic_dir, new_output_dir
from vaeneer.model.bundled_models import is_bundled
from vaeneer.model.checkpoint import MODEL_FILES, find_model, load, write_readout
from vaeneer.model.embedder import latents_as_array, plain_readout_of
from vaeneer.model.projection import (
    BINS,
    Calibration,
    Readout,
    Vectors,
    fit_calibration,
    fit_readout,
    unit_length,
)
from vaeneer.model.vae import VAE
from vaeneer.progress import Progress, Silent
from vaeneer.rng import UniformRows, rng_for, sampled
from vaeneer.settings import CalibrateSettings, ReadoutSettings
from vaeneer.workers import core_count, prefetch

_HELD_OUT = 0.2  # of the assets of a folder without sides
_LEAST_ASSETS = 2
SAMPLE_OF = "calibrated images"
"""The purpose of the random numbers that choose images."""


@dataclass(frozen=True)
class CalibrationReport:
    """A read-out and a probability that were fitted, and what they bought on held-out crops."""

    model: str
    data: str
    out: str
    """The model folder that has them now."""
    train_images: int
    """Images behind the read-out."""
    held_out_images: int
    """Other images, behind the probability and the figures."""
    crops: int
    """Crops of each image."""
    latents: int
    """Numbers in a latent that the read-out takes."""
    dimensions: int
    """Numbers in a vector."""
    slope: float
    intercept: float
    cosine_at_half: float | None
    """The cosine at which same and different are as likely; None where no cosine tells."""
    calibration_error: float
    """Mean distance between a probability and how often it is right, in [0, 1]."""
    figures: dict[str, dict[str, float]]
    """auc and eer of single crops: of the latents, before (the read-out that was there), after."""
    device: str
    skipped: dict[str, str]
    pictures: list[str]
    seconds: float

    def to_dict(self) -> dict[str, Any]:
        """The report as one JSON object."""
        return asdict(self)


def calibrate(
    model: Path | str,
    data: Path | str,
    *,
    out: Path | str | None = None,
    settings: CalibrateSettings | None = None,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> CalibrationReport:
    """Fit the read-out of a model, and its probability of the same surface, to a library.

    model: a model folder, a run (its best model) or a bundled model's name. data: a data set (the
    read-out is fitted to train, the probability to valid) or a folder of images, a fifth of whose
    assets are then held out. The model is changed in place, or copied to `out` and changed there.
    Raises ModelFileError, DataError, OutputExistsError or SettingsError.
    """
    settings = settings or CalibrateSettings()
    progress = progress or Silent()
    started = time.monotonic()
    source = find_model(model)
    target = _claimed(model, data, out, overwrite)
    precision = choose_precision(settings.precision, choose_device(settings.device))
    vae = load(source, device=precision.device)
    train, valid = _packs(Path(data), settings, progress)
    sides = split_sides(train, valid, settings)
    for side, what in ((sides.train, "fit a read-out to"), (sides.held_out, "hold out")):
        if len(set(side.assets().tolist())) < _LEAST_ASSETS:
            raise DataError(
                f"{data} has {len(side.indices)} readable images of fewer than two assets to"
                f" {what}; give a larger folder, or a data set of vaeneer prepare."
            )
    readout, calibration = _fit(vae, sides, settings, precision, progress)
    assert calibration is not None  # two assets give pairs of both kinds
    picture = _write(source, target, readout, calibration, overwrite)
    return CalibrationReport(
        model=str(model),
        data=str(data),
        out=str(target or source),
        train_images=len(sides.train.indices),
        held_out_images=len(sides.held_out.indices),
        crops=CROPS * settings.draws,
        latents=len(readout.mean),
        dimensions=readout.dimensions,
        slope=calibration.slope,
        intercept=calibration.intercept,
        cosine_at_half=-calibration.intercept / calibration.slope if calibration.slope else None,
        calibration_error=calibration.error,
        figures=readout.figures,
        device=describe_device(precision.device, precision.name),
        skipped=_skipped([train] if valid is None else [train, valid]),
        pictures=[str(picture)],
        seconds=time.monotonic() - started,
    )


def fit_similarity(
    vae: VAE,
    train: Pack,
    valid: Pack | None,
    settings: CalibrateSettings,
    precision: Precision,
    progress: Progress,
) -> tuple[Readout, Calibration | None]:
    """The read-out fitted to `train`, and the probability to `valid`; the network is not changed.

    vae: in eval mode, on the device of `precision`. Without `valid` a fifth of the assets of
    `train` is held out. The probability is None where the held-out images show fewer than two
    assets. Raises ModelFileError for broken weights.
    """
    return _fit(vae, split_sides(train, valid, settings), settings, precision, progress)


class Side(NamedTuple):
    """Some images of a pack, and what each shows."""

    pack: Pack
    indices: list[int]

    def assets(self) -> NDArray[np.intp]:
        """A number for the asset of each image, (n,)."""
        names = self.pack.table["asset"].to_pylist()
        _, numbers = np.unique([names[index] for index in self.indices], return_inverse=True)
        return numbers


class CosinePairs(NamedTuple):
    """Cosines of pairs of crops: of one image, (S,), and of two assets, (D,)."""

    same: Floats
    different: Floats


def strict_latents(
    vae: VAE,
    side: Side,
    settings: CalibrateSettings,
    precision: Precision,
    progress: Progress,
    *,
    title: str,
) -> Vectors:
    """Latents of the four strict crops of each image, `draws` times: (images, draws, 4, K).

    vae: in eval mode, on the device of `precision`. Raises ModelFileError for broken weights.
    """
    recipe = StrictRecipe(side_px=vae.image_side_px, light=settings.color_jitter)
    drawn = draw_strict_crops(
        side.pack, side.indices, [recipe] * settings.draws, "strict crop", settings.seed
    )
    found: list[Vectors] = []
    with progress.bar(title, total=len(side.indices), unit="images") as bar:
        for crops in drawn:
            parts = torch.from_numpy(crops).to(precision.device).split(settings.batch_size)
            with precision.autocast():
                found += [latents_as_array(vae.texture(part)) for part in parts]
            bar.advance()
    return np.concatenate(found).reshape(len(side.indices), settings.draws, CROPS, -1)


def draw_strict_crops(
    pack: Pack, indices: Sequence[int], recipes: Sequence[StrictRecipe], purpose: str, seed: int
) -> Iterator[NDArray[np.float32]]:
    """The strict crops of each image in turn, drawn once by each recipe: (draws * 4, 3, H, W)."""
    tables = [
        UniformRows(purpose, seed, draw, columns=STRICT_COLUMNS) for draw in range(len(recipes))
    ]

    def crops_of(index: int) -> NDArray[np.float32]:
        square = centre_square(pack.image(index))
        rows = [table.rows([index])[0] for table in tables]
        cut = [strict_crops(square, row, each) for row, each in zip(rows, recipes, strict=True)]
        return np.concatenate(cut)

    return prefetch(crops_of, indices, workers=core_count())


def cosine_pairs(
    vectors: Vectors, assets: NDArray[np.intp], *, most_different: int, seed: int
) -> CosinePairs:
    """Cosines of all pairs of crops of one draw of one image, and of a sample of other pairs.

    vectors: (images, draws, 4, D). assets: (images,); crops of two images of one asset are in
    neither. Two draws of one image are not paired, since their crops may overlap.
    """
    unit = unit_length(vectors)
    first, second = np.triu_indices(vectors.shape[2], 1)
    same = np.einsum("nrpd,nrpd->nrp", unit[:, :, first], unit[:, :, second])
    flat = unit.reshape(-1, unit.shape[-1])
    owners = np.repeat(assets, len(flat) // len(assets))
    random = rng_for("different pairs", seed)
    ones, others = random.integers(0, len(flat), (2, 2 * most_different))
    apart = np.flatnonzero(owners[ones] != owners[others])[:most_different]
    pairs, drawn = np.unique(ones[apart] * len(flat) + others[apart], return_inverse=True)
    each = np.einsum("pd,pd->p", flat[pairs // len(flat)], flat[pairs % len(flat)])
    different = each[drawn]  # few images are drawn often, and compared once
    return CosinePairs(same.ravel().astype(np.float64), different.astype(np.float64))


def draw_reliability(calibration: Calibration, path: Path) -> Path:
    """What was said against what was found, in ten bins, with the share of pairs in each."""
    figure, axes = new_chart(
        f"Same surface? Held-out crops of {calibration.images:,} images",
        "probability said",
        "share that was the same surface",
    )
    said = np.array([part.predicted for part in calibration.reliability])
    found = np.array([part.observed for part in calibration.reliability])
    weight = np.array([part.weight for part in calibration.reliability])
    places = (np.floor(np.minimum(said, 1 - 1e-9) * BINS) + 0.5) / BINS
    axes.bar(places, weight, width=0.9 / BINS, color=QUIET, alpha=0.35, label="share of the pairs")
    axes.plot([0, 1], [0, 1], color=QUIET, linestyle=":", label="said = found")
    axes.plot(said, found, color=TRAIN, marker="o", label="found")
    axes.vlines(said, said, found, color=VALID, linewidth=1)
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1.02)
    axes.legend(
        loc="upper left",
        frameon=False,
        title=f"expected calibration error {calibration.error:.3f}",
        alignment="left",
    )
    return save_chart(figure, path)


class Sides(NamedTuple):
    """The images behind the read-out, and those behind the probability."""

    train: Side
    held_out: Side


def split_sides(train: Pack, valid: Pack | None, settings: CalibrateSettings) -> Sides:
    """At most `max_images` images of each side, seeded; without `valid`, split by asset."""

    def some(pack: Pack) -> Side:
        return Side(pack, sampled(len(pack), settings.max_images, SAMPLE_OF, settings.seed))

    if valid is not None:
        return Sides(some(train), some(valid))
    every = some(train)
    assets = every.assets()
    order = rng_for("held-out assets", settings.seed).permutation(assets.max() + 1)
    count = max(_LEAST_ASSETS, round(_HELD_OUT * len(order)))
    held_out = np.isin(assets, order[:count])
    indices = np.asarray(every.indices)
    return Sides(Side(train, indices[~held_out].tolist()), Side(train, indices[held_out].tolist()))


def _fit(
    vae: VAE, sides: Sides, settings: CalibrateSettings, precision: Precision, progress: Progress
) -> tuple[Readout, Calibration | None]:
    latents, held_out = (
        strict_latents(vae, side, settings, precision, progress, title=title)
        for side, title in zip(sides, ("fitting the read-out", "calibrating"), strict=True)
    )
    images, draws, crops, size = latents.shape
    steps = {field.name: getattr(settings, field.name) for field in fields(ReadoutSettings)}
    readout = fit_readout(latents.reshape(images, draws * crops, size), ReadoutSettings(**steps))
    known = {
        "latents": plain_readout_of(vae),
        "before": vae.readout or plain_readout_of(vae),
        "after": readout,
    }
    assets, most = sides.held_out.assets(), settings.different_pairs
    pairs = {
        name: cosine_pairs(
            _applied(each, held_out), assets, most_different=most, seed=settings.seed
        )
        for name, each in known.items()
    }
    data = {
        "fingerprint": sides.train.pack.fingerprint(),
        "images": images,
        "crops": draws * crops,
        "held_out_images": len(held_out),
    }
    if len(set(assets.tolist())) < _LEAST_ASSETS:
        return replace(readout, data=data), None
    curves = {name: roc(found.same, found.different) for name, found in pairs.items()}
    figures = {
        name: {"auc": curve.auc(), "eer": curve.equal_error_rate()}
        for name, curve in curves.items()
    }
    after = pairs["after"]
    calibration = fit_calibration(after.same, after.different, images=len(held_out))
    return replace(readout, data=data, figures=figures), calibration


def _applied(readout: Readout, latents: Vectors) -> Vectors:
    return readout(latents.reshape(-1, latents.shape[-1])).reshape(*latents.shape[:-1], -1)


def _packs(data: Path, settings: CalibrateSettings, progress: Progress) -> tuple[Pack, Pack | None]:
    """Both sides of a data set, or one folder and None, decoded to a short side of 568 px."""

    def packed(folder: ImageFolder) -> Pack:
        layout = PackLayout(SOURCE_SIDE_PX)
        return open_pack(folder, layout, cache=settings.cache, progress=progress)

    if (data / "train").is_dir() and (data / "valid").is_dir():
        both = open_data_set(data, all_maps=settings.all_maps, progress=progress)
        return packed(both.train), packed(both.valid)
    return packed(open_folder(data, all_maps=settings.all_maps, progress=progress)), None


def _claimed(
    model: Path | str, data: Path | str, out: Path | str | None, overwrite: bool
) -> Path | None:
    """Where the new model goes; None: in place. Refuses early what would be refused at the end."""
    if out is None:
        if is_bundled(model):
            raise OutputExistsError(
                f"{model} comes with vaeneer and is only read; name a folder for the calibrated"
                " model with --out."
            )
        return None
    target = Path(out)
    if not overwrite or not target.is_dir():
        new_output_dir(target, kind="model", inputs=[Path(model), Path(data)])
    return target


def _write(
    source: Path,
    target: Path | None,
    readout: Readout,
    calibration: Calibration,
    overwrite: bool,
) -> Path:
    """Put the model's files and the read-out in their place at once; returns the picture."""
    if target is not None:
        new_output_dir(target, kind="model", overwrite=overwrite, inputs=[source])
    place = target or source
    with atomic_dir(place, kind="model") as temporary:
        for path in source.iterdir():
            if path.is_file():
                shutil.copyfile(path, temporary / path.name)
            elif target is None:  # what else a user keeps there, such as evaluation-valid/
                shutil.copytree(path, temporary / path.name)
        write_readout(temporary, readout, calibration)
        draw_reliability(calibration, temporary / "reliability.png")
        write_sums(temporary, MODEL_FILES)
    return place / "reliability.png"


def _skipped(packs: Sequence[Pack]) -> dict[str, str]:
    errors: list[ImageFileError] = [error for pack in packs for error in pack.skipped]
    return {str(error.path): error.reason for error in errors}
