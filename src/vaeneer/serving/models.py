"""Libraries, runs and networks by name: loaded once, shared, reloaded when they change."""

from __future__ import annotations

import logging
import os
import sqlite3
import stat
import threading
import time
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import Literal

from vaeneer.data.image_formats import IMAGE_SUFFIXES
from vaeneer.device import choose_device
from vaeneer.errors import LibraryUnavailableError, SettingsError, VaeneerError
from vaeneer.library.catalog import Catalog, Item
from vaeneer.library.library import Library
from vaeneer.library.library_folders import (
    default_library,
    existing_library,
    folder_of,
    is_finished,
)
from vaeneer.library.store import MODEL_FOLDER, read_calibration
from vaeneer.model.bundled_models import BOX, bundled_names
from vaeneer.model.checkpoint import WEIGHTS, find_model, load
from vaeneer.model.vae import VAE
from vaeneer.provenance import kind_on_disk
from vaeneer.serving.batching import Batcher
from vaeneer.serving.schemas import Problem, busy
from vaeneer.text import printable
from vaeneer.training.run_folder import RunFolder

LibraryState = Literal["loading", "ready", "failed"]
Version = tuple[int, int, int]
"""Version of a catalog: of its file, its generation, and its generation without small parts that
were added later."""
QUERY_SECONDS = 5.0
"""Time limit for the filters of one page."""
_RETRY_SECONDS = 60
_LOAD_SECONDS = 30.0
_LOG = logging.getLogger(__name__)
_MAX_RUNS = 1000
_MAX_SCANNED = 20_000  # files and folders
_MAX_MODELS = 3


@dataclass(frozen=True)
class StoredFile:
    """A picture of a library that can be read now."""

    name: str
    """In the catalog."""
    path: Path
    facts: os.stat_result
    media_type: str | None
    """Of a file that browsers show as it is; None for others."""


class ServedLibrary:
    """One library, its state, and what may be done with it now."""

    def __init__(self, name: str, folder: Path, batcher: Batcher) -> None:
        """Raises LibraryError where `folder` is no library, or a damaged one."""
        self.name = name
        self.folder = folder
        self.catalog = Catalog.open(folder)
        self.calibrated = read_calibration(folder) is not None
        self.state: LibraryState = "loading"
        self.reason = ""
        self._batcher = batcher
        self._library: Library | None = None
        self._loaded: Version | None = None
        self._tried: Version | None = None
        self._try_again_at = 0.0
        self._loading = threading.Lock()
        self._refreshing = threading.Lock()
        self._loader: threading.Thread | None = None

    def load(self) -> None:
        """Load the network and the vectors, then replace the former ones."""
        with self._loading:
            try:
                version = self.version()
                if self._library is not None and version == self._loaded:
                    return
                self._tried = version
                self.calibrated = read_calibration(self.folder) is not None
                library = Library(self.folder, catalog=self.catalog)
                fingerprint = self.catalog.require_meta("model_fingerprint")
                library.embedder = self._batcher.embedder(self.folder / MODEL_FOLDER, fingerprint)
                vectors = len(library.image_index) + len(library.crop_index)  # loads them
                _LOG.debug("%s: %d vectors", self.name, vectors)
            except Exception as error:  # the reason is answered; the former vectors stay in use
                known = isinstance(error, VaeneerError | OSError)
                _LOG.log(logging.WARNING, "%s: %s", self.name, error, exc_info=not known)
                self.reason = str(error)
                self.state = "failed" if self._library is None else "ready"
                self._try_again_at = time.monotonic() + _RETRY_SECONDS
                return
            self._library, self._loaded = library, version
            self.state, self.reason = "ready", ""

    def load_in_background(self) -> None:
        """As `load`, in a thread of its own."""
        self._loader = threading.Thread(target=self.load, name=f"load {self.name}", daemon=True)
        self._loader.start()

    def version(self) -> Version:
        """Version of the catalog now. Raises LibraryUnavailableError where it cannot be read."""
        generations = self.catalog.generations
        return self.catalog.attached, *generations

    def content(self) -> Hashable:
        """Version for a map or duplicates: while small parts are still coming, that of the rest.

        Else what takes minutes would be out of date every few seconds. Raises as `version`.
        """
        version = self.version()
        return _of_wholes(version) if self.catalog.parts_pending else version

    def ready(self) -> Library:
        """The library for searching; new vectors are loaded in the background.

        Raises Problem 503 while it loads, or where it cannot be loaded; LibraryUnavailableError
        where its folder is gone.
        """
        try:
            version = self.version()
        except LibraryUnavailableError as error:
            self.state, self.reason = "failed", str(error)
            raise
        self._refresh(version)
        library = self._library
        if library is None:
            if self.state == "failed":
                detail = f"The library {self.name} cannot be loaded: {self.reason}"
                raise busy(detail, _RETRY_SECONDS)
            raise busy(f"The library {self.name} is loading; ask again in a second.")
        if version == self._loaded:
            self.state, self.reason = "ready", ""
        return library

    def current(self) -> Library:
        """As `ready`, but never with outdated vectors. Raises Problem 503 while new ones load."""
        library = self.ready()
        version, loaded = self.version(), self._loaded
        late = self.catalog.parts_pending and loaded and _of_wholes(loaded) == _of_wholes(version)
        if version != loaded and not late:
            raise busy(f"New vectors of {self.name} are being loaded; ask again in a second.")
        return library

    def _refresh(self, version: Version) -> None:
        """Load a new version once; vectors of a replaced file do not stay in use."""
        with self._refreshing:
            if self._library is not None and self._loaded and self._loaded[0] != version[0]:
                self._library, self._loaded = None, None
                self.state, self.reason = "loading", ""
            again = self._library is None and self.state == "failed"
            due = version != self._tried or (again and time.monotonic() > self._try_again_at)
            if due and not self._loading.locked():
                if again:
                    self.state, self.reason = "loading", ""
                self._tried = version
                self.load_in_background()

    def item(self, number: int) -> Item:
        """The item of an id. Raises Problem 404."""
        found = self.catalog.items([number])
        if not found:
            raise Problem(404, f"The library {self.name} has no item {number}.")
        return found[0]

    def below_root(self, path: str) -> Path:
        """Where a file of the catalog lies. Raises Problem 404 for a place outside of the root."""
        if Path(path).is_absolute() or ".." in Path(path).parts:
            raise Problem(404, f"The catalog of {self.name} names a file outside of its root.")
        return self.catalog.root / path

    def file(self, name: str, *, offline: bool, media_type: str | None = None) -> StoredFile:
        """A file of the catalog that can be read now. Raises Problem 404."""
        path = self.below_root(name)
        try:
            facts = path.stat()
        except OSError:
            what = "offline: its folder is not there now" if offline else "gone"
            raise Problem(404, f"The file is {what}; run vaeneer index again.") from None
        if not stat.S_ISREG(facts.st_mode):  # a named pipe would block for ever
            raise Problem(404, "There is no file any more, but something else of its name.")
        if not os.access(path, os.R_OK):
            raise Problem(404, "The file may not be read by the server; check its permissions.")
        return StoredFile(name, path, facts, media_type)

    def has_file(self, item: Item) -> bool:
        """Whether an item's file is there now. Raises Problem 404 as `below_root` does."""
        try:
            return self.below_root(item.path).is_file()
        except OSError:  # a folder that may not be entered, a disk that fails
            return False

    @contextmanager
    def query_timeout(self, seconds: float = QUERY_SECONDS) -> Iterator[None]:
        """Stop SQLite's work for this thread after some time. Raises Problem 422 then."""
        try:
            with self.catalog.limited(seconds):
                yield
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_INTERRUPT:
                raise
            detail = "The filters take too long on this library; make them simpler."
            raise Problem(422, detail) from None

    def close(self) -> None:
        """Close the catalog, once loading has ended."""
        if self._loader is not None:
            self._loader.join(_LOAD_SECONDS)
        self.catalog.close()


