"""Any file that vaeneer wrote, damaged in any way: the right answer, or one sentence; never else.

The damages are drawn by seed (a flipped bit, a cut, zeros, noise, nothing, another library's file),
or aimed at what numbers and formats make likely to pass. Each error names a way out that works.
"""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pytest
import torch
from PIL import Image

import vaeneer
from vaeneer.checksums import SUMS
from vaeneer.data.dataset import MANIFEST_NAME, open_folder, read_manifest
from vaeneer.data.pixel_cache import PackLayout, open_pack
from vaeneer.errors import LibraryError, ModelFileError, VaeneerError
from vaeneer.library.embed.tables import VectorTable, partial_beside, read_vectors, write_vectors
from vaeneer.library.map.layout import read_layout
from vaeneer.library.map.map import LAYOUT_NAME
from vaeneer.model.bundled_models import BOX
from vaeneer.model.checkpoint import build, load
from vaeneer.model.embedder import Embedder
from vaeneer.progress import Silent
from vaeneer.settings import (
    IndexSettings,
    MapSettings,
    PrepareSettings,
    TrainSettings,
)
from vaeneer.training.resume_state import TrainState, load_state, save_state
from vaeneer.training.run_folder import RunFolder, read_metrics

Damage = tuple[str, bytes]
"""What was done to a file, and what is in it now."""
Answer = TypeVar("Answer")
FEW = IndexSettings(parts="none", min_side_px=16, workers=1)
SEED, RANDOM = 13, 22
"""Random damages of each file."""
LIBRARY_FILES = (
    "catalog.sqlite",
    "items.faiss",
    "crops.faiss",
    "library.json",
    "seal.json",
    "checked.json",
    "model/model.safetensors",
    "model/config.json",
    "model/readout.json",
    "model/readout.safetensors",
    "model/SHA256SUMS",
)


def random_damages(data: bytes, other: bytes, seed: int, count: int = RANDOM) -> Iterator[Damage]:
    """Kinds of damage in turn, each at a place drawn by seed."""
    random = np.random.default_rng([SEED, seed])
    for number in range(count):
        at = int(random.integers(max(1, len(data))))
        size = int(random.integers(1, 600))
        spoilt = bytearray(data)
        kind = ("bit", "cut", "zeros", "noise", "bit", "swapped", "bit", "empty", "garbage")[
            number % 9
        ]
        if kind == "bit" and data:
            spoilt[at] ^= 1 << int(random.integers(8))
        elif kind == "cut":
            del spoilt[at:]
        elif kind in ("zeros", "noise"):
            end = min(len(spoilt), at + size)
            spoilt[at:end] = bytes(end - at) if kind == "zeros" else random.bytes(end - at)
        elif kind == "empty":
            spoilt = bytearray()
        elif kind == "garbage":
            spoilt = bytearray(random.bytes(size))
        elif kind == "swapped":
            spoilt = bytearray(other)
        yield f"{kind} at {at} of {len(data)}", bytes(spoilt)


def flipped(data: bytes, places: Iterator[int] | range | list[int], bit: int) -> Iterator[Damage]:
    """One bit flipped at each of some places."""
    for at in places:
        spoilt = bytearray(data)
        spoilt[at] ^= 1 << bit
        yield f"bit {bit} at {at}", bytes(spoilt)


def surfaces(folder: Path, count: int, seed: int) -> Path:
    """A few small pictures, the last a copy of the first."""
    folder.mkdir(parents=True)
    random = np.random.default_rng(seed)
    for number in range(count):
        coarse = random.integers(0, 255, (8, 8, 3), dtype=np.uint8)
        Image.fromarray(coarse).resize((64, 64)).save(folder / f"surface_{number}.png")
    Image.open(folder / "surface_0.png").save(folder / "twin.bmp")
    return folder


@pytest.fixture(scope="module")
def warm() -> Embedder:
    """The bundled model, loaded once for all tests here."""
    return Embedder("surface-base", device="cpu", precision="float32")


