"""Copies in a library as they are found: sets of items, the matches in them, which file to keep."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from vaeneer.errors import ImageFileError
from vaeneer.library.catalog import Item, PixelBox
from vaeneer.library.duplicates.near_copies import ExtraContent
from vaeneer.library.file_states import FileState
from vaeneer.text import printable

_LOSSLESS = frozenset({"PNG", "TIFF", "BMP", "DIB", "TGA", "PPM", "PSD", "EXR", "HDR"})
_DEEP_MODES = {"I": 32, "F": 32, "I;16": 16, "I;16L": 16, "I;16B": 16, "I;16N": 16}
_PRESENT = FileState()
_WORDS_OF_COPY = r"(?:copy|kopie|copie|copia|kopia|kopya|コピー|副本|копия)"
_COPY_NAME = re.compile(
    rf"\(\d+\)$|(?:^|[\s_-]){_WORDS_OF_COPY}[\s_-]*\d*$|^{_WORDS_OF_COPY} (?:of|von|de|di) ",
    re.IGNORECASE,
)
_HDR_BITS = 8  # of each channel, with one exponent for all
_MORE_PIXELS = 1.02  # a copy with fewer more was cropped or padded by a row


class DisjointSets:
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


@dataclass(frozen=True)
class Recoloured:
    """Two families of one structure and other colours."""

    one: int
    other: int
    likeness: float


@dataclass(frozen=True)
class Part:
    """One picture is a part of another."""

    container: int
    part: int
    box: PixelBox
    """In pixels of the container."""
    likeness: float
    recoloured: bool
    """Whether their colours differ, too."""


@dataclass(frozen=True)
class MapSet:
    """What a colour file belongs to: other maps, a UDIM tile and the side-car of its asset."""

    asset: str
    maps: frozenset[tuple[str, int]] = frozenset()
    """Kind and bytes of each other map."""
    tile: str = ""
    sidecar: str = ""
    """What the side-car of its asset says, as JSON."""

    @property
    def kinds(self) -> list[str]:
        """Kinds of the other maps, each once."""
        return sorted({kind for kind, _ in self.maps})

    @property
    def rank(self) -> tuple[bool, bool]:
        """What sorts members of sets first: other maps or tiles, then a side-car."""
        return not (self.maps or self.tile), not self.sidecar

    def lost_without(self, kept: MapSet) -> str:
        """What would lack this file where `kept` stands for it, in words; empty for nothing."""
        if self.tile and (self.asset, self.tile) != (kept.asset, kept.tile):
            return f"tile {self.tile} of a set: deleting it breaks the set"
        if self.asset == kept.asset:
            return ""
        if not self.maps <= kept.maps:
            return f"a set with {', '.join(self.kinds)}: deleting it breaks the set"
        if self.sidecar and not kept.sidecar:
            return "with a side-car, which the file to keep does not have"
        return ""


@dataclass
class Copies:
    """What was found: families of items at three levels, and what is between families."""

    items: dict[int, Item]
    """Those whose files can be compared."""
    files: dict[int, FileState] = field(default_factory=dict)
    """Their files as they are on disk; an item without an entry has a plain file of its own."""
    sets: dict[int, MapSet] = field(default_factory=dict)
    """Of items with other maps, tiles or a side-car."""
    exact: DisjointSets = field(default_factory=DisjointSets)
    """Equal files."""
    same_pixels: DisjointSets = field(default_factory=DisjointSets)
    """Those, and files that hold the same pixels."""
    near: DisjointSets = field(default_factory=DisjointSets)
    """Those, and copies that were changed a little."""
    near_likeness: dict[int, float] = field(default_factory=dict)
    """Of an item to the copy of it that is most like it."""
    extras: dict[int, ExtraContent | None] = field(default_factory=dict)
    """What near copies hold beside colours, of one item of each content; None is unknown."""
    grades: dict[int, int] = field(default_factory=dict)
    """Of copies that differ in brightness or colour, those of one look by one number, which orders
    them where nothing else does."""
    regraded: dict[int, str] = field(default_factory=dict)
    """Copies that were regraded, with the trace that says so."""
    recoloured: list[Recoloured] = field(default_factory=list)
    parts: list[Part] = field(default_factory=list)
    skipped: list[ImageFileError] = field(default_factory=list)

    def file(self, item: int) -> FileState:
        """The file of an item, as it is on disk."""
        return self.files.get(item, _PRESENT)

    def readable(self, item: int) -> Item | None:
        """An item with the same bytes whose file is there; None where all of them are offline."""
        sha256 = self.items[item].sha256
        if not self.file(item).offline:
            return self.items[item]
        return self._readable.get(sha256)

    def best(self, items: Iterable[int]) -> int:
        """The item to keep: no link, not offline, with other maps, with a side-car, most pixels,
        not regraded, then depth, floating point, no loss, most bytes, most names, no name of a
        copy, a printable name, the first path.

        Of copies in several looks, what is said of the container counts within one look only.
        """

        def worth(one: int) -> tuple[int | str, ...]:
            look = (one in self.regraded, self.grades.get(one, 0))
            return _worth(self.items[one], self.file(one), self.set_of(one), look)

        return min(items, key=worth)

    def other_look(self, one: int, keep: int) -> tuple[str, bool]:
        """What is known of an item in another look than the file to keep, in words, and whether
        that can stand for it."""
        if self.grades.get(one) == self.grades.get(keep):
            return "", True
        if one in self.regraded and keep not in self.regraded:
            return f"regraded: {self.regraded[one]}", True
        if keep in self.regraded and one not in self.regraded:
            return f"the file to keep was regraded: {self.regraded[keep]}", False
        if self.set_of(keep).rank < self.set_of(one).rank:
            return "", True
        return "graded differently, and which came first is not known", False

    def set_of(self, item: int) -> MapSet:
        """The set that an item is a member of; an empty one for a loose file."""
        return self.sets.get(item) or MapSet(self.items[item].asset)

    def lost_without(self, one: int, keep: int) -> str:
        """What would lack `one` where `keep` stands for it, in words; empty for nothing."""
        own, kept = self.items[one], self.items[keep]
        made = one in self.regraded  # then its container says nothing
        if is_float(own) and not is_float(kept):
            return "floating point: it may hold brighter light"
        if not made and depth_of(own) > depth_of(kept):
            return f"the one to keep has only {depth_of(kept)} bits"
        if _area(own) > _area(kept) * _MORE_PIXELS:
            size = f"{kept.width_px} x {kept.height_px} px"
            return f"more pixels than the file to keep, which has {size}"
        made = made or self.same_pixels.joined(one, keep) or _area(own) < _area(kept)
        if not made and is_lossless(own) and not is_lossless(kept):
            return f"without loss, and the file to keep is {kept.format}"
        return self.set_of(one).lost_without(self.set_of(keep))

    def join_near(self, one: int, other: int, likeness: float) -> None:
        """Two items are near copies."""
        self.near.join(one, other)
        for item in (one, other):
            self.near_likeness[item] = max(likeness, self.near_likeness.get(item, 0.0))

    def structures(self) -> DisjointSets:
        """Families of near copies and recoloured ones together."""
        families = DisjointSets()
        for own in self.near.members():
            for one in own:
                families.join(own[0], one)
        for pair in self.recoloured:
            families.join(pair.one, pair.other)
        return families

    def __post_init__(self) -> None:
        present = (item for one, item in self.items.items() if not self.file(one).offline)
        self._readable = {item.sha256: item for item in present}


def depth_of(item: Item) -> int:
    """Bits of each channel that tell shades apart."""
    if item.format == "HDR":
        return _HDR_BITS
    return item.bits or _DEEP_MODES.get(item.mode, 8)


def is_float(item: Item) -> bool:
    """Whether a file holds floating point, so that white is not the brightest."""
    return item.mode.endswith("F")


def _area(item: Item) -> int:
    return item.width_px * item.height_px


def is_lossless(item: Item) -> bool:
    """Whether a file is in a format that keeps each pixel."""
    return item.format in _LOSSLESS


def _worth(
    item: Item, file: FileState, own_set: MapSet, look: tuple[bool, int]
) -> tuple[int | str, ...]:
    """What sorts the best first. look: whether it was regraded, and the number of its grade."""
    copy_name = _COPY_NAME.search(PurePosixPath(item.path).stem) is not None
    return (
        file.link is not None,
        file.offline,
        *own_set.rank,
        copy_name and not all(own_set.rank),
        -_area(item),
        *look,
        -depth_of(item),
        not is_float(item),
        not is_lossless(item),
        -item.size_bytes,
        -file.names,
        copy_name,
        printable(item.path) != item.path,
        item.path,
    )
