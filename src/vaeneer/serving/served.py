"""What is served, by name: folders become libraries and runs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from vaeneer.errors import SettingsError
from vaeneer.library.catalog import NAME as CATALOG
from vaeneer.text import printable
from vaeneer.training.run_folder import RunFolder

_MOST_RUNS = 1000


@dataclass(frozen=True)
class Served:
    """Folders with names that no two share; clients know the names only."""

    libraries: dict[str, Path]
    run_folders: tuple[Path, ...] = ()
    """Runs, and folders of runs: new ones in these appear while the server runs."""

    def runs(self) -> dict[str, Path]:
        """The runs that are there now, the newest of a folder last."""
        found: list[Path] = []
        for folder in self.run_folders:
            found += [folder] if is_run(folder) else _runs_in(folder)
        return _named(found[:_MOST_RUNS])


def served(folders: Sequence[Path | str]) -> Served:
    """Tell libraries from runs. Raises SettingsError for a folder that is neither, or for none."""
    libraries, runs = [], []
    for folder in (Path(one) for one in folders):
        if (folder / CATALOG).is_file():
            libraries.append(folder)
        elif is_run(folder) or _runs_in(folder):
            runs.append(folder)
        else:
            raise SettingsError(
                f"{folder} is no library (vaeneer index makes one), no run and no folder of runs."
            )
    if not libraries and not runs:
        raise SettingsError("Nothing to serve; name a library, a run, or a folder of runs.")
    return Served(_named(libraries), tuple(runs))


def is_run(folder: Path) -> bool:
    """Whether a folder is a run of `vaeneer train`."""
    return RunFolder(folder).config.is_file()


def _runs_in(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    return sorted(child for child in folder.iterdir() if child.is_dir() and is_run(child))


def _named(folders: Iterable[Path]) -> dict[str, Path]:
    """Folders by their names; of equal names the later ones are numbered."""
    found: dict[str, Path] = {}
    for folder in folders:
        name = known = printable(folder.resolve().name) or "library"
        number = 1
        while name in found:
            number += 1
            name = f"{known}-{number}"
        found[name] = folder
    return found
