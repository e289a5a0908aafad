"""embed: a row for each image, vectors for search or latents, honest about what failed."""

from __future__ import annotations

import csv
import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as parquet
import pytest
import torch

from conftest import Painter
from vaeneer.data.images import read_rgb, resize_rgb
from vaeneer.data.loader import to_tensor
from vaeneer.errors import (
    DataError,
    LibraryError,
    ModelFileError,
    OutputExistsError,
    SettingsError,
)
from vaeneer.library.embed import tables
from vaeneer.library.embed.embed import embed
from vaeneer.library.embed.tables import merge_vectors, read_vectors
from vaeneer.library.library import Library
from vaeneer.model.checkpoint import load, save
from vaeneer.model.embedder import Embedder
from vaeneer.progress import Silent
from vaeneer.settings import EmbedSettings

SEARCH = EmbedSettings(device="cpu", precision="float32", batch_size=3)
QUICK = replace(SEARCH, vectors="latent")


def vectors(path: Path) -> np.ndarray:
    return np.stack(parquet.read_table(path)["vector"].to_numpy(zero_copy_only=False))


def test_vectors_are_those_of_the_embedder(model: Path, paint: Painter, tmp_path: Path) -> None:
    folder = tmp_path / "images"
    for number in range(3):
        paint(folder / f"wall_{number}.png", number, side_px=160)
    report = embed(model, folder, out=tmp_path / "v.parquet", settings=SEARCH)
    assert (report.images, report.dimensions, report.representation) == (3, 512, "embedding")
    table = parquet.read_table(tmp_path / "v.parquet")
    assert table.column_names == ["file", "asset", "category", "vector"]
    files = [folder / name for name in table["file"].to_pylist()]
    embedder = Embedder(model, device="cpu", precision="float32")
    np.testing.assert_allclose(
        vectors(tmp_path / "v.parquet"), embedder.embed_files(files), atol=1e-5
    )
    centre = replace(SEARCH, views="centre")
    embed(model, folder, out=tmp_path / "c.parquet", settings=centre)
    assert not np.array_equal(vectors(tmp_path / "c.parquet"), vectors(tmp_path / "v.parquet"))


def test_latents_are_the_centred_posterior_means_of_the_whole_images(
    model: Path, data_set: Path, tmp_path: Path
) -> None:
    report = embed(model, data_set / "valid", out=tmp_path / "v.parquet", settings=QUICK)
    table = parquet.read_table(tmp_path / "v.parquet")
    assert (report.images, report.dimensions, report.representation) == (4, 512, "centred")
    vae = load(model)
    for name, vector in zip(
        table["file"].to_pylist(), vectors(tmp_path / "v.parquet"), strict=True
    ):
        image = resize_rgb(read_rgb(data_set / "valid" / name), 254)
        expected = vae.representation(to_tensor([image]))[0] - torch.tensor(vae.card.latent_mean)
        np.testing.assert_allclose(vector, expected.numpy(), atol=1e-5)


def test_batches_and_precision_change_little(model: Path, data_set: Path, tmp_path: Path) -> None:
    answers = []
    for number, settings in enumerate(
        (QUICK, replace(QUICK, batch_size=1), replace(QUICK, precision="bfloat16"))
    ):
        out = tmp_path / f"{number}.parquet"
        embed(model, data_set / "valid", out=out, settings=settings)
        answers.append(vectors(out))
    np.testing.assert_allclose(answers[1], answers[0], atol=1e-5)
    np.testing.assert_allclose(answers[2], answers[0], atol=2e-3)


def test_a_model_without_a_centre_gives_the_means(data_set: Path, tmp_path: Path) -> None:
    from vaeneer.model.vae import VAE

    save(VAE(), tmp_path / "model")
    report = embed(
        tmp_path / "model", data_set / "valid", out=tmp_path / "v.parquet", settings=QUICK
    )
    assert report.representation == "mean"


def test_broken_files_are_listed_and_the_rest_embedded(
    model: Path, data_set: Path, tmp_path: Path
) -> None:
    shutil.copytree(data_set / "valid", tmp_path / "images")
    (tmp_path / "images" / "broken.jpg").write_bytes(b"\xff\xd8 nothing")
    report = embed(model, tmp_path / "images", out=tmp_path / "v.parquet", settings=QUICK)
    assert report.images == 4
    assert [Path(name).name for name in report.skipped] == ["broken.jpg"]
    json.dumps(report.to_dict(), allow_nan=False)


