"""The search for copies in a library, from the cheapest question to the dearest.

Equal files, by their hash; the same frame, by thumbnails of candidates; the same pixels, by
decoding those that look the same; parts, by local features, of one picture of each family only.
Last, near copies that differ in alpha, pages or frames are told apart.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import PurePosixPath

import numpy as np
from filelock import FileLock
from PIL import Image

from vaeneer.data.filenames import group_names
from vaeneer.data.image_files import decode_file
from vaeneer.data.image_headers import stored_bits
from vaeneer.data.pixel_digest import pixel_digest
from vaeneer.errors import ImageFileError
from vaeneer.library.catalog import Ids, Item, Vectors
from vaeneer.library.duplicates.candidates import Pairs, container_pairs, frame_pairs
from vaeneer.library.duplicates.features import WORKING_PX, FeatureStore
from vaeneer.library.duplicates.matches import (
    Copies,
    DisjointSets,
    MapSet,
    Part,
    Recoloured,
    is_lossless,
)
from vaeneer.library.duplicates.near_copies import (
    ExtraContent,
    Grade,
    content_classes,
    grades_of,
    keep_extras,
    known_extras,
    name_order,
    read_extra,
    regraded,
    try_traces,
)
from vaeneer.library.duplicates.verify import CropMatch, copy_kind, frame_proofs, verify_crop
from vaeneer.library.file_states import OFFLINE, FileState, file_states
from vaeneer.library.open_library import OpenLibrary
from vaeneer.progress import Progress
from vaeneer.workers import core_count, prefetch

_SAME_PIXELS_LEVELS = 1.0  # by which thumbnails of the same pixels may differ, at reduced decoding


def find_copies(
    library: OpenLibrary, least: float, progress: Progress
) -> tuple[Copies, FeatureStore]:
    """Every copy of a picture in a library that is at least so likely one, and the sketches."""
    copies = _comparable(library)
    distinct = _join_equal_files(copies)
    sketches = FeatureStore(library.folder)
    with FileLock(library.folder / ".sketches.lock"):
        copies.skipped += sketches.ensure(
            {
                copies.items[one].sha256: partial(picture_of, library, copies, one, WORKING_PX)
                for one in distinct
            },
            workers=core_count(),
            progress=progress,
        )
    seen = [one for one in distinct if copies.items[one].sha256 in sketches]
    wholes = _of_items(library.catalog.wholes(), seen)
    pairs = frame_pairs(library.image_index, wholes, library.catalog.fingerprints())
    _join_frames(copies, sketches, pairs, least, progress)
    _complete_depths(copies, library)
    _join_same_pixels(copies, sketches, library, progress)
    _find_parts(copies, sketches, library, wholes, least, progress)
    _complete_depths(copies, library)  # of those that parts have joined
    _tell_grades_apart(copies, sketches, library, progress)
    _tell_extras_apart(copies, sketches, library, progress)
    return copies, sketches


def picture_of(library: OpenLibrary, copies: Copies, one: int, at_least_px: int) -> Image.Image:
    """The picture of an item, from any file of its bytes; at_least_px as in `read_image`.

    Raises ImageFileError.
    """
    return library.picture(_readable(library, copies, one), at_least_px=at_least_px)


def _readable(library: OpenLibrary, copies: Copies, one: int) -> Item:
    """An item with the same bytes whose file is there. Raises ImageFileError for none."""
    item = copies.readable(one)
    if item is None:
        raise ImageFileError(library.path(copies.items[one]), OFFLINE)
    return item


def _comparable(library: OpenLibrary) -> Copies:
    """All items whose files are there and as they were indexed, or offline."""
    items = library.catalog.items()
    files = file_states(library.root, items)
    there = {item.id: item for item in items if not files[item.id].absent}
    copies = Copies(there, files, _map_sets(library, there, files))
    for item in items:
        if files[item.id].absent:
            copies.skipped.append(ImageFileError(library.path(item), files[item.id].absent))
    return copies


def _map_sets(
    library: OpenLibrary, items: Mapping[int, Item], files: Mapping[int, FileState]
) -> dict[int, MapSet]:
    """The sets of those items that have other maps, tiles or a side-car."""
    maps: dict[str, set[tuple[str, int]]] = defaultdict(set)
    rows = library.catalog.execute("SELECT path, asset, kind, size_bytes FROM maps").fetchall()
    for _, asset, kind, size in rows:
        maps[asset].add((kind, size))
    paths = {PurePosixPath(item.path): item.id for item in items.values()}
    names = group_names([*paths, *(PurePosixPath(row[0]) for row in rows)])
    sidecars = dict(library.catalog.execute("SELECT asset, sidecar FROM assets").fetchall())
    found = {}
    for path, one in paths.items():
        asset = items[one].asset
        own = MapSet(asset, frozenset(maps[asset]), names[path].tile, sidecars.get(asset) or "")
        if not all(own.rank):
            found[one] = own
    return found | _sets_of_targets(items, files, found)


def _sets_of_targets(
    items: Mapping[int, Item], files: Mapping[int, FileState], sets: Mapping[int, MapSet]
) -> dict[int, MapSet]:
    """The sets of loose files that a symbolic link in a set leads to: it would break, too."""
    linked = {files[one].identity: own for one, own in sets.items() if files[one].link is not None}
    return {
        one: linked[files[one].identity]
        for one in items
        if one not in sets
        and files[one].link is None
        and files[one].identity is not None
        and files[one].identity in linked
    }


def _join_equal_files(copies: Copies) -> list[int]:
    """Join equal files in all families; returns one item of each content, ascending."""
    first: dict[str, int] = {}
    for one in sorted(copies.items):
        known = first.setdefault(copies.items[one].sha256, one)
        if known != one:
            for families in (copies.exact, copies.same_pixels, copies.near):
                families.join(known, one)
    return sorted(first.values())


def _join_frames(
    copies: Copies, sketches: FeatureStore, pairs: Pairs, least: float, progress: Progress
) -> None:
    """Join near copies of one frame, and remember recoloured ones."""
    with progress.bar("comparing frames", total=len(pairs), unit="images") as bar:
        for one, others in pairs.items():
            open_ones = [other for other in others if not copies.near.joined(one, other)]
            thumbs = [sketches.thumb(copies.items[other].sha256) for other in open_ones]
            own = sketches.thumb(copies.items[one].sha256)
            proofs = frame_proofs(own, np.stack(thumbs), least) if thumbs else []
            for other, proof in zip(open_ones, proofs, strict=True):
                if proof is not None and proof.kind == "near":
                    copies.join_near(one, other, proof.likeness.value)
                elif proof is not None:
                    copies.recoloured.append(Recoloured(one, other, proof.likeness.value))
            bar.advance()


def _join_same_pixels(
    copies: Copies, sketches: FeatureStore, library: OpenLibrary, progress: Progress
) -> None:
    """Join what holds the same pixels among near copies of one size."""
    asked = _look_the_same(copies, sketches)
    known = library.catalog.pixel_hashes()
    found: dict[int, bytes] = {}
    unknown = [one for one in asked if one not in known]
    with progress.bar("comparing pixels", total=len(unknown), unit="images") as bar:
        for one in unknown:
            try:
                found[one] = pixel_digest(library.path(_readable(library, copies, one)))
            except ImageFileError as error:
                copies.skipped.append(error)
            bar.advance()
    if found:
        library.catalog.keep_pixel_hashes(found)
    first: dict[bytes, int] = {}
    for one in asked:
        hashed = found.get(one) or known.get(one)
        if hashed is not None:
            copies.same_pixels.join(first.setdefault(hashed, one), one)


def _look_the_same(copies: Copies, sketches: FeatureStore) -> list[int]:
    """Items of different files whose pixels may be the same."""
    asked: set[int] = set()
    for family in copies.near.members():
        by_size: dict[tuple[int, int], list[int]] = defaultdict(list)
        for one in family:
            item = copies.items[one]
            if copies.exact.root(one) == one and item.sha256 in sketches:
                by_size[item.width_px, item.height_px].append(one)
        for group in by_size.values():
            thumbs = [sketches.thumb(copies.items[one].sha256) for one in group]
            for place, own in enumerate(thumbs):
                near = [float(np.abs(own - other).mean()) for other in thumbs]
                if sum(difference <= _SAME_PIXELS_LEVELS for difference in near) > 1:
                    asked.add(group[place])
    return sorted(asked)


def _find_parts(
    copies: Copies,
    sketches: FeatureStore,
    library: OpenLibrary,
    wholes: Vectors,
    least: float,
    progress: Progress,
) -> None:
    """Look for the best of each family as a part of others' best."""
    families: dict[int, list[int]] = defaultdict(list)
    for one in wholes.items.tolist():
        families[copies.near.root(one)].append(one)
    best = sorted(copies.best(own) for own in families.values())
    wholes = _of_items(wholes, best)
    parts = _crops_of(library, best)
    pairs = container_pairs(library.image_index, library.crop_index, wholes, parts)
    asked = _each_once(pairs)

    def proved(number: int) -> CropMatch | ImageFileError | None:
        try:
            return prove_part(library, sketches, copies, *asked[number], least)
        except ImageFileError as error:
            return error

    proofs = prefetch(proved, range(len(asked)), workers=core_count())
    with progress.bar("looking for parts", total=len(asked), unit="pairs") as bar:
        for (container, part), proof in zip(asked, proofs, strict=True):
            if isinstance(proof, ImageFileError):
                copies.skipped.append(proof)
            elif proof is not None:
                _keep_part(copies, container, part, proof)
            bar.advance()


