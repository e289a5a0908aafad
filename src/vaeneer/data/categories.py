"""The category of an asset by its folders: the deepest folder that tells materials apart.

docs/file-names.md has the rules. They need the whole list of a folder: whether `brick_000` is a
category or the folder of one asset is seen by its siblings alone.
"""

from __future__ import annotations

import re
import tomllib
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import IntEnum
from functools import cache, cached_property, lru_cache
from importlib.resources import files

from vaeneer.data.map_names import RESOLUTION, Strength, map_words
from vaeneer.text import match_key

_TOKENS = re.compile(r"[^\W_]+")
_CAMEL = re.compile(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
_VERSION = re.compile(r"(v|ver|rev|lod)?\d+")
_COUNTED = re.compile(r"(?P<word>.*?[^\W\d_])[\W_]*\d+")


@dataclass(frozen=True)
class AssetPlace:
    """Where the color files of an asset lie."""

    folder: str
    """Below the raw folder, with forward slashes; empty for the raw folder itself."""

    stem: str
    """Name of the asset without its folder; empty where the folder is the asset."""

    has_maps: bool
    """Whether other maps belong to it."""


class Meaning(IntEnum):
    """What a folder name says."""

    STORAGE = 0
    LOOKS = 1
    MATERIAL = 2


def folder_categories(
    assets: Mapping[str, AssetPlace], spellings: Iterable[str] = ()
) -> dict[str, str | None]:
    """Category of each asset by its folders; None where no folder tells materials apart.

    spellings: categories from elsewhere; a folder with the same name in another case takes theirs.
    """
    tree = _Tree(assets)
    found = {asset: tree.category(asset) for asset in assets}
    preferred = {match_key(word): word for word in sorted(spellings, reverse=True)}
    counts = Counter(name for name in found.values() if name is not None)
    for name in sorted(counts, key=lambda one: (-counts[one], one)):
        preferred.setdefault(match_key(name), name)
    return {
        asset: None if name is None else preferred[match_key(name)] for asset, name in found.items()
    }


def folder_levels(path: str) -> tuple[str, ...]:
    """Names of the folders above a file, the topmost first."""
    return tuple(path.split("/")[:-1])


@lru_cache(maxsize=2**16)
def meaning(name: str) -> Meaning:
    """Whether a folder name may name a material: brick, of brick, 2K, red."""
    tokens = _TOKENS.findall(_CAMEL.sub(" ", name))
    return max((_meaning_of(match_key(token)) for token in tokens), default=Meaning.STORAGE)


class _Tree:
    """The folders of a library, with the assets below each."""

    def __init__(self, assets: Mapping[str, AssetPlace]) -> None:
        self._assets = assets
        self._below: Counter[str] = Counter()
        self._with_label: Counter[str] = Counter()
        self._children: defaultdict[str, set[str]] = defaultdict(set)
        for place in assets.values():
            labels = set()
            for folder, parent, name in _levels(place.folder):
                self._below[folder] += 1
                if meaning(name) is not Meaning.STORAGE:
                    self._children[parent].add(folder)
                    labels.add(match_key(name))
            self._with_label.update(labels)
        self._verdicts: dict[str, bool] = {}

    def category(self, asset: str) -> str | None:
        """The rules of docs/file-names.md, one after the other."""
        place = self._assets[asset]
        levels = _levels(place.folder)[::-1]
        materials = [one for one in levels if meaning(one[2]) is Meaning.MATERIAL]
        shared = [one for one in materials if not self._is_asset_folder(*one, place)]
        for folder, _, name in shared:
            if self._below[folder] < len(self._assets):
                return name
        for one in materials:
            word = self._of_asset_folder(one[2], place) if one not in shared else None
            if word is not None:
                return word
        looks = (name for _, _, name in levels if meaning(name) is Meaning.LOOKS)
        return shared[0][2] if shared else next(looks, None)

    def _of_asset_folder(self, name: str, place: AssetPlace) -> str | None:
        """What the folder of one asset says of its material, where no folder above says more."""
        word = _uncounted(name)
        if word is not None and self._uncounted_labels[match_key(word)] > 1:
            return word
        return None if place.has_maps or _same(name, place.stem) else word or name

    def _is_asset_folder(self, folder: str, parent: str, name: str, place: AssetPlace) -> bool:
        """Whether a folder was made for one asset, and not for a kind of material."""
        known = self._verdicts.get(folder)
        if known is None:
            known = self._verdicts[folder] = self._judged(folder, parent, name, place)
        return known

    def _judged(self, folder: str, parent: str, name: str, place: AssetPlace) -> bool:
        uncounted = _uncounted(name)
        if uncounted is not None and self._series[parent, match_key(uncounted)] > 1:
            return True
        if not self._holds_one(folder):
            return False
        siblings, alone = len(self._children[parent]) - 1, self._with_one[parent] - 1
        if not siblings:
            return _same(name, place.stem) and (place.has_maps or uncounted is not None)
        return alone == siblings or (_same(name, place.stem) and 2 * alone > siblings)

    def _holds_one(self, folder: str) -> bool:
        """Whether one asset lies in a folder, and none in folders of its name elsewhere."""
        name = folder.rpartition("/")[2]
        return self._below[folder] == 1 and self._with_label[match_key(name)] == 1

    @cached_property
    def _with_one(self) -> dict[str, int]:
        """Of each folder, how many of its children hold one asset."""
        return {
            parent: sum(map(self._holds_one, children))
            for parent, children in self._children.items()
        }

    @cached_property
    def _series(self) -> Counter[tuple[str, str]]:
        """How many folders of a parent differ by their numbers alone."""
        return Counter(
            (parent, match_key(word))
            for parent, children in self._children.items()
            for child in children
            if (word := _uncounted(child.rpartition("/")[2])) is not None
        )

    @cached_property
    def _uncounted_labels(self) -> Counter[str]:
        """How many assets lie in folders of a name, their numbers left out."""
        counts: Counter[str] = Counter()
        for place in self._assets.values():
            words = (_uncounted(name) for _, _, name in _levels(place.folder))
            counts.update({match_key(word) for word in words if word is not None})
        return counts


@lru_cache(maxsize=2**16)
def _levels(folder: str) -> tuple[tuple[str, str, str], ...]:
    """Path, path of the parent and name of each folder of a path, the topmost first."""
    parts = folder.split("/") if folder else []
    paths = ["/".join(parts[: depth + 1]) for depth in range(len(parts))]
    return tuple(zip(paths, ["", *paths], parts, strict=False))


@lru_cache(maxsize=2**16)
def _uncounted(name: str) -> str | None:
    """A name without its counting number and what follows it: Bricks of Bricks001_2K-JPG."""
    tokens = list(_TOKENS.finditer(name))
    end = len(name)
    for token in reversed(tokens):
        if _meaning_of(match_key(token.group())) is not Meaning.STORAGE:
            break
        end = token.start()
    start = name[:end].rstrip(" _-.,(")
    counted = _COUNTED.fullmatch(start)
    word = counted["word"] if counted else start
    return word if word and word != name and any(one.isdigit() for one in name) else None


def _same(name: str, stem: str) -> bool:
    """Whether a folder has the name of its asset."""
    return not stem or _letters(name) == _letters(stem)


def _letters(name: str) -> str:
    return "".join(character for character in match_key(name) if character.isalnum())


@lru_cache(maxsize=2**14)
def _meaning_of(token: str) -> Meaning:
    """What one word of a folder name says."""
    if (token.isascii() and len(token) == 1) or _VERSION.fullmatch(token):
        return Meaning.STORAGE
    known = _words().get(token, _words().get(token.rstrip("0123456789")))
    if known is not None:
        return known
    entry = map_words().find(token)
    is_map = entry is not None and entry.strength is not Strength.DOUBTFUL
    return Meaning.STORAGE if is_map or RESOLUTION.fullmatch(token) else Meaning.MATERIAL


@cache
def _words() -> dict[str, Meaning]:
    """Read folder_words.toml, once in a process."""
    text = (files("vaeneer.data") / "folder_words.toml").read_text(encoding="utf-8")
    return {
        match_key(word): Meaning[section.upper()]
        for section, sorts in tomllib.loads(text).items()
        for listed in sorts.values()
        for word in listed.split()
    }
