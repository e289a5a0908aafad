"""search() and search_words(): items that look like images or a box, or that have some words."""

from __future__ import annotations

import math
import os
import shlex
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field, replace
from itertools import chain, islice
from pathlib import Path, PurePath
from typing import Any, Literal, NamedTuple, Unpack, get_args

import numpy as np

from vaeneer.data.image_formats import IMAGE_SUFFIXES, unread_reason
from vaeneer.errors import LibraryError, ModelFileError, SettingsError
from vaeneer.library.catalog import FIELD_DOCS, Crop, Floats, Ids, Item, PixelBox
from vaeneer.library.search.exact_match import PIXEL_MATCH_PROBABILITY, Copies, Localizer, is_small
from vaeneer.library.search.filters import Condition, filters_of, find_words
from vaeneer.library.search.query import Query, Source, crop_query, mean_query, query_of
from vaeneer.library.store import LibraryLike, OpenLibrary
from vaeneer.model.projection import Calibration, logistic
from vaeneer.settings import SearchOptions, SearchSettings, with_changes

Match = Literal["exact", "likely", "similar"]
MATCHES: tuple[Match, ...] = get_args(Match)
_MORE = 4
"""How many times as many crops are fetched when too few items came out of them."""
_CANDIDATES = 10  # items that may be examined for the pixels of the query
_WORTH_BOX = 0.9
"""Min calibrated probability of an item, to be examined for the pixels of a box."""
_WORTH_SMALL = 0.2
"""Min chance (search.py) for a whole image that is small beside the item."""
_WORTH_WHOLE = 0.58
"""The same for other whole images: most of them are no crops, and examining takes time."""
_WORTH_COPY = 0.94
"""The same where the library has the file itself: only copies of it are examined."""
_LARGE_LIBRARY = 311
"""Items beyond which these limits stay at the same cosine: half of all crops are below 0.85."""
_MAX_MISSES = 2  # items that were examined in vain, until no more are
_MAX_MISSES_BOX = 4
_SPARE = 16  # fetched beyond k, so that equal cosines at the end are put in order by path


def chance(calibration: Calibration, cosine: float, items: int) -> float:
    """Probability that one of `items` with this cosine shows the surface of the query, 0 to 1."""
    log_odds = calibration.slope * cosine + calibration.intercept - math.log(max(1, items - 1))
    return float(logistic(np.float64(log_odds)))


@dataclass(frozen=True)
class Hit:
    """One item that a search found."""

    __pydantic_config__ = FIELD_DOCS

    id: int
    path: str
    """Of the file, absolute."""
    asset: str
    score: float
    """Cosine of its vector and the query's, -1 to 1; of a search by words, how many of them it has
    plus its relevance, 0 to 1."""
    probability: float | None
    """That both show one surface, 0 to 1, if one item of the library is expected to (search.py);
    None where the model is not calibrated."""
    match: Match | None
    """exact: its pixels are proved; likely: the probability reaches the threshold; similar: the
    rest. None where nothing is proved and the model is not calibrated."""
    box: PixelBox | None
    """Where in it, in upright pixels: x, y, width, height; None where whole images are compared."""
    placed: Literal["pixels", "part"] | None
    """pixels: the box is where the pixels of the query lie; part: it is the most similar part."""
    name: str | None
    category: str | None
    width_px: int
    height_px: int
    missing: bool = False
    """Whether the file is missing now; the library still has its thumbnail and vectors."""
    offline: bool = False
    """Whether its folder was missing when the library was last indexed."""

    def to_dict(self) -> dict[str, Any]:
        """As JSON; the box as a list."""
        return {**asdict(self), "box": None if self.box is None else list(self.box)}


@dataclass(frozen=True)
class SearchReport:
    """The query and the hits of a search."""

    library: str
    images: list[str]
    box: PixelBox | None
    negative: list[str]
    """Names of the negative examples."""
    compared: str
    """images: whole images with each other; parts: the query with the parts of images; words: a
    text with names, categories, tags and folders."""
    settings: SearchSettings
    hits: list[Hit]
    gallery_size: int
    """Items of the library that each probability was computed with; it falls as they grow."""
    seconds: float
    queries: list[Query] = field(repr=False)
    """The images of the query, as decoded; not in `to_dict`."""
    words: str | None = None
    """The text of a search by words."""
    parts_pending: int = 0
    """Where parts are compared: items whose smallest parts are still to be indexed."""

    @property
    def matches(self) -> dict[str, int]:
        """Number of hits of each kind of match, the surest first; empty without calibration."""
        kinds = [hit.match for hit in self.hits if hit.match is not None]
        return {kind: kinds.count(kind) for kind in MATCHES} if kinds else {}

    def to_dict(self) -> dict[str, Any]:
        """As JSON: the query, then the hits, the best first."""
        query = {
            "library": self.library,
            "images": self.images,
            "words": self.words,
            "box": None if self.box is None else list(self.box),
            "negative": self.negative,
            "compared": self.compared,
            **asdict(self.settings),
        }
        hits = [hit.to_dict() for hit in self.hits]
        return {
            "query": query,
            "hits": hits,
            "matches": self.matches,
            "gallery_size": self.gallery_size,
            "parts_pending": self.parts_pending,
            "seconds": self.seconds,
        }


