"""The usual seed, and checks of settings when they are made. Standard library only."""

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
    """Raise SettingsError for the first of the named settings that is set and below its minimum."""
    for name, bound in least.items():
        if getattr(settings, name) is not None:
            require_number(name, getattr(settings, name), bound)


def require_number(name: str, value: float, least: float) -> None:
    """Raise SettingsError when a number is below `least` or NaN, or a seed too large."""
    if not value >= least:
        raise SettingsError(f"{name} is {value}; use {least} or more.")
    if name == "seed" and value > LARGEST_SEED:
        raise SettingsError(f"seed is {value}; use {LARGEST_SEED} or less.")


def require_choice(name: str, value: object, *choices: str) -> None:
    """Raise SettingsError for a value that is none of the choices."""
    if value not in choices:
        *rest, last = choices
        raise SettingsError(f"{name} is {value!r}; use {', '.join(rest)} or {last}.")


def require_positive(settings: object, *names: str) -> None:
    """Raise SettingsError for the first of the named settings that is set and not above 0."""
    for name in names:
        value = getattr(settings, name)
        if value is not None and not value > 0:
            raise SettingsError(f"{name} is {value}; use more than 0.")


def require_shares(settings: object, *names: str) -> None:
    """Raise SettingsError for the first of the named settings that is set and not in 0 to 1."""
    for name in names:
        value = getattr(settings, name)
        if value is not None and not 0 <= value <= 1:
            raise SettingsError(f"{name} is {value}; it is a share, use 0 to 1.")


def with_changes(settings: Settings, changes: Mapping[str, Any]) -> Settings:
    """Settings with some fields changed. Raises SettingsError for a name that is no field."""
    names = [field.name for field in dataclasses.fields(settings)]
    for name in changes:
        if name not in names:
            close = difflib.get_close_matches(name, names, 1)
            hint = f"did you mean {close[0]!r}?" if close else f"there are {', '.join(names)}."
            raise SettingsError(f"{name!r} is no setting of {type(settings).__name__}; {hint}")
    return dataclasses.replace(settings, **changes)
