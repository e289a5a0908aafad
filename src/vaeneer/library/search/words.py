"""search_words(): the items of a library whose names, categories, tags or folders have some words.

The one door for a text as a query: a search of looks by words will answer with the same report.
"""

from __future__ import annotations

import os
import time
from contextlib import ExitStack
from pathlib import Path, PurePath

from vaeneer.data.decoders import unread_reason
from vaeneer.data.images import IMAGE_SUFFIXES
from vaeneer.errors import SettingsError
from vaeneer.library.catalog import Item
from vaeneer.library.library import Library
from vaeneer.library.search.exact_match import Copies
from vaeneer.library.search.filters import facts_condition
from vaeneer.library.search.search import Hit, SearchReport, check_condition
from vaeneer.library.word_index import WordMatch, find_words
from vaeneer.settings.training import SearchSettings


def search_words(
    library: Path | str | Library, text: str, *, settings: SearchSettings | None = None
) -> SearchReport:
    """Find items by words in their names, categories, tags and folders, the most relevant first.

    text: any text. Items with all words come first, then those with fewer; a word in the name
    counts more than one in a tag, and that more than one in a folder. Words are compared without
    case, accents and English endings, and by their start. Hits have no probability and no place.
    Raises LibraryError, and SettingsError (FilterError for `where`) for settings that need an
    image: min_probability, parts.
    """
    started, settings = time.monotonic(), settings or SearchSettings()
    check_condition(settings)
    for name in ("min_probability", "parts"):
        if getattr(settings, name):
            raise SettingsError(
                f"{name} compares images, and the query is the words {text[:80]!r}; leave it out."
            )
    with ExitStack() as opened:
        if not isinstance(library, Library):
            library = opened.enter_context(Library.open(library))
        where = facts_condition(settings.where, settings.category, settings.tag)
        matches = find_words(library.catalog, text, where)
        copies = Copies(library, []) if settings.exclude_duplicates else None
        hits: list[Hit] = []
        for match in matches:
            if len(hits) == settings.k:
                break
            for item in library.catalog.items([match.item]):
                if copies is None or not copies.known(item):
                    hits.append(_hit(library, item, match))
        return SearchReport(
            library=str(library.folder),
            images=[],
            box=None,
            without=[],
            compared="words",
            settings=settings,
            hits=hits,
            gallery_size=len(library),
            seconds=time.monotonic() - started,
            queries=[],
            words=text,
        )


def is_words(text: str) -> bool:
    """Whether an argument is words to search for, rather than a file or an item.

    A file is what exists and is no folder, or looks like one: it has a slash or the suffix of an
    image.
    """
    if not text.strip() or text.startswith("-"):
        return False
    if text.isascii() and text.isdigit():
        return False
    if "/" in text or "\\" in text or (os.path.lexists(text) and not Path(text).is_dir()):
        return False
    suffix = PurePath(text).suffix.lower()
    return suffix not in IMAGE_SUFFIXES and unread_reason(suffix) is None


def _hit(library: Library, item: Item, match: WordMatch) -> Hit:
    relevance = match.relevance / (1 + match.relevance)
    return Hit(
        id=item.id,
        path=str(library.path(item)),
        asset=item.asset,
        score=round(match.words + relevance, 6),
        probability=None,
        match=None,
        box=None,
        placed=None,
        name=item.name,
        category=item.category,
        width_px=item.width_px,
        height_px=item.height_px,
        missing=not library.has_file(item),
        offline=item.offline,
    )
