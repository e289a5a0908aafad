"""Random numbers by what they are for, so that no two uses ever share a stream."""

from __future__ import annotations

import zlib
from collections.abc import Sequence

import numpy as np
from numpy.random import PCG64, Generator, SeedSequence
from numpy.typing import NDArray


def rng_for(purpose: str, seed: int, *place: int) -> Generator:
    """The random numbers of one purpose at one place (epoch, index, ...), and of nothing else.

    They depend on the arguments alone, so that order, process count and resume change nothing.
    seed and place: 0 or more.
    """
    return np.random.default_rng(_key(purpose, seed, place))


def sampled(count: int, most: int, purpose: str, seed: int) -> list[int]:
    """The indices 0 .. count - 1, or a seeded sample of `most` of them, in order."""
    if count <= most:
        return list(range(count))
    chosen: list[int] = rng_for(purpose, seed).choice(count, most, replace=False).tolist()
    return sorted(chosen)


class UniformRows:
    """Uniform numbers in [0, 1) in rows: row i depends on purpose, seed, place and i alone.

    Nothing is kept: the stream jumps to a row (PCG64 can), which is ten times quicker than
    seeding a stream for each row.
    """

    def __init__(self, purpose: str, seed: int, *place: int, columns: int) -> None:
        self._seed = SeedSequence(_key(purpose, seed, place))
        self._columns = columns

    def rows(self, indices: Sequence[int]) -> NDArray[np.float64]:
        """The rows of `indices`, (n, columns) float64."""
        bits = PCG64(self._seed)
        random, here = Generator(bits), 0
        found = np.empty((len(indices), self._columns))
        for row, index in zip(found, indices, strict=True):
            bits.advance((index * self._columns - here) % 2**128)  # one output for each double
            random.random(out=row)
            here = (index + 1) * self._columns
        return found


def _key(purpose: str, seed: int, place: tuple[int, ...]) -> list[int]:
    return [seed, zlib.crc32(purpose.encode()), len(place), *place]
