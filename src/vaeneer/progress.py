"""How long work tells its caller how far it is: a protocol, and the silent answer to it.

Library code never prints. It takes a `Progress`, which the CLI fills with rich bars (in
cli/options.py) and which stays silent by default.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Protocol


class Bar(Protocol):
    """One piece of work under way."""

    def advance(self, count: int = 1, note: str = "") -> None:
        """Say that `count` more are done; `note` replaces the text behind the bar."""


class Progress(Protocol):
    """What long work reports to."""

    def bar(self, title: str, *, total: int, unit: str) -> AbstractContextManager[Bar]:
        """Open a bar over `total` things called `unit` (plural), closed with the block."""

    def say(self, line: str) -> None:
        """Tell one line that stays on screen (an epoch's figures, a warning)."""


class _SilentBar:
    def advance(self, count: int = 1, note: str = "") -> None:
        pass


class Silent:
    """A Progress that shows nothing: the default of every library function."""

    def bar(self, title: str, *, total: int, unit: str) -> AbstractContextManager[Bar]:
        """Open a bar that shows nothing."""
        return nullcontext(_SilentBar())

    def say(self, line: str) -> None:
        """Say nothing."""
