"""OpenLibrary: the opened folder of a library, with its catalog, vectors, model and pictures."""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from PIL import Image

from vaeneer.data.images import read_rgb
from vaeneer.errors import ImageFileError, LibraryError
from vaeneer.library.catalog import Catalog, Floats, Ids, Item
from vaeneer.library.library_folders import find_library
from vaeneer.library.store import MODEL_FOLDER, is_thumbnail_whole, synced_one, thumbnail_path
from vaeneer.library.vector_index import VectorIndex
from vaeneer.text import printable

if TYPE_CHECKING:  # PyTorch is imported only where a picture is asked by
    from vaeneer.library.duplicates.features import FeatureStore
    from vaeneer.model.embedder import Embedder


class OpenLibrary:
    """A folder of images that `index` went through: its items, its vectors and its model.

    What is costly (the network, the vectors) is loaded when it is first needed. An open library
    does not see later runs of `index`; open it again for them.
    """

    def __init__(
        self,
        folder: Path | str | None = None,
        *,
        device: str = "auto",
        precision: str = "auto",
        catalog: Catalog | None = None,
    ) -> None:
        """Open a library by its folder, or by the folder of images that was indexed.

        folder: None is the library of the current directory, or the only one there is
        (`find_library`). catalog: of that very folder, where it is open already. Raises
        LibraryError when there is none, or no good one.
        """
        self.folder = find_library(folder) if catalog is None else Path(folder or ".")
        self.catalog = Catalog.open(self.folder) if catalog is None else catalog
        self.root = self.catalog.root
        self._device = device
        self._precision = precision

    @classmethod
    def open(
        cls, folder: Path | str | None = None, *, device: str = "auto", precision: str = "auto"
    ) -> Self:
        """As `Library(folder)`."""
        return cls(folder, device=device, precision=precision)

    def __repr__(self) -> str:
        return f"Library({str(self.folder)!r}, {len(self):,} items of {str(self.root)!r})"

    def __len__(self) -> int:
        """How many items it has."""
        (count,) = self.catalog.execute("SELECT count(*) FROM items WHERE embedded").fetchone()
        return int(count)

    def __iter__(self) -> Iterator[Item]:
        """All items by path."""
        return iter(self.items())

    def __getitem__(self, number: int) -> Item:
        """The item of an id. Raises LibraryError for one that the library has not."""
        return self.item(number)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the catalog's file."""
        self.catalog.close()

    @cached_property
    def embedder(self) -> Embedder:
        """The network that made the vectors, from the library's own copy."""
        from vaeneer.library.store import check_own_model
        from vaeneer.model.embedder import Embedder

        check_own_model(self.catalog, self.folder)
        return Embedder(self.folder / MODEL_FOLDER, device=self._device, precision=self._precision)

    @cached_property
    def image_index(self) -> VectorIndex:
        """The vectors of whole images, ready for search; ids are those of crops of scale 0."""
        return synced_one(self.catalog, self.folder, whole=True)

    @cached_property
    def crop_index(self) -> VectorIndex:
        """The vectors of parts of images, ready for search; ids are those of crops."""
        return synced_one(self.catalog, self.folder, whole=False)

    @cached_property
    def sketches(self) -> FeatureStore:
        """What `duplicates` kept of pictures to compare them; empty where it never ran."""
        from vaeneer.library.duplicates.features import FeatureStore

        return FeatureStore(self.folder)

    def items(self) -> list[Item]:
        """All items by path."""
        return self.catalog.items()

    def item(self, number: int) -> Item:
        """The item of an id. Raises LibraryError for one that the library has not."""
        found = self.catalog.items([number])
        if not found:
            raise LibraryError(f"{self.folder} has no item {number}; `vaeneer search` shows ids.")
        return found[0]

    def vectors(self) -> tuple[Ids, Floats]:
        """Ids (n,) int64 of all items, and the vectors (n, D) float32 of their whole images."""
        found = self.catalog.vectors(self.catalog.crop_ids(whole=True))
        return found.items, found.vectors

    def item_at(self, file: Path | str) -> Item | None:
        """The item whose file is or was at a path; None where the library has none."""
        for place in (Path(os.path.abspath(file)), Path(file).resolve()):  # noqa: PTH100
            if place.is_relative_to(self.root):
                below = printable(place.relative_to(self.root).as_posix())
                ids = self.catalog.item_ids("path = ?", [below])
                return self.item(int(ids[0])) if len(ids) else None
        return None

    def path(self, item: Item) -> Path:
        """Where an item's file lies."""
        return self.root / item.path

    def has_file(self, item: Item) -> bool:
        """Whether an item's file is there now."""
        try:
            return self.path(item).is_file()
        except OSError:  # a folder that may not be entered, a disk that fails
            return False

    def thumbnail(self, item: Item) -> Path:
        """Where an item's small picture lies: WebP, long side up to 256 px."""
        return thumbnail_path(self.folder, item.sha256)

    def picture(self, item: Item, *, at_least_px: int | None = None) -> Image.Image:
        """An item's picture, upright, mode RGB; at_least_px as in `read_image`.

        Raises ImageFileError when the file is gone or damaged since.
        """
        return read_rgb(self.path(item), at_least_px=at_least_px)

    def thumbnail_image(self, item: Item) -> Image.Image:
        """An item's thumbnail, else its picture made as small, mode RGB.

        Raises ImageFileError when both are gone.
        """
        thumbnail = self.thumbnail(item)
        try:
            if not is_thumbnail_whole(thumbnail):
                raise ImageFileError(thumbnail, "damaged")
            return read_rgb(thumbnail)
        except ImageFileError:
            picture = self.picture(item, at_least_px=256)
            picture.thumbnail((256, 256))
            return picture

    def facts(self) -> dict[str, Any]:
        """What library.json says; empty where a run did not come to its end."""
        from vaeneer.library.index.finalize import read_facts

        facts = read_facts(self.folder)
        return facts if facts is not None and facts["library"] == self.catalog.library else {}


LibraryLike = OpenLibrary | Path | str
"""An opened library, or its folder, or the folder of images that was indexed."""
