"""Whether a file that is gone was deleted, or lies in a folder that is offline.

Offline is a folder that is missing, cannot be listed or is empty, as a mount point is without its
drive: nothing is concluded from what it does not show. In a folder that shows other files, a file
that is gone was deleted. A link whose target is gone is judged by the folder of the target.
"""

from __future__ import annotations

import os
from pathlib import Path, PurePosixPath

from vaeneer.text import printable


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
