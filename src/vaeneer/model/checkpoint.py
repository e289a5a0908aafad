"""The one place that reads and writes model files: safetensors + JSON, never pickle.

A model is a folder: `model.safetensors` (the weights), `config.json` (a `ModelCard`), where it
has a read-out, two files of that (readout_files.py), and SHA256SUMS of them all.
docs/formats.md lists every field.
"""

from __future__ import annotations

import dataclasses
import pickle
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from vaeneer.checksums import damaged_file, write_sums
from vaeneer.errors import ModelFileError
from vaeneer.files import claim_folder, native_name, read_json, replacing_folder, write_json
from vaeneer.model.architectures import ARCHITECTURES, build
from vaeneer.model.box import BOX, box_model, box_names
from vaeneer.model.card import FORMAT, ModelCard, card_of
from vaeneer.model.readout_files import (
    FACTS,
    READOUT_REMEDY,
    TENSORS,
    read_readout,
    write_readout,
)
from vaeneer.model.vae import VAE, in_channels_last
from vaeneer.storage import storage_error

WEIGHTS = "model.safetensors"
CARD = "config.json"
MODEL_FILES = (CARD, WEIGHTS, FACTS, TENSORS)
"""What a model folder is read from; SHA256SUMS lists those that are there."""
_PREFIXES = ("module.", "_orig_mod.")  # DataParallel's and torch.compile's
_NESTS = ("state_dict", "model_state_dict", "model")  # where training scripts keep the weights


def save(vae: VAE, path: Path | str, *, card: ModelCard | None = None) -> Path:
    """Write a model folder, whole or not at all; a model that was there is replaced.

    Without `card`, the network's own is kept (as loaded); so are its read-out and its probability,
    where it has them. Raises OutputExistsError when `path` holds something other than a model,
    ModelFileError when the network is not the card's.
    """
    folder = Path(path)
    if folder.exists() and not (folder / "config.json").is_file():
        claim_folder(folder, kind="model")  # empty is fine; anything else is not ours to replace
    known = dataclasses.replace(
        card or vae.card,
        image_side_px=vae.image_side_px,
        latent_size=vae.latent_size,
        parameters=sum(weight.numel() for weight in vae.parameters()),
        vaeneer_version=version("vaeneer"),
    )
    weights = {name: value.detach().cpu().contiguous() for name, value in vae.state_dict().items()}
    _check_fits(_empty(known.architecture), weights, f"the network to save in {folder}")
    size_bytes = sum(value.nbytes for value in weights.values())
    with replacing_folder(folder, kind="model", size_bytes=size_bytes) as temporary:
        save_file(weights, temporary / WEIGHTS)
        write_json(temporary / "config.json", dataclasses.asdict(known))
        if vae.readout is not None:
            write_readout(temporary, vae.readout, vae.calibration)
        write_sums(temporary, MODEL_FILES)
    return folder


def load(path: Path | str, *, device: torch.device | str = "cpu") -> VAE:
    """Read a model in eval mode: a model folder, a run (its best model) or a name in the box.

    What is known beside the weights is at hand as `.card`, `.readout` and `.calibration`. Weights
    in half precision become float32. Each file is compared with SHA256SUMS, where that is there.
    Raises ModelFileError when something is missing or damaged.
    """
    folder = find_model(path)
    check_model_files(folder)
    card = read_card(folder)
    try:
        with native_name(folder / WEIGHTS) as file:
            weights = {name: _full(value) for name, value in load_file(file).items()}
    except (OSError, ValueError, SafetensorError) as error:
        raise storage_error(error, folder / WEIGHTS, verb="read") or ModelFileError(
            f"{folder / WEIGHTS} cannot be read: {error}; {_remedy(folder)}."
        ) from error
    vae = _empty(card.architecture)
    _check_fits(vae, weights, str(folder / WEIGHTS))
    vae.load_state_dict(weights, assign=True)
    vae.card = card
    vae.readout, vae.calibration = read_readout(folder, vae.texture_size or vae.latent_size)
    in_channels_last(vae)
    return vae.to(device).eval()


