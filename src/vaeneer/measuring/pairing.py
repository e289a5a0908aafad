"""Which crops are compared with which: pairs of one image, pairs of two assets, categories."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from vaeneer.data.dataset import ImageItem
from vaeneer.measuring.retrieval import Round
from vaeneer.measuring.statistics import Floats, Ints, ScoredPairs

_COSINES_AT_ONCE = 4096
_LARGEST_TABLE = 4096  # crops whose cosines are all computed at once
_EXACT_DIGITS = 12


@dataclass(frozen=True)
class Comparison:
    """Which of an image's crops take part, and who asks whom."""

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


def who_asks_whom(pairs: CropPairs, comparison: Comparison) -> CropPairs:
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
