"""Every error that vaeneer raises on purpose, one sentence each with the value and the remedy.

VaeneerError
├── SettingsError          a setting is unknown or out of range
├── OutputExistsError      the output folder holds something already
├── DataError              a folder of images cannot be used
│   └── ImageFileError     one file cannot be read as an image (the folder goes on without it)
├── ImageSizeError         a tensor of images or latents has the wrong shape
├── ModelFileError         a model, run or weights file cannot be read
├── LibraryError           a library is missing, damaged, in use or of another model
│   └── LibraryUnavailableError   its files are gone, locked or unreadable now
│       └── LibraryDamagedError       its catalog is damaged; `vaeneer index` makes it again
├── StorageError           a disk is full, fails, is only read or in use; no file is damaged
└── TrainingError          a run cannot start or go on
    ├── NonFiniteLossError     the loss became NaN or infinite
    └── TrainingInterrupted    Ctrl-C or SIGTERM; the run can be resumed
"""

from __future__ import annotations

import os
from pathlib import Path

# Reasons that are no property of the file: a disk, memory, an extra that may be installed later.
_TRANSIENT = ("cannot be read", "no such file", "not a file", "too large for the memory")
_LIMITS = ("too large", "too many", "too long", "too small")
FORMATS_HINT = "run: pip install openimageio pillow-heif imagecodecs"
"""What makes the other formats readable, from a clone or not (the extra `formats`)."""


class VaeneerError(Exception):
    """The root: catching it catches all that vaeneer raises on purpose."""


class SettingsError(VaeneerError, ValueError):
    """A setting is unknown, of the wrong type or out of range."""


class OutputExistsError(VaeneerError, FileExistsError):
    """The output folder exists and holds something that would be lost."""


class DataError(VaeneerError):
    """A folder of images cannot be used."""


class ImageFileError(DataError):
    """One file cannot be read as an image; `path` and `reason` say which and why."""

    def __init__(self, path: Path | str, reason: str) -> None:
        super().__init__(f"{path}: {reason}")
        self.path = Path(path)
        self.reason = reason

    def __reduce__(self) -> tuple[type[ImageFileError], tuple[str, str]]:
        return (type(self), (str(self.path), self.reason))  # crosses process borders whole


def is_transient(reason: str) -> bool:
    """Whether a file that was refused may be readable in the next run though it did not change."""
    return reason.startswith(_TRANSIENT) or "install" in reason


def is_limit(reason: str) -> bool:
    """Whether other settings may let a refused file in: it is too small or too large for these."""
    return reason.startswith(_LIMITS) and not is_transient(reason)


class ImageSizeError(VaeneerError, ValueError):
    """A tensor of images or latents has the wrong shape."""


class ModelFileError(VaeneerError):
    """A model, run or weights file is missing, damaged or of another kind."""


class LibraryError(VaeneerError):
    """A library is missing, damaged, in use, or was made with another model or folder."""


class LibraryUnavailableError(LibraryError):
    """A library's files are gone, locked or unreadable now; it may be back later."""


class LibraryDamagedError(LibraryUnavailableError):
    """What is in a library's catalog cannot be read; `vaeneer index` makes it again."""


class StorageError(VaeneerError, OSError):
    """A disk is full, fails, is read-only or in use: nothing is said of what is on it."""

    def __init__(self, message: str, number: int, path: Path | str) -> None:
        super().__init__(message)
        self.errno, self.strerror, self.filename = number, os.strerror(number), str(path)

    def __str__(self) -> str:
        return str(self.args[0])

    def __reduce__(self) -> tuple[type[StorageError], tuple[str, int | None, str]]:
        return (type(self), (str(self), self.errno, self.filename))  # crosses process borders


class TrainingError(VaeneerError):
    """A run cannot start or go on."""


class NonFiniteLossError(TrainingError):
    """The loss became NaN or infinite; the last good state is kept."""


class TrainingInterrupted(TrainingError):
    """Ctrl-C or SIGTERM reached the run; its state is saved and can be resumed."""
