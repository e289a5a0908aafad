"""Commands of a library: index, search, duplicates, map, embed, serve and others."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

import vaeneer
from vaeneer.cli import library_tables, tables
from vaeneer.cli.options import (
    OUTPUT,
    ConsoleProgress,
    Flat,
    Images,
    Json,
    LibraryFolder,
    Model,
    Overwrite,
    find,
    show,
    write_bytes,
)
from vaeneer.errors import ImageFileError, LibraryError, SettingsError
from vaeneer.settings import (
    CalibrateSettings,
    ClusterSettings,
    DuplicatesSettings,
    EmbedSettings,
    IndexSettings,
    MapSettings,
    OutliersSettings,
    SearchSettings,
    ServeSettings,
)

if TYPE_CHECKING:
    from vaeneer.library.library import Library
    from vaeneer.library.search.search import SearchReport


_STDIN = "-"


def index(
    folder: Path,
    *,
    library: Path | None = None,
    model: Path | None = None,
    settings: Annotated[IndexSettings, Flat] = IndexSettings(),
    folder_moved: Annotated[bool, Parameter(negative="")] = False,
    forget_missing: Annotated[bool, Parameter(negative="")] = False,
    json: Json = False,
) -> None:
    """Make a library of a folder, or bring it up to date: only what changed is decoded.

    Stop it with Ctrl-C at any time; the same command goes on. Bad files are skipped and listed in
    LIBRARY/errors.csv.

    Parameters
    ----------
    folder
        Images, side-car JSON and other maps, in folders of any depth.
    library
        Folder of the library; new, or that of an earlier run. By default in the user's data folder
        (XDG_DATA_HOME): other commands find it by FOLDER.
    model
        A bundled model's name, a model or a run. By default the library's own, and
        surface-base for a new library.
    folder_moved
        The library's images lie in FOLDER now.
    forget_missing
        Images whose folder is not there, or empty, leave the library. Without it they stay, marked
        offline, as long as their drive may come back.
    """
    report = vaeneer.index(
        folder,
        library=library,
        model=model,
        settings=settings,
        folder_moved=folder_moved,
        forget_missing=forget_missing,
        progress=ConsoleProgress(),
    )
    show(report.to_dict(), library_tables.indexing, json)


def stats(library: LibraryFolder = None, *, json: Json = False) -> None:
    """Count what a library holds."""
    show(vaeneer.stats(find(library)).to_dict(), library_tables.census, json)


def search(
    library: Annotated[str, Parameter(allow_leading_hyphen=True)],
    image: Annotated[list[str] | None, Parameter(allow_leading_hyphen=True, negative="")] = None,
    *,
    box: str | None = None,
    negative: Annotated[list[str] | None, Parameter(negative="")] = None,
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
    negative
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
            report = _by_images(opened, images, box, negative or (), settings)
        elif box is not None or negative:
            raise SettingsError(
                f"{text[:80]!r} is searched as words, which take no --box and no"
                " --negative; name an image, or leave them out."
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
    from vaeneer.library.search.contact_sheet import (
        write_sheet,  # draws: no import of a plain search
    )

    write_sheet(path, library, report)


def _words(arguments: Sequence[str], certain: bool, *, first: str) -> str | None:
    """The text of a search by words; None where the arguments are images."""
    from vaeneer.library.search.search import is_words

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
    negative: Sequence[str],
    settings: SearchSettings,
) -> SearchReport:
    from vaeneer.library.search.query import box_of

    try:
        return vaeneer.search(
            library,
            [_source(word) for word in images],
            box=None if box is None else box_of(box),
            negative=[_source(word) for word in negative],
            settings=settings,
        )
    except ImageFileError as error:
        if os.path.lexists(error.path) or not error.reason.startswith("no such file"):
            raise
        reason = f"{error.reason}; if these are words to search for, pass --words"
        raise ImageFileError(error.path, reason) from None


def _source(word: str) -> Path | int | bytes:
    """Source that an argument names: standard input, a file, or the id of an item."""
    from vaeneer.library.search.query import source_of

    if word == _STDIN:
        return sys.stdin.buffer.read()
    if word.startswith("-") and not Path(word).exists():
        raise SettingsError(f"{word} is no option of search; `vaeneer search --help` lists them.")
    return source_of(word)


def duplicates(
    library: LibraryFolder = None,
    *,
    settings: Annotated[DuplicatesSettings, Flat] = DuplicatesSettings(),
    html: Annotated[Path | None, Parameter(group=OUTPUT)] = None,
    csv: Annotated[bool, Parameter(negative="", group=OUTPUT)] = False,
    json: Json = False,
) -> None:
    """Find what a library has twice, and propose which to keep. Nothing is deleted.

    Kinds: exact (the same bytes), same_pixels (another container or metadata), near (rescaled,
    recompressed, turned, mirrored, a little brighter or recoloured), cropped (a part of another,
    with the place) and recoloured (the same structure in other colours).

    Parameters
    ----------
    html
        Also write a page with the groups side by side: report.html.
    csv
        Print one line for each file of the groups instead of a table: path, group, kind, decision
        (keep or redundant), keep_path, box. Paths are below the folder of the images. Links and
        further names of one file are named on the error output.
    """
    progress = ConsoleProgress()
    report = vaeneer.duplicates(find(library), settings=settings, out_html=html, progress=progress)
    if csv and not json:
        from vaeneer.library.duplicates.report import csv_text

        write_bytes(csv_text(report.groups).encode())
        for line in library_tables.links_in_words(report.to_dict()):
            progress.say(line)
        return
    show(report.to_dict(), library_tables.copies, json)


def map(
    library: LibraryFolder = None,
    *,
    out: Path = Path("map.html"),
    settings: Annotated[MapSettings, Flat] = MapSettings(),
    overwrite: Overwrite = False,
    json: Json = False,
) -> None:
    """Draw a library as a map: what looks alike lies together.

    Items that came later are placed, and the others stay where they are.

    Parameters
    ----------
    out
        map.html (one page that pans and zooms, offline), map.png or map.parquet (a table that
        embedding-atlas reads).
    """
    report = vaeneer.map(
        find(library), out=out, settings=settings, overwrite=overwrite, progress=ConsoleProgress()
    )
    show(report.to_dict(), library_tables.drawn, json)


def cluster(
    library: LibraryFolder = None,
    *,
    settings: Annotated[ClusterSettings, Flat] = ClusterSettings(),
    json: Json = False,
) -> None:
    """Group the items that look alike, named by what is known of them."""
    report = vaeneer.cluster(find(library), settings=settings, progress=ConsoleProgress())
    show(report.to_dict(), library_tables.clusters, json)


def outliers(
    library: LibraryFolder = None,
    *,
    settings: Annotated[OutliersSettings, Flat] = OutliersSettings(),
    json: Json = False,
) -> None:
    """List files that do not belong, each with the reason: candidates to look at."""
    report = vaeneer.outliers(find(library), settings=settings, progress=ConsoleProgress())
    show(report.to_dict(), library_tables.strange, json)


def calibrate(
    model: Model,
    data: Path,
    *,
    out: Path | None = None,
    settings: Annotated[CalibrateSettings, Flat] = CalibrateSettings(),
    overwrite: Overwrite = False,
    json: Json = False,
) -> None:
    """Fit a model's vectors, and the probability of the same surface, to a library.

    In closed form, in minutes: the network stays as it is.

    Parameters
    ----------
    data
        A data set, or a folder of images (a fifth of its assets is then held out).
    out
        Folder for a calibrated copy of the model; by default MODEL itself is changed. A
        bundled model needs it.
    """
    report = vaeneer.calibrate(
        model,
        data,
        out=out,
        settings=settings,
        overwrite=overwrite,
        progress=ConsoleProgress(),
    )
    show(report.to_dict(), tables.calibration, json)


def embed(
    model: Path,
    folder: Images | None = None,
    *,
    out: Path = Path("vectors.parquet"),
    settings: Annotated[EmbedSettings, Flat] = EmbedSettings(),
    overwrite: Overwrite = False,
    json: Json = False,
) -> None:
    """Write a vector of every image of a folder, or all vectors of a library, to a table.

    A run that was stopped goes on. Vectors of a library are exported as they are, of whole images
    and of parts: no image is read.

    Parameters
    ----------
    model
        A model, a run (its best model), or a bundled model's name. Without FOLDER: a library,
        or a folder that was indexed.
    out
        A Parquet file (file, asset, category, vector), or an array .npy with its ids beside.
    """
    report = vaeneer.embed(
        model,
        folder,
        out=out,
        settings=settings,
        overwrite=overwrite,
        progress=ConsoleProgress(),
    )
    show(report.to_dict(), partial(tables.plain, "embed"), json)


def merge_vectors(out: Path, *, overwrite: Overwrite = False, json: Json = False) -> None:
    """Join the files that `embed --shard i/n` wrote.

    Parameters
    ----------
    out
        What each shard was given as --out.
    """
    report = vaeneer.merge_vectors(out, overwrite=overwrite)
    show(report.to_dict(), partial(tables.plain, "merge-vectors"), json)


def serve(
    library: Annotated[list[Path] | None, Parameter(negative="")] = None,
    *,
    settings: Annotated[ServeSettings, Flat] = ServeSettings(),
    open: Annotated[bool, Parameter(negative="")] = False,
) -> None:
    """Open libraries and runs as a page in the browser, and put them behind HTTP.

    Works offline and listens on this machine alone, unless --host says otherwise; then it asks for
    a token. Ctrl-C ends it.

    Parameters
    ----------
    library
        Libraries, folders that were indexed, runs, or folders of runs; several at once. A folder of
        images that was never indexed can be indexed from the page. By default the library of the
        current directory, or the only one in the user's data folder.
    open
        Show the page in the browser.
    """
    vaeneer.serve(library or None, settings=settings, open_page=open, progress=ConsoleProgress())
