"""The reference network, frozen and literal (seed.md, "Model"): 44 tensors, 3,297,571 parameters.

The order of construction is the order in which random numbers are drawn: keep it. The printed
layers are the reference's, letter by letter.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, pixel_shuffle, relu

IMAGE_SIDE_PX = 254
LATENT_SIZE = 512


class BatchNorm2d(nn.BatchNorm2d):
    """PyTorch's own, printed as the reference prints it (newer releases add a word)."""

    def extra_repr(self) -> str:
        """The layer's settings as in seed.md."""
        return (
            f"{self.num_features}, eps={self.eps}, momentum={self.momentum}, "
            f"affine={self.affine}, track_running_stats={self.track_running_stats}"
        )


class Encoder(nn.Module):
    """Images (B, 3, 254, 254) to the posterior's mean and log variance, (B, 512) each."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 32, kernel_size=3, stride=2)
        self.conv2 = nn.Conv2d(32, 64, kernel_size=3, stride=2)
        self.bn1 = BatchNorm2d(64)
        self.conv3 = nn.Conv2d(64, 64, kernel_size=3, stride=2)
        self.conv4 = nn.Conv2d(64, 128, kernel_size=3, stride=2)
        self.bn2 = BatchNorm2d(128)
        self.conv5 = nn.Conv2d(128, 128, kernel_size=3, stride=2)
        self.conv6 = nn.Conv2d(128, 256, kernel_size=3, stride=2)
        self.conv7 = nn.Conv2d(256, 256, kernel_size=1)
        self.mu = nn.Linear(1024, LATENT_SIZE)
        self.log_var = nn.Linear(1024, LATENT_SIZE)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """images: (B, 3, 254, 254) float32 in [0, 1]. Returns mu and log_var, (B, 512)."""
        x = relu(self.conv1(images))  # (B, 32, 126, 126)
        x = relu(self.bn1(self.conv2(x)))  # (B, 64, 62, 62)
        x = relu(self.conv3(x))  # (B, 64, 30, 30)
        x = relu(self.bn2(self.conv4(x)))  # (B, 128, 14, 14)
        x = relu(self.conv5(x))  # (B, 128, 6, 6)
        x = relu(self.conv6(x))  # (B, 256, 2, 2)
        x = relu(self.conv7(x))  # (B, 256, 2, 2)
        x = x.flatten(1)  # (B, 1024)
        return self.mu(x), self.log_var(x)  # (B, 512) each

    def _get_name(self) -> str:
        return "encoder"  # as the reference prints it


class Decoder(nn.Module):
    """Latents (B, 512) to logits of pixels (B, 3, 254, 254); the reference's sigmoid is left out.

    last: the class of t_conv6; another one must do the same, only faster.
    """

    def __init__(self, last: type[nn.ConvTranspose2d] = nn.ConvTranspose2d) -> None:
        super().__init__()
        self.fc = nn.Linear(LATENT_SIZE, 1024)
        self.t_conv0 = nn.ConvTranspose2d(256, 256, kernel_size=1)
        self.t_conv1 = nn.ConvTranspose2d(256, 128, kernel_size=4, stride=2)
        self.t_conv2 = nn.ConvTranspose2d(128, 128, kernel_size=4, stride=2)
        self.t_conv3 = nn.ConvTranspose2d(128, 64, kernel_size=4, stride=2)
        self.t_conv4 = nn.ConvTranspose2d(64, 64, kernel_size=4, stride=2)
        self.t_conv5 = nn.ConvTranspose2d(64, 32, kernel_size=4, stride=2)
        self.t_conv6 = last(32, 3, kernel_size=4, stride=2)

    def forward(self, z: Tensor) -> Tensor:
        """z: (B, 512) float32. Returns logits, (B, 3, 254, 254) float32."""
        x = self.fc(z).unflatten(1, (256, 2, 2))  # (B, 256, 2, 2), no ReLU after fc
        x = relu(self.t_conv0(x))  # (B, 256, 2, 2)
        x = relu(self.t_conv1(x))  # (B, 128, 6, 6)
        x = relu(self.t_conv2(x))  # (B, 128, 14, 14)
        x = relu(self.t_conv3(x))  # (B, 64, 30, 30)
        x = relu(self.t_conv4(x))  # (B, 64, 62, 62)
        x = relu(self.t_conv5(x))  # (B, 32, 126, 126)
        logits: Tensor = self.t_conv6(x)  # (B, 3, 254, 254)
        return logits

    @torch.no_grad()
    def start_colour(self, mean_rgb: tuple[float, float, float]) -> None:
        """Answer `mean_rgb`, each channel in (0, 1), where the latents say nothing."""
        bias = self.t_conv6.bias
        assert bias is not None
        bias.copy_(torch.tensor(mean_rgb, device="cpu").logit())

    def _get_name(self) -> str:
        return "decoder"


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


def layers() -> tuple[nn.Module, nn.Module]:
    """A new encoder and decoder (settings.ARCHITECTURES)."""
    return Encoder(), Decoder(PhasedConvTranspose2d)
