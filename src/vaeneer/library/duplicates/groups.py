"""Groups of copies: a function of verified matches and of facts about the files, which reads none.

Matches are united into families, each group gets the file to keep, and each member says how it
relates to that file.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import PurePosixPath

from vaeneer.data.image_formats import LOSSLESS
from vaeneer.library.catalog import Item, PixelBox
from vaeneer.library.duplicates.report import (
    KINDS,
    WHOLE,
    DuplicateGroup,
    DuplicateItem,
    with_proposal,
)
from vaeneer.library.duplicates.verify import Kind, StructuralSimilarity, copy_kind
from vaeneer.library.file_states import FileState
from vaeneer.text import printable

IDENTICAL = StructuralSimilarity(1.0, 1.0, 0.0, 0.0, 0.0)
"""Similarity of equal pixels."""
_DEEP_MODES = {"I": 32, "F": 32, "I;16": 16, "I;16L": 16, "I;16B": 16, "I;16N": 16}
_HDR_BITS = 8  # of each channel, with one exponent for all
_MORE_PIXELS = 1.02  # a copy with fewer more was cropped or padded by a row
_TURNS = ("", "turned 90°", "turned 180°", "turned 270°")
_WORDS_OF_COPY = r"(?:copy|kopie|copie|copia|kopia|kopya|コピー|副本|копия)"
_COPY_NAME = re.compile(
    rf"\(\d+\)$|(?:^|[\s_-]){_WORDS_OF_COPY}[\s_-]*\d*$|^{_WORDS_OF_COPY} (?:of|von|de|di) ",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Match:
    """Two items whose pixels were compared."""

    a: int
    """An item; of a crop, the picture that contains it."""
    b: int
    """The other item, or the crop."""
    kind: Kind | None
    """None: compared only to describe a member of a group, whatever the similarity."""
    similarity: StructuralSimilarity = IDENTICAL
    orientation: int | None = 0
    """How to turn `a` for `b`, see `verify.ORIENTATIONS`; None is not known."""
    box: PixelBox | None = None
    """Of a crop, in pixels of `a`."""

    @property
    def other_colours(self) -> bool:
        """Whether colours or tone differ by more than a gain."""
        return copy_kind(self.similarity) == "recoloured"


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


@dataclass(frozen=True)
class Facts:
    """The items of a library that can be compared, with what decides which of several to keep."""

    items: Mapping[int, Item]
    files: Mapping[int, FileState] = field(default_factory=dict)
    """Their files as they are on disk; an item without an entry has a plain file of its own."""
    sets: Mapping[int, MapSet] = field(default_factory=dict)
    """Of items with other maps, tiles or a side-car."""
    grades: Mapping[int, int] = field(default_factory=dict)
    """Of copies that differ in brightness or colour, those of one look by one number, which orders
    them where nothing else does."""
    regraded: Mapping[int, str] = field(default_factory=dict)
    """Copies that were regraded, with the trace that says so."""
    extras: Mapping[int, Sequence[str]] = field(default_factory=dict)
    """What near copies hold beside colours, in words, of one item of each content."""
    contents: Mapping[int, int] = field(default_factory=dict)
    """Near copies with one number are copies of each other only: their alpha or pages differ from
    those of the others."""

    @cached_property
    def _present(self) -> dict[str, Item]:
        present = (item for one, item in self.items.items() if not self.file(one).offline)
        return {item.sha256: item for item in present}

    def file(self, item: int) -> FileState:
        """The file of an item, as it is on disk."""
        return self.files.get(item, FileState())

    def readable(self, item: int) -> Item | None:
        """An item with the same bytes whose file is there; None where all of them are offline."""
        if not self.file(item).offline:
            return self.items[item]
        return self._present.get(self.items[item].sha256)

    def set_of(self, item: int) -> MapSet:
        """The set that an item is a member of; an empty one for a loose file."""
        return self.sets.get(item) or MapSet(self.items[item].asset)

    def best(self, items: Iterable[int]) -> int:
        """The item to keep: no link, not offline, with other maps, with a side-car, most pixels,
        not regraded, then depth, floating point, no loss, most bytes, most names, no name of a
        copy, a printable name, the first path.

        Of copies in several looks, what is said of the container counts within one look only.
        """

        def order(one: int) -> tuple[int | str, ...]:
            item, file, rank = self.items[one], self.file(one), self.set_of(one).rank
            copy_name = _COPY_NAME.search(PurePosixPath(item.path).stem) is not None
            return (
                file.link is not None,
                file.offline,
                *rank,
                copy_name and not all(rank),
                -_area_px(item),
                one in self.regraded,
                self.grades.get(one, 0),
                -depth_of(item),
                not _is_float(item),
                not is_lossless(item),
                -item.size_bytes,
                -file.names,
                copy_name,
                printable(item.path) != item.path,
                item.path,
            )

        return min(items, key=order)

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

    def lost_without(self, one: int, keep: int, *, same_pixels: bool) -> str:
        """What would lack `one` where `keep` stands for it, in words; empty for nothing."""
        own, kept = self.items[one], self.items[keep]
        made = one in self.regraded  # then its container says nothing
        if _is_float(own) and not _is_float(kept):
            return "floating point: it may hold brighter light"
        if not made and depth_of(own) > depth_of(kept):
            return f"the one to keep has only {depth_of(kept)} bits"
        if _area_px(own) > _area_px(kept) * _MORE_PIXELS:
            size = f"{kept.width_px} x {kept.height_px} px"
            return f"more pixels than the file to keep, which has {size}"
        made = made or same_pixels or _area_px(own) < _area_px(kept)
        if not made and is_lossless(own) and not is_lossless(kept):
            return f"without loss, and the file to keep is {kept.format}"
        return self.set_of(one).lost_without(self.set_of(keep))


def depth_of(item: Item) -> int:
    """Bits of each channel that tell shades apart."""
    if item.format == "HDR":
        return _HDR_BITS
    return item.bits or _DEEP_MODES.get(item.mode, 8)


def is_lossless(item: Item) -> bool:
    """Whether a file is in a format that keeps each pixel."""
    return item.format in LOSSLESS


def _is_float(item: Item) -> bool:
    """Whether a file holds floating point, so that white is not the brightest."""
    return item.mode.endswith("F")


def _area_px(item: Item) -> int:
    return item.width_px * item.height_px


class Components:
    """Connected components of pairs of items; an item of no pair is alone."""

    def __init__(self, pairs: Iterable[tuple[int, int]]) -> None:
        from scipy.cluster.hierarchy import DisjointSet

        joined = DisjointSet()
        for a, b in pairs:
            joined.add(a)
            joined.add(b)
            joined.merge(a, b)
        self._members: dict[int, list[int]] = {}
        for subset in joined.subsets():
            members = sorted(subset)
            self._members |= dict.fromkeys(members, members)

    def __iter__(self) -> Iterator[list[int]]:
        """The components of two and more items, each ascending, by their least item."""
        found = (own for item, own in self._members.items() if item == own[0] and len(own) > 1)
        return iter(sorted(found))

    def of(self, item: int) -> list[int]:
        """All items of the component of one, ascending."""
        return self._members.get(item, [item])

    def root(self, item: int) -> int:
        """The least item of a component, which stands for it."""
        return self.of(item)[0]

    def joined(self, one: int, other: int) -> bool:
        """Whether two items are of one component."""
        return self.root(one) == self.root(other)


class Families:
    """Matched items at four levels."""

    def __init__(self, matches: Sequence[Match], facts: Facts) -> None:
        pairs: dict[Kind | None, list[tuple[int, int]]] = defaultdict(list)
        for match in matches:
            pairs[match.kind].append((match.a, match.b))
        self.exact = Components(pairs["exact"])
        """Equal files."""
        self.same_pixels = Components(pairs["exact"] + pairs["same_pixels"])
        """Those, and files that hold the same pixels."""
        whole = Components(pairs["exact"] + pairs["near"])
        first: dict[tuple[int, int | None], int] = {}
        near = [
            (first.setdefault((own[0], facts.contents.get(one)), one), one)
            for own in whole
            for one in own
        ]
        self.near = Components(near)
        """Equal files, and copies that were changed a little, of the same alpha and pages."""
        self.structures = Components(near + pairs["recoloured"])
        """Those, and recoloured copies."""


@dataclass(frozen=True)
class Draft:
    """A group before its members are described."""

    kind: Kind
    keep: int
    items: list[int]
    crops: dict[int, Match] = field(default_factory=dict)
    """Of each item that is a part of the file to keep, or a copy of such a part."""


def crops_of(matches: Sequence[Match]) -> list[Match]:
    """Crops; one in other colours only where the same picture is no crop in its own colours of any
    other, since it is a part of the recoloured copies of what it was cut from, too."""
    crops = [match for match in matches if match.kind == "cropped"]
    same_colours = {crop.b for crop in crops if not crop.other_colours}
    return [crop for crop in crops if not (crop.other_colours and crop.b in same_colours)]


def draft_groups(matches: Sequence[Match], families: Families, facts: Facts) -> list[Draft]:
    """Which items each group holds, and the one to keep.

    A group holds every copy that its kind and the kinds before it join: near copies of a file are
    listed with its equals. Parts are listed with what they are a part of, and its copies; of
    recoloured ones the best file of each colour.
    """
    found: list[tuple[Kind, list[int]]] = [("exact", own) for own in families.exact]
    levels: tuple[tuple[Kind, Components, Components], ...] = (
        ("same_pixels", families.same_pixels, families.exact),
        ("near", families.near, families.same_pixels),
    )
    for kind, level, before in levels:
        found += [(kind, own) for own in level if len({before.root(one) for one in own}) > 1]
    several = {
        families.structures.root(match.a)
        for match in matches
        if match.kind == "recoloured" and not families.near.joined(match.a, match.b)
    }
    for own in families.structures:
        if own[0] in several:
            colours: dict[int, list[int]] = defaultdict(list)
            for one in own:
                colours[families.near.root(one)].append(one)
            found.append(("recoloured", [facts.best(same) for same in colours.values()]))
    drafts = [Draft(kind, facts.best(own), own) for kind, own in found]
    return drafts + _draft_crops(crops_of(matches), families.near, facts)


def _draft_crops(crops: Sequence[Match], near: Components, facts: Facts) -> list[Draft]:
    """A group for each picture that others are parts of, unless a larger picture's holds it all."""
    known = {(crop.a, crop.b): crop for crop in crops}
    parts: dict[int, list[Match]] = defaultdict(list)
    for crop in crops:
        # Not in the file to keep where it was not found there: it may be missing.
        crop = known.get((facts.best(near.of(crop.a)), crop.b), crop)
        parts[crop.a].append(crop)
    drafts = []
    for keep, own in sorted(parts.items()):
        members: dict[int, Match] = {}
        for crop in sorted(own, key=lambda one: -one.similarity.value):
            for one in near.of(crop.b):
                members.setdefault(one, crop)
        drafts.append(Draft("cropped", keep, [*{*near.of(keep), *members}], members))
    holders: dict[int, list[set[int]]] = defaultdict(list)
    for draft in drafts:
        for one in draft.items:
            if one != draft.keep:
                holders[one].append(set(draft.items))
    return [
        draft
        for draft in drafts
        if not any(set(draft.items) < other for other in holders[draft.keep])
    ]


