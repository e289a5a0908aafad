"""Folders below a root, each real one once, at any depth: links last, loops end."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from vaeneer.provenance import kind_of_folder, kind_on_disk

Entry = os.DirEntry[str]


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
