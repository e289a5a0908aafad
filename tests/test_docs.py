"""The documentation says what the code does: commands, public names, file formats, links."""

from __future__ import annotations

import csv
import inspect
import json
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from pathlib import Path

import numpy as np
import pyarrow.parquet as parquet
import pytest
from speed.benchmark import BenchReport
from speed.ceilings import Ceilings
from speed.figures import NetworkFigures, PartFigures
from speed.layers import LayerFigures

import vaeneer
from vaeneer import errors
from vaeneer.checkup import Finding
from vaeneer.cli.app import app
from vaeneer.cli.reference import check, main, text
from vaeneer.data.cache_index import IndexRow
from vaeneer.data.dataset import ImageItem, ManifestRow
from vaeneer.data.map_names import Strength, map_words
from vaeneer.data.prepare import PrepareReport
from vaeneer.evaluation import evaluate
from vaeneer.evaluation.evaluate import EvaluationReport
from vaeneer.evaluation.pairs import SimilarityFigures, SimilarityVariant
from vaeneer.evaluation.per_image import METRICS, Measurements
from vaeneer.evaluation.similarity import SimilarityReport
from vaeneer.library.duplicates.report import DuplicateGroup, DuplicateItem
from vaeneer.library.search.search import Hit
from vaeneer.model.projection import Calibration
from vaeneer.model.vae import ModelCard
from vaeneer.settings import (
    RECIPES,
    CalibrateSettings,
    ClusterSettings,
    DuplicatesSettings,
    EmbedSettings,
    EvaluateSettings,
    IndexSettings,
    MapSettings,
    OutliersSettings,
    PrepareSettings,
    Recipe,
    SearchSettings,
    ServeSettings,
    SimilaritySettings,
    TrainSettings,
)
from vaeneer.training.metrics import epoch_line
from vaeneer.training.resume_state import TrainState

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
DATA = ROOT / "src" / "vaeneer" / "data"
PAGES = sorted([*ROOT.glob("*.md"), *DOCS.glob("*.md"), ROOT / "benchmarks" / "lab-notebook.md"])
SOURCES = [*(ROOT / "src" / "vaeneer").rglob("*.py"), *(ROOT / "src" / "vaeneer").rglob("*.md")]
COMMANDS = [name for name in app if not name.startswith("-")]


def page(name: str) -> str:
    return (DOCS / name).read_text(encoding="utf-8")


def section(name: str, heading: str) -> str:
    """What stands below a heading, down to the next one of any level."""
    found = re.search(rf"^#+ {re.escape(heading)}$(.*?)(?=^#|\Z)", page(name), re.M | re.S)
    assert found, f"docs/{name} has no heading {heading!r}"
    return found.group(1)


def listed(name: str, heading: str) -> list[str]:
    """The names in backticks that stand before the colon of each entry of a section's lists."""
    entries = re.findall(r"^- (`.*?):\s", section(name, heading), re.M | re.S)
    return [name for entry in entries for name in re.findall(r"`([^`]+)`", entry)]


def python_blocks(markdown: str) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```", markdown, re.M | re.S)


# The commands


def test_the_reference_of_the_commands_is_current() -> None:
    check(DOCS / "cli.md")


def test_the_reference_is_the_same_in_another_program_on_a_narrow_screen() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "vaeneer.cli.reference"],
        capture_output=True,
        check=True,
        env={
            "COLUMNS": "30",
            "TERM": "dumb",
            "PYTHONIOENCODING": "utf-8",
            "PYTHONPATH": str(ROOT / "src"),
        },
        cwd=DOCS,
    )
    assert done.stdout.decode() == text()


def test_a_stale_reference_is_named_with_the_remedy(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "cli.md"
    assert main(["--write", str(file)]) == 0
    assert main(["--check", str(file)]) == 0
    file.write_text(text().replace("vaeneer train", "vaeneer learn"), encoding="utf-8")
    assert main(["--check", str(file)]) == 1
    assert f"--write {file}" in capsys.readouterr().err


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_and_each_of_its_flags_is_in_the_reference(command: str) -> None:
    below = section("cli.md", f"vaeneer {command}")
    for argument in app[command].assemble_argument_collection(parse_docstring=True):
        if argument.show:
            name = argument.field_info.name
            flags = (f"`{name.upper()}", f"`{argument.name}")
            assert any(flag in below for flag in flags), name
            assert argument.parameter.help, f"{command} {argument.name} has no help"


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_is_a_public_function(command: str) -> None:
    assert command.replace("-", "_") in vaeneer.__all__


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_is_in_the_quick_start_or_the_readme(command: str) -> None:
    readme = ROOT / "README.md"
    pages = page("quickstart.md") + (readme.read_text("utf-8") if readme.is_file() else "")
    assert f"vaeneer {command}" in pages


@pytest.mark.parametrize(
    ("command", "settings"),
    [
        ("prepare", PrepareSettings),
        ("train", TrainSettings),
        ("evaluate", EvaluateSettings),
        ("similarity", SimilaritySettings),
        ("calibrate", CalibrateSettings),
        ("embed", EmbedSettings),
        ("index", IndexSettings),
        ("search", SearchSettings),
        ("duplicates", DuplicatesSettings),
        ("map", MapSettings),
        ("cluster", ClusterSettings),
        ("outliers", OutliersSettings),
        ("serve", ServeSettings),
    ],
)
def test_each_setting_is_in_the_reference(command: str, settings: type) -> None:
    below = section("cli.md", f"vaeneer {command}")
    for field in fields(settings):
        assert f"`--{field.name.replace('_', '-')}" in below


