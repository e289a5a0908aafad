"""A search as one picture: the query, and the hits with rank, match, score and place."""

from __future__ import annotations

from pathlib import Path, PurePath
from typing import NamedTuple

from PIL import Image, ImageDraw

from vaeneer.errors import ImageFileError, SettingsError
from vaeneer.files import save_picture
from vaeneer.library.catalog import PixelBox
from vaeneer.library.search.query import Query
from vaeneer.library.search.search import Hit, SearchReport
from vaeneer.library.store import OpenLibrary
from vaeneer.text import Lettering, matches_in_words, printable

FORMATS = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".webp": "WEBP"}
_TILE_PX = 256
_QUERY_PX = 400
_MAX_QUERIES = 4  # images shown of a query of several
_GAP_PX = 20
_EDGE_PX = 36
_TITLE_PX = 84
_CAPTION_PX = 66
_COLUMNS = 5
_MIN_WIDTH_PX = 740  # room for a title
_PAPER, _MAT, _INK, _FAINT = (250, 250, 248), (236, 235, 231), (32, 33, 36), (120, 119, 114)
_MARK = (255, 98, 0)

Drawing = ImageDraw.ImageDraw


class _Fonts(NamedTuple):
    title: Lettering
    bold: Lettering
    plain: Lettering
    small: Lettering


class _Area(NamedTuple):
    """Of the sheet, in its pixels."""

    left: int
    top: int
    width: int
    height: int


def write_sheet(path: Path | str, library: OpenLibrary, report: SearchReport) -> Path:
    """Write the contact sheet of a search as PNG, JPEG or WebP, by the suffix; returns the path.

    Raises SettingsError for another suffix.
    """
    path = Path(path)
    if path.suffix.lower() not in FORMATS:
        raise SettingsError(f"{path} is no picture's name; end it with {', '.join(FORMATS)}.")
    sheet = contact_sheet(library, report)
    save_picture(sheet, path, FORMATS[path.suffix.lower()], quality=92)
    return path


