"""Families: things joined two by two; who is joined to one of a family belongs to it."""

from __future__ import annotations

from collections import defaultdict


class Families:
    """Items joined into families (union-find); an item that was never joined is its own family."""

    def __init__(self) -> None:
        self._parents: dict[int, int] = {}

    def root(self, item: int) -> int:
        """The least item of a family, which stands for it."""
        while (parent := self._parents.get(item, item)) != item:
            self._parents[item] = self._parents.get(parent, parent)
            item = parent
        return item

    def join(self, one: int, other: int) -> None:
        """Make one family of two."""
        low, high = sorted((self.root(one), self.root(other)))
        self._parents[high] = low

    def joined(self, one: int, other: int) -> bool:
        """Whether two items are of one family."""
        return self.root(one) == self.root(other)

    def members(self) -> list[list[int]]:
        """The families of two and more, each ascending, by their least item."""
        found: dict[int, list[int]] = defaultdict(list)
        for item in self._parents:
            found[self.root(item)].append(item)
        for root, own in found.items():
            if root not in own:
                own.append(root)
        return sorted(sorted(own) for own in found.values() if len(own) > 1)