def test_what_cannot_be_done_is_said_and_nothing_is_lost(
    model: Path, data_set: Path, tmp_path: Path
) -> None:
    (tmp_path / "v.parquet").write_text("mine")
    with pytest.raises(OutputExistsError, match="--overwrite"):
        embed(model, data_set / "valid", out=tmp_path / "v.parquet", settings=QUICK)
    assert (tmp_path / "v.parquet").read_text() == "mine"
    with pytest.raises(DataError, match="not a folder"):
        embed(model, tmp_path / "absent", out=tmp_path / "w.parquet", settings=QUICK)
    for wrong in ({"vectors": "pixels"}, {"views": "none"}):
        with pytest.raises(SettingsError, match=next(iter(wrong))):
            replace(QUICK, **wrong)  # type: ignore[arg-type]
    with pytest.raises(SettingsError, match="batch_size"):
        replace(QUICK, batch_size=0)
    vae = load(model)
    with torch.no_grad():
        vae.encoder.mu.bias.fill_(float("nan"))
    save(vae, tmp_path / "broken")
    for settings in (QUICK, SEARCH):
        with pytest.raises(ModelFileError, match="not finite"):
            embed(
                tmp_path / "broken",
                data_set / "valid",
                out=tmp_path / "w.parquet",
                settings=settings,
            )
    assert not (tmp_path / "w.parquet").exists()


@pytest.fixture
def six(paint: Painter, tmp_path: Path) -> Path:
    """A folder of six small images."""
    for number in range(6):
        paint(tmp_path / "images" / f"wall_{chr(97 + number)}.png", number)
    return tmp_path / "images"


@pytest.fixture
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "CHUNK_IMAGES", 2)


def files_below(folder: Path) -> set[str]:
    return {file.name for file in folder.iterdir()}


