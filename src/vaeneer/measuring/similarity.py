"""Whether crops of one image lie closer together than crops of two (the seed's feature_similarity).

Every image gives `rounds` pairs of random-resized crops by the seed's recipe. The cosines of those
pairs ("same") stand against cosines of crops of two assets ("different"), for the network's latents
and, on the very same crops, for a plain RGB histogram: what such crops are told apart by without
any learning.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vaeneer.config import SimilaritySettings, require
from vaeneer.data.folder import ImageItem, open_folder
from vaeneer.errors import DataError
from vaeneer.files import claim_folder, write_json
from vaeneer.measuring.crop_vectors import TITLES, CropVectors, describe_crops, unit_vectors
from vaeneer.measuring.similarity_plots import Panel, draw_similarity
from vaeneer.measuring.statistics import (
    Floats,
    Interval,
    Ints,
    ScoredPairs,
    Separation,
    chance_recall_at_1,
    mean_interval,
    recall_at_1,
    separation,
    separation_intervals,
)
from vaeneer.model.checkpoint import load
from vaeneer.progress import Progress, Silent
from vaeneer.runtime import choose_device, choose_precision, describe_device
from vaeneer.seeds import numbers_for

NO_CENTRE = (
    "The model does not know the mean of its training latents, so the centred posterior mean is"
    " left out; a finished run knows it, and weights of another program get it with:"
    " vaeneer import-weights FILE.pth --out MODEL --data DATA"
)
COLOUR_IS_ENOUGH = (
    "The RGB histogram, which learnt nothing, separates these crops at least as well as every"
    " latent: under constant light, overlapping crops are told apart by their colour."
)
_COSINES_AT_ONCE = 4096


@dataclass(frozen=True)
class SimilarityFigures:
    """How well one representation tells crops of one image from crops of two.

    Intervals are 95 %, by bootstrap over images; None where they cannot be had.
    """

    title: str
    auc: float
    auc_ci95: Interval | None
    d_prime: float | None
    """Difference of the means over the root of the mean variance; None where it is infinite."""
    d_prime_ci95: Interval | None
    eer: float
    eer_ci95: Interval | None
    recall_at_1: float
    """Share of crops whose nearest crop in the gallery, one of each image, is of their image."""
    recall_at_1_ci95: Interval | None
    same_mean: float
    same_min: float
    same_max: float
    different_mean: float
    different_min: float
    different_max: float
    chance_auc: float
    chance_recall_at_1: float
    images: int
    same_pairs: int
    different_pairs: int


@dataclass(frozen=True)
class SimilarityReport:
    """The figures of every representation on the same crops of one folder."""

    model: str
    folder: str
    images: int
    assets: int
    rounds: int
    seed: int
    same_pairs: int
    different_pairs: int
    chance_recall_at_1: float
    representations: dict[str, SimilarityFigures]
    """By name: sampled, mean, centred (where the model knows its centre), rgb_histogram."""
    notes: list[str]
    device: str
    """What computed, and in which precision."""
    skipped: dict[str, str]
    """Files that could not be read, with the reason."""
    pictures: list[str]
    seconds: float

    def to_dict(self) -> dict[str, Any]:
        """The report as one JSON object; every number in it is finite."""
        return asdict(self)


@dataclass(frozen=True)
class CropPairs:
    """Which crops are compared as different: places of images and of their crops, (P, 2) each."""

    images: Ints
    crops: Ints


def similarity(
    model: Path | str,
    folder: Path | str,
    *,
    out: Path | str | None = None,
    settings: SimilaritySettings | None = None,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> SimilarityReport:
    """Compare crops of one image with crops of two, under a model and under a plain histogram.

    model: a model folder, or a run (its best model). With `out`, similarity.json and the pictures
    go there. The figures depend on the seed, the model and the files alone, not on `batch_size`.
    Raises ModelFileError, DataError (fewer than two assets), OutputExistsError or SettingsError.
    """
    settings = settings or SimilaritySettings()
    _check(settings)
    progress = progress or Silent()
    started = time.monotonic()
    precision = choose_precision(settings.precision, choose_device(settings.device))
    vae = load(model, device=precision.device)
    items = open_folder(folder).items
    _check_assets(items, folder, len(items))
    target = None if out is None else Path(out)
    if target is not None:
        claim_folder(target, overwrite=overwrite, inputs=[Path(model), Path(folder)])
    found = describe_crops(vae, items, settings, precision, progress)
    _check_assets(found.items, folder, len(items))
    panels, figures = _compare(found, settings, progress)
    pictures = draw_similarity(panels, len(found.items), target) if target else []
    report = SimilarityReport(
        model=str(model),
        folder=str(folder),
        images=len(found.items),
        assets=len({item.asset for item in found.items}),
        rounds=settings.rounds,
        seed=settings.seed,
        same_pairs=panels[0].pairs.same.size,
        different_pairs=panels[0].pairs.different.size,
        chance_recall_at_1=figures["rgb_histogram"].chance_recall_at_1,
        representations=figures,
        notes=_notes(figures),
        device=describe_device(precision.device, precision.name),
        skipped={str(error.path): error.reason for error in found.skipped},
        pictures=[str(picture) for picture in pictures],
        seconds=time.monotonic() - started,
    )
    if target:
        write_json(target / "similarity.json", report.to_dict())
    return report


def different_pairs(
    assets: Ints, crops: int, *, limit: int, random: np.random.Generator
) -> CropPairs:
    """Distinct pairs of crops of two assets: all of them, or `limit` drawn without replacement.

    assets: (n,) numbers of the images' assets; each image has `crops` crops. The pairs are counted
    without being listed: with the crops in order of asset, the partners of each are all those
    behind its own asset.
    """
    order = np.argsort(assets, kind="stable")
    behind = np.searchsorted(assets[order], assets[order], side="right") * crops
    behind = np.repeat(behind, crops)  # for each crop, the first one of the next asset
    partners = behind.size - behind
    upto = np.cumsum(partners)
    chosen = random.choice(upto[-1], min(limit, int(upto[-1])), replace=False, shuffle=False)
    first = np.searchsorted(upto, chosen, side="right")
    second = behind[first] + chosen - (upto[first] - partners[first])
    places = np.stack([first, second], axis=1)
    return CropPairs(order[places // crops], places % crops)


def _check(settings: SimilaritySettings) -> None:
    require(settings, rounds=1, max_images=2, different_pairs=1, bootstrap=0, batch_size=1, seed=0)


def _check_assets(items: Sequence[ImageItem], folder: Path | str, files: int) -> None:
    assets = len({item.asset for item in items})
    if assets < 2:
        raise DataError(
            f"{folder} gives {len(items)} readable images (of {files} files) of {assets} assets;"
            " similarity compares at least two assets: name a folder with more of them."
        )


def _compare(
    found: CropVectors, settings: SimilaritySettings, progress: Progress
) -> tuple[list[Panel], dict[str, SimilarityFigures]]:
    assets = np.unique([item.asset for item in found.items], return_inverse=True)[1]
    random = numbers_for("different pairs", settings.seed)
    others = different_pairs(
        assets, 2 * settings.rounds, limit=settings.different_pairs, random=random
    )
    panels: list[Panel] = []
    figures: dict[str, SimilarityFigures] = {}
    with progress.bar("intervals", total=len(found.vectors), unit="representations") as bar:
        for name, vectors in found.vectors.items():
            unit = unit_vectors(vectors)
            pairs = _scored(unit, others)
            whole = separation(pairs)
            panels.append(Panel(name, TITLES[name], pairs, whole))
            figures[name] = _figures(TITLES[name], unit, assets, pairs, whole, settings)
            bar.advance(note=TITLES[name])
    return panels, figures


def _scored(unit: Floats, others: CropPairs) -> ScoredPairs:
    """The cosines of the first and the second crop of each round, and of different crops."""
    same = np.einsum("nrd,nrd->nr", unit[:, 0::2], unit[:, 1::2])
    (a, b), (j, k) = others.images.T, others.crops.T
    blocks = [
        np.einsum("pd,pd->p", unit[a[part], j[part]], unit[b[part], k[part]])
        for part in (
            slice(start, start + _COSINES_AT_ONCE) for start in range(0, len(a), _COSINES_AT_ONCE)
        )
    ]
    images = np.repeat(np.arange(len(unit)), same.shape[1])
    return ScoredPairs(same.ravel(), images, np.concatenate(blocks), others.images)


def _figures(
    title: str,
    unit: Floats,
    assets: Ints,
    pairs: ScoredPairs,
    whole: Separation,
    settings: SimilaritySettings,
) -> SimilarityFigures:
    images, resamples, seed = len(unit), settings.bootstrap, settings.seed
    intervals = separation_intervals(pairs, images=images, resamples=resamples, seed=seed)
    recalls = np.mean(
        [
            recall_at_1(unit[:, first], unit[:, first + 1], assets)
            for first in range(0, unit.shape[1], 2)
        ],
        axis=0,
    )
    return SimilarityFigures(
        title=title,
        auc=whole.auc,
        auc_ci95=intervals.auc,
        d_prime=whole.d_prime if math.isfinite(whole.d_prime) else None,
        d_prime_ci95=intervals.d_prime,
        eer=whole.eer,
        eer_ci95=intervals.eer,
        recall_at_1=float(recalls.mean()),
        recall_at_1_ci95=mean_interval(recalls, resamples=resamples, seed=seed),
        same_mean=float(pairs.same.mean()),
        same_min=float(pairs.same.min()),
        same_max=float(pairs.same.max()),
        different_mean=float(pairs.different.mean()),
        different_min=float(pairs.different.min()),
        different_max=float(pairs.different.max()),
        chance_auc=0.5,
        chance_recall_at_1=float(chance_recall_at_1(assets).mean()),
        images=images,
        same_pairs=pairs.same.size,
        different_pairs=pairs.different.size,
    )


def _notes(figures: dict[str, SimilarityFigures]) -> list[str]:
    baseline = figures["rgb_histogram"].auc
    latents = [row.auc for name, row in figures.items() if name != "rgb_histogram"]
    notes = [] if "centred" in figures else [NO_CENTRE]
    return notes + ([COLOUR_IS_ENOUGH] if baseline >= max(latents) else [])
