"""The networks that draw pictures and belong to no library: models in the box, and runs."""

from __future__ import annotations

import threading
from pathlib import Path

from vaeneer.device import choose_device
from vaeneer.model.bundled_models import BOX, box_names
from vaeneer.model.checkpoint import WEIGHTS, find_model, load
from vaeneer.model.vae import VAE
from vaeneer.serving.problems import Problem
from vaeneer.serving.served import Served
from vaeneer.training.run_folder import RunFolder

_MOST_KEPT = 3


class DrawnNetworks:
    """Networks by name; the last few are kept. A run's best model is read again when it changes."""

    def __init__(self, served: Served, device: str) -> None:
        self._served = served
        self._device = device
        self._known: dict[tuple[Path, int], VAE] = {}
        self._lock = threading.Lock()

    def of(self, name: str, epoch: int | None = None) -> VAE:
        """The network of a run (its best, or that kept after an epoch), or of the box.

        Raises Problem 404 for a name that is neither, ModelFileError for a damaged model.
        """
        folder = find_model(self._folder(name, epoch))
        key = folder, (folder / WEIGHTS).stat().st_mtime_ns
        with self._lock:
            if key not in self._known:
                self._known[key] = load(folder, device=choose_device(self._device))
                while len(self._known) > _MOST_KEPT:
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
        if name in box_names() and epoch is None:
            return BOX / name
        raise Problem(404, f"No model or run is called {name[:80]!r}; GET /api/v1 lists them.")
