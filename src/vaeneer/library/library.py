"""Library: an indexed folder, opened; the one door for the command line, the server and scripts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Unpack

from vaeneer.library.catalog import PixelBox
from vaeneer.library.store import OpenLibrary
from vaeneer.settings import SearchOptions, SearchSettings

if TYPE_CHECKING:  # PyTorch is imported only where a query is a picture
    from vaeneer.library.search.query import Source
    from vaeneer.library.search.search import Hit


class Library(OpenLibrary):
    """A folder of images that `index` went through: its items, its vectors, and search in them.

    What is costly (the network, the vectors) is loaded when it is first needed. An open library
    does not see later runs of `index`; open it again for them.
    """

    def search(
        self,
        image: Source | list[Source],
        *,
        box: PixelBox | None = None,
        negative: Sequence[Source] = (),
        settings: SearchSettings | None = None,
        **options: Unpack[SearchOptions],
    ) -> list[Hit]:
        """What looks like an image, or like several, the most alike first: see `vaeneer.search`."""
        from vaeneer.library.search.search import search

        return search(self, image, box=box, negative=negative, settings=settings, **options).hits

    def search_words(
        self,
        text: str,
        *,
        k: int = 10,
        where: str | None = None,
        category: str | None = None,
        tag: str | None = None,
        exclude_duplicates: bool = False,
    ) -> list[Hit]:
        """Items by words in names, categories, tags and folders: see `vaeneer.search_words`."""
        from vaeneer.library.search.search import search_words

        settings = SearchSettings(
            k=k, where=where, category=category, tag=tag, exclude_duplicates=exclude_duplicates
        )
        return search_words(self, text, settings=settings).hits
