"""Model files: data only, whole or not at all, refused when they are damaged or foreign."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

import vaeneer
from vaeneer.errors import ModelFileError, OutputExistsError
from vaeneer.inspection import info
from vaeneer.model import bundled_models
from vaeneer.model.checkpoint import build, find_model, load, read_card, save
from vaeneer.model.projection import fit_calibration, fit_readout
from vaeneer.model.vae import VAE, ModelCard
from vaeneer.model.weights import import_weights
from vaeneer.settings import ARCHITECTURES, ReadoutSettings, has_recipe


@pytest.fixture(scope="module")
def vae() -> VAE:
    torch.manual_seed(11)
    return VAE().eval()


def same(first: VAE, second: VAE) -> bool:
    one, other = first.state_dict(), second.state_dict()
    return list(one) == list(other) and all(torch.equal(one[name], other[name]) for name in one)


def test_save_and_load_change_nothing(vae: VAE, tmp_path: Path) -> None:
    card = ModelCard(latent_mean=[0.25] * 512, figures={"nats_per_image": 1.5})
    vaeneer.save(vae, tmp_path / "model", card=card)
    loaded = vaeneer.load(tmp_path / "model")
    assert same(vae, loaded)
    assert not loaded.training
    assert loaded.card.latent_mean == card.latent_mean
    assert loaded.card.figures == card.figures
    assert loaded.card.parameters == 3_297_571
    images = torch.rand(2, 3, 254, 254)
    with torch.no_grad():
        assert torch.equal(vae(images).logits, loaded(images).logits)
    vaeneer.save(loaded, tmp_path / "again")
    files = [(tmp_path / name / "model.safetensors").read_bytes() for name in ("model", "again")]
    assert files[0] == files[1]


def test_a_model_folder_holds_data_files_only(vae: VAE, tmp_path: Path) -> None:
    save(vae, tmp_path / "model")
    files = sorted(path.name for path in (tmp_path / "model").iterdir())
    assert files == [".vaeneer.json", "SHA256SUMS", "config.json", "model.safetensors"]
    assert list(load_file(tmp_path / "model" / "model.safetensors").keys())
    assert json.loads((tmp_path / "model" / "config.json").read_text())["latent_size"] == 512


def test_saving_again_replaces_a_model_but_nothing_else(vae: VAE, tmp_path: Path) -> None:
    save(vae, tmp_path / "model", card=ModelCard(data={"images": 1}))
    save(vae, tmp_path / "model", card=ModelCard(data={"images": 2}))
    assert read_card(tmp_path / "model").data == {"images": 2}
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
    other = tmp_path / "thesis"
    other.mkdir()
    (other / "chapter.txt").write_text("1")
    with pytest.raises(OutputExistsError):
        save(vae, other)
    assert (other / "chapter.txt").read_text() == "1"


def test_a_failed_save_leaves_the_old_model(
    vae: VAE, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save(vae, tmp_path / "model", card=ModelCard(data={"images": 1}))

    def full(path: int) -> None:
        raise OSError("No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        save(vae, tmp_path / "model", card=ModelCard(data={"images": 2}))
    assert load(tmp_path / "model").card.data == {"images": 1}
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_a_run_stands_for_its_best_model_and_then_its_last(vae: VAE, tmp_path: Path) -> None:
    save(vae, tmp_path / "run" / "last")
    assert find_model(tmp_path / "run") == tmp_path / "run" / "last"
    save(vae, tmp_path / "run" / "best")
    assert find_model(tmp_path / "run") == tmp_path / "run" / "best"


def test_a_model_killed_between_two_renames_is_still_found(vae: VAE, tmp_path: Path) -> None:
    save(vae, tmp_path / "run" / "best")
    (tmp_path / "run" / "best").rename(tmp_path / "run" / "best.previous")
    assert find_model(tmp_path / "run") == tmp_path / "run" / "best.previous"
    assert find_model(tmp_path / "run" / "best") == tmp_path / "run" / "best.previous"


@pytest.mark.parametrize(
    ("file", "content", "what"),
    [
        ("config.json", b"{", "cannot be read"),
        ("config.json", b'{"colour": 1}', "cannot be read"),
        ("config.json", b'{"format": 99}', "format 99"),
        ("config.json", b'{"architecture": "cathedral"}', "cathedral"),
        ("config.json", b'{"latent_mean": [0.5]}', "latent_mean"),
        ("config.json", b'{"latent_mean": [NaN]}', "latent_mean"),
        ("config.json", b'{"training_mean_rgb": [1, 2]}', "training_mean_rgb"),
        ("config.json", b'{"latent_size": 1000000000000}', "latent_size"),
        ("config.json", b'{"latent_size": "512"}', "latent_size"),
        ("config.json", b'{"parameters": 7}', "parameters"),
        ("config.json", b'{"format": "1"}', "format"),
        ("config.json", b'{"data": []}', "data"),
        ("config.json", b"[1, 2]", "not an object"),
        ("config.json", b"null", "not an object"),
        ("config.json", b"[" * 100_000, "nested"),
        ("config.json", b"\xff\xfe", "cannot be read"),
        ("model.safetensors", b"damaged", "cannot be read"),
        ("model.safetensors", b"", "cannot be read"),
    ],
)
def test_damaged_or_newer_files_are_refused(
    vae: VAE, tmp_path: Path, file: str, content: bytes, what: str
) -> None:
    save(vae, tmp_path / "model")
    (tmp_path / "model" / file).write_bytes(content)
    with pytest.raises(ModelFileError, match="SHA-256"):
        load(tmp_path / "model")
    (tmp_path / "model" / "SHA256SUMS").unlink()  # as of an older version
    with pytest.raises(ModelFileError, match=what):
        load(tmp_path / "model")


def test_the_working_folder_can_be_a_run(
    vae: VAE, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save(vae, tmp_path / "best")
    monkeypatch.chdir(tmp_path)
    assert same(vae, load("."))


def test_loading_draws_no_random_numbers(vae: VAE, tmp_path: Path) -> None:
    save(vae, tmp_path / "model")
    before = torch.get_rng_state()
    load(tmp_path / "model")
    assert torch.equal(before, torch.get_rng_state())


def test_a_network_that_could_not_be_loaded_is_not_saved(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match="does not fit"):
        save(VAE(encoder=nn.Linear(2, 2)), tmp_path / "model")
    assert not (tmp_path / "model").exists()


def test_a_folder_without_a_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match="holds no model"):
        load(tmp_path)
    with pytest.raises(ModelFileError, match="holds no model"):
        load(tmp_path / "absent")


@pytest.mark.parametrize("prefix", ["", "module.", "_orig_mod.", "module._orig_mod."])
@pytest.mark.parametrize("nest", [None, "state_dict"])
def test_the_seeds_pth_files_load(vae: VAE, tmp_path: Path, prefix: str, nest: str | None) -> None:
    weights = {prefix + name: value for name, value in vae.state_dict().items()}
    torch.save({nest: weights, "epoch": 5} if nest else weights, tmp_path / "seed.pth")
    report = import_weights(tmp_path / "seed.pth", out=tmp_path / "model")
    assert report.parameters == 3_297_571
    assert same(vae, load(tmp_path / "model"))


def test_importing_with_the_training_images_learns_their_means(
    vae: VAE, tmp_path: Path, data_set: Path
) -> None:
    torch.save(vae.state_dict(), tmp_path / "seed.pth")
    import_weights(tmp_path / "seed.pth", out=tmp_path / "model", data=data_set / "train")
    card = read_card(tmp_path / "model")
    assert card.training_mean_rgb is not None
    assert all(0 < channel < 1 for channel in card.training_mean_rgb)
    assert card.latent_mean is not None
    assert len(card.latent_mean) == 512
    assert card.data["images"] == 10


class Evil(nn.Module):
    """A whole network, saved as the reference's author might: it needs code to load."""


