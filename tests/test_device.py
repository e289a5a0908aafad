"""Devices and precision: chosen once, in words, overridable; on CUDA a step is a graph."""

from __future__ import annotations

import builtins
import io
import os
import platform
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from vaeneer import device as device_module
from vaeneer.device import choose_device, choose_precision, describe_device
from vaeneer.errors import SettingsError
from vaeneer.model.checkpoint import build
from vaeneer.model.losses import consistency_of, elbo_terms
from vaeneer.progress import Silent
from vaeneer.settings import Recipe, TrainSettings
from vaeneer.training.optim import graphed
from vaeneer.training.run_folder import RunFolder
from vaeneer.training.setup import start_run
from vaeneer.training.train import take_step
from vaeneer.workers import core_count

ACTIVE = {"OMP_WAIT_POLICY": "ACTIVE"}
CPU = torch.device("cpu")
RECIPES: dict[str, Any] = {"reference": "improved", "surface": "surface"}


@pytest.mark.parametrize("lower", [True, False])
def test_auto_is_bfloat16_where_the_hardware_has_it(
    lower: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(device_module, "_computes_in_bfloat16", lambda device: lower)
    assert choose_precision("auto", CPU).name == ("bfloat16" if lower else "float32")
    assert choose_precision("float32", CPU).name == "float32"
    assert choose_precision("bfloat16", CPU).name == "bfloat16"


def test_autocast_lowers_products_and_nothing_else() -> None:
    weights = torch.rand(4, 4)
    for name, kind in (("float32", torch.float32), ("bfloat16", torch.bfloat16)):
        with choose_precision(name, CPU).autocast():
            assert (weights @ weights).dtype == kind
            assert weights.exp().dtype == torch.float32


def test_what_is_not_there_is_said() -> None:
    with pytest.raises(SettingsError, match=r"'half'.*auto, float32 or bfloat16"):
        choose_precision("half", CPU)
    with pytest.raises(SettingsError, match="'abacus'"):
        choose_device("abacus")
    with pytest.raises(SettingsError, match="cuda:99"):
        choose_device("cuda:99")
    with pytest.raises(SettingsError, match="-1"):
        core_count(-1)


def test_a_device_is_described_with_its_precision() -> None:
    words = describe_device(CPU, "bfloat16")
    assert platform.machine() in words
    assert "bfloat16" in words
    assert torch.__version__ in words


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc's malloc")
def test_glibc_takes_what_it_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = []

    class Process:
        def mallopt(self, parameter: int, value: int) -> int:
            answers.append(real.mallopt(parameter, value))
            return answers[-1]

    real = device_module.ctypes.CDLL(None)
    monkeypatch.setattr(device_module.ctypes, "CDLL", lambda name: Process())
    choose_precision("auto", CPU)
    assert answers == [1, 1], "1 is success"


def test_on_a_cpu_a_step_is_taken_as_it_is() -> None:
    def step(*inputs: torch.Tensor) -> object:
        return inputs

    assert graphed(step, CPU) is step  # type: ignore[arg-type,comparison-overlap]


class Operations(TorchDispatchMode):
    """Names of the operations of a block."""

    def __init__(self) -> None:
        super().__init__()
        self.names: set[str] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.names.add(str(func))
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("architecture", ["reference", "surface"])
def test_a_step_has_no_operation_that_waits_or_copies(
    architecture: Literal["reference", "surface"],
) -> None:
    """A captured step may do neither; a list of indices would be copied to the device."""
    vae = build(architecture, seed=0).train()
    settings = TrainSettings(architecture=architecture, recipe=RECIPES[architecture])
    chosen = Recipe.of(settings)
    images = torch.rand(4, 3, 254, 254)
    with Operations() as operations:
        output = vae(images, noise=torch.randn(4, vae.latent_size))
        loss = elbo_terms(output, images).total_nats().mean()
        apart = consistency_of(output, torch.tensor([0, 0, 1, 1]), chosen, vae.texture_size)
        (loss if apart is None else loss + apart.mean()).backward()
    waiting = {"aten.index.Tensor", "aten._local_scalar_dense.default", "aten.nonzero.default"}
    assert operations.names & waiting == set()
    assert "aten.convolution.default" in operations.names


def test_float32_on_cuda_is_never_tf32(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", True)
    monkeypatch.setattr(device_module, "_computes_in_bfloat16", lambda device: True)
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high")
    try:
        assert choose_precision("auto", torch.device("cuda")).name == "bfloat16"
        assert torch.get_float32_matmul_precision() == "highest"
        assert not torch.backends.cudnn.allow_tf32
    finally:
        torch.set_float32_matmul_precision(before)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
@pytest.mark.parametrize("architecture", ["reference", "surface"])
def test_a_graph_takes_the_same_steps(
    architecture: Literal["reference", "surface"], data_set: Path, tmp_path: Path
) -> None:
    settings = TrainSettings(
        architecture=architecture, recipe=RECIPES[architecture], batch_size=4,
        precision="float32", device="cuda",
    )  # fmt: skip
    found = []
    for name in ("eager", "graph"):
        run = start_run(
            data_set, RunFolder(tmp_path / name), replace(settings, seed=3),
            resume=False, overwrite=False, progress=Silent(),
        )  # fmt: skip
        plain = lambda *inputs, run=run: take_step(run, *inputs)  # noqa: E731
        step = plain if name == "eager" else graphed(plain, run.device)
        run.vae.train()
        sums = []
        for _ in range(3):
            for batch in run.crops.batches(run.groups(), run.crop_numbers()):
                inputs = batch.pixels, run.noise(len(batch.indices)), run.step_scalars()
                terms = step(*inputs, run.assets(batch.indices))
                sums.append(terms.elbo.reconstruction_nats.sum().item())
                run.state.step += 1
        found.append(sums)
    assert found[1] == pytest.approx(found[0], rel=1e-4)


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="Linux only")
def test_workers_are_as_many_as_the_cores_that_a_process_may_use() -> None:
    code = "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})\n"
    code += "from vaeneer.workers import core_count; print(core_count(), core_count(3))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["1", "3"]


@pytest.mark.skipif(sys.platform != "linux", reason="control groups are Linux's")
def test_workers_are_no_more_than_the_quota_of_a_container(monkeypatch: pytest.MonkeyPatch) -> None:
    quota = io.StringIO("100000 100000\n")  # one core's time in each period
    monkeypatch.setattr(os.path, "exists", lambda path: path == "/sys/fs/cgroup/cpu.max")
    monkeypatch.setattr(builtins, "open", lambda *_, **__: quota)
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)))
    assert core_count() == 1


@pytest.mark.parametrize(("set_by_the_user", "policy"), [({}, "PASSIVE"), (ACTIVE, "ACTIVE")])
def test_threads_of_every_command_wait_passively(
    set_by_the_user: dict[str, str], policy: str
) -> None:
    code = "import os, sys; sys.argv = ['vaeneer', '--version']\nimport atexit\n"
    code += (
        "atexit.register(lambda: print(os.environ['OMP_WAIT_POLICY'], 'torch' in sys.modules))\n"
    )
    code += "from vaeneer.__main__ import main; main()"
    rest = {name: value for name, value in os.environ.items() if name != "OMP_WAIT_POLICY"}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=rest | set_by_the_user
    )
    assert done.stdout.split()[-2:] == [policy, "False"]