def contact_sheet(library: OpenLibrary, report: SearchReport) -> Image.Image:
    """The query on the left, the hits beside it row by row, boxes drawn; mode RGB.

    A file that is missing now is shown by its thumbnail, or as an empty mat.
    """
    fonts, hits = _fonts(), report.hits
    columns = max(1, min(_COLUMNS, len(hits)))
    rows = max(1, -(-len(hits) // columns))
    pictured = report.words is None  # words have no picture
    left = _EDGE_PX + (_QUERY_PX + 2 * _GAP_PX if pictured else 0)
    height = max(rows * (_TILE_PX + _CAPTION_PX), (_QUERY_PX if pictured else 0) + _CAPTION_PX)
    width = max(left + columns * (_TILE_PX + _GAP_PX) - _GAP_PX + _EDGE_PX, _MIN_WIDTH_PX)
    sheet = Image.new("RGB", (width, _TITLE_PX + height + _EDGE_PX), _PAPER)
    draw = ImageDraw.Draw(sheet)
    _draw_title(draw, report, fonts, width)
    if pictured:
        _draw_query(sheet, draw, library, report.queries, fonts)
    for place, hit in enumerate(hits):
        row, column = divmod(place, columns)
        area = _Area(
            left + column * (_TILE_PX + _GAP_PX),
            _TITLE_PX + row * (_TILE_PX + _CAPTION_PX),
            _TILE_PX,
            _TILE_PX,
        )
        size_px = hit.width_px, hit.height_px
        _paste(sheet, draw, _picture(library, hit.id), area, hit.box, size_px)
        _draw_caption(draw, area, place + 1, hit, fonts)
    if not hits:
        draw.text((left, _TITLE_PX + 8), "Nothing found.", _FAINT, fonts.bold.font)
    return sheet


def _draw_title(draw: Drawing, report: SearchReport, fonts: _Fonts, width: int) -> None:
    names = ", ".join(PurePath(name).name for name in report.images)
    where = "" if report.box is None else f", box {','.join(map(str, report.box))}"
    what = f"What looks like {names}{where}"
    if report.words is not None:
        what = f"Words: {printable(report.words)}"
    title = fonts.title.fitted(what, width - 2 * _EDGE_PX)
    draw.text((_EDGE_PX, 22), title.text, _INK, title.font)
    found = "1 hit" if len(report.hits) == 1 else f"{len(report.hits)} hits"
    if report.matches:
        found = f"{found} ({matches_in_words(report.matches)})"
    limits = [
        str(limit)
        for limit in (report.settings.where, report.settings.category, report.settings.tag)
        if limit is not None
    ]
    line = " · ".join([f"{found} in {report.library}", *limits])
    line_shown = fonts.small.fitted(line, width - 2 * _EDGE_PX)
    draw.text((_EDGE_PX, 52), line_shown.text, _FAINT, line_shown.font)


def _draw_query(
    sheet: Image.Image, draw: Drawing, library: OpenLibrary, queries: list[Query], fonts: _Fonts
) -> None:
    """The images of the query: one large, several two by two."""
    shown = queries[:_MAX_QUERIES]
    side = _QUERY_PX if len(shown) == 1 else (_QUERY_PX - _GAP_PX) // 2
    for place, query in enumerate(shown):
        row, column = divmod(place, 2)
        area = _Area(
            _EDGE_PX + column * (side + _GAP_PX), _TITLE_PX + row * (side + _GAP_PX), side, side
        )
        picture = query.picture
        if picture is None and query.item is not None:
            picture = _picture(library, query.item.id)
        _paste(sheet, draw, picture, area, query.box, query.size_px)
    bottom = _TITLE_PX + _QUERY_PX if len(shown) != 2 else _TITLE_PX + side
    more = len(queries) - len(shown)
    text = "query" if not more else f"query: these and {more} more"
    draw.text((_EDGE_PX, bottom + 8), text, _FAINT, fonts.plain.font)


def _draw_caption(draw: Drawing, area: _Area, rank: int, hit: Hit, fonts: _Fonts) -> None:
    top, right = area.top + area.height + 6, area.left + area.width
    draw.text((area.left, top), str(rank), _MARK, fonts.bold.font)
    score = f"{hit.score:.3f}"
    if hit.probability is not None:
        percent = f"{100 * hit.probability:.0f}" if hit.probability >= 0.01 else "< 1"
        score += f"   {percent} %"
    ink = _FAINT if hit.match == "similar" else _INK
    plain = fonts.plain.font
    draw.text((right - plain.getlength(score), top), score, ink, plain)
    if hit.match is not None:
        after = area.left + fonts.bold.font.getlength(f"{rank} ") + 4
        draw.text((after, top), hit.match, ink, plain)
    name = fonts.small.fitted(PurePath(hit.path).name, area.width, number=f"item {hit.id}")
    draw.text((area.left, top + 20), name.text, _INK, name.font)
    absent = ("offline" if hit.offline else "gone") if hit.missing else None
    facts = [absent, hit.category, f"{hit.width_px} × {hit.height_px} px"]
    line = fonts.small.fitted(" · ".join(fact for fact in facts if fact), area.width)
    draw.text((area.left, top + 36), line.text, _FAINT, line.font)


def _paste(
    sheet: Image.Image,
    draw: Drawing,
    picture: Image.Image | None,
    area: _Area,
    box: PixelBox | None,
    size_px: tuple[int, int],
) -> None:
    """A picture on its mat, as large as fits; box: in the pixels of the file, `size_px` large."""
    right, bottom = area.left + area.width - 1, area.top + area.height - 1
    draw.rectangle((area.left, area.top, right, bottom), _MAT)
    if picture is None:
        return
    scale = min(area.width / picture.width, area.height / picture.height)
    size = max(1, round(picture.width * scale)), max(1, round(picture.height * scale))
    left, top = area.left + (area.width - size[0]) // 2, area.top + (area.height - size[1]) // 2
    sheet.paste(picture.resize(size, Image.Resampling.LANCZOS), (left, top))
    if box is not None:
        across, down = size[0] / size_px[0], size[1] / size_px[1]
        x, y, width, height = box
        near = left + round(x * across), top + round(y * down)
        far = left + round((x + width) * across) - 1, top + round((y + height) * down) - 1
        _frame(draw, near, (max(far[0], near[0] + 6), max(far[1], near[1] + 6)))


def _frame(draw: Drawing, near: tuple[int, int], far: tuple[int, int]) -> None:
    """A frame that shows on any ground: bright between two dark lines."""
    for inset, colour in ((0, _INK), (1, _MARK), (2, _MARK), (3, _MARK), (4, _INK)):
        if far[0] - near[0] > 2 * inset and far[1] - near[1] > 2 * inset:
            corners = (near[0] + inset, near[1] + inset, far[0] - inset, far[1] - inset)
            draw.rectangle(corners, outline=colour)


def _picture(library: OpenLibrary, number: int) -> Image.Image | None:
    for item in library.catalog.items([number]):
        for read in (
            lambda one: library.picture(one, at_least_px=_QUERY_PX),
            library.thumbnail_image,
        ):
            try:
                return read(item)
            except ImageFileError:
                continue
    return None


def _fonts() -> _Fonts:
    sizes = ((19, True), (14, True), (13, False), (11, False))
    return _Fonts(*(Lettering(size, bold=bold) for size, bold in sizes))
