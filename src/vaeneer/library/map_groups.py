"""What the colours of the map stand for: clusters, or categories."""

from __future__ import annotations

import colorsys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vaeneer.library.catalog import Item
from vaeneer.library.cluster_names import Cluster
from vaeneer.library.clusters import ALONE
from vaeneer.text import printable

_GOLDEN = 0.618033988749895  # of a turn: hues that follow each other are far apart
_LIGHTNESS = (0.62, 0.72, 0.54)


@dataclass(frozen=True)
class Groups:
    """Items in groups, each with a name and a colour."""

    kind: str
    """cluster or category."""
    labels: NDArray[np.int64]
    """(n,) the group of each item, -1 where it has none."""
    names: list[str]
    """Each once, for lists."""
    words: list[str]
    """What is written on the map."""

    @property
    def colours(self) -> list[tuple[int, int, int]]:
        """Of each group, in levels of 255, for a dark ground."""
        return [colour_of(number) for number in range(len(self.names))]


def by_cluster(labels: NDArray[np.int64], clusters: Sequence[Cluster]) -> Groups:
    """The clusters as groups."""
    names = [one.name for one in clusters]
    return Groups("cluster", labels, names, [printable(name) for name in names])


def by_category(items: Sequence[Item]) -> Groups:
    """The categories as groups, the largest first."""
    counts = Counter(item.category for item in items if item.category)
    names = sorted(counts, key=lambda name: (-counts[name], name))
    numbers = {name: number for number, name in enumerate(names)}
    labels = [numbers.get(item.category or "", ALONE) for item in items]
    words = [printable(name) for name in names]
    return Groups("category", np.array(labels, np.int64), names, words)


def colour_of(number: int) -> tuple[int, int, int]:
    """A colour for the n-th group."""
    hue = (0.07 + number * _GOLDEN) % 1
    red, green, blue = colorsys.hls_to_rgb(hue, _LIGHTNESS[number % 3], 0.62)
    return round(255 * red), round(255 * green), round(255 * blue)
