"""search_words(): the items of a library whose names, categories, tags or folders have some words.

The one door for a text as a query: a search of looks by words will answer with the same report.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from vaeneer.errors import LibraryUnavailableError
from vaeneer.library.catalog_schema import MAX_CHARACTERS, query_words, refresh_words
from vaeneer.text import is_utf8

if TYPE_CHECKING:
    from vaeneer.library.catalog import Catalog
    from vaeneer.library.search.filters import Condition

import os
import time
from contextlib import ExitStack
from pathlib import Path, PurePath

from vaeneer.data.image_formats import IMAGE_SUFFIXES, unread_reason
from vaeneer.errors import SettingsError
from vaeneer.library.catalog import Item
from vaeneer.library.search.exact_match import Copies
from vaeneer.library.search.filters import facts_condition
from vaeneer.library.search.search import Hit, SearchReport, check_condition
from vaeneer.library.store import LibraryLike, OpenLibrary
from vaeneer.settings import SearchSettings

_WEIGHTS = (10.0, 6.0, 4.0, 1.0)  # of name, category, tags and folder


_SHORTEST_PART = 3  # letters of a word that is also searched inside longer words


@dataclass(frozen=True)
class WordMatch:
    """An item that has at least one of the words."""

    item: int
    words: int
    """How many words of the query it has."""
    relevance: float
    """BM25 with name before category, tags and folders; larger is better."""


def find_words(catalog: Catalog, text: str, where: Condition | None = None) -> list[WordMatch]:
    """Items with words of a query: those with most of them first, then by relevance and path.

    A word matches the start of a word of the item, its English stem, and, with three letters or
    more, the inside of a word. where: a condition on `item_facts`. Any text may be passed; what is
    no letter or digit in it parts words. A text of such signs alone is looked for in paths.
    """
    words = query_words(text)
    if words:
        _settle(catalog)
    by_word = [_with_word(catalog, word) for word in words] or [_with_signs(catalog, text)]
    counts: dict[int, int] = {}
    scores: dict[int, float] = {}
    for matches in by_word:
        for item, score in matches.items():
            counts[item] = counts.get(item, 0) + 1
            scores[item] = scores.get(item, 0.0) + score
    condition, values = ("1", ()) if where is None else (where.sql, where.values)
    sql = f"SELECT path, id FROM item_facts WHERE {condition}"
    found = [(path, item) for path, item in catalog.execute(sql, values) if item in counts]
    found.sort(key=lambda one: (-counts[one[1]], -scores[one[1]], one[0]))
    return [WordMatch(item, counts[item], scores[item]) for _, item in found]


def _settle(catalog: Catalog) -> None:
    """Rebuild the words where they are missing or not of these items."""
    there = catalog.execute("SELECT 1 FROM sqlite_master WHERE name = 'words'").fetchone()
    if there is not None:
        items, known = catalog.execute(
            "SELECT (SELECT count(*) FROM items WHERE embedded),"
            " (SELECT count(*) FROM words_docsize)"
        ).fetchone()
        if items == known:
            return
    try:
        with catalog.writing() as connection:
            refresh_words(connection)
        catalog.seal()
    except LibraryUnavailableError:
        if there is None:
            raise


def _with_word(catalog: Catalog, word: str) -> dict[int, float]:
    """Relevance by item, of the items that have a word; 0 for those that have it inside another."""
    weights = ", ".join(map(str, _WEIGHTS))
    sql = f"SELECT rowid, -bm25(words, {weights}) FROM words WHERE words MATCH ?"
    found: dict[int, float] = dict(catalog.execute(sql, (f'"{word}"*',)).fetchall())
    if len(word) >= _SHORTEST_PART and " " not in word:
        inside = " OR ".join(f"instr(c{column}, ?1)" for column in range(len(_WEIGHTS)))
        rows = catalog.execute(f"SELECT id FROM words_content WHERE {inside}", (word,))
        found = dict.fromkeys((row[0] for row in rows), 0.0) | found
    return found


def _with_signs(catalog: Catalog, text: str) -> dict[int, float]:
    """Items with a text in their paths as it is."""
    text = text.strip()[:MAX_CHARACTERS]
    if not text or not is_utf8(text):
        return {}
    rows = catalog.execute("SELECT id FROM item_facts WHERE instr(path, ?)", (text,))
    return {row[0]: 0.0 for row in rows}


def search_words(
    library: LibraryLike, text: str, *, settings: SearchSettings | None = None
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
        if not isinstance(library, OpenLibrary):
            library = opened.enter_context(OpenLibrary.open(library))
        where = facts_condition(settings.where, settings.category, settings.tag)
        matches = find_words(library.catalog, text, where)
        copies = Copies(library, []) if settings.exclude_duplicates else None
        hits: list[Hit] = []
        for match in matches:
            if len(hits) == settings.k:
                break
            for item in library.catalog.items([match.item]):
                if copies is None or not copies.seen_before_or_add(item):
                    hits.append(_hit(library, item, match))
        return SearchReport(
            library=str(library.folder),
            images=[],
            box=None,
            negative=[],
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


def _hit(library: OpenLibrary, item: Item, match: WordMatch) -> Hit:
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
