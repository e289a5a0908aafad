"""What the latents carry, and the one line on it: made cases of each kind."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from test_docs import two_measurements
from vaeneer.evaluation.per_image import USED_NATS, diagnose, latent_use

VALID: dict[str, Any] = {
    "images": 44,
    "kl_nats": 260.0,
    "latents": 576,
    "active_units": 500,
    "texture_latents": 64,
    "texture_active_units": 50,
    "excess_nats": 2_300.0,
    "trivial_excess_nats": {"grey": 18_000.0, "own_mean": 4_300.0},
}


def test_use_is_counted_over_all_latents_or_the_last_ones() -> None:
    mu = np.zeros((8, 5), np.float32)
    mu[::2, [0, 4]] = 1.0  # variance 0.25
    mu[::2, 3] = 0.1  # variance 0.0025
    kl = np.array([2.0, 0.0, USED_NATS / 2, 0.5, 1.0])
    found = replace(two_measurements(), mu=mu, kl_per_latent_nats=kl)
    whole, texture = latent_use(found), latent_use(found, 2)
    assert (whole.latents, whole.active_units, whole.used) == (5, 2, 3)
    assert whole.kl_nats == pytest.approx(kl.sum())
    assert (texture.latents, texture.active_units, texture.used) == (2, 1, 2)
    assert texture.kl_nats == pytest.approx(1.5)
    assert whole.active_units == found.active_units


@pytest.mark.parametrize(
    ("figures", "beta", "state", "words"),
    [
        ({}, 1.0, "healthy", ["500 of 576", "50 of 64"]),
        ({"active_units": 6, "kl_nats": 135.0}, 1.0, "healthy", ["6"]),
        (
            {"active_units": 0, "kl_nats": 0.3},
            1.0,
            "collapsed",
            ["--kl-warmup-fraction", "--init scaled"],
        ),
        ({"active_units": 1}, 1.0, "collapsed", ["1 active"]),
        ({"kl_nats": 0.9}, 8.0, "collapsed", ["lower --beta, which is 8"]),
        ({"kl_nats": 20_000.0}, 1.0, "kl exploding", ["--clip-norm", "18,000"]),
        ({"kl_nats": 20_000.0}, 0.0, "kl exploding", ["raise --beta, which is 0"]),
        (
            {"excess_nats": 6_981.0}, 1.0, "worse than one colour",
            ["worse than one flat colour per image", "6,981", "4,300", "--epochs"],
        ),
        (
            {"excess_nats": 4_301.0, "texture_latents": None}, 1.0, "worse than one colour",
            ["--recipe surface", "--init-from surface-base"],
        ),
        ({"texture_active_units": 1}, 1.0, "texture unused", ["1 of its 64", "--consistency"]),
        ({"images": 3, "active_units": 0}, 1.0, "unknown", ["3 validation images"]),
    ],
)  # fmt: skip
def test_each_state_is_told_with_its_remedy(
    figures: dict[str, Any], beta: float, state: str, words: list[str]
) -> None:
    found = diagnose({**VALID, **figures}, beta)
    assert found.state == state
    assert "\n" not in found.sentence
    for word in words:
        assert word in found.sentence


def test_the_figures_of_an_older_run_are_enough() -> None:
    old = {name: VALID[name] for name in ("images", "active_units", "kl_nats")}
    assert diagnose(old).sentence == "healthy: 500 active units, KL 260 nats"
