"""Copies as groups: of one kind each, with one file to keep."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from vaeneer.errors import ImageFileError
from vaeneer.library.catalog import PixelBox
from vaeneer.library.duplicates.detect import prove_part
from vaeneer.library.duplicates.features import FeatureStore
from vaeneer.library.duplicates.matches import Copies, DisjointSets, Part, depth_of
from vaeneer.library.duplicates.verify import CopyMatch, Kind, frame_proofs
from vaeneer.library.open_library import OpenLibrary

KINDS: tuple[Kind, ...] = ("exact", "same_pixels", "near", "cropped", "recoloured")
WHOLE: tuple[Kind, ...] = ("exact", "same_pixels", "near")
"""Kinds of copies that the file to keep can stand for."""
_TURNS = ("", "turned 90°", "turned 180°", "turned 270°")


@dataclass(frozen=True)
class Member:
    """One file of a group."""

    item: int
    relation: Kind | None
    """What it is to the file to keep; None is that file."""
    confidence: float
    """0 to 1."""
    box: PixelBox | None = None
    """The place of a part in the file to keep, pixels."""
    orientation: int | None = None
    """How to turn it for the file to keep, as in `likeness.ORIENTATIONS`; None: not known."""
    change: str = ""
    """What was done to it, in words: mirrored, turned 90° (counter-clockwise), scaled by 0.50."""
    redundant: bool = False
    """Whether the file to keep can stand for it, and its bytes are free once it is deleted."""
    link: str | None = None
    """Target of a symbolic link: below the root, or absolute."""
    same_file: int | None = None
    """Item that is the better name of the same file (hard link)."""
    offline: bool = False
    """Whether its folder is not there."""


@dataclass(frozen=True)
class Group:
    """Files that are copies of each other."""

    kind: Kind
    keep: int
    """The item to keep, see `Copies.best`."""
    members: tuple[Member, ...]
    """The one to keep first, the others by path."""

    @property
    def confidence(self) -> float:
        """Of the least certain member, 0 to 1."""
        return min(member.confidence for member in self.members)

    def to_dict(self) -> dict[str, Any]:
        """The group as one JSON object, by ids."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Group:
        """The group that `to_dict` told."""
        members = tuple(
            Member(**one | {"box": None if one["box"] is None else tuple(one["box"])})
            for one in values["members"]
        )
        return cls(values["kind"], values["keep"], members)


def groups_of(
    copies: Copies, sketches: FeatureStore, library: OpenLibrary, least: float
) -> list[Group]:
    """All groups: exact, same_pixels, near, cropped, recoloured; the surest of each first.

    A group holds every copy that its kind and the kinds before it join: near copies of a file are
    listed with its equals. Parts are listed with what they are a part of, and its copies; of
    recoloured ones the best file of each colour.
    """
    told = _GroupBuilder(copies, sketches)
    groups = [told.group("exact", own) for own in copies.exact.members()]
    levels: tuple[tuple[Kind, DisjointSets, DisjointSets], ...] = (
        ("same_pixels", copies.same_pixels, copies.exact),
        ("near", copies.near, copies.same_pixels),
    )
    for kind, families, before in levels:
        for own in families.members():
            if len({before.root(one) for one in own}) > 1:
                groups.append(told.group(kind, own))
    groups += _cropped(copies, sketches, library, least, told)
    groups += [told.group("recoloured", own) for own in _recoloured(copies)]
    order = {kind: place for place, kind in enumerate(KINDS)}
    return sorted(
        groups,
        key=lambda group: (
            order[group.kind],
            -round(group.confidence, 3),
            -len(group.members),
            copies.items[group.keep].path,
        ),
    )


def _recoloured(copies: Copies) -> list[list[int]]:
    """Families of one structure in several colours: the best file of each.

    Their near copies are in the group of those.
    """
    families = copies.structures()
    several = {
        pair.one for pair in copies.recoloured if not copies.near.joined(pair.one, pair.other)
    }
    roots = {families.root(one) for one in several}
    found = []
    for own in families.members():
        if families.root(own[0]) in roots:
            colours: dict[int, list[int]] = defaultdict(list)
            for one in own:
                colours[copies.near.root(one)].append(one)
            found.append(sorted(copies.best(same) for same in colours.values()))
    return found


