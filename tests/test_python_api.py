"""What a developer writes first: a library, a search, vectors, images of any kind in memory."""

from __future__ import annotations

import csv
import dataclasses
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_type_hints

import numpy as np
import pytest
import torch
from PIL import Image

import vaeneer
from vaeneer.data.images import picture_of
from vaeneer.errors import DataError, ImageSizeError, LibraryError, SettingsError
from vaeneer.settings import SearchOptions, SearchSettings


@pytest.fixture(scope="module")
def embedder() -> vaeneer.Embedder:
    return vaeneer.Embedder("surface-base", device="cpu", precision="float32")


@pytest.fixture(scope="module")
def picture() -> Image.Image:
    pixels = np.random.default_rng(3).integers(0, 256, (90, 120, 3), np.uint8)
    return Image.fromarray(pixels)


def test_a_library_is_a_collection_of_items(small_library: Path) -> None:
    with vaeneer.Library(small_library) as library:
        items = list(library)
        assert len(items) == len(library)
        assert library[items[3].id] == items[3]
        assert repr(library).startswith(f"Library({str(small_library)!r}, {len(items)} items of")
        ids, vectors = library.vectors()
        assert sorted(ids) == sorted(item.id for item in items)
        assert vectors.shape == (len(items), library.embedder.dimensions)
        assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-3)
        hits = library.search(items[0].id, k=3, where="width > 0")
        best = ids[np.argsort(-(vectors @ vectors[list(ids).index(items[0].id)]))[1]]
        assert hits[0].id == best
        with pytest.raises(LibraryError, match="no item 99999"):
            library[99999]


def test_options_of_a_search_are_its_settings(small_library: Path) -> None:
    assert len(vaeneer.search(small_library, 1, k=3).hits) == 3
    settings = SearchSettings(k=5)
    assert len(vaeneer.search(small_library, 1, settings=settings, where="id = 2").hits) == 1
    assert vaeneer.search(small_library, 1, settings=settings, k=2).settings.k == 2
    with pytest.raises(SettingsError, match=r"'categorie' is no setting.*did you mean 'category'"):
        vaeneer.search(small_library, 1, categorie="wood")  # type: ignore[call-arg]
    fields = {field.name for field in dataclasses.fields(SearchSettings)}
    assert set(get_type_hints(SearchOptions)) == fields


AS: dict[str, Callable[[Any], Any]] = {
    "picture": lambda picture: picture,
    "array": np.asarray,
    "floats": lambda picture: np.asarray(picture, np.float64) / 255,
    "alpha": lambda picture: np.asarray(picture.convert("RGBA")),
    "tensor": lambda picture: torch.from_numpy(np.array(picture)).permute(2, 0, 1),
    "float tensor": lambda picture: torch.from_numpy(np.array(picture)).permute(2, 0, 1) / 255,
}


@pytest.mark.parametrize("form", AS)
def test_an_image_is_taken_in_every_usual_form(
    form: str, picture: Image.Image, embedder: vaeneer.Embedder, small_library: Path, tmp_path: Path
) -> None:
    given = AS[form](picture)
    assert np.array_equal(np.asarray(picture_of(given)), np.asarray(picture))
    picture.save(tmp_path / "file.png")
    wanted = embedder.embed_files([tmp_path / "file.png"])
    assert np.allclose(embedder.embed([given, tmp_path / "file.png"]), wanted, atol=1e-5)
    with vaeneer.Library(small_library) as library:
        scores = [hit.score for hit in library.search(given, k=3)]
        assert scores == [hit.score for hit in library.search(picture, k=3)]


