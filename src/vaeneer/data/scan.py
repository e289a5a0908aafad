"""What lies in a raw folder: image files, side-cars, and the rest by kind."""

from __future__ import annotations

import os
import re
import stat
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from vaeneer.data.exclusion import (
    MUCH_SMALLER,
    PREVIEW,
    Exclusion,
    ScanRules,
    reason_of_folder,
    reason_of_hidden_file,
)
from vaeneer.data.filenames import FileName, group_names
from vaeneer.data.image_formats import IMAGE_SUFFIXES, unread_reason
from vaeneer.data.images import header_size
from vaeneer.provenance import MADE_HERE, MARKER, kind_of_folder, kind_on_disk
from vaeneer.text import is_utf8, match_key, printable

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
Entry = os.DirEntry[str]
NO_IMAGE = "not an image file"
_ARCHIVES = frozenset({".zip", ".7z", ".rar", ".tar", ".gz", ".tgz", ".bz2", ".xz"})


@dataclass(frozen=True)
class FoundFile:
    """One image file, not opened yet."""

    file: Path

    path: PurePosixPath
    """Relative to the raw folder."""

    size_bytes: int

    mtime_ns: int
    """Clamped to 64 bits: years 1677 to 2262."""

    link: str | None = None
    """Target of a symbolic link: below the raw folder, or absolute; None for other files."""

    file_id: str | None = None
    """Equal for the names of one file (hard links); None for a file of one name."""


@dataclass(frozen=True)
class Scan:
    """All that a raw folder holds, in the order of the paths."""

    images: tuple[FoundFile, ...]

    sidecars: tuple[PurePosixPath, ...]
    """JSON files, relative to the raw folder."""

    others: dict[str, int]
    """Reason -> number of files, and of whole folders, that are left out without a look inside."""

    warnings: tuple[str, ...]

    left_out: tuple[tuple[str, str], ...] = ()
    """Path and reason of those that a user may miss; a folder that is left out whole stands here
    once."""

    no_images: tuple[tuple[str, str], ...] = ()
    """Path and reason of the others: no images by their names."""


def scan_folder(
    raw: Path,
    *,
    ignore: Path | None = None,
    rules: ScanRules | None = None,
    originals: Collection[str] = (),
) -> Scan:
    """List `raw` recursively, the folder `ignore` left out.

    What vaeneer wrote, folders that hold no originals and hidden names are left out, and so is what
    `rules` say. originals: paths below `raw` that are listed whatever their names are. Folders
    behind symbolic links are followed, each real folder once, so loops end.
    Raises SettingsError for a pattern that cannot be read.
    """
    listing = _Listing(raw, rules or ScanRules(), originals)
    for folder in walk(raw, ignore=ignore, on_error=listing.cannot_read):
        listing.add_folder(folder)
    listing.images.sort(key=lambda found: found.path.as_posix())
    warnings = [*listing.warnings, *listing.exclusion.warnings()]
    return Scan(
        images=tuple(listing.images),
        sidecars=tuple(sorted(listing.sidecars)),
        others=dict(sorted(listing.others.items())),
        warnings=tuple(printable(line) for line in warnings),
        left_out=tuple(sorted(listing.left_out)),
        no_images=tuple(sorted(listing.no_images)),
    )


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


class Folder(NamedTuple):
    """One folder and what lies in it; take names out of `folders` and they are not entered."""

    path: str
    below: str
    """Its path below the root with a slash at the end; empty for the root."""
    files: list[Entry]
    folders: list[Entry]
    linked: bool
    """Whether a symbolic link leads here."""


def walk(
    root: Path, *, ignore: Path | None, on_error: Callable[[str, OSError], None]
) -> Iterator[Folder]:
    """Walk real folders depth first, then those behind symbolic links.

    `ignore` and the folders above the root are not entered: a link upwards would take in the whole
    disk. on_error: called with the path below the root of a folder that cannot be read.
    """
    seen = {_identity(os.fspath(above)) for above in root.resolve().parents}
    if ignore is not None and ignore.exists():
        seen.add(_identity(os.fspath(ignore)))
    real = [(os.fspath(root), "")]
    links: deque[tuple[str, str]] = deque()
    while real or links:
        linked = not real
        path, below = links.popleft() if linked else real.pop()
        try:
            identity = _identity(path)
            if identity in seen:
                continue
            with os.scandir(path) as entries:
                listed = list(entries)
        except OSError as error:
            on_error(below, error)
            continue
        seen.add(identity)
        folder = Folder(path, below, [], [], linked)
        for entry in listed:
            (folder.folders if _is_folder(entry) else folder.files).append(entry)
        yield folder
        for entry in folder.folders:
            (links if entry.is_symlink() else real).append((entry.path, f"{below}{entry.name}/"))


def made_kind(folder: Folder, root: Path) -> str | None:
    """What vaeneer made a folder below the root for; None for a folder of anyone else.

    Of a folder behind a link, the folders around its target count too.
    """
    if not folder.below:
        return None
    kind = kind_of_folder(
        Path(folder.path), {e.name for e in folder.files}, {e.name for e in folder.folders}
    )
    if kind is not None or not folder.linked:
        return kind
    real, end = Path(folder.path).resolve(), root.resolve()
    for above in real.parents:
        if end.is_relative_to(above):
            return None
        kind = kind_on_disk(above)
        if kind is not None:
            return kind
    return None


def _identity(path: str) -> tuple[int, int] | str:
    """Device and number of a folder; its real path where the file system has no numbers."""
    status = os.stat(path)  # noqa: PTH116 - a Path for each folder would cost as much again
    return (status.st_dev, status.st_ino) if status.st_ino else os.path.realpath(path)


def _is_folder(entry: Entry) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


