"""How well a crop finds the other crops of its image among all: recall@k, R-precision, mAP.

Every crop that asks is compared with all crops that may answer. Crops of its own image are right,
crops of other images of its asset are left out, and it never meets itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np

from vaeneer.measuring.statistics import Floats, Ints

_BLOCK = 512  # queries compared with the whole gallery at once
_EXACT_DIGITS = 12  # equal vectors tie whatever the order of a product's sums
_DEPTHS = (1, 5, 10)


@dataclass(frozen=True)
class Round:
    """Which of an image's crops ask, and which of every image's crops may answer."""

    queries: tuple[int, ...]
    gallery: tuple[int, ...]


@dataclass(frozen=True)
class Retrieval:
    """Figures of retrieval, one value of each image (the mean over its crops that ask) or each
    query, or a mean: arrays of one shape, all in [0, 1]."""

    recall_at_1: Floats
    """Whether the nearest crop is right."""
    recall_at_5: Floats
    """Whether a right crop is among the five nearest."""
    recall_at_10: Floats
    arr: Floats
    """R-precision: the share of right crops among the R nearest, where R are right."""
    map: Floats
    """Average precision: the mean over the right crops of the share of right ones up to there."""

    def stacked(self) -> Floats:
        """All figures, (5, ...) in the order of the fields."""
        return np.stack([getattr(self, field.name) for field in fields(self)])


FIGURES = tuple(field.name for field in fields(Retrieval))


def ranked(right: Floats, wrong: Floats) -> Retrieval:
    """The figures of queries from the scores of their right, (Q, R), and wrong answers, (Q, N).

    What does not take part has the score -inf (at least one right answer does, in each row).
    Answers of equal scores are in an order by lot for recall and R-precision (the expected value
    is given), and take one step together for the average precision, as in scikit-learn.
    """
    valid = right > -np.inf
    count = valid.sum(1)[:, None]
    wrong_above = np.stack([(wrong > s[:, None]).sum(1) for s in right.T], 1)  # (Q, R)
    wrong_equal = np.stack([(wrong == s[:, None]).sum(1) for s in right.T], 1)
    right_above = (right[:, None, :] > right[:, :, None]).sum(2)
    right_equal = (right[:, None, :] == right[:, :, None]).sum(2)
    above, equal = wrong_above + right_above, wrong_equal + right_equal
    steps = (right_above + right_equal) / (above + equal)
    within = np.clip((count - above) / equal, 0, 1)
    best = right.argmax(1)[:, None]
    above_best, equal_best, right_best = (
        np.take_along_axis(values, best, 1)[:, 0]
        for values in (wrong_above, wrong_equal, right_equal)
    )
    return Retrieval(
        recall_at_1=_found(above_best, equal_best, right_best, 1),
        recall_at_5=_found(above_best, equal_best, right_best, 5),
        recall_at_10=_found(above_best, equal_best, right_best, 10),
        arr=(within * valid).sum(1) / count[:, 0],
        map=(steps * valid).sum(1) / count[:, 0],
    )


def retrieve(
    unit: Floats, assets: Ints, rounds: Sequence[Round], groups: Ints | None = None
) -> Retrieval:
    """The figures of each image, (images,), means over the queries of all rounds.

    unit: (images, crops, D) unit vectors, or zeros. assets: (images,) numbers of assets.
    groups: (images,); where given, only images of the query's own group may answer.
    """
    parts = [_retrieve_round(unit, assets, round_, groups).stacked() for round_ in rounds]
    return Retrieval(*np.mean(parts, axis=0))


def chance(assets: Ints, rounds: Sequence[Round], groups: Ints | None = None) -> Retrieval:
    """What `retrieve` gives on average for random vectors, (images,)."""
    parts = []
    for round_ in rounds:
        count = _right_answers(round_)
        size = gallery_sizes(assets, round_, groups)
        harmonic = np.array([np.sum(1 / np.arange(1, n + 1)) for n in size.astype(int)])
        rate = (count - 1) / np.maximum(size - 1, 1)
        nothing, all_equal = np.zeros(size.size), size - count
        right = np.full(size.size, count)
        recalls = [_found(nothing, all_equal, right, depth) for depth in _DEPTHS]
        parts.append([*recalls, count / size, (harmonic + rate * (size - harmonic)) / size])
    return Retrieval(*np.mean(parts, axis=0))


def gallery_sizes(assets: Ints, round_: Round, groups: Ints | None = None) -> Floats:
    """How many crops a query of each image is compared with, (images,)."""
    groups = np.zeros_like(assets) if groups is None else groups
    may = (groups[:, None] == groups) & (assets[:, None] != assets)
    sizes: Floats = may.sum(1) * float(len(round_.gallery)) + _right_answers(round_)
    return sizes


def _right_answers(round_: Round) -> int:
    return len(round_.gallery) - (round_.queries[0] in round_.gallery)


def _retrieve_round(unit: Floats, assets: Ints, round_: Round, groups: Ints | None) -> Retrieval:
    images, width = len(unit), len(round_.gallery)
    gallery = unit[:, round_.gallery].reshape(images * width, -1)
    queries = unit[:, round_.queries].reshape(images * len(round_.queries), -1)
    owner = np.repeat(np.arange(images), len(round_.queries))
    itself = np.tile(np.equal.outer(round_.queries, round_.gallery), (images, 1))  # (Q, width)
    rows = []
    for start in range(0, len(queries), _BLOCK):
        part = slice(start, start + _BLOCK)
        own = owner[part]
        cosines = np.round(queries[part] @ gallery.T, _EXACT_DIGITS)
        cosines = cosines.reshape(len(own), images, width)
        right = np.where(itself[part], -np.inf, cosines[np.arange(len(own)), own])
        apart = assets[own, None] == assets
        if groups is not None:
            apart = apart | (groups[own, None] != groups)
        cosines[apart] = -np.inf
        rows.append(ranked(right, cosines.reshape(len(own), -1)).stacked())
    figures = np.concatenate(rows, axis=1).reshape(len(FIGURES), images, -1)
    return Retrieval(*figures.mean(2))


def _found(above: Floats, equal: Floats, right: Floats, depth: int) -> Floats:
    """How likely one of `right` answers is among the first `depth`, (Q,).

    `above` wrong answers come first; then the right ones, in any order with `equal` wrong ones.
    """
    slots = depth - above
    missed = np.ones(np.shape(above))
    for place in range(depth):
        left = np.maximum(equal - place, 0)
        factor = left / np.maximum(left + right, 1)
        missed = np.where(place < slots, missed * factor, missed)
    return 1 - missed
