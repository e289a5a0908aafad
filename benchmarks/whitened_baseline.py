"""Fit the whitened baseline (LBP + grey-world histogram) and measure it on images it never saw.

    python benchmarks/whitened_baseline.py SURFACES SURFACES_CSV            # what the package ships
    python benchmarks/whitened_baseline.py SURFACES SURFACES_CSV --split SPLIT_CSV --out FILE
    python benchmarks/whitened_baseline.py SURFACES SURFACES_CSV --split SPLIT_CSV --check

SURFACES_CSV has the columns file, source_repo and licence; images that are CC0 or in the public
domain are taken. With --split (columns file, split) only those of its training side, so that the
validation images can be measured: vaeneer similarity MODEL DATA/valid --whitened FILE. With
--check all images take part whatever their licence: fitted on the training side and measured on
the validation side, and cross-validated over source_repo; writes results/whitened-baseline.json.
About five minutes on two cores.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import cyclopts
import numpy as np
import torch
from machine import keep
from numpy.typing import NDArray
from safetensors.torch import save_file

from vaeneer.cli.options import ConsoleProgress
from vaeneer.data.crops import (
    CROPS,
    STRICT_COLUMNS,
    StrictRecipe,
    centre_square,
    strict_crops,
)
from vaeneer.data.dataset import ImageItem, open_folder
from vaeneer.data.decode_worker import SOURCE_SIDE_PX
from vaeneer.data.pixel_cache import Pack, PackLayout, open_pack
from vaeneer.evaluation.baselines import (
    SHIPPED,
    Whitening,
    whitened_features,
)
from vaeneer.evaluation.pairs import sample_pairs, score
from vaeneer.evaluation.representations import strict_comparison
from vaeneer.files import atomic_write, write_json
from vaeneer.rng import UniformRows

FREE = ("CC0", "Public domain")
FIRST_DRAW = 1  # draw 0 is what similarity measures
FOLDS = 5
KEPT = 64
SHRINKAGE = 0.1
PHOTOMETRIC = StrictRecipe()
FIGURES = ("auc", "eer", "tpr_at_fpr_1e-2", "recall_at_1", "arr", "map")


def main(
    surfaces: Path,
    surfaces_csv: Path,
    *,
    split: Path | None = None,
    out: Path = SHIPPED,
    draws: int = 8,
    cache: Path | None = None,
    check: bool = False,
) -> None:
    """Fit on strict photometric crops, `draws` times four of each image, and write the matrix."""
    progress = ConsoleProgress()
    facts = {row["file"]: row for row in rows_of(surfaces_csv)}
    sides = {row["file"]: row["split"] for row in rows_of(split)} if split else {}
    layout = PackLayout(SOURCE_SIDE_PX)
    pack = open_pack(open_folder(surfaces), layout, cache=cache, progress=progress)
    names = [pack.name(index) for index in range(len(pack))]
    if check:
        measure(pack, names, facts, sides, draws, progress)
        return
    chosen = [
        index
        for index, name in enumerate(names)
        if any(word in facts[name]["licence"] for word in FREE)
        and (not sides or sides.get(name) == "train")
    ]
    save_whitening(fit_whitening(features(pack, chosen, draws, progress)), out)
    files = [names[index] for index in chosen]
    write_json(out.with_suffix(".json"), provenance(files, facts, draws, split))
    progress.say(f"wrote {out}: fitted on {len(chosen)} images")


def fit_whitening(features: NDArray[np.floating]) -> Whitening:
    """Fit to features of crops of images, (images, crops, FEATURES), two or more of each.

    Sw, the mean covariance inside an image, is shrunk by a tenth of its mean diagonal; Sw^(-1/2)
    whitens; the leading directions of the image means are kept (Hariharan et al. 2012).
    """
    means = features.mean(1, dtype=np.float64)  # (images, F)
    apart = (features - means[:, None]).reshape(-1, features.shape[-1])
    within = apart.T @ apart / (features.shape[0] * (features.shape[1] - 1))
    within += SHRINKAGE * np.trace(within) / len(within) * np.eye(len(within))
    values, vectors = np.linalg.eigh(within)
    whitening = vectors / np.sqrt(values) @ vectors.T
    centre = means.mean(0)
    directions = np.linalg.svd((means - centre) @ whitening, full_matrices=False)[2]
    projection = whitening @ directions[: min(KEPT, len(means) - 1)].T
    return Whitening(*(torch.from_numpy(part.astype(np.float32)) for part in (centre, projection)))


def save_whitening(whitening: Whitening, file: Path) -> Path:
    """Write mean and projection as float16 safetensors, whole or not at all; returns `file`."""
    values = {"mean": whitening.mean, "projection": whitening.projection}
    with atomic_write(file) as temporary:
        save_file({name: value.half().contiguous() for name, value in values.items()}, temporary)
    return file


def provenance(
    files: Sequence[str], facts: dict[str, dict[str, str]], draws: int, split: Path | None
) -> dict[str, Any]:
    """What stands beside the matrix: of which images it was made, and how."""
    return {
        "what": "LBP + grey-world histogram, within-asset whitening: mean and projection, float16",
        "made_by": "benchmarks/whitened_baseline.py SURFACES SURFACES_CSV"
        + (" --split SPLIT_CSV" if split else ""),
        "images": len(files),
        "crops_of_each": draws * CROPS,
        "recipe": asdict(PHOTOMETRIC),
        "sources": counted(facts[file]["source_repo"] for file in files),
        "licences": counted(facts[file]["licence"] for file in files),
        "files": list(files),
    }


def rows_of(file: Path) -> list[dict[str, str]]:
    """The rows of a CSV file."""
    with file.open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def counted(values: Iterable[str]) -> dict[str, int]:
    """How often each value comes, most first."""
    every = list(values)
    return {
        value: every.count(value) for value in sorted(set(every), key=lambda v: -every.count(v))
    }


def features(
    pack: Pack,
    chosen: Sequence[int],
    draws: int,
    progress: ConsoleProgress,
    *,
    first: int = FIRST_DRAW,
    recipe: StrictRecipe = PHOTOMETRIC,
) -> NDArray[np.float32]:
    """What the whitening takes, of each crop: (images, draws * 4, FEATURES) float32."""
    tables = [
        UniformRows("strict crop", 0, draw, columns=STRICT_COLUMNS)
        for draw in range(first, first + draws)
    ]
    found = []
    with progress.bar("features", total=len(chosen), unit="images") as bar:
        for index in chosen:
            square = centre_square(pack.image(index))
            crops = [strict_crops(square, table.rows([index])[0], recipe) for table in tables]
            found.append(whitened_features(torch.from_numpy(np.concatenate(crops))).numpy())
            bar.advance()
    return np.stack(found)


def measure(
    pack: Pack,
    names: Sequence[str],
    facts: dict[str, Any],
    sides: dict[str, str],
    draws: int,
    progress: ConsoleProgress,
) -> None:
    """Figures on images that the matrix never saw: the validation side, and source by source."""
    every = range(len(names))
    fitted = features(pack, every, draws, progress)
    asked = {
        variant: features(pack, every, 1, progress, first=0, recipe=StrictRecipe(light=light))
        for variant, light in (("photometric", True), ("plain", False))
    }
    valid = np.array([sides.get(name) == "valid" for name in names])
    repos = np.array([facts[name]["source_repo"] for name in names])
    results: dict[str, Any] = {"images": len(names), "draws": draws}
    results["valid"] = held_out(pack.items(), fitted, asked, valid)
    folds = fold_of(repos)
    results["by_source"] = [
        held_out(pack.items(), fitted, asked, folds == fold) for fold in range(FOLDS)
    ]
    progress.say(f"wrote {keep('whitened-baseline', results)}")


def fold_of(repos: NDArray[np.str_]) -> NDArray[np.intp]:
    """A fold for each image, whole sources together, the folds about equally large."""
    names, which, sizes = np.unique(repos, return_inverse=True, return_counts=True)
    totals, fold = np.zeros(FOLDS), np.zeros(len(names), np.intp)
    for source in np.argsort(-sizes):
        fold[source] = totals.argmin()
        totals[fold[source]] += sizes[source]
    return fold[which]


def held_out(
    every: Sequence[ImageItem],
    fitted: NDArray[np.float32],
    asked: dict[str, NDArray[np.float32]],
    out: NDArray[np.bool_],
) -> dict[str, Any]:
    """Fit without the images `out`, measure on them: figures of each variant."""
    whitening = fit_whitening(fitted[~out])
    places = np.flatnonzero(out)
    items = [every[place] for place in places]
    question = sample_pairs(items, strict_comparison("plain"), limit=500_000, resamples=0, seed=0)
    found: dict[str, Any] = {"fitted_on": int((~out).sum()), "images": int(out.sum())}
    for variant, crops in asked.items():
        seen = whitening(torch.from_numpy(crops[out]).flatten(0, 1)).numpy()
        figures = score(variant, seen.reshape(len(places), CROPS, -1), question).figures.to_dict()
        found[variant] = {name: figures[name] for name in FIGURES}
    return found


if __name__ == "__main__":
    cyclopts.run(main)