def test_the_table_of_recipes_has_all_settings_in_which_they_differ() -> None:
    columns = [
        ("reference", "reference"),
        ("improved", "reference"),
        ("improved", "surface"),
        ("surface", "surface"),
    ]
    for field in fields(Recipe):
        values = [getattr(RECIPES[column], field.name) for column in columns]
        shown = ["yes" if v is True else "no" if v is False else str(v) for v in values]
        row = f"| `{field.name}` | {' | '.join(shown)} |"
        table = section("performance.md", "What the recipes are")
        assert (row in table) == (len(set(shown)) > 1), field.name


def test_the_map_words_of_the_page_are_those_of_the_code() -> None:
    table = tomllib.loads((DATA / "map_words.toml").read_text(encoding="utf-8"))
    text = page("file-names.md")
    rows = re.findall(r"^- `(\w+)`: (.+)$", section("file-names.md", "Map words"), re.M)
    assert [kind for kind, _ in rows] == list(table["kinds"])
    for kind, words in rows:
        for part in words.split("; "):
            marked = re.fullmatch(r"(?:\*(\w+)\* )?(.+)", part)
            assert marked
            known = table["kinds"][kind][marked[1] or Strength.SURE.name.lower()].split()
            assert set(marked[2].split()) <= set(known), (kind, part)
    letters = re.search(r"Letters are ([a-z, ()]+);", " ".join(text.split()))
    assert letters
    assert set(re.findall(r"\b[a-z]\b", letters[1])) == set(table["letters"])
    for vendor in table["vendors"]:
        assert all(name in " ".join(text.split()) for name in vendor["name"].split(", "))


def test_the_words_of_folders_are_among_those_of_the_code() -> None:
    table = tomllib.loads((DATA / "folder_words.toml").read_text(encoding="utf-8"))
    known = {
        sort.replace("_", " "): set(words.split())
        for sorts in table.values()
        for sort, words in sorts.items()
    }
    below = section("file-names.md", "Folders: categories and tags")
    shown = dict(re.findall(r"^- \*([a-z ]+)\*: (.+)$", below, re.M))
    assert list(shown) == list(known)
    for sort, words in shown.items():
        assert set(words.split()) <= known[sort], sort


@pytest.mark.parametrize("kind", sorted({word.kind for word in map_words().words.values()}))
def test_each_kind_of_map_is_documented(kind: str) -> None:
    assert f"`{kind}`" in section("formats.md", "manifest.parquet")


# The formats


@pytest.mark.parametrize(
    ("heading", "kind", "others"),
    [
        ("manifest.parquet", ManifestRow, set()),
        ("index.parquet", IndexRow, set()),
        ("report.json", PrepareReport, {"version", "settings"}),
        ("state.safetensors", TrainState, set()),
        ("config.json", ModelCard, set()),
        ("similarity.json", SimilarityReport, set()),
        ("similarity.json: variants", SimilarityVariant, set()),
        ("readout.json: calibration", Calibration, set()),
    ],
)
def test_each_field_of_a_file_is_documented_once_and_none_is_made_up(
    heading: str, kind: type, others: set[str]
) -> None:
    assert sorted(listed("formats.md", heading)) == sorted(
        {field.name for field in fields(kind)} | others
    )