def describe_groups(
    drafts: Sequence[Draft], matches: Sequence[Match], families: Families, facts: Facts
) -> list[DuplicateGroup]:
    """All groups: exact, same_pixels, near, cropped, recoloured; the surest of each first."""
    describer = _Describer(matches, families, facts)
    order = {kind: place for place, kind in enumerate(KINDS)}
    groups = sorted(
        (describer.group(draft) for draft in drafts),
        key=lambda group: (
            order[group.kind],
            -round(group.confidence, 3),
            -len(group.items),
            group.keep,
        ),
    )
    return with_proposal([replace(group, id=number) for number, group in enumerate(groups, 1)])


class _Describer:
    """Describes how each member relates to the file to keep."""

    def __init__(self, matches: Sequence[Match], families: Families, facts: Facts) -> None:
        self._families, self._facts = families, facts
        self._aligned = {(one.a, one.b): one for one in matches if one.orientation is not None}
        self._near: dict[int, float] = defaultdict(float)  # similarity to the most similar copy
        self._recoloured: dict[int, float] = defaultdict(float)
        for match in matches:
            for one in (match.a, match.b):
                if match.kind == "near":
                    self._near[one] = max(match.similarity.value, self._near[one])
                elif match.kind == "recoloured":
                    root = families.near.root(one)
                    self._recoloured[root] = max(match.similarity.value, self._recoloured[root])

    def group(self, draft: Draft) -> DuplicateGroup:
        """A group with its members: the one to keep first, the others by path."""
        names: dict[str, list[int]] = defaultdict(list)
        for one in draft.items:
            file = self._facts.file(one)
            if file.link is None and file.identity is not None:
                names[file.identity].append(one)
        paths = {one: self._facts.items[one].path for one in draft.items}
        items = [
            self._item(one, draft, names.get(self._facts.file(one).identity or "", []))
            for one in sorted(draft.items, key=lambda one: (one != draft.keep, paths[one]))
        ]
        confidence = min(item.confidence for item in items)
        return DuplicateGroup(0, draft.kind, items, paths[draft.keep], confidence)

    def _item(self, one: int, draft: Draft, names: Sequence[int]) -> DuplicateItem:
        """names: members that are names of the same file."""
        facts = self._facts
        item, file = facts.items[one], facts.file(one)
        relation, confidence, orientation, change = self._relation(one, draft)
        other = facts.best(names) if names else one
        notes = ["offline: its folder is not there"] if file.offline else []
        if file.link is not None:
            notes.append(f"a symbolic link to {file.link}: deleting it frees nothing")
        elif other != one:
            path = facts.items[other].path
            notes.append(f"a hard link, another name of {path}: deleting it frees nothing")
        elif relation and file.hard_links > max(1, len(names)):
            notes.append("a hard link, with other names elsewhere: deleting it frees nothing")
        look, redundant = "", True
        if relation in ("near", "recoloured"):
            look, redundant = facts.other_look(one, draft.keep)
        if relation in WHOLE and file.link is None:
            same_pixels = self._families.same_pixels.joined(one, draft.keep)
            lost = facts.lost_without(one, draft.keep, same_pixels=same_pixels)
            notes += [lost] if lost else []
        own_set = facts.set_of(one)
        in_set = own_set.asset == item.asset  # else of a link to it
        return DuplicateItem(
            id=one,
            path=item.path,
            box=draft.crops[one].box if one in draft.crops else None,
            relation=relation,
            confidence=confidence,
            orientation=orientation,
            change="; ".join(part for part in (change, look, *notes) if part),
            width_px=item.width_px,
            height_px=item.height_px,
            size_bytes=item.size_bytes,
            redundant=relation in WHOLE and redundant and not notes,
            decision="keep",
            keep_path=facts.items[draft.keep].path,
            maps=own_set.kinds if in_set else [],
            sidecar=in_set and bool(own_set.sidecar),
            link=file.link,
            same_file=facts.items[other].path if other != one and file.link is None else None,
            offline=file.offline,
        )

    def _relation(self, one: int, draft: Draft) -> tuple[Kind | None, float, int | None, str]:
        """Kind, confidence, orientation and change in words of a member, beside the one to keep."""
        families, item, keep = self._families, self._facts.items[one], draft.keep
        if one in draft.crops:
            crop = draft.crops[one]
            assert crop.box is not None
            share = crop.box[2] * crop.box[3] / _area_px(self._facts.items[crop.a])
            words = f"{share:.0%} of the area" + (", other colours" if crop.other_colours else "")
            return "cropped", round(crop.similarity.value, 4), None, words
        if one == keep:
            return None, 1.0, 0, ""
        if families.exact.joined(one, keep):
            return "exact", 1.0, 0, ""
        if families.same_pixels.joined(one, keep):
            return "same_pixels", 1.0, 0, f"{item.format}, {item.mode}"
        kind: Kind = "near" if families.near.joined(one, keep) else "recoloured"
        root = families.exact.root(one)
        known = self._near.get(root) or self._recoloured.get(families.near.root(one), 0.0)
        match = self._aligned.get((root, families.exact.root(keep)))
        if match is None:
            return kind, round(known, 4), None, "not aligned"
        words = self._change(one, keep, match)
        return kind, round(max(match.similarity.value, known), 4), match.orientation, words

    def _change(self, one: int, keep: int, match: Match) -> str:
        """What was done to a copy, in words: mirrored, turned 90°, scaled by 0.50."""
        small, large = (self._facts.items[item] for item in (one, keep))
        assert match.orientation is not None
        turns = match.orientation % 4
        if match.orientation < 4:
            turns = -turns % 4  # what was done is the inverse; that of a mirror image is itself
        words = ["mirrored"] if match.orientation >= 4 else []
        words += [_TURNS[turns]] if turns else []
        scale = (_area_px(small) / _area_px(large)) ** 0.5
        if not 0.99 < scale < 1.01:
            words.append(f"scaled by {scale:.2f}")
        if small.bits and large.bits and depth_of(small) != depth_of(large):
            words.append(f"{depth_of(small)} bits instead of {depth_of(large)}")
        roots = (self._families.same_pixels.root(item) for item in (one, keep))
        ours, whole = (self._facts.extras.get(root, ()) for root in roots)
        words += [f"without {name}" for name in whole if not ours]
        if not 0.97 < match.similarity.gain < 1.03:
            much = 1 / match.similarity.gain
            words.append(f"{'brighter' if much > 1 else 'darker'} by {much:.2f}")
        if match.other_colours:
            levels = max(match.similarity.colour_levels, match.similarity.tone_levels)
            words.append(f"colours off by {levels:.0f} levels")
        return ", ".join(words) or f"saved as {small.format}"
