"""A library while it is served: its catalog at once, its network and vectors behind the scenes."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Hashable
from pathlib import Path
from typing import Literal

from vaeneer.errors import LibraryUnavailableError, VaeneerError
from vaeneer.library.catalog import Catalog, Item
from vaeneer.library.library import Library
from vaeneer.library.search.search import calibration_in
from vaeneer.library.store import FOLDER as MODEL
from vaeneer.model.embedder import Embedder
from vaeneer.serving.network import GatheringEmbedder, Network
from vaeneer.serving.problems import Problem, busy
from vaeneer.settings.commands import ServeSettings

State = Literal["loading", "ready", "failed"]
Version = tuple[int, int, int]
"""What the vectors of a catalog follow: the file itself, the generation in it, and as much of that
as is not of small parts that came later."""
_RETRY_SECONDS = 60
_LOAD_SECONDS = 30.0
_LOG = logging.getLogger(__name__)


class Networks:
    """The networks of all libraries: those with the same model share one."""

    def __init__(self, network: Network, settings: ServeSettings) -> None:
        self._network = network
        self._settings = settings
        self._known: dict[str, GatheringEmbedder] = {}
        self._lock = threading.Lock()

    def of(self, folder: Path, catalog: Catalog) -> GatheringEmbedder:
        """The network of a library; loaded where no other has it."""
        key = catalog.needed("model_fingerprint")
        with self._lock:
            if key not in self._known:
                settings = self._settings
                loaded = Embedder(
                    folder / MODEL, device=settings.device, precision=settings.precision
                )
                size = max(settings.batch_crops, loaded.batch_size)
                self._known[key] = GatheringEmbedder(loaded, self._network, size)
            return self._known[key]


class OpenLibrary:
    """One library: what can be asked of it now, and its state."""

    def __init__(self, name: str, folder: Path, networks: Networks) -> None:
        """Raises LibraryError when `folder` is no good library."""
        self.name = name
        self.folder = folder
        self.catalog = Catalog.open(folder)
        self.calibrated = calibration_in(folder, needed=False) is not None
        self.state: State = "loading"
        self.reason = ""
        self._networks = networks
        self._library: Library | None = None
        self._loaded: Version | None = None
        self._tried: Version | None = None
        self._try_again_at = 0.0
        self._loading = threading.Lock()
        self._refreshing = threading.Lock()
        self._loader: threading.Thread | None = None

    def load(self) -> None:
        """Load the network and the vectors, and swap them in when they are there."""
        with self._loading:
            try:
                version = self.version()
                if self._library is not None and version == self._loaded:
                    return
                self._tried = version
                self.calibrated = calibration_in(self.folder, needed=False) is not None
                library = Library(self.folder, catalog=self.catalog)
                library.embedder = self._networks.of(self.folder, self.catalog)
                assert len(library.wholes) >= 0  # loads them
                assert len(library.parts) >= 0
            except Exception as error:  # told to whoever asks; the old vectors stay in use
                known = isinstance(error, VaeneerError | OSError)
                _LOG.log(logging.WARNING, "%s: %s", self.name, error, exc_info=not known)
                self.reason = str(error)
                self.state = "failed" if self._library is None else "ready"
                self._try_again_at = time.monotonic() + _RETRY_SECONDS
                return
            self._library, self._loaded = library, version
            self.state, self.reason = "ready", ""

    def load_behind(self) -> None:
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
        """The library for searching; new vectors are fetched behind the scenes.

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
        """As `ready`, but not with vectors that the catalog has left behind."""
        library = self.ready()
        version, loaded = self.version(), self._loaded
        late = self.catalog.parts_pending and loaded and _of_wholes(loaded) == _of_wholes(version)
        if version != loaded and not late:
            raise busy(f"New vectors of {self.name} are being loaded; ask again in a second.")
        return library

    def _refresh(self, version: Version) -> None:
        """Load once whatever is new; of another file than before nothing stays in use."""
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
                self.load_behind()

    def item(self, number: int) -> Item:
        """The item of an id. Raises Problem 404."""
        found = self.catalog.items([number])
        if not found:
            raise Problem(404, f"The library {self.name} has no item {number}.")
        return found[0]

    def path(self, item: Item) -> Path:
        """Where an item's file lies. Raises Problem 404 for a place outside of the root."""
        return self.below_root(item.path)

    def below_root(self, path: str) -> Path:
        """Where a file of the catalog lies. Raises Problem 404 for a place outside of the root."""
        if Path(path).is_absolute() or ".." in Path(path).parts:
            raise Problem(404, f"The catalog of {self.name} names a file outside of its root.")
        return self.catalog.root / path

    def has_file(self, item: Item) -> bool:
        """Whether an item's file is there now. Raises Problem 404 as `path` does."""
        try:
            return self.path(item).is_file()
        except OSError:  # a folder that may not be entered, a disk that fails
            return False

    def close(self) -> None:
        """Let go of the catalog's file, after what is being loaded."""
        if self._loader is not None:
            self._loader.join(_LOAD_SECONDS)
        self.catalog.close()


def _of_wholes(version: Version) -> tuple[int, int]:
    """A version without the small parts that came later."""
    attached, _, wholes = version
    return attached, wholes
