"""One self-contained HTML page of figures and pictures: nothing is loaded from elsewhere."""

from __future__ import annotations

import base64
import io
from collections.abc import Container, Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from vaeneer.files import write_text


@dataclass(frozen=True)
class Picture:
    """A picture file with the sentence that says what to see in it."""

    path: Path
    caption: str
    half: bool = False
    """Whether it may stand beside another, as charts do."""


@dataclass(frozen=True)
class Table:
    """Rows of cells below a header; numbers are set right by the page."""

    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    best: Container[tuple[int, int]] = ()
    """Row and column (from 0) of the cells that stand out."""


@dataclass(frozen=True)
class Section:
    """A part of the page: heading, paragraphs, an optional table, pictures, the command."""

    heading: str
    paragraphs: Sequence[str] = ()
    table: Table | None = None
    pictures: Sequence[Picture] = ()
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
    page = environment.get_template("report.html").render(
        title=title, lead=lead, headlines=headlines, sections=sections, footer=footer
    )
    write_text(path, page)
    return path


def embedded(path: Path) -> str:
    """A picture as a data URL: photographs as WebP, which is smaller; charts as they are."""
    data, kind = path.read_bytes(), "png"
    with Image.open(path) as image:
        if image.width * image.height > 400_000 and len(data) > 400_000:
            buffer = io.BytesIO()
            image.convert("RGB").save(buffer, format="WEBP", quality=86)
            data, kind = buffer.getvalue(), "webp"
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"
