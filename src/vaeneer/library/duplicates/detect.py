"""Detection of duplicates: candidates from vectors and hashes, each verified by its pixels, united.

The cheapest test comes first: hashes of files, thumbnails of whole pictures, decoded pixels, and
local features of one picture of each family.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path, PurePosixPath

import numpy as np
from filelock import FileLock
from numpy.typing import NDArray
from PIL import Image

from vaeneer.data.filenames import group_names
from vaeneer.data.image_files import decode_file
from vaeneer.data.image_formats import stored_bits
from vaeneer.data.images import read_rgb
from vaeneer.data.perceptual_hash import Fingerprint
from vaeneer.data.pixel_digest import pixel_digest
from vaeneer.errors import ImageFileError
from vaeneer.library.catalog import Floats, Ids, Vectors
from vaeneer.library.duplicates.features import WORKING_PX, FeatureStore
from vaeneer.library.duplicates.groups import (
    Draft,
    Facts,
    Families,
    MapSet,
    Match,
    crops_of,
    describe_groups,
    draft_groups,
)
from vaeneer.library.duplicates.near_copies import with_contents, with_grades
from vaeneer.library.duplicates.report import DuplicateGroup
from vaeneer.library.duplicates.verify import verify_crop, verify_frames
from vaeneer.library.file_states import OFFLINE, file_states
from vaeneer.library.store import OpenLibrary
from vaeneer.library.vector_index import VectorIndex
from vaeneer.progress import Progress
from vaeneer.workers import core_count, prefetch

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
_BATCH_QUERIES = 1024
_SAME_PIXELS_LEVELS = 1.0  # by which thumbnails of the same pixels may differ, at reduced decoding

Pairs = dict[int, list[int]]
"""Of each item, the items to compare it with, in a fixed order."""


def find_groups(
    library: OpenLibrary, threshold: float, progress: Progress
) -> tuple[list[DuplicateGroup], list[ImageFileError]]:
    """All groups of copies with at least this similarity, and why files could not be compared."""
    facts, skipped = _read_facts(library)
    first: dict[str, int] = {}
    equal = [(first.setdefault(facts.items[one].sha256, one), one) for one in sorted(facts.items)]
    matches = [Match(one, other, "exact") for one, other in equal if one != other]

    features = FeatureStore(library.folder)
    with FileLock(library.folder / ".sketches.lock"):
        pictures = {
            sha256: partial(_picture, library, facts, one, WORKING_PX)
            for sha256, one in first.items()
        }
        skipped += features.ensure(pictures, workers=core_count(), progress=progress)
    detector = _Detector(library, features, threshold, progress)
    distinct = [one for sha256, one in first.items() if sha256 in features]
    wholes = _of_items(library.catalog.wholes(), distinct)

    frames = frame_pairs(library.image_index, wholes, library.catalog.fingerprints())
    matches += detector.match_frames(frames, facts)
    facts = detector.with_depths(facts, Families(matches, facts))
    pixel_matches, errors = detector.match_pixels(facts, Families(matches, facts))
    matches, skipped = matches + pixel_matches, skipped + errors
    crops = detector.crop_candidates(wholes, facts, Families(matches, facts))
    crop_matches, errors = detector.match_crops(crops, facts)
    matches, skipped = matches + crop_matches, skipped + errors

    families = Families(matches, facts)
    facts = detector.with_depths(facts, families)  # of those that crops have joined
    facts = with_grades(facts, families, library, features, progress)
    facts = with_contents(facts, families, library, features, progress)
    families = Families(matches, facts)
    matches += detector.match_crops_in_best(matches, families, facts)
    drafts = draft_groups(matches, families, facts)
    matches += detector.match_members(drafts, matches, families, facts)
    return describe_groups(drafts, matches, families, facts), skipped


@dataclass(frozen=True)
class _Detector:
    """Compares pictures of one library; facts go in and come out, none is changed."""

    library: OpenLibrary
    features: FeatureStore
    threshold: float
    progress: Progress

    def thumb(self, one: int, facts: Facts) -> Floats:
        """(64, 64, 3) levels. Raises KeyError where the picture could not be read."""
        return self.features.thumb(facts.items[one].sha256)

    def match_frames(self, pairs: Pairs, facts: Facts) -> list[Match]:
        """Near copies of one frame and recoloured ones; a pair that others join is left out."""
        from scipy.cluster.hierarchy import DisjointSet

        found: list[Match] = []
        near = DisjointSet(pairs.keys() | {other for others in pairs.values() for other in others})
        with self.progress.bar("comparing frames", total=len(pairs), unit="images") as bar:
            for one, others in pairs.items():
                others = [other for other in others if not near.connected(one, other)]
                thumbs = [self.thumb(other, facts) for other in others]
                frames = (
                    verify_frames(self.thumb(one, facts), np.stack(thumbs), self.threshold)
                    if thumbs
                    else []
                )
                for other, frame in zip(others, frames, strict=True):
                    if frame is None:
                        continue
                    found.append(Match(one, other, frame.kind, frame.similarity, frame.orientation))
                    if frame.kind == "near":
                        near.merge(one, other)
                bar.advance()
        return found

    def match_pixels(
        self, facts: Facts, families: Families
    ) -> tuple[list[Match], list[ImageFileError]]:
        """Files with the same pixels among near copies of one size, by a hash of those."""
        candidates: set[int] = set()
        for family in families.near:
            by_size: dict[tuple[int, int], list[int]] = defaultdict(list)
            for one in family:
                item = facts.items[one]
                if families.exact.root(one) == one and item.sha256 in self.features:
                    by_size[item.width_px, item.height_px].append(one)
            for own in by_size.values():
                thumbs = [self.thumb(one, facts) for one in own]
                for one, thumb in zip(own, thumbs, strict=True):
                    differences = [float(np.abs(thumb - other).mean()) for other in thumbs]
                    if sum(levels <= _SAME_PIXELS_LEVELS for levels in differences) > 1:
                        candidates.add(one)
        hashes = self.library.catalog.pixel_hashes()
        unknown = [one for one in sorted(candidates) if one not in hashes]
        found: dict[int, bytes] = {}
        errors: list[ImageFileError] = []
        with self.progress.bar("comparing pixels", total=len(unknown), unit="images") as bar:
            for one in unknown:
                try:
                    found[one] = pixel_digest(_readable(self.library, facts, one))
                except ImageFileError as error:
                    errors.append(error)
                bar.advance()
        if found:
            self.library.catalog.keep_pixel_hashes(found)
        hashes |= found
        first: dict[bytes, int] = {}
        pairs = [
            (first.setdefault(hashes[one], one), one) for one in sorted(candidates) if one in hashes
        ]
        return [Match(one, other, "same_pixels") for one, other in pairs if one != other], errors

    def crop_candidates(
        self, wholes: Vectors, facts: Facts, families: Families
    ) -> list[tuple[int, int]]:
        """(container, part) of each pair of the best of families that may be one, each once."""
        near: dict[int, list[int]] = defaultdict(list)
        for one in wholes.items.tolist():
            near[families.near.root(one)].append(one)
        best = sorted(facts.best(own) for own in near.values())
        sql = "SELECT id, item FROM crops WHERE scale > 0 ORDER BY id"
        crops = np.array(self.library.catalog.execute(sql).fetchall(), np.int64).reshape(-1, 2)
        crops = crops[np.isin(crops[:, 1], best)]
        pairs = container_pairs(
            self.library.image_index,
            self.library.crop_index,
            _of_items(wholes, best),
            (crops[:, 0].copy(), crops[:, 1].copy()),
        )
        once: dict[tuple[int, int], tuple[int, int]] = {}
        for part, containers in pairs.items():
            for container in containers:
                once.setdefault((min(part, container), max(part, container)), (container, part))
        return list(once.values())

    def match_crops(
        self, pairs: Sequence[tuple[int, int]], facts: Facts
    ) -> tuple[list[Match], list[ImageFileError]]:
        """Which items are a part of another one, or nearly all of it, by (container, part)."""

        def verify(number: int) -> Match | ImageFileError | None:
            pair = pairs[number]

            def read(second: bool, at_least_px: int) -> Image.Image:
                return _picture(self.library, facts, pair[second], at_least_px)

            first, second = (self.features[facts.items[one].sha256] for one in pair)
            try:
                crop = verify_crop(first, second, read, self.threshold)
            except ImageFileError as error:
                return error
            if crop is None:
                return None
            container, part = reversed(pair) if crop.swapped else pair
            item = facts.items[container]
            box = crop.box(item.width_px, item.height_px) if crop.kind == "cropped" else None
            return Match(container, part, crop.kind, crop.similarity, None, box)

        found: list[Match] = []
        errors: list[ImageFileError] = []
        results = prefetch(verify, range(len(pairs)), workers=core_count())
        with self.progress.bar("looking for parts", total=len(pairs), unit="pairs") as bar:
            for result in results:
                if isinstance(result, ImageFileError):
                    errors.append(result)
                elif result is not None:
                    found.append(result)
                bar.advance()
        return found, errors

    def with_depths(self, facts: Facts, families: Families) -> Facts:
        """Facts with the depth of near copies that an older vaeneer indexed; it is stored."""
        found: dict[int, int] = {}
        for one in (one for family in families.near for one in family):
            item = facts.readable(one)
            if facts.items[one].bits is not None or item is None:
                continue
            try:
                found[one] = decode_file(
                    self.library.path(item), lambda image, source: stored_bits(image, source.start)
                )
            except ImageFileError:  # another decoder read it: its mode says what there is to say
                continue
        if not found:
            return facts
        with self.library.catalog.writing() as connection:
            rows = [(bits, one) for one, bits in found.items()]
            connection.executemany("UPDATE items SET bits = ? WHERE id = ?", rows)
        deeper = {one: replace(facts.items[one], bits=bits) for one, bits in found.items()}
        return replace(facts, items={**facts.items, **deeper})

    def match_crops_in_best(
        self, matches: Sequence[Match], families: Families, facts: Facts
    ) -> list[Match]:
        """Crops of pictures that are not the file to keep, where they are found in that, too."""
        crops = crops_of(matches)
        known = {(crop.a, crop.b) for crop in crops}
        wanted: dict[tuple[int, int], Match] = {}
        for crop in crops:
            pair = facts.best(families.near.of(crop.a)), crop.b
            if pair not in known and all(facts.items[one].sha256 in self.features for one in pair):
                wanted.setdefault(pair, crop)
        found, _ = self.match_crops(list(wanted), facts)
        return [
            replace(
                wanted[one.a, one.b],
                a=one.a,
                box=one.box,
                similarity=replace(wanted[one.a, one.b].similarity, value=one.similarity.value),
            )
            for one in found
            if one.kind == "cropped" and (one.a, one.b) in wanted
        ]

    def match_members(
        self, drafts: Sequence[Draft], matches: Sequence[Match], families: Families, facts: Facts
    ) -> list[Match]:
        """How members of groups lie on the file to keep, where no match says so."""
        known = {(one.a, one.b) for one in matches if one.orientation is not None}
        found: list[Match] = []
        for draft in drafts:
            keep = families.exact.root(draft.keep)
            members = [one for one in draft.items if one not in draft.crops]
            for one in map(families.exact.root, members):
                shas = [facts.items[item].sha256 for item in (one, keep)]
                seen = all(sha256 in self.features for sha256 in shas)
                if (one, keep) in known or not seen or families.same_pixels.joined(one, keep):
                    continue
                known.add((one, keep))
                left, right = map(self.features.thumb, shas)
                (frame,) = verify_frames(left, right[None], 0.0)
                if frame is not None:
                    found.append(Match(one, keep, None, frame.similarity, frame.orientation))
        return found


def _picture(library: OpenLibrary, facts: Facts, one: int, at_least_px: int) -> Image.Image:
    """The picture of an item, from any file of its bytes; at_least_px as in `read_image`.

    Raises ImageFileError.
    """
    return read_rgb(_readable(library, facts, one), at_least_px=at_least_px)


def _readable(library: OpenLibrary, facts: Facts, one: int) -> Path:
    """A file with the bytes of an item that is there. Raises ImageFileError for none."""
    item = facts.readable(one)
    if item is None:
        raise ImageFileError(library.path(facts.items[one]), OFFLINE)
    return library.path(item)


def _read_facts(library: OpenLibrary) -> tuple[Facts, list[ImageFileError]]:
    """All items whose files are there and as they were indexed, or offline; why others are not."""
    items = library.catalog.items()
    files = file_states(library.root, items)
    there = {item.id: item for item in items if not files[item.id].absent}
    maps: dict[str, set[tuple[str, int]]] = defaultdict(set)
    rows = library.catalog.execute("SELECT path, asset, kind, size_bytes FROM maps").fetchall()
    for _, asset, kind, size in rows:
        maps[asset].add((kind, size))
    paths = {PurePosixPath(item.path): item for item in there.values()}
    names = group_names([*paths, *(PurePosixPath(row[0]) for row in rows)])
    sidecars = dict(library.catalog.execute("SELECT asset, sidecar FROM assets").fetchall())
    sets: dict[int, MapSet] = {}
    for path, item in paths.items():
        sidecar = sidecars.get(item.asset) or ""
        own = MapSet(item.asset, frozenset(maps[item.asset]), names[path].tile, sidecar)
        if not all(own.rank):
            sets[item.id] = own
    # A loose file that a link in a set leads to counts as a member: the set would break, too.
    linked = {files[one].identity: own for one, own in sets.items() if files[one].link is not None}
    linked.pop(None, None)
    targets = {
        one: linked[files[one].identity]
        for one in there
        if one not in sets and files[one].link is None and files[one].identity in linked
    }
    absent = [
        ImageFileError(library.path(item), files[item.id].absent)
        for item in items
        if files[item.id].absent
    ]
    return Facts(there, files, sets | targets), absent


def _of_items(wholes: Vectors, items: Sequence[int]) -> Vectors:
    rows = np.isin(wholes.items, items)
    return Vectors(wholes.crops[rows], wholes.items[rows], wholes.vectors[rows])


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
    for start in range(0, len(wholes.crops) if k else 0, _BATCH_QUERIES):
        rows = slice(start, start + _BATCH_QUERIES)
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