def test_a_pickled_network_is_refused(tmp_path: Path) -> None:
    torch.save(Evil(), tmp_path / "network.pth")
    with pytest.raises(ModelFileError, match=r"state_dict\(\)"):
        import_weights(tmp_path / "network.pth", out=tmp_path / "model")
    assert not (tmp_path / "model").exists()


def test_code_in_a_pickle_is_not_run(tmp_path: Path) -> None:
    class Attack:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return (os.mkdir, (str(tmp_path / "owned"),))

    torch.save({"weights": Attack()}, tmp_path / "attack.pth")
    with pytest.raises(ModelFileError):
        import_weights(tmp_path / "attack.pth", out=tmp_path / "model")
    assert not (tmp_path / "owned").exists()


def test_weights_of_another_network_are_refused(vae: VAE, tmp_path: Path) -> None:
    weights = vae.state_dict()
    weights["encoder.mu.weight"] = torch.zeros(2, 2)
    torch.save(weights, tmp_path / "other.pth")
    with pytest.raises(ModelFileError, match=r"encoder\.mu\.weight"):
        import_weights(tmp_path / "other.pth", out=tmp_path / "model")
    torch.save({"answer": 42}, tmp_path / "no.pth")
    with pytest.raises(ModelFileError, match="no state dict"):
        import_weights(tmp_path / "no.pth", out=tmp_path / "model")
    (tmp_path / "text.pth").write_text("not weights")
    with pytest.raises(ModelFileError):
        import_weights(tmp_path / "text.pth", out=tmp_path / "model")
    with pytest.raises(ModelFileError):
        import_weights(tmp_path / "absent.pth", out=tmp_path / "model")


