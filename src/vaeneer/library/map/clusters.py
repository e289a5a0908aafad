"""Clusters of items on the map, and their names: words of most of their items and of few others."""

from __future__ import annotations

import colorsys
import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from vaeneer.data.categories import Meaning, meaning
from vaeneer.data.map_names import map_words
from vaeneer.library.catalog import Floats, Item
from vaeneer.settings import SEED
from vaeneer.text import match_key, printable

ALONE = -1
_GOLDEN = 0.618033988749895  # of a turn: hues that follow each other are far apart
_LIGHTNESS = (0.62, 0.72, 0.54)
_LEAST = 5
_MIN_SAMPLES = 2
_MOST_COMPARED = 30_000  # HDBSCAN's time grows with the square: some 10 s here
_WEIGHTS = {"category": 1.0, "tag": 0.75, "word": 0.5}
_MIN_SHARE = 0.4  # of a cluster's items that have the term of its name
_MIN_SHARE_OF_TWO = 0.15  # of each of two categories, where no term has that share
_MIN_SHARE_OF_DETAIL = 0.3  # where it tells clusters of one name apart
_MIN_LIFT = 1.5  # how much more often than elsewhere
_TITLE_WORDS = 3
_SHORTEST = 3  # letters of a word of a file name
_WORDS = re.compile(r"[^\W\d_]+")
_CAMEL = re.compile(r"(?<=[a-z])(?=[A-Z])")


def least_size(count: int, asked: int) -> int:
    """Items that a cluster has at least, in a library of `count`; asked: 0 chooses."""
    return max(2, asked) if asked else max(_LEAST, round(math.sqrt(count) / 4))


def cluster_labels(xy: Floats, min_size: int) -> NDArray[np.int64]:
    """The cluster (n,) of each place (n, 2), from 0 by size, the largest first; -1 is alone."""
    count = len(xy)
    if count < max(min_size, _MIN_SAMPLES):
        return np.full(count, ALONE)
    if count <= _MOST_COMPARED:
        return _by_size(_hdbscan(xy, min_size))
    from scipy.spatial import cKDTree

    drawn = np.random.default_rng(SEED).choice(count, _MOST_COMPARED, replace=False)
    fewer = max(2, round(min_size * _MOST_COMPARED / count))
    nearest = cKDTree(xy[drawn]).query(xy)[1]
    return _by_size(_hdbscan(xy[drawn], fewer)[nearest])


def title_of(item: Item) -> str:
    """What to call an item: its name, else that of its file without suffix and counting number.

    A category at its start is left out: wood/wood_dark_planks_019.jpg is dark planks.
    """
    if item.name:
        return item.name
    file = item.path.rpartition("/")[2]
    words = re.split(r"[\s_.-]+", file.rpartition(".")[0] or file)
    words = [word for word in words if word]
    if len(words) > 1 and words[-1].isdigit():
        words.pop()
    while len(words) > 1 and words[0].lower() == (item.category or "").lower():
        words.pop(0)
    return " ".join(words) or file


def _hdbscan(xy: Floats, min_size: int) -> NDArray[np.int64]:
    from sklearn.cluster import HDBSCAN

    found = HDBSCAN(min_cluster_size=min_size, min_samples=_MIN_SAMPLES, copy=True)
    return np.asarray(found.fit_predict(xy.astype(np.float64)), np.int64)


def _by_size(labels: NDArray[np.int64]) -> NDArray[np.int64]:
    """The same clusters numbered by size, then by their first item."""
    numbers, first, sizes = np.unique(labels, return_index=True, return_counts=True)
    inside = numbers >= 0
    order = np.lexsort((first[inside], -sizes[inside]))
    renamed = np.full(len(numbers), ALONE)
    renamed[np.flatnonzero(inside)[order]] = np.arange(len(order))
    return renamed[np.searchsorted(numbers, labels)]


