"""Similarity on small procedural folders under an untrained network: the protocol."""

from __future__ import annotations

import dataclasses
import itertools
import json
import math
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import settings as relaxed
from hypothesis import strategies as st
from PIL import Image
from torch import nn
from whitened_baseline import fit_whitening, save_whitening

from vaeneer.data.dataset import open_folder
from vaeneer.data.prepare import prepare
from vaeneer.errors import DataError, ModelFileError, OutputExistsError, SettingsError
from vaeneer.evaluation import representations as representations_module
from vaeneer.evaluation.baselines import FEATURES
from vaeneer.evaluation.pairs import different_pairs, different_pairs_inside
from vaeneer.evaluation.representations import (
    CropVectors,
    Representations,
    describe_reference_crops,
)
from vaeneer.evaluation.similarity import SimilarityReport, similarity
from vaeneer.model.checkpoint import save
from vaeneer.model.embedder import Embedder
from vaeneer.model.projection import unit_length
from vaeneer.model.vae import VAE, ModelCard
from vaeneer.progress import Silent
from vaeneer.settings import PrepareSettings, SimilaritySettings

QUICK = SimilaritySettings(
    pairs_per_image=2, different_pairs=150, bootstrap=20, device="cpu", precision="float32"
)
STRICT = dataclasses.replace(QUICK, protocol="strict", different_pairs=None)
LATENTS = ("sampled", "mean", "centred")
BASELINES = (
    "rgb_histogram",
    "grey_world_histogram",
    "lbp",
    "random_convolutions",
    "whitened",
    "reference_sampled",
    "reference_mean",
)
FIGURES = (
    "auc", "d_prime", "eer", "tpr_at_fpr_1e-2", "tpr_at_fpr_1e-3", "recall_at_1", "recall_at_5",
    "recall_at_10", "arr", "map",
)  # fmt: skip


def paint(file: Path, seed: int, side: int = 80) -> None:
    """A noisy surface in a colour of its own."""
    random = np.random.default_rng(seed)
    colour = np.array([seed * 37 % 200 + 20, seed * 91 % 200 + 20, seed * 53 % 200 + 20])
    pixels = colour + random.normal(0, 6, (side, side, 1))
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(file)


