"""Initial and imported weights, and the mean of a data set's latents."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Protocol, cast

import torch
from torch import Generator, Tensor, nn

from vaeneer.data.crops import COLUMNS, CropRecipe
from vaeneer.data.dataset import open_folder
from vaeneer.data.loader import PackedCrops
from vaeneer.data.pixel_cache import PackLayout, open_pack
from vaeneer.device import Precision, choose_device, choose_precision
from vaeneer.files import new_output_dir
from vaeneer.model.checkpoint import load_foreign_weights, save
from vaeneer.model.vae import VAE, ModelCard, eval_mode
from vaeneer.progress import Progress, Silent
from vaeneer.rng import UniformRows, rng_for
from vaeneer.settings import SEED, TrainSettings
from vaeneer.workers import chunks

MOST_CROPS = 2000
_BLUR = torch.tensor([0.25, 0.5, 0.25], device="cpu")
_BILINEAR = torch.tensor([0.25, 0.75, 0.75, 0.25], device="cpu")


def latent_mean(
    vae: VAE,
    crops: PackedCrops,
    *,
    precision: Precision,
    progress: Progress,
    seed: int = SEED,
    batch_size: int = 16,
) -> list[float]:
    """The mean of the posterior means over one random crop of each image: `latent_size` numbers.

    Of a pack with more than 2,000 images, a seeded sample of that many.
    """
    count = len(crops.pack)
    order = rng_for("latent mean order", seed).permutation(count)[:MOST_CROPS].tolist()
    groups = [[order[place] for place in chunk] for chunk in chunks(len(order), batch_size)]
    numbers = UniformRows("latent mean crop", seed, columns=COLUMNS)
    total = torch.zeros(vae.latent_size, dtype=torch.float64, device=precision.device)
    with (
        eval_mode(vae),
        precision.autocast(),
        progress.bar("mean of the latents", total=len(order), unit="crops") as bar,
    ):
        for batch in crops.batches(groups, numbers):
            total += vae.representation(batch.images).double().sum(0)
            bar.advance(len(batch.indices))
    mean: list[float] = (total / len(order)).tolist()
    return mean


@dataclass(frozen=True)
class ImportReport:
    """Where an imported model lies, and what is known of it."""

    out: str
    architecture: str
    parameters: int
    images: int
    """Training images behind latent_mean and training_mean_rgb; 0 where none were given."""

    def to_dict(self) -> dict[str, Any]:
        """The report as one JSON object."""
        return asdict(self)


def import_weights(
    file: Path | str,
    *,
    out: Path | str,
    data: Path | str | None = None,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> ImportReport:
    """Make a model folder of a `.pth` (or `.safetensors`) state dict with the reference layers.

    The file is read as data only; one that would have to run code is refused. `data`, the folder of
    its training images, adds their mean colour and mean latent, which `evaluate` and `similarity`
    use. Raises ModelFileError, DataError or OutputExistsError.
    """
    progress = progress or Silent()
    vae = VAE().eval()
    load_foreign_weights(vae, file)
    card = ModelCard(training={"imported_from": str(file)})
    count = 0
    if data is not None:
        recipe = CropRecipe.of(TrainSettings(recipe="reference"))
        pack = open_pack(open_folder(data), PackLayout(recipe.source_side_px), progress=progress)
        count, exact = len(pack), choose_precision("float32", choose_device("cpu"))
        crops = PackedCrops(pack, recipe, exact.device)
        card = replace(
            card,
            training_mean_rgb=pack.mean_rgb,
            latent_mean=latent_mean(vae, crops, precision=exact, progress=progress),
            data={"fingerprint": pack.fingerprint(), "images": count},
        )
    inputs = [Path(file), *([Path(data)] if data else [])]
    new_output_dir(Path(out), kind="model", overwrite=overwrite, inputs=inputs)
    save(vae, out, card=card)
    parameters = sum(weight.numel() for weight in vae.parameters())
    return ImportReport(str(out), card.architecture, parameters, count)


class StartsAtColour(Protocol):
    """What a decoder offers to `scaled_start`."""

    def start_colour(self, mean_rgb: tuple[float, float, float]) -> None:
        """Answer `mean_rgb`, each channel in (0, 1), where the latents say nothing."""


@torch.no_grad()
def scaled_start(vae: VAE, mean_rgb: tuple[float, float, float], generator: Generator) -> None:
    """Draw the weights of a new network, from `generator` (on the CPU) alone.

    He et al. 2015 (eq. 10) before a ReLU, 1 / fan-in for linear layers. Transposed convolutions of
    stride 2 start as bilinear enlargement with random mixing of the channels, convolutions of
    stride 2 half as blur: noise at the scale of pixels is what the network would have to unlearn
    first. Layers whose weights are 0 are left so. The decoder starts at the mean colour.
    """
    for layer in vae.modules():
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d | nn.Linear) and layer.weight.any():
            layer.weight.copy_(_drawn(layer, generator))
            if layer.bias is not None:
                layer.bias.zero_()
    cast(StartsAtColour, vae.decoder).start_colour(mean_rgb)


def _drawn(layer: nn.Conv2d | nn.ConvTranspose2d | nn.Linear, generator: Generator) -> Tensor:
    noise = torch.randn(layer.weight.shape, generator=generator)
    if isinstance(layer, nn.Linear):
        return noise / math.sqrt(layer.in_features)
    inputs, area = layer.in_channels, layer.weight[0, 0].numel()
    if isinstance(layer, nn.ConvTranspose2d):
        if (layer.kernel_size, layer.stride) == ((4, 4), (2, 2)):
            mixing = noise[:, :, :1, :1] * math.sqrt(2 / inputs)
            return mixing * torch.outer(_BILINEAR, _BILINEAR)
        taps = area / (layer.stride[0] * layer.stride[1])  # that one output pixel sees
        return noise * math.sqrt(2 / (inputs * taps))
    he = noise * math.sqrt(2 / (inputs * area))
    if (layer.kernel_size, layer.stride) == ((3, 3), (2, 2)):
        mixing = torch.randn((*noise.shape[:2], 1, 1), generator=generator) * math.sqrt(2 / inputs)
        return 0.5 * mixing * torch.outer(_BLUR, _BLUR) + math.sqrt(0.5) * he
    return he
