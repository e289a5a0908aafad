"""Random numbers by what they are for, so that no two uses ever share a stream."""

from __future__ import annotations

import zlib

import numpy as np
from numpy.random import Generator


def numbers_for(purpose: str, seed: int, *place: int) -> Generator:
    """The random numbers of one purpose at one place (epoch, index, ...), and of nothing else.

    They depend on the arguments alone, so that order, process count and resume change nothing.
    seed and place: 0 or more.
    """
    return np.random.default_rng([seed, zlib.crc32(purpose.encode()), len(place), *place])
