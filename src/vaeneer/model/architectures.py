"""The networks by name; a new one is a file beside reference.py and a line here."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import nn

from vaeneer.model import reference, surface
from vaeneer.model.card import ModelCard
from vaeneer.model.phases import PhasedConvTranspose2d
from vaeneer.model.vae import VAE

ARCHITECTURES: dict[str, tuple[Callable[[], nn.Module], Callable[[], nn.Module]]] = {
    "reference": (reference.Encoder, partial(reference.Decoder, PhasedConvTranspose2d)),
    "surface": (surface.Encoder, surface.Decoder),
}


def build(architecture: str, *, seed: int | None = None) -> VAE:
    """A network with the first weights of its own layers, drawn from `seed` where one is given.

    Raises KeyError for an unknown name.
    """
    encoder, decoder = ARCHITECTURES[architecture]
    with torch.random.fork_rng(devices=[], enabled=seed is not None):
        if seed is not None:
            torch.manual_seed(seed)
        vae = VAE(encoder(), decoder())
    vae.card = ModelCard(architecture=architecture)
    return vae
