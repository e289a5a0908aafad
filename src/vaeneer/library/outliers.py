"""outliers(): the files of a library that do not belong, each with the reason in words."""

from __future__ import annotations

import time
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vaeneer.library.catalog import Item
from vaeneer.library.library import Library
from vaeneer.library.library_map import items_with_vectors
from vaeneer.library.neighbours import Neighbours, nearest_others
from vaeneer.library.strangeness import (
    Doubles,
    blank,
    deviations,
    like_normal_map,
    shading,
    thumbs,
    unevenness,
)
from vaeneer.progress import Progress, Silent
from vaeneer.settings.training import OutliersSettings

LEAST_DEVIATIONS = 3.0
"""Robust standard deviations from which on an item is listed."""
_KINDS = ("blank", "normal map", "uneven", "far")
_SHOWN_NEIGHBOURS = 3


@dataclass(frozen=True)
class OutliersReport:
    """The items that do not belong, the strangest first."""

    library: str
    items: int
    found: int
    """How many are strange; `outliers` lists the first of them."""
    outliers: list[dict[str, Any]]
    """id, path, kind (blank, normal map, uneven or far), score (0 to 1; 0.75 is three robust
    standard deviations), reason, and nearest: the items most like it (id, path, cosine)."""
    seconds: float

    def to_dict(self) -> dict[str, Any]:
        """The report as one JSON object."""
        return asdict(self)


def outliers(
    library: Library | Path | str,
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
        if not isinstance(opened, Library):
            opened = stack.enter_context(Library.open(opened))
        items, wholes = items_with_vectors(opened)
        nearest = nearest_others(opened.wholes, wholes, settings.neighbours, progress=progress)
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
            {
                "id": items[row].id,
                "path": items[row].path,
                "kind": _KINDS[kinds[row]],
                "score": round(float(scores[row]), 4),
                "reason": _reason(int(kinds[row]), row, means[row], items, nearest),
                "nearest": _nearest(row, items, nearest),
            }
            for row in strange[: settings.most]
        ],
        seconds=time.monotonic() - started,
    )


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


def _nearest(row: int, items: list[Item], nearest: Neighbours) -> list[dict[str, Any]]:
    some = nearest.first(_SHOWN_NEIGHBOURS)
    return [
        {"id": items[place].id, "path": items[place].path, "cosine": round(cosine, 4)}
        for place, cosine in zip(some.places[row].tolist(), some.cosines[row].tolist(), strict=True)
    ]
