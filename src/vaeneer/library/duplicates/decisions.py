"""Decisions about duplicates: which files are kept, and which file stands for each redundant one.

A decision belongs to a file, not to a group: a file that is redundant in one group is shown as
redundant in each. The proposal is that of `duplicates`; a person's marks change it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from vaeneer.library.duplicates.groups import WHOLE, Group
from vaeneer.library.duplicates.report import Decision, DuplicateGroup
from vaeneer.text import to_csv

_T = TypeVar("_T", int, str)
COLUMNS = ("path", "group", "kind", "decision", "keep_path", "box")
"""Of the CSV, of the command line and of the page."""
_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")


@dataclass(frozen=True)
class Mark:
    """Decision of a person about one file."""

    decision: Decision
    keep_path: str
    """The file that stands for it; of the file to keep, its own path."""


Marks = Mapping[str, Mark]
"""By path, below the library's folder of images."""


def proposed_keepers(groups: Sequence[Group]) -> dict[int, int]:
    """Item that stands for each redundant one: the best of the largest group that says so."""
    keepers = {
        member.item: group.keep
        for group in groups  # exact ones first, near ones last
        if group.kind in WHOLE
        for member in group.members
        if member.redundant
    }
    return {one: _last(one, keepers.get) for one in keepers}


def valid_marks(groups: Sequence[DuplicateGroup], marks: Marks) -> dict[str, Mark]:
    """Marks whose file and file to keep are still copies of each other, in one of all groups."""
    groups_of: dict[str, set[int]] = defaultdict(set)
    for group in groups:
        for item in group.items:
            groups_of[item.path].add(group.id)
    return {
        path: mark
        for path, mark in marks.items()
        if not groups_of.get(path, set()).isdisjoint(groups_of.get(mark.keep_path, set()))
    }


def decided(groups: Sequence[DuplicateGroup], marks: Marks) -> list[DuplicateGroup]:
    """All groups with their decisions, once a person's marks are applied to the proposal."""
    marks = valid_marks(groups, marks)
    proposal = {
        item.path: item.keep_path
        for group in groups
        for item in group.items
        if item.decision == "redundant"
    }

    def stands_for(path: str) -> str | None:
        mark = marks.get(path)
        if mark is None:
            return proposal.get(path)
        return mark.keep_path if mark.decision == "redundant" else None

    return [_with_decisions(group, marks, stands_for) for group in groups] if marks else [*groups]


def redundant_in(groups: Iterable[DuplicateGroup]) -> dict[str, int]:
    """Bytes of each redundant file, by path."""
    items = (item for group in groups for item in group.items)
    return {item.path: item.size_bytes for item in items if item.decision == "redundant"}


def csv_text(groups: Iterable[DuplicateGroup]) -> str:
    """One line for each file of each group, fit for UTF-8.

    Paths are below the folder of the images; one that a spreadsheet would take for a formula starts
    with "./". box: x,y,width,height of a part in the file of its group to keep, pixels.
    """
    rows = [
        (
            *(_safe(item.path), group.id, group.kind),
            *(item.decision, _safe(item.keep_path), ",".join(map(str, item.box or ()))),
        )
        for group in groups
        for item in group.items
    ]
    return to_csv([COLUMNS, *rows])


def _with_decisions(
    group: DuplicateGroup, marks: Marks, stands_for: Callable[[str], str | None]
) -> DuplicateGroup:
    lasts = {item.path: _last(item.path, stands_for) for item in group.items}
    keep = _keeper(group, marks)
    if lasts[keep] != keep:  # redundant itself: then whatever of the group is kept
        kept = (path for path, last in lasts.items() if path == last)
        keep = lasts[keep] if lasts[keep] in lasts else next(kept, keep)
    items = []
    for item in group.items:
        last = lasts[item.path]
        redundant = last != item.path
        items.append(
            replace(
                item,
                decision="redundant" if redundant else "keep",
                keep_path=last if redundant else keep,
            )
        )
    return replace(group, items=items, keep=keep)


def _keeper(group: DuplicateGroup, marks: Marks) -> str:
    """The file of a group to keep: that which a person chose, else the proposed one."""
    own = {item.path for item in group.items}

    def following(path: str) -> str | None:
        mark = marks.get(path)
        return mark.keep_path if mark and mark.keep_path in own else None

    if group.keep in marks:
        return _last(group.keep, following)
    chosen = (_last(item.path, following) for item in group.items)
    others = {marks[path].keep_path for path in own & marks.keys() if marks[path].keep_path != path}
    return next((path for path in chosen if path in others), group.keep)


def _last(one: _T, following: Callable[[_T], _T | None]) -> _T:
    """End of a chain; the start itself where the chain is a ring."""
    seen, now = {one}, one
    while (after := following(now)) is not None and after != now:
        if after in seen:
            return one
        seen.add(after)
        now = after
    return now


def _safe(path: str) -> str:
    return f"./{path}" if path.startswith(_FORMULA_STARTS) else path