@dataclass(frozen=True)
class Cluster:
    """Items that lie together."""

    id: int
    """From 0, the largest first."""
    name: str
    """No two clusters have one name: brick (wall), brick (broken)."""
    named_by: str
    """category, tag, word (of names and files) or item: where the name comes from."""
    rows: NDArray[np.int64]
    """Ascending rows of the items that were given."""
    central: int
    """The row of the item nearest to the mean of all."""


class _Term(NamedTuple):
    key: str
    text: str
    kind: str


class _Named(NamedTuple):
    base: str
    by: str
    keys: frozenset[str]
    """Of the terms in the name."""


def named_clusters(
    labels: NDArray[np.int64], items: Sequence[Item], vectors: Floats
) -> list[Cluster]:
    """The clusters with names, by what distinguishes each from the other items.

    labels (n,), items and vectors (n, D) have the same order.
    """
    terms = [_terms_of(item) for item in items]
    everywhere = Counter(key for one in terms for key in one)
    count = int(labels.max(initial=ALONE)) + 1
    rows = [np.flatnonzero(labels == number) for number in range(count)]
    centres = [int(one[(vectors[one] @ vectors[one].mean(0)).argmax()]) for one in rows]
    members = [[terms[row] for row in one.tolist()] for one in rows]
    named = [
        _named(inside, everywhere, len(items), items[centre])
        for inside, centre in zip(members, centres, strict=True)
    ]
    titles = [_telling_words(title_of(items[centre])) for centre in centres]
    names = _apart(named, members, titles)
    return [
        Cluster(number, names[number], named[number].by, rows[number], centres[number])
        for number in range(count)
    ]


def _terms_of(item: Item) -> dict[str, _Term]:
    """What is said of an item, by its form without case; each once, of the strongest kind."""
    found: dict[str, _Term] = {}
    for text in _telling_words(f"{item.name or ''} {_stem(item.path)}"):
        _put(found, _Term(match_key(text), text, "word"))
    for text in item.tags:
        if meaning(text) is not Meaning.STORAGE:
            _put(found, _Term(match_key(text), text, "tag"))
    if item.category:
        _put(found, _Term(match_key(item.category), item.category, "category"))
    return found


def _telling_words(text: str) -> list[str]:
    """Words of a name in lower case, without those that say nothing of a material."""
    words = dict.fromkeys(word.lower() for word in _WORDS.findall(_CAMEL.sub(" ", text)))
    maps = map_words().words
    return [
        word
        for word in words
        if len(word) >= _SHORTEST
        and meaning(word) is not Meaning.STORAGE
        and not (word in maps and maps[word].kind == "color")
    ]


def _put(found: dict[str, _Term], term: _Term) -> None:
    found[term.key] = term


def _stem(path: str) -> str:
    file = path.rpartition("/")[2]
    return file.rpartition(".")[0] or file


def _ranked(
    inside: Sequence[Mapping[str, _Term]], everywhere: Mapping[str, int], total: int
) -> list[tuple[_Term, float]]:
    """Terms more frequent in a cluster than elsewhere, with their share, the best first."""
    counts = Counter(key for one in inside for key in one)
    kinds = {key: _strongest(one[key] for one in inside if key in one) for key in counts}
    scored = []
    for key, times in counts.items():
        share = times / len(inside)
        lift = share * total / everywhere[key]
        if lift >= _MIN_LIFT:
            score = share * math.log(lift) * _WEIGHTS[kinds[key].kind]
            scored.append((-score, key, share))
    return [(kinds[key], share) for _, key, share in sorted(scored)]


def _strongest(terms: Iterable[_Term]) -> _Term:
    """The spelling of the strongest kind, the most frequent one."""
    spellings = Counter(terms)
    return max(spellings, key=lambda one: (_WEIGHTS[one.kind], spellings[one], one.text))