class _Found(NamedTuple):
    item: Item
    cosine: float
    crop: Crop


def search(
    library: LibraryLike,
    image: Source | list[Source] | tuple[Source, ...],
    *,
    box: PixelBox | None = None,
    negative: Sequence[Source] = (),
    settings: SearchSettings | None = None,
    **options: Unpack[SearchOptions],
) -> SearchReport:
    """Find the items of a library that look like an image, or like several, the most similar first.

    image: files, bytes, pixels (H, W, 3) uint8, pictures or ids of items; of a list the mean of
    the vectors is the query. box: x, y, width, height on a single image; then parts are compared,
    and each hit has the place of its best part. Hits that contain the pixels of the box come first,
    with their place to the pixel; so do those that contain a single image given as a file, bytes or
    pixels, such as a crop. negative: negative examples. An item given by its id is no hit.
    Equal scores are sorted by path. options: fields of the settings, such as k=3.
    Raises LibraryError, ImageFileError, DataError or SettingsError (FilterError for `where`), and
    ModelFileError for min_probability with a model that is not calibrated.
    """
    started = time.monotonic()
    settings = with_changes(settings or SearchSettings(), options)
    with ExitStack() as opened:
        if not isinstance(library, OpenLibrary):
            library = opened.enter_context(OpenLibrary.open(library))
        filters = filters_of(settings)  # a mistake in them is reported before anything is decoded
        sources = [*image] if isinstance(image, list | tuple) else [image]
        if not sources:
            raise SettingsError("There is no query image; give one or more.")
        if box is not None and len(sources) > 1:
            raise SettingsError(f"A box needs a single query image, and there are {len(sources)}.")
        queries = [query_of(library, source, box) for source in sources]
        against = [query_of(library, source) for source in negative]
        parts = settings.parts or box is not None
        hits = _hits(library, queries, against, filters, settings, parts)
        return SearchReport(
            library=str(library.folder),
            images=[query.name for query in queries],
            box=queries[0].box,
            negative=[query.name for query in against],
            compared="parts" if parts else "images",
            settings=settings,
            hits=hits,
            gallery_size=len(library),
            seconds=time.monotonic() - started,
            queries=queries,
            parts_pending=library.catalog.parts_pending if parts else 0,
        )


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
    filters = filters_of(settings)
    for name in ("min_probability", "parts"):
        if getattr(settings, name):
            raise SettingsError(
                f"{name} compares images, and the query is the words {text[:80]!r}; leave it out."
            )
    with ExitStack() as opened:
        if not isinstance(library, OpenLibrary):
            library = opened.enter_context(OpenLibrary.open(library))
        copies = Copies(library, []) if settings.exclude_duplicates else None
        hits: list[Hit] = []
        for match in find_words(library.catalog, text, filters):
            if len(hits) == settings.k:
                break
            for item in library.catalog.items([match.item]):
                if copies is None or not copies.seen_before_or_add(item):
                    relevance = match.relevance / (1 + match.relevance)
                    hits.append(_hit(library, item, match.words + relevance))
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


def _hits(
    library: OpenLibrary,
    queries: Sequence[Query],
    against: Sequence[Query],
    filters: Condition | None,
    settings: SearchSettings,
    parts: bool,
) -> list[Hit]:
    calibration, minimum = library.calibration, settings.min_probability
    if calibration is None and minimum > 0:
        raise ModelFileError(
            f"The model of {library.folder} is not calibrated, so that hits have no probability;"
            " leave min_probability out, or index with a model that `vaeneer calibrate` went over."
        )
    if parts and not len(library.crop_index) and len(library.image_index):
        raise LibraryError(
            f"{library.folder} has no vectors of parts; make another library of its images: vaeneer"
            f" index {shlex.quote(str(library.catalog.root))} --parts halves --library ANOTHER"
        )
    excluded = {query.item.id for query in (*queries, *against) if query.item is not None}
    copies = Copies(library, queries) if settings.exclude_duplicates else None
    vector = mean_query(queries, against)
    exact, places = [], dict[int, PixelBox]()
    if settings.exact_match and len(queries) == 1 and queries[0].picture is not None:
        candidates = _candidates(library, vector, settings.k, filters, parts)
        candidates = [one for one in candidates if one.item.id not in excluded]
        places = _places(library, candidates, queries[0], calibration)
        exact = [one for one in candidates if one.item.id in places]
    rest = _best_first(library, vector, settings.k, filters, parts)
    found: list[_Found] = []
    for one in chain(exact, (one for one in rest if one.item.id not in places)):
        if len(found) == settings.k:
            break
        if one.item.id not in excluded and (
            copies is None or not copies.seen_before_or_add(one.item)
        ):
            found.append(one)
    hits, total = [], len(library)
    for item, cosine, crop in found:
        likely = None if calibration is None else chance(calibration, cosine, total)
        box: PixelBox | None = places.get(item.id)
        match: Match | None = "exact" if box else None
        if likely is not None:
            likely = round(max(likely, PIXEL_MATCH_PROBABILITY if box else 0.0), 6)
            match = match or ("likely" if likely >= settings.likely_threshold else "similar")
        hits.append(
            replace(
                _hit(library, item, cosine),
                probability=likely,
                match=match,
                box=box or (crop.box if parts else None),
                placed="pixels" if box else "part" if parts else None,
            )
        )
    return [hit for hit in hits if hit.probability is None or hit.probability >= minimum]


