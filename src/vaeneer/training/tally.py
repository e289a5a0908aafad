"""Sums of an epoch, kept on the device until a figure is shown: no step waits for the CPU."""

from __future__ import annotations

import torch

from vaeneer.data.loader import Batch
from vaeneer.training.state import TrainState
from vaeneer.training.stepping import StepTerms

_NAMES = ("reconstruction", "kl", "entropy")


class Tally:
    """Sums (not means, so that averages are exact) over the steps since the last reading."""

    def __init__(self, device: torch.device, *, consistency: bool = False) -> None:
        """consistency: whether the steps have such a term."""
        self._names = (*_NAMES, "consistency") if consistency else _NAMES
        self._sums = torch.zeros(len(self._names), dtype=torch.float64, device=device)
        self._bad_step = torch.tensor(-1, device=device)
        self._images = 0

    @torch.no_grad()
    def add(self, terms: StepTerms, batch: Batch, step: int) -> None:
        """Add a step's figures; remember the first step whose loss is not finite."""
        columns = [terms.elbo.reconstruction_nats, terms.elbo.kl_nats, batch.entropy_nats]
        if terms.consistency is not None:
            columns.append(terms.consistency)
        sums = torch.stack([column.double().sum() for column in columns])
        first_bad = ~sums.isfinite().all() & (self._bad_step < 0)
        self._bad_step = torch.where(first_bad, step, self._bad_step)
        self._sums += sums
        self._images += len(batch.indices)

    def move_into(self, state: TrainState) -> int | None:
        """Add the sums to those of `state` and begin again; the first bad step, or None."""
        if not self._images:
            return None
        bad_step = int(self._bad_step)
        state.add(images=self._images, **dict(zip(self._names, self._sums.tolist(), strict=True)))
        self._sums.zero_()
        self._images = 0
        return bad_step if bad_step >= 0 else None
