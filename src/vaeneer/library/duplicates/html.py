"""The page of duplicates: groups side by side, what differs, where parts lie, in one file."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path

import numpy as np
from PIL import Image

from vaeneer.errors import ImageFileError
from vaeneer.library.duplicates.report import DuplicateGroup, DuplicateItem, DuplicatesReport
from vaeneer.library.store import OpenLibrary
from vaeneer.progress import Progress, Silent
from vaeneer.storage import in_words
from vaeneer.text import printable
from vaeneer.web.pages import webp_url, write_page

MOST_SHOWN = 12
"""Pictures of one group on the page; the others are named."""

MOST_GROUPS = 500
"""Groups on the page: some 30 MB."""

TITLES = {
    "exact": "Equal files",
    "same_pixels": "The same pixels in another file",
    "near": "Near copies",
    "cropped": "Parts of a picture",
    "recoloured": "The same structure in other colours",
}
"""Kind of a group -> its title."""
_SIDE_PX = 200
_AMPLIFIED = 6  # so that what a strong JPEG does can be seen
_QUALITY = 80


@dataclass(frozen=True)
class ShownItem:
    """One picture of a group, as the page shows it."""

    name: str
    folder: str
    address: str
    """file:// of the picture."""
    picture: str
    """A data URL; empty where the file cannot be read."""
    difference: str
    """The same of what differs from the file to keep, amplified; empty where it does not apply."""
    relation: str
    facts: str
    boxes: tuple[str, ...] = ()
    """Places of parts, as CSS."""


@dataclass(frozen=True)
class ShownGroup:
    """One group, as the page shows it."""

    number: int
    kind: str
    title: str
    percent: int
    keep: ShownItem
    others: list[ShownItem]
    named: list[str]
    """Paths of its other files, which the page does not show."""


def write_duplicates_html(
    report: DuplicatesReport, path: Path, *, progress: Progress | None = None
) -> None:
    """Write the groups of a report, the first 500, as one page that needs nothing else.

    The library is opened for its thumbnails. Raises LibraryError.
    """
    groups = []
    told = report.groups[:MOST_GROUPS]
    with (
        OpenLibrary.open(report.library) as library,
        (progress or Silent()).bar("pictures", total=len(told), unit="groups") as bar,
    ):
        for group in told:
            groups.append(_shown(library, group))
            bar.advance()
    kinds = [(kind, TITLES[kind], count) for kind, count in report.groups_by_kind.items() if count]
    write_page(
        path,
        "duplicates.html",
        report=report,
        groups=groups,
        kinds=kinds,
        redundant=in_words(report.redundant_bytes),
        amplified=_AMPLIFIED,
        version=version("vaeneer"),
        serve=f"vaeneer serve {shlex.quote(report.library)}",
    )


def _shown(library: OpenLibrary, group: DuplicateGroup) -> ShownGroup:
    keep, *others = group.items
    own = [item for item in others if item.relation == group.kind]
    shown, listed = own[:MOST_SHOWN], {item.id for item in own[:MOST_SHOWN]}
    whole = _picture(library, keep)
    pictures = [_shown_item(library, item, keep, whole) for item in shown]
    boxes = tuple(dict.fromkeys(_css(item, keep) for item in shown if item.box))
    return ShownGroup(
        number=group.id,
        kind=group.kind,
        title=TITLES[group.kind],
        percent=round(100 * group.confidence),
        keep=replace(_shown_item(library, keep, keep, whole), boxes=boxes),
        others=pictures,
        named=[printable(item.path) for item in others if item.id not in listed],
    )


def _shown_item(
    library: OpenLibrary, item: DuplicateItem, keep: DuplicateItem, whole: Image.Image | None
) -> ShownItem:
    path = library.root / item.path
    picture = whole if item is keep else _picture(library, item)
    difference = None
    if item is not keep and whole is not None and picture is not None:
        difference = difference_picture(whole, picture, item, (keep.width_px, keep.height_px))
    redundant = item.decision == "redundant"
    held = [*item.maps, *(["side-car"] if item.sidecar else [])]
    what = (
        item.change
        or item.relation
        or (f"{item.keep_path} is the file to keep" if redundant else "")
    )
    first = "redundant" if redundant else "keep" if item is keep else ""
    size = f"{item.width_px:,} x {item.height_px:,} px, {in_words(item.size_bytes)}"
    return ShownItem(
        name=printable(path.name),
        folder=printable(item.path.rpartition("/")[0]),
        address=path.absolute().as_uri(),
        picture="" if picture is None else webp_url(picture, side_px=_SIDE_PX, quality=_QUALITY),
        difference=""
        if difference is None
        else webp_url(difference, side_px=_SIDE_PX, quality=_QUALITY),
        relation=": ".join(part for part in (first, printable(what)) if part),
        facts=f"{size}, with {', '.join(held)}" if held else size,
    )


def difference_picture(
    whole: Image.Image, other: Image.Image, item: DuplicateItem, size_px: tuple[int, int]
) -> Image.Image | None:
    """What differs, amplified, once turned and brightened alike; None where it is not aligned.

    size_px: of the file that `whole` shows, which a box is meant in.
    """
    if item.box is not None:
        left, top, width, height = item.box
        wide, high = whole.width / size_px[0], whole.height / size_px[1]
        place = (left * wide, top * high, (left + width) * wide, (top + height) * high)
        whole = whole.crop(tuple(round(value) for value in place))  # type: ignore[arg-type]
    elif item.orientation is None or item.relation == "exact":
        return None
    if min(whole.size) < 8:
        return None
    theirs = np.asarray(other, np.float32)
    if item.orientation is not None:
        theirs = theirs if item.orientation < 4 else theirs[:, ::-1]
        theirs = np.rot90(theirs, item.orientation % 4)
    turned = Image.fromarray(np.ascontiguousarray(theirs).astype(np.uint8))
    ours = np.asarray(whole, np.float32)
    theirs = np.asarray(turned.resize(whole.size, Image.Resampling.BOX), np.float32)
    gain = ours.mean() / max(1.0, float(theirs.mean()))
    apart = np.abs(ours - theirs * gain) * _AMPLIFIED
    return Image.fromarray(np.clip(apart, 0, 255).astype(np.uint8))


def _picture(library: OpenLibrary, item: DuplicateItem) -> Image.Image | None:
    try:
        return library.thumbnail_image(library.item(item.id))
    except ImageFileError:
        return None


def _css(item: DuplicateItem, keep: DuplicateItem) -> str:
    """The place of a part as shares of the picture that it is drawn on."""
    assert item.box is not None
    names: Sequence[str] = ("left", "top", "width", "height")
    whole = (keep.width_px, keep.height_px) * 2
    shares = [100 * value / most for value, most in zip(item.box, whole, strict=True)]
    return ";".join(f"{name}:{share:.2f}%" for name, share in zip(names, shares, strict=True))