@pytest.fixture(scope="module", autouse=True)
def one_model(warm: Embedder) -> Iterator[None]:
    """`index` embeds with the warm model: what it checks before is not replaced."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("vaeneer.library.index.embed_files.Embedder", lambda *_, **_settings: warm)
        yield


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory, one_model: None) -> Path:
    """Two libraries, each searched, mapped and compared once."""
    root = tmp_path_factory.mktemp("world")
    for name, seed in (("library", 1), ("other", 2)):
        images = surfaces(root / f"images of {name}", 4, seed)
        vaeneer.index(images, library=root / name, settings=FEW)
        vaeneer.duplicates(root / name)
        vaeneer.map(root / name, out=root / f"{name}.parquet", settings=MapSettings(seed=1))
    return root


def copied(world: Path, target: Path, name: str) -> Path:
    """A copy of the library in which one file may be changed; large files are links."""
    own = {"catalog.sqlite", name.rpartition("/")[2]}

    def copy(source: str, to: str) -> None:
        if Path(source).name in own:
            shutil.copyfile(source, to)
        else:
            os.link(source, to)

    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(world / "library", target, copy_function=copy)
    return target


def answers(folder: Path, warm: Embedder | None = None) -> list[Any]:
    """What a user may see of a library; warm: the model, where its own is not to be read."""
    with vaeneer.Library.open(folder) as library:
        if warm is None:
            assert library.embedder is not None  # the warm one, once its files are checked
            load(folder / "model")
        items = library.items()
        found = [vaeneer.search(library, item.id).hits for item in items[:2]]
        listed = [(item.path, item.width_px, item.sha256, item.mean_rgb) for item in items]
        return [listed, [[(h.path, h.score, h.probability, h.box) for h in hits] for hits in found]]


def tried(work: Callable[[], Answer]) -> tuple[Answer | None, str]:
    """What comes of something: an answer, or the sentence of an error of ours."""
    try:
        return work(), ""
    except VaeneerError as error:
        return None, str(error)


def outcome(folder: Path, warm: Embedder | None, right: list[Any], what: str) -> str | None:
    """The sentence of an error; None for the right answer. Fails for all else."""
    given, sentence = tried(lambda: answers(folder, warm))
    if given is None:
        assert "vaeneer index" in sentence, f"{what}: {sentence}"
        return sentence
    assert given == right, f"{what}: another answer"
    return None


def embedded_again(right: list[Any]) -> list[Any]:
    """The same answers, scores as near as vectors are that were computed in another batch."""
    listed, found = right
    near = [
        [
            (path, pytest.approx(score, abs=1e-4), pytest.approx(p, abs=1e-4), box)
            for path, score, p, box in sorted(hits)
        ]
        for hits in found
    ]
    return [listed, near]


def by_path(found: list[Any]) -> list[Any]:
    """Answers with hits by path: those of equal pictures may swap when vectors are made again."""
    return [found[0], [sorted(hits) for hits in found[1]]]


def mends(folder: Path, world: Path, warm: Embedder, right: list[Any], what: str) -> None:
    """`index` is the remedy: afterwards the answers are right and nothing is damaged."""
    vaeneer.index(world / "images of library", library=folder, settings=FEW)
    found = by_path(answers(folder, warm))
    assert found == embedded_again(right), f"{what}: another answer after index"
    assert vaeneer.doctor(folder).findings == [], what


@pytest.mark.parametrize("name", LIBRARY_FILES)
def test_random_damage_to_a_library_is_found_and_mended(
    world: Path, tmp_path: Path, warm: Embedder, name: str
) -> None:
    right = answers(world / "library", warm)
    mended = 0
    own = None if name.startswith("model/") else warm
    damages = random_damages(
        (world / "library" / name).read_bytes(),
        (world / "other" / name).read_bytes(),
        LIBRARY_FILES.index(name),
    )
    for what, data in damages:
        folder = copied(world, tmp_path / "library", name)
        (folder / name).write_bytes(data)
        sentence = outcome(folder, own, right, what)
        if mended < 3 and (sentence is not None or "swapped" in what):
            mends(folder, world, warm, right, what)
            mended += 1


def vector_places(data: bytes, folder: Path) -> list[int]:
    """Where vectors stand in a file of the library."""
    with vaeneer.Library.open(folder) as library:
        rows = library.catalog.execute("SELECT vector FROM crops WHERE scale = 0 ORDER BY id")
    return [data.index(vector) for (vector,) in rows if vector in data]


@pytest.mark.parametrize("name", ["items.faiss", "catalog.sqlite"])
def test_one_bit_of_a_vector_never_changes_an_answer(
    world: Path, tmp_path: Path, warm: Embedder, name: str
) -> None:
    right = answers(world / "library", warm)
    data = (world / "library" / name).read_bytes()
    starts = vector_places(data, world / "library")
    assert len(starts) >= 4  # the twin's stands there as well, perhaps as a second of equal bytes
    random = np.random.default_rng(5)
    places = [start + 2 * int(random.integers(16)) + 1 for start in starts for _ in range(6)]
    for bit in (6, 3):  # exponents of float16
        for what, spoilt in flipped(data, places, bit):
            folder = copied(world, tmp_path / "library", name)
            (folder / name).write_bytes(spoilt)
            outcome(folder, warm, right, f"{name}, {what}")
    mends(folder, world, warm, right, name)


def test_a_vector_changed_in_the_catalog_is_embedded_again(
    world: Path, tmp_path: Path, warm: Embedder
) -> None:
    right = answers(world / "library", warm)
    folder = copied(world, tmp_path / "library", "seal.json")
    connection = sqlite3.connect(folder / "catalog.sqlite")
    connection.execute("UPDATE crops SET vector = zeroblob(length(vector)) WHERE id = 2")
    connection.commit()
    connection.close()
    (folder / "seal.json").unlink()  # as after a run that was killed: each vector has a checksum
    (folder / "items.faiss").unlink()
    with pytest.raises(LibraryError, match=r"a vector of item 2\); mend it with: vaeneer index"):
        answers(folder, warm)
    mends(folder, world, warm, right, "a vector in the catalog")


def test_ids_of_an_index_never_take_memory(world: Path, tmp_path: Path, warm: Embedder) -> None:
    right = answers(world / "library", warm)
    data = (world / "library" / "items.faiss").read_bytes()
    with vaeneer.Library.open(world / "library") as library:
        ids = library.image_index.ids.astype("<i8").tobytes()
    start = data.index(ids[:8] + ids[8:16])
    places = [start + 8 * number + byte for number in range(4) for byte in (1, 4, 5)]
    for what, spoilt in flipped(data, places, 3):
        folder = copied(world, tmp_path / "library", "items.faiss")
        (folder / "items.faiss").write_bytes(spoilt)
        assert outcome(folder, warm, right, what) is None


def library_json_damages(facts: dict[str, Any]) -> Iterator[Damage]:
    for name in facts:
        yield f"without {name}", json.dumps({k: v for k, v in facts.items() if k != name}).encode()
        yield f"{name} a list", json.dumps(facts | {name: [1]}).encode()
        yield f"{name} null", json.dumps(facts | {name: None}).encode()
    for text in ("[]", "null", "3", '"x"', "[" * 100_000, '{"a":' * 50_000, "{", "\ufeff{}"):
        yield text[:20], text.encode()
    yield "not UTF-8", b"\xff\xfe\x00"


def test_library_json_is_made_again_whatever_is_in_it(
    world: Path, tmp_path: Path, warm: Embedder
) -> None:
    right = answers(world / "library", warm)
    facts = json.loads((world / "library" / "library.json").read_text(encoding="utf-8"))
    folder = copied(world, tmp_path / "library", "library.json")
    for number, (what, data) in enumerate(library_json_damages(facts)):
        (folder / "library.json").write_bytes(data)
        assert outcome(folder, warm, right, what) is None, what
        if number % 12 == 0:
            vaeneer.index(world / "images of library", library=folder, settings=FEW)
            with vaeneer.Library.open(folder) as library:
                assert library.facts()["items"] == 5, what


def test_a_map_is_right_or_laid_out_again(world: Path, tmp_path: Path) -> None:
    file = world / "library" / LAYOUT_NAME
    with vaeneer.Library.open(world / "library") as library:
        own = library.catalog.library
    right = read_layout(file, library=own)
    assert right is not None
    data, other = file.read_bytes(), (world / "other" / LAYOUT_NAME).read_bytes()
    damages = [*random_damages(data, other, 50, 40), *flipped(data, range(0, len(data), 97), 2)]
    target = tmp_path / LAYOUT_NAME
    for what, spoilt in damages:
        target.write_bytes(spoilt)
        found = read_layout(target, library=own)
        if found is not None:
            assert np.array_equal(found.xy, right.xy), what
            assert np.array_equal(found.crops, right.crops), what
    folder = copied(world, tmp_path / "library", LAYOUT_NAME)
    (folder / LAYOUT_NAME).write_bytes(other)
    report = vaeneer.map(folder, out=tmp_path / "map.parquet", settings=MapSettings(seed=1))
    assert report.items == 5
    assert vaeneer.doctor(folder).findings == []


def groups(folder: Path) -> list[Any]:
    report = vaeneer.duplicates(folder)
    return [(g.kind, [Path(i.path).name for i in g.items], g.confidence) for g in report.groups]


@pytest.mark.parametrize("name", ["duplicates.json", "sketches.bin"])
def test_duplicates_are_right_whatever_was_kept_of_them(
    world: Path, tmp_path: Path, name: str
) -> None:
    right = groups(world / "library")
    assert right
    data, other = ((world / one / name).read_bytes() for one in ("library", "other"))
    for what, spoilt in random_damages(data, other, len(name), 12):
        folder = copied(world, tmp_path / "library", name)
        if name == "sketches.bin":
            (folder / "duplicates.json").unlink()
        (folder / name).write_bytes(spoilt)
        assert groups(folder) == right, what


def test_a_damaged_thumbnail_is_never_shown_and_is_made_again(world: Path, tmp_path: Path) -> None:
    folder = copied(world, tmp_path / "library", "none")
    with vaeneer.Library.open(folder) as library:
        item = library.items()[0]
        right = np.asarray(library.thumbnail_image(item))
        whole = library.thumbnail(item).read_bytes()
        another = library.thumbnail(library.items()[1]).read_bytes()
        for what, spoilt in random_damages(whole, another, 77, 27):
            library.thumbnail(item).unlink()
            library.thumbnail(item).write_bytes(spoilt)
            if "swapped" in what:
                continue
            shown = np.asarray(library.thumbnail_image(item)).astype(int)
            assert np.abs(shown - right).mean() < 8, what  # WebP, or the picture itself
    report = vaeneer.index(world / "images of library", library=folder, settings=FEW)
    assert report.unchanged == 5
    assert vaeneer.doctor(folder).findings == []


# Models and runs


def test_damage_to_a_model_is_found_before_it_is_used(tmp_path: Path) -> None:
    right = {k: v.clone() for k, v in load(BOX / "surface-base").state_dict().items()}
    names = ("config.json", "model.safetensors", "readout.json", "readout.safetensors", SUMS)
    folder = tmp_path / "model"
    shutil.copytree(BOX / "surface-base", folder)
    loaded = 0
    for number, name in enumerate(names):
        data = (folder / name).read_bytes()
        other = (BOX / "reference-base" / name).read_bytes()
        aimed = flipped(data, list(range(len(data) // 2, len(data), len(data) // 16)), 6)
        for what, spoilt in [*random_damages(data, other, 30 + number, 18), *aimed]:
            (folder / name).write_bytes(spoilt)
            vae, sentence = tried(lambda: load(folder))
            assert vae or "copy the folder again" in sentence, f"{name}, {what}: {sentence}"
            if vae:
                loaded += 1
                weights = vae.state_dict()
                assert all(torch.equal(weights[k], right[k]) for k in right), what
        (folder / name).write_bytes(data)
    assert loaded < 5  # what was swapped for nothing else, at most
    assert load(folder).readout is not None


def test_a_model_of_an_older_version_loads_without_checksums(tmp_path: Path) -> None:
    shutil.copytree(BOX / "surface-base", tmp_path / "model")
    (tmp_path / "model" / SUMS).unlink()
    assert load(tmp_path / "model").readout is not None


def test_damage_to_the_state_of_a_run_is_found(tmp_path: Path) -> None:
    vae = build("surface", seed=3)
    optimizer = torch.optim.Adam(vae.parameters())
    for weight in vae.parameters():
        weight.grad = torch.ones_like(weight)
    optimizer.step()
    file = tmp_path / "state.safetensors"
    save_state(file, vae, None, optimizer, TrainState(epoch=3, step=17))
    data = file.read_bytes()
    header = [int(at) for at in np.random.default_rng(0).integers(0, 4000, 24)]
    tensors = list(range(len(data) - 2_000_000, len(data), 80_000))
    damages = [
        *random_damages(data, b"other", 60, 27),
        *flipped(data, header, 1),
        *flipped(data, tensors, 6),
    ]
    right = {name: value.clone() for name, value in vae.state_dict().items()}
    for what, spoilt in damages:
        file.write_bytes(spoilt)
        state, sentence = tried(lambda: load_state(file, vae, None, optimizer))
        assert state or "--init-from" in sentence, what
        if state:
            assert (state.epoch, state.step) == (3, 17), what
            assert all(torch.equal(vae.state_dict()[k], right[k]) for k in right), what
    file.write_bytes(data)
    assert load_state(file, vae, None, optimizer).step == 17


def test_a_state_of_an_older_version_is_read(tmp_path: Path) -> None:
    from dataclasses import asdict

    from safetensors.torch import save_file

    vae = build("surface", seed=3)
    optimizer = torch.optim.Adam(vae.parameters())
    tensors = {f"model.{name}": v.contiguous() for name, v in vae.state_dict().items()}
    file = tmp_path / "state.safetensors"
    save_file(tensors, file, metadata={"state": json.dumps(asdict(TrainState(step=5)))})
    assert load_state(file, vae, None, optimizer).step == 5


def test_damage_to_the_files_of_a_run_is_found(tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "run")
    run.root.mkdir()
    run.write_config(tmp_path, TrainSettings())
    run.write_facts({"data": {"fingerprint": "ab" * 32}})
    for epoch in (1, 2, 3):
        run.append_metrics({"epoch": epoch, "step": epoch * 10, "train": {"kl_nats": 1.5}})
    run.check()
    for number, file in enumerate((run.config, run.facts)):
        data = file.read_bytes()
        for what, spoilt in random_damages(data, b"[train]", 80 + number, 20):
            file.write_bytes(spoilt)
            if spoilt != data:
                with pytest.raises(VaeneerError, match="SHA-256"):
                    run.check()
            file.write_bytes(data)
            run.check(), what
    right = read_metrics(run.root)
    data = run.metrics.read_bytes()
    places = range(len(data))
    damages = random_damages(data, b"{}\n[1]\nnull\n", 90, 40)
    for what, spoilt in [*damages, *flipped(data, places, 0), *flipped(data, places, 4)]:
        run.metrics.write_bytes(spoilt)
        assert all(line in right for line in read_metrics(run.root)), what
    run.metrics.write_text('{"epoch": 1, "step": 4}\n' + "[" * 9999)  # of an older version, torn
    assert read_metrics(run.root) == [{"epoch": 1, "step": 4}]


# Data sets, packs and tables


def test_damage_to_a_manifest_is_found_and_prepare_mends_it(tmp_path: Path) -> None:
    raw, out = surfaces(tmp_path / "raw", 6, 3), tmp_path / "data"
    settings = PrepareSettings(min_side_px=16, workers=1)
    vaeneer.prepare(raw, out=out, settings=settings)
    right = read_manifest(out)
    assert right is not None
    file = out / MANIFEST_NAME
    data = file.read_bytes()
    footer = list(range(len(data) - 1500, len(data), 60))
    for what, spoilt in [*random_damages(data, b"PAR1", 100, 27), *flipped(data, footer, 0)]:
        file.write_bytes(spoilt)
        found, sentence = tried(lambda: read_manifest(out))
        assert found == right or "--overwrite" in sentence, what
    file.write_bytes(data[:-20])
    with pytest.raises(VaeneerError, match="prepare the data set again"):
        vaeneer.prepare(raw, out=out, settings=settings)
    vaeneer.prepare(raw, out=out, settings=settings, overwrite=True)
    again = read_manifest(out)
    assert again is not None
    assert [row.path for row in again.rows] == [row.path for row in right.rows]


@pytest.mark.parametrize("which", ["index.parquet", "pixels-*.bin", "checked.json"])
def test_a_pack_gives_the_right_pixels_whatever_happens_to_it(tmp_path: Path, which: str) -> None:
    folder = open_folder(surfaces(tmp_path / "images", 4, 4))
    layout, cache = PackLayout(48), tmp_path / "cache"

    def pixels() -> list[bytes]:
        pack = open_pack(folder, layout, cache=cache, workers=1)
        return [pack.image(number).tobytes() for number in range(len(pack))]

    right = pixels()
    assert pixels() == right
    for number in range(20):
        (file,) = cache.glob(f"*/*/{which}")
        data = file.read_bytes()
        what, spoilt = list(random_damages(data, b"other", 120, 20))[number]
        file.write_bytes(spoilt)
        assert pixels() == right, what


def test_damage_to_a_table_of_vectors_is_found(tmp_path: Path) -> None:
    import pyarrow

    vectors = np.random.default_rng(0).normal(size=(30, 8)).astype(np.float32)
    names = pyarrow.table({name: [f"{name} {n}" for n in range(30)] for name in ("file", "asset")})
    names = names.append_column("category", pyarrow.array(["wall"] * 30))
    file = tmp_path / "vectors.parquet"
    write_vectors(file, VectorTable(names, vectors, {"model": "surface-base"}))
    data = file.read_bytes()
    places = list(range(4, len(data), len(data) // 60))
    for what, spoilt in [*random_damages(data, b"PAR1", 140, 36), *flipped(data, places, 5)]:
        file.write_bytes(spoilt)
        found, sentence = tried(lambda: read_vectors(file))
        if found is None:
            assert "no file of vectors" in sentence
            continue
        assert np.array_equal(found.vectors, vectors), what
        assert found.names.equals(names.select(found.names.column_names)), what


def test_vectors_of_a_stopped_run_are_right_or_computed_again(tmp_path: Path) -> None:
    vectors = np.random.default_rng(0).normal(size=(64, 8)).astype(np.float32)
    out = tmp_path / "vectors.parquet"
    with partial_beside(out, Silent()) as partial:
        partial.compute(64, lambda _: vectors)
        (file,) = partial.folder.glob("*.npy")
        data = file.read_bytes()
        places = list(range(0, len(data), len(data) // 40))
        for what, spoilt in [*random_damages(data, b"x", 150, 27), *flipped(data, places, 6)]:
            file.write_bytes(spoilt)
            assert np.array_equal(partial.compute(64, lambda _: vectors)[0], vectors), what


# Errors that were a traceback once


def test_a_library_that_is_a_link_to_itself_is_one_sentence(world: Path, tmp_path: Path) -> None:
    link = tmp_path / "library"
    link.symlink_to(link)
    with pytest.raises(LibraryError, match="link"):
        vaeneer.index(world / "images of library", library=link, settings=FEW)
    with pytest.raises(VaeneerError):
        vaeneer.Library.open(link)
    with pytest.raises(VaeneerError):
        vaeneer.doctor(link)


def weights() -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in vaeneer.VAE().state_dict().items()}


def with_nan(found: dict[Any, Any]) -> None:
    next(iter(found.values()))[0] = float("nan")


def with_infinity(found: dict[Any, Any]) -> None:
    next(iter(found.values()))[0] = float("inf")


def as_integers(found: dict[Any, Any]) -> None:
    for name in found:
        found[name] = found[name].to(torch.int32)


def as_complex(found: dict[Any, Any]) -> None:
    for name in found:
        found[name] = found[name].to(torch.complex64)


def as_meta(found: dict[Any, Any]) -> None:
    for name in found:
        found[name] = found[name].to("meta")


def as_sparse(found: dict[Any, Any]) -> None:
    name = next(iter(found))
    found[name] = found[name].to_sparse()


def with_a_number_for_a_name(found: dict[Any, Any]) -> None:
    found[3] = found.pop(next(iter(found)))


@pytest.mark.parametrize(
    ("spoil", "match"),
    [
        (with_nan, "NaN"),
        (with_infinity, "infinite"),
        (as_integers, "int32"),
        (as_complex, "complex"),
        (as_meta, "without content"),
        (as_sparse, "sparse"),
        (with_a_number_for_a_name, "no state dict"),
    ],
)
def test_weights_that_are_none_are_not_imported(
    tmp_path: Path, spoil: Callable[[dict[Any, Any]], None], match: str
) -> None:
    found = weights()
    spoil(found)
    torch.save(found, tmp_path / "weights.pth")
    with pytest.raises(ModelFileError, match=match):
        vaeneer.import_weights(tmp_path / "weights.pth", out=tmp_path / "model")
    assert not (tmp_path / "model").exists()
