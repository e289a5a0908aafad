"""Self-contained HTML pages: templates, style sheets, scripts and pictures in one file."""

from __future__ import annotations

import base64
import hashlib
import io
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import Image, ImageOps

from vaeneer.files import write_text

if TYPE_CHECKING:
    from jinja2 import Environment

STATIC = Path(str(files("vaeneer.web") / "static"))
"""The page that `vaeneer serve` serves: index.html, css/ and js/."""
_WEBP_QUALITY = 82


def write_page(path: Path, template: str, **values: object) -> None:
    """Write a template of web/templates with its values, whole or not at all."""
    write_text(path, _environment().get_template(template).render(values))


@cache
def _environment() -> Environment:
    from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape

    environment = Environment(
        loader=PackageLoader("vaeneer.web", "templates"),
        autoescape=select_autoescape(),
        undefined=StrictUndefined,
    )
    environment.globals["stylesheet"] = stylesheet
    environment.filters |= {"webp_url": webp_url, "picture_url": picture_url, "sha256": csp_hash}
    return environment


def stylesheet(*names: str) -> str:
    """Style sheets of the served page, one after the other."""
    return "".join((STATIC / "css" / f"{name}.css").read_text("utf-8") for name in names)


def csp_hash(text: str) -> str:
    """The source expression that lets a Content-Security-Policy accept this script or style."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def data_url(data: bytes, media_type: str) -> str:
    """The bytes of a file as a data: URL."""
    return f"data:{media_type};base64,{base64.b64encode(data).decode()}"


def image_url(image: Image.Image, file_format: str, **options: Any) -> str:
    """An image as a data: URL; options are those of PIL for the format."""
    stream = io.BytesIO()
    image.save(stream, file_format, **options)
    return data_url(stream.getvalue(), f"image/{file_format.lower()}")


def webp_url(image: Image.Image, *, side_px: int = 320, quality: int = _WEBP_QUALITY) -> str:
    """An image as a data: URL, WebP, at most `side_px` wide and high."""
    small = image.convert("RGB")
    small.thumbnail((side_px, side_px))
    return image_url(small, "WEBP", quality=quality)


def picture_url(path: Path) -> str:
    """A PNG file as a data: URL: photographs as WebP, which is smaller; charts as they are."""
    data = path.read_bytes()
    with Image.open(path) as image:
        if image.width * image.height > 400_000 and len(data) > 400_000:
            return image_url(image.convert("RGB"), "WEBP", quality=86)
    return data_url(data, "image/png")


def square(image: Image.Image, side_px: int) -> Image.Image:
    """The centre of an image as a square thumbnail."""
    return ImageOps.fit(image, (side_px, side_px), Image.Resampling.LANCZOS)