def read_card(path: Path | str) -> ModelCard:
    """Read what config.json says of a model (a model folder, a run or a name in the box).

    Raises ModelFileError for a missing, damaged or newer file, or an unknown architecture.
    """
    folder = find_model(path)
    file = folder / CARD
    try:
        if (damaged := damaged_file(folder, (CARD,))) is not None:
            raise ValueError(f"{damaged} is damaged: another SHA-256")
        values = read_json(file)
        newer = values.get("format", FORMAT) if isinstance(values, dict) else FORMAT
        if type(newer) is int and newer > FORMAT:
            raise ModelFileError(
                f"{file} has format {newer}; this vaeneer reads up to {FORMAT}; update vaeneer."
            )
        card = card_of(values)
        if card.training_mean_rgb is not None:  # JSON has no tuples
            red, green, blue = card.training_mean_rgb
            card = dataclasses.replace(card, training_mean_rgb=(red, green, blue))
    except (OSError, ValueError, TypeError) as error:
        raise storage_error(error, file, verb="read") or ModelFileError(
            f"{file} cannot be read as a model's config: {error}; {_remedy(folder)}."
        ) from error
    if card.architecture not in ARCHITECTURES:
        raise ModelFileError(
            f"{file} names the architecture {card.architecture!r};"
            f" this vaeneer knows {', '.join(ARCHITECTURES)}."
        )
    _check_sizes(card, file)
    if card.latent_mean is not None and len(card.latent_mean) != card.latent_size:
        raise ModelFileError(
            f"{file} has a latent_mean of {len(card.latent_mean)} numbers, not {card.latent_size}."
        )
    return card


def check_model_files(folder: Path) -> None:
    """Raise ModelFileError for the first file of a model that is not as SHA256SUMS has it."""
    try:
        damaged = damaged_file(folder, MODEL_FILES)
    except OSError as error:
        raise storage_error(error, folder, verb="read") or ModelFileError(
            f"{folder} cannot be read: {error}; {_remedy(folder)}."
        ) from error
    if damaged in (FACTS, TENSORS):
        raise ModelFileError(
            f"The read-out in {folder} cannot be used ({damaged} is damaged: its SHA-256 is not"
            f" that in SHA256SUMS); {_remedy(folder)}, or {READOUT_REMEDY}."
        )
    if damaged is not None:
        raise ModelFileError(
            f"{folder / damaged} is damaged: its SHA-256 is not that in SHA256SUMS;"
            f" {_remedy(folder)}, or delete SHA256SUMS there if you changed the file."
        )


def find_model(path: Path | str) -> Path:
    """The model folder meant by `path`: itself, or a run's best model, else its last.

    A bare name that is not on disk is looked for in the box. Raises ModelFileError for none.
    """
    folder = Path(path)
    boxed = box_model(folder)
    if boxed is not None:
        folder = boxed
    for place in (folder, folder / "best", folder / "last"):
        killed_while_saving = place.parent / f"{place.name}.previous"
        for candidate in (place, killed_while_saving):
            if (candidate / "config.json").is_file() and (candidate / WEIGHTS).is_file():
                return candidate
    if folder.is_file():
        raise ModelFileError(
            f"{folder} is a file; a model is a folder (vaeneer import-weights makes one)."
        )
    if not folder.exists() and folder.name == str(folder):
        known = ", ".join(box_names()) or "none"
        raise ModelFileError(
            f"{folder} is no folder here and no model in the box ({known}): it holds no model."
        )
    raise ModelFileError(f"{folder} holds no model (config.json, model.safetensors) and no run.")