# The read-out beside the weights


@pytest.fixture
def searching(vae: VAE, tmp_path: Path) -> Path:
    """A model with a read-out and a probability."""
    random = np.random.default_rng(0)
    network = build("reference", seed=1)
    network.load_state_dict(vae.state_dict())
    network.readout = fit_readout(random.normal(size=(9, 4, 512)), ReadoutSettings(dimensions=5))
    network.calibration = fit_calibration(random.normal(1, 1, 30), random.normal(0, 1, 30))
    return save(network, tmp_path / "searching")


def test_a_read_out_is_kept_however_often_a_model_is_saved(searching: Path, tmp_path: Path) -> None:
    first = load(searching)
    save(first, tmp_path / "again", card=ModelCard(data={"images": 3}))
    second = load(tmp_path / "again")
    assert first.readout is not None
    assert second.readout is not None
    latents = np.random.default_rng(1).normal(size=(3, 512))
    np.testing.assert_array_equal(first.readout(latents), second.readout(latents))
    assert second.readout.settings == ReadoutSettings(dimensions=5)
    assert second.calibration == first.calibration is not None
    for name in ("readout.json", "readout.safetensors"):
        assert (searching / name).read_bytes() == (tmp_path / "again" / name).read_bytes()


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("readout.json", b"{"),
        ("readout.json", b"[]"),
        ("readout.json", b'{"format": 9}'),
        ("readout.json", b'{"format": 1}'),
        ("readout.json", None),
        ("readout.safetensors", b"damaged"),
        ("readout.safetensors", None),
    ],
)
def test_a_damaged_read_out_is_refused_with_the_remedy(
    searching: Path, file: str, content: bytes | None
) -> None:
    if content is None:
        (searching / file).unlink()
    else:
        (searching / file).write_bytes(content)
    with pytest.raises(ModelFileError, match="delete"):
        load(searching)


def test_the_read_out_of_another_network_is_refused(searching: Path, vae: VAE) -> None:
    wrong = {"mean": torch.zeros(7), "projection": torch.zeros(7, 2), "ratios": torch.zeros(2)}
    for tensors in (wrong, {"projection": torch.zeros(512, 2)}, {"mean": torch.zeros(512)}):
        save_file(tensors, searching / "readout.safetensors")
        with pytest.raises(ModelFileError, match="cannot be used"):
            load(searching)


# The bundled models


@pytest.fixture
def boxed(vae: VAE, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A box with one model, `wall-base`, in half precision; the working folder is another."""
    folder = save(vae, tmp_path / "models" / "wall-base")
    half = {name: value.half() if value.is_floating_point() else value
            for name, value in load_file(folder / "model.safetensors").items()}  # fmt: skip
    save_file(half, folder / "model.safetensors")
    (folder / "SHA256SUMS").unlink()
    monkeypatch.setattr(bundled_models, "BOX", tmp_path / "models")
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    return folder


def test_a_name_in_the_box_is_a_model(boxed: Path, vae: VAE) -> None:
    loaded = load("wall-base")
    assert {value.dtype for value in loaded.parameters()} == {torch.float32}
    for name, value in vae.state_dict().items():
        torch.testing.assert_close(loaded.state_dict()[name], value, rtol=1e-3, atol=1e-5)
    assert read_card("wall-base").parameters == 3_297_571
    assert info("wall-base").kind == "model"


def test_what_is_on_disk_goes_before_the_box(boxed: Path, vae: VAE) -> None:
    save(vae, "wall-base", card=ModelCard(data={"images": 5}))
    assert read_card("wall-base").data == {"images": 5}


def test_an_unknown_name_is_told_the_names(boxed: Path) -> None:
    for name in ("wall-bass", "wall"):
        with pytest.raises(ModelFileError, match=r"\(wall-base\)"):
            load(name)
    with pytest.raises(ModelFileError, match="no run"):
        load("./somewhere/wall-base")


def test_a_new_architecture_is_one_file_and_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "network_of_a_test.py").write_text(
        "from vaeneer.model.reference import Decoder, Encoder\n\n\n"
        "def layers():\n    return Encoder(), Decoder()\n"
    )
    monkeypatch.setitem(ARCHITECTURES, "new", "network_of_a_test")
    save(build("new", seed=0), tmp_path / "model")
    assert load(tmp_path / "model").card.architecture == "new"
    assert read_card(tmp_path / "model").latent_size == 512


def test_an_architecture_without_values_of_its_own_takes_those_of_any_recipe() -> None:
    assert has_recipe("surface", "new")
    assert has_recipe("surface", "surface")
    assert not has_recipe("surface", "reference")
