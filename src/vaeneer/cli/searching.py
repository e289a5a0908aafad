"""search: the command."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

import vaeneer
from vaeneer import library_tables
from vaeneer.cli.options import OUTPUT, Flat, Json, find, show, write_bytes
from vaeneer.errors import ImageFileError, LibraryError, SettingsError
from vaeneer.settings.training import SearchSettings

if TYPE_CHECKING:
    from vaeneer.library.library import Library
    from vaeneer.library.searching import SearchReport

_STDIN = "-"


def search(
    library: Annotated[str, Parameter(allow_leading_hyphen=True)],
    image: Annotated[list[str] | None, Parameter(allow_leading_hyphen=True, negative="")] = None,
    *,
    box: str | None = None,
    without: Annotated[list[str] | None, Parameter(negative="")] = None,
    words: Annotated[bool, Parameter(negative="")] = False,
    settings: Annotated[SearchSettings, Flat] = SearchSettings(),
    sheet: Annotated[Path | None, Parameter(group=OUTPUT)] = None,
    paths: Annotated[bool, Parameter(negative="", group=OUTPUT)] = False,
    null: Annotated[bool, Parameter(negative="", group=OUTPUT)] = False,
    json: Json = False,
) -> None:
    """Find what looks like an image, a box on it or several images, or find items by words.

    Parameters
    ----------
    library
        A library, or a folder that was indexed. Else it is the first IMAGE, and the library that
        of the current directory, or the only one in the user's data folder.
    image
        A file, `-` for standard input, or the id of an item; of several, the mean is the query.
        Or words, such as "mossy stone wall", for names, categories, tags and folders. What exists
        as a file, has a slash or the suffix of an image is a file.
    box
        x,y,w,h in pixels of a single IMAGE: search by this part of it, and show where it is.
    without
        A negative example: an image that the hits should not look like. Repeatable.
    words
        Take IMAGE as words, also where a file or an item has that name: --words 2019.
    sheet
        Also write a picture of the query and its hits, with the boxes drawn: hits.png.
    paths
        Print only the paths of the hits, byte by byte, one per line.
    null
        With --paths: end each path with NUL instead of a newline, for xargs -0. Short: -0.
    """
    from vaeneer.library.library import Library

    if null and not paths:
        raise SettingsError("--null (-0) is a form of --paths; give both, or leave it out.")
    folder, images = _library_and_images(library, image or ())
    with Library.open(folder) as opened:
        text = _words(images, words, first=library)
        if text is None:
            report = _by_images(opened, images, box, without or (), settings)
        elif box is not None or without:
            raise SettingsError(
                f"{text[:80]!r} is searched as words, which take no --box and no"
                " --without; name an image, or leave them out."
            )
        else:
            report = vaeneer.search_words(opened, text, settings=settings)
        if sheet is not None:
            _write_sheet(sheet, opened, report)
    if paths and not json:
        _write_paths(report, end=b"\0" if null else b"\n")
        return
    values = report.to_dict() | ({"sheet": str(sheet)} if sheet is not None else {})
    show(values, library_tables.hits, json)


def _write_paths(report: SearchReport, end: bytes) -> None:
    write_bytes(b"".join(os.fsencode(hit.path) + end for hit in report.hits))


def _library_and_images(first: str, others: Sequence[str]) -> tuple[Path, list[str]]:
    """The library and the queries that the arguments name; the first need not be a library."""
    from vaeneer.library.library_folders import existing_library

    if (named := existing_library(first)) is not None:
        if not others:
            raise SettingsError(
                f"{first} is a library; add what to search for: an image, an item's id, or words."
            )
        return named, [*others]
    if others and Path(first).is_dir() and Path(first).name != first:
        raise LibraryError(
            f"{first} is not a library; make one with: vaeneer index {shlex.quote(first)}"
        )
    try:
        return find(None), [first, *others]
    except LibraryError as error:
        if not others:
            raise
        raise LibraryError(f"{first} is not a library. {error}") from error


def _write_sheet(path: Path, library: Library, report: SearchReport) -> None:
    from vaeneer.library.contact_sheet import write_sheet  # draws: no import of a plain search

    write_sheet(path, library, report)


def _words(arguments: Sequence[str], certain: bool, *, first: str) -> str | None:
    """The text of a search by words; None where the arguments are images."""
    from vaeneer.library.words import is_words

    words = [one for one in arguments if is_words(one)]
    if not certain and not words:
        return None
    images = [one for one in arguments if one not in words and not one.isdigit()]
    if images and not certain:
        nor = ", no item and no library" if words[0] == first else " and no item"
        raise SettingsError(
            f"{images[0]} is an image, and {words[0][:80]!r} is no file{nor}; search by"
            " images or by words, not by both."
        )
    return " ".join(arguments)


def _by_images(
    library: Library,
    images: Sequence[str],
    box: str | None,
    without: Sequence[str],
    settings: SearchSettings,
) -> SearchReport:
    from vaeneer.library.queries import box_of

    try:
        return vaeneer.search(
            library,
            [_source(word) for word in images],
            box=None if box is None else box_of(box),
            without=[_source(word) for word in without],
            settings=settings,
        )
    except ImageFileError as error:
        if os.path.lexists(error.path) or not error.reason.startswith("no such file"):
            raise
        reason = f"{error.reason}; if these are words to search for, pass --words"
        raise ImageFileError(error.path, reason) from None


def _source(word: str) -> Path | int | bytes:
    """Source that an argument names: standard input, a file, or the id of an item."""
    from vaeneer.library.queries import source_of

    if word == _STDIN:
        return sys.stdin.buffer.read()
    if word.startswith("-") and not Path(word).exists():
        raise SettingsError(f"{word} is no option of search; `vaeneer search --help` lists them.")
    return source_of(word)
