"""What a file name says among its neighbours: which asset, and which map, tile or copy of it.

The words are those of map_words.toml, by the habits of Quixel, Poliigon, Poly Haven, ambientCG and
the engines. A word that also ends plain names is a map word only beside other maps.
"""

from __future__ import annotations

import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import PurePosixPath

from vaeneer.data.map_names import Reading, Readings, Strength, map_words, read_name

_Key = tuple[str, str]
"""Folder, and name without regard to case."""

_PLAIN = "plain"
_SHORT_WORD = 3
_PICTURES = frozenset({"color", "preview"})
_TILED = re.compile(r"(.+?)([._\- ])(\d{3,4}|[uU]\d{1,2}_?[vV]\d{1,2})")
_UDIM = re.compile(r"1\d{3}(?<!1000)")
_FIRST_TILE = "1001"
_MAX_TILES = 200
_CAMERAS = re.compile(
    r"(.*[^A-Za-z])?(c?img|imgp|mg|dsc|dscn|dscf|dji|gopr|mvi|pict?|photo|foto|scan|p|pxl|sam)|\d{3}",
    re.I,
)


@dataclass(frozen=True)
class FileName:
    """What the name of one file says about it."""

    asset: str
    """Asset key: posix folder + '/' + name without map, resolution and format tokens, in NFC."""

    kind: str
    """Map kind: color, normal, displacement, roughness, ao, ..., preview; color without a word."""

    word: str
    """The map word in lower case (diff, albedo, norgl); empty where there is none."""

    tile: str = ""
    """UDIM tile (1001) or its like (u1_v1); empty without one."""

    copy: str = ""
    """Number, version or "copy" after the map word: perhaps another picture of the asset."""

    variant: bool = False
    """Whether another colour map represents it: COL_VAR2 beside COL_VAR1 and a normal map."""

    @property
    def is_item(self) -> bool:
        """Whether the file is a colour map, which libraries and measurements take by default."""
        return self.kind == "color" and not self.variant


def name_parts(relative_path: PurePosixPath) -> tuple[str, str]:
    """The asset key and the map kind that one file name means by itself.

    The key does not depend on other files. A file that is only a map word (`folder/diffuse.png`)
    takes its folder for its name.
    """
    readings = read_name(relative_path.stem)
    reading = readings.usual or readings.plain
    return _asset(_folder(relative_path), reading.stem), reading.kind


def group_names(paths: Iterable[PurePosixPath]) -> dict[PurePosixPath, FileName]:
    """What each name means among the others.

    Of all meanings of a name the one holds whose asset has other maps. A doubtful word (`_rough`,
    `_mask`) alone is part of a plain name, and so is a letter (`_d`, `_n`) outside of a set.
    A picture without a map word is a preview beside a colour map.
    """
    names = [_Name(path, _folder(path), read_name(path.stem)) for path in paths]
    _choose(names)
    _read_letters(names)
    _read_tiles(names)
    _join_folders(names)
    _join_map_folders(names)
    _name_previews(names)
    spelled = _spellings(names)
    followers = _colour_variants(names)
    return {name.path: _file_name(name, spelled, followers) for name in names}


@dataclass(slots=True)
class _Name:
    """A file with its meanings and the one that was chosen."""

    path: PurePosixPath
    folder: str
    readings: Readings
    chosen: Reading = field(init=False)
    key: _Key = field(init=False)

    def choose(self, reading: Reading) -> None:
        self.chosen = reading
        self.key = _key(self.folder, reading.stem)


class _Kinds:
    """Kinds by asset key, of files that can be left out: a file is no evidence for itself."""

    def __init__(self) -> None:
        self._owners: dict[_Key, dict[str, _Name | None]] = defaultdict(dict)

    def add(self, key: _Key, kind: str, name: _Name) -> None:
        owners = self._owners[key]
        if owners.setdefault(kind, name) is not name:
            owners[kind] = None  # several

    def beside(self, key: _Key, name: _Name) -> set[str]:
        """What files other than `name` have."""
        return {kind for kind, owner in self._owners.get(key, {}).items() if owner is not name}


