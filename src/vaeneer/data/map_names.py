"""Everything that one file name may mean by itself: which asset, which map, which tile or copy.

`rusty_metal_ao.jpg` is the ambient occlusion of rusty_metal, or a packed map of rusty; only the
files beside it can say which (`naming`).
"""

from __future__ import annotations

import re
import tomllib
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass, replace
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
_TOKEN = re.compile(r"[^\W_]+")
_PIECE = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+|[^A-Za-z\d]+")
_MAX_SUFFIXES = 6
_SHORT = 3
_MAX_PIECES = 6
_LONGEST_WORD = 40
_MAX_TOKENS_AFTER = 4
_MAX_TOKENS_AFTER_AMID = 2


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


@dataclass(frozen=True, slots=True)
class Reading:
    """One meaning of a name."""

    stem: str
    """Name of the asset in its folder, as spelled; empty where the name is only map words."""

    kind: str = "color"
    word: str = ""
    """The map word in lower case without separators; empty in the reading as a plain name."""

    strength: Strength = Strength.SURE

    tile: str = ""
    copy: str = ""
    """Number, version or "copy" after the map word: perhaps another picture."""

    variant: bool = False
    """A colour variant: COL_VAR2, col_02."""

    sized: bool = False
    """A resolution stands right before the word: abcd_4K_Mask."""

    joined: bool = False
    """The word has no separator before it: the plain picture beside it proves nothing."""

    moved: bool = False
    """The word stands before or amid the name: normal_brick."""

    unclear: bool = False
    """A map only beside other kinds: a colour word with a number, several words in a row."""


@dataclass(frozen=True, slots=True)
class Readings:
    """The meanings of one name."""

    possible: tuple[Reading, ...]
    """As a map, the longest asset names first."""

    usual: Reading | None
    """Which of them holds where nothing stands beside the file."""

    plain: Reading
    """As the name of a picture."""

    letter: Reading | None = None
    """With its last letter as a map word; the kind is open."""


@dataclass(frozen=True, slots=True)
class _Token:
    text: str
    """Lower case."""
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class _Piece:
    """A part of a token: MetallicSmoothness has two."""

    text: str
    start: int
    token: int
    opens: bool
    """Whether it begins its token."""


@dataclass(frozen=True, slots=True)
class _Word:
    first: int
    """Its first piece."""
    text: str
    kind: str
    strength: Strength
    mixed: bool = False
    """Made of several words of the table."""


def read_name(stem: str) -> Readings:
    """All meanings of a file name without its suffix, in Unicode's composed form (NFC)."""
    return _Reader(unicodedata.normalize("NFC", stem)).readings()


