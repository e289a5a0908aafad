"""The look of reports: colours, type and controls of the served page, to embed in one file."""

from __future__ import annotations

from importlib.resources import files


def stylesheet() -> str:
    """The style sheets that a report shares with the served page, as CSS to embed."""
    css = files("vaeneer") / "serving" / "web" / "css"
    return "".join((css / name).read_text("utf-8") for name in ("look.css", "controls.css"))