class _Evidence:
    """Which kinds stand beside each other, by asset key."""

    def __init__(self, readings: Iterable[tuple[_Name, Reading]]) -> None:
        self.kinds, self.sure, self.moved, self.beside = _Kinds(), _Kinds(), _Kinds(), _Kinds()
        for name, reading in readings:
            key = _key(name.folder, reading.stem)
            if not reading.word:
                self.beside.add(key, _PLAIN, name)
            elif reading.moved:
                self.moved.add(key, reading.kind, name)
            else:
                self.kinds.add(key, reading.kind, name)
                if reading.strength is not Strength.DOUBTFUL:
                    self.beside.add(key, reading.kind, name)
                if reading.strength is Strength.SURE:
                    self.sure.add(key, reading.kind, name)

    def proves(self, name: _Name, reading: Reading) -> bool:
        """Whether the word of a reading is a map word beside what else the asset has."""
        key = _key(name.folder, reading.stem)
        beside, sure = self.beside.beside(key, name), self.sure.beside(key, name)
        others = beside - {reading.kind, _PLAIN}
        if reading.moved:
            kinds = self.moved.beside(key, name) | (beside - {_PLAIN}) | {reading.kind}
            return "color" in kinds and len(kinds) > 1
        if reading.unclear:
            return bool(others)
        if reading.kind == "color":
            if reading.strength is Strength.SURE:
                bare = reading.word in ("color", "colour") and _PLAIN in beside
                return bool(others) or reading.sized or not bare
            return bool(others)
        if reading.strength is Strength.SURE or (reading.sized and not reading.joined):
            return True
        if reading.strength is Strength.BESIDE:
            return bool(others) or _PLAIN in beside or reading.kind in sure
        return bool(sure) or (len(others) > 0 and len(beside) > 1)

    def supports(self, name: _Name, reading: Reading) -> bool:
        """Whether any other file speaks for the asset of a reading."""
        key = _key(name.folder, reading.stem)
        plain = _PLAIN in self.beside.beside(key, name) and not reading.unclear
        kinds = self.kinds.beside(key, name) | self.moved.beside(key, name)
        return plain or len(kinds | {reading.kind}) > 1


def _choose(names: Sequence[_Name]) -> None:
    """Choose a meaning for each name: first beside all meanings, then beside the chosen ones."""
    evidence = _Evidence(
        (name, reading)
        for name in names
        for reading in (*name.readings.possible, name.readings.plain)
    )
    for name in names:
        name.choose(_best(name, evidence))
    evidence = _Evidence((name, name.chosen) for name in names)
    for name in names:
        if name.readings.possible:
            name.choose(_best(name, evidence))


def _best(name: _Name, evidence: _Evidence) -> Reading:
    """The proven meaning with other maps beside it, longest asset name first; else the usual."""
    readings = name.readings
    proven = [reading for reading in readings.possible if evidence.proves(name, reading)]
    for reading in proven:
        if evidence.supports(name, reading):
            return reading
    if readings.usual in proven:
        return readings.usual
    return proven[0] if proven else readings.plain


def _read_letters(names: Sequence[_Name]) -> None:
    """Take single last letters for map words where they and the words of the asset are a set."""
    lettered: dict[_Key, list[_Name]] = defaultdict(list)
    for name in names:
        letter = name.readings.letter
        if letter is not None and not name.chosen.word:
            lettered[_key(name.folder, letter.stem)].append(name)
    if not lettered:
        return
    _read_short_colours(names, lettered)
    worded: dict[_Key, set[str]] = defaultdict(set)
    for name in names:
        if name.key in lettered:
            worded[name.key].add(name.chosen.kind if name.chosen.word else _PLAIN)
    for key, members in lettered.items():
        letters = {n.readings.letter.word for n in members if n.readings.letter is not None}
        kinds = _letter_kinds(letters, worded[key])
        for name in members if kinds else ():
            letter = name.readings.letter
            assert letter is not None
            name.choose(replace(letter, kind=kinds[letter.word]))


