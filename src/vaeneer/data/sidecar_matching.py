"""Which side-car belongs to which asset, and what becomes of JSON that belongs to none.

Names are compared in NFC and without case: what was written in NFD on one system is the same
file on another.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from unicodedata import normalize

from vaeneer.data.filenames import name_parts
from vaeneer.data.image_formats import IMAGE_SUFFIXES
from vaeneer.data.sidecars import NOT_A_SIDECAR, Sidecar, merged, read_sidecar
from vaeneer.text import match_key, printable

NO_IMAGE, NOT_UNDERSTOOD = "side-car of no image", "side-car not understood"
_TAKEOUT = "supplemental-metadata"
_SHORTEST_CUT = 40  # characters of a name that Takeout has cut off
_SHORTEST_ID = 5  # of an id that is a part of a name
_SHOWN = 3
_WORD_AT_END = re.compile(r"(.+?)[ _.-](info|meta|metadata|asset|data|tags)", re.IGNORECASE)


@dataclass(frozen=True)
class Sidecars:
    """The side-cars of a folder, matched."""

    of_asset: dict[str, Sidecar]
    """Asset key -> what its side-cars say."""

    unread: tuple[tuple[str, str], ...]
    """(path, reason) of each JSON file of which nothing is used."""

    warnings: tuple[str, ...]
    """Sentences for the user: each file of a kind, or their number where they are many."""

    def counts(self) -> dict[str, int]:
        """Reason -> number of JSON files of which nothing is used."""
        return dict(sorted(Counter(_kind(reason) for _, reason in self.unread).items()))


def read_sidecars(raw: Path, paths: Iterable[PurePosixPath], images: Mapping[str, str]) -> Sidecars:
    """Read all JSON files of a folder and match them. `images`: path of each image -> asset."""
    return match_sidecars([read_sidecar(raw, path) for path in paths], images)


def match_sidecars(files: Iterable[Sequence[Sidecar]], images: Mapping[str, str]) -> Sidecars:
    """Match the entries of each file with assets: by file name, by name, by id, or alone.

    images: path of each image below the raw folder -> asset key.
    """
    files = list(files)
    index = _Index(images if files else {})
    ranked_of: dict[str, list[tuple[int, Sidecar]]] = defaultdict(list)
    unread: list[tuple[str, str]] = []
    lonely: dict[PurePosixPath, list[Sidecar]] = defaultdict(list)
    for entries in files:
        matches = [match for entry in entries for match in _matches(index, entry, len(entries))]
        for asset, rank, entry in matches:
            ranked_of[asset].append((rank, entry))
        broken = entries[0].warning
        if broken is not None:
            unread.append((str(entries[0].path), _reason(broken, matched=bool(matches))))
        elif not matches and len(entries) == 1 and (entries[0].tags or entries[0].categories):
            lonely[_folder(entries[0])].append(entries[0])
        elif not matches:
            unread.append((str(entries[0].path), _unmatched(entries)))
    for folder, alone in lonely.items():
        assets = index.assets_below(folder)
        if len(alone) == 1 and len(assets) == 1:
            ranked_of[assets[0]].append((9, alone[0]))
        else:
            unread += [(str(entry.path), _unmatched([entry])) for entry in alone]
    best = {
        asset: merged(entry for _, entry in sorted(ranked, key=partial(_order, asset)))
        for asset, ranked in ranked_of.items()
    }
    return Sidecars(best, tuple(sorted(unread)), tuple(_warnings(unread)))


class _Index:
    """Assets by all that a side-car may say of them."""

    def __init__(self, images: Mapping[str, str]) -> None:
        self.by_path: dict[str, set[str]] = defaultdict(set)
        self.by_stem: dict[str, set[str]] = defaultdict(set)
        self.by_file: dict[str, set[str]] = defaultdict(set)
        self.by_name: dict[str, set[str]] = defaultdict(set)
        self.by_token: dict[str, set[str]] = defaultdict(set)
        self.names_in: dict[str, list[str]] = defaultdict(list)
        self._below: dict[PurePosixPath, set[str]] = defaultdict(set)
        around: dict[str, list[PurePosixPath]] = {}
        for path, asset in images.items():
            key = match_key(path)
            folder, _, name = key.rpartition("/")
            start, _, ending = name.rpartition(".")
            folder = folder or "."
            self.by_path[key].add(asset)
            self.by_stem[key.removesuffix(f".{ending}") if start and ending else key].add(asset)
            self.by_file[name].add(asset)
            self.names_in[folder].append(name)
            if folder not in around:
                around[folder] = [PurePosixPath(folder), *PurePosixPath(folder).parents]
            for above in around[folder]:
                if len(self._below[above]) < 2:
                    self._below[above].add(asset)
        for asset in set(images.values()):
            key = match_key(asset)
            name = key.rpartition("/")[2]
            tokens = re.split(r"[_\-. ]+", name)
            self.by_stem[key].add(asset)
            self.by_name[_letters(name)].add(asset)
            for token in {tokens[0], tokens[-1]}:
                self.by_token[token].add(asset)

    def assets_below(self, folder: PurePosixPath) -> list[str]:
        """The asset of a folder and all below it; two at most."""
        return sorted(self._below.get(folder, ()))

    def related(self, folder: PurePosixPath, assets: Iterable[str]) -> set[str]:
        """Assets above or below a folder; all of them for a folder that holds no image itself.

        So wood/01.json says nothing about stone/01.jpg, and meta/01.json does.
        """
        if not self._below.get(folder):
            return set(assets)
        around = {folder, *folder.parents}
        return {
            asset
            for asset in assets
            if (home := PurePosixPath(match_key(asset)).parent) in around or folder in home.parents
        }

    def cut_off(self, folder: str, start: str) -> set[str]:
        """The asset whose file name starts like this, where there is one such file."""
        names = [name for name in self.names_in.get(folder, ()) if name.startswith(start)]
        return self.by_path[_joined(folder, names[0])] if len(names) == 1 else set()


def _matches(index: _Index, entry: Sidecar, count: int) -> Iterator[tuple[str, int, Sidecar]]:
    """(asset, rank, entry) of an entry that is one of `count` in its file; rank 0 is surest."""
    ranked = enumerate(_by_file_name(index, entry.path) if count == 1 else ())
    rank, beside = next(((rank, assets) for rank, assets in ranked if assets), (0, set()))
    yield from ((asset, rank, entry) for asset in sorted(beside))
    folder = _folder(entry)
    named = _by_id(index, folder, entry.asset_id) - beside
    if not beside and not named and entry.warning is None:
        named = _by_named_file(index, folder, entry.file)
        name = entry.name if count > 1 else entry.path.name.rsplit(".", 1)[0]
        if not named and name and (letters := _letters(match_key(name))):
            named = _nearest(folder, index.related(folder, index.by_name[letters]), one=count == 1)
    yield from ((asset, 5, entry) for asset in sorted(named))


def _by_file_name(index: _Index, path: PurePosixPath) -> Iterator[set[str]]:
    """Assets that the name of a JSON file means, the surest first."""
    folder = match_key(path.parent.as_posix())
    stem = match_key(path.name.rsplit(".", 1)[0])
    names = list(_image_names(stem))
    yield set().union(*(index.by_path.get(_joined(folder, name), ()) for name in names))
    yield index.by_stem.get(_joined(folder, stem), set())
    key = match_key(name_parts(path)[0])
    yield index.by_stem.get(key, set())
    word = _WORD_AT_END.fullmatch(stem)
    if word:
        yield set().union(
            index.by_path.get(_joined(folder, word[1]), ()),
            index.by_stem.get(_joined(folder, word[1]), ()),
            index.by_stem.get(match_key(name_parts(path.with_name(f"{word[1]}.json"))[0]), ()),
        )
    if len(stem) >= _SHORTEST_CUT:
        yield index.cut_off(folder, stem)


def _image_names(stem: str) -> Iterator[str]:
    """File names that `a.jpg`, `a.jpg(1)` and `a.jpg.supplemental-meta(1)` mean."""
    yield stem
    number = re.fullmatch(r"(.+)(\(\d+\))", stem)
    bare, count = (number[1], number[2]) if number else (stem, "")
    name, _, tail = bare.rpartition(".")
    if tail and name and _TAKEOUT.startswith(tail) and f".{tail}" not in IMAGE_SUFFIXES:
        bare = name
    start, dot, suffix = bare.rpartition(".")
    if f".{suffix}" in IMAGE_SUFFIXES:
        yield f"{start}{count}{dot}{suffix}"


def _by_id(index: _Index, folder: PurePosixPath, asset_id: str | None) -> set[str]:
    """By the name of the asset, or a Quixel id at the start or end of it (Brick_Wall_vlklbci)."""
    if asset_id is None:
        return set()
    key = match_key(asset_id)
    assets = index.by_name.get(_letters(key), set()) if _letters(key) else set()
    if not assets and len(key) >= _SHORTEST_ID:
        assets = index.by_token.get(key, set())
    if key.isdigit():  # another library may count its assets too
        assets = {one for one in assets if folder in PurePosixPath(match_key(one)).parents}
    return _nearest(folder, assets)


def _by_named_file(index: _Index, folder: PurePosixPath, file: str | None) -> set[str]:
    """By a file that an entry names: below its folder, below the raw folder, or by its name."""
    if file is None:
        return set()
    key = match_key(file).replace("\\", "/").removeprefix("./").lstrip("/")
    for path in (_joined(folder.as_posix(), key), key):
        if path in index.by_path:
            return index.by_path[path]
    name = PurePosixPath(key).name
    return _nearest(folder, index.related(folder, index.by_file[name]), one=True)


def _nearest(folder: PurePosixPath, assets: Iterable[str], *, one: bool = False) -> set[str]:
    """Those whose path has most in common with a folder; with `one`, none where they are more."""
    parts = folder.parts
    shared: dict[int, set[str]] = defaultdict(set)
    for asset in assets:
        others = PurePosixPath(match_key(asset)).parts
        same = [left == right for left, right in zip(parts, others, strict=False)]
        shared[(*same, False).index(False)].add(asset)
    best = shared[max(shared)] if shared else set()
    return set() if one and len(best) > 1 else best


def _folder(entry: Sidecar) -> PurePosixPath:
    return PurePosixPath(match_key(entry.path.parent.as_posix()))


def _joined(folder: str, name: str) -> str:
    return name if folder == "." else f"{folder}/{name}"


def _letters(name: str) -> str:
    """A name without signs: brickwall01 for Brick Wall_01."""
    return "".join(character for character in name if character.isalnum())


def _order(asset: str, ranked: tuple[int, Sidecar]) -> tuple[bool, int, bool, str]:
    """The surest first; brick.json before Brick.json for brick."""
    rank, entry = ranked
    start = normalize("NFC", PurePosixPath(asset).name)
    other_case = not normalize("NFC", entry.path.name).startswith(start)
    return (entry.warning is not None, rank, other_case, str(entry.path))


def _kind(reason: str) -> str:
    return reason.split(":")[0]


def _reason(warning: str, *, matched: bool) -> str:
    """A JSON file beside an image was meant as its side-car, whatever is in it."""
    if matched and _kind(warning) == NOT_A_SIDECAR:
        return NOT_UNDERSTOOD + warning.removeprefix(NOT_A_SIDECAR)
    return warning


def _unmatched(entries: Sequence[Sidecar]) -> str:
    if len(entries) > 1:
        return f"{NO_IMAGE}: none of its {len(entries):,} entries has an image's name or id"
    if not entries[0].tags and not entries[0].categories:
        return f"{NOT_A_SIDECAR}: it has no category or tag, and no image has its name"
    return f"{NO_IMAGE}: no image has its name or id"


def _warnings(unread: Iterable[tuple[str, str]]) -> Iterator[str]:
    """A line for each file, or for all of one kind where they are many."""
    kinds: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for path, reason in sorted(unread):
        kinds[_kind(reason)].append((path, reason))
    for kind, files in sorted(kinds.items()):
        if len(files) <= _SHOWN:
            yield from (f"{printable(path)}: {reason}" for path, reason in files)
        else:
            first = ", ".join(printable(path) for path, _ in files[:_SHOWN])
            yield f"{len(files):,} JSON files: {kind}; first: {first}"
