"""The models that come with vaeneer, by name: folders below src/vaeneer/models."""

from __future__ import annotations

from pathlib import Path

BOX = Path(__file__).parents[1] / "models"


def bundled_names() -> list[str]:
    """The names of the bundled models, in alphabetical order."""
    return sorted(config.parent.name for config in BOX.glob("*/config.json"))


def bundled_model(path: Path | str) -> Path | None:
    """The folder of the bundled model that `path` names, or None; what is on disk goes first."""
    folder = Path(path)
    if folder.exists() or folder.name != str(folder) or folder.name not in bundled_names():
        return None
    return BOX / folder.name


def is_bundled(path: Path | str) -> bool:
    """Whether `path` is a model of the package, by name or as a folder: it is only read."""
    return bundled_model(path) is not None or Path(path).resolve().is_relative_to(BOX.resolve())
