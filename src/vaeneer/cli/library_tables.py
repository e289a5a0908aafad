"""What the commands about a library show at their end, as in cli/tables.py."""

from __future__ import annotations

from collections import Counter

from rich.console import RenderableType

from vaeneer.cli.tables import Values, by_reason, grid, page, plain
from vaeneer.data.exclusion import PREVIEWS
from vaeneer.library.catalog_schema import query_words
from vaeneer.storage import in_words
from vaeneer.text import gallery_in_words, matches_in_words, pending_in_words

_WORTH_SAYING_SECONDS = 1.0
_SHOWN = 10  # names of a list
_MOST_GROUPS = 100
_MOST_REASONS = 12


def indexing(values: Values) -> RenderableType:
    """What a run did, and the line that sums it up."""
    counts = {name: values[name] for name in ("added", "changed", "moved", "removed", "unchanged")}
    skipped, left_out = values["skipped"], values["left_out"]
    lines = [f"skipped {path}: {reason}" for path, reason in list(skipped.items())[:_SHOWN]]
    if len(skipped) > _SHOWN:
        lines.append(f"... and {len(skipped) - _SHOWN:,} more, in {values['library']}/errors.csv")
        lines.append(f"skipped by reason: {_by_kind(skipped)}")
    lines += _left_out(left_out, f"{values['library']}/errors.csv") if left_out else []
    if values["noted"]:
        lines.append(f"read {values['noted']:,} with a note, in {values['library']}/errors.csv")
    if values["offline"]:
        folders = list(values["offline_folders"])
        more = f" and {len(folders) - _SHOWN:,} more" if len(folders) > _SHOWN else ""
        lines.append(
            f"offline {values['offline']:,} images: {', '.join(folders[:_SHOWN])}{more} not"
            " there or empty; they are still found, by what the library has of them. Connect the"
            " drive and index again; where they are deleted for good, add --forget-missing"
        )
    offline = f" ({values['offline']:,} offline)" if values["offline"] else ""
    if values["parts_pending"]:
        lines.append(pending_in_words(values["parts_pending"]))
    return page(
        plain(f"index: {values['library']}", {"model": values["model"], **counts}),
        *lines,
        _work_done(values),
        f"{values['images']:,} images{offline} with {values['vectors']:,} vectors of"
        f" {values['dimensions']} numbers{_not_indexed(len(skipped), left_out)}",
    )


def _work_done(values: Values) -> str:
    """What a run did in which time, from what was there: 11 added in 40.0 s; 110 unchanged."""
    done = [f"{values[name]:,} {name}" for name in ("added", "changed") if values[name]]
    fresh = values["added"] + values["changed"]
    if values["parts_added"] > fresh:  # those of an earlier run, too
        done.append(f"small parts of {_many(values['parts_added'], 'image')} added")
    rest = [
        f"{values[name]:,} {name}" for name in ("moved", "removed", "unchanged") if values[name]
    ]
    first, whole = values["searchable_seconds"], values["seconds"]
    time = f"in {whole:,.1f} s"
    if fresh and whole - first > _WORTH_SAYING_SECONDS:
        time += f" (could be searched after {first:,.1f} s)"
    return "; ".join([f"{' and '.join(done) or 'nothing new'} {time}", *rest])


def _left_out(counts: Values, listed: str) -> list[str]:
    """How many files were left out, for which reasons, and where each is listed."""
    total = sum(counts.values())
    what = "file or folder" if total == 1 else "files and folders"
    reasons = list(by_reason(counts).items())
    lines = [f"{number:>7,} {reason}" for reason, number in reasons[:_MOST_REASONS]]
    rest = reasons[_MOST_REASONS:]
    if rest:
        lines.append(f"{sum(number for _, number in rest):>7,} for {len(rest)} other reasons")
    ways = [] if PREVIEWS.isdisjoint(counts) else ["--include-previews takes previews and the like"]
    return [f"left out {total:,} {what}, each listed in {listed}:", *lines, *ways]


def _by_kind(skipped: Values) -> str:
    """Numbers of skipped files by the words before the colons of their reasons."""
    return _listed(by_reason(Counter(str(reason).split(":")[0] for reason in skipped.values())))


