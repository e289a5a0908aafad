"""Grids of images with captions, as PNG files: pixels shown one to one, nothing resampled."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from torch import Tensor

from vaeneer.files import save_picture
from vaeneer.fonts import Lettering, Written
from vaeneer.text import printable

_GAP_PX = 6
_CAPTION_PX = 18
_PAPER = (250, 250, 248)
_INK = (40, 40, 40)


def to_pixels(images: Tensor) -> list[NDArray[np.uint8]]:
    """(B, 3, H, W) float in [0, 1] to B arrays (H, W, 3) uint8, rounded."""
    scaled = (images.detach().float().clamp(0, 1) * 255).round().byte()
    return list(scaled.permute(0, 2, 3, 1).cpu().numpy())


def save_grid(
    images: Sequence[NDArray[np.uint8]],
    path: Path,
    *,
    columns: int,
    captions: Sequence[str] | None = None,
) -> Path:
    """Write images (H, W, 3) uint8 of one size as a PNG grid, row by row; returns `path`.

    `captions` stand below the images, one for each, cut to their width.
    """
    height, width = images[0].shape[:2]
    cell_height = height + (_CAPTION_PX if captions else 0)
    rows = -(-len(images) // columns)
    sheet = Image.new(
        "RGB",
        (_GAP_PX + columns * (width + _GAP_PX), _GAP_PX + rows * (cell_height + _GAP_PX)),
        _PAPER,
    )
    draw = ImageDraw.Draw(sheet)
    letters = Lettering(11)
    for place, image in enumerate(images):
        row, column = divmod(place, columns)
        left, top = _GAP_PX + column * (width + _GAP_PX), _GAP_PX + row * (cell_height + _GAP_PX)
        sheet.paste(Image.fromarray(image), (left, top))
        if captions:
            text, font = _fitting(captions[place], letters, width)
            draw.text((left, top + height + 2), text, fill=_INK, font=font)
    save_picture(sheet, path)
    return path


def _fitting(text: str, letters: Lettering, width_px: int) -> Written:
    text, font = letters.written(printable(text))  # a line end cannot be measured
    if font.getlength(text) <= width_px:
        return Written(text, font)
    while text and font.getlength(text + "…") > width_px:
        text = text[:-1]
    return Written(text + "…", font)


def show_pictures(folder: Path) -> int:
    """Open each PNG of a folder in a window, where there is a display; returns how many."""
    if not has_display():
        return 0
    pictures = sorted(folder.glob("*.png"))
    for picture in pictures:
        with Image.open(picture) as image:
            image.show(title=picture.name)
    return len(pictures)


def has_display() -> bool:
    """Whether a window can be opened: always on Windows and macOS, else by X11 or Wayland."""
    if sys.platform in ("win32", "darwin"):
        return True
    return bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))
