"""bench: counted work, shares of ceilings, and a bottleneck that is one."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Iterator
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import bench as program
import cyclopts
import pytest
import torch
from PIL import Image
from speed import ceilings
from speed.benchmark import bench
from speed.figures import epoch_shares, largest
from speed.layers import Layer, counted_flops, layers_of
from speed.settings import BenchSettings
from speed.timing import Arrivals, median_seconds
from torch import nn

from vaeneer.errors import DataError, OutputExistsError, SettingsError
from vaeneer.model.checkpoint import build
from vaeneer.model.vae import VAE, eval_mode
from vaeneer.settings import ARCHITECTURES

CPU = torch.device("cpu")
QUICK = [
    "--batch-size", "2", "--images", "4", "--image-side-px", "96", "--seconds", "0.05",
    "--device", "cpu", "--precision", "float32",
]  # fmt: skip


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("bench") / "out"


@pytest.fixture(scope="module")
def printed(out: Path) -> str:
    """What the command prints, on small matrices."""
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(io.StringIO()) as stdout:
        patch.setattr(ceilings, "SQUARE_SIDES", {"cpu": 256})
        patch.setattr(ceilings, "COPIED_BYTES", {"cpu": 2**24})
        app = cyclopts.App(default_command=program.main, result_action="return_value")
        app([*QUICK, "--out", str(out), "--json"])
    return stdout.getvalue()


@pytest.fixture(scope="module")
def report(printed: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(printed)
    return found


def numbers(value: object) -> Iterator[float]:
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        for item in value:
            yield from numbers(item)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield value


def test_the_command_prints_one_object_and_writes_the_same(
    printed: str, report: dict[str, Any], out: Path
) -> None:
    assert printed.count("\n") == 1
    assert json.loads((out / "bench.json").read_text("utf-8")) == report
    assert report["pictures"] == [str(out / "bench.png")]
    assert (out / "bench.png").stat().st_size > 5_000


def test_every_figure_is_finite_and_positive(report: dict[str, Any]) -> None:
    for name in ("ceilings", "network", "layers", "parts", "seconds"):
        found = list(numbers(report[name]))
        assert found
        assert all(math.isfinite(number) and number > 0 for number in found), name
    assert list(report["parts"]) == ["decode", "crop", "step", "evaluate", "embed", "epoch"]
    assert set(report["ceilings"]["matmul_gflop_per_s"]) == {"float32", "bfloat16"}
    assert report["settings"]["batch_size"] == 2


def test_shares_are_the_one_over_the_other(report: dict[str, Any]) -> None:
    for part in report["parts"].values():
        assert part["share"] == pytest.approx(part["images_per_s"] / part["ceiling_images_per_s"])
    crop, step = (report["parts"][name]["images_per_s"] for name in ("crop", "step"))
    epoch = report["parts"]["epoch"]["images_per_s"]
    assert report["epoch_shares"]["crop"] == pytest.approx(epoch / crop)
    assert report["epoch_shares"]["step"] == pytest.approx(epoch / step)
    assert report["parts"]["crop"]["share"] < 1


def test_the_bottleneck_has_the_largest_share(report: dict[str, Any]) -> None:
    shares = report["epoch_shares"]
    assert shares[report["bottleneck"]] == max(shares.values())
    assert report["summary"].startswith("Bottleneck: ")
    assert f"{max(shares.values()):.0%} of an epoch" in report["summary"]
    assert "\n" not in report["summary"]


@pytest.mark.parametrize(
    ("rates", "expected"),
    [
        ({"crop": 1000.0, "step": 50.0, "epoch": 45.0}, "step"),
        ({"crop": 60.0, "step": 500.0, "epoch": 50.0}, "crop"),
        ({"crop": 1000.0, "step": 1000.0, "epoch": 50.0}, "rest"),
    ],
)
def test_what_takes_longest_is_named(rates: dict[str, float], expected: str) -> None:
    assert largest(epoch_shares(rates)) == expected


def test_the_work_of_a_step_is_counted_exactly(report: dict[str, Any]) -> None:
    """By hand: kernel x channels x places, twice for each of forward, weights and images."""
    convolutions = [  # channels in, out, side of the kernel, places where it is laid
        (3, 32, 3, 126), (32, 64, 3, 62), (64, 64, 3, 30), (64, 128, 3, 14), (128, 128, 3, 6),
        (128, 256, 3, 2), (256, 256, 1, 2), (256, 256, 1, 2), (256, 128, 4, 2), (128, 128, 4, 6),
        (128, 64, 4, 14), (64, 64, 4, 30), (64, 32, 4, 62), (32, 3, 4, 127),  # phase by phase
    ]  # fmt: skip
    forward = [2 * a * b * kernel**2 * side**2 for a, b, kernel, side in convolutions]
    linear = 3 * 2 * 1024 * 512
    expected = 3 * (sum(forward) + linear) - forward[0]  # nobody asks for the images' gradient
    assert round(report["network"]["step_gflop"] * 1e9) == expected
    assert round(sum(layer["gflop"] for layer in report["layers"]) * 1e9) == expected
    assert len(report["layers"]) == len(convolutions) + 3


def test_layers_are_counted_as_pytorch_counts_them() -> None:
    vae, images = VAE(), torch.rand(2, 3, 254, 254)
    layers = layers_of(vae, images)
    assert sum(layer.flops for layer in layers) == counted_flops(lambda: passed(vae, images))
    assert [layer.name for layer in layers if layer.first] == ["encoder.conv1"]


def passed(vae: VAE, images: torch.Tensor) -> None:
    output = vae(images)
    (output.logits.mean() + output.mu.mean() + output.log_var.mean()).backward()


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_work_without_gradients_is_counted_too(architecture: str) -> None:
    vae, images = build(architecture), torch.rand(1, 3, 254, 254)
    with eval_mode(vae):
        encode = counted_flops(lambda: vae.encode(images))
        decode = counted_flops(lambda: vae.decode(torch.zeros(1, vae.latent_size)))
    assert 1e8 < encode < 1e9
    assert 1e8 < decode < 1e9


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_no_network_has_groups_which_pytorch_counts_wrongly(architecture: str) -> None:
    groups = [getattr(module, "groups", 1) for module in build(architecture).modules()]
    assert set(groups) == {1}


@pytest.mark.parametrize(
    ("module", "places"),
    [
        (nn.Conv2d(8, 12, 5, stride=2, padding=1, groups=4), 9 * 11),
        (nn.ConvTranspose2d(8, 6, 4, stride=3, groups=2), 20 * 24),
    ],
)
def test_odd_layers_are_counted(module: nn.Conv2d, places: int) -> None:
    images = torch.rand(2, 8, 20, 24, requires_grad=True)
    output = module(images)
    layer = Layer("odd", module, tuple(images.shape), output.numel(), first=False)
    assert layer.flops == 3 * counted_flops(lambda: module(images))
    assert layer.flops == 3 * 2 * 2 * places * module.weight.numel()
    numbers = 3 * images.numel() + 3 * (module.weight.numel() + module.out_channels)
    assert layer.least_bytes(4) == 4 * (numbers + 2 * output.numel())


def test_the_layers_leave_the_network_as_it_is() -> None:
    vae = VAE().eval()
    before = {name: value.clone() for name, value in vae.state_dict().items()}
    layers_of(vae, torch.zeros(1, 3, 254, 254))
    assert all(torch.equal(before[name], value) for name, value in vae.state_dict().items())
    assert not any(module._forward_hooks for module in vae.modules())


def test_a_median_is_of_five_or_more() -> None:
    calls: list[int] = []
    median_seconds(lambda: calls.append(1), CPU, 0.0)
    assert len(calls) >= 7  # one to warm up, one to see how long it takes
    assert median_seconds(lambda: torch.ones(2**22).exp(), CPU, 0.0) > 0


def test_rates_leave_the_start_out(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr("speed.timing.time.perf_counter", lambda: now)
    arrivals = Arrivals(CPU)
    for number in range(60):
        now += 100.0 if number < 10 else 0.5
        arrivals.advance(2)
    assert arrivals.count == 120
    assert arrivals.per_second(20) == pytest.approx(4.0)
    assert arrivals.seconds_since(20) == pytest.approx(25.0)
    assert arrivals.per_second(1000) > 0  # too few: the start counts


def test_own_images_may_be_few_and_some_unreadable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ceilings, "SQUARE_SIDES", {"cpu": 64})
    monkeypatch.setattr(ceilings, "COPIED_BYTES", {"cpu": 2**20})
    own = tmp_path / "own"
    own.mkdir()
    Image.new("L", (300, 260), 90).save(own / "grey.png")
    (own / "broken.jpg").write_bytes(b"\xff\xd8 nothing")
    settings = BenchSettings(data=own, images=2, batch_size=1, seconds=0.0, device="cpu")
    found = bench(settings=settings).to_dict()
    assert found["settings"]["data"] == str(own)
    assert found["pictures"] == []
    assert all(part["images_per_s"] > 0 for part in found["parts"].values())
    assert sorted(path.name for path in own.iterdir()) == ["broken.jpg", "grey.png"]


def test_what_cannot_be_measured_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError):
        bench(settings=BenchSettings(device="cuda:99"))
    with pytest.raises(DataError, match="no image"):
        bench(settings=BenchSettings(data=tmp_path))
    (tmp_path / "kept.txt").write_text("kept")
    with pytest.raises(OutputExistsError):
        bench(out=tmp_path)
    assert (tmp_path / "kept.txt").read_text() == "kept"