def _each_once(pairs: Pairs) -> list[tuple[int, int]]:
    """(container, part) of each pair, in the first order that it is asked in."""
    asked: dict[tuple[int, int], tuple[int, int]] = {}
    for part, containers in pairs.items():
        for container in containers:
            asked.setdefault((min(part, container), max(part, container)), (container, part))
    return list(asked.values())


def _keep_part(copies: Copies, one: int, other: int, proof: CropMatch) -> None:
    container, part = (other, one) if proof.swapped else (one, other)
    likeness = proof.likeness.value
    if proof.kind == "near":
        copies.join_near(one, other, likeness)
    elif proof.kind == "recoloured":
        copies.recoloured.append(Recoloured(one, other, likeness))
    else:
        item = copies.items[container]
        box = proof.box(item.width_px, item.height_px)
        other_colours = copy_kind(proof.likeness) == "recoloured"
        copies.parts.append(Part(container, part, box, likeness, other_colours))


def prove_part(
    library: OpenLibrary, sketches: FeatureStore, copies: Copies, one: int, other: int, least: float
) -> CropMatch | None:
    """Whether one of two items is a part of the other. Raises ImageFileError, see `verify_crop`."""

    def read(second: bool, at_least_px: int) -> Image.Image:
        return picture_of(library, copies, other if second else one, at_least_px)

    first, second = (sketches[copies.items[number].sha256] for number in (one, other))
    return verify_crop(first, second, read, least)


