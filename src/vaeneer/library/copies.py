"""Hits of a search that are copies of the query, or of an earlier hit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from vaeneer.data.perceptual_hash import Fingerprint, fingerprint, near_pairs
from vaeneer.library.catalog import Floats, Item
from vaeneer.library.library import Library
from vaeneer.library.queries import Query, whole_vector_of
from vaeneer.settings.training import PrepareSettings

LEAST_COSINE = 0.98
"""Of the vectors of two copies. On 311 real surfaces two different ones reach 0.961; the same
pixels give 0.9999, JPEG of quality 90 0.98 to 0.999. Copies that differ more stay in the answer."""


@dataclass(frozen=True, eq=False)
class _Known:
    sha256: str | None
    prints: Fingerprint
    vector: Floats


class Copies:
    """Remembers what a search has shown: files by their bytes, pictures by hash and vector."""

    def __init__(self, library: Library, queries: Sequence[Query]) -> None:
        """queries: the query images, which count as shown."""
        self._library = library
        self._shown = [self._of_query(query) for query in queries]

    def known(self, item: Item) -> bool:
        """Whether something shown was the same picture; if not, the item counts as shown now."""
        if any(one.sha256 == item.sha256 for one in self._shown):
            return True
        own = self._of_item(item)
        if own is None:
            return False
        for one in self._shown:
            alike = float(one.vector @ own.vector) >= LEAST_COSINE
            if alike and _near(one.prints, own.prints):
                return True
        self._shown.append(own)
        return False

    def _of_query(self, query: Query) -> _Known:
        known = self._of_item(query.item) if query.item is not None else None
        if known is not None:
            return known
        assert query.picture is not None  # only items are not decoded
        vector = whole_vector_of(self._library, query)
        return _Known(query.sha256, fingerprint(query.picture), vector)

    def _of_item(self, item: Item) -> _Known | None:
        """What the catalog knows of an item; None where it left meanwhile."""
        row = self._library.catalog.execute(
            "SELECT items.phashes, items.thumb, crops.id FROM items JOIN crops"
            " ON crops.item = items.id AND crops.scale = 0 WHERE items.id = ?",
            (item.id,),
        ).fetchone()
        if row is None:
            return None
        (vector,) = self._library.catalog.vectors([row[2]]).vectors
        return _Known(item.sha256, Fingerprint(row[0], row[1]), vector)


def _near(one: Fingerprint, other: Fingerprint) -> bool:
    return next(near_pairs([one, other], PrepareSettings.near_duplicate_bits), None) is not None
