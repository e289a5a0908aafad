"""One self-contained HTML page of figures and pictures: nothing is loaded from elsewhere."""

from __future__ import annotations

import base64
import io
from collections.abc import Container, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Literal

from PIL import Image

from vaeneer.files import write_text
from vaeneer.look import stylesheet


@dataclass(frozen=True)
class Picture:
    """A picture file with the sentence that says what to see in it."""

    path: Path
    caption: str
    half: bool = False
    """Whether it may stand beside another, as charts do."""


@dataclass(frozen=True)
class Tile:
    """A small picture in a row of others, with its name, a note and the boxes drawn on it."""

    picture: Image.Image
    name: str
    note: str = ""
    mark: str = ""
    """A word above the name that stands out, such as keep."""
    kind: Literal["", "query", "first"] = ""
    """What its frame says: the query of a search, the first of a group."""
    boxes: Sequence[tuple[float, float, float, float]] = ()
    """Left, top, width and height, as shares of the picture."""

    @property
    def ratio(self) -> float:
        """Width / height."""
        return self.picture.width / self.picture.height


@dataclass(frozen=True)
class Row:
    """Tiles below a title."""

    title: str
    note: str
    tiles: Sequence[Tile]


@dataclass(frozen=True)
class Table:
    """Rows of cells below a header; numbers are set right by the page."""

    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    best: Container[tuple[int, int]] = ()
    """Row and column (from 0) of the cells that stand out."""


@dataclass(frozen=True)
class Section:
    """A part of the page: heading, paragraphs, an optional table, pictures, tiles, the command."""

    heading: str
    paragraphs: Sequence[str] = ()
    table: Table | None = None
    pictures: Sequence[Picture] = ()
    rows: Sequence[Row] = ()
    command: str = ""


@dataclass(frozen=True)
class Headline:
    """One large number at the top, with what it is and what to hold it against."""

    value: str
    name: str
    beside: str


def write_report(
    path: Path,
    *,
    title: str,
    lead: str,
    headlines: Sequence[Headline],
    sections: Sequence[Section],
    footer: str,
) -> Path:
    """Write the page, whole or not at all, with every picture inside it; returns `path`."""
    from jinja2 import Environment, PackageLoader, select_autoescape

    environment = Environment(
        loader=PackageLoader("vaeneer.measuring", "."), autoescape=select_autoescape()
    )
    environment.filters["inside"] = embedded
    environment.filters["tile"] = as_webp
    page = environment.get_template("report.html").render(
        title=title,
        lead=lead,
        headlines=headlines,
        sections=sections,
        footer=footer,
        styles=styles(),
    )
    write_text(path, page)
    return path


def styles() -> str:
    """The CSS of a report that scrolls: the look of the served page, and the report's layout."""
    layout = files("vaeneer") / "measuring" / "report.css"
    return stylesheet() + layout.read_text("utf-8")


def as_webp(picture: Image.Image, *, side_px: int = 320, quality: int = 82) -> str:
    """A picture as a data URL, WebP, at most `side_px` wide and high."""
    small = picture.convert("RGB")
    small.thumbnail((side_px, side_px))
    buffer = io.BytesIO()
    small.save(buffer, format="WEBP", quality=quality)
    return f"data:image/webp;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def embedded(path: Path) -> str:
    """A picture as a data URL: photographs as WebP, which is smaller; charts as they are."""
    data, kind = path.read_bytes(), "png"
    with Image.open(path) as image:
        if image.width * image.height > 400_000 and len(data) > 400_000:
            buffer = io.BytesIO()
            image.convert("RGB").save(buffer, format="WEBP", quality=86)
            data, kind = buffer.getvalue(), "webp"
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"