def _complete_depths(copies: Copies, library: OpenLibrary) -> None:
    """Read the depth of near copies that an older vaeneer indexed, and remember it."""
    found: dict[int, int] = {}
    for one in (one for family in copies.near.members() for one in family):
        item = copies.readable(one)
        if copies.items[one].bits is not None or item is None:
            continue
        try:
            bits = decode_file(library.path(item), lambda image, of: stored_bits(image, of.start))
        except ImageFileError:  # another decoder read it: its mode says what there is to say
            continue
        copies.items[one] = replace(copies.items[one], bits=bits)
        found[one] = bits
    if found:
        with library.catalog.writing() as connection:
            rows = [(bits, one) for one, bits in found.items()]
            connection.executemany("UPDATE items SET bits = ? WHERE id = ?", rows)


def _tell_grades_apart(
    copies: Copies, sketches: FeatureStore, library: OpenLibrary, progress: Progress
) -> None:
    """Number the looks of copies that differ in brightness or colour; find which were rebuilt."""
    found = []
    for own in copies.structures().members():
        seen = [one for one in own if copies.items[one].sha256 in sketches]
        grades = grades_of(seen, lambda one: sketches.thumb(copies.items[one].sha256))
        if len(grades) > 1:
            found.append(grades)
    with progress.bar("comparing grades", total=len(found), unit="groups") as bar:
        for grades in found:
            copies.regraded |= regraded([_traced(copies, library, grade) for grade in grades])
            grades.sort(key=lambda grade: name_order(copies.items[one].path for one in grade))
            copies.grades |= {one: number for number, own in enumerate(grades) for one in own}
            bar.advance()