def test_each_field_of_an_evaluation_is_documented_and_so_is_each_metric() -> None:
    """A metric is one entry of METRICS: its name is in formats.md, the rest in measuring.md."""
    names = {field.name for field in fields(EvaluationReport)} - {"metrics"}
    assert sorted(listed("formats.md", "evaluation.json")) == sorted(names | set(METRICS))
    for name, one in METRICS.items():
        row = f"- **`{name}`** ({one.unit or 'no unit'}, {one.better} is better): {one.help}"
        assert row in page("measuring.md")


def test_each_column_of_the_catalog_is_documented_once_and_none_is_made_up(
    small_library: Path,
) -> None:
    with vaeneer.Library.open(small_library) as library:
        tables = library.catalog.execute(
            "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'"
            " AND name NOT LIKE 'words_%'"
        ).fetchall()
        for (table,) in tables:
            rows = library.catalog.execute(f"SELECT name FROM pragma_table_info('{table}')")
            named = listed("formats.md", f"catalog.sqlite: {table}")
            assert sorted(named) == sorted(name for (name,) in rows), table


def test_the_facts_of_a_library_are_documented(small_library: Path) -> None:
    facts = json.loads((small_library / "library.json").read_text(encoding="utf-8"))
    assert sorted(listed("formats.md", "library.json")) == sorted(facts)


def test_the_columns_of_a_map_are_documented(small_library: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(small_library, tmp_path / "library"))
    vaeneer.map(copy, out=tmp_path / "map.parquet")
    names = parquet.read_schema(tmp_path / "map.parquet").names
    assert sorted(listed("formats.md", "map.parquet")) == sorted(names)


def test_the_figures_of_a_representation_are_documented() -> None:
    names = {field.name for field in fields(SimilarityFigures)}
    shown = SimilarityFigures(
        **dict.fromkeys(names - {"title", "intervals"}, 0.0),  # type: ignore[arg-type]
        title="any",
        intervals=dict.fromkeys(("auc", "d_prime", "eer", "recall_at_1")),
    ).to_dict()
    assert sorted(listed("formats.md", "similarity.json: representations")) == sorted(shown)


def two_measurements() -> Measurements:
    """Figures of two images, any numbers."""
    two, empty = np.ones(2), ()
    return Measurements(
        items=tuple(ImageItem(Path(n), n, n) for n in ("a.png", "b.png")),
        skipped=empty,
        side_px=254,
        reconstruction_nats=two,
        squared_error=two,
        kl_nats=two,
        entropy_nats=two,
        rgb=np.full((2, 3), 0.5),
        kl_per_latent_nats=two,
        mu=np.ones((2, 2), np.float32),
        iwae_nats=None,
        metrics=dict.fromkeys(METRICS, two),
    )


@pytest.mark.parametrize("kind", [BenchReport, Ceilings, NetworkFigures, LayerFigures, PartFigures])
def test_each_field_of_bench_json_says_what_it_is(kind: type) -> None:
    """docs/formats.md points to these docstrings."""
    lines = inspect.getsource(kind).splitlines()
    said = {
        field.name
        for field in fields(kind)
        for number, line in enumerate(lines[:-1])
        if line.startswith(f"    {field.name}: ") and lines[number + 1].startswith('    """')
    }
    assert {field.name for field in fields(kind)} == said


def test_metrics_are_documented() -> None:
    state = TrainState(sums={"images": 1, "reconstruction": 1, "kl": 1, "entropy": 1})
    line = epoch_line(state, "bce", two_measurements(), None)
    assert listed("formats.md", "metrics.jsonl") == list(line)
    assert listed("formats.md", "metrics.jsonl: train") == list(line["train"])
    assert listed("formats.md", "metrics.jsonl: valid") == list(line["valid"])


def test_per_image_figures_are_documented(tmp_path: Path) -> None:
    evaluate._write_per_image(tmp_path / "per-image.csv", two_measurements())
    with (tmp_path / "per-image.csv").open(newline="", encoding="utf-8") as file:
        assert listed("formats.md", "per-image.csv") == next(csv.reader(file))


# The Python API


def entry(name: str) -> str:
    """The entry of a list of python-api.md that begins with a name in backticks."""
    found = re.search(rf"^- `{name}\b(.*?)(?=^- |^#|^$|\Z)", page("python-api.md"), re.M | re.S)
    assert found, f"docs/python-api.md has no entry `{name}`"
    return " ".join(f"`{name}{found.group(1)}".split())


