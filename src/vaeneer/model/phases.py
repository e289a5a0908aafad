"""Transposed convolutions of kernel 4 and stride 2, phase by phase."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn.functional import conv2d, pixel_shuffle


class PhasedConvTranspose2d(nn.ConvTranspose2d):
    """`nn.ConvTranspose2d` of kernel 4 and stride 2, in half its time where few channels come out.

    Every second row and column of the answer is a convolution of 2 x 2 of its own; the four are
    computed as one convolution and shuffled together. The same sums in another order. Weights,
    names and first random numbers are those of the class that it stands for.
    """

    def forward(self, x: Tensor, output_size: list[int] | None = None) -> Tensor:
        """x: (B, C, H, W). Returns (B, out, 2 H + 2, 2 W + 2)."""
        inputs, outputs = self.weight.shape[:2]
        taps = self.weight.flip(2, 3).unflatten(3, (2, 2)).unflatten(2, (2, 2)).flip(3, 5)
        kernel = taps.permute(1, 3, 5, 0, 2, 4).reshape(4 * outputs, inputs, 2, 2)
        bias = None if self.bias is None else self.bias.repeat_interleave(4)
        phases = conv2d(x, kernel, bias, padding=1)  # (B, 4 out, H + 1, W + 1)
        return pixel_shuffle(phases, 2)  # (B, out, 2 H + 2, 2 W + 2)

    def _get_name(self) -> str:
        return "ConvTranspose2d"  # as the reference prints it