def test_an_array_has_its_ids_beside_it(model: Path, six: Path, tmp_path: Path) -> None:
    report = embed(model, six, out=tmp_path / "v.npy", settings=QUICK)
    embed(model, six, out=tmp_path / "v.parquet", settings=QUICK)
    found = np.load(tmp_path / "v.npy")
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, vectors(tmp_path / "v.parquet"))
    with (tmp_path / "v.ids.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    names = parquet.read_table(tmp_path / "v.parquet")["file"].to_pylist()
    assert [row["file"] for row in rows] == names
    assert [int(row["row"]) for row in rows] == list(range(6))
    assert report.files == [str(tmp_path / "v.npy"), str(tmp_path / "v.ids.csv")]
    with pytest.raises(SettingsError, match="suffix"):
        embed(model, six, out=tmp_path / "v.txt", settings=QUICK)


@pytest.mark.parametrize("out", ["v.parquet", "v.npy"])
@pytest.mark.parametrize("calls", [0, 1, 2])
def test_a_killed_run_goes_on_and_ends_as_an_undisturbed_one(
    model: Path,
    six: Path,
    tmp_path: Path,
    small_chunks: None,
    monkeypatch: pytest.MonkeyPatch,
    calls: int,
    out: str,
) -> None:
    target, whole = tmp_path / "killed" / out, tmp_path / "whole" / out
    for settings in (SEARCH, QUICK):
        embed(model, six, out=whole, settings=settings, overwrite=True)
        target.parent.mkdir(exist_ok=True)
        with monkeypatch.context() as patched:
            kill_after(patched, calls)
            with pytest.raises(KeyboardInterrupt):
                embed(model, six, out=target, settings=settings, overwrite=True)
        report = embed(model, six, out=target, settings=settings, overwrite=True)
        assert report.resumed == 2 * calls
        assert files_below(target.parent) == files_below(whole.parent)
        for name in files_below(whole.parent):
            assert (target.parent / name).read_bytes() == (whole.parent / name).read_bytes()


def kill_after(patched: pytest.MonkeyPatch, calls: int) -> None:
    """Let as many chunks be written, and be killed when the next one is."""
    real, done = tables.np.save, []

    def save_or_die(*arguments: object, **named: object) -> None:
        if len(done) == calls:
            raise KeyboardInterrupt
        done.append(1)
        real(*arguments, **named)

    patched.setattr(tables.np, "save", save_or_die)


def test_what_is_left_is_used_only_for_the_same_job_and_whole(
    model: Path,
    six: Path,
    tmp_path: Path,
    small_chunks: None,
    monkeypatch: pytest.MonkeyPatch,
    paint: Painter,
) -> None:
    out = tmp_path / "v.parquet"

    def killed(settings: EmbedSettings) -> None:
        with monkeypatch.context() as patched:
            kill_after(patched, 2)
            with pytest.raises(KeyboardInterrupt):
                embed(model, six, out=out, settings=settings)

    killed(QUICK)
    (tmp_path / "v.parquet.partial" / "000001.npy").write_bytes(b"\x93NUMPY torn")
    assert embed(model, six, out=out, settings=QUICK).resumed == 2
    expected = vectors(out)
    out.unlink()
    killed(SEARCH)
    report = embed(model, six, out=out, settings=QUICK)
    assert report.resumed == 0  # other vectors
    np.testing.assert_array_equal(vectors(out), expected)
    out.unlink()
    killed(QUICK)
    paint(six / "wall_a.png", 77)
    assert embed(model, six, out=out, settings=QUICK).resumed == 0  # another picture
    assert not np.array_equal(vectors(out)[0], expected[0])
    np.testing.assert_array_equal(vectors(out)[1:], expected[1:])


def test_the_second_that_writes_one_output_says_so_and_leaves(
    model: Path, six: Path, tmp_path: Path
) -> None:
    out = tmp_path / "v.parquet"
    with (
        tables.partial_beside(out, Silent()),
        pytest.raises(OutputExistsError, match="another process"),
    ):
        embed(model, six, out=out, settings=QUICK)
    assert embed(model, six, out=out, settings=QUICK).images == 6
    assert not (tmp_path / "v.parquet.partial").exists()


@pytest.mark.parametrize(("out", "count"), [("v.parquet", 3), ("v.npy", 8)])
def test_shards_joined_are_the_whole(
    model: Path, six: Path, tmp_path: Path, out: str, count: int
) -> None:
    (six / "wall_a.png").write_bytes(b"no image")  # of eight parts, one has nothing else
    whole, target = tmp_path / "whole" / out, tmp_path / out
    embed(model, six, out=whole, settings=QUICK)
    for number in range(1, count + 1):
        part = embed(model, six, out=target, settings=replace(QUICK, shard=f"{number}/{count}"))
        assert part.out == f"{target}.shard-{number}-of-{count}.parquet"
    report = merge_vectors(target)
    assert (report.shards, report.images, report.dimensions) == (count, 5, 512)
    for name in files_below(whole.parent) - {"v.parquet"}:
        if name.endswith(".npy"):
            np.testing.assert_allclose(np.load(target), np.load(whole), atol=1e-5)
        else:
            assert (tmp_path / name).read_bytes() == (whole.parent / name).read_bytes()
    if out == "v.parquet":
        one, two = parquet.read_table(whole), parquet.read_table(target)
        assert one.select(["file", "asset", "category"]) == two.select(
            ["file", "asset", "category"]
        )
        np.testing.assert_allclose(vectors(target), vectors(whole), atol=1e-5)
    assert not list(tmp_path.glob("*.partial"))


def test_shards_that_do_not_fit_are_not_joined(
    model: Path, six: Path, tmp_path: Path, paint: Painter
) -> None:
    out = tmp_path / "v.parquet"

    def part(shard: str, settings: EmbedSettings = QUICK) -> None:
        embed(model, six, out=out, settings=replace(settings, shard=shard), overwrite=True)

    with pytest.raises(DataError, match="no shards"):
        merge_vectors(out)
    part("1/2")
    with pytest.raises(DataError, match="lacks shard 2/2"):
        merge_vectors(out)
    part("2/2", SEARCH)
    with pytest.raises(DataError, match="another representation"):
        merge_vectors(out)
    paint(six / "wall_f.png", 78)
    part("2/2")
    with pytest.raises(DataError, match="another folder_sha256"):
        merge_vectors(out)
    part("1/2")
    assert merge_vectors(out).images == 6
    with pytest.raises(OutputExistsError, match="--overwrite"):
        merge_vectors(out)
    part("3/3")
    with pytest.raises(DataError, match="of 2 and of 3"):
        merge_vectors(out, overwrite=True)
    (tmp_path / "v.parquet.shard-3-of-3.parquet").unlink()
    (tmp_path / "v.parquet.shard-2-of-2.parquet").write_bytes(b"PAR1")
    with pytest.raises(DataError, match="no file of vectors"):
        merge_vectors(out, overwrite=True)
    for wrong in ("0/2", "3/2", "1", "a/b", "1/2/3"):
        with pytest.raises(SettingsError, match="shard is"):
            part(wrong)


# What a library holds


@pytest.fixture(scope="module")
def export(small_library: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("export") / "v.parquet"
    embed(small_library, out=out)
    return out


def test_a_library_is_exported_with_its_parts(small_library: Path, export: Path) -> None:
    table = parquet.read_table(export)
    assert table.column_names == [
        "file", "asset", "category", "item", "part", "x", "y", "width", "height", "vector",
    ]  # fmt: skip
    rows, found = table.drop_columns(["vector"]).to_pylist(), vectors(export)
    with Library(small_library) as library:
        items = library.items()
        ids, wholes = library.vectors()
        whole = [place for place, row in enumerate(rows) if row["part"] == "whole"]
        assert [rows[place]["file"] for place in whole] == [item.path for item in items]
        order = [ids.tolist().index(rows[place]["item"]) for place in whole]
        assert np.array_equal(found[whole], wholes[order])
        parts = library.catalog.parts()
        assert len(rows) == len(wholes) + len(parts.vectors)
        known = {(crop.item, *crop.box) for crop in library.catalog.crops(parts.crops).values()}
    boxes = {tuple(row[name] for name in ("item", "x", "y", "width", "height"))
             for row in rows if row["part"] != "whole"}  # fmt: skip
    assert boxes == known
    assert {row["part"] for row in rows} == {"whole", "square", "half"}
    firsts = [
        place
        for place in range(len(rows))
        if not place or rows[place]["item"] != rows[place - 1]["item"]
    ]
    assert firsts == whole  # in front of its parts
    facts = json.loads(parquet.read_metadata(export).metadata[b"vaeneer"])
    assert (facts["model"], facts["representation"]) == ("surface-base", "embedding")


def test_an_array_of_a_library_has_the_parts_beside_it(
    small_library: Path, export: Path, tmp_path: Path
) -> None:
    report = embed(small_library, out=tmp_path / "v.npy")
    assert [Path(file).name for file in report.files] == ["v.npy", "v.ids.csv"]
    assert np.array_equal(np.load(tmp_path / "v.npy"), vectors(export))
    with (tmp_path / "v.ids.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert report.images == sum(row["part"] == "whole" for row in rows)
    assert report.images + report.parts == len(rows)
    assert report.library == str(small_library)


def test_an_indexed_folder_and_an_open_library_mean_the_same(
    small_library: Path, export: Path, tmp_path: Path
) -> None:
    with Library(small_library) as library:
        embed(library, out=tmp_path / "a.parquet")
        assert len(library) == 24  # still open
    assert np.array_equal(vectors(tmp_path / "a.parquet"), vectors(export))
    merged = read_vectors(export)
    assert merged.names["part"].to_pylist().count("whole") == 24


def test_an_export_imports_no_pytorch(small_library: Path, tmp_path: Path) -> None:
    code = (
        "import sys, vaeneer; vaeneer.embed(sys.argv[1], out=sys.argv[2]);"
        " assert 'torch' not in sys.modules"
    )
    command = [sys.executable, "-c", code, str(small_library), str(tmp_path / "v.parquet")]
    subprocess.run(command, check=True)


def test_what_is_no_library_is_refused_with_what_to_do(
    small_library: Path, model: Path, tmp_path: Path
) -> None:
    out = tmp_path / "v.parquet"
    for name in ("surface-base", model):
        with pytest.raises(SettingsError, match=r"is a model; .*vaeneer embed \S+ IMAGES"):
            embed(name, out=out)
    with pytest.raises(LibraryError, match="is no library; make one with: vaeneer index"):
        embed(tmp_path, out=out)
    with pytest.raises(LibraryError, match="does not exist"):
        embed(tmp_path / "absent", out=out)
    for setting in ({"vectors": "latent"}, {"shard": "1/2"}, {"all_maps": True}):
        with pytest.raises(SettingsError, match=f"{next(iter(setting))} is .*as they are"):
            embed(small_library, out=out, settings=EmbedSettings(**setting))  # type: ignore[arg-type]
    with Library(small_library) as library, pytest.raises(SettingsError, match="is no model"):
        embed(library, tmp_path, out=out)
    assert not out.exists()
