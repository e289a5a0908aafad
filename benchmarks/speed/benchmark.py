"""bench(): the ceilings of a machine, the parts of vaeneer below them, and the bottleneck."""

from __future__ import annotations

import math
import os
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from PIL import Image

from speed import parts
from speed.ceilings import Ceilings, find_ceilings
from speed.figures import (
    Found,
    NetworkFigures,
    PartFigures,
    epoch_shares,
    largest,
    part_figures,
    summary,
)
from speed.layers import LayerFigures, counted_flops, layers_of, time_layer
from speed.settings import BenchSettings
from vaeneer.data.dataset import open_folder
from vaeneer.data.synthetic.synthesize import FAMILIES, surface
from vaeneer.device import Precision, choose_device, choose_precision, describe_device
from vaeneer.evaluation.plots import QUIET, TRAIN, new_chart, save_chart
from vaeneer.files import new_output_dir, write_json
from vaeneer.model.losses import elbo_terms
from vaeneer.model.vae import VAE, eval_mode
from vaeneer.progress import Bar, Progress, Silent
from vaeneer.settings import TrainSettings
from vaeneer.training.run_folder import RunFolder
from vaeneer.training.setup import Run, start_run
from vaeneer.workers import core_count

_DIFFERENT = 12  # surfaces that are made; the images are these, shifted
_SURFACE_SIDE_PX = 384


