"""What a command shows at its end: small tables made of a report's `to_dict()`.

All text becomes `rich.text.Text` in `grid` and `page`, so that no name is ever read as markup.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from rich import get_console
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from vaeneer.text import printable

Values = Mapping[str, Any]
_COLOURS = {
    "grey": "constant grey",
    "training_mean": "mean training colour",
    "own_mean": "one flat colour per image",
}
_MANY = 10
_FEW = 5
_NO_IMAGE = "not an image file"
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
_WIDE = 130  # characters that the whole table takes
_FEWER = ("auc", "eer", "recall_at_1", "arr")


def grid(
    title: str,
    heads: Sequence[str],
    rows: Iterable[Sequence[str | Text]],
    *,
    right: Collection[str] = (),
    unbroken: Collection[str] = (),
) -> Table:
    """A table of plain text: what brackets, control characters and undecodable bytes are in it.

    right: heads of the columns that are aligned to the right. unbroken: of those that do not wrap.
    """
    table = Table(title=_text(title), title_justify="left")
    for head in heads:
        side: Any = "right" if head in right else "left"
        table.add_column(_text(head), justify=side, overflow="fold", no_wrap=head in unbroken)
    for row in rows:
        table.add_row(*map(_text, row))
    return table


def page(*parts: RenderableType) -> RenderableType:
    """Tables and lines below each other, each line as plain text."""
    return Group(*(_text(part) if isinstance(part, str) else part for part in parts))


def plain(title: str, values: Values) -> RenderableType:
    """Names with values, for reports without a table of their own."""
    table = Table(title=_text(title), title_justify="left", show_header=False)
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    for name, value in _flat(values):
        table.add_row(_text(name), value)
    return table


def by_reason(counts: Mapping[str, int]) -> dict[str, int]:
    """Numbers of files that were left out, the most first; all that are no images in one line."""
    found = dict(counts)
    endings = [name for name in found if name.startswith(_NO_IMAGE)]
    if len(endings) > 1:
        endings.sort(key=lambda name: -found[name])
        shown = [name[len(_NO_IMAGE) :].strip(" ()") for name in endings[:_FEW]]
        more = f" and {len(endings) - _FEW} more kinds" if len(endings) > _FEW else ""
        total = sum(found.pop(name) for name in endings)
        found[f"{_NO_IMAGE} ({', '.join(shown)}{more})"] = total
    return dict(sorted(found.items(), key=lambda one: -one[1]))


def preparation(values: Values) -> RenderableType:
    """What became of the files of a raw folder."""
    lists = ("skipped_files", "unread_sidecars", "notes", "leaking_pairs", "missing", "warnings")
    counts = {name: value for name, value in values.items() if name not in lists}
    counts["skipped"] = by_reason(values["skipped"])
    notes = values["notes"]
    skipped = [f"skipped {path}: {reason}" for path, reason in values["skipped_files"]]
    if len(skipped) > _MANY:
        skipped[_MANY:] = [f"... and {len(skipped) - _MANY:,} more, all in report.json"]
    return page(
        plain("prepare", counts),
        *skipped,
        *([f"read {len(notes):,} with a note, in report.json"] if notes else []),
        *(f"warning: {line}" for line in values["warnings"]),
    )


def training(values: Values) -> RenderableType:
    """The last epoch of a run, its best, and where the pictures are."""
    line = values["figures"]
    train, valid = line["train"], line["valid"]
    numbers = ("loss", "pixels", "KL", "nats/dim", "excess", "active")
    kind = "" if train["loss"] == "bce" else " (squared errors)"
    rows = [
        (f"training{kind}", *_elbo(train), ""),
        ("validation", *_elbo(valid), f"{valid['active_units']}"),
    ]
    for name, excess in valid["trivial_excess_nats"].items():
        if excess is not None:
            rows.append((_COLOURS[name], "", "", "", "", f"{excess:,.0f}", ""))
    best = values["best_valid_loss"]
    return page(
        _figures(f"train: {values['out']}", ("last epoch", *numbers), rows),
        "nats per image; excess: above the entropy of the pixels. Summed over 16"
        f" images, as the reference quotes it, the training loss is {train['seed_loss']:,.0f}.",
        f"best epoch {values['best_epoch']} of {values['epochs']} (validation loss {best:,.0f});"
        f" {values['steps']:,} steps in {values['seconds']:,.0f} s,"
        f" {line['images_per_second']:.1f} images/s",
        *_paths(values),
    )


def evaluation(values: Values) -> RenderableType:
    """The model beside the predictors that know nothing but a colour."""
    from vaeneer.evaluation.per_image import METRICS  # imports PyTorch, as what was shown has

    values_of = {name: values[name] for name in METRICS if values[name] is not None}
    measured = "".join(f", {METRICS[name].shown(value)}" for name, value in values_of.items())
    entropy = values["entropy_nats"]
    dims = values["nats_per_image"] / values["nats_per_dim"]
    rows = [("this model", values["excess_nats"])]
    if values["iwae_nats"] is not None:
        bound = values["iwae_nats"] - entropy
        rows.append((f"  bound of {values['iwae_samples']} weighted samples", bound))
    rows += [(_COLOURS[k], v) for k, v in values["trivial_excess_nats"].items() if v is not None]
    rows.append(("the minimum (entropy)", 0.0))
    cells = [
        (name, f"{entropy + excess:,.0f}", f"{(entropy + excess) / dims:.4f}", f"{excess:,.0f}")
        for name, excess in rows
    ]
    heads = ("predictor", "nats per image", "nats/dim", "above entropy")
    return page(
        _figures(f"evaluate: {values['folder']}", heads, cells),
        f"{values['images']:,} images: reconstruction {values['reconstruction_nats']:,.1f} + KL"
        f" {values['kl_nats']:,.1f} nats, {values['active_units']} active units"
        f"{measured};"
        f" from {values['best_image_nats']:,.0f} to {values['worst_image_nats']:,.0f}"
        f" nats per image; {values['seconds']:,.1f} s",
        *_paths(values),
    )


def similarity(values: Values) -> RenderableType:
    """One row for each representation on the same crops, one table for each variant."""
    variants = {name: values[name] for name in _VARIANTS if values[name]} or {"": values}
    parts: list[RenderableType] = []
    for name, variant in variants.items():
        parts += _compared(name.replace("_", " "), variant, values["folder"])
        if variant["inside_category"]:
            hard = variant["inside_category"]
            parts += _compared(f"{name.replace('_', ' ')} inside a category", hard, "")
    chance = values["chance"]
    return page(
        *parts,
        f"{values['images']:,} images, {values['crops']:,} crops: {values['same_pairs']:,} pairs of"
        f" one image, {values['different_pairs']:,} of two; {values['gallery_size']:,.0f} crops"
        f" answer each query. Chance: AUC 0.5, recall@1 {chance['recall_at_1']:.4f}, ARR"
        f" {chance['arr']:.4f}. {values['seconds']:,.1f} s",
        *values["notes"],
        *_paths(values),
        *((f"the page, one file with everything: {values['page']}",) if values["page"] else ()),
    )


def _compared(name: str, variant: Values, folder: str) -> list[RenderableType]:
    name = name.strip()
    title = " ".join(filter(None, ("similarity:", name, "on" if name and folder else "", folder)))
    shown = _COMPARED if get_console().width >= _WIDE else _FEWER
    rows = [
        (row["title"], *("inf" if row[key] is None else f"{row[key]:.4f}" for key in shown))
        for row in variant["representations"].values()
    ]
    table = _figures(title, ("representation", *(_COMPARED[key] for key in shown)), rows)
    return [table, variant["verdict"]] if variant["verdict"] else [table]


def calibration(values: Values) -> RenderableType:
    """How well the vectors tell held-out crops apart, before and after, and what a cosine says."""
    names = {"latents": "latents", "before": "vectors before", "after": "vectors now"}
    rows = [
        (names[name], f"{figures['auc']:.4f}", f"{figures['eer']:.4f}")
        for name, figures in values["figures"].items()
    ]
    even = values["cosine_at_half"]
    says = "no cosine tells" if even is None else f"as likely as not at cosine {even:.3f}"
    return page(
        _figures(f"calibrate: {values['out']}", ("held-out crops, by", "AUC", "EER"), rows),
        f"{values['latents']:,} latents to {values['dimensions']:,} numbers, fitted to"
        f" {values['crops']} crops of each of {values['train_images']:,} images; measured on"
        f" {values['held_out_images']:,} others, {values['seconds']:,.1f} s",
        f"the same surface: {says}, were same and different pairs as many; probabilities are off"
        f" by {values['calibration_error']:.3f} on average",
        *_paths(values),
    )


def demonstration(values: Values) -> RenderableType:
    """The short table of a demo, and where to look."""
    paths = ("pictures", "report", "open")
    shown = {name: value for name, value in values.items() if name not in paths}
    return page(
        plain("demo", shown),
        f"the report, one file with everything: {values['report']}",
        f"to open the page on it: {values['open']}",
    )


def inspection(values: Values) -> RenderableType:
    """What a folder is, and its facts; of a folder of runs, a line each."""
    if values["kind"] == "runs":
        return _runs(values)
    return plain(f"{values['kind']}: {values['path']}", values["facts"])


def _runs(values: Values) -> RenderableType:
    heads = ("run", "recipe", "state", "epochs", "best epoch", "nats per image", "last epoch ended")
    rows = [
        (
            run["name"],
            run["recipe"] or "-",
            run["state"],
            f"{run['epochs']} of {run['planned_epochs'] or '?'}",
            str(run["best_epoch"] or "-"),
            "-" if run["best_valid_nats"] is None else f"{run['best_valid_nats']:,.0f}",
            run["updated"] or "-",
        )
        for run in values["facts"]["runs"]
    ]
    return grid(f"runs: {values['path']}", heads, rows, right=("best epoch", "nats per image"))


def health(values: Values) -> RenderableType:
    """What is damaged, and how to mend each."""
    title = f"{values['kind']}: {values['path']}"
    if not values["findings"]:
        return page(f"{title}: nothing is damaged ({values['seconds']:,.1f} s)")
    rows = [
        (one["path"], one["problem"], "mended" if one["mended"] else one["remedy"])
        for one in values["findings"]
    ]
    left = sum(not one["mended"] for one in values["findings"])
    return page(
        grid(title, ("file", "problem", "remedy"), rows),
        f"{len(rows):,} damaged, {len(rows) - left:,} mended",
    )


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


def _figures(title: str, heads: Sequence[str], rows: Iterable[Sequence[str | Text]]) -> Table:
    """A table of numbers behind the name of each row."""
    return grid(title, heads, rows, right=heads[1:], unbroken=heads)


def _text(text: str | Text) -> Text:
    return Text(printable(text)) if isinstance(text, str) else text


def _flat(values: Values, prefix: str = "") -> list[tuple[str, Text]]:
    rows: list[tuple[str, Text]] = []
    for name, value in values.items():
        label = f"{prefix}{name}".replace("_", " ")
        if isinstance(value, Mapping):
            rows += _flat(value, f"{label}: ")
        elif value is not None and value not in ([], ()):
            rows.append((label, _cell(value)))
    return rows


def _cell(value: Any) -> Text:
    if isinstance(value, int) and not isinstance(value, bool):
        return Text(f"{value:,}")
    if isinstance(value, float):
        return Text(f"{value:,.1f}" if abs(value) >= 1000 else f"{value:.4g}")
    if isinstance(value, list | tuple):
        shown = [_cell(item) for item in value[:_MANY]]
        return Text("\n").join([*shown, Text("...")] if len(value) > _MANY else shown)
    return _text(str(value))
