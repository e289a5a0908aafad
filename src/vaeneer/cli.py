"""The commands: parse, call one function, print. Nothing else in vaeneer prints.

Flags and their help come from the dataclasses in config.py. PyTorch is imported by the functions
that are called, so that `--help` answers at once.
"""

from __future__ import annotations

import json as json_module
import os
import sys
import traceback
from collections.abc import Callable, Sequence
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Annotated

from cyclopts import App, CycloptsError, Group, Parameter
from cyclopts.config import Toml
from rich.console import Console, RenderableType

import vaeneer
from vaeneer import tables
from vaeneer.config import (
    RECONSTRUCTIONS,
    SAMPLES,
    SEED,
    SURFACE_SIDE_PX,
    SURFACES,
    EvaluateSettings,
    PrepareSettings,
    SimilaritySettings,
    TrainSettings,
    read_sections,
    unknown_name,
)
from vaeneer.console import ConsoleProgress
from vaeneer.errors import TrainingInterrupted, VaeneerError
from vaeneer.tables import Values

OUTPUT = Group("Output", sort_key=2)
SETTINGS = Group("Settings", sort_key=1)
Json = Annotated[
    bool, Parameter(name="--json", negative="", group=OUTPUT, help="Print one JSON object.")
]
Overwrite = Annotated[
    bool,
    Parameter(negative="", group=OUTPUT, help="Replace an output that exists."),
]
Flat = Parameter(name="*", group=SETTINGS)

app = App(
    name="vaeneer",
    help="Learn, measure and search the surfaces of a material library with a VAE.",
    version=lambda: version("vaeneer"),
    print_error=False,
    exit_on_error=False,
    result_action="return_value",
)


@app.command
def demo(
    *,
    out: Path = Path("vaeneer-demo"),
    data: Path | None = None,
    epochs: int = 0,
    seed: int = SEED,
    overwrite: Overwrite = False,
    json: Json = False,
) -> None:
    """Run everything once, in about three minutes: prepare, train, evaluate, similarity, sample.

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
    """
    report = vaeneer.demo(
        out=out, data=data, epochs=epochs, seed=seed, overwrite=overwrite, progress=_progress()
    )
    _show(report.to_dict(), tables.demonstration, json)


@app.command
def synthesize(
    folder: Path,
    *,
    count: int = SURFACES,
    side_px: int = SURFACE_SIDE_PX,
    seed: int = SEED,
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
    maps = vaeneer.synthesize(folder, count=count, side_px=side_px, seed=seed, progress=_progress())
    values = {"folder": str(folder), "surfaces": len(maps), "first": str(maps[0])}
    _show(values, partial(tables.plain, "synthesize"), json)


@app.command
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
        progress=_progress(),
    )
    _show(report.to_dict(), tables.preparation, json)


@app.command
def train(
    data: Path,
    *,
    out: Path,
    settings: Annotated[TrainSettings, Flat] = TrainSettings(),
    resume: Annotated[bool, Parameter(negative="", group=OUTPUT)] = False,
    overwrite: Overwrite = False,
    json: Json = False,
) -> None:
    """Train the reference network; models, metrics and plots land in a run folder.

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
        data, out=out, settings=settings, resume=resume, overwrite=overwrite, progress=_progress()
    )
    _show(report.to_dict(), tables.training, json)


@app.command
def evaluate(
    model: Path,
    folder: Path,
    *,
    out: Path | None = None,
    settings: Annotated[EvaluateSettings, Flat] = EvaluateSettings(),
    overwrite: Overwrite = False,
    json: Json = False,
) -> None:
    """Measure a model on the images of a folder: ELBO and its parts, PSNR, SSIM, the worst images.

    Parameters
    ----------
    model
        A model, or a run (its best model).
    folder
        Images, such as DATA/valid.
    out
        Folder for evaluation.json, per-image.csv and the pictures; by default
        MODEL/evaluation-FOLDER, replaced at each call.
    """
    report = vaeneer.evaluate(
        model,
        folder,
        out=out or _own_folder(model, "evaluation", folder),
        settings=settings,
        overwrite=overwrite or out is None,
        progress=_progress(),
    )
    _show(report.to_dict(), tables.evaluation, json)


@app.command
def similarity(
    model: Path,
    folder: Path,
    *,
    out: Path | None = None,
    settings: Annotated[SimilaritySettings, Flat] = SimilaritySettings(),
    overwrite: Overwrite = False,
    json: Json = False,
) -> None:
    """Tell crops of one image from crops of two, by latents and by a colour histogram.

    Parameters
    ----------
    model
        A model, or a run (its best model).
    folder
        Images, such as DATA/valid.
    out
        Folder for similarity.json and the pictures; by default MODEL/similarity-FOLDER,
        replaced at each call.
    """
    report = vaeneer.similarity(
        model,
        folder,
        out=out or _own_folder(model, "similarity", folder),
        settings=settings,
        overwrite=overwrite or out is None,
        progress=_progress(),
    )
    _show(report.to_dict(), tables.similarity, json)


@app.command
def sample(
    model: Path,
    *,
    out: Path = Path("samples.png"),
    count: int = SAMPLES,
    seed: int = SEED,
    device: str = "auto",
    overwrite: Overwrite = False,
    json: Json = False,
) -> None:
    """Draw random samples of the prior as one picture.

    Parameters
    ----------
    model
        A model, or a run (its best model).
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
    _show(report.to_dict(), partial(tables.plain, "sample"), json)