def read_foreign_weights(file: Path | str) -> dict[str, Tensor]:
    """The tensors in a `.pth` or `.safetensors` file of another program, prefixes stripped.

    Read as data only (`weights_only=True`): a file that would have to run code is refused.
    Raises ModelFileError.
    """
    path = Path(file)
    try:
        if path.suffix == ".safetensors":
            with native_name(path) as name:
                loaded: Any = load_file(name)
        else:
            loaded = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise ModelFileError(
            f"{path} is damaged, or would have to run code to load, which vaeneer refuses;"
            " save the network's state_dict() instead of the network."
        ) from error
    except (OSError, RuntimeError, EOFError, ValueError, SafetensorError) as error:
        raise storage_error(error, path, verb="read") or ModelFileError(
            f"{path} cannot be read as weights: {error}"
        ) from error
    for nest in _NESTS:
        if isinstance(loaded, dict) and isinstance(loaded.get(nest), dict):
            loaded = loaded[nest]
    if not isinstance(loaded, dict) or not all(
        isinstance(name, str) and isinstance(value, Tensor) for name, value in loaded.items()
    ):
        raise ModelFileError(
            f"{path} holds no state dict (names with tensors); save the network's state_dict()."
        )
    for name, value in loaded.items():
        if (fault := _fault_of(value)) is not None:
            raise ModelFileError(
                f"{path} has {fault} in {name[:80]!r}; save finite float32 weights."
            )
    return {_strip(name): value for name, value in loaded.items()}


def _fault_of(value: Tensor) -> str | None:
    """What makes a tensor useless as a weight."""
    if value.is_meta:
        return "a tensor without content (of the meta device)"
    if value.layout is not torch.strided or value.is_quantized:
        return "a sparse or quantized tensor"
    if value.is_complex():
        return "complex numbers"
    return None if bool(value.isfinite().all()) else "numbers that are NaN or infinite"


def load_foreign_weights(vae: VAE, file: Path | str) -> None:
    """Put another program's weights into `vae`; names and shapes must be the same."""
    weights = read_foreign_weights(file)
    _check_fits(vae, weights, str(file))
    vae.load_state_dict(weights)


def _remedy(folder: Path) -> str:
    """How to get a model folder whole again."""
    if folder.resolve().is_relative_to(BOX.resolve()):
        return "install vaeneer again"
    if (folder.parent / "catalog.sqlite").is_file():
        return f"vaeneer index puts it back (IMAGES --library {folder.parent})"
    return "copy the folder again from where it came from, or train or import it again"


def _check_sizes(card: ModelCard, file: Path) -> None:
    """Raise ModelFileError unless a card has the sizes of its architecture."""
    vae = _empty(card.architecture)
    parameters = sum(weight.numel() for weight in vae.parameters())
    for name, wanted in (
        ("image_side_px", vae.image_side_px),
        ("latent_size", vae.latent_size),
        ("parameters", parameters),
    ):
        found = getattr(card, name)
        if found != wanted and not (name == "parameters" and found == 0):
            raise ModelFileError(
                f"{file} has {name} = {found}, and the {card.architecture} network has {wanted};"
                f" {_remedy(file.parent)}."
            )


def _full(values: Tensor) -> Tensor:
    """What was stored in half precision, in float32."""
    return values.float() if values.is_floating_point() else values


def _strip(name: str) -> str:
    while name.startswith(_PREFIXES):
        name = name.split(".", 1)[1]
    return name


def _empty(architecture: str) -> VAE:
    """A network to load weights into: nothing is drawn from anyone's random numbers.

    Built on the device "meta" it would import PyTorch's compiler, which takes longer than a search.
    """
    with torch.random.fork_rng(devices=[]):
        return build(architecture)


def _kind(value: Tensor) -> tuple[int | str, ...]:
    """The shape of a tensor, and what its numbers are where they are no weights."""
    return (*value.shape, *(() if value.is_floating_point() else (str(value.dtype),)))


def _check_fits(vae: VAE, weights: dict[str, Tensor], what: str) -> None:
    wanted = {name: _kind(value) for name, value in vae.state_dict().items()}
    found = {name: _kind(value) for name, value in weights.items()}
    wrong = [name for name in wanted | found if wanted.get(name) != found.get(name)]
    if wrong:
        first = wrong[0]
        raise ModelFileError(
            f"{what} does not fit the architecture: {len(wrong)} tensors differ, the first is"
            f" {first} (wanted {wanted.get(first, 'none')}, found {found.get(first, 'none')});"
            f" import the weights of a network with its layers, in floating point."
        )