class _Listing:
    """Files of a folder, sorted by what they are."""

    def __init__(self, raw: Path, rules: ScanRules, originals: Collection[str]) -> None:
        self.raw = raw
        self.real = raw.resolve()
        self.rules = rules
        self.exclusion = Exclusion(rules.exclude)
        self.originals = set(originals) | {
            str(folder) for path in originals for folder in PurePosixPath(path).parents
        }
        self.images: list[FoundFile] = []
        self.sidecars: list[PurePosixPath] = []
        self.others: Counter[str] = Counter()
        self.left_out: list[tuple[str, str]] = []
        self.no_images: list[tuple[str, str]] = []
        self.warnings: list[str] = []

    def add_folder(self, folder: Folder) -> None:
        """Sort the files of one folder, and take out those folders that are not entered."""
        kind = made_kind(folder, self.raw)
        if kind is not None:
            folder.folders.clear()
            self.leave_out(PurePosixPath(folder.below), f"{MADE_HERE}: {printable(kind)}")
            return
        folder.folders[:] = [e for e in folder.folders if self._enters(folder.below, e.name)]
        first = len(self.images)
        for entry in folder.files:
            self._add(entry, folder.below)
        if not self.rules.include_previews:
            self._take_out_copies(first)

    def leave_out(self, path: PurePosixPath, reason: str) -> None:
        """List a file that is left out; the words before a colon are those of all of its kind."""
        self.others[reason.split(":")[0]] += 1
        self.left_out.append((printable(str(path)), reason))

    def _leave_out_no_image(self, path: PurePosixPath, reason: str) -> None:
        self.others[reason.split(":")[0]] += 1
        self.no_images.append((printable(str(path)), reason))

    def cannot_read(self, below: str, error: OSError) -> None:
        """List a folder that the system refuses to list."""
        path = PurePosixPath(below or ".")
        self.leave_out(path, f"folder cannot be read: {error.strerror}")
        self.warnings.append(f"{self.raw / path}: {error.strerror}, folder left out")

    def _enters(self, below: str, name: str) -> bool:
        path = f"{below}{name}"
        reason = self.exclusion.reason(f"{path}/")
        if reason is None and path not in self.originals:
            reason = reason_of_folder(name, include_previews=self.rules.include_previews)
        if reason is not None:
            self.leave_out(PurePosixPath(path), reason)
        return reason is None

    def _add(self, entry: Entry, below: str) -> None:
        """Count one file, and list it unless it is none that a library needs."""
        name = entry.name
        suffix = _suffix(name)
        image = suffix in IMAGE_SUFFIXES
        unread = unread_reason(suffix)
        if name == MARKER:
            return
        path = PurePosixPath(f"{below}{name}")
        excluded = self.exclusion.reason(f"{below}{name}")
        if name.startswith("."):
            leave_out = self.leave_out if image or unread else self._leave_out_no_image
            leave_out(path, reason_of_hidden_file(name))
        elif excluded is not None:
            self.leave_out(path, excluded)
        elif not is_utf8(str(path)):
            self.leave_out(path, "file name is not UTF-8: rename it")
        elif not image and suffix != ".json" and unread is None:
            self._leave_out_no_image(path, _reason_of_other_file(suffix))
        elif unread is not None:
            self.leave_out(path, unread)
        else:
            self._add_file(entry, path, image=image)

    def _add_file(self, entry: Entry, path: PurePosixPath, *, image: bool) -> None:
        linked = entry.is_symlink()
        file = Path(entry.path)
        try:
            status = file.stat()
        except OSError as error:
            gone = isinstance(error, FileNotFoundError)
            reason = "no such file" if gone else f"cannot be read: {error.strerror}"
            self.leave_out(path, "link to nothing" if linked else reason)
            return
        if not image:
            if stat.S_ISREG(status.st_mode):
                self.sidecars.append(path)
            else:  # to read a named pipe would take for ever
                self.leave_out(path, "not a file")
            return
        shared = (linked or status.st_nlink > 1) and status.st_ino  # 0: the disk has no such ids
        self.images.append(
            FoundFile(
                file,
                path,
                status.st_size,
                clamped_ns(status.st_mtime_ns),
                link=link_target(file, self.real) if linked else None,
                file_id=f"{status.st_dev}:{status.st_ino}" if shared else None,
            )
        )

    def _take_out_copies(self, first: int) -> None:
        """Leave out previews and much smaller copies among the images from `first` on."""
        found = [one for one in self.images[first:] if str(one.path) not in self.originals]
        copies = copies_beside_originals(found) if len(found) > 1 else {}
        if copies:
            self.images[first:] = [o for o in self.images[first:] if o.path not in copies]
            for path, reason in copies.items():
                self.leave_out(path, reason)


def _reason_of_other_file(suffix: str) -> str:
    """Why a file that is no image is left out."""
    shown = printable(suffix) or "no suffix"
    if suffix in _ARCHIVES:
        return f"archive ({shown}): unpack it, images in it are not read"
    return f"{NO_IMAGE} ({shown})"


def _suffix(name: str) -> str:
    """The ending of a name in lower case, with its dot; empty where there is none."""
    stem, dot, ending = name.rpartition(".")
    return f".{ending.lower()}" if stem and ending and dot else ""


def link_target(link: Path, real_root: Path) -> str:
    """Final target of a symbolic link: below the resolved folder `real_root`, or absolute."""
    real = link.resolve()
    below = real.relative_to(real_root) if real.is_relative_to(real_root) else real
    return printable(below.as_posix())


def clamped_ns(time_ns: int) -> int:
    """A time that fits into the 64 bits of Parquet and SQLite: years 1677 to 2262."""
    return max(-(2**63), min(time_ns, 2**63 - 1))
