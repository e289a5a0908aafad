"""What the commands about a library show at their end, as in tables.py."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table

from vaeneer.tables import Values, plain

_SHOWN = 10  # names of a list


def indexing(values: Values) -> RenderableType:
    """What a run did, and the line that sums it up."""
    counts = {name: values[name] for name in ("added", "changed", "moved", "removed", "unchanged")}
    skipped = values["skipped"]
    lines = [f"skipped {path}: {reason}" for path, reason in list(skipped.items())[:_SHOWN]]
    if len(skipped) > _SHOWN:
        lines.append(f"... and {len(skipped) - _SHOWN:,} more, in {values['library']}/errors.csv")
    speed = values["images_per_second"]
    rate = f", {speed:,.1f} images/s" if speed else ""
    return Group(
        plain(f"index: {values['library']}", {"model": values["model"], **counts}),
        *lines,
        f"indexed {values['images']:,}, skipped {len(skipped):,}: {values['vectors']:,} vectors of"
        f" {values['dimensions']} numbers in {values['seconds']:,.1f} s{rate}",
    )


def hits(values: Values) -> RenderableType:
    """What a search found, one row for each hit."""
    asked = ", ".join(values["query"]["images"])
    box = values["query"]["box"]
    where = f" at {','.join(map(str, box))}" if box else ""
    table = Table(title=f"search: {asked}{where}", title_justify="left")
    for head in ("", "score", "probability", "id", "category", "path"):
        right = head in ("", "score", "probability", "id")
        table.add_column(head, justify="right" if right else "left", overflow="fold")
    if values["query"]["compared"] == "parts":
        table.add_column("x,y,w,h", no_wrap=True)
    for rank, hit in enumerate(values["hits"], start=1):
        likely = hit["probability"]
        cells = [
            f"{rank}",
            f"{hit['score']:.4f}",
            "-" if likely is None else f"{likely:.3f}",
            f"{hit['id']}",
            hit["category"] or "",
            hit["path"],
        ]
        place = [",".join(map(str, hit["box"]))] if hit["box"] else []
        table.add_row(*(escape(cell) for cell in [*cells, *place]))
    sheet = [f"picture {values['sheet']}"] if "sheet" in values else []
    none = [] if values["hits"] else ["nothing in the library meets what was asked"]
    return Group(table, *none, *sheet)


def census(values: Values) -> RenderableType:
    """What a library holds: its facts, and its categories."""
    lists = ("categories", "tags", "formats", "maps", "sides_px")
    facts = {name: value for name, value in values.items() if name not in lists}
    for name in ("images_bytes", "library_bytes"):
        facts[name] = f"{values[name] / 2**20:,.1f} MiB"
    for name in ("formats", "maps", "sides_px"):
        facts[name.replace("_px", ", px")] = _listed(values[name])
    table = Table(title="images", title_justify="left")
    table.add_column("category")
    table.add_column("images", justify="right")
    for name, count in values["categories"].items():
        table.add_row(name or "(none)", f"{count:,}")
    parts = [plain(f"stats: {values['library']}", {k: v for k, v in facts.items() if v != ""})]
    if values["tags"]:
        parts.append(f"tags: {_listed(dict(list(values['tags'].items())[:_SHOWN]))}")
    return Group(*parts, table)


def _listed(counts: Values) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in counts.items())
