"""The usual seed, and the check that a number is at least so large. Standard library only."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from vaeneer.errors import SettingsError

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Settings = TypeVar("Settings", bound="DataclassInstance")

SEED = 0
LARGEST_SEED = 2**63 - 1


def require(settings: object, **least: float) -> None:
    """Raise SettingsError for the first of the named settings that is below its least value."""
    for name, bound in least.items():
        require_number(name, getattr(settings, name), bound)


def require_number(name: str, value: float, least: float) -> None:
    """Raise SettingsError when a number is below `least` or NaN, or a seed too large."""
    if not value >= least:
        raise SettingsError(f"{name} is {value}; use {least} or more.")
    if name == "seed" and value > LARGEST_SEED:
        raise SettingsError(f"seed is {value}; use {LARGEST_SEED} or less.")


def with_changes(settings: Settings, changes: Mapping[str, Any]) -> Settings:
    """Settings with some fields changed. Raises SettingsError for a name that is no field."""
    names = [field.name for field in dataclasses.fields(settings)]
    for name in changes:
        if name not in names:
            close = difflib.get_close_matches(name, names, 1)
            hint = f"did you mean {close[0]!r}?" if close else f"there are {', '.join(names)}."
            raise SettingsError(f"{name!r} is no setting of {type(settings).__name__}; {hint}")
    return dataclasses.replace(settings, **changes)
