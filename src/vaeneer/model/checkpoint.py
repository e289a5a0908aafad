"""The one place that reads and writes model files: safetensors + JSON, never pickle.

A model is a folder: `model.safetensors` (the weights), `config.json` (a `ModelCard`), where it
has a read-out, two files of that (checkpoint.py), and SHA256SUMS of them all.
docs/formats.md lists every field.
"""

from __future__ import annotations

import dataclasses
import pickle
from dataclasses import asdict
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors import numpy as numpy_tensors
from safetensors.torch import load_file, save_file
from torch import Tensor

from vaeneer.checksums import damaged_file, write_sums
from vaeneer.errors import ModelFileError
from vaeneer.files import atomic_dir, native_name, new_output_dir, read_json, write_json
from vaeneer.model.bundled_models import BOX, bundled_model, bundled_names
from vaeneer.model.projection import Calibration, Readout, calibration_of
from vaeneer.model.vae import FORMAT, VAE, ModelCard, card_of, in_channels_last
from vaeneer.settings import ARCHITECTURES, ReadoutSettings
from vaeneer.storage import storage_error

READOUT_TENSORS, READOUT_FACTS = "readout.safetensors", "readout.json"
READOUT_FORMAT = 1
_OLDER_NAMES = {"dead": "min_relative_std", "weigh": "discriminant_power"}
"""Settings of projections from before vaeneer 0.1 -> today's names."""
READOUT_REMEDY = (
    f"delete {READOUT_TENSORS} and {READOUT_FACTS} there to do without them, or run vaeneer"
    " calibrate then"
)
WEIGHTS = "model.safetensors"
CARD = "config.json"
MODEL_FILES = (CARD, WEIGHTS, READOUT_FACTS, READOUT_TENSORS)
"""What a model folder is read from; SHA256SUMS lists those that are there."""
_PREFIXES = ("module.", "_orig_mod.")  # DataParallel's and torch.compile's
_NESTS = ("state_dict", "model_state_dict", "model")  # where training scripts keep the weights


def build(architecture: str, *, seed: int | None = None) -> VAE:
    """A network with the first weights of its own layers, drawn from `seed` where one is given.

    Raises KeyError for an unknown name.
    """
    layers = import_module(ARCHITECTURES[architecture]).layers
    with torch.random.fork_rng(devices=[], enabled=seed is not None):
        if seed is not None:
            torch.manual_seed(seed)
        vae = VAE(*layers())
    vae.card = ModelCard(architecture=architecture)
    return vae


def write_readout(folder: Path, readout: Readout, calibration: Calibration | None) -> None:
    """Write both files into a model folder that is being made (`atomic_dir`)."""
    tensors = {name: np.ascontiguousarray(getattr(readout, name)) for name in _shapes(0, 0)}
    numpy_tensors.save_file(tensors, folder / READOUT_TENSORS)
    facts = {
        "settings": asdict(readout.settings),
        "calibration": None if calibration is None else asdict(calibration),
        "data": readout.data,
        "figures": readout.figures,
        "vaeneer_version": version("vaeneer"),
        "format": READOUT_FORMAT,
    }
    write_json(folder / READOUT_FACTS, facts)


def read_readout(folder: Path, size: int) -> tuple[Readout | None, Calibration | None]:
    """The read-out of a model whose texture has `size` latents, and its probability; None: none.

    Raises ModelFileError when a file is missing, damaged, newer or another model's.
    """
    there = [(folder / name).is_file() for name in (READOUT_TENSORS, READOUT_FACTS)]
    if not any(there):
        return None, None
    try:
        if not all(there):
            raise ValueError("one of the two files is missing")
        facts = _facts(folder)
        if facts["format"] > READOUT_FORMAT:
            raise ValueError(
                f"it has format {facts['format']}, and this vaeneer reads {READOUT_FORMAT}"
            )
        with native_name(folder / READOUT_TENSORS) as name:
            tensors = numpy_tensors.load_file(name)
        _check(tensors, size)
        known = facts["calibration"]
        readout = Readout(
            **tensors,
            settings=ReadoutSettings(
                **{_OLDER_NAMES.get(name, name): value for name, value in facts["settings"].items()}
            ),
            data=dict(facts["data"]),
            figures=dict(facts["figures"]),
        )
        return readout, None if known is None else calibration_of(known)
    except (OSError, ValueError, TypeError, KeyError, AttributeError, SafetensorError) as error:
        raise storage_error(error, folder / READOUT_TENSORS, verb="read") or ModelFileError(
            f"The read-out in {folder} cannot be used ({type(error).__name__}: {error});"
            f" {READOUT_REMEDY}."
        ) from error


