"""search: the command."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

import vaeneer
from vaeneer import library_tables as tables
from vaeneer.cli.options import OUTPUT, Flat, Json, show, write_bytes
from vaeneer.config import SearchSettings
from vaeneer.errors import SettingsError

_STDIN = "-"


def search(
    library: Path,
    image: Annotated[list[str], Parameter(allow_leading_hyphen=True, negative="")],
    *,
    box: str | None = None,
    without: Annotated[list[str] | None, Parameter(negative="")] = None,
    settings: Annotated[SearchSettings, Flat] = SearchSettings(),
    sheet: Annotated[Path | None, Parameter(group=OUTPUT)] = None,
    paths: Annotated[bool, Parameter(negative="", group=OUTPUT)] = False,
    null: Annotated[bool, Parameter(negative="", group=OUTPUT)] = False,
    json: Json = False,
) -> None:
    """Find what looks like an image, like a box on it, or like several images.

    Parameters
    ----------
    library
        A library.
    image
        A file, `-` for standard input, or the id of an item. Of several, the mean is the query.
    box
        x,y,w,h in pixels of a single IMAGE: search by this part of it, and show where it is.
    without
        A negative example: an image that the hits should not look like. Repeatable.
    sheet
        Also write a picture of the query and its hits, with the boxes drawn: hits.png.
    paths
        Print only the paths of the hits, byte by byte, one per line.
    null
        With --paths: end each path with NUL instead of a newline, for xargs -0. Short: -0.
    """
    from vaeneer.library.contact_sheet import write_sheet
    from vaeneer.library.library import Library
    from vaeneer.library.queries import box_of

    if null and not paths:
        raise SettingsError("--null (-0) is a form of --paths; give both, or leave it out.")
    with Library.open(library) as opened:
        report = vaeneer.search(
            opened,
            [_source(word) for word in image],
            box=None if box is None else box_of(box),
            without=[_source(word) for word in without or ()],
            settings=settings,
        )
        if sheet is not None:
            write_sheet(sheet, opened, report)
    if paths and not json:
        end = b"\0" if null else b"\n"
        write_bytes(b"".join(os.fsencode(hit.path) + end for hit in report.hits))
        return
    values = report.to_dict() | ({"sheet": str(sheet)} if sheet is not None else {})
    show(values, tables.hits, json)


def _source(word: str) -> Path | int | bytes:
    """Source that an argument names: standard input, a file, or the id of an item."""
    from vaeneer.library.queries import source_of

    if word == _STDIN:
        return sys.stdin.buffer.read()
    if word.startswith("-") and not Path(word).exists():
        raise SettingsError(f"{word} is no option of search; `vaeneer search --help` lists them.")
    return source_of(word)