@pytest.fixture(scope="module")
def surfaces(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("surfaces")
    for place, name in enumerate(("bark", "cork", "felt", "lava", "reed", "silk")):
        paint(folder / f"{name}.png", place)
    return folder


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    card = ModelCard(latent_mean=[0.01] * 512)
    return save(VAE(), tmp_path_factory.mktemp("models") / "model", card=card)


@pytest.fixture(scope="module")
def written(model: Path, surfaces: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("out")
    similarity(model, surfaces, out=out, settings=QUICK)
    return out


@pytest.fixture(scope="module")
def report(model: Path, surfaces: Path) -> SimilarityReport:
    return similarity(model, surfaces, settings=QUICK)


def described(
    model: Path, folder: Path, settings: SimilaritySettings = QUICK, *, baselines: bool = False
) -> CropVectors:
    """The vectors of the reference crops of a folder."""
    embedder = Embedder(model, device="cpu", precision="float32", batch_size=settings.batch_size)
    representations = Representations(embedder, seed=settings.seed)
    if baselines:
        representations.add_baselines(model)
    items = open_folder(folder).items
    return describe_reference_crops(representations, items, settings, Silent())


def figures(report: SimilarityReport) -> dict[str, Any]:
    answer = report.to_dict()
    del answer["seconds"]
    return answer


def test_without_the_seeds_vae_in_the_box_a_note_says_so(
    model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(representations_module, "bundled_model", lambda path: None)
    representations = Representations(Embedder(model), seed=0)
    representations.add_baselines(model)
    assert representations_module.NO_REFERENCE in representations.notes
    rows = representations.describe(torch.rand(2, 3, 254, 254), [(0, 0, 0), (0, 0, 1)])
    assert set(rows) >= set(BASELINES[:-2])
    assert not set(rows) & set(BASELINES[-2:])


def test_report_says_what_was_compared(report: SimilarityReport) -> None:
    assert (report.images, report.assets, report.rounds) == (6, 6, 2)
    assert (report.same_pairs, report.different_pairs) == (12, 150)
    assert report.chance_recall_at_1 == pytest.approx(1 / 6)
    assert tuple(report.representations) == ("embedding", *LATENTS, *BASELINES)
    assert report.pictures == []
    assert (report.protocol, report.crops, report.photometric) == ("reference", 24, None)
    for row in report.representations.values():
        assert row.same_min <= row.same_mean <= row.same_max <= 1 + 1e-9
        assert row.different_min <= row.different_mean <= row.different_max <= 1 + 1e-9
        assert row.chance_auc == 0.5


def test_colour_alone_tells_coloured_surfaces_apart(report: SimilarityReport) -> None:
    row = report.representations["rgb_histogram"]
    assert row.auc > 0.99
    assert row.recall_at_1 > 0.9
    assert any(note.startswith("NOTE: RGB histogram") for note in report.notes)
    assert "behind in" in report.verdict


def test_seed_is_another_name_of_the_reference_protocol() -> None:
    assert SimilaritySettings(protocol="seed") == SimilaritySettings(protocol="reference")


def test_the_seed_decides(model: Path, surfaces: Path, report: SimilarityReport) -> None:
    once = figures(report)
    assert once == figures(similarity(model, surfaces, settings=QUICK))
    other = dataclasses.replace(QUICK, seed=1)
    assert once != figures(similarity(model, surfaces, settings=other))


@pytest.mark.parametrize("batch_size", [3, 64])
def test_the_batch_size_changes_nothing(model: Path, surfaces: Path, batch_size: int) -> None:
    settings = dataclasses.replace(QUICK, batch_size=batch_size)
    usual, found = described(model, surfaces).vectors, described(model, surfaces, settings).vectors
    for name in usual:
        np.testing.assert_allclose(found[name], usual[name], rtol=1e-4, atol=1e-5)


def test_a_sampled_image_gives_the_crops_that_it_gives_in_the_whole(
    model: Path, surfaces: Path
) -> None:
    every = described(model, surfaces)
    some = described(model, surfaces, dataclasses.replace(QUICK, max_images=3))
    assert len(some.items) == 3
    places = [every.items.index(item) for item in some.items]
    assert places == sorted(places)
    for name in every.vectors:
        np.testing.assert_allclose(
            some.vectors[name], every.vectors[name][places], rtol=1e-4, atol=1e-5
        )
    np.testing.assert_array_equal(some.crops_of(1), every.crops_of(places[1]))


def test_all_crops_differ(model: Path, surfaces: Path) -> None:
    vectors = described(model, surfaces, baselines=True).vectors
    assert vectors["sampled"].shape == (6, 4, 512)
    assert len(np.unique(vectors["rgb_histogram"].reshape(24, -1), axis=0)) == 24


def test_the_centred_mean_is_the_mean_less_the_centre(model: Path, surfaces: Path) -> None:
    vectors = described(model, surfaces).vectors
    np.testing.assert_allclose(vectors["centred"], vectors["mean"] - 0.01, atol=1e-7)


def test_the_embedding_is_the_embedders(model: Path, surfaces: Path) -> None:
    found = described(model, surfaces)
    embedder = Embedder(model, device="cpu", precision="float32")
    expected = embedder.embed(found.crops_of(2))
    np.testing.assert_allclose(found.vectors["embedding"][2], expected, atol=1e-5)


def test_without_a_centre_the_report_says_how_to_get_one(surfaces: Path, tmp_path: Path) -> None:
    report = similarity(save(VAE(), tmp_path / "model"), surfaces, settings=QUICK)
    assert "centred" not in report.representations
    assert any("vaeneer import-weights" in note for note in report.notes)


assets_of_images = st.lists(st.integers(0, 4), min_size=2, max_size=9).filter(
    lambda assets: len(set(assets)) > 1
)


@relaxed(deadline=None)
@given(assets_of_images, st.integers(1, 4), st.integers(1, 300), st.integers(0, 9))
def test_different_pairs_are_distinct_and_of_two_assets(
    assets: list[int], crops: int, limit: int, seed: int
) -> None:
    random = np.random.default_rng(seed)
    found = different_pairs(np.array(assets), crops, limit=limit, random=random)
    pairs = {
        frozenset(zip(images, places, strict=True))
        for images, places in zip(found.images.tolist(), found.crops.tolist(), strict=True)
    }
    every = {
        frozenset([(i, k), (j, m)])
        for i, j in itertools.combinations(range(len(assets)), 2)
        for k, m in itertools.product(range(crops), repeat=2)
        if assets[i] != assets[j]
    }
    assert len(pairs) == len(found.images) == min(limit, len(every))
    assert pairs <= every


@relaxed(deadline=None)
@given(assets_of_images, st.integers(1, 3), st.integers(1, 300), st.integers(0, 9))
def test_different_pairs_inside_a_group_are_of_that_group(
    assets: list[int], crops: int, limit: int, seed: int
) -> None:
    both, groups = np.array(assets + assets), np.repeat([3, 7], len(assets))
    random = np.random.default_rng(seed)
    found = different_pairs_inside(both, groups, crops, limit=limit, random=random)
    first, second = found.images.T
    assert (groups[first] == groups[second]).all()
    assert (both[first] != both[second]).all()
    every = len(different_pairs(np.array(assets), crops, limit=10**9, random=random))
    assert len(found) == min(limit, 2 * every)


def test_pairs_of_a_large_library_are_drawn_without_listing_them_all() -> None:
    assets = np.arange(100_000)
    random = np.random.default_rng(0)
    found = different_pairs(assets, 10, limit=20_000, random=random)  # of 5e11
    assert found.images.shape == (20_000, 2)
    assert 45_000 < found.images.mean() < 55_000


def test_two_files_of_one_asset_are_neither_same_nor_different(model: Path, tmp_path: Path) -> None:
    for place, name in enumerate(("oak_1k.png", "oak_2k.png", "elm_1k.png")):
        paint(tmp_path / name, place)
    report = similarity(model, tmp_path, settings=dataclasses.replace(QUICK, different_pairs=999))
    assert (report.images, report.assets) == (3, 2)
    assert report.different_pairs == 2 * 4 * 4  # elm with each oak, every crop with every crop
    assert report.chance_recall_at_1 == pytest.approx((1 / 2 + 1 / 2 + 1 / 3) / 3)


@pytest.mark.parametrize("protocol", ["reference", "strict"])
def test_a_broken_file_is_left_out_and_listed(
    model: Path, surfaces: Path, tmp_path: Path, protocol: Literal["reference", "strict"]
) -> None:
    for file in surfaces.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    broken = tmp_path / "felt.png"
    broken.write_bytes(broken.read_bytes()[:200])
    settings = dataclasses.replace(QUICK, protocol=protocol, baselines="off")
    report = similarity(model, tmp_path, settings=settings)
    assert report.images == 5
    assert list(report.skipped) == [str(broken)]


def test_a_broken_file_changes_no_other_images_crops(
    model: Path, surfaces: Path, tmp_path: Path
) -> None:
    for file in surfaces.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    whole = described(model, tmp_path, baselines=True).vectors["rgb_histogram"]
    broken = tmp_path / "felt.png"
    broken.write_bytes(broken.read_bytes()[:200])
    rest = described(model, tmp_path, baselines=True)
    assert "felt.png" not in [item.name for item in rest.items]
    np.testing.assert_array_equal(rest.vectors["rgb_histogram"], np.delete(whole, 2, axis=0))


def test_one_asset_is_refused_with_a_remedy(model: Path, tmp_path: Path) -> None:
    paint(tmp_path / "data" / "oak_1k.png", 0)
    paint(tmp_path / "data" / "oak_2k.png", 1)
    with pytest.raises(DataError, match="1 assets; similarity compares at least two"):
        similarity(model, tmp_path / "data", out=tmp_path / "out", settings=QUICK)
    assert not (tmp_path / "out").exists()


def test_one_readable_asset_is_refused(model: Path, tmp_path: Path) -> None:
    paint(tmp_path / "oak.png", 0)
    (tmp_path / "elm.png").write_text("no picture")
    with pytest.raises(DataError, match=r"1 readable images \(of 2 files\)"):
        similarity(model, tmp_path, settings=QUICK)


@pytest.mark.parametrize(
    "name",
    ["pairs_per_image", "max_images", "different_pairs", "bootstrap", "batch_size", "scale_gap"],
)
def test_settings_out_of_range_are_refused(model: Path, surfaces: Path, name: str) -> None:
    values: dict[str, Any] = {name: -1}
    with pytest.raises(SettingsError, match=f"{name} is -1"):
        similarity(model, surfaces, settings=dataclasses.replace(QUICK, **values))


def test_constant_images_give_finite_figures(model: Path, tmp_path: Path) -> None:
    for name in ("ash", "fog", "ink"):
        Image.new("RGB", (70, 70), (90, 90, 90)).save(tmp_path / f"{name}.png")
    report = similarity(model, tmp_path, out=tmp_path / "out", settings=QUICK)
    row = report.representations["rgb_histogram"]
    assert (row.auc, row.d_prime, row.eer) == (0.5, 0.0, 0.5)
    assert all_finite(report.to_dict())


def test_images_without_any_spread_have_no_d_prime(model: Path, tmp_path: Path) -> None:
    for name, colour in (("ash", 40), ("fog", 130), ("ink", 220)):
        Image.new("L", (70, 70), colour).save(tmp_path / f"{name}.png")
    row = similarity(model, tmp_path, settings=QUICK).representations["rgb_histogram"]
    assert (row.auc, row.d_prime, row.eer) == (1.0, None, 0.0)
    assert row.intervals["d_prime"] is None


def test_a_dead_representation_is_at_chance(surfaces: Path, tmp_path: Path) -> None:
    vae = VAE()
    nn.init.zeros_(vae.encoder.get_parameter("mu.weight"))
    nn.init.zeros_(vae.encoder.get_parameter("mu.bias"))
    report = similarity(save(vae, tmp_path / "model"), surfaces, settings=QUICK)
    row = report.representations["mean"]
    assert (row.same_mean, row.different_mean, row.auc) == (0, 0, 0.5)
    assert row.recall_at_1 == pytest.approx(row.chance_recall_at_1)
    assert all_finite(report.to_dict())


def test_a_broken_network_is_named(surfaces: Path, tmp_path: Path) -> None:
    vae = VAE()
    nn.init.constant_(vae.encoder.get_parameter("mu.bias"), math.nan)
    with pytest.raises(ModelFileError, match="not finite"):
        similarity(save(vae, tmp_path / "model"), surfaces, settings=QUICK)


def test_unit_vectors_have_length_one_or_stay_zero() -> None:
    vectors = np.array([[[3e30, 4e30], [0, 0], [1e-30, 0]]], np.float32)
    np.testing.assert_allclose(
        unit_length(vectors.astype(np.float64)), [[[0.6, 0.8], [0, 0], [1, 0]]]
    )


def test_json_is_the_report(written: Path) -> None:
    answer = json.loads((written / "similarity.json").read_text(encoding="utf-8"))
    assert {"images", "same_pairs", "different_pairs", "chance_recall_at_1"} <= set(answer)
    assert set(answer["representations"]) == {"embedding", *LATENTS, *BASELINES}
    for row in answer["representations"].values():
        assert set(row["intervals"]) == set(FIGURES) <= set(row)
        for name in FIGURES:
            low, high = row["intervals"][name]
            assert low <= high
        for name in ("auc", "d_prime", "eer", "recall_at_1"):  # as earlier versions named them
            assert row[f"{name}_ci95"] == row["intervals"][name]
    assert all_finite(answer)


def test_pictures_are_there_and_open(written: Path) -> None:
    answer = json.loads((written / "similarity.json").read_text(encoding="utf-8"))
    names = {"similarity.png", "roc.png", "hardest.png", "confused.png"}
    names |= {f"{kind}-image-{name}.png" for kind in ("same", "different") for name in LATENTS}
    assert {Path(picture).name for picture in answer["pictures"]} == names
    for picture in answer["pictures"]:
        with Image.open(picture) as image:
            image.load()
            assert min(image.size) > 300


def test_an_output_folder_in_use_is_kept(model: Path, surfaces: Path, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(OutputExistsError):
        similarity(model, surfaces, out=tmp_path, settings=QUICK)
    assert (tmp_path / "notes.txt").read_text() == "mine"


def all_finite(value: Any) -> bool:
    if isinstance(value, dict):
        return all(map(all_finite, value.values()))
    if isinstance(value, (list, tuple)):
        return all(map(all_finite, value))
    return not isinstance(value, float) or math.isfinite(value)


def test_one_page_holds_the_table_and_the_pictures(written: Path) -> None:
    page = (written / "similarity.html").read_text(encoding="utf-8")
    assert page.count("data:image/") == 10  # four and the reference's six
    assert "grey-world RGB histogram" in page
    assert "<b>1.0000</b>" in page


def test_without_baselines_the_model_stands_alone(model: Path, surfaces: Path) -> None:
    alone = dataclasses.replace(QUICK, baselines="off")
    report = similarity(model, surfaces, settings=alone)
    assert tuple(report.representations) == ("embedding", *LATENTS)
    assert report.verdict == ""
    whole = similarity(model, surfaces, settings=QUICK)
    assert report.representations["mean"] == whole.representations["mean"]


@pytest.fixture(scope="module")
def strict(
    model: Path, surfaces: Path, tmp_path_factory: pytest.TempPathFactory
) -> SimilarityReport:
    out = tmp_path_factory.mktemp("strict")
    return similarity(model, surfaces, out=out / "found", settings=STRICT)


def test_the_strict_protocol_compares_every_crop_with_every_other(strict: SimilarityReport) -> None:
    for name in ("photometric", "plain"):
        variant = getattr(strict, name)
        assert (variant.images, variant.crops, variant.gallery_size) == (6, 24, 23)
        assert (variant.same_pairs, variant.different_pairs) == (6 * 6, 15 * 16)
        assert variant.chance["arr"] == pytest.approx(3 / 23)
    for name in ("photometric_scale_gap", "plain_scale_gap"):
        variant = getattr(strict, name)
        assert (variant.crops, variant.gallery_size) == (24, 12)
        assert (variant.same_pairs, variant.different_pairs) == (6 * 4, 15 * 8)
        assert variant.chance["recall_at_1"] == pytest.approx(2 / 12)


def test_the_json_of_the_strict_protocol_has_both_variants(strict: SimilarityReport) -> None:
    answer = json.loads(json.dumps(strict.to_dict(), allow_nan=False))
    for part in (answer, answer["photometric"], answer["plain"]):
        assert part["protocol"] == "strict"
        assert (part["images"], part["crops"]) == (6, 24)
        assert set(part["representations"]) == {"embedding", *LATENTS, *BASELINES}
        for row in part["representations"].values():
            assert set(FIGURES) <= set(row)
    assert answer["representations"] == answer["photometric"]["representations"]
    assert answer["plain"] != answer["photometric"]


def test_light_defeats_the_colour_histogram_and_not_the_grey_world(
    strict: SimilarityReport,
) -> None:
    assert strict.plain is not None
    assert strict.photometric is not None
    assert strict.plain.representations["rgb_histogram"].auc > 0.95
    assert strict.photometric.representations["rgb_histogram"].auc < 0.85


def test_strict_pictures_are_there(strict: SimilarityReport) -> None:
    kinds = ("similarity", "roc", "hardest", "confused")
    names = {f"{kind}-{name}.png" for kind in kinds for name in ("photometric", "plain")}
    assert {Path(picture).name for picture in strict.pictures} == names
    page = Path(strict.page or "").read_text(encoding="utf-8")
    assert page.count("data:image/") == 8


def test_the_strict_figures_follow_the_seed(
    model: Path, surfaces: Path, strict: SimilarityReport
) -> None:
    """The same without the baselines beside the model, which change none of its figures."""
    alone = dataclasses.replace(STRICT, baselines="off")
    found = [
        similarity(model, surfaces, settings=dataclasses.replace(alone, seed=seed)).photometric
        for seed in (STRICT.seed, 1)
    ]
    for name in ("embedding", *LATENTS):
        same, other = (variant.representations[name] for variant in found if variant)
        assert same == strict.photometric.representations[name]
        assert other != same


@pytest.mark.parametrize("settings", [QUICK, STRICT])
def test_hard_negatives_are_of_the_same_category(
    model: Path, tmp_path: Path, settings: SimilaritySettings
) -> None:
    names = ("wood/oak", "wood/elm", "wood/ash", "stone/slate", "stone/chalk", "glass/pane")
    for place, name in enumerate((*names, "paper/card")):
        paint(tmp_path / "raw" / f"{name}.png", place)
    rows = ["file,split", *(f"{name}.png,train" for name in names), "paper/card.png,valid"]
    (tmp_path / "split.csv").write_text("\n".join(rows), encoding="utf-8")
    prepare(
        tmp_path / "raw",
        out=tmp_path / "data",
        settings=PrepareSettings(split=tmp_path / "split.csv"),
    )
    report = similarity(
        model,
        tmp_path / "data" / "train",
        settings=dataclasses.replace(settings, baselines="off", different_pairs=None),
    )
    hard = report.inside_category
    assert hard is not None
    assert (hard.images, hard.categories) == (5, 2)  # the one of glass has no rival
    assert hard.different_pairs == (3 + 1) * 4 * 4
    if settings.protocol == "strict":
        assert hard.gallery_size == pytest.approx((3 * 11 + 2 * 7) / 5)


def test_without_categories_there_are_no_hard_negatives(report: SimilarityReport) -> None:
    assert report.inside_category is None


def test_another_whitening_can_be_given(
    model: Path, surfaces: Path, report: SimilarityReport, tmp_path: Path
) -> None:
    random = np.random.default_rng(0)
    whitening = fit_whitening(random.random((30, 2, FEATURES)).astype(np.float32))
    file = save_whitening(whitening, tmp_path / "own.safetensors")
    own = similarity(model, surfaces, settings=dataclasses.replace(QUICK, whitened=file))
    assert own.representations["whitened"] != report.representations["whitened"]
    assert own.representations["lbp"] == report.representations["lbp"]


@pytest.mark.parametrize(("name", "value"), [("protocol", "hard"), ("baselines", "some")])
def test_unknown_words_are_refused(model: Path, surfaces: Path, name: str, value: str) -> None:
    values: dict[str, Any] = {name: value}
    with pytest.raises(SettingsError, match=f"{name} is '{value}'"):
        similarity(model, surfaces, settings=dataclasses.replace(QUICK, **values))
