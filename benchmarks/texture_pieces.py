"""What each piece of the texture part buys, on surfaces from sources that nothing was fitted to.

    python benchmarks/texture_pieces.py SURFACES SURFACES_CSV SPLIT_CSV

The statistics of strict crops of all images are computed once (photometric for the fits, both
variants for the questions); then every piece is left out, or changed, in turn. Each row is fitted
to all images but those of a fold and measured on the fold: five folds of whole source
repositories (column source_repo), and the validation side of SPLIT_CSV. No decoder takes part
here: the consistency term is trained on the statistics alone, for 400 steps. The strongest
handcrafted baseline on the same folds and crops is in results/whitened-baseline.json. Writes
results/texture-pieces.json; about ten minutes on two cores.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import cyclopts
import numpy as np
import torch
from machine import keep
from numpy.typing import NDArray
from torch import Tensor
from whitened_baseline import FIGURES, fold_of, rows_of

from vaeneer.cli.options import ConsoleProgress
from vaeneer.data.crops import (
    STRICT_COLUMNS,
    StrictRecipe,
    centre_square,
    strict_crops,
)
from vaeneer.data.dataset import ImageItem, open_folder
from vaeneer.data.decode_worker import SOURCE_SIDE_PX
from vaeneer.data.pixel_cache import Pack, PackLayout, open_pack
from vaeneer.evaluation.pairs import sample_pairs, score
from vaeneer.evaluation.representations import strict_comparison
from vaeneer.model.losses import infonce_nats
from vaeneer.model.projection import fit_readout
from vaeneer.model.texture import Texture, TextureStatistics, block_sizes
from vaeneer.rng import UniformRows
from vaeneer.settings import ReadoutSettings, Recipe, TrainSettings
from vaeneer.training.texture_init import learn_from_statistics

DRAWS = 6
STEPS, SURFACES_AT_ONCE, VIEWS = 400, 64, 4
Vectors = NDArray[np.float32]
Embed = Callable[[Tensor], Vectors]
"""Statistics (n, crops, F) to vectors (n, crops, D)."""


def main(
    surfaces: Path,
    surfaces_csv: Path,
    split: Path,
    *,
    cache: Path | None = None,
    statistics: bool = True,
) -> None:
    """Measure every row on every fold; `--no-statistics` leaves out those of the statistics."""
    progress = ConsoleProgress()
    pack = open_pack(
        open_folder(surfaces), PackLayout(SOURCE_SIDE_PX), cache=cache, progress=progress
    )
    names = [pack.name(index) for index in range(len(pack))]
    repos = {row["file"]: row["source_repo"] for row in rows_of(surfaces_csv)}
    sides = {row["file"]: row["split"] for row in rows_of(split)}
    folds = fold_of(np.array([repos[name] for name in names]))
    outs = {f"sources {fold}": folds == fold for fold in range(int(folds.max()) + 1)}
    outs["valid"] = np.array([sides.get(name) == "valid" for name in names])
    found = crops_described(pack, progress)
    result: dict[str, Any] = {"images": len(names), "draws": DRAWS, "folds": {}}
    for name, out in outs.items():
        result["folds"][name] = fold_figures(pack.items(), found, out, statistics)
        progress.say(f"{name}: {int(out.sum())} images")
    result["by_source"] = averaged([f for n, f in result["folds"].items() if n != "valid"])
    for row, variants in result["by_source"].items():
        shown = "  ".join(f"{k} {v:.4f}" for k, v in variants["photometric"].items())
        progress.say(f"{row:34s} {shown}")
    progress.say(f"wrote {keep('texture-pieces', result)}")


def crops_described(pack: Pack, progress: ConsoleProgress) -> dict[str, Tensor]:
    """Statistics of the crops of all images, by what they are for."""
    statistics = TextureStatistics()
    uses = [("fit", range(1, DRAWS + 1), True), ("photometric", range(1), True)]
    uses += [("plain", range(1), False)]
    found: dict[str, list[Tensor]] = {}
    with progress.bar("statistics", total=len(pack), unit="images") as bar:
        for index in range(len(pack)):
            square = centre_square(pack.image(index))
            for use, draws, light in uses:
                crops = np.concatenate(
                    [
                        strict_crops(
                            square,
                            UniformRows("strict crop", 0, draw, columns=STRICT_COLUMNS).rows(
                                [index]
                            )[0],
                            StrictRecipe(light=light),
                        )
                        for draw in draws
                    ]
                )
                found.setdefault(use, []).append(statistics(torch.from_numpy(crops)))
            bar.advance()
    return {use: torch.stack(rows) for use, rows in found.items()}


def fold_figures(
    items: Sequence[ImageItem], found: dict[str, Tensor], out: NDArray[np.bool_], statistics: bool
) -> dict[str, Any]:
    """Every row, fitted without the images `out` and measured on them."""
    rows: dict[str, Any] = {}
    places = np.flatnonzero(out)
    question = sample_pairs(
        [items[place] for place in places],
        strict_comparison("plain"),
        limit=500_000,
        resamples=0,
        seed=0,
    )
    seen = found["fit"][torch.from_numpy(~out)]
    for name, embed in chain(of_statistics(seen) if statistics else (), of_latents(seen)):
        rows[name] = {}
        for variant in ("photometric", "plain"):
            vectors = embed(found[variant][places])
            figures = score(name, vectors, question).figures.to_dict()
            rows[name][variant] = {figure: figures[figure] for figure in FIGURES}
            rows[name][variant] |= {"recall_of_averages": recall_of_averages(vectors)}
    return rows


def of_statistics(seen: Tensor) -> Iterator[tuple[str, Embed]]:
    """Rows without a latent: name, and how vectors are made, fitted to statistics (n, crops, F)."""
    torch.manual_seed(0)
    texture = Texture().eval()
    texture.fit(seen)
    scaled = texture.scaled(seen).numpy()
    families = {name: family(name) for name in block_sizes()}
    for left_out in (None, *dict.fromkeys(families.values())):
        kept = np.concatenate(
            [np.full(size, families[name] != left_out) for name, size in block_sizes().items()]
        )
        label = f"without {left_out}" if left_out else "all statistics, whitened"
        yield label, linear(texture, scaled, kept, ReadoutSettings(shrinkage=0.1))
    everything = np.ones(scaled.shape[2], bool)
    for label, settings in (
        ("not whitened", ReadoutSettings(whiten=False, dimensions=0)),
        ("shrinkage 0.01", ReadoutSettings(shrinkage=0.01)),
        ("32 dimensions", ReadoutSettings(shrinkage=0.1, dimensions=32)),
    ):
        yield label, linear(texture, scaled, everything, settings)


def of_latents(seen: Tensor) -> Iterator[tuple[str, Embed]]:
    """Rows of the texture part, and of its read-out, step by step."""
    torch.manual_seed(0)
    texture = Texture().eval()
    texture.fit(seen)
    yield "texture latents, closed form", latents(texture)
    yield "the same, read out", read_out(texture, seen)
    trained(texture, seen, noisy=False)
    yield "InfoNCE on means, read out", read_out(texture, seen)
    texture.fit(seen)
    trained(texture, seen, noisy=True)
    yield "InfoNCE on samples, read out", read_out(texture, seen)
    texture.fit(seen)
    recipe = Recipe.of(TrainSettings(recipe="surface"))
    learn_from_statistics(texture, seen, torch.arange(len(seen)), recipe, seed=0)
    yield "the recipe's start: with KL", latents(texture)
    for label, settings in (
        ("the same, read out", ReadoutSettings()),
        ("read out, shrinkage 0.1", ReadoutSettings(shrinkage=0.1)),
        ("read out, shrinkage 1", ReadoutSettings(shrinkage=1.0)),
        ("read out, not centred", ReadoutSettings(centre=False)),
        ("read out, not whitened", ReadoutSettings(whiten=False)),
        ("read out, 64 directions", ReadoutSettings(dimensions=64)),
        ("read out, weighed by ratio^0.25", ReadoutSettings(discriminant_power=0.25)),
        ("read out, dead latents kept", ReadoutSettings(min_relative_std=0)),
    ):
        yield label, read_out(texture, seen, settings)


def recall_of_averages(vectors: Vectors) -> float:
    """Recall@1 where each crop asks the images, each the average of its other crops."""
    unit = vectors / np.linalg.norm(vectors, axis=2, keepdims=True)
    images, crops, _ = unit.shape
    found = 0
    for crop in range(crops):
        averages = unit[:, np.arange(crops) != crop].mean(1)
        averages /= np.linalg.norm(averages, axis=1, keepdims=True)
        nearest = (unit[:, crop] @ averages.T).argmax(1)
        found += int((nearest == np.arange(images)).sum())
    return found / (images * crops)


def family(block: str) -> str:
    """The name of a block without its scale."""
    return block.rstrip("01234 ")


def linear(
    texture: Texture, scaled: Vectors, kept: NDArray[np.bool_], how: ReadoutSettings
) -> Embed:
    """A read-out of the statistics themselves."""
    readout = fit_readout(scaled[..., kept], how)
    return lambda x: each(x, lambda rows: readout(texture.scaled(rows).numpy()[:, kept]))


def latents(texture: Texture) -> Embed:
    """The texture part's means, in standard deviations of their posterior."""
    return lambda x: each(x, lambda rows: in_deviations(texture, rows).numpy())


