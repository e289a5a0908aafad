"""What the kept models of a run learn of their latents at its end: their mean, and a read-out."""

from __future__ import annotations

from dataclasses import replace

from vaeneer.data.dataset import open_folder
from vaeneer.data.pixel_cache import Pack, PackLayout, open_pack
from vaeneer.data.tiles import SOURCE_SIDE_PX
from vaeneer.measuring.calibration import fit_similarity
from vaeneer.model.checkpoint import load, save
from vaeneer.model.vae import VAE
from vaeneer.model.weights import latent_mean
from vaeneer.progress import Progress
from vaeneer.settings.training import CalibrateSettings
from vaeneer.training.run import Run

MOST_IMAGES = 512
"""Images of each side that a read-out is fitted to at the end of a run; `calibrate` takes more."""
DRAWS = {"best": 4, "last": 1}
"""How often their four crops are drawn: the best model is the one that is used."""
_MOST_DECODED = 2000  # validation images that are decoded once more, larger than `evaluate` does


def finish_models(run: Run, progress: Progress) -> None:
    """Note in the best and the last model the mean latent of training crops and the read-out."""
    done: dict[object, VAE] = {}
    for folder in (run.folder.best, run.folder.last):
        vae = load(folder, device=run.device)
        if vae.card.latent_mean is None or vae.readout is None:
            epochs = vae.card.training.get("epochs")  # best and last are often one and the same
            done[epochs] = done.get(epochs) or _finished(run, vae, DRAWS[folder.name], progress)
            save(done[epochs], folder)


def _finished(run: Run, vae: VAE, draws: int, progress: Progress) -> VAE:
    seed, batch_size = run.settings.seed, run.recipe.batch_size
    mean = latent_mean(
        vae,
        run.crops,
        precision=run.precision,
        progress=progress,
        seed=seed,
        batch_size=batch_size,
    )
    vae.card = replace(vae.card, latent_mean=mean)
    light = run.recipe.invariant_to is None or run.recipe.light > 0  # as the user chose
    settings = CalibrateSettings(max_images=MOST_IMAGES, draws=draws, seed=seed, light=light)
    vae.readout, vae.calibration = fit_similarity(
        vae, run.train, _larger_valid(run, progress), settings, run.precision, progress
    )
    return vae


def _larger_valid(run: Run, progress: Progress) -> Pack | None:
    """The validation images large enough for crops; of very many, none, to save the time."""
    if len(run.valid) > _MOST_DECODED:
        return None
    return open_pack(
        open_folder(run.valid.folder_root, all_maps=run.settings.all_maps),
        PackLayout(SOURCE_SIDE_PX),
        cache=run.settings.cache,
        workers=run.settings.workers,
        progress=progress,
    )