def _not_indexed(skipped: int, left_out: Values) -> str:
    """How many files are not in the library; "skipped 0" only where nothing was left out."""
    counts = [f", skipped {skipped:,}"] if skipped or not left_out else []
    return "".join([*counts, *([f", left out {sum(left_out.values()):,}"] if left_out else [])])


def hits(values: Values) -> RenderableType:
    """The hits of a search, one row each, and how many of them are matches."""
    if values["query"]["words"] is not None:
        return _hits_by_words(values)
    query = ", ".join(values["query"]["images"])
    box = values["query"]["box"]
    where = f" at {','.join(map(str, box))}" if box else ""
    heads = ["", "match", "score", "probability", "id", "category", "path"]
    heads += ["x,y,w,h"] if any(hit["box"] for hit in values["hits"]) else []
    right = ("", "score", "probability", "id")
    rows = []
    for rank, hit in enumerate(values["hits"], start=1):
        likely = hit["probability"]
        cells = [
            f"{rank}",
            hit["match"] or "-",
            f"{hit['score']:.4f}",
            "-" if likely is None else f"{likely:.3f}",
            f"{hit['id']}",
            hit["category"] or "",
            f"{hit['path']}{_absent(hit)}",
        ]
        place = [",".join(map(str, hit["box"]))] if hit["box"] else [""]
        rows.append([*cells, *place][: len(heads)])
    table = grid(f"search: {query}{where}", heads, rows, right=right, unbroken=("x,y,w,h",))
    sheet = [f"picture {values['sheet']}"] if "sheet" in values else []
    none = [] if values["hits"] else ["no item of the library matches the query and its filters"]
    sure = []
    if values["matches"]:
        sure = [
            f"{matches_in_words(values['matches'])}. {gallery_in_words(values['gallery_size'])}"
        ]
    pending = [pending_in_words(count)] if (count := values["parts_pending"]) else []
    return page(table, *none, *sure, *pending, *sheet)


def _hits_by_words(values: Values) -> RenderableType:
    """The hits of a search by words, which have no probability."""
    text = values["query"]["words"]
    count = len(query_words(text)) or 1
    sheet = [f"picture {values['sheet']}"] if "sheet" in values else []
    if not values["hits"]:
        none = f"no item has a word of {text!r} in its name, category, tags or folders"
        filters = any(values["query"][name] for name in ("where", "category", "tag"))
        return page(none + ", and passes the filters" * filters, *sheet)
    named = any(hit["name"] for hit in values["hits"])  # by a side-car
    heads = ("", "words", "id", *(["name"] if named else []), "category", "path")
    rows = []
    for rank, hit in enumerate(values["hits"], start=1):
        share = f"{int(hit['score'])} of {count}"
        names = [hit["name"] or ""] if named else []
        path = f"{hit['path']}{_absent(hit)}"
        rows.append((f"{rank}", share, f"{hit['id']}", *names, hit["category"] or "", path))
    table = grid(f"words: {text}", heads, rows, right=("", "id"))
    what = "searched by words in names, categories, tags and folders, not by looks: no probability"
    return page(table, what, *sheet)


def _absent(item: Values) -> str:
    """What follows the path of a file that is not there now."""
    return " (offline)" if item["missing"] and item["offline"] else " (gone)" * item["missing"]


def copies(values: Values) -> RenderableType:
    """The groups of a page: kind, what is proposed to keep, and its copies."""
    rows = []
    groups = values["groups"]
    for group in groups[:_MOST_GROUPS]:
        for number, item in enumerate(group["items"]):
            first = number == 0
            place = f" at {','.join(map(str, item['box']))}" if item["box"] else ""
            named = (f"{group['id']}", group["kind"]) if first else ("", "")
            what = f"{_what_it_is(item)}{place}"
            rows.append((*named, f"{item['confidence']:.2f}", item["path"], what))
    heads = ("", "kind", "sure", "file", "what it is")
    counts = _listed(values["groups_by_kind"]) or "nothing twice"
    left = len(groups) - _MOST_GROUPS
    more = [f"... and {left:,} more groups: --json, --csv and --html have them"] if left > 0 else []
    paged = f", page {values['page']} of {values['pages']}" if values["pages"] > 1 else ""
    title = f"duplicates: {values['library']}, files below {values['root']}"
    return page(
        *([grid(title, heads, rows, right=("", "sure"))] if rows else []),
        *more,
        f"{_many(values['total_groups'], 'group')} in {_many(values['images'], 'image')}"
        f" ({counts}){paged}; {_many(values['redundant_files'], 'redundant file')}"
        f" ({in_words(values['redundant_bytes'])});"
        f" nothing is deleted. {values['seconds']:,.1f} s",
        *_skipped(values["skipped"]),
    )


