"""What a file name says: which asset, and which map of it.

By the habits of Quixel Megascans (`abcd_4K_Albedo.jpg`), Poly Haven (`brick_wall_001_diff_2k.jpg`),
ambientCG (`Bricks001_2K-JPG_Color.jpg`) and their neighbours. A map word counts only at the end of
the name, before optional resolution and format tokens: `rough_concrete_01.jpg` is a colour image.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import PurePosixPath

_WORDS = {
    "color": "color colour col albedo alb diffuse diff dif basecolor basecolour",
    "normal": "normal normals nor nrm norm norgl nordx normalgl normaldx normalogl normalopengl"
    " normaldirectx",
    "displacement": "displacement disp displace height",
    "roughness": "roughness rough rgh",
    "ao": "ao ambientocclusion occlusion occ",
    "cavity": "cavity",
    "specular": "specular spec specularity reflection refl",
    "gloss": "gloss glossiness glossy smoothness",
    "bump": "bump",
    "opacity": "opacity alpha transparency",
    "translucency": "translucency translucent transmission sss subsurface",
    "metalness": "metalness metallic metallness metal",
    "fuzz": "fuzz",
    "mask": "mask",
    "packed": "arm orm rma mra ord",
    "emission": "emission emissive",
    "curvature": "curvature",
    "thickness": "thickness",
    "preview": "preview thumb thumbnail",
}
_KINDS = {word: kind for kind, words in _WORDS.items() for word in words.split()}
# Words that also end the names of plain pictures (rusty_metal.jpg): maps only beside other maps.
_DOUBTFUL = frozenset({"rough", "metal", "metallic", "glossy", "translucent", "preview", "thumb"})
_LETTERS = {"d": "color", "n": "normal", "s": "specular", "r": "roughness", "h": "displacement"}
_RESOLUTION = re.compile(r"\d{1,2}k|\d{3,5}x\d{3,5}|\d{3,5}px", re.IGNORECASE)
_PIXELS = frozenset({"256", "512", "1024", "2048", "4096", "8192"})
_FORMAT = re.compile(r"jpe?g|png|exr|tiff?|tga|bmp|webp|lod\d", re.IGNORECASE)


@dataclass(frozen=True)
class FileName:
    """What the name of one file says about it."""

    asset: str
    """Asset key: posix folder + '/' + name without map, resolution and format tokens."""

    kind: str
    """Map kind: color, normal, displacement, roughness, ao, ..., preview; color without a word."""

    word: str
    """The map word in lower case (diff, albedo, norgl); empty where there is none."""


def name_parts(relative_path: PurePosixPath) -> tuple[str, str]:
    """The asset key and the map kind that one file name means by itself.

    The key does not depend on other files, so it stays when files are added. A file that is only
    a map word (`folder/diffuse.png`) takes its folder for its name.
    """
    parsed = _parse(relative_path)
    return parsed.asset, parsed.kind


def group_names(paths: Iterable[PurePosixPath]) -> dict[PurePosixPath, FileName]:
    """What each name means among the others.

    Beside other maps of its asset a doubtful word (`_rough`, `_metal`, `_preview`) is a map and
    alone it is part of a plain name; `_d` and `_n` are maps where both, or one and another map,
    stand beside each other. A picture without a map word is a preview beside a true colour map.
    """
    files = list(paths)
    certain = {path: _parse(path, letters=True) for path in files}
    words: dict[str, set[str]] = defaultdict(set)
    for parsed in certain.values():
        words[parsed.asset].add(parsed.word)
    parsed_files = {p: _settle(p, name, words[name.asset]) for p, name in certain.items()}
    explicit = {name.asset for name in parsed_files.values() if name.word and name.kind == "color"}
    return {
        path: FileName(name.asset, "preview", "")
        if not name.word and name.asset in explicit
        else name
        for path, name in parsed_files.items()
    }


def _settle(path: PurePosixPath, name: FileName, words: set[str]) -> FileName:
    """Keep a doubtful or one-letter map word only where the other words of the asset prove it."""
    if name.word in _KINDS and name.word not in _DOUBTFUL:
        return name
    others = words - {name.word, ""}
    if name.word in _DOUBTFUL:
        proven = any(word in _KINDS for word in others)
        return name if proven else _parse(path, doubtful=False)
    if name.word in _LETTERS:
        maps = {_KINDS.get(word) or _LETTERS.get(word) for word in others | {name.word}}
        variants = {word for word in words if len(word) == 1} - set(_LETTERS)  # wall_a, wall_b
        proven = {"color", "normal"} <= maps and not variants
        return name if proven else _parse(path)
    return name if name.word == "" else _parse(path)


def _parse(path: PurePosixPath, *, doubtful: bool = True, letters: bool = False) -> FileName:
    """Read a name from its end. With `letters`, any single last letter counts as a word."""
    tokens = _tokens(path.stem)
    end = _skip_suffix(tokens, len(tokens))
    start, word = _map_word(tokens, end, letters=letters)
    if word in _DOUBTFUL and not doubtful:
        start, word = end, ""
    folder = path.parent.as_posix()
    if word:
        start = _skip_suffix(tokens, start, pixels=True)
        if start == 0:  # nothing but map words: the folder is the asset
            return FileName("(root)" if folder == "." else folder, _kind(word), word)
        stem = path.stem[: tokens[start - 1].end]
    else:
        bare = any(_RESOLUTION.fullmatch(token.text) for token in tokens[end:])
        stem = path.stem[: tokens[end - 1].end] if bare and end else path.stem
    return FileName(stem if folder == "." else f"{folder}/{stem}", _kind(word), word)


@dataclass(frozen=True)
class _Token:
    text: str
    end: int


def _tokens(stem: str) -> list[_Token]:
    found = re.finditer(r"[^_\-. ]+", stem)
    return [_Token(match.group(), match.end()) for match in found]


def _kind(word: str) -> str:
    return _KINDS.get(word) or _LETTERS.get(word) or "color"


def _skip_suffix(tokens: list[_Token], end: int, *, pixels: bool = False) -> int:
    """The end of the name without its resolution and format tokens."""
    while end > 0:
        text = tokens[end - 1].text
        known = _RESOLUTION.fullmatch(text) or _FORMAT.fullmatch(text)
        if not known and not (pixels and text in _PIXELS):
            break
        end -= 1
    return end


def _map_word(tokens: list[_Token], end: int, *, letters: bool) -> tuple[int, str]:
    """Where the map word before `end` starts, and the word; (end, '') without one."""
    if end and tokens[end - 1].text in _PIXELS:  # albedo_2048, but not brick_2048
        start, word = _map_word(tokens, end - 1, letters=False)
        return (start, word) if word else (end, "")
    if end >= 2 and tokens[end - 2].text.lower() == "col" and tokens[end - 1].text.isdigit():
        return end - 2, "col"  # Poly Haven's colour variants: name_col_01_2k
    for count in (3, 2, 1):  # ambient_occlusion, base_color, normal_map, nor_gl
        if end >= count:
            joined = "".join(token.text for token in tokens[end - count : end]).lower()
            word = joined.removesuffix("map") if joined != "map" else joined
            if word in _KINDS:
                return end - count, word
    if letters and end and len(tokens[end - 1].text) == 1 and tokens[end - 1].text.isalpha():
        return end - 1, tokens[end - 1].text.lower()
    return end, ""
