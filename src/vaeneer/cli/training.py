"""Commands of data sets, training and models: from synthesize to demo, info and doctor."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

import vaeneer
from vaeneer.cli import tables
from vaeneer.cli.options import (
    OUTPUT,
    ConsoleProgress,
    Flat,
    Images,
    Json,
    Model,
    Overwrite,
    find,
    own_folder,
    show,
)
from vaeneer.settings import (
    RECONSTRUCTIONS,
    SAMPLES,
    SEED,
    SURFACE_SIDE_PX,
    SURFACES,
    Count,
    CountOrZero,
    EvaluateSettings,
    PrepareSettings,
    Seed,
    SidePx,
    SimilaritySettings,
    TrainSettings,
)


def train(
    data: Path,
    *,
    out: Path,
    settings: Annotated[TrainSettings, Flat] = TrainSettings(),
    resume: Annotated[bool, Parameter(negative="", group=OUTPUT)] = False,
    overwrite: Overwrite = False,
    json: Json = False,
) -> None:
    """Train a network; models, metrics and plots land in a run folder.

    Ctrl-C leaves a state that --resume goes on from, to the bit.

    Parameters
    ----------
    data
        A data set: a folder with train/ and valid/, made by prepare or by you.
    out
        The run folder.
    resume
        Go on with the run in --out where there is one, with its own settings.
    """
    report = vaeneer.train(
        data,
        out=out,
        settings=settings,
        resume=resume,
        overwrite=overwrite,
        progress=ConsoleProgress(),
    )
    show(report.to_dict(), tables.training, json)


def synthesize(
    folder: Path,
    *,
    count: Count = SURFACES,
    side_px: SidePx = SURFACE_SIDE_PX,
    seed: Seed = SEED,
    overwrite: Overwrite = False,
    json: Json = False,
) -> None:
    """Write a raw library of procedural surfaces, as a scanner would leave it.

    Parameters
    ----------
    folder
        Where to write.
    count
        How many surfaces, spread over all families.
    side_px
        Width and height of each colour map.
    seed
        Seed of all surfaces.
    """
    maps = vaeneer.synthesize(
        folder, count=count, side_px=side_px, seed=seed, progress=ConsoleProgress()
    )
    values = {"folder": str(folder), "surfaces": len(maps), "first": str(maps[0])}
    show(values, partial(tables.plain, "synthesize"), json)


def prepare(
    raw: Path,
    *,
    out: Path,
    settings: Annotated[PrepareSettings, Flat] = PrepareSettings(),
    dry_run: Annotated[bool, Parameter(negative="", group=OUTPUT)] = False,
    overwrite: Overwrite = False,
    json: Json = False,
) -> None:
    """Make a data set of a raw folder: verify, group by asset, find duplicates, split.

    The raw folder is never changed. Running it again is quick and takes up what is new.

    Parameters
    ----------
    raw
        Folder of surfaces, scanned with all folders below it.
    out
        The data set: train/, valid/, manifest.parquet and report.json.
    dry_run
        Say what would be done and write nothing.
    """
    report = vaeneer.prepare(
        raw,
        out=out,
        settings=settings,
        dry_run=dry_run,
        overwrite=overwrite,
        progress=ConsoleProgress(),
    )
    show(report.to_dict(), tables.preparation, json)


def import_weights(
    file: Path,
    *,
    out: Path,
    data: Path | None = None,
    overwrite: Overwrite = False,
    json: Json = False,
) -> None:
    """Make a model folder of a .pth state dict that the reference's code saved.

    Read as data only: a file that would have to run code is refused.

    Parameters
    ----------
    file
        The .pth (or .safetensors) file.
    out
        The model folder.
    data
        The folder of its training images; adds their mean colour and mean latent.
    """
    report = vaeneer.import_weights(
        file, out=out, data=data, overwrite=overwrite, progress=ConsoleProgress()
    )
    show(report.to_dict(), partial(tables.plain, "import-weights"), json)


def evaluate(
    model: Model,
    folder: Images,
    *,
    out: Path | None = None,
    settings: Annotated[EvaluateSettings, Flat] = EvaluateSettings(),
    overwrite: Overwrite = False,
    json: Json = False,
) -> None:
    """Measure a model on the images of a folder: ELBO and its parts, PSNR, SSIM, the worst images.

    Parameters
    ----------
    out
        Folder for evaluation.json, per-image.csv and the pictures; by default
        MODEL/evaluation-FOLDER, replaced at each call (of a bundled model:
        evaluation-MODEL-FOLDER here).
    """
    report = vaeneer.evaluate(
        model,
        folder,
        out=out or own_folder(model, "evaluation", folder),
        settings=settings,
        overwrite=overwrite or out is None,
        progress=ConsoleProgress(),
    )
    show(report.to_dict(), tables.evaluation, json)


def similarity(
    model: Model,
    folder: Images,
    *,
    out: Path | None = None,
    settings: Annotated[SimilaritySettings, Flat] = SimilaritySettings(),
    overwrite: Overwrite = False,
    json: Json = False,
) -> None:
    """Tell crops of one image from crops of two, by a model and by descriptors without learning.

    Parameters
    ----------
    out
        Folder for similarity.json, similarity.html and pictures; by default
        MODEL/similarity-FOLDER, replaced at each call (of a bundled model:
        similarity-MODEL-FOLDER here).
    """
    report = vaeneer.similarity(
        model,
        folder,
        out=out or own_folder(model, "similarity", folder),
        settings=settings,
        overwrite=overwrite or out is None,
        progress=ConsoleProgress(),
    )
    show(report.to_dict(), tables.similarity, json)


def sample(
    model: Model,
    *,
    out: Path = Path("samples.png"),
    count: Count = SAMPLES,
    seed: Seed = SEED,
    device: str = "auto",
    overwrite: Overwrite = False,
    json: Json = False,
) -> None:
    """Draw random samples, decoded from latents of the prior, as one picture.

    Parameters
    ----------
    out
        The PNG file.
    count
        How many samples.
    seed
        Seed of the latents: one seed, one picture.
    device
        Where to compute: auto, cpu, cuda or cuda:N.
    """
    report = vaeneer.sample(
        model, out=out, count=count, seed=seed, device=device, overwrite=overwrite
    )
    show(report.to_dict(), partial(tables.plain, "sample"), json)


def reconstruct(
    model: Model,
    images: Annotated[list[Path], Parameter(negative="")],
    *,
    out: Path = Path("reconstructions.png"),
    count: Count = RECONSTRUCTIONS,
    seed: Seed = SEED,
    device: str = "auto",
    all_maps: Annotated[bool, Parameter(negative="")] = False,
    overwrite: Overwrite = False,
    json: Json = False,
) -> None:
    """Draw images above what the model makes of them.

    Parameters
    ----------
    images
        Image files, or folders to choose from.
    out
        The PNG file.
    count
        How many images to choose from a folder.
    seed
        Seed of that choice.
    device
        Where to compute: auto, cpu, cuda or cuda:N.
    all_maps
        Also choose normal maps, roughness and the like from a folder; by default colour maps only.
    """
    report = vaeneer.reconstruct(
        model,
        images,
        out=out,
        count=count,
        seed=seed,
        device=device,
        all_maps=all_maps,
        overwrite=overwrite,
        progress=ConsoleProgress(),
    )
    show(report.to_dict(), partial(tables.plain, "reconstruct"), json)


def demo(
    *,
    out: Path = Path("vaeneer-demo"),
    data: Path | None = None,
    epochs: CountOrZero = 0,
    seed: Seed = SEED,
    open: Annotated[bool, Parameter(negative="")] = False,
    overwrite: Overwrite = False,
    json: Json = False,
) -> None:
    """Show what vaeneer is for, in about three minutes: index, search, duplicates, map, training.

    Parameters
    ----------
    out
        Folder for all that the demo makes; report.html in it shows the whole.
    data
        Your own folder of surfaces instead of the built-in procedural ones.
    epochs
        Passes over the training images; 0 chooses as many as fit the time.
    seed
        Seed of the surfaces, the split and the training.
    open
        Open the page in the browser on what was made; a finished demo in --out is not made again.
    """
    from vaeneer.demonstration import folders_to_serve

    existing = folders_to_serve(out) if open and not overwrite else []
    if not existing:
        report = vaeneer.demo(
            out=out,
            data=data,
            epochs=epochs,
            seed=seed,
            overwrite=overwrite,
            progress=ConsoleProgress(),
        )
        show(report.to_dict(), tables.demonstration, json)
    if open:
        folders = existing or [out / "library", out / "run"]
        vaeneer.serve(folders, open_page=True, progress=ConsoleProgress())


def info(path: Path, *, json: Json = False) -> None:
    """Tell what a folder is (library, data set, run, model) and what there is to know of it.

    Parameters
    ----------
    path
        A library, a data set, a run or a folder of runs, a model or a bundled one's name, a cache
        of decoded images, or a folder of images.
    """
    show(vaeneer.info(path).to_dict(), tables.inspection, json)


def doctor(
    path: Path | None = None,
    *,
    mend: Annotated[bool, Parameter(negative="")] = False,
    json: Json = False,
) -> None:
    """Check every file that vaeneer wrote into a folder; exit code 1 where one is damaged.

    Parameters
    ----------
    path
        A library or the folder that was indexed, a run, a model or a bundled one's name, a data
        set, a cache of decoded images, or a Parquet file of vectors. By default the library of the
        current directory, or the only one in the user's data folder.
    mend
        Make again what can be: files of a library, copies of images in a data set, decoded images.
    """
    report = vaeneer.doctor(
        find(path) if path is None else path, mend=mend, progress=ConsoleProgress()
    )
    show(report.to_dict(), tables.health, json)
    if not report.healthy:
        raise SystemExit(1)
