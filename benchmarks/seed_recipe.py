"""The seed's recipe, written plainly as seed.md describes it: what vaeneer is measured against.

Pillow opens every file in every epoch, workers cut one crop of it each, the network ends in a
sigmoid, the loss is BCE + KL summed over the batch, and everything is float32. Only PyTorch, Pillow
and NumPy are needed. As a program it answers the questions of benchmarks/sides.py.
"""

from __future__ import annotations

import importlib.util
import math
import tempfile
import time
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from PIL import Image
from sides import serve
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset

SIDE_PX = 254
BATCH_SIZE = 16
SUFFIXES = (".jpg", ".jpeg", ".png")


def network_module() -> ModuleType:
    """src/vaeneer/model/reference.py (the seed's layers), without the rest of vaeneer."""
    path = Path(__file__).parents[1] / "src" / "vaeneer" / "model" / "reference.py"
    spec = importlib.util.spec_from_file_location("seed_network", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


reference = network_module()


class RandomResizedCrop:
    """torchvision's RandomResizedCrop(254, scale=(0.2, 1)) of a Pillow image, step by step."""

    def __init__(
        self,
        side_px: int = SIDE_PX,
        scale: tuple[float, float] = (0.2, 1.0),
        ratio: tuple[float, float] = (3 / 4, 4 / 3),
    ) -> None:
        self.side_px, self.scale, self.ratio = side_px, scale, ratio

    def box(self, width: int, height: int) -> tuple[int, int, int, int]:
        """Top, left, height, width of a crop: torchvision's `get_params`."""
        area = height * width
        log_ratio = torch.log(torch.tensor(self.ratio))
        for _ in range(10):
            target = area * torch.empty(1).uniform_(*self.scale).item()
            aspect = torch.exp(torch.empty(1).uniform_(log_ratio[0], log_ratio[1])).item()
            w = round(math.sqrt(target * aspect))
            h = round(math.sqrt(target / aspect))
            if 0 < w <= width and 0 < h <= height:
                top = torch.randint(0, height - h + 1, size=(1,)).item()
                left = torch.randint(0, width - w + 1, size=(1,)).item()
                return int(top), int(left), h, w
        w, h = width, height
        if width / height < min(self.ratio):
            h = round(width / min(self.ratio))
        elif width / height > max(self.ratio):
            w = round(height * max(self.ratio))
        return (height - h) // 2, (width - w) // 2, h, w

    def __call__(self, image: Image.Image) -> Image.Image:
        """One random crop, resized bilinearly."""
        top, left, height, width = self.box(*image.size)
        crop = image.crop((left, top, left + width, top + height))
        return crop.resize((self.side_px, self.side_px), Image.Resampling.BILINEAR)


def to_tensor(image: Image.Image) -> Tensor:
    """torchvision's ToTensor: (3, H, W) float32 in [0, 1]."""
    pixels = torch.from_numpy(np.array(image, np.uint8, copy=True))  # (H, W, 3)
    return pixels.permute(2, 0, 1).contiguous().to(torch.float32).div(255)


def open_image(path: Path) -> Image.Image:
    """The whole picture as RGB."""
    with Image.open(path) as image:
        return image.convert("RGB")


def list_images(folder: Path) -> list[Path]:
    """The images below a folder, in the order of their names."""
    return sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)


class CropDataset(Dataset[Tensor]):
    """A random crop of each image below a folder, opened anew each time."""

    def __init__(self, folder: Path) -> None:
        self.paths = list_images(folder)
        self.transform = RandomResizedCrop()

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> Tensor:
        return to_tensor(self.transform(open_image(self.paths[index])))


