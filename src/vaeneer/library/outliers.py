"""outliers(): the files of a library that do not belong, each with the reason in words."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from vaeneer.data.perceptual_hash import Fingerprint
from vaeneer.library.catalog import Catalog, Floats, Item, Vectors
from vaeneer.library.map.map import items_with_vectors
from vaeneer.library.store import LibraryLike, OpenLibrary
from vaeneer.library.vector_index import Neighbours, nearest_others
from vaeneer.progress import Progress, Silent
from vaeneer.settings import OutliersSettings

Doubles = NDArray[np.float64]
Kind = Literal["blank", "normal map", "uneven", "far"]
_KINDS: tuple[Kind, ...] = get_args(Kind)
LEAST_COMPARED = 8
"""Fewer items than this say nothing about what is usual."""
_FLAT_BITS = 8  # a median splits any structure in halves: 32 bits of 64
_FLAT_LEVELS = 6  # how far a thumbnail's levels may lie apart
_AT_ONCE = 1000  # items
_SCALES = (2, 4)  # the smaller parts say more
_LEAST_PARTS = 4
LEAST_DEVIATIONS = 3.0
"""Robust standard deviations from which on an item is listed."""
_SHOWN_NEIGHBOURS = 3


@dataclass(frozen=True)
class Neighbour:
    """An item that is among the most similar to an outlier."""

    id: int
    path: str
    cosine: float


@dataclass(frozen=True)
class Outlier:
    """An item that does not belong."""

    id: int
    path: str
    kind: Kind
    score: float
    """0 to 1; 0.75 is three robust standard deviations."""
    reason: str
    nearest: list[Neighbour]
    """The items most similar to it, the best first."""


@dataclass(frozen=True)
class OutliersReport:
    """The items that do not belong, the strangest first."""

    library: str
    items: int
    found: int
    """How many are strange; `outliers` lists the first of them."""
    outliers: list[Outlier]
    seconds: float

    def to_dict(self) -> dict[str, Any]:
        """The report as one JSON object."""
        return asdict(self)


def outliers(
    library: LibraryLike,
    *,
    settings: OutliersSettings | None = None,
    progress: Progress | None = None,
) -> OutliersReport:
    """List the files that do not belong: blank ones, normal maps, photographs of other things.

    Candidates to look at, never a deletion. Raises LibraryError or SettingsError.
    """
    settings = settings or OutliersSettings()
    progress = progress or Silent()
    started = time.monotonic()
    with ExitStack() as stack:
        opened = library
        if not isinstance(opened, OpenLibrary):
            opened = stack.enter_context(OpenLibrary.open(opened))
        items, wholes = items_with_vectors(opened)
        nearest = nearest_others(opened.image_index, wholes, settings.neighbours, progress=progress)
        kinds, scores, means = np.zeros(0, np.int64), np.zeros(0), np.zeros((0, 3))
        if items:
            known = opened.catalog.fingerprints()
            prints = [known[item.id] for item in items]
            away = nearest.distances.mean(1) if len(items) > 1 else np.zeros(1)
            uneven = unevenness(opened.catalog, wholes, progress)
            together = (np.nan_to_num(uneven) + deviations(shading(prints))) / np.sqrt(2)
            together[np.isnan(uneven)] = 0
            kinds, scores = _judged(
                blank(prints), like_normal_map(prints), together, deviations(away)
            )
            means = thumbs(prints).mean(1)
    order = np.lexsort((np.arange(len(items)), kinds, -scores))
    strange = order[scores[order] >= _score(LEAST_DEVIATIONS)].tolist()
    return OutliersReport(
        library=str(opened.folder),
        items=len(items),
        found=len(strange),
        outliers=[
            Outlier(
                id=items[row].id,
                path=items[row].path,
                kind=_KINDS[kinds[row]],
                score=round(float(scores[row]), 4),
                reason=_reason(int(kinds[row]), row, means[row], items, nearest),
                nearest=_nearest(row, items, nearest),
            )
            for row in strange[: settings.limit]
        ],
        seconds=time.monotonic() - started,
    )


def blank(prints: Sequence[Fingerprint]) -> NDArray[np.bool_]:
    """(n,) whether a picture is of one colour throughout."""
    bits = [int.from_bytes(one.hashes[:8], "big").bit_count() for one in prints]
    flat = [count <= _FLAT_BITS for count in bits]
    small = thumbs(prints)
    even: NDArray[np.bool_] = (small.max(1) - small.min(1)).max(1) <= _FLAT_LEVELS
    return np.array(flat, bool) & even


def like_normal_map(prints: Sequence[Fingerprint]) -> NDArray[np.bool_]:
    """(n,) whether a picture has the violet blue of a tangent-space normal map all over."""
    small = thumbs(prints)
    red, green, blue = small[:, :, 0], small[:, :, 1], small[:, :, 2]
    upright = np.maximum(abs(red - 127.5), abs(green - 127.5)) < 40
    return np.asarray((upright & (blue > 160) & (blue > red + 25)).all(1), bool)


def thumbs(prints: Sequence[Fingerprint]) -> Doubles:
    """The thumbnails (n, 64, 3), levels of 255."""
    found = np.frombuffer(b"".join(one.thumb for one in prints), np.uint8)
    return found.reshape(-1, 64, 3).astype(np.float64)


def shading(prints: Sequence[Fingerprint]) -> Doubles:
    """(n,) how much the 8 x 8 thumbnail varies, as a logarithm: little in an even surface."""
    varied: Doubles = np.log(thumbs(prints).std(1).mean(1) + 0.01)
    return varied


def unevenness(catalog: Catalog, wholes: Vectors, progress: Progress) -> Doubles:
    """(n,) how unlike the smallest parts of a picture are, NaN where it has fewer than 4.

    The spread of their vectors, and how far the strangest is from the whole; in robust standard
    deviations among the pictures whose parts are as small, if there are enough of those.
    """
    answer = np.full(len(wholes.items), np.nan)
    total = len(_SCALES) * len(wholes.items)
    with progress.bar("parts", total=total, unit="images") as bar:
        for scale in _SCALES:
            found = np.full(len(wholes.items), np.nan)
            for start in range(0, len(found), _AT_ONCE):
                rows = np.arange(start, min(start + _AT_ONCE, len(found)))
                found[rows] = _unlike(catalog, wholes, rows, scale)
                bar.advance(len(rows))
            known = np.isfinite(found)
            if known.sum() >= LEAST_COMPARED:
                answer[known] = deviations(found[known])
    return answer


def deviations(values: Doubles) -> Doubles:
    """How many robust standard deviations above the median each is; 0 where too few are known."""
    known = np.isfinite(values)
    if known.sum() < LEAST_COMPARED:
        return np.zeros(len(values))
    middle = np.median(values[known])
    spread = 1.4826 * np.median(np.abs(values[known] - middle))
    usual = max(float(spread), 1e-3)  # equal pictures do not make the next one infinitely strange
    return np.where(known, (values - middle) / usual, 0.0)


def _unlike(catalog: Catalog, wholes: Vectors, rows: NDArray[np.int64], scale: int) -> Doubles:
    """Of some rows: one less the squared length of the mean part, and less the least cosine."""
    marks = ",".join("?" * len(rows))
    items = wholes.items[rows]
    sql = f"SELECT id FROM crops WHERE scale = ? AND item IN ({marks}) ORDER BY item, id"
    crops = [row[0] for row in catalog.execute(sql, (scale, *items.tolist()))]
    answer = np.full(len(rows), np.nan)
    if not crops:
        return answer
    parts = catalog.vectors(crops)
    places = _places(items, parts.items)
    _, first, counts = np.unique(parts.items, return_index=True, return_counts=True)
    own: Floats = wholes.vectors[rows[places]]
    cosines = np.einsum("nd,nd->n", parts.vectors, own)
    means = np.add.reduceat(parts.vectors, first, axis=0) / counts[:, None]
    unlike = 1 - (means**2).sum(1) + 1 - np.minimum.reduceat(cosines, first)
    enough = counts >= _LEAST_PARTS
    answer[places[first][enough]] = unlike[enough]
    return answer


def _places(items: NDArray[np.int64], wanted: NDArray[np.int64]) -> NDArray[np.int64]:
    """Where each wanted id is in `items`, which holds them all, in any order."""
    order = np.argsort(items, kind="stable")
    return order[np.searchsorted(items[order], wanted)]


def _score(deviations: float | Doubles) -> Any:
    """0 to 1 for robust standard deviations: 3 is 0.75."""
    above = np.maximum(0, deviations)
    return above / (1 + above)


def _judged(
    blanks: NDArray[np.bool_], normals: NDArray[np.bool_], uneven: Doubles, far: Doubles
) -> tuple[NDArray[np.int64], Doubles]:
    """The strongest reason of each item (n,), a place in _KINDS, and its score (n,)."""
    evidence = np.stack([blanks.astype(float), normals.astype(float), _score(uneven), _score(far)])
    kinds = evidence.argmax(0)
    return kinds, evidence[kinds, np.arange(evidence.shape[1])]


def _reason(kind: int, row: int, mean: Doubles, items: list[Item], nearest: Neighbours) -> str:
    colour = ", ".join(f"{level:.0f}" for level in mean)
    if _KINDS[kind] == "blank":
        return f"blank: the colour {colour} throughout"
    if _KINDS[kind] == "normal map":
        return f"looks like a normal map: the mean colour is {colour}"
    if _KINDS[kind] == "uneven":
        return "its parts look unlike each other: a thing, a scene or several surfaces"
    first, cosine = items[nearest.places[row, 0]].path, nearest.cosines[row, 0]
    return f"far from all others: the nearest, {first}, has cosine {cosine:.2f}"


def _nearest(row: int, items: list[Item], nearest: Neighbours) -> list[Neighbour]:
    some = nearest.first(_SHOWN_NEIGHBOURS)
    return [
        Neighbour(items[place].id, items[place].path, round(cosine, 4))
        for place, cosine in zip(some.places[row].tolist(), some.cosines[row].tolist(), strict=True)
    ]