def _cropped(
    copies: Copies, sketches: FeatureStore, library: OpenLibrary, least: float, told: _GroupBuilder
) -> list[Group]:
    """A group for each picture that others are parts of."""
    family = _family_of(copies)
    parts: dict[int, list[Part]] = defaultdict(list)
    same_colours = {part.part for part in copies.parts if not part.recoloured}
    for part in copies.parts:
        if part.recoloured and part.part in same_colours:
            continue  # a part of the recoloured copies of what it was cut from, too
        kept = _relocate_in_best(copies, sketches, library, part, family(part.container), least)
        parts[kept.container].append(kept)
    groups = []
    for keep, own in sorted(parts.items()):
        known: dict[int, Part] = {}
        for part in sorted(own, key=lambda one: -one.likeness):
            for one in family(part.part):
                known.setdefault(one, part)
        members = [told.member(keep, one) for one in family(keep) if one not in known]
        members += [
            Member(one, "cropped", round(part.likeness, 4), part.box, None, _share(copies, part))
            for one, part in known.items()
        ]
        groups.append(told.sorted_group("cropped", keep, members))
    return _without_parts_of_parts(groups)


def _without_parts_of_parts(groups: list[Group]) -> list[Group]:
    """Leaves out a group that the group of a larger picture tells whole."""
    where: dict[int, list[set[int]]] = defaultdict(list)
    for group in groups:
        own = {member.item for member in group.members}
        for item in own - {group.keep}:
            where[item].append(own)
    return [
        group
        for group in groups
        if not any({member.item for member in group.members} < other for other in where[group.keep])
    ]


def _relocate_in_best(
    copies: Copies,
    sketches: FeatureStore,
    library: OpenLibrary,
    part: Part,
    containers: list[int],
    least: float,
) -> Part:
    """Place of a crop in the file to keep; it may be missing, since groups are merged while crops
    are still being matched."""
    best = copies.best(containers)
    if best == part.container:
        return part
    try:
        proof = prove_part(library, sketches, copies, best, part.part, least)
    except (ImageFileError, KeyError):
        return part
    if proof is None or proof.swapped or proof.kind != "cropped":
        return part
    item = copies.items[best]
    box = proof.box(item.width_px, item.height_px)
    return replace(part, container=best, box=box, likeness=proof.likeness.value)


def _family_of(copies: Copies) -> Callable[[int], list[int]]:
    known = {copies.near.root(own[0]): own for own in copies.near.members()}
    return lambda one: known.get(copies.near.root(one), [one])


def _share(copies: Copies, part: Part) -> str:
    item = copies.items[part.container]
    share = part.box[2] * part.box[3] / (item.width_px * item.height_px)
    return f"{share:.0%} of the area" + (", other colours" if part.recoloured else "")