def readout_facts(folder: Path) -> dict[str, Any] | None:
    """What readout.json says, without its long lists; None where a model has no read-out.

    Raises ModelFileError when it cannot be read.
    """
    if not (folder / READOUT_FACTS).is_file():
        return None
    try:
        facts = _facts(folder)
        (facts.get("calibration") or {}).pop("reliability", None)
    except (OSError, ValueError, AttributeError) as error:
        raise storage_error(error, folder / READOUT_FACTS, verb="read") or ModelFileError(
            f"{folder / READOUT_FACTS} cannot be read ({error}); {READOUT_REMEDY}."
        ) from error
    return facts


def _facts(folder: Path) -> dict[str, Any]:
    """What readout.json says. Raises OSError, or ValueError for a damaged file."""
    if (damaged := damaged_file(folder, (READOUT_FACTS,))) is not None:
        raise ValueError(f"{damaged} is damaged: another SHA-256")
    facts = read_json(folder / READOUT_FACTS)
    if not isinstance(facts, dict):
        raise ValueError("readout.json holds no object")
    return facts


def _shapes(size: int, dimensions: int) -> dict[str, tuple[int, ...]]:
    return {"mean": (size,), "projection": (size, dimensions), "ratios": (dimensions,)}


def _check(tensors: dict[str, np.ndarray], size: int) -> None:
    """Raise ValueError unless the tensors are those of a read-out of `size` latents."""
    dimensions = tensors["projection"].shape[-1]
    wanted, found = _shapes(size, dimensions), {name: t.shape for name, t in tensors.items()}
    if found != wanted:
        raise ValueError(f"its tensors are {found}, and the model needs {wanted}")
    for name, values in tensors.items():
        if values.dtype != np.float32 or not np.isfinite(values).all():
            raise ValueError(f"{name} is not finite float32")


def save(vae: VAE, path: Path | str, *, card: ModelCard | None = None) -> Path:
    """Write a model folder, whole or not at all; a model that was there is replaced.

    Without `card`, the network's own is kept (as loaded); so are its read-out and its probability,
    where it has them. Raises OutputExistsError when `path` holds something other than a model,
    ModelFileError when the network is not the card's.
    """
    folder = Path(path)
    if folder.exists() and not (folder / "config.json").is_file():
        new_output_dir(folder, kind="model")  # empty is fine; anything else is not ours to replace
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
    with atomic_dir(folder, kind="model", size_bytes=size_bytes) as temporary:
        save_file(weights, temporary / WEIGHTS)
        write_json(temporary / "config.json", dataclasses.asdict(known))
        if vae.readout is not None:
            write_readout(temporary, vae.readout, vae.calibration)
        write_sums(temporary, MODEL_FILES)
    return folder


def load(path: Path | str, *, device: torch.device | str = "cpu") -> VAE:
    """Read a model in eval mode: a model folder, a run (its best model) or a bundled model's name.

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
    """Read what config.json says of a model (a model folder, a run or the name of a bundled model).

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
    if damaged in (READOUT_FACTS, READOUT_TENSORS):
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

    A bare name that is not on disk is a bundled model's. Raises ModelFileError for none.
    """
    folder = Path(path)
    boxed = bundled_model(folder)
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
        known = ", ".join(bundled_names()) or "none"
        raise ModelFileError(
            f"{folder} is no folder here and no bundled model ({known}): it holds no model."
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
