"""Settings read from TOML files: --config, and the config.toml of a run."""

from __future__ import annotations

import dataclasses
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Any, TypeVar

from vaeneer.config import PrepareSettings, TrainSettings
from vaeneer.errors import SettingsError

Settings = TypeVar("Settings", bound="PrepareSettings | TrainSettings")


def read_settings(
    path: Path, kind: type[Settings], section: str, *, ignore: tuple[str, ...] = ()
) -> Settings:
    """Read one section of a TOML file into its dataclass; names in `ignore` may stand there too.

    Raises SettingsError for a file that cannot be read and for unknown names, with a hint.
    """
    table = read_sections(path).get(section)
    if table is None:
        raise SettingsError(f"{path} has no section [{section}].")
    names = {field.name for field in dataclasses.fields(kind)}
    for name in table:
        if name not in names and name not in ignore:
            raise unknown_name(path, f"setting {name!r}", name, names)
    return kind(**{name: value for name, value in table.items() if name in names})


def read_sections(path: Path) -> dict[str, dict[str, Any]]:
    """The sections of a TOML file of settings. Raises SettingsError when it cannot be read."""
    try:
        sections = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise SettingsError(f"{path} cannot be read as TOML settings: {error}.") from error
    loose = [name for name, value in sections.items() if not isinstance(value, dict)]
    if loose:
        raise SettingsError(f"{path} has {loose[0]!r} outside a section, such as [train].")
    return sections


def unknown_name(path: Path, what: str, name: str, known: Iterable[str]) -> SettingsError:
    """The error for an unknown name in a settings file, with the nearest known one as a hint."""
    import difflib

    close = difflib.get_close_matches(name, list(known), 1)
    hint = f"; did you mean {close[0]!r}?" if close else "."
    return SettingsError(f"{path} has the unknown {what}{hint}")