@pytest.mark.parametrize("name", vaeneer.__all__)
def test_each_public_name_is_documented(name: str) -> None:
    assert re.search(rf"`{name}[`(]", page("python-api.md"))


@pytest.mark.parametrize(
    "name", [n for n in vaeneer.__all__ if inspect.isfunction(getattr(vaeneer, n))]
)
def test_each_signature_is_as_in_the_code(name: str) -> None:
    signature = inspect.signature(getattr(vaeneer, name))
    empty = inspect.Parameter.empty
    names = [p.replace(annotation=empty) for p in signature.parameters.values()]
    short = signature.replace(parameters=names, return_annotation=inspect.Signature.empty)
    assert entry(name).startswith(f"`{name}{short}` → `{signature.return_annotation}`: ")


def reports() -> list[type]:
    """What the commands return, and the parts of it, but for those that are files (formats.md)."""
    functions = [getattr(vaeneer, name.replace("-", "_")) for name in COMMANDS]
    returned = {f.__globals__.get(f.__annotations__["return"]) for f in functions}
    found = {kind for kind in returned if is_dataclass(kind)}
    found |= {DuplicateGroup, DuplicateItem, Finding}
    files = {PrepareReport, EvaluationReport, SimilarityReport}
    return sorted(found - files, key=lambda kind: kind.__name__)


@pytest.mark.parametrize("report", reports())
def test_each_field_of_a_report_is_documented_and_none_is_made_up(report: type) -> None:
    shown = re.findall(r"`(\w+)`", entry(report.__name__).partition("; ")[0])
    assert sorted(shown) == sorted([report.__name__, *(field.name for field in fields(report))])


def test_each_field_of_a_hit_is_documented_and_none_is_made_up() -> None:
    assert sorted(listed("python-api.md", "`Hit`")) == sorted(field.name for field in fields(Hit))


def test_each_error_is_documented() -> None:
    kinds = [name for name, value in vars(errors).items() if inspect.isclass(value)]
    assert {k for k in kinds if k.endswith(("Error", "Interrupted"))} == {
        *listed("python-api.md", "`VaeneerError`"),
        "VaeneerError",
    }


def test_each_method_of_the_network_is_documented() -> None:
    own = [name for name, value in vars(vaeneer.VAE).items() if not name.startswith("_")]
    below = section("python-api.md", "`VAE`")
    assert [name for name in own if not re.search(rf"`{name}[(`]", below)] == []


