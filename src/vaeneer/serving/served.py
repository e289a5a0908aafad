"""What is served, by name: folders become libraries, runs and folders that can be indexed."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePath

from vaeneer.data.images import IMAGE_SUFFIXES
from vaeneer.errors import SettingsError
from vaeneer.library.library_folders import (
    default_library,
    existing_library,
    folder_of,
    is_finished,
)
from vaeneer.provenance import kind_on_disk
from vaeneer.text import printable
from vaeneer.training.run_folder import RunFolder

_MOST_RUNS = 1000
_MOST_LOOKED = 20_000  # files and folders


@dataclass(frozen=True)
class ImageFolder:
    """A folder of images, and where its library is or will be."""

    folder: Path
    library: Path


@dataclass(frozen=True)
class Served:
    """Folders with names that no two share; clients know the names only."""

    libraries: dict[str, Path]
    run_folders: tuple[Path, ...] = ()
    """Runs, and folders of runs: new ones in these appear while the server runs."""
    folders: dict[str, ImageFolder] = field(default_factory=dict)
    """Folders of images that the page may index, by the name of their library."""

    def runs(self) -> dict[str, Path]:
        """The runs that are there now, the newest of a folder last."""
        found: list[Path] = []
        for folder in self.run_folders:
            found += [folder] if is_run(folder) else _runs_in(folder)
        return _named(found[:_MOST_RUNS])


def served(folders: Sequence[Path | str]) -> Served:
    """Tell libraries, runs and folders of images from each other.

    Raises SettingsError for a folder that is none of them, or where there is none.
    """
    libraries: list[Path] = []
    images: dict[Path, ImageFolder] = {}
    runs = []
    for folder in (Path(one) for one in folders):
        if (library := existing_library(folder)) is not None:
            libraries.append(library)
            root = folder_of(library) or (None if library == folder else folder.resolve())
            if root is not None:
                images[library] = ImageFolder(root, library)
        elif is_run(folder) or _runs_in(folder):
            runs.append(folder)
        elif _may_have_images(folder):
            library = default_library(folder)
            libraries.append(library)
            images[library] = ImageFolder(folder.resolve(), library)
        else:
            raise SettingsError(
                f"{folder} is no library (vaeneer index makes one), no run, no folder of runs and"
                " no folder of images."
            )
    if not libraries and not runs:
        raise SettingsError("Nothing to serve; name a library, a run, or a folder of runs.")
    named = _named(libraries, {library: one.folder.name for library, one in images.items()})
    return Served(
        {name: one for name, one in named.items() if one not in images or is_finished(one)},
        tuple(runs),
        {name: images[one] for name, one in named.items() if one in images},
    )


def is_run(folder: Path) -> bool:
    """Whether a folder is a run of `vaeneer train`."""
    return RunFolder(folder).config.is_file()


def _runs_in(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    return sorted(child for child in folder.iterdir() if child.is_dir() and is_run(child))


def _may_have_images(folder: Path) -> bool:
    """Whether a folder that vaeneer did not write has an image below, or is too large to look."""
    if not folder.is_dir() or kind_on_disk(folder) is not None:
        return False
    looked = 0
    for _, _, files in os.walk(folder):
        if any(PurePath(name).suffix.lower() in IMAGE_SUFFIXES for name in files):
            return True
        looked += 1 + len(files)
        if looked > _MOST_LOOKED:
            return True
    return False


def _named(folders: Iterable[Path], names: Mapping[Path, str] | None = None) -> dict[str, Path]:
    """Folders by their names; of equal names the later ones are numbered.

    names: of those that are called otherwise than their folder.
    """
    found: dict[str, Path] = {}
    for folder in folders:
        own = (names or {}).get(folder) or folder.resolve().name
        name = known = printable(own) or "library"
        number = 1
        while name in found:
            number += 1
            name = f"{known}-{number}"
        found[name] = folder
    return found