def _hit(library: OpenLibrary, item: Item, score: float) -> Hit:
    return Hit(
        id=item.id,
        path=str(library.path(item)),
        asset=item.asset,
        score=round(score, 6),
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


def _candidates(
    library: OpenLibrary, vector: Floats, k: int, filters: Condition | None, parts: bool
) -> list[_Found]:
    """Items that may contain the pixels of the query, the most similar first.

    By parts too where whole images are compared: a crop often looks more like a part than like the
    whole image that it was cut from.
    """
    number = max(_CANDIDATES, k if parts else 0)
    best: dict[int, _Found] = {}
    for by_parts in {parts, True}:
        for one in islice(_best_first(library, vector, number, filters, by_parts), number):
            if one.item.id not in best or one.cosine > best[one.item.id].cosine:
                best[one.item.id] = one
    return sorted(best.values(), key=lambda one: (-one.cosine, one.item.path))[:number]


def _places(
    library: OpenLibrary,
    candidates: Sequence[_Found],
    query: Query,
    calibration: Calibration | None,
) -> dict[int, PixelBox]:
    """Where the pixels of the query are, in the candidates that are proved to contain them."""
    same = {
        one.item.id: query.box or (0, 0, one.item.width_px, one.item.height_px)
        for one in candidates
        if one.item.sha256 == query.sha256
    }
    size_px = query.size_px if query.box is None else query.box[2:]
    items = min(len(library), _LARGE_LIBRARY)

    def worth(one: _Found) -> bool:
        if calibration is None:
            return True
        if query.box is not None:
            return calibration.probability(one.cosine) >= _WORTH_BOX
        least = _WORTH_SMALL if is_small(size_px, one.item) else _WORTH_WHOLE
        least = _WORTH_COPY if same else least
        return chance(calibration, one.cosine, items) >= least

    likely = [one.item for one in candidates if one.item.id not in same and worth(one)]
    picture = crop_query(query)
    if not likely or picture is None:
        return same
    misses = _MAX_MISSES if query.box is None else _MAX_MISSES_BOX
    return same | Localizer(library, picture, size_px).places(likely, misses)


def _best_first(
    library: OpenLibrary, vector: Floats, k: int, filters: Condition | None, parts: bool
) -> Iterator[_Found]:
    """Each item with its best crop, the most alike first; more are fetched as they are needed."""
    index, allowed = library.crop_index if parts else library.image_index, None
    if filters is not None:
        rows = library.catalog.execute(
            f"SELECT id FROM crops WHERE scale {'>' if parts else '='} 0"
            f" AND item IN (SELECT id FROM item_facts WHERE {filters.sql})",
            filters.values,
        )
        allowed = np.array([row[0] for row in rows], np.int64)
    wanted, seen = (k + _SPARE) * (_MORE if parts else 1), set[int]()
    while True:
        cosines, crops = (one[0] for one in index.search(vector[None], wanted, allowed))
        last = int((crops >= 0).sum())
        ended = last < wanted or last == len(index)
        best = _best_crops(library, crops[:last], cosines[:last])
        sure = best if ended else [one for one in best if one.cosine > cosines[last - 1]]
        for found in sure:
            if found.item.id not in seen:
                seen.add(found.item.id)
                yield found
        if ended:
            return
        wanted *= _MORE


def _best_crops(library: OpenLibrary, crops: Ids, cosines: Floats) -> list[_Found]:
    """The best crop of each item; crops that the catalog has no more are passed over."""
    known = library.catalog.crops(crops.tolist())
    best: dict[int, tuple[float, Crop]] = {}
    for number, cosine in zip(crops.tolist(), cosines.tolist(), strict=True):
        crop = known.get(number)
        if crop is None:
            continue
        before = best.get(crop.item)
        if before is None or (-cosine, crop.id) < (-before[0], before[1].id):
            best[crop.item] = cosine, crop
    items = library.catalog.items(best)
    found = [_Found(item, *best[item.id]) for item in items]
    return sorted(found, key=lambda one: (-one.cosine, one.item.path))


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