class _GroupBuilder:
    """Describes how each member relates to the file to keep."""

    def __init__(self, copies: Copies, sketches: FeatureStore) -> None:
        self.copies = copies
        self.sketches = sketches
        self.recoloured: dict[int, float] = {}
        for pair in copies.recoloured:
            for one in (copies.near.root(pair.one), copies.near.root(pair.other)):
                self.recoloured[one] = max(pair.likeness, self.recoloured.get(one, 0.0))

    def group(self, kind: Kind, items: Iterable[int]) -> Group:
        """A group of near copies or of recoloured ones."""
        items = list(items)
        keep = self.copies.best(items)
        return self.sorted_group(kind, keep, [self.member(keep, one) for one in items])

    def sorted_group(self, kind: Kind, keep: int, members: Iterable[Member]) -> Group:
        """Members in their order: the one to keep first, the others by path."""
        items = self.copies.items
        order = sorted(members, key=lambda one: (one.item != keep, items[one.item].path))
        return Group(kind, keep, tuple(self._with_files(order)))

    def _with_files(self, members: list[Member]) -> list[Member]:
        """Members with what their files are: links, further names, offline, or redundant."""
        names: dict[str | None, list[int]] = defaultdict(list)
        for one in members:
            file = self.copies.file(one.item)
            if file.link is None and file.identity is not None:
                names[file.identity].append(one.item)
        best = {identity: self.copies.best(own) for identity, own in names.items()}
        keep = members[0].item
        return [self._with_file(one, names, best, keep) for one in members]

    def _with_file(
        self,
        member: Member,
        names: dict[str | None, list[int]],
        best: dict[str | None, int],
        keep: int,
    ) -> Member:
        file = self.copies.file(member.item)
        other = best.get(file.identity, member.item)
        notes = ["offline: its folder is not there"] if file.offline else []
        if file.link is not None:
            notes.append(f"a symbolic link to {file.link}: deleting it frees nothing")
        elif other != member.item:
            path = self.copies.items[other].path
            notes.append(f"a hard link, another name of {path}: deleting it frees nothing")
        elif member.relation and file.hard_links > len(names.get(file.identity, [member.item])):
            notes.append("a hard link, with other names elsewhere: deleting it frees nothing")
        look, redundant = "", True
        if member.relation in ("near", "recoloured"):
            look, redundant = self.copies.other_look(member.item, keep)
        if member.relation in WHOLE and file.link is None:
            lost = self.copies.lost_without(member.item, keep)
            notes += [lost] if lost else []
        return replace(
            member,
            change="; ".join(part for part in (member.change, look, *notes) if part),
            redundant=member.relation in WHOLE and redundant and not notes,
            link=file.link,
            same_file=other if other != member.item and file.link is None else None,
            offline=file.offline,
        )

    def member(self, keep: int, one: int) -> Member:
        """A member that shows what the one to keep shows."""
        copies = self.copies
        if one == keep:
            return Member(one, None, 1.0, None, 0)
        if copies.exact.joined(one, keep):
            return Member(one, "exact", 1.0, None, 0)
        if copies.same_pixels.joined(one, keep):
            item = copies.items[one]
            return Member(one, "same_pixels", 1.0, None, 0, f"{item.format}, {item.mode}")
        kind: Kind = "near" if copies.near.joined(one, keep) else "recoloured"
        proof = self._proof(one, keep)
        if proof is None:
            return Member(one, kind, round(self._known_likeness(one), 4), None, None, "not aligned")
        confidence = round(max(proof.likeness.value, self._known_likeness(one)), 4)
        return Member(one, kind, confidence, None, proof.orientation, self._words(one, keep, proof))

    def _proof(self, one: int, keep: int) -> CopyMatch | None:
        shas = [self.copies.items[item].sha256 for item in (one, keep)]
        if not all(sha256 in self.sketches for sha256 in shas):
            return None
        left, right = (self.sketches.thumb(sha256) for sha256 in shas)
        return frame_proofs(left, np.asarray(right[None]), 0.0)[0]

    def _known_likeness(self, one: int) -> float:
        """To the copy that is most like it, which may be another than the one to keep."""
        found = self.copies.near_likeness.get(self.copies.exact.root(one), 0.0)
        return found or self.recoloured.get(self.copies.near.root(one), 0.0)

    def _lacking(self, one: int, keep: int) -> list[str]:
        """What the one to keep holds beside the colours, and this one does not."""
        roots = (self.copies.same_pixels.root(item) for item in (one, keep))
        ours, whole = (self.copies.extras.get(root) for root in roots)
        if not whole or ours:
            return []
        lacking = {"alpha": whole.alpha is not None, "further pages or frames": whole.frames}
        return [f"without {name}" for name, held in lacking.items() if held]

    def _words(self, one: int, keep: int, proof: CopyMatch) -> str:
        small, large = (self.copies.items[item] for item in (one, keep))
        turns = proof.orientation % 4
        if proof.orientation < 4:
            turns = -turns % 4  # what was done is the inverse; that of a mirror image is itself
        words = ["mirrored"] if proof.orientation >= 4 else []
        words += [_TURNS[turns]] if turns else []
        scale = (small.width_px * small.height_px / (large.width_px * large.height_px)) ** 0.5
        if not 0.99 < scale < 1.01:
            words.append(f"scaled by {scale:.2f}")
        if small.bits and large.bits and depth_of(small) != depth_of(large):
            words.append(f"{depth_of(small)} bits instead of {depth_of(large)}")
        words += self._lacking(one, keep)
        if not 0.97 < proof.likeness.gain < 1.03:
            much = 1 / proof.likeness.gain
            words.append(f"{'brighter' if much > 1 else 'darker'} by {much:.2f}")
        if proof.kind == "recoloured":
            levels = max(proof.likeness.colour_levels, proof.likeness.tone_levels)
            words.append(f"colours off by {levels:.0f} levels")
        return ", ".join(words) or f"saved as {small.format}"