def _traced(copies: Copies, library: OpenLibrary, items: list[int]) -> Grade:
    """Copies of one look with the traces of the largest files: smaller ones have lost theirs."""
    grade = Grade(items)
    distinct = {copies.same_pixels.root(one): one for one in items}.values()
    areas = {one: copies.items[one].width_px * copies.items[one].height_px for one in distinct}
    for one in distinct:
        item = copies.readable(one)
        if item is None or areas[one] < max(areas.values()):
            continue
        traces = try_traces(library.path(item))
        if traces is not None:
            (grade.lossless if is_lossless(item) else grade.lossy).append(traces)
    return grade


def _tell_extras_apart(
    copies: Copies, sketches: FeatureStore, library: OpenLibrary, progress: Progress
) -> None:
    """Part families of near copies whose alpha, pages or frames differ.

    What holds less is a near copy of what holds more, where that is the one to keep.
    """
    families = [_by_content(copies, family) for family in copies.near.members()]
    copies.extras = _extras(
        copies,
        library,
        [unit[0] for units in families if len(units) > 1 for unit in units],
        progress,
    )
    copies.near = DisjointSets()
    for units in families:
        firsts = [unit[0] for unit in units]
        extras = [copies.extras.get(one, ExtraContent()) for one in firsts]

        def agree(one: int, other: int, firsts: list[int] = firsts) -> bool:
            return _extras_agree(copies, sketches, firsts[one], firsts[other])

        classes = content_classes(extras, agree)
        best = copies.best(one for unit in units for one in unit)
        whole = len(classes) == 1 and any(best in units[number] for number in classes[0])
        rest = set(range(len(units))).difference(*classes)
        for numbers in [range(len(units))] if whole or not classes else [sorted(rest), *classes]:
            own = [one for number in numbers for one in units[number]]
            for one in own[1:]:
                copies.near.join(own[0], one)


def _by_content(copies: Copies, family: Sequence[int]) -> list[list[int]]:
    """The items of a family, those together that hold the same pixels."""
    units: dict[int, list[int]] = defaultdict(list)
    for one in family:
        units[copies.same_pixels.root(one)].append(one)
    return list(units.values())


def _extras(
    copies: Copies, library: OpenLibrary, wanted: Sequence[int], progress: Progress
) -> dict[int, ExtraContent | None]:
    """Extra content of items; None where it is unknown."""
    known: dict[int, ExtraContent | None] = {**known_extras(library.catalog)}
    unknown = [one for one in wanted if one not in known]
    found: dict[int, ExtraContent] = {}

    def read(number: int) -> ExtraContent | None:
        try:
            return read_extra(library.path(_readable(library, copies, unknown[number])))
        except ImageFileError:
            return None

    extras = prefetch(read, range(len(unknown)), workers=core_count())
    with progress.bar("comparing alpha and pages", total=len(unknown), unit="images") as bar:
        for one, extra in zip(unknown, extras, strict=True):
            bare = extra is None and "A" not in copies.items[one].mode
            known[one] = ExtraContent() if bare else extra
            if extra is not None:
                found[one] = extra
            bar.advance()
    if found:
        keep_extras(library.catalog, found)
    return known


def _extras_agree(copies: Copies, sketches: FeatureStore, one: int, other: int) -> bool:
    ours, theirs = copies.extras[one], copies.extras[other]
    items = [copies.items[item] for item in (one, other)]
    shas = [item.sha256 for item in items]
    if ours is None or theirs is None or not all(sha256 in sketches for sha256 in shas):
        return False
    proof = frame_proofs(sketches.thumb(shas[0]), sketches.thumb(shas[1])[None], 0.0)[0]
    scaled = len({item.width_px * item.height_px for item in items}) > 1
    return proof is not None and ours.agrees(theirs, proof.orientation, scaled=scaled)


def _of_items(wholes: Vectors, items: list[int]) -> Vectors:
    rows = np.isin(wholes.items, items)
    return Vectors(wholes.crops[rows], wholes.items[rows], wholes.vectors[rows])


def _crops_of(library: OpenLibrary, items: list[int]) -> tuple[Ids, Ids]:
    """Ids and items of the parts of some items, by id."""
    rows = library.catalog.execute("SELECT id, item FROM crops WHERE scale > 0 ORDER BY id")
    table = np.array(rows.fetchall(), np.int64).reshape(-1, 2)
    kept = table[np.isin(table[:, 1], items)]
    return kept[:, 0].copy(), kept[:, 1].copy()
