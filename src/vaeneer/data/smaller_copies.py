"""Previews and much smaller copies that lie beside the original of their asset.

`wall_preview.jpg` beside `wall.jpg` or `wall_Albedo.jpg`, and `wall_256.jpg` beside `wall_4k.jpg`.
A file that is alone is all that there is of its asset, whatever its name says, and stays.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from vaeneer.data.exclusion import MUCH_SMALLER, PREVIEW
from vaeneer.data.images import header_size
from vaeneer.data.naming import FileName, group_names
from vaeneer.text import match_key, printable

if TYPE_CHECKING:
    from vaeneer.data.scanning import FoundFile

_PREVIEWS = r"thumbs?|thumbnails?|previews?|(?:thumb|thumbnail|preview)[_\-. ]?\d{1,2}"
_SIZES = (
    r"\d{1,2}k|\d{2,5}x\d{2,5}(?:px)?|\d{2,5}px|"
    "64|100|128|150|200|256|300|320|400|480|500|512|600|640|800|1000|1024|2048|4096|8192|16384|"
    "small|smaller|sm|mini|tiny|icon|tn|low|lowres|lo|lores|lq|hq|hires|web|mobile|proxy|"
    "scaled|resized|original|orig|full|large|big|high|highres"
)
_END = re.compile(rf"(?:(?:^|[_\-. ]+)(?:{_PREVIEWS}|{_SIZES})|@\d(?:\.\d)?x)+$", re.IGNORECASE)
_START = re.compile(rf"^(?:{_PREVIEWS}|tn)[_\-. ]+", re.IGNORECASE)
_AMID = re.compile(
    r"(?<=[_\-. ])(?:\d{1,2}k|\d{3,5}x\d{3,5}|\d{3,5}px)(?:-(?:jpe?g|png|tiff?|exr|webp))?[_\-. ]",
    re.IGNORECASE,
)
"""A size before the map word: wall_4K_Albedo, Bricks001_1K-JPG_Color."""
_PREVIEW = re.compile(rf"(?:^|[_\-. ])(?:{_PREVIEWS})(?:$|[_\-. ])", re.IGNORECASE)
_SHARE = 4
"""How many times shorter the sides of a much smaller copy are, at least."""
_COLOUR = "color"


def copies_beside_originals(found: Sequence[FoundFile]) -> dict[PurePosixPath, str]:
    """Path -> reason, of the images of one folder that are previews or much smaller copies.

    Headers are read only where two colour files have names that differ in a size at most.
    """
    same_name: dict[str, list[FoundFile]] = defaultdict(list)
    previews: dict[FoundFile, str] = {}
    for one in found:
        name, preview = _without_size(one.path.stem)
        if preview:
            previews[one] = name
        else:
            same_name[name].append(one)
    if not previews and len(same_name) == len(found):
        return {}
    names = group_names(one.path for one in found)
    colours = [one for one in found if one not in previews and names[one.path].kind == _COLOUR]
    reasons = _previews(previews, colours, names)
    for group in same_name.values():
        alike = [one for one in group if names[one.path].kind == _COLOUR]
        if len(alike) > 1:
            reasons |= _much_smaller(alike)
    return reasons


def _without_size(stem: str) -> tuple[str, bool]:
    """A name without the words for sizes and previews, and whether it says preview."""
    stem = _AMID.sub("", stem)
    end = _END.search(stem)
    start = _START.match(stem)
    if end is None and start is None:
        return match_key(stem), False
    bare = stem[: end.start()] if end else stem
    said = end is not None and _PREVIEW.search(end.group()) is not None
    if start is not None and len(bare) > start.end():
        return match_key(bare[start.end() :]), True
    return match_key(bare), said


def _previews(
    previews: dict[FoundFile, str],
    colours: Sequence[FoundFile],
    names: dict[PurePosixPath, FileName],
) -> dict[PurePosixPath, str]:
    """Previews of an asset that has another colour file; its asset or its name is what is left."""
    originals: dict[str, FoundFile] = {}
    plain = [one for one in colours if _without_size(one.path.stem)[0] == match_key(one.path.stem)]
    for one in [*reversed(colours), *reversed(plain)]:  # a name without a size comes first
        folder = one.path.parent.as_posix()
        asset = names[one.path].asset
        own = "" if asset in (folder, "(root)") else asset.removeprefix(f"{folder}/")
        originals[_without_size(one.path.stem)[0]] = one
        originals[_without_size(own)[0] if own else ""] = one
    return {
        one.path: f"{PREVIEW}: of {printable(originals[name].path.name)}"
        for one, name in previews.items()
        if name in originals
    }


def _much_smaller(alike: Sequence[FoundFile]) -> dict[PurePosixPath, str]:
    sizes = {one: size for one in alike if (size := header_size(one.file)) is not None}
    if len(sizes) < 2:
        return {}
    original = max(sizes, key=lambda one: sizes[one][0] * sizes[one][1])
    width, height = sizes[original]
    return {
        one.path: f"{MUCH_SMALLER}: {size[0]} x {size[1]} px,"
        f" {printable(original.path.name)} has {width} x {height} px"
        for one, size in sizes.items()
        if _is_much_smaller(size, (width, height)) or _is_much_smaller(size, (height, width))
    }


def _is_much_smaller(size: tuple[int, int], original: tuple[int, int]) -> bool:
    """Whether both sides are a quarter or less, in one aspect up to rounding."""
    (width, height), (whole_width, whole_height) = size, original
    if _SHARE * width > whole_width or _SHARE * height > whole_height or not height:
        return False
    wanted = height * whole_width / whole_height
    return abs(width - wanted) <= max(1.5, 0.02 * width)
