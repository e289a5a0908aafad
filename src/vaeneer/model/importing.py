"""import_weights(): checkpoints with the layers of the reference network as a model folder."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from vaeneer.data.crops import CropRecipe
from vaeneer.data.dataset import open_folder
from vaeneer.data.loader import PackedCrops
from vaeneer.data.pixel_cache import PackLayout, open_pack
from vaeneer.device import choose_device, choose_precision
from vaeneer.files import claim_folder
from vaeneer.model.card import ModelCard
from vaeneer.model.checkpoint import load_foreign_weights, save
from vaeneer.model.latents import latent_mean
from vaeneer.model.vae import VAE
from vaeneer.progress import Progress, Silent
from vaeneer.settings.training import TrainSettings


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
    claim_folder(Path(out), kind="model", overwrite=overwrite, inputs=inputs)
    save(vae, out, card=card)
    parameters = sum(weight.numel() for weight in vae.parameters())
    return ImportReport(str(out), card.architecture, parameters, count)
