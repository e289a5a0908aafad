"""Where a run stands, in one safetensors file: a resumed run goes on to the bit.

Order, crops and latents are functions of (seed, epoch, index) and (seed, step), so the random
state is those numbers; beside them weights, optimizer and running sums are kept.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor
from torch.optim import Optimizer

from vaeneer.checksums import BLANK, STAMP_KEY, is_whole, stamp
from vaeneer.errors import ModelFileError, NonFiniteLossError
from vaeneer.files import atomic_write, native_name
from vaeneer.model.vae import VAE
from vaeneer.rng import rng_for
from vaeneer.storage import storage_error

_REMEDY = (
    "the run cannot go on; its models in best/ and last/ are whole where vaeneer doctor says so:"
    " start a new run from one with --init-from, or put the file back from a copy."
)


@dataclass
class TrainState:
    """Counts of a run under way. Sums are over the images of the current epoch so far."""

    epoch: int = 0
    """Epochs finished."""
    batches_done: int = 0
    """Batches finished in the current epoch."""
    step: int = 0
    """Optimizer steps since the start."""
    seconds: float = 0.0
    """Time spent in training steps, over all sittings."""
    epoch_seconds: float = 0.0
    """Of it, in the current epoch."""
    best_loss: float | None = None
    best_epoch: int = 0
    sums: dict[str, float] = field(default_factory=dict)

    def add(self, **amounts: float) -> None:
        """Add to the sums of the current epoch."""
        for name, amount in amounts.items():
            self.sums[name] = self.sums.get(name, 0.0) + amount

    def add_seconds(self, seconds: float) -> None:
        """Count time spent training."""
        self.seconds += seconds
        self.epoch_seconds += seconds

    def close_epoch(self) -> None:
        """Count the epoch as finished and start the next one's sums."""
        self.epoch += 1
        self.batches_done, self.epoch_seconds, self.sums = 0, 0.0, {}

    def mean(self, name: str) -> float:
        """A sum divided by the images seen in the current epoch."""
        return self.sums[name] / self.sums["images"]


def save_state(
    path: Path, vae: VAE, averaged: VAE | None, optimizer: Optimizer, state: TrainState
) -> None:
    """Write weights, their averages, optimizer and counts to one file, whole or not at all.

    Raises NonFiniteLossError, with the file left as it was, when a weight is not finite.
    """
    check_weights(vae, path)
    tensors = {f"model.{name}": value for name, value in vae.state_dict().items()}
    if averaged is not None:
        tensors |= {f"averaged.{name}": value for name, value in averaged.state_dict().items()}
    for index, slots in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{index}.{name}": value for name, value in slots.items()}
    counts = {"state": json.dumps(asdict(state)), STAMP_KEY: BLANK}
    whole = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
    size_bytes = sum(value.nbytes for value in whole.values())
    with atomic_write(path, size_bytes=size_bytes) as temporary:
        save_file(whole, temporary, metadata=counts)
        stamp(temporary)


def check_weights(vae: VAE, path: Path) -> None:
    """Raise NonFiniteLossError when a step has made a weight NaN or infinite."""
    if not all(bool(weight.isfinite().all()) for weight in vae.parameters()):
        raise NonFiniteLossError(
            f"The weights became NaN or infinite; the last good state is in {path}."
            " Start again with a smaller --learning-rate."
        )


def load_state(path: Path, vae: VAE, averaged: VAE | None, optimizer: Optimizer) -> TrainState:
    """Put back what `save_state` wrote. Raises ModelFileError when the file is damaged."""
    state, tensors = read_state(path)
    try:
        vae.load_state_dict(_below("model.", tensors))
        if averaged is not None:
            averaged.load_state_dict(_below("averaged.", tensors))
        slots: dict[int, dict[str, Any]] = {}
        weights = list(vae.parameters())
        for name, value in _below("optimizer.", tensors).items():
            index, _, slot = name.partition(".")
            slots.setdefault(int(index), {})[slot] = _laid_out_as(weights[int(index)], value)
        groups = optimizer.state_dict()["param_groups"]
        optimizer.load_state_dict({"state": slots, "param_groups": groups})
    except (RuntimeError, ValueError, IndexError, KeyError) as error:
        raise ModelFileError(
            f"{path} is not the state of this network: {error}; {_REMEDY}"
        ) from error
    return state


def read_state(path: Path) -> tuple[TrainState, dict[str, Tensor]]:
    """Counts and tensors of a state file. Raises ModelFileError when it is damaged."""
    try:
        if is_whole(path) is False:
            raise ValueError("its SHA-256 is not that of its content")
        with native_name(path) as name, safe_open(name, framework="pt") as file:
            state = TrainState(**json.loads(file.metadata()["state"]))
            return state, {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError, KeyError, TypeError, ValueError, RecursionError) as error:
        raise storage_error(error, path, verb="read") or ModelFileError(
            f"{path} cannot be read as the state of a run: {error}; {_REMEDY}"
        ) from error


def step_generator(seed: int, step: int) -> torch.Generator:
    """The random numbers of one step's latents, on the CPU, the same on every device."""
    return torch.Generator().manual_seed(
        int(rng_for("training latents", seed, step).integers(2**62))
    )


def _laid_out_as(weight: Tensor, value: Tensor) -> Tensor:
    """`value` in the memory order of its weight, since fused kernels walk through both alike."""
    if value.shape != weight.shape:
        return value
    return torch.empty_like(weight).copy_(value)


def _below(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): t for name, t in tensors.items() if name.startswith(prefix)}
