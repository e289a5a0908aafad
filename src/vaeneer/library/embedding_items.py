"""Files that are new or changed: decoded by processes, cut into parts, embedded, recorded."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from itertools import islice
from pathlib import Path
from typing import cast

import numpy as np
import torch

from vaeneer.config import IndexSettings
from vaeneer.data.decoding import in_processes
from vaeneer.data.scanning import FoundFile
from vaeneer.library.catalog import Catalog
from vaeneer.library.grid import Parts, in_pixels, part_boxes, part_views, whole_vector
from vaeneer.library.looking import SeeJob, Seen, see
from vaeneer.library.mending import Salvage
from vaeneer.library.recording import ImageVectors, record_images, vectors_of_equal_files
from vaeneer.library.thumbnails import write_thumbnail
from vaeneer.model.embedder import Embedder
from vaeneer.progress import Progress

_AT_ONCE = 8  # images between two commits: what a kill costs
Found = tuple[FoundFile, Seen]


def embed_items(
    catalog: Catalog,
    library: Path,
    files: Mapping[str, FoundFile],
    assets: Mapping[str, str],
    embedder: Embedder,
    settings: IndexSettings,
    progress: Progress,
) -> None:
    """Decode and embed files, by path, a few at a time, each few recorded before the next.

    assets: the asset of each path. A file that cannot be read is recorded with its reason.
    """
    parts = cast(Parts, catalog.needed("parts"))
    with (
        closing(Salvage(library)) as salvage,
        progress.bar("indexing", total=len(files), unit="images") as bar,
    ):
        for group in _seen(list(files.values()), settings):
            good = [(found, seen) for found, seen in group if seen.reason is None]
            for _, seen in good:
                write_thumbnail(library, seen.sha256.hex(), seen.thumb)
            hashes = {found.path.as_posix(): seen.sha256 for found, seen in good}
            vectors = vectors_of_equal_files(catalog, hashes)
            left = {path: sha256 for path, sha256 in hashes.items() if path not in vectors}
            vectors |= salvage.vectors_of(catalog, left)
            rest = [pair for pair in good if pair[0].path.as_posix() not in vectors]
            if rest:
                vectors |= _embedded(rest, embedder, parts)
            record_images(
                catalog, [(f, assets[f.path.as_posix()], seen) for f, seen in group], vectors
            )
            bar.advance(len(group), note=group[-1][0].path.name)


def restore_thumbnails(
    library: Path, files: Sequence[FoundFile], settings: IndexSettings, progress: Progress
) -> None:
    """Make the thumbnails of files anew, where someone deleted them."""
    with progress.bar("thumbnails", total=len(files), unit="images") as bar:
        for group in _seen(files, settings):
            for _, seen in group:
                if seen.reason is None:
                    write_thumbnail(library, seen.sha256.hex(), seen.thumb)
            bar.advance(len(group))


def _seen(files: Sequence[FoundFile], settings: IndexSettings) -> Iterator[list[Found]]:
    """What decoding told of each file, in their order, a few at a time."""
    jobs = [SeeJob(f.file, settings.max_megapixels, settings.min_side_px) for f in files]
    size_bytes = sum(found.size_bytes for found in files)
    answers = in_processes(see, jobs, workers=settings.workers, size_bytes=size_bytes)
    with closing(answers):
        pairs = zip(files, answers, strict=True)
        while group := list(islice(pairs, _AT_ONCE)):
            yield group


def _embedded(group: Sequence[Found], embedder: Embedder, parts: Parts) -> dict[str, ImageVectors]:
    """The vectors of decoded files, by path."""
    boxes = [part_boxes(*seen.shape, parts) for _, seen in group]
    side_px = embedder.vae.image_side_px
    views = [part_views(seen.image, b, side_px) for (_, seen), b in zip(group, boxes, strict=True)]
    computed = embedder.embed(torch.cat(views))
    ends = np.cumsum([len(b) for b in boxes])[:-1]
    found = {}
    for (file, seen), b, own in zip(group, boxes, np.split(computed, ends), strict=True):
        size_px = seen.width_px, seen.height_px
        places = [(part.scale, in_pixels(part.box, seen.shape, size_px)) for part in b]
        kept = slice(0, 0) if parts == "none" else slice(None)
        whole = whole_vector(own, b)
        vectors = ImageVectors.of(size_px, whole, places[kept], own[kept])
        found[file.path.as_posix()] = vectors
    return found
