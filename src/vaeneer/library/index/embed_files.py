"""Files that are new or changed: decoded by processes, cut into parts, embedded, recorded.

In two passes. The first gives each image the vector of the whole, and those of the squares and
halves that it is the mean of: a quarter of the work, after which everything can be searched. The
second adds the quarters, four fifths of all vectors; it decodes once more, which is a twentieth.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from itertools import islice
from pathlib import Path
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray

from vaeneer.data.cache_index import PackLayout
from vaeneer.data.decode_worker import (
    SOURCE_SIDE_PX,
    DecodedImage,
    DecodeJob,
    decode_image,
    in_processes,
)
from vaeneer.data.scan import FoundFile
from vaeneer.library.catalog import Catalog, PixelBox
from vaeneer.library.grid import Part, Parts, in_pixels, part_boxes, part_views, whole_vector
from vaeneer.library.index.writer import (
    ImageVectors,
    crop_rows,
    record_images,
    record_parts,
    vectors_of_equal_files,
)
from vaeneer.library.repair import Salvage
from vaeneer.library.store import write_thumbnail
from vaeneer.model.embedder import Embedder
from vaeneer.progress import Progress
from vaeneer.settings import IndexSettings

_AT_ONCE = 8  # images between two commits: what a kill costs
Found = tuple[FoundFile, DecodedImage]


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

    assets: the asset of each path. A file that cannot be read is recorded with its reason. Quarters
    are left to `embed_quarters`.
    """
    parts = cast(Parts, catalog.require_meta("parts"))
    with (
        closing(Salvage(library)) as salvage,
        progress.bar("images", total=len(files), unit="images") as bar,
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


def embed_quarters(
    catalog: Catalog,
    files: Sequence[FoundFile],
    embedder: Embedder,
    settings: IndexSettings,
    progress: Progress,
) -> None:
    """Decode files again and add the quarters that their items wait for, a few at a time.

    A file that changed or cannot be read now is passed over: the next run finds that.
    """
    with progress.bar("parts", total=len(files), unit="images") as bar:
        for group in _seen(files, settings):
            whole = [pair for pair in group if pair[1].reason is None]
            good = [pair for pair in whole if _boxes(pair[1], "quarters", small=True)]
            boxes = [_boxes(seen, "quarters", small=True) for _, seen in good]
            vectors = _vectors(good, boxes, embedder) if good else []
            rows = {
                seen.sha256: crop_rows(_places(seen, b), own)
                for (_, seen), b, own in zip(good, boxes, vectors, strict=True)
            }
            if rows:
                record_parts(catalog, rows)
            bar.advance(len(group), note=group[-1][0].path.name)


def restore_thumbnails(
    library: Path, files: Sequence[FoundFile], settings: IndexSettings, progress: Progress
) -> None:
    """Make the thumbnails of files again, where someone deleted them."""
    with progress.bar("thumbnails", total=len(files), unit="images") as bar:
        for group in _seen(files, settings):
            for _, seen in group:
                if seen.reason is None:
                    write_thumbnail(library, seen.sha256.hex(), seen.thumb)
            bar.advance(len(group))


def _seen(files: Sequence[FoundFile], settings: IndexSettings) -> Iterator[list[Found]]:
    """What decoding told of each file, in their order, a few at a time."""
    jobs = [
        DecodeJob(
            found.file,
            settings.max_megapixels,
            settings.min_side_px,
            fingerprint=True,
            layout=PackLayout(SOURCE_SIDE_PX),
            thumbnail=True,
        )
        for found in files
    ]
    size_bytes = sum(found.size_bytes for found in files)
    answers = in_processes(decode_image, jobs, workers=settings.workers, size_bytes=size_bytes)
    with closing(answers):
        pairs = zip(files, answers, strict=True)
        while group := list(islice(pairs, _AT_ONCE)):
            yield group


def _embedded(group: Sequence[Found], embedder: Embedder, parts: Parts) -> dict[str, ImageVectors]:
    """The vectors of decoded files, by path: of all that is no quarter."""
    boxes = [_boxes(seen, parts, small=False) for _, seen in group]
    found = {}
    for (file, seen), b, own in zip(group, boxes, _vectors(group, boxes, embedder), strict=True):
        kept = slice(0, 0) if parts == "none" else slice(None)
        found[file.path.as_posix()] = ImageVectors.of(
            (seen.width_px, seen.height_px),
            whole_vector(own, b),
            _places(seen, b)[kept],
            own[kept],
            pending=bool(_boxes(seen, parts, small=True)),
        )
    return found


def _boxes(seen: DecodedImage, parts: Parts, *, small: bool) -> list[Part]:
    """The quarters of a decoded file where `small`, else its squares and halves."""
    return [part for part in part_boxes(*seen.shape, parts) if (part.scale > 2) == small]


def _places(seen: DecodedImage, boxes: Sequence[Part]) -> list[tuple[int, PixelBox]]:
    """Scale of each part, and its place in the pixels of the file."""
    size_px = seen.width_px, seen.height_px
    return [(part.scale, in_pixels(part.box, seen.shape, size_px)) for part in boxes]


def _vectors(
    group: Sequence[Found], boxes: Sequence[list[Part]], embedder: Embedder
) -> list[NDArray[np.float32]]:
    """The vectors of the parts of decoded files, (n, D) for each file."""
    side_px = embedder.vae.image_side_px
    views = [part_views(seen.image, b, side_px) for (_, seen), b in zip(group, boxes, strict=True)]
    ends = np.cumsum([len(b) for b in boxes])[:-1]
    return np.split(embedder.embed(torch.cat(views)), ends)
