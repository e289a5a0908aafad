"""Makes tests/data/reference_numbers.json from seed.md alone: no code of vaeneer is used.

    python tests/reference_numbers.py

The network is written down a second time, as functions in float64, with the sigmoid and the
plain binary cross entropy of the reference; weights and images come from a formula, not from
random numbers, so that the stored numbers hold on every machine and release.
"""

from __future__ import annotations

import json
import math
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

FILE = Path(__file__).parent / "data" / "reference_numbers.json"
ENCODER = [(3, 32), (32, 64), (64, 64), (64, 128), (128, 128), (128, 256)]
DECODER = [(256, 128), (128, 128), (128, 64), (64, 64), (64, 32), (32, 3)]


def shapes() -> dict[str, list[int]]:
    """The 44 names of the state dict with their shapes, in the order of seed.md."""
    found: dict[str, list[int]] = {}

    def layer(name: str, *weight: int, bias: int) -> None:
        found[f"{name}.weight"] = list(weight)
        found[f"{name}.bias"] = [bias]

    for number, (inputs, outputs) in enumerate(ENCODER, start=1):
        layer(f"encoder.conv{number}", outputs, inputs, 3, 3, bias=outputs)
        if number in (2, 4):
            norm = f"encoder.bn{number // 2}"
            layer(norm, outputs, bias=outputs)
            found[f"{norm}.running_mean"] = [outputs]
            found[f"{norm}.running_var"] = [outputs]
            found[f"{norm}.num_batches_tracked"] = []
    layer("encoder.conv7", 256, 256, 1, 1, bias=256)
    layer("encoder.mu", 512, 1024, bias=512)
    layer("encoder.log_var", 512, 1024, bias=512)
    layer("decoder.fc", 1024, 512, bias=1024)
    layer("decoder.t_conv0", 256, 256, 1, 1, bias=256)
    for number, (inputs, outputs) in enumerate(DECODER, start=1):
        layer(f"decoder.t_conv{number}", inputs, outputs, 4, 4, bias=outputs)
    return found


def fixed_weights() -> dict[str, Tensor]:
    """A value for each entry by a formula; scaled so that the signal lives through all layers."""
    weights: dict[str, Tensor] = {}
    for place, (name, shape) in enumerate(shapes().items()):
        if name.endswith("num_batches_tracked"):
            weights[name] = torch.tensor(0)
            continue
        count = math.prod(shape)
        wave = torch.sin(torch.arange(count, dtype=torch.float64) * 0.7310585 + place).reshape(
            shape
        )
        fan_in = math.prod(shape[1:]) if "t_conv" not in name else shape[0] * 4
        if len(shape) > 1:
            weights[name] = wave * math.sqrt(3.0 / fan_in)
        elif "bn" in name and name.endswith(("weight", "running_var")):
            weights[name] = 1 + 0.1 * wave
        else:
            weights[name] = 0.05 * wave
    return weights


def fixed_images(count: int = 2) -> Tensor:
    """Images by a formula: (count, 3, 254, 254) float64 in [0, 1]."""
    place = torch.arange(count * 3 * 254 * 254, dtype=torch.float64).reshape(count, 3, 254, 254)
    return 0.5 + 0.5 * torch.sin(place * 0.01234 + torch.cos(place * 0.00071) * 3)


def fixed_noise(count: int = 2) -> Tensor:
    """The noise of the posterior sample by a formula: (count, 512) float64."""
    return torch.sin(torch.arange(count * 512, dtype=torch.float64) * 1.7).reshape(count, 512)


def encode(w: dict[str, Tensor], x: Tensor, *, training: bool) -> tuple[Tensor, Tensor]:
    """ReLU after every convolution, after the batch norm where there is one (DESIGN.md)."""
    for number in range(1, 7):
        x = F.conv2d(
            x, w[f"encoder.conv{number}.weight"], w[f"encoder.conv{number}.bias"], stride=2
        )
        if number in (2, 4):
            norm = f"encoder.bn{number // 2}"
            x = F.batch_norm(
                x,
                w[f"{norm}.running_mean"].clone(),
                w[f"{norm}.running_var"].clone(),
                w[f"{norm}.weight"],
                w[f"{norm}.bias"],
                training=training,
            )
        x = F.relu(x)
    x = F.relu(F.conv2d(x, w["encoder.conv7.weight"], w["encoder.conv7.bias"])).reshape(-1, 1024)
    mean = F.linear(x, w["encoder.mu.weight"], w["encoder.mu.bias"])
    return mean, F.linear(x, w["encoder.log_var.weight"], w["encoder.log_var.bias"])


def decode(w: dict[str, Tensor], z: Tensor) -> Tensor:
    """No ReLU after fc; sigmoid after the last layer."""
    x = F.linear(z, w["decoder.fc.weight"], w["decoder.fc.bias"]).reshape(-1, 256, 2, 2)
    x = F.relu(F.conv_transpose2d(x, w["decoder.t_conv0.weight"], w["decoder.t_conv0.bias"]))
    for number in range(1, 7):
        x = F.conv_transpose2d(
            x, w[f"decoder.t_conv{number}.weight"], w[f"decoder.t_conv{number}.bias"], stride=2
        )
        x = F.relu(x) if number < 6 else torch.sigmoid(x)
    return x


def loss_of(w: dict[str, Tensor], *, training: bool) -> dict[str, Tensor]:
    """Everything that the parity test compares, for the fixed images and noise."""
    images = fixed_images()
    mean, log_var = encode(w, images, training=training)
    z = mean + torch.exp(0.5 * log_var) * fixed_noise() if training else mean
    answer = decode(w, z)
    bce = F.binary_cross_entropy(answer, images, reduction="none").sum((1, 2, 3))
    kl = torch.stack(
        [-0.5 * torch.sum(1 + v - m.pow(2) - v.exp()) for m, v in zip(mean, log_var, strict=True)]
    )
    mse = F.mse_loss(answer, images, reduction="none").sum((1, 2, 3))
    return {"mu": mean, "log_var": log_var, "answer": answer, "bce": bce, "kl": kl, "mse": mse}


def numbers() -> dict[str, object]:
    """The stored numbers: outputs in eval mode; loss and gradients in training mode."""
    weights = fixed_weights()
    calm = loss_of(weights, training=False)
    trained = {
        name: value.clone().requires_grad_(value.is_floating_point() and "running" not in name)
        for name, value in weights.items()
    }
    lively = loss_of(trained, training=True)
    (lively["bce"] + lively["kl"]).sum().backward()
    return {
        "eval": {name: _summary(value) for name, value in calm.items()},
        "train": {name: _summary(value) for name, value in lively.items()},
        "gradients": {
            name: _summary(value.grad) for name, value in trained.items() if value.grad is not None
        },
    }


def _summary(value: Tensor) -> list[float]:
    """Mean, root mean square, and five entries spread over the tensor."""
    flat = value.detach().double().flatten()
    places = torch.linspace(0, len(flat) - 1, 5).round().long()
    return [flat.mean().item(), flat.square().mean().sqrt().item(), *flat[places].tolist()]


if __name__ == "__main__":
    FILE.parent.mkdir(exist_ok=True)
    FILE.write_text(json.dumps(numbers(), indent=1) + "\n", encoding="utf-8")
