"""Vector indexes of arrays, for tests and benchmarks."""

from __future__ import annotations

import numpy as np

from vaeneer.library.catalog import Floats, Ids, Vectors
from vaeneer.library.vector_index import IVF_FROM, VectorIndex


def index_of(ids: Ids, vectors: Floats, *, ivf_from: int = IVF_FROM) -> VectorIndex:
    """The index of vectors (n, D) of length 1 under distinct ids (n,)."""
    order = np.argsort(ids)

    def vectors_of(some: Ids) -> Vectors:
        rows = order[np.searchsorted(ids[order], some)]
        return Vectors(some, some, vectors[rows])

    return VectorIndex.build(ids, vectors_of, vectors.shape[1], ivf_from=ivf_from)