def _of_wholes(version: Version) -> tuple[int, int]:
    """A version without the small parts that came later."""
    attached, _, wholes = version
    return attached, wholes


@dataclass(frozen=True)
class ServedFolder:
    """A folder of images, and where its library is or will be."""

    folder: Path
    library: Path


@dataclass(frozen=True)
class Served:
    """Folders with names that no two share; clients know the names only."""

    libraries: dict[str, Path]
    run_folders: tuple[Path, ...] = ()
    """Runs, and folders of runs: new ones in these appear while the server runs."""
    folders: dict[str, ServedFolder] = field(default_factory=dict)
    """Folders of images that the page may index, by the name of their library."""

    def runs(self) -> dict[str, Path]:
        """The runs that are there now, the newest of a folder last."""
        found: list[Path] = []
        for folder in self.run_folders:
            found += [folder] if is_run(folder) else _runs_in(folder)
        return _named(found[:_MAX_RUNS])


def served(folders: Sequence[Path | str]) -> Served:
    """Sort folders into libraries, runs and folders of images.

    Raises SettingsError for a folder that is none of them, or where there is none.
    """
    libraries: list[Path] = []
    images: dict[Path, ServedFolder] = {}
    runs = []
    for folder in (Path(one) for one in folders):
        if (library := existing_library(folder)) is not None:
            libraries.append(library)
            root = folder_of(library) or (None if library == folder else folder.resolve())
            if root is not None:
                images[library] = ServedFolder(root, library)
        elif is_run(folder) or _runs_in(folder):
            runs.append(folder)
        elif _may_have_images(folder):
            library = default_library(folder)
            libraries.append(library)
            images[library] = ServedFolder(folder.resolve(), library)
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
        if looked > _MAX_SCANNED:
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


class ModelCache:
    """Caches the last few networks by name; a run's best model is read again when it changes."""

    def __init__(self, served: Served, device: str) -> None:
        self._served = served
        self._device = device
        self._known: dict[tuple[Path, int], VAE] = {}
        self._lock = threading.Lock()

    def of(self, name: str, epoch: int | None = None) -> VAE:
        """The network of a run (its best, or the checkpoint of an epoch), or a bundled one.

        Raises Problem 404 for a name that is neither, ModelFileError for a damaged model.
        """
        folder = find_model(self._folder(name, epoch))
        key = folder, (folder / WEIGHTS).stat().st_mtime_ns
        with self._lock:
            if key not in self._known:
                self._known[key] = load(folder, device=choose_device(self._device))
                while len(self._known) > _MAX_MODELS:
                    self._known.pop(next(iter(self._known)))
            return self._known[key]

    def _folder(self, name: str, epoch: int | None) -> Path:
        runs = self._served.runs()
        if name in runs and epoch is None:
            return runs[name]
        if name in runs and epoch is not None:
            kept = RunFolder(runs[name]).checkpoint(epoch)
            if kept.is_dir():
                return kept
            raise Problem(404, f"The run {name} kept no model of epoch {epoch}.")
        if name in bundled_names() and epoch is None:
            return BOX / name
        raise Problem(404, f"No model or run is called {name[:80]!r}; GET /api/v1 lists them.")