def _named(
    inside: Sequence[Mapping[str, _Term]],
    everywhere: Mapping[str, int],
    total: int,
    centre: Item,
) -> _Named:
    """The term said of most items, else one or two categories, else words of the central item."""
    ranked = _ranked(inside, everywhere, total)
    for term, share in ranked:
        if share >= _MIN_SHARE:
            return _Named(term.text, term.kind, frozenset({term.key}))
    categories = [(term, share) for term, share in ranked if term.kind == "category"]
    two = [term for term, share in categories if share >= _MIN_SHARE_OF_TWO][:2]
    words = _telling_words(title_of(centre))[:_TITLE_WORDS]
    if not two and not words:  # names as cameras give them
        two = [term for term, _ in categories][:2]
    if two:
        return _Named(", ".join(t.text for t in two), "category", frozenset(t.key for t in two))
    return _Named(" ".join(words) or title_of(centre), "item", frozenset(map(match_key, words)))


def _apart(
    named: Sequence[_Named],
    members: Sequence[Sequence[Mapping[str, _Term]]],
    titles: Sequence[Sequence[str]],
) -> list[str]:
    """A name for each cluster; those of one base get a detail that tells them apart."""
    names: list[str] = []
    bases = Counter(match_key(one.base) for one in named)
    for number, one in enumerate(named):
        details = []
        if bases[match_key(one.base)] > 1:
            alike = [n for n, two in enumerate(named) if match_key(two.base) == match_key(one.base)]
            pool = Counter(key for n in alike for terms in members[n] for key in terms)
            total = sum(len(members[n]) for n in alike)
            details = [
                term.text
                for term, share in _ranked(members[number], pool, total)
                if share >= _MIN_SHARE_OF_DETAIL and _tells_more(term.key, one.keys)
            ]
            title = [word for word in titles[number] if _tells_more(match_key(word), one.keys)]
            details += [" ".join(title[:_TITLE_WORDS])] if title else []
        names.append(_free(one.base, details, names))
    return names


def _tells_more(key: str, keys: Iterable[str]) -> bool:
    """Whether a detail is no other form of the name: not tiles of tile."""
    return not any(key.startswith(one) or one.startswith(key) for one in keys)


def _free(base: str, details: Sequence[str], names: Sequence[str]) -> str:
    """The first name that no cluster has yet."""
    used = {match_key(name) for name in names}
    named = [f"{base} ({detail})" for detail in details]
    candidates = [*named, base, *(f"{base} {number}" for number in range(2, len(names) + 3))]
    return next(name for name in candidates if match_key(name) not in used)


@dataclass(frozen=True)
class Groups:
    """Items in groups, each with a name and a colour."""

    kind: str
    """cluster or category."""
    labels: NDArray[np.int64]
    """(n,) the group of each item, -1 where it has none."""
    names: list[str]
    """Each once, for lists."""
    words: list[str]
    """What is written on the map."""

    @property
    def colours(self) -> list[tuple[int, int, int]]:
        """Of each group, in levels of 255, for a dark ground."""
        return [colour_of(number) for number in range(len(self.names))]


def by_cluster(labels: NDArray[np.int64], clusters: Sequence[Cluster]) -> Groups:
    """The clusters as groups."""
    names = [one.name for one in clusters]
    return Groups("cluster", labels, names, [printable(name) for name in names])


def by_category(items: Sequence[Item]) -> Groups:
    """The categories as groups, the largest first."""
    counts = Counter(item.category for item in items if item.category)
    names = sorted(counts, key=lambda name: (-counts[name], name))
    numbers = {name: number for number, name in enumerate(names)}
    labels = [numbers.get(item.category or "", ALONE) for item in items]
    words = [printable(name) for name in names]
    return Groups("category", np.array(labels, np.int64), names, words)


def colour_of(number: int) -> tuple[int, int, int]:
    """A colour for the n-th group."""
    hue = (0.07 + number * _GOLDEN) % 1
    red, green, blue = colorsys.hls_to_rgb(hue, _LIGHTNESS[number % 3], 0.62)
    return round(255 * red), round(255 * green), round(255 * blue)
