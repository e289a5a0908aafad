"""The table of map words, map_words.toml, as lookups: words, letters and harmless suffixes."""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass
from enum import IntEnum
from functools import cache, lru_cache
from importlib.resources import files

RESOLUTION = re.compile(r"\d{1,2}k|\d{3,5}x\d{3,5}|\d{3,5}px|256|512|1024|2048|4096|8192")
CERTAIN_RESOLUTION = re.compile(r"\d{1,2}k|\d{3,5}x\d{3,5}|\d{3,5}px")
"""What is a resolution also without a map word before it: brick_4k, but not brick_2048."""

_NUMBER = re.compile(r"\d{1,3}")
_VERSION = re.compile(r"v\d{1,3}|ver\d{1,3}|rev\d{1,3}")
_LEVEL = re.compile(r"lod\d")
_TILE = re.compile(r"1[0-9]{3}(?<!1000)|u\d{1,2}_?v\d{1,2}")
_TILE_PART = re.compile(r"[uv]\d{1,2}")
_SHORTEST_GLUED = 6
_ENDINGS = ("textures", "texture", "maps", "map", "tex")


class Strength(IntEnum):
    """How much a word proves; see map_words.toml."""

    SURE = 1
    BESIDE = 2
    DOUBTFUL = 3


@dataclass(frozen=True)
class MapWord:
    """A word of the table."""

    kind: str
    strength: Strength


@dataclass(frozen=True)
class MapWords:
    """The whole table."""

    words: dict[str, MapWord]

    letters: dict[str, tuple[str, ...]]
    """Letter -> its kinds, the first where the asset lacks it."""

    suffixes: dict[str, str]
    """Token -> what it is: format, bits, tiling, copy, workflow, ..."""

    channels: frozenset[str]
    """Kinds that a channel of a packed map, or the alpha of another map, may hold."""

    glued: re.Pattern[str]
    """A token that ends with a long word that is no doubtful one: woodnormal."""

    def find(self, text: str) -> MapWord | None:
        """The word that `text` (lower case, without separators) is, with or without "map"."""
        word = self.words.get(text)
        if word is None and text.endswith(_ENDINGS):
            for ending in _ENDINGS:
                if text.endswith(ending):
                    return self.words.get(text.removesuffix(ending))
        return word


@lru_cache(maxsize=2**14)
def suffix_sort(token: str) -> str | None:
    """What a token (lower case) after a map word is; None where it may mean something."""
    suffixes = map_words().suffixes
    sort = suffixes.get(token)
    if sort is not None:
        return sort
    if not any(character.isdigit() for character in token):
        return None
    if RESOLUTION.fullmatch(token):
        return "resolution"
    if _TILE.fullmatch(token) or _TILE_PART.fullmatch(token):
        return "tile"
    if _NUMBER.fullmatch(token) or _VERSION.fullmatch(token):
        return "number"
    if _LEVEL.fullmatch(token):
        return "format"
    return "variant" if suffixes.get(token.rstrip("0123456789")) == "variant" else None


@cache
def map_words() -> MapWords:
    """Read the table, once in a process."""
    text = (files("vaeneer.data") / "map_words.toml").read_text(encoding="utf-8")
    table = tomllib.loads(text)
    words = {
        word: MapWord(kind, Strength[strength.upper()])
        for kind, by_strength in table["kinds"].items()
        for strength, listed in by_strength.items()
        for word in listed.split()
    }
    long = [
        word
        for word, entry in words.items()
        if len(word) >= _SHORTEST_GLUED and entry.strength is not Strength.DOUBTFUL
    ]
    return MapWords(
        words=words,
        letters={letter: tuple(kinds.split()) for letter, kinds in table["letters"].items()},
        suffixes={w: sort for sort, listed in table["suffixes"].items() for w in listed.split()},
        channels=frozenset(table["channels"].split()),
        glued=re.compile(f"(.+?)({'|'.join(sorted(long, key=len, reverse=True))})"),
    )
