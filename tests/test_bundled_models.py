"""The bundled models: small, free, by name, and good enough to search with at once."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from vaeneer.cli.app import run
from vaeneer.data.crops import STRICT_COLUMNS, StrictRecipe, centre_square, strict_crops
from vaeneer.data.synthetic.synthesize import FAMILIES, surface
from vaeneer.evaluation.baselines import BASELINES, load_whitening, whitened_features
from vaeneer.model.bundled_models import BOX, bundled_names
from vaeneer.model.checkpoint import load
from vaeneer.model.embedder import Embedder
from vaeneer.rng import UniformRows
from vaeneer.settings import TrainSettings
from vaeneer.training.train import train

pytestmark = pytest.mark.usefixtures("few_crops", "no_plots")
NAMES = ("reference-base", "surface-base")
FREE = ("CC0", "Public domain")
MOST_BYTES = 12 * 10**6
FIGURES = {
    "auc", "d_prime", "eer", "tpr_at_fpr_1e-2", "tpr_at_fpr_1e-3",
    "recall_at_1", "recall_at_5", "recall_at_10", "arr", "map", "intervals",
}  # fmt: skip


@pytest.fixture(scope="module")
def embedder() -> Embedder:
    return Embedder("surface-base", device="cpu")


@pytest.fixture(scope="module")
def crops() -> np.ndarray:
    """Strict photometric crops of surfaces that no model has seen, (n, 4, 3, 254, 254)."""
    squares = [surface(family, seed=77, side_px=568) for family in FAMILIES]
    rows = UniformRows("strict crop", 0, 0, columns=STRICT_COLUMNS).rows(range(len(squares)))
    return np.stack(
        [
            strict_crops(centre_square(square), row, StrictRecipe())
            for square, row in zip(squares, rows, strict=True)
        ]
    )


def recall_at_1(vectors: np.ndarray) -> float:
    """Share of crops whose nearest other crop is of their surface; vectors (n * 4, D)."""
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    cosines = unit @ unit.T
    np.fill_diagonal(cosines, -np.inf)
    return float((cosines.argmax(1) // 4 == np.arange(len(vectors)) // 4).mean())


def test_the_box_holds_what_the_documentation_says() -> None:
    assert bundled_names() == list(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_a_model_is_small_and_in_half_precision(name: str) -> None:
    files = list((BOX / name).iterdir())
    assert sum(file.stat().st_size for file in files) <= MOST_BYTES
    weights = load_file(BOX / name / "model.safetensors")
    kinds = {value.dtype for value in weights.values() if value.is_floating_point()}
    assert kinds == {torch.float16}
    assert all(value.isfinite().all() for value in weights.values())
    assert all(weight.dtype == torch.float32 for weight in load(name).parameters())


@pytest.mark.parametrize("name", NAMES)
def test_a_model_says_of_what_it_was_made(name: str) -> None:
    made = json.loads((BOX / name / "made.json").read_text(encoding="utf-8"))
    assert made["images"] == 256
    assert sum(made["licences"].values()) == sum(made["sources"].values()) == 256
    assert all(any(free in licence for free in FREE) for licence in made["licences"])
    assert "benchmarks/box_models.py" in made["provenance"]["command"]
    assert "epoch" in (BOX / name / "log.txt").read_text(encoding="utf-8")
    card = (BOX / name / "README.md").read_text(encoding="utf-8")
    for heading in ("## Data", "## Recipe", "## Figures", "## Limits"):
        assert heading in card


def test_unseen_surfaces_are_found_in_another_light(embedder: Embedder, crops: np.ndarray) -> None:
    images = torch.from_numpy(crops).flatten(0, 1)
    found = recall_at_1(embedder.embed(images))
    assert found >= 0.95
    baselines = [describe(images).numpy() for _, describe in BASELINES.values()]
    baselines.append(load_whitening()(whitened_features(images)).numpy())
    assert found >= max(recall_at_1(vectors) for vectors in baselines)


def test_cosines_have_a_probability(embedder: Embedder, crops: np.ndarray) -> None:
    vectors = embedder.embed(crops[:, :2].reshape(-1, 3, 254, 254)).reshape(len(crops), 2, -1)
    same = (vectors[:, 0] * vectors[:, 1]).sum(1)
    different = (vectors[:, 0] * np.roll(vectors[:, 1], 1, axis=0)).sum(1)
    assert np.median(embedder.probability(same)) > 0.9
    assert np.median(embedder.probability(different)) < 0.1


def test_the_precision_of_the_machine_changes_no_vector(crops: np.ndarray) -> None:
    images = crops[0]
    exact, lower = (
        Embedder("surface-base", device="cpu", precision=precision).embed(images)
        for precision in ("float32", "bfloat16")
    )
    assert np.array_equal(exact, lower)


@pytest.mark.slow
def test_the_strict_protocol_prints_one_object(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As the issue that asked for it spells the command and the object."""
    monkeypatch.chdir(tmp_path)
    for number, family in enumerate(list(FAMILIES)[:5]):
        image = Image.fromarray(surface(family, seed=number, side_px=300))
        folder = tmp_path / "images" / f"surface_{number}"
        folder.mkdir(parents=True)
        image.save(folder / "colour.png")
    command = ["similarity", "surface-base", "images", "--protocol", "strict", "--json"]
    assert run([*command, "--bootstrap", "20"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["protocol"] == "strict"
    for variant in ("photometric", "plain"):
        assert (found[variant]["images"], found[variant]["crops"]) == (5, 20)
        rows = found[variant]["representations"]
        assert {"embedding", "rgb_histogram", "whitened", "reference_mean"} <= set(rows)
        assert set(rows["embedding"]) >= FIGURES
        assert set(rows["embedding"]["intervals"]) == FIGURES - {"intervals"}
        assert rows["embedding"]["recall_at_1"] >= 0.9
    assert not any(BOX.rglob("similarity*")), "nothing is written into the package"
    assert run([*command, "--baselines", "off", "--bootstrap", "20", "--overwrite"]) == 0
    alone = json.loads(capsys.readouterr().out)["photometric"]["representations"]
    assert set(alone) == {"embedding", "sampled", "mean", "centred"}


@pytest.mark.slow
def test_a_run_goes_on_from_the_box(data_set: Path, tmp_path: Path) -> None:
    settings = TrainSettings(init_from="surface-base", epochs=1, batch_size=8, device="cpu")
    line = train(data_set, out=tmp_path / "run", settings=settings).figures
    assert math.isfinite(line["valid"]["excess_nats"])
    assert line["valid"]["texture_active_units"] > 10
    assert load(tmp_path / "run").card.architecture == "surface"
