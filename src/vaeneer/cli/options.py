"""What the commands share: options, and how a report is shown at the end."""

from __future__ import annotations

import json as json_module
from collections.abc import Callable
from typing import Annotated

from cyclopts import Group, Parameter
from rich.console import Console, RenderableType

from vaeneer.tables import Values

OUTPUT = Group("Output", sort_key=2)
SETTINGS = Group("Settings", sort_key=1)
Json = Annotated[
    bool, Parameter(name="--json", negative="", group=OUTPUT, help="Print one JSON object.")
]
Overwrite = Annotated[
    bool,
    Parameter(negative="", group=OUTPUT, help="Replace an output that exists."),
]
Flat = Parameter(name="*", group=SETTINGS)
"""The fields of a settings dataclass, each as a flag."""


def show(values: Values, table: Callable[[Values], RenderableType], as_json: bool) -> None:
    """Print a report: as one JSON object, or as the table made of it."""
    if as_json:
        print(json_module.dumps(values, allow_nan=False))
    else:
        Console(highlight=False, soft_wrap=True).print(table(values), markup=False)