@app.command
def reconstruct(
    model: Path,
    images: Annotated[list[Path], Parameter(negative="")],
    *,
    out: Path = Path("reconstructions.png"),
    count: int = RECONSTRUCTIONS,
    seed: int = SEED,
    device: str = "auto",
    overwrite: Overwrite = False,
    json: Json = False,
) -> None:
    """Draw images above what the model makes of them.

    Parameters
    ----------
    model
        A model, or a run (its best model).
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
    """
    report = vaeneer.reconstruct(
        model, images, out=out, count=count, seed=seed, device=device, overwrite=overwrite
    )
    _show(report.to_dict(), partial(tables.plain, "reconstruct"), json)


@app.command
def info(path: Path, *, json: Json = False) -> None:
    """Tell what a folder is (data set, run, model) and what there is to know of it.

    Parameters
    ----------
    path
        A data set, a run, a model, or a folder of images.
    """
    _show(vaeneer.info(path).to_dict(), tables.inspection, json)


@app.command
def import_weights(
    file: Path,
    *,
    out: Path,
    data: Path | None = None,
    overwrite: Overwrite = False,
    json: Json = False,
) -> None:
    """Make a model folder of a .pth state dict that the seed's own code saved.

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
        file, out=out, data=data, overwrite=overwrite, progress=_progress()
    )
    _show(report.to_dict(), partial(tables.plain, "import-weights"), json)


@app.meta.default
def launch(
    *tokens: Annotated[str, Parameter(show=False, allow_leading_hyphen=True)],
    config: Annotated[Path | None, Parameter(group="Every command")] = None,
    debug: Annotated[bool, Parameter(negative="", group="Every command")] = False,
) -> None:
    """Read the options that every command has, then run it.

    Parameters
    ----------
    config
        TOML file with settings, a section for each command (a run's config.toml is one).
    debug
        Show the traceback of an error.
    """
    app.config = (_toml(config),) if config else ()
    app(tokens)


def run(arguments: Sequence[str]) -> int:
    """Run the command line; the exit code: 0, 1 for errors, 130 when stopped."""
    errors = Console(stderr=True, highlight=False, soft_wrap=True)
    try:
        app.meta(arguments)
        sys.stdout.flush()
    except BrokenPipeError:  # `vaeneer ... | head`: the reader has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except TrainingInterrupted as error:
        errors.print(str(error), markup=False)
        return 130
    except KeyboardInterrupt:
        errors.print("Stopped.")
        return 130
    except Exception as error:  # the last frame: every error becomes one sentence
        if "--debug" in arguments:
            traceback.print_exc()
        else:
            errors.print(_sentence(error), markup=False)
        return 1
    return 0


def _toml(config: Path) -> Toml:
    """The settings in a file, its sections checked: cyclopts refuses unknown names in them."""
    sections = read_sections(config)
    commands = [name for name in app if not name.startswith("-")]
    for section in sections:
        if section not in commands:
            raise unknown_name(config, f"section [{section}]", section, commands)
    return Toml(config, must_exist=True, allow_unknown=False)


def _sentence(error: Exception) -> str:
    if isinstance(error, VaeneerError | CycloptsError | OSError):
        return f"Error: {error}"
    return f"Error: {type(error).__name__}: {error} (--debug shows where)"


def _progress() -> ConsoleProgress:
    return ConsoleProgress()


def _own_folder(model: Path, what: str, folder: Path) -> Path:
    return model / f"{what}-{folder.resolve().name}"


def _show(values: Values, table: Callable[[Values], RenderableType], as_json: bool) -> None:
    if as_json:
        print(json_module.dumps(values, allow_nan=False))
    else:
        Console(highlight=False, soft_wrap=True).print(table(values), markup=False)


if __name__ == "__main__":
    sys.exit(run(sys.argv[1:]))
