"""Pairs of crops that are compared, and the metrics of a representation on them."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vaeneer.data.dataset import ImageItem
from vaeneer.evaluation.metrics import (
    FIGURES,
    Floats,
    Interval,
    Ints,
    Round,
    ScoredPairs,
    Separation,
    gallery_sizes,
    mean_intervals,
    random_baseline,
    retrieve,
    separation,
    separation_intervals,
)
from vaeneer.model.projection import unit_length
from vaeneer.rng import rng_for

_COSINES_AT_ONCE = 4096
_LARGEST_TABLE = 4096  # crops whose cosines are all computed at once
_EXACT_DIGITS = 12
_JSON_NAMES = {"tpr_at_fpr_1e_2": "tpr_at_fpr_1e-2", "tpr_at_fpr_1e_3": "tpr_at_fpr_1e-3"}
_WITH_OLD_INTERVALS = ("auc", "d_prime", "eer", "recall_at_1")


@dataclass(frozen=True)
class Comparison:
    """Which crops of an image are queries, and which are their gallery."""

    crops: int
    """Crops of each image."""
    rounds: tuple[Round, ...]
    """Crops of one image are a same pair where one asks and the other may answer."""
    mixed: bool = True
    """Whether different pairs are of any two crops, or of one that asks and one that answers."""


@dataclass(frozen=True)
class CropPairs:
    """Places of images and of their crops, (P, 2) each."""

    images: Ints
    crops: Ints

    def __len__(self) -> int:
        return len(self.images)


def same_pairs(images: int, comparison: Comparison) -> CropPairs:
    """Every same pair, image by image."""
    found = {
        tuple(sorted(pair)): None
        for round_ in comparison.rounds
        for pair in itertools.product(round_.queries, round_.gallery)
        if pair[0] != pair[1]
    }
    crops = np.array(list(found), np.intp)
    places = np.repeat(np.arange(images), len(crops))
    return CropPairs(np.stack([places, places], 1), np.tile(crops, (images, 1)))


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


def different_pairs_inside(
    assets: Ints, groups: Ints, crops: int, *, limit: int, random: np.random.Generator
) -> CropPairs:
    """`different_pairs` of images of one group alone; each group gives its share of the limit.

    groups: (n,) numbers; each group holds two assets or more.
    """
    members = [np.flatnonzero(groups == group) for group in np.unique(groups)]
    counts = [_count_apart(assets[which]) for which in members]
    upto = np.cumsum(counts) * crops**2
    shares = np.diff(np.minimum(upto, upto * limit // upto[-1]), prepend=0).tolist()
    parts = []
    for which, some in zip(members, shares, strict=True):
        pairs = different_pairs(assets[which], crops, limit=some, random=random)
        parts.append(CropPairs(which[pairs.images], pairs.crops))
    return CropPairs(
        np.concatenate([part.images for part in parts]),
        np.concatenate([part.crops for part in parts]),
    )


def query_gallery_pairs(pairs: CropPairs, comparison: Comparison) -> CropPairs:
    """Those of the pairs in which one crop asks and the other may answer."""
    allowed = np.zeros((comparison.crops, comparison.crops), np.bool_)
    for round_ in comparison.rounds:
        allowed[np.ix_(round_.queries, round_.gallery)] = True
    kept = (allowed | allowed.T)[pairs.crops[:, 0], pairs.crops[:, 1]]
    return CropPairs(pairs.images[kept], pairs.crops[kept])


def score_pairs(unit: Floats, same: CropPairs, different: CropPairs) -> ScoredPairs:
    """The cosines of the pairs; unit: (images, crops, D) unit vectors, or zeros."""
    return ScoredPairs(
        _cosines(unit, same), same.images[:, 0], _cosines(unit, different), different.images
    )


def category_numbers(items: Sequence[ImageItem]) -> Ints:
    """A number for each image's category, (n,); -1 where it is unknown or has only one asset."""
    assets: dict[str, set[str]] = {}
    for item in items:
        if item.category:
            assets.setdefault(item.category, set()).add(item.asset)
    names = sorted(name for name, inside in assets.items() if len(inside) > 1)
    numbers = {name: number for number, name in enumerate(names)}
    return np.array([numbers.get(item.category or "", -1) for item in items], np.intp)


def _cosines(unit: Floats, pairs: CropPairs) -> Floats:
    images, crops, size = unit.shape
    flat = unit.reshape(images * crops, size)
    first, second = (pairs.images * crops + pairs.crops).T
    if len(flat) <= _LARGEST_TABLE:
        table: Floats = flat @ flat.T
        scores: Floats = table[first, second].round(_EXACT_DIGITS)
        return scores
    parts = [
        np.einsum("pd,pd->p", flat[first[start:end]], flat[second[start:end]])
        for start in range(0, len(pairs), _COSINES_AT_ONCE)
        for end in (start + _COSINES_AT_ONCE,)
    ]
    return np.round(np.concatenate(parts), _EXACT_DIGITS)


