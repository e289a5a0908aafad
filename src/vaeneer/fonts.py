"""Fonts for text on pictures: the first one with a glyph for every character, else ASCII."""

from __future__ import annotations

import re
import unicodedata
from functools import cache
from pathlib import Path
from typing import NamedTuple

from PIL import ImageFont

_CUT = "…"  # put into text that is too long for its line
_MANY_SCRIPTS = re.compile(
    r"cjk|unicode|unifont|gothic|mincho|meiryo|hiragino|pingfang|heiti|songti|simsun|simhei|msyh"
    r"|malgun|nanum|yugoth|takao|ipa|vlgothic|wqy|droidsansfallback|source ?han",
    re.IGNORECASE,
)


class Written(NamedTuple):
    """A text, and a font that has all of its characters."""

    text: str
    font: ImageFont.FreeTypeFont


class Lettering:
    """DejaVu Sans at one size, with other fonts of the system for the text that it cannot show."""

    def __init__(self, size_px: float, *, bold: bool = False) -> None:
        self.size_px = max(6, round(size_px))
        self._file = _dejavu(bold)
        self.font = ImageFont.truetype(self._file, self.size_px)

    def written(self, text: str, *, number: str = "") -> Written:
        """The text with a font for it.

        number: names the thing where no font has the characters, as in "item 12", before an ASCII
        form of the text.
        """
        text = unicodedata.normalize("NFC", text)
        for file in (self._file, *system_fonts()) if not text.isascii() else ():
            if {ord(sign) for sign in text + _CUT if not sign.isspace()} <= _characters(file):
                font = self.font if file == self._file else self._loaded(file)
                if font is not None:
                    return Written(text, font)
        return Written(text if text.isascii() else ascii_form(text, number=number), self.font)

    def _loaded(self, file: str) -> ImageFont.FreeTypeFont | None:
        try:
            return ImageFont.truetype(file, self.size_px)
        except OSError:  # of fixed sizes, as fonts of emoji are
            return None


def ascii_form(text: str, *, number: str = "") -> str:
    """ASCII letters of a text, an underscore for each run of others: "item 12: rust_.png"."""
    plain = "".join(
        sign for sign in unicodedata.normalize("NFKD", text) if not unicodedata.combining(sign)
    )
    form = re.sub(r"[^\x20-\x7e]+", "_", plain)
    if not re.search(r"[0-9A-Za-z]", form):
        return number or form
    return f"{number}: {form}" if number else form


@cache
def system_fonts() -> tuple[str, ...]:
    """Font files of the system, those of many scripts first."""
    from matplotlib.font_manager import findSystemFonts

    def rank(file: str) -> tuple[bool, str]:
        return _MANY_SCRIPTS.search(Path(file).name) is None, file

    return tuple(sorted(findSystemFonts(), key=rank))


@cache
def _characters(file: str) -> frozenset[int]:
    """Code points that have a glyph in a font; none where it cannot be read."""
    from fontTools.ttLib import TTFont

    try:
        with Path(file).open("rb") as stream, TTFont(stream, fontNumber=0, lazy=True) as font:
            return frozenset(font.getBestCmap() or ())
    except Exception:  # fontTools has no common root of its errors; a broken font is no font
        return frozenset()


@cache
def _dejavu(bold: bool) -> str:
    """The file of the font that matplotlib brings: Latin, Greek, Cyrillic and more."""
    import matplotlib

    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    return str(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / name)
