"""Which pairs of pictures are worth comparing: a few for each picture, never all pairs."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from vaeneer.data.perceptual_hash import Fingerprint
from vaeneer.library.catalog import Floats, Ids, Vectors
from vaeneer.library.vector_index import VectorIndex

NEAREST = 16
"""Neighbours of each whole image that are compared with it."""

NEAREST_HASHES = 8
"""Nearest perceptual hashes in each orientation that are compared."""

MOST_HASH_BITS = 16
"""Bits of 64 that may differ; two pictures without anything in common differ in 32."""

MOST_CONTAINERS = 12
"""Pictures that each is looked for in as a part."""

LEAST_COSINE = 0.35
"""Of a picture to a part of another that may contain it. Centres cut from 60 real surfaces had
0.64 and more."""

_NEAREST_PARTS = 96
_AT_ONCE = 1024

Pairs = dict[int, list[int]]
"""Of each item, the items to compare it with, in a fixed order."""


def frame_pairs(
    index: VectorIndex, wholes: Vectors, fingerprints: Mapping[int, Fingerprint]
) -> Pairs:
    """Pairs that may show the same frame: near in vector, or in hash in any orientation.

    wholes: of the items that take part. Each pair comes once, under its smaller id.
    """
    found: dict[int, set[int]] = defaultdict(set)
    places, cosines = _nearest(index, wholes, NEAREST + 1, wholes.crops)
    _gather(found, wholes.items, wholes.items, places, cosines > 0)
    order = [int(item) for item in wholes.items if int(item) in fingerprints]
    ids = np.array(order, np.int64)
    for places, near in _nearest_hashes([fingerprints[item] for item in order]):
        _gather(found, ids, ids, places, near)
    return {item: sorted(found[item]) for item in sorted(found)}


def container_pairs(
    wholes_index: VectorIndex,
    parts_index: VectorIndex,
    wholes: Vectors,
    parts: tuple[Ids, Ids],
) -> Pairs:
    """Of each item, those that it may be a part of: the likeliest first, at most 12.

    wholes: of the items that take part. parts: (ids, items) of the crops of their parts, by id.
    """
    best: dict[int, dict[int, float]] = defaultdict(dict)
    crops, items = parts
    for index, ids, owners, k in (
        (parts_index, crops, items, _NEAREST_PARTS),
        (wholes_index, wholes.crops, wholes.items, NEAREST + 1),
    ):
        places, cosines = _nearest(index, wholes, k, ids)
        for row, asker in enumerate(wholes.items.tolist()):
            for place, cosine in zip(places[row].tolist(), cosines[row].tolist(), strict=True):
                if place >= 0 and cosine >= LEAST_COSINE and int(owners[place]) != asker:
                    owner = int(owners[place])
                    best[asker][owner] = max(cosine, best[asker].get(owner, -1.0))
    return {
        asker: sorted(own, key=lambda owner: (-own[owner], owner))[:MOST_CONTAINERS]
        for asker, own in sorted(best.items())
    }


def _nearest(
    index: VectorIndex, wholes: Vectors, k: int, allowed: Ids
) -> tuple[NDArray[np.int64], Floats]:
    """The k nearest of each whole among `allowed` (ascending): places in it, or -1, and cosines."""
    k = min(k, len(allowed))
    places = np.full((len(wholes.crops), k), -1, np.int64)
    cosines = np.full((len(wholes.crops), k), -np.inf, np.float32)
    for start in range(0, len(wholes.crops) if k else 0, _AT_ONCE):
        rows = slice(start, start + _AT_ONCE)
        cosines[rows], ids = index.search(wholes.vectors[rows], k, allowed=allowed)
        at = np.minimum(np.searchsorted(allowed, ids), len(allowed) - 1)
        places[rows] = np.where(allowed[at] == ids, at, -1)
    return places, cosines


def _nearest_hashes(
    prints: Sequence[Fingerprint],
) -> list[tuple[NDArray[np.int64], NDArray[np.bool_]]]:
    """For each orientation, (n, k) places of the nearest upright hashes, and which are near."""
    import faiss

    if not prints:
        return []
    hashes = np.frombuffer(b"".join(one.hashes for one in prints), np.uint8).reshape(-1, 8, 8)
    index = faiss.IndexBinaryFlat(64)
    index.add(np.ascontiguousarray(hashes[:, 0]))
    answers = []
    for orientation in range(8):
        queries = np.ascontiguousarray(hashes[:, orientation])
        bits, places = index.search(queries, min(NEAREST_HASHES + 1, len(prints)))
        answers.append((places.astype(np.int64), bits <= MOST_HASH_BITS))
    return answers


def _gather(
    found: dict[int, set[int]],
    askers: Ids,
    owners: Ids,
    places: NDArray[np.int64],
    good: NDArray[np.bool_],
) -> None:
    """Add the pairs behind (n, k) places of `owners`, each under its smaller id."""
    rows, columns = np.nonzero(good & (places >= 0))
    one, two = askers[rows], owners[places[rows, columns]]
    for low, high in zip(np.minimum(one, two).tolist(), np.maximum(one, two).tolist(), strict=True):
        if low != high:
            found[low].add(high)