def _count_apart(assets: Ints) -> int:
    """How many pairs of images show two assets."""
    sizes = np.unique(assets, return_counts=True)[1]
    return int((assets.size**2 - np.square(sizes).sum()) // 2)


@dataclass(frozen=True)
class SimilarityFigures:
    """How well one representation tells crops of one image from crops of two.

    Intervals are 95 %, by bootstrap over images; None where they cannot be had.
    """

    title: str
    auc: float
    d_prime: float | None
    """Difference of the means over the root of the mean variance; None where it is infinite."""
    eer: float
    tpr_at_fpr_1e_2: float
    """Share of same pairs above a threshold that one different pair in 100 passes."""
    tpr_at_fpr_1e_3: float
    recall_at_1: float
    """Share of crops that ask whose nearest crop in the gallery is of their image."""
    recall_at_5: float
    recall_at_10: float
    arr: float
    """R-precision: of R right crops in the gallery, the share that is among the R nearest."""
    map: float
    """Mean average precision."""
    intervals: dict[str, Interval | None]
    """By figure, under its name in JSON."""
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

    def to_dict(self) -> dict[str, Any]:
        """The figures as one JSON object; every number in it is finite."""
        values = {_JSON_NAMES.get(name, name): value for name, value in asdict(self).items()}
        return values | {f"{name}_ci95": self.intervals[name] for name in _WITH_OLD_INTERVALS}


@dataclass(frozen=True)
class SimilarityVariant:
    """All representations on one set of crops: a protocol, with or without light and scale gap."""

    protocol: str
    images: int
    assets: int
    crops: int
    """Crops of all images together."""
    same_pairs: int
    different_pairs: int
    gallery_size: float
    """Mean gallery size per query."""
    categories: int | None
    """Where only crops of one category are compared: how many categories take part."""
    chance: dict[str, float]
    """What random vectors reach: auc, eer, and the figures of retrieval."""
    representations: dict[str, SimilarityFigures]
    verdict: str
    """Whether the embedding beats every baseline, in one line; empty without baselines."""
    inside_category: SimilarityVariant | None
    """The same where only crops of one category are compared; None where none are known."""

    def to_dict(self) -> dict[str, Any]:
        """The variant as one JSON object."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        values["representations"] = {k: v.to_dict() for k, v in self.representations.items()}
        inside = self.inside_category
        return values | {"inside_category": inside.to_dict() if inside else None}


@dataclass(frozen=True, eq=False)
class PairSample:
    """Which crops of which images are compared, and with how many resamples."""

    comparison: Comparison
    assets: Ints
    groups: Ints | None
    same: CropPairs
    different: CropPairs
    resamples: int
    seed: int


@dataclass(frozen=True)
class Scores:
    """One representation: its figures, and the pairs that they were computed from."""

    figures: SimilarityFigures
    pairs: ScoredPairs
    separation: Separation


def sample_pairs(
    items: Sequence[ImageItem],
    comparison: Comparison,
    *,
    limit: int,
    resamples: int,
    seed: int,
    inside: bool = False,
) -> PairSample:
    """Draw the pairs once for all representations; `inside`: items are of known categories."""
    assets: Ints = np.unique([item.asset for item in items], return_inverse=True)[1]
    random = rng_for("different pairs", seed)
    groups = category_numbers(items) if inside else None
    if groups is None:
        different = different_pairs(assets, comparison.crops, limit=limit, random=random)
    else:
        different = different_pairs_inside(
            assets, groups, comparison.crops, limit=limit, random=random
        )
    if not comparison.mixed:
        asked = query_gallery_pairs(different, comparison)
        different = asked if len(asked) else different  # of one or two drawn pairs none may be left
    same = same_pairs(len(items), comparison)
    return PairSample(comparison, assets, groups, same, different, resamples, seed)


def score(title: str, vectors: NDArray[np.float32], question: PairSample) -> Scores:
    """The figures of one representation, (images, crops, D)."""
    unit = unit_length(vectors.astype(np.float64))
    pairs = score_pairs(unit, question.same, question.different)
    whole = separation(pairs)
    images, resamples, seed = len(unit), question.resamples, question.seed
    pair_intervals = separation_intervals(pairs, images=images, resamples=resamples, seed=seed)
    found = retrieve(unit, question.assets, question.comparison.rounds, question.groups).stacked()
    intervals = {_JSON_NAMES.get(k, k): v for k, v in vars(pair_intervals).items()}
    drawn = mean_intervals(found, resamples=resamples, seed=seed)
    intervals |= dict(zip(FIGURES, drawn, strict=True))
    values = asdict(whole) | dict(zip(FIGURES, found.mean(1).tolist(), strict=True))
    values["d_prime"] = whole.d_prime if math.isfinite(whole.d_prime) else None
    for kind, scores in (("same", pairs.same), ("different", pairs.different)):
        spread = {"mean": scores.mean(), "min": scores.min(), "max": scores.max()}
        values |= {f"{kind}_{name}": float(value) for name, value in spread.items()}
    random = chances(question)
    return Scores(
        SimilarityFigures(
            title=title,
            intervals=intervals,
            chance_auc=random["auc"],
            chance_recall_at_1=random["recall_at_1"],
            images=images,
            same_pairs=pairs.same.size,
            different_pairs=pairs.different.size,
            **values,
        ),
        pairs,
        whole,
    )


def chances(question: PairSample) -> dict[str, float]:
    """What random vectors reach."""
    found = (
        random_baseline(question.assets, question.comparison.rounds, question.groups)
        .stacked()
        .mean(1)
    )
    return {"auc": 0.5, "eer": 0.5} | dict(zip(FIGURES, found.tolist(), strict=True))


def mean_gallery_size(question: PairSample) -> float:
    """How many crops one that asks is compared with, on average over images and rounds."""
    rounds = question.comparison.rounds
    sizes = [gallery_sizes(question.assets, round_, question.groups) for round_ in rounds]
    return float(np.mean(sizes))