class _Reader:
    """The tokens and pieces of one name."""

    def __init__(self, stem: str) -> None:
        self.stem = stem
        self.tokens = [_Token(m.group().lower(), m.start(), m.end()) for m in _TOKEN.finditer(stem)]
        self.table = map_words()

    def readings(self) -> Readings:
        plain = self._plain()
        if not self.tokens:
            return Readings((), None, plain)
        self.pieces = [
            _Piece(m.group().lower(), token.start + m.start(), index, m.start() == 0)
            for index, token in enumerate(self.tokens)
            for m in _PIECE.finditer(self.stem[token.start : token.end])
        ]
        possible: list[Reading] = []
        usual: Reading | None = None
        letter: Reading | None = None
        end = len(self.tokens)
        for end, after in self._ends():
            here = list(self._at(end, after))
            explicit = [reading for reading in here if not reading.joined]
            workflow = after[:1] == ("resolution",) and after[-1] == "workflow"
            if explicit and (usual is None or (workflow and usual.stem)):  # COL_4K_METALNESS
                usual = explicit[0]
            possible += here
            token = self.tokens[end - 1]
            if letter is None and not here and len(token.text) == 1 and token.text.isalpha():
                letter = self._reading(end - 1, _Word(0, token.text, "", Strength.SURE), after)
        if not possible:
            possible = [*self._glued(end), *self._amid(end)]
        possible.sort(key=lambda reading: -len(reading.stem))
        return Readings(tuple(possible), usual, plain, letter)

    def _plain(self) -> Reading:
        """Without resolution and format tokens at the end, where one is surely a resolution."""
        end = len(self.tokens)
        sized = False
        while end > 1:
            text = self.tokens[end - 1].text
            certain = CERTAIN_RESOLUTION.fullmatch(text) is not None
            if not certain and suffix_sort(text) != "format":
                break
            sized |= certain
            end -= 1
        return Reading(self.stem[: self.tokens[end - 1].end] if sized else self.stem)

    def _ends(self) -> Iterator[tuple[int, tuple[str, ...]]]:
        """Where a map word may end, in tokens, and what sorts of suffix follow it."""
        after: tuple[str, ...] = ()
        end = len(self.tokens)
        yield end, after
        while end > 1 and len(after) < _MAX_SUFFIXES:
            sort = suffix_sort(self.tokens[end - 1].text)
            if sort is None:
                return
            if (
                self.tokens[end - 1].text == "1024"
                and self.stem[self.tokens[end - 1].start - 1] == "."
            ):
                sort = "tile"
            after = (sort, *after)
            end -= 1
            yield end, after

    def _at(self, end: int, after: tuple[str, ...]) -> Iterator[Reading]:
        """Readings whose map word ends before the token `end`, explicit and long words first."""
        last = len(self.pieces) - 1
        while self.pieces[last].token >= end:
            last -= 1
        number = ""
        if self.pieces[last].text.isdigit() and not self.pieces[last].opens:
            number = self.pieces[last].text  # NRM16, col1
        words = list(self._words(last))
        if number and not words:
            words = list(self._words(last - 1))
        else:
            number = ""
        words += [mixed for word in words for mixed in self._mixed(word, [word], 3)]
        for word in words:
            yield self._reading(end, word, after, number)

    def _words(self, last: int) -> Iterator[_Word]:
        """Words of the table that end with a piece, long ones first."""
        words: list[_Word] = []
        text = ""
        for first in range(last, max(-1, last - _MAX_PIECES), -1):
            text = self.pieces[first].text + text
            if len(text) > _LONGEST_WORD:
                break
            entry = self.table.find(text)
            if entry is not None and (len(text) > _SHORT or self._whole(first, last)):
                words.append(_Word(first, text, entry.kind, entry.strength))
        yield from reversed(words)

    def _whole(self, first: int, last: int) -> bool:
        """Whether pieces are of one token, or of several joined by hyphens: B-O, but not R_M."""
        ends = self.pieces[first].token, self.pieces[last].token
        return all(self.stem[self.tokens[i].end] == "-" for i in range(*ends))

    def _mixed(self, word: _Word, words: list[_Word], depth: int) -> Iterator[_Word]:
        """Words of several channels: rough_ao, MetallicSmoothness, AlbedoTransparency."""
        if depth == 0 or word.first == 0:
            return
        for before in self._words(word.first - 1):
            chain = [before, *words]
            kind = _mixed_kind([one.kind for one in chain])
            if kind is not None:
                sure = any(one.strength is not Strength.DOUBTFUL for one in chain)
                strength = Strength.BESIDE if sure else Strength.DOUBTFUL
                yield _Word(before.first, "".join(one.text for one in chain), kind, strength, True)
            yield from self._mixed(before, chain, depth - 1)

    def _reading(self, end: int, word: _Word, after: tuple[str, ...], number: str = "") -> Reading:
        piece = self.pieces[word.first] if word.kind else None
        opens = piece is None or piece.opens
        first = piece.token if piece is not None else end
        skipped = 0
        while opens and first - skipped > 0 and _may_precede(self.tokens[first - skipped - 1].text):
            skipped += 1
        if not opens:
            assert piece is not None
            stem = self.stem[: piece.start]
        else:
            count = first - skipped
            stem = self.stem[: self.tokens[count - 1].end] if count else ""
        tail = self.tokens[len(self.tokens) - len(after) :]
        numbers = [
            t.text for t, sort in zip(tail, after, strict=True) if sort in ("number", "copy")
        ]
        tiles = [t.text for t, sort in zip(tail, after, strict=True) if sort == "tile"]
        if all(tile.startswith("v") for tile in tiles):  # a version: without u1 it is no tile
            numbers, tiles = [*numbers, *tiles], []
        colour_number = word.kind == "color" and bool(number or "number" in after)
        haven = word.text in ("col", "coll")
        strength = word.strength if opens else max(Strength.BESIDE, word.strength)
        return Reading(
            stem=stem,
            kind=word.kind,
            word=word.text,
            strength=strength,
            tile="_".join(tiles),
            copy="" if colour_number and haven else " ".join(numbers),
            variant="variant" in after or (colour_number and (haven or bool(number))),
            sized=skipped > 0
            and any(
                CERTAIN_RESOLUTION.fullmatch(self.tokens[first - 1 - i].text)
                for i in range(skipped)
            ),
            joined=not opens,
            unclear=(colour_number and not haven) or (word.mixed and first != end - 1),
        )

    def _glued(self, end: int) -> Iterator[Reading]:
        """A long word at the end of a token in one case: woodnormal."""
        token = self.tokens[end - 1]
        match = self.table.glued.fullmatch(token.text)
        if match is not None:
            word = match.group(2)
            stem = self.stem[: token.end - len(word)]
            kind = self.table.words[word].kind
            yield Reading(stem, kind, word, Strength.BESIDE, joined=True, unclear=True)

    def _amid(self, end: int) -> Iterator[Reading]:
        """A word with other words after it: normal_brick, Color_Light."""
        for last in range(end - 2, max(-1, end - 2 - _MAX_TOKENS_AFTER), -1):
            token = self.tokens[last]
            entry = self.table.find(token.text)
            if entry is None or entry.strength is Strength.DOUBTFUL:
                continue
            if last > 0 and end - 1 - last > _MAX_TOKENS_AFTER_AMID:
                return
            first = next(i for i, piece in enumerate(self.pieces) if piece.token == last)
            word = _Word(first, token.text, entry.kind, entry.strength)
            reading = self._reading(last + 1, word, ())
            rest = self.stem[token.end : self.tokens[end - 1].end]
            whole = reading.stem + rest if reading.stem else rest.lstrip("_-. ")
            sure = entry.strength is Strength.SURE
            if sure:
                yield replace(reading, stem=whole, moved=True)
            if reading.stem:
                weaker = Strength.BESIDE if sure else Strength.DOUBTFUL
                yield replace(reading, strength=weaker, variant=True)
            return


def _may_precede(token: str) -> bool:
    """Whether a token before a map word is of the file and not of its asset: 4k, jpg, 16bit."""
    sort = suffix_sort(token)
    return sort in ("resolution", "format") or (sort == "bits" and token[0].isdigit())


def _mixed_kind(kinds: list[str]) -> str | None:
    first, rest = kinds[0], kinds[1:]
    channels = map_words().channels
    if not channels.issuperset(rest):
        return None
    if first in ("color", "normal"):
        return first
    return "packed" if first in channels and len(set(kinds)) == len(kinds) else None
