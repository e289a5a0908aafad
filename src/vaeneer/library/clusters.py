"""Groups of items that lie together on the map, and what to call them.

HDBSCAN (Campello et al. 2013) on the layout: on 311 real surfaces its clusters cover 0.8 to 0.9 of
the items and agree with the categories by an adjusted Rand index of 0.08 to 0.10 (items alone
counted as clusters of their own); on the vectors themselves 0.4 of the items, and 0.06. Neither is
much: a category holds surfaces that look unlike each other.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vaeneer.bounds import SEED
from vaeneer.library.catalog import Floats, Item

ALONE = -1
_LEAST = 5
_MIN_SAMPLES = 2
_MOST_COMPARED = 30_000  # HDBSCAN's time grows with the square: some 10 s here
_TELLING_SHARE = 0.4  # of a cluster's items that a word must be said of
_TELLING_LIFT = 1.5  # how much more often than in the whole library
_TOLD_TOGETHER = 0.2  # of the items, where only two words together reach that share


@dataclass(frozen=True)
class Cluster:
    """Items that lie together."""

    id: int
    """From 0, the largest first."""
    name: str
    """No two clusters have one name: wood, wood 2, ..."""
    word: str
    """The name without that number."""
    named_by: str
    """category, tag or item: where the name comes from."""
    rows: NDArray[np.int64]
    """Ascending rows of the items that were given."""
    central: int
    """The row of the item nearest to the mean of all."""


def least_size(count: int, asked: int) -> int:
    """Items that a cluster has at least, in a library of `count`; asked: 0 chooses."""
    return max(2, asked) if asked else max(_LEAST, round(math.sqrt(count) / 4))


def cluster_labels(xy: Floats, min_size: int) -> NDArray[np.int64]:
    """The cluster (n,) of each place (n, 2), from 0 by size, the largest first; -1 is alone."""
    count = len(xy)
    if count < max(min_size, _MIN_SAMPLES):
        return np.full(count, ALONE)
    if count <= _MOST_COMPARED:
        return _by_size(_hdbscan(xy, min_size))
    from scipy.spatial import cKDTree

    drawn = np.random.default_rng(SEED).choice(count, _MOST_COMPARED, replace=False)
    fewer = max(2, round(min_size * _MOST_COMPARED / count))
    nearest = cKDTree(xy[drawn]).query(xy)[1]
    return _by_size(_hdbscan(xy[drawn], fewer)[nearest])


def named_clusters(
    labels: NDArray[np.int64], items: Sequence[Item], vectors: Floats
) -> list[Cluster]:
    """The clusters with names: a category or tag that tells them from the rest, else an item's.

    labels (n,), items and vectors (n, D) have the same order.
    """
    everywhere = Counter(word for item in items for word in _words(item))
    used: Counter[str] = Counter()
    clusters = []
    for number in range(int(labels.max(initial=ALONE)) + 1):
        rows = np.flatnonzero(labels == number)
        central = int(rows[(vectors[rows] @ vectors[rows].mean(0)).argmax()])
        found = _telling([items[row] for row in rows.tolist()], everywhere, len(items))
        name, by = found or (title_of(items[central]), "item")
        used[name] += 1
        unique = name if used[name] == 1 else f"{name} {used[name]}"
        clusters.append(Cluster(number, unique, name, by, rows, central))
    return clusters


def title_of(item: Item) -> str:
    """What to call an item: its name, else that of its file without suffix and counting number.

    A category at its start is left out: wood/wood_dark_planks_019.jpg is dark planks.
    """
    if item.name:
        return item.name
    file = item.path.rpartition("/")[2]
    words = re.split(r"[\s_.-]+", file.rpartition(".")[0] or file)
    words = [word for word in words if word]
    if len(words) > 1 and words[-1].isdigit():
        words.pop()
    while len(words) > 1 and words[0].lower() == (item.category or "").lower():
        words.pop(0)
    return " ".join(words) or file


def _hdbscan(xy: Floats, min_size: int) -> NDArray[np.int64]:
    from sklearn.cluster import HDBSCAN

    found = HDBSCAN(min_cluster_size=min_size, min_samples=_MIN_SAMPLES, copy=True)
    return np.asarray(found.fit_predict(xy.astype(np.float64)), np.int64)


def _by_size(labels: NDArray[np.int64]) -> NDArray[np.int64]:
    """The same clusters numbered by size, then by their first item."""
    numbers, first, sizes = np.unique(labels, return_index=True, return_counts=True)
    inside = numbers >= 0
    order = np.lexsort((first[inside], -sizes[inside]))
    renamed = np.full(len(numbers), ALONE)
    renamed[np.flatnonzero(inside)[order]] = np.arange(len(order))
    return renamed[np.searchsorted(numbers, labels)]


def _words(item: Item) -> set[tuple[str, str]]:
    own = {("tag", tag) for tag in item.tags}
    return own | {("category", item.category)} if item.category else own


def _telling(
    members: Sequence[Item], everywhere: Counter[tuple[str, str]], count: int
) -> tuple[str, str] | None:
    """The word said of most members and of few others, or two; and whether category or tag."""
    said = Counter(word for item in members for word in _words(item))
    shares = {word: times / len(members) for word, times in said.items()}
    lifts = {word: share * count / everywhere[word] for word, share in shares.items()}
    good = [word for word in said if lifts[word] >= _TELLING_LIFT]
    good.sort(key=lambda word: (-shares[word] * math.log(lifts[word]), word))
    for word in good:
        if shares[word] >= _TELLING_SHARE:
            return word[1], word[0]
    two = [word for word in good if word[0] == "category" and shares[word] >= _TOLD_TOGETHER][:2]
    if len(two) == 2:
        return f"{two[0][1]}, {two[1][1]}", "category"
    return None