def make_images(folder: Path, count: int, side_px: int) -> list[Path]:
    """JPEGs of procedural surfaces, side_px x side_px: surfaces repeat, so they stay as sharp."""
    folder.mkdir()

    def write(number: int) -> Path:
        pixels = np.roll(sheets[number % len(sheets)], 7 * number, axis=(0, 1))
        repeats = -(-side_px // _SURFACE_SIDE_PX)
        tiled = np.tile(pixels, (repeats, repeats, 1))[:side_px, :side_px]
        path = folder / f"surface_{number:05d}.jpg"
        Image.fromarray(tiled).save(path, quality=92)
        return path

    families = FAMILIES[: min(_DIFFERENT, count)]
    with ThreadPoolExecutor(core_count()) as pool:
        sheets = list(
            pool.map(lambda name: surface(name, seed=0, side_px=_SURFACE_SIDE_PX), families)
        )
        return list(pool.map(write, range(count)))


def choose_images(folder: Path, count: int) -> list[Path]:
    """Up to `count` images of a folder, spread evenly. Raises DataError when it has none."""
    items = open_folder(folder).items
    places = np.linspace(0, len(items) - 1, min(count, len(items))).round().astype(int)
    return [items[place].path for place in places.tolist()]


def link_images(images: Sequence[Path], folder: Path, count: int) -> Path:
    """A folder of `count` images: the given ones in turn, as hard links where they can be."""
    folder.mkdir(parents=True)
    for number in range(count):
        image = images[number % len(images)]
        target = folder / f"{number:05d}{image.suffix}"
        try:
            os.link(image, target)
        except OSError:
            shutil.copyfile(image, target)
    return folder


def draw_speed(parts: Mapping[str, PartFigures], path: Path) -> Path:
    """Bars of images a second, on a logarithmic axis, each with a mark at its ceiling."""
    figure, axes = new_chart("Images a second of each part, and its ceiling", "images / s", "")
    places = range(len(parts))
    axes.set_xscale("log")
    axes.barh(places, [part.images_per_s for part in parts.values()], color=TRAIN, height=0.55)
    ceilings = [part.ceiling_images_per_s for part in parts.values()]
    axes.plot(ceilings, places, "|", color=QUIET, markersize=22, markeredgewidth=2.5)
    for place, part in zip(places, parts.values(), strict=True):
        words = f"{part.images_per_s:,.0f}/s: {part.share:.0%} of {part.ceiling}"
        end = max(part.images_per_s, part.ceiling_images_per_s)
        axes.annotate(words, (end, place), (8, 0), textcoords="offset points", va="center")
    axes.set_yticks(places, list(parts))
    axes.invert_yaxis()
    low, high = axes.get_xlim()
    axes.set_xlim(low, high * 40)  # room for the words
    return save_chart(figure, path)


_STAGES = (
    "images", "ceilings", "layers", "decode", "crop", "step", "evaluate", "embed", "epoch",
)  # fmt: skip
_EPOCHS = 1_000_000  # a run that never comes to its end
_LEAST_BATCHES = {"cpu": 1, "cuda": 32}  # an epoch should be longer than what is around it


@dataclass(frozen=True)
class BenchReport:
    """The speed of one machine with one network."""

    device: str
    """What was measured, under which PyTorch."""
    precision: str
    """float32 or bfloat16: what the network computed in."""
    ceilings: Ceilings
    """What the machine does of one thing alone."""
    network: NetworkFigures
    """Operations of the network, and its ceiling."""
    layers: list[LayerFigures]
    """Each layer with weights."""
    parts: dict[str, PartFigures]
    """decode, crop, step, evaluate, embed and epoch, the whole."""
    epoch_shares: dict[str, float]
    """Time of crop and step alone, and of the rest, as shares of an epoch's."""
    bottleneck: str
    """The largest of these."""
    summary: str
    """The bottleneck as a sentence."""
    settings: dict[str, Any]
    """Settings of the benchmark."""
    seconds: float
    """Duration of the benchmark."""
    pictures: list[str]
    """Paths of the charts."""

    def to_dict(self) -> dict[str, Any]:
        """The report as one JSON object."""
        return asdict(self)


def bench(
    *,
    settings: BenchSettings | None = None,
    out: Path | str | None = None,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> BenchReport:
    """Measure what a machine can do, what vaeneer does of it, and the bottleneck.

    All work goes on in a temporary folder. out: a folder for bench.json and a chart, or nothing.
    Raises SettingsError, DataError (no image in `settings.data`) or OutputExistsError.
    """
    settings = settings or BenchSettings()
    precision = choose_precision(settings.precision, choose_device(settings.device))
    folder = None
    if out is not None:
        folder = new_output_dir(Path(out), kind="benchmark", overwrite=overwrite)
    started = time.monotonic()
    bar = (progress or Silent()).bar("measuring", total=len(_STAGES), unit="measurements")
    with TemporaryDirectory(prefix="vaeneer-bench-") as temporary, bar as advancing:
        found = _measure(settings, precision, Path(temporary), advancing)
    figures = part_figures(found, precision.name)
    shares = epoch_shares(found.rates)
    report = BenchReport(
        device=describe_device(precision.device, precision.name),
        precision=precision.name,
        ceilings=found.ceilings,
        network=found.network,
        layers=found.layers,
        parts=figures,
        epoch_shares=shares,
        bottleneck=largest(shares),
        summary=summary(shares, figures, found.network),
        settings={**asdict(settings), "data": settings.data and str(settings.data)},
        seconds=time.monotonic() - started,
        pictures=[] if folder is None else [str(folder / "bench.png")],
    )
    if folder is not None:
        draw_speed(report.parts, folder / "bench.png")
        write_json(folder / "bench.json", report.to_dict())
    return report


def _measure(settings: BenchSettings, precision: Precision, folder: Path, bar: Bar) -> Found:
    stages = iter(_STAGES)

    def begin() -> None:
        bar.advance(0, next(stages))

    begin()
    images = _images(settings, folder / "images")
    run = _start(settings, precision, images, folder)
    take, rates = parts.new_step(run), {}
    bar.advance()
    begin()
    source_px, seconds = run.train.layout.side_px, settings.seconds
    readable = [item.path for item in run.train.items()]
    ceilings = find_ceilings(precision, readable, source_px, seconds)
    bar.advance()
    begin()
    layers = _layers(run, ceilings, seconds)
    network = _network(run, layers)
    bar.advance()
    train = folder / "data" / "train"
    many = link_images(readable, folder / "many", _decoded(settings))
    measurements: dict[str, Callable[[], float]] = {
        "decode": lambda: parts.decode(many, folder / "decoded", source_px, settings.workers),
        "crop": lambda: parts.crop(run, seconds),
        "step": lambda: parts.step(run, take, seconds),
        "evaluate": lambda: parts.evaluation(run, train, folder),
        "embed": lambda: parts.embedding(run, train, folder / "cache", seconds),
        "epoch": lambda: parts.epoch(run, take, seconds),
    }
    for name, measurement in measurements.items():
        begin()
        rates[name] = measurement()
        bar.advance()
    return Found(ceilings, network, layers, rates, _crop_bytes(run))


def _images(settings: BenchSettings, folder: Path) -> list[Path]:
    if settings.data is not None:
        return choose_images(settings.data, settings.images)
    return make_images(folder, settings.images, settings.image_side_px)


def _decoded(settings: BenchSettings) -> int:
    """Enough that the start of the processes can be left out."""
    return max(settings.images, 4 * parts.decoding_pool(settings.workers))


def _start(
    settings: BenchSettings, precision: Precision, images: Sequence[Path], folder: Path
) -> Run:
    """A run as `train` starts it, on whole batches."""
    size = settings.batch_size
    batches = max(math.ceil(settings.images / size), _LEAST_BATCHES[precision.device.type])
    link_images(images, folder / "data" / "train", size * batches)
    link_images(images, folder / "data" / "valid", len(images) if settings.data else 1)
    return start_run(
        folder / "data",
        RunFolder(folder / "run"),
        TrainSettings(
            recipe="reference",
            architecture=settings.architecture,
            epochs=_EPOCHS,
            batch_size=size,
            cache=folder / "cache",
            workers=settings.workers,
            device=str(precision.device),
            precision=precision.name,
        ),
        resume=False,
        overwrite=False,
        progress=Silent(),
    )


def _layers(run: Run, ceilings: Ceilings, seconds: float) -> list[LayerFigures]:
    size, side = run.recipe.batch_size, run.vae.image_side_px
    images = torch.zeros(size, 3, side, side, device=run.device)
    layers = layers_of(run.vae, images)
    best = ceilings.matmul_gflop_per_s[run.precision.name]
    each = 3 * seconds / len(layers)
    return [time_layer(one, run.precision, best, ceilings.copy_gb_per_s, each) for one in layers]


def _network(run: Run, layers: Sequence[LayerFigures]) -> NetworkFigures:
    vae, side = run.vae, run.vae.image_side_px
    image = torch.full((1, 3, side, side), 0.5, device=run.device)
    z = torch.zeros(1, vae.latent_size, device=run.device)
    with eval_mode(vae):
        encode = counted_flops(lambda: vae.encode(image))
        decode = counted_flops(lambda: vae.decode(z))
    return NetworkFigures(
        architecture=run.recipe.architecture,
        parameters=sum(weights.numel() for weights in vae.parameters()),
        step_gflop=counted_flops(lambda: _pass_both_ways(vae, image, z)) / 1e9,
        encode_gflop=encode / 1e9,
        decode_gflop=decode / 1e9,
        layers_images_per_s=1 / sum(layer.seconds for layer in layers),
        roofline_images_per_s=1 / sum(layer.bound_seconds for layer in layers),
    )


def _pass_both_ways(vae: VAE, image: torch.Tensor, noise: torch.Tensor) -> None:
    """What a step computes of one image; leaves no gradients behind."""
    vae.train()
    elbo_terms(vae(image, noise=noise), image).total_nats().mean().backward()
    vae.zero_grad(set_to_none=True)


def _crop_bytes(run: Run) -> float:
    """What a crop reads and writes: its mean area in the pack, and the square that it becomes."""
    pack, recipe = run.train, run.crops.recipe
    area = float((pack.widths.astype(float) * pack.heights).mean())
    return 3 * (sum(recipe.scale) / 2 * area + recipe.side_px**2)
