"""Groups of items that lie together on the map; cluster_names.py names them.

HDBSCAN (Campello et al. 2013) on the layout: on 311 real surfaces its clusters cover 0.8 to 0.9 of
the items and agree with the categories by an adjusted Rand index of 0.08 to 0.10 (items alone
counted as clusters of their own); on the vectors themselves 0.4 of the items, and 0.06. Neither is
much: a category holds surfaces that look unlike each other.
"""

from __future__ import annotations

import math
import re

import numpy as np
from numpy.typing import NDArray

from vaeneer.library.catalog import Floats, Item
from vaeneer.settings.base import SEED

ALONE = -1
_LEAST = 5
_MIN_SAMPLES = 2
_MOST_COMPARED = 30_000  # HDBSCAN's time grows with the square: some 10 s here


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