def read_out(texture: Texture, seen: Tensor, how: ReadoutSettings | None = None) -> Embed:
    """The read-out that a finished model has."""
    readout = fit_readout(latents(texture)(seen), how)
    return lambda x: each(x, lambda rows: readout(in_deviations(texture, rows).numpy()))


@torch.no_grad()
def in_deviations(texture: Texture, rows: Tensor) -> Tensor:
    """As `VAE.texture`."""
    mu, log_var = texture.read(rows)
    return mu * (-0.5 * log_var).exp()


def each(statistics: Tensor, embed: Callable[[Tensor], Vectors]) -> Vectors:
    """`embed` of rows, for statistics (n, crops, F)."""
    vectors = embed(statistics.flatten(0, 1))
    return vectors.reshape(*statistics.shape[:2], -1)


def trained(texture: Texture, seen: Tensor, *, noisy: bool) -> None:
    """Train the texture part on the consistency term and its KL alone."""
    layers = [texture.linear, texture.hidden, texture.branch]
    weights = [weight for layer in layers for weight in layer.parameters()]
    optimizer = torch.optim.AdamW(weights, lr=1e-3, weight_decay=0.0)
    random = torch.Generator().manual_seed(0)
    assets = torch.arange(min(SURFACES_AT_ONCE, len(seen))).repeat_interleave(VIEWS)
    for step in range(STEPS):
        share = (step + 1) / STEPS
        optimizer.param_groups[0]["lr"] = 1e-3 * min(1, 10 * share) * math.cos(share * math.pi / 2)
        chosen = torch.randperm(len(seen), generator=random)[:SURFACES_AT_ONCE]
        crops = torch.rand(len(chosen), seen.shape[1], generator=random).argsort(1)[:, :VIEWS]
        mu, log_var = texture.read(seen[chosen[:, None], crops].flatten(0, 1))
        units = (-0.5 * log_var.detach()).exp()
        noise = torch.randn(mu.shape, generator=random) if noisy else 0.0
        loss = infonce_nats(mu * units + noise, assets, temperature=0.1).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def averaged(folds: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The mean of each figure over the folds."""
    return {
        row: {
            variant: {
                figure: float(np.mean([fold[row][variant][figure] for fold in folds]))
                for figure in (*FIGURES, "recall_of_averages")
            }
            for variant in variants
        }
        for row, variants in folds[0].items()
    }


if __name__ == "__main__":
    cyclopts.run(main)
