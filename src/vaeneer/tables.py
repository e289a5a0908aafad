"""What a command shows at its end: small tables made of a report's `to_dict()`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from rich import get_console
from rich.console import Group, RenderableType
from rich.table import Table

Values = Mapping[str, Any]
_COLOURS = {
    "grey": "constant grey",
    "training_mean": "mean training colour",
    "own_mean": "each image's mean colour",
}
_MANY = 10
_VARIANTS = ("photometric", "plain", "photometric_scale_gap", "plain_scale_gap")
_COMPARED = {
    "auc": "AUC",
    "d_prime": "d'",
    "eer": "EER",
    "tpr_at_fpr_1e-2": "TPR@1e-2",
    "tpr_at_fpr_1e-3": "TPR@1e-3",
    "recall_at_1": "recall@1",
    "recall_at_5": "recall@5",
    "arr": "ARR",
    "map": "mAP",
}


def plain(title: str, values: Values) -> RenderableType:
    """Names with values, for reports without a table of their own."""
    table = _two_columns(title)
    for name, value in _flat(values):
        table.add_row(name, value)
    return table


def preparation(values: Values) -> RenderableType:
    """What became of the files of a raw folder."""
    lists = ("skipped_files", "unread_sidecars", "notes", "straddling_pairs", "missing", "warnings")
    counts = {name: value for name, value in values.items() if name not in lists}
    notes = values["notes"]
    skipped = [f"skipped {path}: {reason}" for path, reason in values["skipped_files"]]
    if len(skipped) > _MANY:
        skipped[_MANY:] = [f"... and {len(skipped) - _MANY:,} more, all in report.json"]
    return Group(
        plain("prepare", counts),
        *skipped,
        *([f"read {len(notes):,} with a note, in report.json"] if notes else []),
        *(f"warning: {line}" for line in values["warnings"]),
    )


def training(values: Values) -> RenderableType:
    """The last epoch of a run, its best, and where the pictures are."""
    line = values["figures"]
    train, valid = line["train"], line["valid"]
    table = Table(title=_title("train", values["out"]), title_justify="left")
    table.add_column("last epoch", no_wrap=True)
    for head in ("loss", "pixels", "KL", "nats/dim", "excess", "active"):
        table.add_column(head, justify="right", no_wrap=True)
    kind = "" if train["loss"] == "bce" else " (squared errors)"
    table.add_row(f"training{kind}", *_elbo(train), "")
    table.add_row("validation", *_elbo(valid), f"{valid['active_units']}")
    for name, excess in valid["trivial_excess_nats"].items():
        if excess is not None:
            table.add_row(_COLOURS[name], "", "", "", "", f"{excess:,.0f}", "")
    best = values["best_valid_loss"]
    return Group(
        table,
        "nats per image; excess: above the entropy of the pixels. Summed over 16"
        f" images, as the seed quotes it, the training loss is {train['seed_loss']:,.0f}.",
        f"best epoch {values['best_epoch']} of {values['epochs']} (validation loss {best:,.0f});"
        f" {values['steps']:,} steps in {values['seconds']:,.0f} s,"
        f" {line['images_per_second']:.1f} images/s",
        *_paths(values),
    )


def evaluation(values: Values) -> RenderableType:
    """The model beside the predictors that know nothing but a colour."""
    entropy = values["entropy_nats"]
    table = Table(title=_title("evaluate", values["folder"]), title_justify="left")
    for head in ("predictor", "nats/image", "nats/dim", "above entropy"):
        table.add_column(head, justify="left" if head == "predictor" else "right", no_wrap=True)
    dims = values["nats_per_image"] / values["nats_per_dim"]
    rows = [("this model", values["excess_nats"])]
    if values["iwae_nats"] is not None:
        bound = values["iwae_nats"] - entropy
        rows.append((f"  bound of {values['iwae_samples']} weighted samples", bound))
    rows += [(_COLOURS[k], v) for k, v in values["trivial_excess_nats"].items() if v is not None]
    rows.append(("the least possible (entropy)", 0.0))
    for name, excess in rows:
        nats = entropy + excess
        table.add_row(name, f"{nats:,.0f}", f"{nats / dims:.4f}", f"{excess:,.0f}")
    return Group(
        table,
        f"{values['images']:,} images: reconstruction {values['reconstruction_nats']:,.1f} + KL"
        f" {values['kl_nats']:,.1f} nats, {values['active_units']} active units"
        f"{_likeness(values)};"
        f" from {values['best_image_nats']:,.0f} to {values['worst_image_nats']:,.0f}"
        f" nats per image; {values['seconds']:,.1f} s",
        *_paths(values),
    )


def _likeness(values: Values) -> str:
    if values["psnr_db"] is None:
        return ""
    return f", PSNR {values['psnr_db']:.2f} dB, SSIM {values['ssim']:.3f}"


def similarity(values: Values) -> RenderableType:
    """One row for each representation on the same crops, one table for each variant."""
    variants = {name: values[name] for name in _VARIANTS if values[name]} or {"": values}
    parts: list[RenderableType] = []
    for name, variant in variants.items():
        parts += _compared(f"{name.replace('_', ' ')} ", variant, values["folder"])
        if variant["inside_category"]:
            hard = variant["inside_category"]
            parts += _compared(f"{name.replace('_', ' ')} inside a category ", hard, "")
    chance = values["chance"]
    return Group(
        *parts,
        f"{values['images']:,} images, {values['crops']:,} crops: {values['same_pairs']:,} pairs of"
        f" one image, {values['different_pairs']:,} of two; {values['gallery_size']:,.0f} crops"
        f" answer each query. Chance: AUC 0.5, recall@1 {chance['recall_at_1']:.4f}, ARR"
        f" {chance['arr']:.4f}. {values['seconds']:,.1f} s",
        *values["notes"],
        *_paths(values),
        *((f"the page, one file with everything: {values['page']}",) if values["page"] else ()),
    )


_WIDE = 130  # characters that the whole table takes
_FEWER = ("auc", "eer", "recall_at_1", "arr")


def _compared(name: str, variant: Values, folder: str) -> list[RenderableType]:
    title = f"similarity: {name}{'on ' if name.strip() and folder else ''}{folder}".rstrip()
    shown = _COMPARED if get_console().width >= _WIDE else _FEWER
    table = Table(title=title, title_justify="left")
    table.add_column("representation", no_wrap=True)
    for key in shown:
        table.add_column(_COMPARED[key], justify="right", no_wrap=True)
    for row in variant["representations"].values():
        cells = ["inf" if row[key] is None else f"{row[key]:.4f}" for key in shown]
        table.add_row(row["title"], *cells)
    return [table, variant["verdict"]] if variant["verdict"] else [table]


def calibration(values: Values) -> RenderableType:
    """How well the vectors tell held-out crops apart, before and after, and what a cosine says."""
    table = Table(title=_title("calibrate", values["out"]), title_justify="left")
    table.add_column("held-out crops, by", no_wrap=True)
    for head in ("AUC", "EER"):
        table.add_column(head, justify="right", no_wrap=True)
    names = {"latents": "latents", "before": "vectors before", "after": "vectors now"}
    for name, figures in values["figures"].items():
        table.add_row(names[name], f"{figures['auc']:.4f}", f"{figures['eer']:.4f}")
    even = values["even_cosine"]
    says = "no cosine tells" if even is None else f"as likely as not at cosine {even:.3f}"
    return Group(
        table,
        f"{values['latents']:,} latents to {values['dimensions']:,} numbers, fitted to"
        f" {values['crops']} crops of each of {values['train_images']:,} images; measured on"
        f" {values['held_out_images']:,} others, {values['seconds']:,.1f} s",
        f"the same surface: {says}, were same and different pairs as many; probabilities are off"
        f" by {values['calibration_error']:.3f} on average",
        *_paths(values),
    )


def demonstration(values: Values) -> RenderableType:
    """The short table of a demo, and where to look."""
    shown = {name: value for name, value in values.items() if name not in ("pictures", "report")}
    return Group(
        plain("demo", shown),
        *_paths(values),
        f"the report, one file with everything: {values['report']}",
    )


def speed(values: Values) -> RenderableType:
    """What the machine can do, each part of vaeneer below its ceiling, and the bottleneck."""
    ceilings, network = values["ceilings"], values["network"]
    table = Table(title=_title("bench", values["device"]), title_justify="left")
    table.add_column("part", no_wrap=True)
    for head in ("images/s", "ceiling", "share"):
        table.add_column(head, justify="right", no_wrap=True)
    table.add_column("of", no_wrap=True)
    for name, part in values["parts"].items():
        most = f"{part['ceiling_images_per_s']:,.0f}"
        rate = f"{part['images_per_s']:,.1f}"
        table.add_row(name, rate, most, f"{part['share']:.0%}", part["ceiling"])
    products = ", ".join(
        f"{kind} {speed:,.0f}" for kind, speed in ceilings["matmul_gflop_per_s"].items()
    )
    upload = ceilings["upload_gb_per_s"]
    shares = ", ".join(f"{name} {share:.0%}" for name, share in values["epoch_shares"].items())
    return Group(
        table,
        f"matrix product, GFLOP/s: {products}; copying {ceilings['copy_gb_per_s']:,.1f} GB/s"
        + (f", to the device {upload:,.1f} GB/s" if upload is not None else ""),
        f"{network['architecture']} network: {network['step_gflop']:.2f} GFLOP to train on an"
        f" image; layers alone {network['layers_images_per_s']:,.1f} images/s, bound by work and"
        f" bytes {network['roofline_images_per_s']:,.1f}",
        f"of an epoch: {shares}; {values['seconds']:,.0f} s in all",
        *_paths(values),
        values["summary"],
    )


def inspection(values: Values) -> RenderableType:
    """What a folder is, and its facts."""
    return plain(f"{values['kind']}: {values['path']}", values["facts"])


def _elbo(figures: Values) -> Iterable[str]:
    total, excess = figures["nats_per_image"], figures["excess_nats"]
    yield f"{total:,.0f}"
    yield f"{figures['reconstruction_nats']:,.0f}"
    yield f"{figures['kl_nats']:,.1f}"
    yield f"{figures['nats_per_dim']:.4f}"
    yield "-" if excess is None else f"{excess:,.0f}"


def _paths(values: Values) -> Iterable[str]:
    skipped = values.get("skipped", {})
    for path, reason in list(skipped.items())[:_MANY]:
        yield f"skipped {path}: {reason}"
    if skipped:
        yield f"skipped {len(skipped):,} files in all"
    for picture in values.get("pictures", ()):
        yield f"picture {picture}"


def _title(command: str, what: str) -> str:
    return f"{command}: {what}"


def _two_columns(title: str) -> Table:
    table = Table(title=title, title_justify="left", show_header=False)
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    return table


def _flat(values: Values, prefix: str = "") -> list[tuple[str, str]]:
    rows: list[tuple[str, str]] = []
    for name, value in values.items():
        label = f"{prefix}{name}".replace("_", " ")
        if isinstance(value, Mapping):
            rows += _flat(value, f"{label}: ")
        elif value is not None and value not in ([], ()):
            rows.append((label, _cell(value)))
    return rows


def _cell(value: Any) -> str:
    if isinstance(value, bool | str):
        return str(value)
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:,.1f}" if abs(value) >= 1000 else f"{value:.4g}"
    if isinstance(value, list | tuple):
        shown = [_cell(item) for item in value[:_MANY]]
        return "\n".join([*shown, "..."] if len(value) > _MANY else shown)
    return str(value)