@pytest.mark.parametrize("markdown", PAGES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_python_in_the_pages_compiles(markdown: Path) -> None:
    for number, block in enumerate(python_blocks(markdown.read_text(encoding="utf-8"))):
        compile(block, f"{markdown.name}, block {number}", "exec")


# Links and trees


def links() -> Iterator[tuple[str, str]]:
    for markdown in PAGES:
        prose = re.sub(r"^```.*?^```", "", markdown.read_text("utf-8"), flags=re.M | re.S)
        for target in re.findall(r"\]\(([^)\s]+)\)", prose):
            if not re.match(r"[a-z]+:", target):
                yield markdown.relative_to(ROOT).as_posix(), target


def slugs(markdown: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", markdown.read_text(encoding="utf-8"), re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize(("source", "target"), sorted(set(links())))
def test_links_lead_somewhere(source: str, target: str) -> None:
    name, _, anchor = target.partition("#")
    file = ((ROOT / source).parent / name).resolve() if name else ROOT / source
    assert file.exists(), f"{source} links to {target}"
    if anchor:
        assert anchor in slugs(file), f"{source} links to {target}"


def test_each_picture_is_shown() -> None:
    shown = {Path(target).name for _, target in links()}
    assert {file.name for file in (DOCS / "pictures").iterdir()} - shown == set()


def paths_in_tree(block: str) -> Iterator[str]:
    """The paths of an indented file tree: folders end in /, phrases follow two spaces."""
    above: list[tuple[int, str]] = []
    for line in block.splitlines():
        entry = re.match(r"([\s│├└─|]*)([\w./-]+)(?:\s{2,}|\s*$)", line)
        if not entry:
            continue
        indent, name = len(entry.group(1)), entry.group(2)
        above = [(depth, folder) for depth, folder in above if depth < indent]
        yield "".join(folder for _, folder in above) + name
        if name.endswith("/"):
            above.append((indent, name))


def test_a_tree_is_read_as_paths() -> None:
    tree = "src/vaeneer/\n  cli.py      the commands\n  model/\n    vae.py   what a VAE is\ntests/"
    assert list(paths_in_tree(tree)) == [
        "src/vaeneer/",
        "src/vaeneer/cli.py",
        "src/vaeneer/model/",
        "src/vaeneer/model/vae.py",
        "tests/",
    ]


@pytest.mark.parametrize("name", ["docs/architecture.md"])
def test_each_file_of_a_tree_exists(name: str) -> None:
    if not (ROOT / name).is_file():
        pytest.skip(f"{name} is not written yet")
    blocks = re.findall(r"^```\w*\n(.*?)^```", (ROOT / name).read_text("utf-8"), re.M | re.S)
    trees = [block for block in blocks if re.search(r"^src/", block, re.M)]
    assert trees, f"{name} shows no tree with a line that begins with src/"
    missing = [path for tree in trees for path in paths_in_tree(tree) if not (ROOT / path).exists()]
    assert missing == []


def test_the_documentation_is_short() -> None:
    """As it is read: without the generated reference of the commands."""
    pages = [file for file in DOCS.glob("*.md") if file.name != "cli.md"]
    assert sum(len(file.read_text("utf-8").split()) for file in pages) <= 18_000


def test_the_architecture_names_each_module() -> None:
    blocks = re.findall(r"^```\w*\n(.*?)^```", page("architecture.md"), re.M | re.S)
    shown = {path for block in blocks for path in paths_in_tree(block)}
    package = ROOT / "src" / "vaeneer"
    modules = {p.relative_to(ROOT).as_posix() for p in package.rglob("*.py") if p.stat().st_size}
    empty = {path for path in modules if path.endswith("/__init__.py") and path.count("/") > 2}
    assert modules - empty - shown == set()


@pytest.mark.parametrize("name", ["CONTRIBUTING.md", "docs/architecture.md"])
def test_what_a_page_for_engineers_names_is_there(name: str) -> None:
    """Paths exist; identifiers are modules or stand in the code."""
    prose = re.sub(r"^```.*?^```", "", (ROOT / name).read_text("utf-8"), flags=re.M | re.S)
    modules = list((ROOT / "src").rglob("*.py"))
    code = "\n".join([*(file.read_text("utf-8") for file in modules), *map(str, modules)])
    for quoted in re.findall(r"`([^`\s]+)`", prose):
        if re.fullmatch(r"[A-Za-z_]\w+", quoted):
            assert quoted in code, quoted
        elif re.fullmatch(r"[\w./-]+/[\w.-]*", quoted):
            assert any((root / quoted).exists() for root in (ROOT, ROOT / "src/vaeneer")), quoted


def test_each_word_of_the_glossary_is_in_use() -> None:
    words = re.findall(r"^- \*\*(.+?)\*\*: ", page("glossary.md"), re.M)
    assert len(words) >= 40
    assert words == sorted(words, key=str.lower)
    texts = [file.read_text("utf-8") for file in DOCS.glob("*.md") if file.name != "glossary.md"]
    texts += [file.read_text("utf-8") for file in (ROOT / "src").rglob("*.py")]
    everything = "\n".join(texts).lower().replace("_", " ")
    assert [word for word in words if word.lower() not in everything] == []


PHRASES = (
    "what of the light was taken", "tells of each member", "is that itself", "called with whether",
    "since families grow", "the very pixels", "clients are told",
    "what has to be said", "is not looked through", "what rounding leaves", "stops to matter",
    "each one which asks", "told otherwise", "have a better equal", "by lot",
    "asked by these", "is at least so large", "groups\nare closed", "must be said of",
    "told to come again", "what holds it up", "is asked for its own", "the words for them",
    "laid into files", "the whole way once", "who asks whom", "could be spared", "its twin",
    "start anew", "least probability", "of it, kl", "model in the box", "models in the box",
)  # fmt: skip
"""Ways to say things that a newcomer does not know; STYLE: the glossary's word instead."""


@pytest.mark.parametrize(
    "file",
    [p for p in [*SOURCES, *PAGES] if p.name != "lab-notebook.md"],
    ids=lambda p: p.relative_to(ROOT).as_posix(),
)
def test_phrases_of_the_past_stay_away(file: Path) -> None:
    text = file.read_text("utf-8").lower()
    assert [phrase for phrase in PHRASES if phrase in text] == []
