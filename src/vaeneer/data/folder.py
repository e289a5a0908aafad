"""A folder of images as training and measuring see it: which files, of which asset."""

from __future__ import annotations

import hashlib
import shlex
from collections import Counter
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from vaeneer.data.manifest import read_manifest
from vaeneer.data.naming import group_names
from vaeneer.data.scanning import Scan, scan_folder
from vaeneer.data.splitting import units
from vaeneer.errors import DataError

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


def open_folder(path: Path | str) -> ImageFolder:
    """List the images below `path`: any folder, or `train` or `valid` of a data set.

    The asset of each comes from the manifest that `prepare` wrote, else from its file name.
    Raises DataError when the folder is missing or holds no image.
    """
    root = Path(path)
    if not root.is_dir():
        raise DataError(f"{root} is not a folder; name a folder of images.")
    known = _manifest_rows(root)
    scan = scan_folder(root, originals=known)
    files = scan.images
    guesses = group_names([found.path for found in files])
    items = tuple(
        _item(found.file, found.path, guesses[found.path].asset, known.get(str(found.path)))
        for found in files
    )
    if not items:
        raise DataError(f"{root} holds no image files ({_what_is_there(scan)}).")
    return ImageFolder(root, items)


def open_data_set(path: Path | str) -> DataSet:
    """Open `path`/train and `path`/valid, whether `prepare` made them or someone else.

    Raises DataError when either is missing or holds no image.
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
    return DataSet(open_folder(root / "train"), open_folder(root / "valid"))


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