def test_grey_images_and_single_files_are_taken(
    embedder: vaeneer.Embedder, picture: Image.Image, tmp_path: Path
) -> None:
    grey = np.asarray(picture.convert("L"))
    for given in (
        grey,
        grey[:, :, None],
        torch.from_numpy(grey.copy())[None],
        picture.convert("L"),
    ):
        assert np.array_equal(np.asarray(picture_of(given))[:, :, 1], grey)
    picture.save(tmp_path / "file.png")
    assert embedder.embed(tmp_path / "file.png").shape == (1, embedder.dimensions)
    assert embedder.embed([]).shape == (0, embedder.dimensions)
    assert repr(embedder) == f"Embedder('surface-base', {embedder.dimensions} numbers, on cpu)"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (np.zeros((80, 80, 2), np.uint8), r"shape \(80, 80, 2\); give an array \(H, W, 3\)"),
        (torch.zeros(80, 80, 3), r"shape \(80, 80, 3\); give a tensor \(3, H, W\)"),
        (np.zeros((0, 80, 3), np.uint8), r"shape \(0, 80, 3\)"),
        (np.full((80, 80, 3), 255.0), r"goes from 255 to 255; divide by 255"),
        (np.full((80, 80, 3), np.nan), r"goes from nan to nan"),
        (np.zeros((80, 80, 3), np.int64), r"int64; give uint8, or float"),
        (3.5, r"a float is no image"),
    ],
)
def test_what_is_no_image_is_refused_in_one_sentence(
    given: Any, message: str, embedder: vaeneer.Embedder, small_library: Path
) -> None:
    with pytest.raises(DataError, match=message):
        embedder.embed([given])
    with pytest.raises(DataError, match=message):
        vaeneer.search(small_library, given)


def test_an_image_that_is_too_small_is_refused(embedder: vaeneer.Embedder) -> None:
    with pytest.raises(ImageSizeError, match="image 1 is 40 x 80 px; give 64 px"):
        embedder.embed([np.zeros((64, 64, 3), np.uint8), np.zeros((80, 40, 3), np.uint8)])


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_a_vae_is_exported_by_torch() -> None:
    vae = vaeneer.VAE().eval()
    images, noise = torch.rand(2, 3, 254, 254), torch.randn(2, vae.latent_size)
    exported = torch.export.export(vae, (images,), kwargs={"noise": noise})
    with torch.no_grad():
        output, wanted = exported.module()(images, noise=noise), vae(images, noise=noise)
    assert type(output) is type(wanted)
    assert torch.allclose(output.logits, wanted.logits, atol=1e-5)


@pytest.mark.filterwarnings(
    "ignore::DeprecationWarning", "ignore::FutureWarning", "ignore:No complete tensor:UserWarning"
)
def test_an_exported_vae_takes_batches_of_any_size(tmp_path: Path) -> None:
    vae = vaeneer.load("surface-base")
    sizes = {"images": {0: torch.export.Dim("batch", min=1, max=256)}}
    exported = torch.export.export(vae, (torch.rand(2, 3, 254, 254),), dynamic_shapes=sizes)
    torch.export.save(exported, tmp_path / "vae.pt2")
    again = torch.export.load(tmp_path / "vae.pt2").module()
    images = torch.rand(19, 3, 254, 254)  # more than the parts that the statistics are made in
    with torch.no_grad():
        output, wanted = again(images), vae(images)
    assert type(output) is type(wanted)
    assert torch.allclose(output.z, wanted.z, atol=1e-4)


def test_the_example_program_lists_what_a_library_has(small_library: Path, tmp_path: Path) -> None:
    program = Path(__file__).parents[1] / "examples" / "compare_delivery.py"
    with vaeneer.Library(small_library) as library:
        first = library.path(library.items()[0])
    (tmp_path / "new").mkdir()
    shutil.copy(first, tmp_path / "new" / "a.jpg")
    (tmp_path / "new" / "b.png").write_bytes(b"no picture")
    table = tmp_path / "matches.csv"
    command = [sys.executable, str(program), str(small_library), str(tmp_path / "new")]
    done = subprocess.run([*command, "--out", str(table)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("1 of 2 files are in the library already")
    with table.open(newline="") as stream:
        same, bad = csv.DictReader(stream)
    assert (same["match"], same["path"]) == ("exact", str(first))
    assert bad["match"].startswith("cannot be read: ")
    refused = subprocess.run([*command, "--where", "colour = 1"], capture_output=True, text=True)
    assert (refused.returncode, refused.stderr.count("\n")) == (1, 1)
    assert refused.stderr.startswith("Error: ")
