"""What a machine can do at most, what vaeneer makes of it, and the bottleneck.

    python benchmarks/bench.py [--out FOLDER] [--data IMAGES] [--json]

Takes about a minute and needs no data. Close other programs first.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import cyclopts
from rich.console import RenderableType
from speed.benchmark import bench
from speed.settings import BenchSettings

from vaeneer.cli.options import ConsoleProgress, Json, Overwrite, show
from vaeneer.cli.tables import Values, grid, page


def main(
    *,
    out: Path | None = None,
    settings: Annotated[BenchSettings, cyclopts.Parameter(name="*")] = BenchSettings(),
    overwrite: Overwrite = False,
    json: Json = False,
) -> None:
    """Measure what this machine can do, what training does of it, and name the bottleneck.

    Parameters
    ----------
    out
        Folder for bench.json and a chart; by default nothing is written.
    """
    report = bench(settings=settings, out=out, overwrite=overwrite, progress=ConsoleProgress())
    show(report.to_dict(), table, json)


def table(values: Values) -> RenderableType:
    """What the machine can do, each part of vaeneer below its ceiling, and the bottleneck."""
    ceilings, network = values["ceilings"], values["network"]
    rows = [
        (
            name,
            f"{part['images_per_s']:,.1f}",
            f"{part['ceiling_images_per_s']:,.0f}",
            f"{part['share']:.0%}",
            part["ceiling"],
        )
        for name, part in values["parts"].items()
    ]
    heads = ("part", "images/s", "ceiling", "share", "of")
    products = ", ".join(
        f"{kind} {speed:,.0f}" for kind, speed in ceilings["matmul_gflop_per_s"].items()
    )
    upload = ceilings["upload_gb_per_s"]
    shares = ", ".join(f"{name} {share:.0%}" for name, share in values["epoch_shares"].items())
    return page(
        grid(f"bench: {values['device']}", heads, rows, right=heads[1:4], unbroken=heads),
        f"matrix product, GFLOP/s: {products}; copying {ceilings['copy_gb_per_s']:,.1f} GB/s"
        + (f", to the device {upload:,.1f} GB/s" if upload is not None else ""),
        f"{network['architecture']} network: {network['step_gflop']:.2f} GFLOP to train on an"
        f" image; layers alone {network['layers_images_per_s']:,.1f} images/s, bound by work and"
        f" bytes {network['roofline_images_per_s']:,.1f}",
        f"of an epoch: {shares}; {values['seconds']:,.0f} s in all",
        *([f"written: {values['out']}"] if values.get("out") else []),
        values["summary"],
    )


if __name__ == "__main__":
    cyclopts.run(main)
