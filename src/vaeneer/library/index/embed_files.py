"""Files that are new or changed: decoded by processes, cut into parts, embedded, recorded.

In two passes. The first gives each image the vector of the whole, and those of the squares and
halves that it is the mean of: a quarter of the work, after which everything can be searched. The
second adds the quarters, four fifths of all vectors; it decodes once more, which is a twentieth.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from itertools import islice
from pathlib import Path
from typing import cast

import numpy as np
import torch
from torch import Tensor

from vaeneer.data.cache_index import PackLayout
from vaeneer.data.decode_worker import (
    SOURCE_SIDE_PX,
    DecodedImage,
    DecodeJob,
    decode_image,
    in_processes,
)
from vaeneer.data.scan import FoundFile
from vaeneer.data.tiles import Part, Parts, in_pixels, part_boxes, part_views
from vaeneer.library.catalog import Catalog, Floats, PixelBox
from vaeneer.library.index.changes import Listing
from vaeneer.library.index.writer import (
    ImageVectors,
    crop_rows,
    record_images,
    record_parts,
    vectors_of_equal_files,
)
from vaeneer.library.repair import Salvage
from vaeneer.library.store import MODEL_FOLDER, write_thumbnail
from vaeneer.model.embedder import Embedder, whole_vector
from vaeneer.progress import Progress
from vaeneer.settings import IndexSettings

IMAGES_PER_COMMIT = 8
"""Images that are recorded together: what a kill costs."""
_MOST_QUARTERED = 2_000  # images: some ten minutes on two cores
Decoded = tuple[FoundFile, DecodedImage]


def embed_files(
    catalog: Catalog,
    library: Path,
    listing: Listing,
    files: Sequence[FoundFile],
    lost: Sequence[FoundFile],
    settings: IndexSettings,
    progress: Progress,
) -> Embedder:
    """Decode and embed files, a few at a time, each few recorded before the next.

    A file that cannot be read is recorded with its reason. Quarters are left to `embed_quarters`.
    lost: files whose thumbnail is made again. Returns the network.
    """
    embedder = _load(library, settings)
    parts = _settled_parts(catalog, embedder, settings, len(listing.files))
    assets = {row.path: row.asset for row in listing.rows}
    with (
        _telling_of_a_stop(
            progress, lambda: f"What is indexed stays in {library}; the same command goes on."
        ),
        closing(Salvage(library)) as salvage,
        progress.bar("images", total=len(files), unit="images") as bar,
    ):
        for group in _decoded(files, settings):
            good = [(found, seen) for found, seen in group if seen.reason is None]
            for _, seen in good:
                write_thumbnail(library, seen.sha256.hex(), seen.thumb)
            hashes = {found.path.as_posix(): seen.sha256 for found, seen in good}
            vectors = vectors_of_equal_files(catalog, hashes)
            left = {path: sha256 for path, sha256 in hashes.items() if path not in vectors}
            vectors |= salvage.vectors_of(catalog, left)
            rest = [pair for pair in good if pair[0].path.as_posix() not in vectors]
            if rest:
                boxes = [_boxes(seen, parts, small=False) for _, seen in rest]
                embedded = embedder.embed(_views(rest, boxes, embedder))
                vectors |= _by_path(rest, boxes, embedded, parts)
            record_images(
                catalog, [(f, assets[f.path.as_posix()], seen) for f, seen in group], vectors
            )
            bar.advance(len(group), note=group[-1][0].path.name)
    with progress.bar("thumbnails", total=len(lost), unit="images") as bar:
        for group in _decoded(lost, settings):
            for _, seen in group:
                if seen.reason is None:
                    write_thumbnail(library, seen.sha256.hex(), seen.thumb)
            bar.advance(len(group))
    return embedder


def embed_quarters(
    catalog: Catalog,
    library: Path,
    files: Sequence[FoundFile],
    embedder: Embedder | None,
    settings: IndexSettings,
    progress: Progress,
) -> None:
    """Decode files again and add the quarters that their items wait for, a few at a time.

    A file that changed or cannot be read now is passed over: the next run finds that. embedder:
    None loads that of the library.
    """
    progress.say(
        f"All images of {library} can be searched now; the small parts of {len(files):,} images"
        " follow, for search by a box. Ctrl-C stops that; the same command goes on later."
    )
    with (
        _telling_of_a_stop(
            progress,
            lambda: (
                f"All images can be searched; the small parts of {catalog.parts_pending:,} images"
                " are missing. The same command adds them."
            ),
        ),
        progress.bar("parts", total=len(files), unit="images") as bar,
    ):
        embedder = embedder or _load(library, settings)
        for group in _decoded(files, settings):
            whole = [pair for pair in group if pair[1].reason is None]
            good = [pair for pair in whole if _boxes(pair[1], "quarters", small=True)]
            if good:
                boxes = [_boxes(seen, "quarters", small=True) for _, seen in good]
                vectors = _split(embedder.embed(_views(good, boxes, embedder)), boxes)
                record_parts(
                    catalog,
                    {
                        seen.sha256: crop_rows(_places(seen, b), own)
                        for (_, seen), b, own in zip(good, boxes, vectors, strict=True)
                    },
                )
            bar.advance(len(group), note=group[-1][0].path.name)


def _load(library: Path, settings: IndexSettings) -> Embedder:
    return Embedder(
        library / MODEL_FOLDER,
        device=settings.device,
        precision=settings.precision,
        batch_size=settings.batch_size,
    )


def _settled_parts(
    catalog: Catalog, embedder: Embedder, settings: IndexSettings, images: int
) -> Parts:
    """Which parts the library has; a new one gets them, and keeps them for good."""
    catalog.set_meta("dimensions", str(embedder.dimensions))
    if catalog.get_meta("parts") is None:
        auto = "quarters" if images <= _MOST_QUARTERED else "halves"
        catalog.set_meta("parts", auto if settings.parts == "auto" else settings.parts)
    return cast(Parts, catalog.require_meta("parts"))


@contextmanager
def _telling_of_a_stop(progress: Progress, what: Callable[[], str]) -> Iterator[None]:
    """On Ctrl-C say what is there and how to resume."""
    try:
        yield
    except KeyboardInterrupt:
        progress.say(f"Stopped. {what()}")
        raise


def _decoded(files: Sequence[FoundFile], settings: IndexSettings) -> Iterator[list[Decoded]]:
    """Files in their order as decoded, a few at a time."""
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
        while group := list(islice(pairs, IMAGES_PER_COMMIT)):
            yield group


def _boxes(seen: DecodedImage, parts: Parts, *, small: bool) -> list[Part]:
    """The quarters of a decoded file where `small`, else its squares and halves."""
    return [part for part in part_boxes(*seen.shape, parts) if (part.scale > 2) == small]


def _views(group: Sequence[Decoded], boxes: Sequence[list[Part]], embedder: Embedder) -> Tensor:
    """The parts of decoded files as the network takes them, (n, 3, side, side) uint8."""
    side_px = embedder.vae.image_side_px
    return torch.cat(
        [part_views(seen.image, b, side_px) for (_, seen), b in zip(group, boxes, strict=True)]
    )


def _split(vectors: Floats, boxes: Sequence[list[Part]]) -> list[Floats]:
    """The vectors of the parts of each file, (n, D)."""
    return np.split(vectors, np.cumsum([len(b) for b in boxes])[:-1])


def _by_path(
    group: Sequence[Decoded], boxes: Sequence[list[Part]], vectors: Floats, parts: Parts
) -> dict[str, ImageVectors]:
    """What is recorded of decoded files, of all that is no quarter."""
    found = {}
    for (file, seen), b, own in zip(group, boxes, _split(vectors, boxes), strict=True):
        kept = slice(0, 0) if parts == "none" else slice(None)
        found[file.path.as_posix()] = ImageVectors.of(
            (seen.width_px, seen.height_px),
            whole_vector(own, b),
            _places(seen, b)[kept],
            own[kept],
            pending=bool(_boxes(seen, parts, small=True)),
        )
    return found


def _places(seen: DecodedImage, boxes: Sequence[Part]) -> list[tuple[int, PixelBox]]:
    """Scale of each part, and its place in the pixels of the file."""
    size_px = seen.width_px, seen.height_px
    return [(part.scale, in_pixels(part.box, seen.shape, size_px)) for part in boxes]