def _read_short_colours(names: Sequence[_Name], lettered: Mapping[_Key, Sequence[_Name]]) -> None:
    """Take short words for colour maps beside the letter of a normal map: Brick_BC, Brick_N."""
    for name in names:
        for reading in () if name.chosen.word else name.readings.possible:
            beside = lettered.get(_key(name.folder, reading.stem), ())
            letters = {one.readings.letter.word for one in beside if one.readings.letter}
            if reading.kind == "color" and len(reading.word) <= _SHORT_WORD and "n" in letters:
                name.choose(reading)
                break


def _letter_kinds(letters: set[str], worded: set[str]) -> dict[str, str]:
    """Letter -> kind for the letters of one asset; empty where they are no set of maps."""
    table = map_words().letters
    if letters - set(table):  # wall_x, wall_y: variants
        return {}
    kinds: dict[str, str] = {}
    has_colour = "color" in worded
    for letter in sorted(letters, key=list(table).index):  # d before a, c and b
        options = table[letter]
        takes = options[0] if options[0] != "color" or not has_colour else options[-1]
        has_colour |= takes == "color"
        kinds[letter] = takes
    every = set(kinds.values()) | worded
    if not has_colour:
        compass = "e" in letters and "s" not in letters  # north, east
        return kinds if _PLAIN in worded and "normal" in every and not compass else {}
    sure = "normal" in every or worded - {"color", _PLAIN}
    return kinds if sure and len(every - {_PLAIN}) > 1 else {}


def _read_tiles(names: Sequence[_Name]) -> None:
    """Take UDIM numbers out of asset names: wall.1001 and wall.1002, Mat_1001_BaseColor."""
    series: dict[_Key, list[tuple[_Name, str]]] = defaultdict(list)
    for name in names:
        match = _TILED.fullmatch(name.chosen.stem)
        if match and not name.chosen.tile:
            series[_key(name.folder, match.group(1))].append((name, match.group(3).lower()))
    worded = {name.key for name in names if name.chosen.word and name.chosen.tile}
    for key, members in series.items():
        tiles = {tile for _, tile in members}
        numbers = {tile for tile in tiles if tile.isdigit()}
        if not all(_UDIM.fullmatch(number) for number in numbers):
            continue  # numbered pictures: tile_0999, tile_1000, tile_1001
        camera = _CAMERAS.fullmatch(key[1]) and not any(name.chosen.word for name, _ in members)
        begins = _FIRST_TILE in numbers or not numbers
        if key in worded or (begins and not camera and 1 < len(tiles) <= _MAX_TILES):
            for name, tile in members:
                name.choose(
                    replace(name.chosen, stem=name.chosen.stem[: -len(tile) - 1], tile=tile)
                )


def _join_folders(names: Sequence[_Name]) -> None:
    """Join maps that are named by map words alone with the one asset of their folder.

    oak/oak.jpg beside oak/normal.jpg and oak/roughness.jpg, where one side has the colour map; and
    Sand/Dry_Sand_Preview.png beside Sand/8K_Albedo.jpg.
    """
    bare = {name.folder for name in names if not name.chosen.stem}
    in_folder: dict[str, list[_Name]] = defaultdict(list)
    for name in names if bare else ():
        if name.folder in bare:
            in_folder[name.folder].append(name)
    for members in in_folder.values():
        previews = [name for name in members if name.chosen.stem and _says_preview(name)]
        others = [name for name in members if name.chosen.stem and name not in previews]
        words = [name for name in members if not name.chosen.stem]
        if len({name.key for name in others}) == 1:
            colours = [any(n.chosen.kind == "color" for n in side) for side in (others, words)]
            if sum(colours) == 1:
                stem = min(name.chosen.stem for name in others) if colours[0] else ""
                for name in members:
                    name.choose(replace(name.chosen, stem=stem))
        elif not others and any(name.chosen.kind == "color" for name in words):
            for name in previews:
                name.choose(replace(name.chosen, stem="", kind="preview", word="preview"))


