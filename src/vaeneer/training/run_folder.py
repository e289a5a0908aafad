"""The folder of a run: settings, metrics, models, state, plots. docs/formats.md lists its files."""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal

import tomli_w
from filelock import FileLock, Timeout

from vaeneer.checksums import SUMS, damaged_file, write_sums
from vaeneer.errors import SettingsError, TrainingError, VaeneerError
from vaeneer.files import read_json, remove_leftovers, write_json, write_text
from vaeneer.provenance import MARKER
from vaeneer.settings import Recipe, TrainSettings, read_sections, read_settings
from vaeneer.storage import storage_error, writing
from vaeneer.text import encodable

LOCK = ".training.lock"
RunState = Literal["training", "stopped", "finished"]
_SUMMED = ("config.toml", "run.json")
_FIGURES = {"epoch", "step", "seconds", "images_per_second", "train", "valid"}
"""The fields of a line of metrics.jsonl beside its crc32."""
FREE_ON_RESUME = (
    "epochs", "workers", "device", "tensorboard", "checkpoint_every", "state_every_minutes",
    "cache", "all_maps",
)  # fmt: skip
"""Settings that a resumed run may change: how far, where and how it is shown, not what it does."""


@dataclass(frozen=True)
class RunFolder:
    """Names of what a run keeps below `root`."""

    root: Path

    @property
    def config(self) -> Path:
        """config.toml: `vaeneer train --config FILE --out NEW` does the run again."""
        return self.root / "config.toml"

    @property
    def facts(self) -> Path:
        """run.json: data, versions, device."""
        return self.root / "run.json"

    @property
    def metrics(self) -> Path:
        """metrics.jsonl: one line for each epoch."""
        return self.root / "metrics.jsonl"

    @property
    def state(self) -> Path:
        """state.safetensors: where `--resume` goes on."""
        return self.root / "state.safetensors"

    @property
    def best(self) -> Path:
        """The model with the least validation loss (negative ELBO)."""
        return self.root / "best"

    @property
    def last(self) -> Path:
        """The model of the last epoch."""
        return self.root / "last"

    @property
    def plots(self) -> Path:
        """PNG pictures, redrawn after each epoch."""
        return self.root / "plots"

    @property
    def tensorboard(self) -> Path:
        """TensorBoard's events."""
        return self.root / "tensorboard"

    def checkpoint(self, epoch: int) -> Path:
        """The model kept after `epoch` (counted from 1)."""
        return self.root / "checkpoints" / f"epoch-{epoch:04d}"

    @contextmanager
    def training(self) -> Iterator[None]:
        """Hold the run's lock for the block; it goes with the process, however that ends.

        Raises TrainingError where another process holds it.
        """
        lock = FileLock(self.root / LOCK)
        try:
            lock.acquire(timeout=1)  # as long as another one may look whether it is held
        except Timeout as error:
            raise self.being_trained() from error
        try:
            yield
        finally:
            lock.release()

    def is_training(self) -> bool:
        """Whether a process trains this run now; False where the folder cannot tell."""
        lock = FileLock(self.root / LOCK)
        if not (self.root / LOCK).is_file():
            return False
        try:
            lock.acquire(timeout=0)
        except Timeout:
            return True
        except OSError:  # a folder that is read only: nobody trains in it
            return False
        lock.release()
        return False

    def being_trained(self) -> TrainingError:
        """The error of a run that another process trains."""
        return TrainingError(
            f"{self.root} is being trained by another process; wait until it ends, or name another"
            " --out."
        )

    def state_of(self, epochs: int) -> RunState:
        """Whether a run with so many epochs done is being trained, was stopped, or is finished."""
        if self.is_training():
            return "training"
        wanted = planned_epochs(self.root)
        return "finished" if wanted is not None and epochs >= wanted else "stopped"

    def write_config(self, data: Path, settings: TrainSettings) -> None:
        """Write config.toml, in the sections and names that `--config` reads; all of the recipe."""
        asked = {**asdict(settings), **asdict(Recipe.of(settings))}
        table = {name: value for name, value in asked.items() if value is not None}
        if settings.cache is not None:
            table["cache"] = str(settings.cache)
        self._unsummed()
        table |= {name: encodable(text) for name, text in table.items() if isinstance(text, str)}
        train = {"data": encodable(str(data.absolute())), **table}
        write_text(self.config, tomli_w.dumps({"train": train}))
        write_sums(self.root, _SUMMED)

    def append_metrics(self, line: dict[str, Any]) -> None:
        """Append one epoch's figures and see them to the disk."""
        with writing(self.metrics), self.metrics.open("a", encoding="utf-8") as file:
            file.write(_metrics_line(line))
            file.flush()
            os.fsync(file.fileno())

    def keep_metrics(self, epochs: int) -> None:
        """Drop lines after `epochs` epochs: a run killed between two writes does them again."""
        kept = [line for line in read_metrics(self.root) if line["epoch"] <= epochs]
        write_text(self.metrics, "".join(map(_metrics_line, kept)))

    def write_facts(self, facts: dict[str, Any]) -> None:
        """Write run.json."""
        self._unsummed()
        write_json(self.facts, facts)
        write_sums(self.root, _SUMMED)

    def _unsummed(self) -> None:
        """Remove SHA256SUMS before a file changes: whatever ends the run, it is never wrong."""
        (self.root / SUMS).unlink(missing_ok=True)

    def clear_unstarted(self) -> None:
        """Delete what a run left that ended before its first state, such as on a full disk.

        Does nothing where the folder holds anything else: that is not ours to delete.
        """
        if not self.root.is_dir():
            return
        remove_leftovers(self.root)
        names = {entry.name for entry in self.root.iterdir()}
        if MARKER in names and names <= {MARKER, LOCK, SUMS, *_SUMMED}:
            for name in names - {MARKER}:
                (self.root / name).unlink()

    def check(self) -> None:
        """Raise TrainingError where config.toml or run.json is not as it was written."""
        damaged = damaged_file(self.root, _SUMMED)
        if damaged is not None:
            raise TrainingError(
                f"{self.root / damaged} is damaged or was changed: its SHA-256 is not that in"
                f" {SUMS}; put it back from a copy, start a new run with another --out, or delete"
                f" {SUMS} there if you changed the file."
            )