class SeedVAE(nn.Module):
    """The seed's network: reference.py with the sigmoid that the seed ends in."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = reference.Encoder()
        self.decoder = reference.Decoder()

    def forward(self, images: Tensor, noise: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """Reconstruction (B, 3, 254, 254) in (0, 1), mean and log variance (B, 512)."""
        mean, log_var = self.encoder(images)
        noise = torch.randn_like(mean) if noise is None else noise
        z = mean + torch.exp(0.5 * log_var) * noise
        return torch.sigmoid(self.decoder(z)), mean, log_var

    def representation(self, images: Tensor) -> Tensor:
        """A sampled latent of each image, (B, 512)."""
        mean, log_var = self.encoder(images)
        return mean + torch.exp(0.5 * log_var) * torch.randn_like(mean)


def loss_function(reconstruction: Tensor, images: Tensor, mean: Tensor, log_var: Tensor) -> Tensor:
    """BCE + KL, summed over the batch (seed.md, "Loss")."""
    bce = functional.binary_cross_entropy(reconstruction, images, reduction="sum")
    kl = -0.5 * torch.sum(1 + log_var - mean.pow(2) - log_var.exp())
    return bce + kl


def train(
    folder: Path, *, epochs: int = 1, workers: int = 2, device: str = "cpu", batch: int = BATCH_SIZE
) -> dict[str, Any]:
    """trainer.py: `epochs` over the images of `folder`, the weights saved at the end."""
    began = time.perf_counter()
    network = SeedVAE().to(device)
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3)
    loader = DataLoader(CropDataset(folder), batch_size=batch, shuffle=True, num_workers=workers)
    seconds, images, losses = [], 0, []
    for _ in range(epochs):
        started = time.perf_counter()
        network.train()
        total = 0.0
        for batch_images in loader:
            images_here = batch_images.to(device)
            reconstruction, mean, log_var = network(images_here)
            loss = loss_function(reconstruction, images_here, mean, log_var)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.item()
            images += len(batch_images)
        losses.append(total / len(loader))
        seconds.append(time.perf_counter() - started)
    with tempfile.TemporaryDirectory() as kept:
        torch.save(network.state_dict(), Path(kept) / "vae.pth")
    return {
        "images": images,
        "workers": workers,
        "epoch_seconds": seconds,
        "images_per_second": images / sum(seconds),
        "whole_seconds": time.perf_counter() - began,
        "losses": losses,
    }


def open_whole(path: Path, device: str) -> Tensor:
    """A whole picture at the network's size, a batch of one."""
    small = open_image(path).resize((SIDE_PX, SIDE_PX), Image.Resampling.BILINEAR)
    return to_tensor(small).unsqueeze(0).to(device)


@torch.no_grad()
def evaluate(folder: Path, *, device: str = "cpu") -> dict[str, Any]:
    """AEtest.py: the loss of one image after the other, in eval mode. Only the loop is timed."""
    network, paths = SeedVAE().to(device).eval(), list_images(folder)
    started = time.perf_counter()
    losses = []
    for path in paths:
        image = open_whole(path, device)
        losses.append(loss_function(*_with_images(network, image)).item())
    return _rate(len(paths), time.perf_counter() - started, mean_loss=float(np.mean(losses)))


@torch.no_grad()
def embed(folder: Path, *, device: str = "cpu") -> dict[str, Any]:
    """feature_similarity.py's use of the network: the latent of one image after the other."""
    network, paths = SeedVAE().to(device).eval(), list_images(folder)
    started = time.perf_counter()
    vectors = [network.representation(open_whole(path, device)).cpu().numpy() for path in paths]
    stacked = np.concatenate(vectors)
    return _rate(len(paths), time.perf_counter() - started, dimensions=stacked.shape[1])


def _with_images(network: SeedVAE, images: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    reconstruction, mean, log_var = network(images)
    return reconstruction, images, mean, log_var


def _rate(images: int, seconds: float, **more: Any) -> dict[str, Any]:
    return {"images": images, "seconds": seconds, "images_per_second": images / seconds, **more}


if __name__ == "__main__":
    serve(
        train=lambda folder, **how: train(Path(folder), **how),
        evaluate=lambda folder: evaluate(Path(folder)),
        embed=lambda folder: embed(Path(folder)),
    )
