"""The usual seed, and the check that a number is at least so large. Standard library only."""

from __future__ import annotations

from vaeneer.errors import SettingsError

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
