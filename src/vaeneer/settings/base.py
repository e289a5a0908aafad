"""The usual seed, and checks of settings when they are made. Standard library only."""

from __future__ import annotations

import dataclasses
import difflib
import numbers
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from types import NoneType, UnionType
from typing import TYPE_CHECKING, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from vaeneer.errors import SettingsError

if TYPE_CHECKING:
    from _typeshed import DataclassInstance


Settings = TypeVar("Settings", bound="DataclassInstance")

SEED = 0
LARGEST_SEED = 2**63 - 1


_KINDS: dict[type, tuple[str, tuple[type, ...]]] = {
    bool: ("True or False", (bool,)),
    int: ("a whole number", (numbers.Integral,)),
    float: ("a number", (numbers.Real,)),
    str: ("a text", (str,)),
    Path: ("a path", (Path, str)),
    tuple: ("a list", (tuple, list)),
}
"""Type of a field -> how errors call it, and what is taken for it."""
_ALIAS = "seed"  # of the choice `reference`, from older versions: taken, and listed by no error


def require_types(settings: DataclassInstance) -> None:
    """Raise SettingsError for the first field with a value of another type, or none of its choices.

    Only None and what `_KINDS` lists can be the type of a setting.
    """
    for name, hints in _alternatives(type(settings)).items():
        value = getattr(settings, name)
        if not any(_fits(value, hint) for hint in hints):
            words = [word for hint in hints for word in _words(hint)]
            raise SettingsError(f"{name} is {value!r}; use {_either(words)}.")


@cache
def _alternatives(kind: type) -> dict[str, tuple[Any, ...]]:
    """The types that each field may have."""
    unions = (Union, UnionType)
    hints = get_type_hints(kind)
    return {name: get_args(h) if get_origin(h) in unions else (h,) for name, h in hints.items()}


def _fits(value: object, hint: Any) -> bool:
    if get_origin(hint) is Literal:
        return value in get_args(hint)
    taken = NoneType if hint is NoneType else _KINDS[get_origin(hint) or hint][1]
    return isinstance(value, taken) and (hint is bool or not isinstance(value, bool))


def _words(hint: Any) -> list[str]:
    if get_origin(hint) is Literal:
        return [str(choice) for choice in get_args(hint) if choice != _ALIAS]
    return [] if hint is NoneType else [_KINDS[get_origin(hint) or hint][0]]


def _either(words: list[str]) -> str:
    *rest, last = words
    return f"{', '.join(rest)} or {last}" if rest else last


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