def links_in_words(values: Values) -> list[str]:
    """Links and further names of one file among copies, which their CSV cannot tell from others."""
    items = [item for group in values["groups"] for item in group["items"]]
    lines = {
        item["path"]: f"{item['path']}: {item['change']}"
        for item in items
        if item["link"] or item["same_file"]
    }
    left = len(lines) - _SHOWN
    more = [f"... and {left:,} more links, which --json has"] if left > 0 else []
    return [*list(lines.values())[:_SHOWN], *more]


def _what_it_is(item: Values) -> str:
    """What a file is to the one to keep, or what that is beside."""
    redundant = item["decision"] == "redundant"
    words = ["redundant"] if redundant else []
    if item["relation"] is not None:
        return ": ".join([*words, str(item["change"] or item["relation"])])
    words += [] if redundant else ["keep"]
    words += [part for part in (item["change"], _set(item)) if part]
    words += [f"{item['keep_path']} is the file to keep"] if redundant else []
    return ": ".join(words)


def _set(item: Values) -> str:
    """What a member of a set has beside it."""
    held = [*item["maps"], *(["side-car"] if item["sidecar"] else [])]
    return f"with {', '.join(held)}" if held else ""


def _skipped(skipped: Values) -> list[str]:
    lines = [f"skipped {path}: {reason}" for path, reason in list(skipped.items())[:_SHOWN]]
    left = len(skipped) - _SHOWN
    return [*lines, *([f"... and {left:,} more, which --json has"] if left > 0 else [])]


def drawn(values: Values) -> RenderableType:
    """What a map shows, and where it is."""
    shown = {name: value for name, value in values.items() if name != "out"}
    return page(plain("map", shown), f"the map: {values['out']}")


def clusters(values: Values) -> RenderableType:
    """One row for each cluster."""
    heads = ("", "items", "name", "by", "most central")
    rows = [
        (f"{one['id']}", f"{one['size']:,}", one["name"], one["named_by"], one["central"])
        for one in values["clusters"]
    ]
    return page(
        grid(f"cluster: {values['library']}", heads, rows, right=heads[:2]),
        f"{len(values['clusters']):,} clusters of {values['items']:,} items,"
        f" {len(values['unclustered']):,} in no cluster; {values['seconds']:,.1f} s",
    )


def strange(values: Values) -> RenderableType:
    """One row for each item that does not belong."""
    heads = ("score", "kind", "file", "reason")
    rows = [
        (f"{one['score']:.2f}", one["kind"], one["path"], one["reason"])
        for one in values["outliers"]
    ]
    return page(
        *([grid(f"outliers: {values['library']}", heads, rows, right=heads[:1])] if rows else []),
        f"{values['found']:,} of {values['items']:,} items do not seem to belong;"
        f" {len(values['outliers']):,} shown; {values['seconds']:,.1f} s",
    )


def census(values: Values) -> RenderableType:
    """What a library holds: its facts, and its categories."""
    lists = ("categories", "tags", "formats", "maps", "sides_px", "left_out")
    facts = {name: value for name, value in values.items() if name not in lists}
    for name in ("images_bytes", "library_bytes"):
        facts[name] = in_words(values[name])
    for name in ("formats", "maps", "sides_px"):
        facts[name.replace("_px", ", px")] = _listed(values[name])
    facts["left out"] = _listed(by_reason(values["left_out"]))
    if values["left_out"] and not values["skipped"]:
        del facts["skipped"]  # 0 would read as if every file was in the library
    rows = [(name or "(none)", f"{count:,}") for name, count in values["categories"].items()]
    table = grid("images", ("category", "images"), rows, right=("images",))
    parts = [plain(f"stats: {values['library']}", {k: v for k, v in facts.items() if v != ""})]
    if values["tags"]:
        parts.append(f"tags: {_listed(dict(list(values['tags'].items())[:_SHOWN]))}")
    return page(*parts, *([table] if rows else []))


def _many(count: int, what: str) -> str:
    return f"{count:,} {what}" if count == 1 else f"{count:,} {what}s"


def _listed(counts: Values) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in counts.items())
