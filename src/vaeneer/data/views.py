"""Several crops of one surface in a step: which crops those are, and what they share.

A crop has a number: view v of image i of n is v * n + i. It is cut from image `number % n` and
drawn from the row `number` of a `NumberTable`, so that it depends on (seed, epoch, image, view)
alone; with one view the numbers are the images'.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from vaeneer.data.crops import with_scale_of

Ints = NDArray[np.int64]


class Rows(Protocol):
    """Rows of uniform numbers, one for each crop: a `NumberTable`, or what changes its rows."""

    def rows(self, indices: Sequence[int]) -> NDArray[np.float64]:
        """The rows of the crops with these numbers, (n, columns)."""


class Views:
    """The crops of a set of images in an epoch: `count` views of each surface in a step.

    Each image is shown `count` times in an epoch: as an anchor, and where its asset has several
    images, as a further view of the others in turn.
    """

    def __init__(self, assets: Sequence[object], count: int) -> None:
        """assets: whose image each is; only looked at where `count` is above 1."""
        self.images, self.count = len(assets), count
        self.following: Ints = np.arange(self.images)
        """(images,): the next image of the same asset, after the last the first."""
        self.asset_numbers: Ints = np.arange(self.images)
        """(images,): equal for images of one asset."""
        if count > 1:
            self.asset_numbers, self.following = _followed(assets)

    def crops_of(self, anchors: Sequence[int]) -> list[int]:
        """Crop numbers: all views of the first anchor, then all of the second, ..."""
        views, image = [], np.asarray(anchors, np.int64)
        for view in range(self.count):
            views.append(view * self.images + image)
            image = self.following[image]
        crops: list[int] = np.stack(views, 1).ravel().tolist()
        return crops

    def assets_of(self, images: Sequence[int]) -> Ints:
        """The asset of each image as a number, (n,)."""
        numbers: Ints = self.asset_numbers[np.asarray(images)]
        return numbers

    def groups(self, order: Sequence[int], batch_size: int) -> list[list[int]]:
        """The crops of each step: whole views of the images in this order, about `batch_size`.

        An image that would be alone in the last step joins the one before, since a step compares.
        """
        size = self._anchors(batch_size)
        parts = [order[start : start + size] for start in range(0, len(order), size)]
        if self.count > 1 and len(parts) > 1 and len(parts[-1]) == 1:
            parts[-2:] = [list(chain(*parts[-2:]))]
        return [self.crops_of(part) for part in parts]

    def steps(self, batch_size: int) -> int:
        """How many steps `groups` makes of an epoch."""
        size = self._anchors(batch_size)
        whole, rest = divmod(self.images, size)
        alone = self.count > 1 and rest == 1 and whole > 0
        return whole + (rest > 0 and not alone)

    def _anchors(self, batch_size: int) -> int:
        return max(batch_size // self.count, 1 if self.count == 1 else 2)


class OneScale:
    """Rows whose crops have the scale of the first view that lies beside them in a step."""

    def __init__(self, rows: Rows, views: Views) -> None:
        self._rows, self._views = rows, views
        self._before = np.empty_like(views.following)
        self._before[views.following] = np.arange(views.images)

    def rows(self, indices: Sequence[int]) -> NDArray[np.float64]:
        """The rows of the crops with these numbers, (n, columns)."""
        view, image = np.divmod(np.asarray(indices, np.int64), self._views.images)
        for step in range(1, self._views.count):
            image = np.where(view >= step, self._before[image], image)
        return with_scale_of(self._rows.rows(indices), self._rows.rows(image.tolist()))


def _followed(assets: Sequence[object]) -> tuple[Ints, Ints]:
    """The number of each image's asset, and the next image of that asset, the last's the first."""
    numbers: dict[object, int] = {}
    of_image = np.array([numbers.setdefault(asset, len(numbers)) for asset in assets], np.int64)
    order = np.argsort(of_image, kind="stable")
    following = np.empty_like(order)
    for places in _runs(of_image[order]):
        following[order[places]] = np.roll(order[places], -1)
    return of_image, following


def _runs(values: Ints) -> Iterator[slice]:
    """Where equal values stand side by side."""
    ends = [*(np.flatnonzero(np.diff(values)) + 1).tolist(), len(values)]
    for start, end in zip([0, *ends], ends, strict=False):
        yield slice(start, end)
