"""Files of a library as they are on disk now: there, offline, gone or changed; links and names.

What is told of copies rests on this and not on the last run of `index`, since a file may have been
deleted, changed or replaced by a link after it.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from vaeneer.data.decode_worker import sha256_of
from vaeneer.data.scan import clamped_ns, link_target
from vaeneer.errors import ImageFileError
from vaeneer.library.catalog import Item
from vaeneer.provenance import MADE_HERE, kind_on_disk
from vaeneer.text import printable

GONE = "no such file: it is gone since it was indexed"
CHANGED = "changed since it was indexed: run vaeneer index again"
OFFLINE = "offline: its folder is not there, so that only its bytes are compared"
OWN_OUTPUT = f"{MADE_HERE}: run vaeneer index again, which leaves it out"
ABSENT = (GONE, CHANGED, OFFLINE, OWN_OUTPUT)
"""Reasons that follow from what lies on the disk."""


class Absences:
    """Judges missing files of one root; each folder is looked at once."""

    def __init__(self, root: Path) -> None:
        """root: of the library's images."""
        self._root = root
        self._shows: dict[Path, bool] = {}

    def offline_folder(self, path: str) -> str | None:
        """The topmost folder that is offline above a file, below the root; None: it was deleted.

        path: below the root, of a file that a scan did not list.
        """
        if not self._shows_files(self._root):
            return "."
        folder = self._root
        for name in PurePosixPath(path).parent.parts:
            folder /= name
            if not self._shows_files(folder):
                return folder.relative_to(self._root).as_posix()
        return self._behind(self._root / path)

    def _behind(self, file: Path) -> str | None:
        """The offline folder behind a link, or that of a file whose disk fails."""
        try:
            file.stat()
        except (FileNotFoundError, NotADirectoryError):
            return self._of_target(file) if file.is_symlink() else None
        except OSError:
            return self._name(file.parent)
        return None  # it is there, and left out by a rule

    def _of_target(self, link: Path) -> str | None:
        target = Path(os.path.realpath(link)).parent
        return None if self._shows_files(target) else self._name(target)

    def _name(self, folder: Path) -> str:
        """A folder below the root, or absolute."""
        below = folder.is_relative_to(self._root)
        return printable((folder.relative_to(self._root) if below else folder).as_posix())

    def _shows_files(self, folder: Path) -> bool:
        if folder not in self._shows:
            try:
                with os.scandir(folder) as entries:  # hidden files stay in a folder, unseen
                    self._shows[folder] = any(not one.name.startswith(".") for one in entries)
            except OSError:
                self._shows[folder] = False
        return self._shows[folder]


@dataclass(frozen=True)
class FileState:
    """One file as it is on disk."""

    absent: str = ""
    """Why it is not compared at all: GONE, CHANGED or OWN_OUTPUT; empty for others."""

    offline: bool = False
    """Whether its folder is not there; then the rest is what the last run of `index` saw."""

    link: str | None = None
    """Target of a symbolic link: below the root, or absolute; None for other files."""

    identity: str | None = None
    """Equal for all names of one file, links included; None where that is unknown."""

    hard_links: int = 1
    """Names of the file anywhere on its disk."""

    names: int = 1
    """Names of the file in the library, links included."""


def file_states(root: Path, items: Sequence[Item]) -> dict[int, FileState]:
    """Look at the file of each item, by id; a file whose size or time differs is hashed."""
    absences, own_outputs, real_root = Absences(root), _OwnOutputs(root), root.resolve()
    found = {
        item.id: FileState(absent=OWN_OUTPUT)
        if own_outputs.hold(item)
        else _state(root, real_root, item, absences)
        for item in items
    }
    names = Counter(state.identity for state in found.values() if state.identity)
    return {
        one: replace(state, names=names[state.identity]) if state.identity else state
        for one, state in found.items()
    }


def disk_digest(paths: Iterable[Path]) -> str:
    """A hash of what lies at some paths: equal as long as nothing there is changed or replaced."""
    digest = hashlib.sha256()
    for path in sorted(set(paths)):
        try:
            one = path.lstat()
            linked = path.stat() if stat.S_ISLNK(one.st_mode) else one
            facts = (
                one.st_mode,
                linked.st_size,
                linked.st_mtime_ns,
                linked.st_ino,
                linked.st_nlink,
            )
        except OSError:
            facts = (0, 0, 0, 0, 0)
        digest.update(f"{path}\0{facts}\n".encode(errors="surrogateescape"))
    return digest.hexdigest()


class _OwnOutputs:
    """Folders that vaeneer wrote, which libraries of older versions have items of."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._made: dict[PurePosixPath, bool] = {}

    def hold(self, item: Item) -> bool:
        """Whether an item that an older vaeneer indexed lies in such a folder."""
        folders = PurePosixPath(item.path).parents[:-1] if item.bits is None else ()
        return any(self._is_made(folder) for folder in folders)

    def _is_made(self, folder: PurePosixPath) -> bool:
        if folder not in self._made:
            self._made[folder] = kind_on_disk(self._root / folder) is not None
        return self._made[folder]


def _state(root: Path, real_root: Path, item: Item, absences: Absences) -> FileState:
    path = root / item.path
    try:
        status = path.stat()
    except OSError:
        if absences.offline_folder(item.path) is None:
            return FileState(absent=GONE)
        # numbers of devices are used again, so that they count among offline files only
        identity = f"offline {item.link or item.file_id or item.path}"
        return FileState(offline=True, link=item.link, identity=identity)
    if not stat.S_ISREG(status.st_mode):
        return FileState(absent=GONE)
    if not _is_as_indexed(path, status, item):
        return FileState(absent=CHANGED)
    link = link_target(path, real_root) if path.is_symlink() else None
    unknown = not status.st_ino  # some network disks have no such numbers
    identity = os.path.realpath(path) if unknown else f"{status.st_dev}:{status.st_ino}"
    return FileState(link=link, identity=identity, hard_links=status.st_nlink)


def _is_as_indexed(path: Path, status: os.stat_result, item: Item) -> bool:
    if status.st_size != item.size_bytes:
        return False
    if clamped_ns(status.st_mtime_ns) == item.mtime_ns:
        return True
    try:
        return sha256_of(path).hex() == item.sha256
    except (OSError, ImageFileError):
        return False
