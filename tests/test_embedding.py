"""embed: a row for each image, vectors for search or latents, honest about what failed."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as parquet
import pytest
import torch

from conftest import Painter
from vaeneer.config import EmbedSettings
from vaeneer.data.images import read_rgb, resize_rgb
from vaeneer.data.loading import to_tensor
from vaeneer.errors import DataError, ModelFileError, OutputExistsError, SettingsError
from vaeneer.library.embedding import embed
from vaeneer.model.checkpoint import load, save
from vaeneer.model.embedder import Embedder

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
    embedder = Embedder.load(model, device="cpu", precision="float32")
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
        settings = replace(QUICK, **wrong)  # type: ignore[arg-type]
        with pytest.raises(SettingsError, match=next(iter(wrong))):
            embed(model, data_set / "valid", out=tmp_path / "w.parquet", settings=settings)
    with pytest.raises(SettingsError, match="batch_size"):
        embed(
            model,
            data_set / "valid",
            out=tmp_path / "w.parquet",
            settings=replace(QUICK, batch_size=0),
        )
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
