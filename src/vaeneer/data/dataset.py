"""A folder of images as training and measuring see it: which files, of which asset."""

from __future__ import annotations

import hashlib
import shlex
from collections import Counter
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from vaeneer.data.filenames import group_names
from vaeneer.data.manifest import read_manifest
from vaeneer.data.scan import Scan, scan_folder
from vaeneer.data.split import units
from vaeneer.errors import DataError
from vaeneer.progress import Progress

RGB = tuple[float, float, float]
Known = tuple[str, str | None]  # asset, category


@dataclass(frozen=True)
class ImageItem:
    """One image file: where it is, and which others are the same surface."""

    path: Path
    name: str
    """Path below the folder, with forward slashes."""
    asset: str
    """Images of one asset, and near duplicates, are never compared as different."""
    category: str | None = None


@dataclass(frozen=True)
class ImageFolder:
    """The images below one folder, in the order of their names."""

    root: Path
    items: tuple[ImageItem, ...]
    other_maps: int = 0
    """Normal maps, roughness and the like that were left out."""

    def __len__(self) -> int:
        return len(self.items)

    def fingerprint(self) -> str:
        """SHA-256 over names and sizes: whether this is the data that a run was started on."""
        digest = hashlib.sha256()
        for item in self.items:
            digest.update(f"{item.name}\0{item.path.stat().st_size}\n".encode())
        return digest.hexdigest()


@dataclass(frozen=True)
class DataSet:
    """The two sides of a data set, prepared or in the reference layout."""

    train: ImageFolder
    valid: ImageFolder


def open_folder(
    path: Path | str, *, all_maps: bool = False, progress: Progress | None = None
) -> ImageFolder:
    """List the colour maps below `path`: any folder, or `train` or `valid` of a data set.

    Other maps are told by their names, as `index` does, and left out, which is said once; with
    `all_maps` they are taken. What `prepare` put into a data set is taken as it is. The asset of
    each comes from its manifest, else from the file name. Raises DataError when the folder is
    missing or holds no image.
    """
    root = Path(path)
    if not root.is_dir():
        raise DataError(f"{root} is not a folder; name a folder of images.")
    known = _manifest_rows(root)
    scan = scan_folder(root, originals=known)
    guesses = group_names([found.path for found in scan.images])
    files = [
        found
        for found in scan.images
        if all_maps or str(found.path) in known or guesses[found.path].is_item
    ]
    other_maps = len(scan.images) - len(files)
    items = tuple(
        _item(found.file, found.path, guesses[found.path].asset, known.get(str(found.path)))
        for found in files
    )
    if not items and other_maps:
        raise DataError(
            f"{root} holds no colour map, and {other_maps} other maps; --all-maps takes them."
        )
    if not items:
        raise DataError(f"{root} holds no image files ({_what_is_there(scan)}).")
    if other_maps and progress is not None:
        progress.say(f"left out {other_maps:,} other maps of {root}; --all-maps takes them")
    return ImageFolder(root, items, other_maps)


def open_data_set(
    path: Path | str, *, all_maps: bool = False, progress: Progress | None = None
) -> DataSet:
    """Open `path`/train and `path`/valid, whether `prepare` made them or someone else.

    all_maps, progress: as in `open_folder`. Raises DataError when either is missing or holds no
    image.
    """
    root = Path(path)
    if not root.is_dir():
        raise DataError(
            f"{root} is not a folder; make a data set there with:"
            f" vaeneer prepare RAW --out {shlex.quote(str(root))}"
        )
    for side in ("train", "valid"):
        if not (root / side).is_dir():
            beside = root.absolute().with_name(f"{root.absolute().name}-data")  # never in it
            raise DataError(
                f"{root} has no folder {side!r}, so it is no data set; make one of its images with:"
                f" vaeneer prepare {shlex.quote(str(root))} --out {shlex.quote(str(beside))}"
            )
    train, valid = (
        open_folder(root / side, all_maps=all_maps, progress=progress)
        for side in ("train", "valid")
    )
    return DataSet(train, valid)


def _manifest_rows(root: Path) -> dict[str, Known]:
    """What `prepare` knows of the files below `root`, itself a data set or a side of one."""
    real = root.resolve()
    for data_set, prefix in ((real, ""), (real.parent, f"{real.name}/")):
        manifest = read_manifest(data_set)
        if manifest is not None:
            return {
                row.output.removeprefix(prefix): (part[0].asset, row.category)
                for part in units(manifest.rows)
                for row in part
                if row.output is not None and row.output.startswith(prefix)
            }
    return {}


def _item(file: Path, name: PurePosixPath, guess: str, known: Known | None) -> ImageItem:
    asset, category = known or (guess, None)
    return ImageItem(file, str(name), asset, category)


def _what_is_there(scan: Scan) -> str:
    counts = Counter(scan.others) + Counter({"side-cars": len(scan.sidecars)})
    return ", ".join(f"{n} {reason}" for reason, n in counts.most_common(4)) or "it is empty"
