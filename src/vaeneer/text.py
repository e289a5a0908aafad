"""Text that comes from outside (names of files, JSON, CSV), made fit to store, show and draw."""

from __future__ import annotations

import csv
import json
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from PIL import ImageFont

_CONTROL = re.compile(
    r"[\x00-\x1f\x7f-\x9f\u061c\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069]"
)
_ROW_END = "\r\n"
_NOT_ASCII = re.compile(r"[^\x00-\x7f]+")
_SURROGATE = re.compile(r"[\ud800-\udfff]")
_CUT = "…"  # put into text that is too long for its line
_MANY_SCRIPTS = re.compile(
    r"cjk|unicode|unifont|gothic|mincho|meiryo|hiragino|pingfang|heiti|songti|simsun|simhei|msyh"
    r"|malgun|nanum|yugoth|takao|ipa|vlgothic|wqy|droidsansfallback|source ?han",
    re.IGNORECASE,
)


def clean_text(text: str) -> str:
    """Text of a side-car or table: NFC, control characters as spaces, no lone surrogates."""
    text = _SURROGATE.sub("\N{REPLACEMENT CHARACTER}", text)
    return unicodedata.normalize("NFC", _CONTROL.sub(" ", text)).strip()


def is_utf8(text: str) -> bool:
    """Whether a file name can be stored as UTF-8: Python has undecodable bytes as surrogates."""
    return _SURROGATE.search(text) is None


def printable(text: str) -> str:
    r"""A file name or message on one line: undecodable bytes and control characters as \xfc, \n.

    The result is valid UTF-8 and cannot move the cursor of a terminal. It is for people to read;
    it does not name the file any more where something was replaced.
    """
    return _CONTROL.sub(
        lambda match: match.group().encode("unicode_escape").decode(), encodable(text)
    )


def encodable(text: str) -> str:
    r"""A text that can be written as UTF-8: undecodable bytes of a path as \xfc, the rest as is."""
    return _SURROGATE.sub(_escaped_byte, text)


def to_json(
    value: Any, *, indent: int | None = None, compact: bool = False, ascii_only: bool = False
) -> str:
    """One JSON value that every reader takes: finite numbers, valid Unicode.

    Undecodable bytes of paths are written as in `encodable`; all other text comes back as it was.
    """
    marks = (",", ":") if compact else None
    text = json.dumps(value, indent=indent, separators=marks, ensure_ascii=False, allow_nan=False)
    text = _SURROGATE.sub(lambda match: f"\\{_escaped_byte(match)}", text)
    return (
        _NOT_ASCII.sub(lambda match: json.dumps(match.group())[1:-1], text) if ascii_only else text
    )


def to_csv(rows: Iterable[Sequence[object]]) -> str:
    """A table as CSV that can be written as UTF-8, a line a row; line ends in it are quoted."""
    lines: list[str] = []
    sink: Any = SimpleNamespace(write=lambda line: lines.append(line.removesuffix(_ROW_END)))
    csv.writer(sink, lineterminator=_ROW_END).writerows(rows)  # quotes only what its row end has
    return encodable("".join(f"{line}\n" for line in lines))


def match_key(name: str) -> str:
    """The form in which names are compared: NFC, without case."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def _escaped_byte(match: re.Match[str]) -> str:
    code = ord(match.group())
    return f"\\x{code - 0xDC00:02x}" if 0xDC80 <= code <= 0xDCFF else f"\\u{code:04x}"


def matches_in_words(matches: Mapping[str, int]) -> str:
    """Number of hits of each kind of match: "1 exact, 2 likely, 7 only similar"."""
    names = {"similar": "only similar"}
    return ", ".join(
        f"{count:,} {names.get(kind, kind)}" for kind, count in matches.items() if count
    )


def gallery_in_words(items: int) -> str:
    """The sentence that says how many items a probability was computed with."""
    named = "1 item" if items == 1 else f"{items:,} items"
    return f"Probabilities are computed for a library of {named}; they fall as it grows."


def pending_in_words(items: int) -> str:
    """The sentence that says how many items have no small parts yet."""
    named = "1 image" if items == 1 else f"{items:,} images"
    return (
        f"The small parts of {named} are not indexed yet, so that a search by a box finds less;"
        " vaeneer index adds them."
    )


class Written(NamedTuple):
    """A text, and a font that has all of its characters."""

    text: str
    font: ImageFont.FreeTypeFont


class Lettering:
    """DejaVu Sans at one size, with other fonts of the system for the text that it cannot show."""

    def __init__(self, size_px: float, *, bold: bool = False) -> None:
        self.size_px = max(6, round(size_px))
        from PIL import ImageFont

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

    def fitted(self, text: str, width_px: float, *, number: str = "") -> Written:
        """The text in one line, cut in its middle where it is too long: names differ at the ends.

        number: as for `written`.
        """
        text = "".join(sign if sign.isprintable() else "�" for sign in printable(text[:1000]))
        text, font = self.written(text, number=number)
        shown, keep = text, len(text)
        while keep > 1 and font.getlength(shown) > width_px:
            keep -= 1
            shown = f"{text[: keep - keep // 2]}{_CUT}{text[len(text) - keep // 2 :]}"
        return Written(shown, font)

    def _loaded(self, file: str) -> ImageFont.FreeTypeFont | None:
        from PIL import ImageFont

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
