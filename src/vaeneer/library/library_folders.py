"""Where libraries are: the default place of a folder's library, and find_library() for all others.

The default place is in the user's data folder (XDG_DATA_HOME), never in the folder of the images.
"""

from __future__ import annotations

import hashlib
import os
import re
import shlex
import sqlite3
from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path

from platformdirs import user_data_path

from vaeneer.errors import DataError, LibraryError, OutputExistsError, SettingsError
from vaeneer.files import holds_anything
from vaeneer.library.catalog_file import CATALOG, listed_facts
from vaeneer.storage import connect

_NOT_IN_NAMES = re.compile(r"[^\w.-]+")
_LONGEST_NAME = 48  # characters of the folder's name in that of its library
_MOST_LISTED = 12


@dataclass(frozen=True)
class _Found:
    """A library in the default place."""

    library: Path
    folder: Path
    """Of its images."""


def default_library(folder: Path | str) -> Path:
    """The folder in which `index` keeps the library of a folder, unless another one is given."""
    root = Path(folder).resolve()
    return _in_default_place(root) or _named_after(root)


def _named_after(root: Path) -> Path:
    name = _NOT_IN_NAMES.sub("_", root.name)[:_LONGEST_NAME].strip("._") or "library"
    digest = hashlib.sha256(os.fsencode(root)).hexdigest()[:8]
    return _default_place() / f"{name}-{digest}"


def find_library(named: Path | str | None = None) -> Path:
    """The folder of the library that `named` means: a library, or a folder that was indexed.

    None: the only library in the default place; of several, the one whose folder of images holds
    the current directory, or the only one whose folder is below it. A name that is neither is
    returned as it is, and `Catalog.open` refuses it. Raises LibraryError where None means no
    library or several.
    """
    if named is not None:
        return existing_library(named) or Path(named)
    found = list(_libraries())
    if len(found) == 1:
        return found[0].library
    if not found:
        raise LibraryError(
            f"There is no library in {_default_place()}; make one with: vaeneer index IMAGES"
        )
    current = Path.cwd()
    around = [one for one in found if current.is_relative_to(one.folder)]
    if around:
        return max(around, key=lambda one: len(one.folder.parts)).library
    below = [one for one in found if one.folder.is_relative_to(current)]
    if len(below) == 1:
        return below[0].library
    folders = [shlex.quote(str(one.folder)) for one in found]
    more = f" and {len(folders) - _MOST_LISTED} more" if len(folders) > _MOST_LISTED else ""
    raise LibraryError(
        f"There are {len(folders)} libraries, and none is of the current directory; name the folder"
        f" of one: {', '.join(folders[:_MOST_LISTED])}{more}."
    )


def existing_library(named: Path | str) -> Path | None:
    """The library that a path names: itself, or that of an indexed folder; None for neither."""
    folder = Path(named)
    try:
        if _is_library(folder):
            return folder
        if not folder.is_dir():
            return None
        return _in_default_place(folder.resolve())
    except (OSError, RuntimeError, ValueError):  # a loop of links, a name that no file can have
        return None


def folder_of(library: Path) -> Path | None:
    """The folder of images of a library in the default place; None for a library elsewhere."""
    if library.parent.resolve() != _default_place().resolve():
        return None
    root, _ = _facts(library)
    return None if root is None else Path(root)


def is_finished(library: Path) -> bool:
    """Whether all whole images of a library were indexed once."""
    return bool(listed_facts(library).get("items"))


def folders_to_index(
    folder: Path | str, library: Path | str | None, *, moved: bool
) -> tuple[Path, Path]:
    """The folder of images and that of its library, resolved; library: None for the default place.

    Raises DataError where there is no such folder; LibraryError where one holds the other;
    OutputExistsError where the library's holds something else; SettingsError for `moved` (as
    --folder-moved) without a library that is there.
    """
    folder, named = Path(folder), None if library is None else Path(library)
    if not folder.is_dir():
        what = "is a file, not a folder" if folder.exists() else "does not exist"
        raise DataError(f"{folder} {what}; name the folder of your images.")
    try:
        place = default_library(folder) if named is None else named
        root, target = folder.resolve(), place.resolve()
        if target.is_symlink():
            raise RuntimeError("a link that leads nowhere or to itself")
    except (OSError, RuntimeError) as error:
        raise LibraryError(
            f"{named or folder} cannot be opened ({error}); name another one."
        ) from error
    if target != root and _is_inside(root, target):
        raise LibraryError(f"{place} holds the images themselves; {_outside(root, named)}.")
    if _is_inside(target, root) and (target == root or not (target / CATALOG).is_file()):
        where = "is" if target == root else f"is inside {folder},"
        raise LibraryError(f"{place} {where} the folder of the images; {_outside(root, named)}.")
    strange = place.is_dir() and holds_anything(place) and not (place / CATALOG).is_file()
    if place.is_file() or (strange and not (place / ".lock").is_file()):
        raise OutputExistsError(f"{place} holds something else; name another --library.")
    if named is None and moved and not (target / CATALOG).is_file():
        lost = [one.library for one in _libraries() if not one.folder.is_dir()]  # or offline
        one_of = ", one of" if len(lost) > 1 else ","
        which = f"{one_of} {', '.join(shlex.quote(str(one)) for one in lost)}" if lost else ""
        raise SettingsError(
            f"--folder-moved needs --library: the library whose images lie in {root} now{which}."
        )
    return root, target


def _is_inside(path: Path, folder: Path) -> bool:
    """Whether a path is a folder or below it, under whatever names and mounts."""
    if path.is_relative_to(folder):
        return True
    there = folder.stat() if folder.is_dir() else None
    return there is not None and any(
        one.is_dir() and os.path.samestat(one.stat(), there) for one in (path, *path.parents)
    )


def _outside(root: Path, named: Path | None) -> str:
    """The remedy for a library that is in the folder of its images, or around it."""
    default = default_library(root)
    if named is None or _is_inside(default, root):
        return "name a folder outside of it with --library"
    return f"leave --library out (the library is then {default}), or name a folder outside of it"


def _in_default_place(root: Path) -> Path | None:
    """The library of a folder, by its name or, after `index --folder-moved`, by what it says."""
    named = _named_after(root)
    if _is_library(named) and _facts(named)[0] in (None, str(root)):
        return named
    return next((one.library for one in _libraries() if one.folder == root), None)


def _default_place() -> Path:
    return user_data_path("vaeneer", appauthor=False) / "libraries"


def _is_library(folder: Path) -> bool:
    """Whether a folder is a library, or was one before its catalog was lost."""
    return (folder / CATALOG).is_file() or "generation" in listed_facts(folder)


def _libraries() -> Iterator[_Found]:
    """The libraries with items in the default place, by name."""
    with suppress(OSError):
        for folder in sorted(_default_place().iterdir()):
            root, items = _facts(folder)
            if root is not None and items:
                yield _Found(folder, Path(root))


def _facts(library: Path) -> tuple[str | None, int]:
    """Folder of the images and number of items; None and 0 where they cannot be read."""
    facts = listed_facts(library)
    root, items = facts.get("root"), facts.get("items")
    if isinstance(root, str) and isinstance(items, int):
        return root, items
    with suppress(sqlite3.Error, OSError):  # the first run did not end
        file = library / CATALOG
        with closing(connect(file, "mode=ro")) as connection:
            row = connection.execute("SELECT value FROM state WHERE key = 'root'").fetchone()
            (count,) = connection.execute("SELECT count(*) FROM items WHERE embedded").fetchone()
            return (None if row is None else str(row[0])), int(count)
    return None, 0
