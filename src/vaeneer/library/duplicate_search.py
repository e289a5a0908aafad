"""The search for copies in a library, from the cheapest question to the dearest.

Equal files, by their hash; the same frame, by thumbnails of candidates; the same pixels, by
decoding those that look the same; parts, by local features, of one picture of each family only.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import partial

import numpy as np
from filelock import FileLock
from PIL import Image

from vaeneer.data.ahead import made_ahead
from vaeneer.errors import ImageFileError
from vaeneer.library.candidate_pairs import Pairs, container_pairs, frame_pairs
from vaeneer.library.catalog import Ids, Item, PixelBox, Vectors
from vaeneer.library.families import Families
from vaeneer.library.library import Library
from vaeneer.library.proving import PartProof, frame_proofs, kind_by_colour, part_proof
from vaeneer.library.sketches import WORKING_PX, Sketches
from vaeneer.progress import Progress
from vaeneer.runtime import core_count

_SAME_PIXELS_LEVELS = 1.0  # by which thumbnails of the same pixels may differ, at reduced decoding
_LOSSLESS = frozenset({"PNG", "TIFF", "BMP", "DIB", "TGA", "PPM"})
_DEEP_MODES = {"I": 32, "F": 32, "I;16": 16, "I;16L": 16, "I;16B": 16, "I;16N": 16}


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


@dataclass
class Copies:
    """What was found: families of items at three levels, and what is between families."""

    items: dict[int, Item]
    exact: Families = field(default_factory=Families)
    """Equal files."""
    same_pixels: Families = field(default_factory=Families)
    """Those, and equal pixels."""
    near: Families = field(default_factory=Families)
    """Those, and copies that were changed a little."""
    near_likeness: dict[int, float] = field(default_factory=dict)
    """Of an item to the copy of it that is most like it."""
    recoloured: list[Recoloured] = field(default_factory=list)
    parts: list[Part] = field(default_factory=list)
    skipped: list[ImageFileError] = field(default_factory=list)

    def best(self, items: Iterable[int]) -> int:
        """The item to keep: most pixels, then depth, no loss, most bytes, the first path."""
        return min(items, key=lambda one: _worth(self.items[one]))

    def join_near(self, one: int, other: int, likeness: float) -> None:
        """Two items are near copies."""
        self.near.join(one, other)
        for item in (one, other):
            self.near_likeness[item] = max(likeness, self.near_likeness.get(item, 0.0))


def find_copies(library: Library, least: float, progress: Progress) -> tuple[Copies, Sketches]:
    """Every copy of a picture in a library that is at least so likely one, and the sketches."""
    copies = Copies({item.id: item for item in library.catalog.items()})
    distinct = _join_equal_files(copies)
    sketches = Sketches(library.folder)
    with FileLock(library.folder / ".sketches.lock"):
        copies.skipped = sketches.complete(
            {
                copies.items[one].sha256: partial(
                    library.picture, copies.items[one], at_least_px=WORKING_PX
                )
                for one in distinct
            },
            workers=core_count(),
            progress=progress,
        )
    seen = [one for one in distinct if copies.items[one].sha256 in sketches]
    wholes = _of_items(library.catalog.wholes(), seen)
    pairs = frame_pairs(library.wholes, wholes, library.catalog.fingerprints())
    _join_frames(copies, sketches, pairs, least, progress)
    _join_same_pixels(copies, sketches, library, progress)
    _find_parts(copies, sketches, library, wholes, least, progress)
    return copies, sketches


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
    copies: Copies, sketches: Sketches, pairs: Pairs, least: float, progress: Progress
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
    copies: Copies, sketches: Sketches, library: Library, progress: Progress
) -> None:
    """Join what has the same pixels among near copies of one size."""
    asked = _look_the_same(copies, sketches)
    known = library.catalog.pixel_hashes()
    found: dict[int, bytes] = {}
    unknown = [one for one in asked if one not in known]
    with progress.bar("comparing pixels", total=len(unknown), unit="images") as bar:
        for one in unknown:
            try:
                found[one] = pixel_hash(library.picture(copies.items[one]))
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


def _look_the_same(copies: Copies, sketches: Sketches) -> list[int]:
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
    sketches: Sketches,
    library: Library,
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
    pairs = container_pairs(library.wholes, library.parts, wholes, parts)
    asked = _each_once(pairs)

    def proved(number: int) -> PartProof | ImageFileError | None:
        container, part = (copies.items[one] for one in asked[number])
        try:
            return prove_part(library, sketches, container, part, least)
        except ImageFileError as error:
            return error

    proofs = made_ahead(proved, range(len(asked)), workers=core_count())
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


def _keep_part(copies: Copies, one: int, other: int, proof: PartProof) -> None:
    container, part = (other, one) if proof.swapped else (one, other)
    likeness = proof.likeness.value
    if proof.kind == "near":
        copies.join_near(one, other, likeness)
    elif proof.kind == "recoloured":
        copies.recoloured.append(Recoloured(one, other, likeness))
    else:
        item = copies.items[container]
        box = proof.box(item.width_px, item.height_px)
        other_colours = kind_by_colour(proof.likeness) == "recoloured"
        copies.parts.append(Part(container, part, box, likeness, other_colours))


def prove_part(
    library: Library, sketches: Sketches, one: Item, other: Item, least: float
) -> PartProof | None:
    """Whether one of two items is a part of the other. Raises ImageFileError, see `part_proof`."""

    def read(second: bool, at_least_px: int) -> Image.Image:
        return library.picture(other if second else one, at_least_px=at_least_px)

    return part_proof(sketches[one.sha256], sketches[other.sha256], read, least)


def pixel_hash(picture: Image.Image) -> bytes:
    """32 bytes: SHA-256 of the size and the RGB pixels of a picture."""
    digest = hashlib.sha256(f"{picture.width} {picture.height} ".encode())
    digest.update(picture.tobytes())
    return digest.digest()


def _worth(item: Item) -> tuple[int, int, bool, int, str]:
    """What sorts the best first."""
    return (
        -item.width_px * item.height_px,
        -_DEEP_MODES.get(item.mode, 8),
        item.format not in _LOSSLESS,
        -item.size_bytes,
        item.path,
    )


def _of_items(wholes: Vectors, items: list[int]) -> Vectors:
    rows = np.isin(wholes.items, items)
    return Vectors(wholes.crops[rows], wholes.items[rows], wholes.vectors[rows])


def _crops_of(library: Library, items: list[int]) -> tuple[Ids, Ids]:
    """Ids and items of the parts of some items, by id."""
    rows = library.catalog.execute("SELECT id, item FROM crops WHERE scale > 0 ORDER BY id")
    table = np.array(rows.fetchall(), np.int64).reshape(-1, 2)
    kept = table[np.isin(table[:, 1], items)]
    return kept[:, 0].copy(), kept[:, 1].copy()