def _join_map_folders(names: Sequence[_Name]) -> None:
    """Join the maps of assets whose folders are named by map words: albedo/oak.jpg, normal/oak.jpg.

    Only where one lies in a folder of colour maps and one in a folder of surely other ones.
    """
    of_folder = {folder: _map_folder(folder) for folder in {name.folder for name in names}}
    joined: dict[_Key, list[tuple[_Name, Reading]]] = defaultdict(list)
    for name in names:
        found = of_folder[name.folder]
        if found is not None and (not name.chosen.word or name.chosen.kind == found[1].kind):
            joined[_key(found[0], name.chosen.stem)].append((name, found[1]))
    for (folder, _), members in joined.items():
        sure = {r.kind for _, r in members if r.strength is not Strength.DOUBTFUL}
        if "color" in sure and not sure <= _PICTURES:
            for name, reading in members:
                name.folder = folder
                word = name.chosen.word or reading.word
                name.choose(replace(name.chosen, kind=reading.kind, word=word))


def _map_folder(folder: str) -> tuple[str, Reading] | None:
    """A folder without the part that is a map word, and that word: x/albedo/y is x/y, albedo."""
    parts = folder.split("/")
    worded = [
        (reading.strength is not Strength.DOUBTFUL, place, reading)
        for place, part in enumerate(parts)
        for reading in read_name(part).possible
        if not reading.stem
    ]
    if not worded:
        return None
    _, place, reading = max(worded, key=lambda one: one[:2])
    return "/".join([*parts[:place], *parts[place + 1 :]]), reading


def _says_preview(name: _Name) -> bool:
    usual = name.readings.usual
    return usual is not None and usual.kind == "preview"


def _name_previews(names: Sequence[_Name]) -> None:
    explicit = {name.key for name in names if name.chosen.word and name.chosen.kind == "color"}
    for name in names:
        if not name.chosen.word and name.key in explicit:
            name.choose(replace(name.chosen, kind="preview"))


def _spellings(names: Sequence[_Name]) -> dict[_Key, str]:
    """How the assets with maps are spelled: as their first colour map, else their first file."""
    worded = {name.key for name in names if name.chosen.word or name.chosen.tile}
    first: dict[_Key, tuple[bool, str, str]] = {}
    for name in names:
        if name.key in worded:
            rank = (name.chosen.kind != "color", str(name.path), name.chosen.stem)
            if name.key not in first or rank < first[name.key]:
                first[name.key] = rank
    return {key: stem for key, (_, _, stem) in first.items()}


def _colour_variants(names: Sequence[_Name]) -> set[PurePosixPath]:
    """Colour variants of assets with other maps, without the first of each asset and tile."""
    varied = {name.key for name in names if name.chosen.variant and name.chosen.kind == "color"}
    mapped = {n.key for n in names if n.key in varied and n.chosen.kind not in _PICTURES}
    colours: dict[tuple[_Key, str], list[_Name]] = defaultdict(list)
    for name in names:
        if name.key in mapped and name.chosen.kind == "color":
            colours[name.key, name.chosen.tile].append(name)
    followers: set[PurePosixPath] = set()
    for members in colours.values():
        first = min(members, key=lambda name: (name.chosen.variant, str(name.path)))
        followers |= {n.path for n in members if n.chosen.variant and n is not first}
    return followers


def _file_name(name: _Name, spelled: Mapping[_Key, str], followers: set[PurePosixPath]) -> FileName:
    chosen = name.chosen
    return FileName(
        asset=_asset(name.folder, spelled.get(name.key, chosen.stem)),
        kind=chosen.kind,
        word=chosen.word,
        tile=chosen.tile,
        copy=chosen.copy,
        variant=name.path in followers,
    )


def _folder(path: PurePosixPath) -> str:
    folder = path.parent.as_posix()
    return "" if folder == "." else unicodedata.normalize("NFC", folder)


def _key(folder: str, stem: str) -> _Key:
    return folder, stem.casefold()


def _asset(folder: str, stem: str) -> str:
    if not stem:  # nothing but map words: the folder is the asset
        return folder or "(root)"
    return f"{folder}/{stem}" if folder else stem