def planned_epochs(root: Path) -> int | None:
    """The number of epochs that a run is to have; None where its config.toml cannot be read now."""
    try:
        epochs = read_sections(RunFolder(root).config).get("train", {}).get("epochs")
    except VaeneerError:
        return None
    return epochs if isinstance(epochs, int) else None


def read_metrics(root: Path) -> list[dict[str, Any]]:
    """The lines of a run's metrics.jsonl; one that was torn or damaged is left out."""
    path = RunFolder(root).metrics
    lines = path.read_bytes().splitlines() if path.is_file() else []
    return [line for line in map(_read_line, lines) if line is not None]


def damaged_metrics(root: Path) -> int:
    """How many lines of metrics.jsonl are torn or damaged."""
    path = RunFolder(root).metrics
    lines = path.read_bytes().splitlines() if path.is_file() else []
    return sum(_read_line(line) is None for line in lines)


def _metrics_line(line: dict[str, Any]) -> str:
    text = json.dumps(line, allow_nan=False)
    return json.dumps({**line, "crc32": zlib.crc32(text.encode())}, allow_nan=False) + "\n"


def _read_line(line: bytes) -> dict[str, Any] | None:
    """One epoch's figures; None for a damaged line. Lines of older versions have no crc32."""
    try:
        value = json.loads(line)
        crc32 = value.pop("crc32", None)
        text = json.dumps(value, allow_nan=False)
    except (ValueError, RecursionError, AttributeError, TypeError):
        return None
    if crc32 is None:
        return value if type(value.get("epoch")) is int and value.keys() <= _FIGURES else None
    return value if crc32 == zlib.crc32(text.encode()) else None


def settings_to_resume(run: RunFolder, asked: TrainSettings) -> TrainSettings:
    """The settings of a run to go on with: its own, but for those that it may change.

    Raises SettingsError when another setting than those was asked to change.
    """
    run.check()
    own = read_settings(run.config, TrainSettings, "train", ignore=("data",))
    default, changed = TrainSettings(), {}
    for name in (field.name for field in fields(TrainSettings)):
        value = getattr(asked, name)
        value = encodable(value) if isinstance(value, str) else value  # as it is in the file
        if value in (getattr(default, name), getattr(own, name)):
            continue
        if name not in FREE_ON_RESUME:
            raise SettingsError(
                f"The run in {run.root} has {name} = {getattr(own, name)!r} and cannot go on with"
                f" {value!r}; leave that setting out, or start a new run with another --out."
            )
        changed[name] = value
    return TrainSettings(**{**asdict(own), **changed})


def check_same_data(run: RunFolder, fingerprint: str) -> None:
    """Raise TrainingError when the training images are not those that the run began with."""
    try:
        known = read_json(run.facts)["data"]["fingerprint"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise storage_error(error, run.facts, verb="read") or TrainingError(
            f"{run.facts} cannot be read: {error}; start a new run."
        ) from error
    if known != fingerprint:
        raise TrainingError(
            f"The training images are not those that {run.root} began with, so it cannot go on"
            " exactly; put them back, or start a new run with another --out. A run of an older"
            " version took other maps, too: --all-maps."
        )


def newest_run(runs: Path) -> Path | None:
    """The run below `runs` whose state was written last, or None."""
    found = [RunFolder(path.parent) for path in runs.glob("*/config.toml")]

    def written(run: RunFolder) -> int:
        return (run.state if run.state.is_file() else run.config).stat().st_mtime_ns

    return max(found, key=written).root if found else None


def next_run(runs: Path) -> Path:
    """The name for a new run below `runs`: 001, 002, ..."""
    numbers = [int(path.name) for path in runs.glob("*") if path.name.isdigit()]
    return runs / f"{max(numbers, default=0) + 1:03d}"
