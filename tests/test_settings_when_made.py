"""Settings are checked when they are made, in the words that the command line shows."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import vaeneer
from vaeneer.cli.app import run
from vaeneer.errors import SettingsError

OUT_OF_RANGE: list[tuple[type, str, Any, str]] = [
    (vaeneer.PrepareSettings, "valid_fraction", 1.5, "use above 0 to below 1"),
    (vaeneer.PrepareSettings, "near_duplicate_bits", 32, "use 0 to 31"),
    (vaeneer.PrepareSettings, "max_megapixels", float("nan"), "use more than 0"),
    (vaeneer.TrainSettings, "epochs", 0, "use 1 or more"),
    (vaeneer.TrainSettings, "batch_size", 0, "use 1 or more"),
    (vaeneer.TrainSettings, "learning_rate", 0.0, "use more than 0"),
    (vaeneer.TrainSettings, "ema_decay", 1.5, "use 0 to 1"),
    (vaeneer.TrainSettings, "reconstruction_loss", "l1", "use bce or mse"),
    (vaeneer.TrainSettings, "consistency", "hinge", "use off, infonce, vicreg or kl"),
    (vaeneer.TrainSettings, "workers", -1, "use 0 or more"),
    (vaeneer.TrainSettings, "seed", 2**63, "use 0 to 9223372036854775807"),
    (vaeneer.EvaluateSettings, "iwae", -1, "use 0 or more"),
    (vaeneer.SimilaritySettings, "protocol", "loose", "use reference or strict"),
    (vaeneer.SimilaritySettings, "different_pairs", 0, "use 1 or more"),
    (vaeneer.SimilaritySettings, "scale_gap", 0.01, "use 0.05 to 1"),
    (vaeneer.TrainSettings, "color_jitter", 6.0, "use 0 to 5"),
    (vaeneer.TrainSettings, "crop_scale_max", 1.5, "use above 0 to 1"),
    (vaeneer.CalibrateSettings, "draws", 0, "use 1 or more"),
    (vaeneer.CalibrateSettings, "shrinkage", 2.0, "use 0 to 1"),
    (vaeneer.ReadoutSettings, "discriminant_power", 3.0, "use -2 to 2"),
    (vaeneer.ReadoutSettings, "min_relative_std", 1.0, "use 0 to below 1"),
    (vaeneer.EmbedSettings, "vectors", "logits", "use embedding or latent"),
    (vaeneer.EmbedSettings, "batch_size", 0, "use 1 or more"),
    (vaeneer.IndexSettings, "batch_size", 0, "use 1 or more"),
    (vaeneer.IndexSettings, "parts", "eighths", "use auto, none, halves or quarters"),
    (vaeneer.IndexSettings, "max_megapixels", float("nan"), "use more than 0"),
    (vaeneer.SearchSettings, "k", 0, "use 1 or more"),
    (vaeneer.SearchSettings, "min_probability", 1.1, "use 0 to 1"),
    (vaeneer.SearchSettings, "tag", "\udcfc", "not UTF-8"),
    (vaeneer.DuplicatesSettings, "threshold", 0, "use above 0 to 1"),
    (vaeneer.DuplicatesSettings, "page", 0, "use 1 or more"),
    (vaeneer.ClusterSettings, "min_size", -1, "use 0 or more"),
    (vaeneer.OutliersSettings, "neighbours", 0, "use 1 or more"),
    (vaeneer.ServeSettings, "port", 65536, "use 0 to 65535"),
    (vaeneer.ServeSettings, "queue_length", 0, "use 1 or more"),
]


@pytest.mark.parametrize(("kind", "name", "value", "message"), OUT_OF_RANGE)
def test_a_setting_out_of_range_is_refused_at_once(
    kind: type, name: str, value: Any, message: str
) -> None:
    with pytest.raises(SettingsError, match=rf"^{name} is .*{message}"):
        kind(**{name: value})


OF_ANOTHER_TYPE: list[tuple[type, str, Any, str]] = [
    (vaeneer.TrainSettings, "recipe", "best", "use surface, improved or reference"),
    (vaeneer.TrainSettings, "epochs", "2", "use a whole number"),
    (vaeneer.TrainSettings, "epochs", 2.5, "use a whole number"),
    (vaeneer.TrainSettings, "rotate_flip", "no", "use True or False"),
    (vaeneer.TrainSettings, "cache", 3, "use a path"),
    (vaeneer.EmbedSettings, "views", "none", "use all, squares, tiles or centre"),
    (vaeneer.EmbedSettings, "batch_size", True, "use a whole number"),
    (vaeneer.SearchSettings, "k", "x", "use a whole number"),
    (vaeneer.SearchSettings, "where", 3, "use a text"),
    (vaeneer.DuplicatesSettings, "threshold", "high", "use a number or auto"),
    (vaeneer.IndexSettings, "exclude", "*.psd", "use a list"),
    (vaeneer.MapSettings, "colour", "red", "use cluster or category"),
    (vaeneer.MapSettings, "perplexity", 0, "use 1 or more"),
    (vaeneer.ServeSettings, "port", "8765", "use a whole number"),
]


@pytest.mark.parametrize(("kind", "name", "value", "message"), OF_ANOTHER_TYPE)
def test_a_setting_of_another_type_or_choice_is_refused_at_once(
    kind: type, name: str, value: Any, message: str
) -> None:
    with pytest.raises(SettingsError, match=rf"^{name} is {re.escape(repr(value))}; {message}\.$"):
        kind(**{name: value})


def test_numbers_of_numpy_and_lists_are_taken() -> None:
    assert vaeneer.SearchSettings(k=np.int64(3), min_probability=np.float32(0.5)).k == 3
    assert vaeneer.TrainSettings(cache="there", learning_rate=1).cache == "there"  # type: ignore[arg-type]
    assert vaeneer.IndexSettings(exclude=["wip/"]).exclude == ["wip/"]  # type: ignore[arg-type]


def test_all_settings_are_right_as_they_are() -> None:
    for kind in {kind for kind, *_ in OUT_OF_RANGE} | {vaeneer.MapSettings}:
        kind()


@pytest.mark.parametrize("flags", ["--batch-size 0", "--config FILE"])
def test_the_command_line_and_a_file_say_the_same(
    flags: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "my.toml").write_text("[index]\nbatch_size = 0\n")
    words = flags.replace("FILE", str(tmp_path / "my.toml")).split()
    assert run(["index", str(tmp_path), *words]) == 1
    assert capsys.readouterr().err == "Error: batch_size is 0; use 1 or more.\n"
