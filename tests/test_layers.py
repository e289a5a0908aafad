"""The shape of the package: imports run downwards, help is quick, files stay small and safe."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src" / "vaeneer"
FILES = sorted(SOURCE.rglob("*.py"))
NAMES = [file.relative_to(SOURCE).as_posix() for file in FILES]
LAYERS = (
    ("__main__",),
    ("cli",),
    ("serving",),
    ("checkup", "demo_report", "demonstration", "inspection"),
    ("generate", "library"),
    ("training",),
    ("evaluation",),
    ("model",),
    ("data",),
    ("device",),
    ("workers",),
    ("checksums",),
    ("web",),
    ("files",),
    ("provenance",),
    ("storage",),
    ("progress",),
    ("rng",),
    ("settings",),
    ("errors",),
    ("text",),
)
"""From the top to the ground. A package or module imports from its own layer and below."""
DEPTHS = {name: depth for depth, layer in enumerate(LAYERS) for name in layer}
MOST_MODULES_OF_HELP = 400
"""cyclopts and rich need 350; PyTorch alone would be some 2,000."""
LIGHT = {"vaeneer", "cyclopts", "lazy_loader", "rich", "attr", "attrs",
         "docstring_parser", "markdown_it", "mdurl", "pygments", "typing_extensions"}  # fmt: skip
"""All that `vaeneer --help` may import beside the standard library."""


def parsed(file: Path) -> ast.Module:
    return ast.parse(file.read_text(encoding="utf-8"))


def part_of(file: Path) -> str:
    """The first name below vaeneer: `model` for model/vae.py, `files` for files.py."""
    return file.relative_to(SOURCE).parts[0].removesuffix(".py")


def imported_parts(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Line and part of each import of vaeneer, those inside functions too; '' is vaeneer itself."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: imports are absolute here"
            module = node.module or ""
            names = [f"vaeneer.{a.name}" for a in node.names] if module == "vaeneer" else [module]
        else:
            continue
        for name in names:
            if name.split(".")[0] == "vaeneer":
                yield node.lineno, name.partition(".")[2].partition(".")[0]


@pytest.mark.parametrize("name", NAMES)
def test_imports_run_downwards_only(name: str) -> None:
    part = part_of(SOURCE / name)
    if part == "__init__":  # the public names, imported when they are first used
        return
    assert part in DEPTHS, f"{part} has no place in LAYERS yet"
    for line, other in imported_parts(parsed(SOURCE / name)):
        where = f"{name}, line {line}: {part} imports {other or 'the public names'}"
        if other == "":
            assert part == "cli", where
        elif other != part:
            assert DEPTHS[other] >= DEPTHS[part], where


def test_every_layer_exists() -> None:
    assert {part_of(file) for file in FILES} - {"__init__"} == set(DEPTHS)


def module_name(file: Path) -> str:
    return ".".join(("vaeneer", *file.relative_to(SOURCE).with_suffix("").parts))


def import_graph() -> dict[str, set[str]]:
    """Modules with those that each imports: in functions and under TYPE_CHECKING too."""
    modules = {module_name(file) for file in FILES if file.name != "__init__.py"}
    graph: dict[str, set[str]] = {}
    for file in FILES:
        if (name := module_name(file)) not in modules:
            continue
        found = graph.setdefault(name, set())
        for node in ast.walk(parsed(file)):
            if isinstance(node, ast.Import):
                found |= {alias.name for alias in node.names} & modules
            elif isinstance(node, ast.ImportFrom) and node.module:
                inner = {f"{node.module}.{alias.name}" for alias in node.names}
                found |= ({node.module} | inner) & modules
        found.discard(name)
    return graph


def test_no_modules_import_each_other_in_a_circle() -> None:
    try:
        order = list(TopologicalSorter(import_graph()).static_order())
    except CycleError as error:
        pytest.fail(" -> ".join(error.args[1]))
    assert len(order) > 100


def test_a_small_module_has_more_than_one_importer() -> None:
    """Under 80 lines with a single importer, a module is part of that one."""
    graph = import_graph()
    for file in FILES:
        name = module_name(file)
        importers = [other for other, found in graph.items() if name in found]
        lines = len(file.read_text(encoding="utf-8").splitlines())
        if file.name not in {"__init__.py", "__main__.py"} and lines < 80:
            assert len(importers) != 1, f"{name} has {lines} lines; move it to {importers[0]}"


def modules_after(code: str) -> set[str]:
    """Every module that a new interpreter has loaded once `code` has run."""
    code = f"import sys\n{code}\nsys.stderr.write(' '.join(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stderr.split())


def tops(modules: set[str]) -> set[str]:
    """The packages of modules, those of the standard library left out."""
    return {name.partition(".")[0] for name in modules} - sys.stdlib_module_names


def test_the_package_is_there_at_once() -> None:
    """0.1 s is asked of `import vaeneer`: held by what it imports, and not by a clock."""
    own = modules_after("import vaeneer") - modules_after("import ast, importlib, typing")
    assert own == {"vaeneer", "lazy_loader"}


def test_help_is_there_at_once() -> None:
    """0.3 s is asked of `vaeneer --help`: held by what it imports, and not by a clock."""
    bare = modules_after("pass")
    found = modules_after("import vaeneer.cli.app as app\nassert app.run(['--help']) == 0")
    assert tops(found) - tops(bare) <= LIGHT
    assert len(found) <= MOST_MODULES_OF_HELP


def test_settings_and_the_reference_of_the_commands_need_no_pytorch() -> None:
    code = "import vaeneer.settings, vaeneer.cli.reference\nvaeneer.cli.reference.text()"
    assert tops(modules_after(code)) - tops(modules_after("pass")) <= LIGHT


@pytest.mark.parametrize("name", NAMES)
def test_nothing_unpickles_and_only_the_cli_prints(name: str) -> None:
    for node in ast.walk(parsed(SOURCE / name)):
        if not isinstance(node, ast.Call):
            continue
        called = ast.unparse(node.func)
        options = {word.arg: ast.unparse(word.value) for word in node.keywords}
        where = f"{name}, line {node.lineno}: {called}"
        assert called.split(".")[0] not in {"pickle", "dill", "joblib", "cloudpickle"}, where
        assert called != "torch.load" or options.get("weights_only") == "True", where
        assert options.get("allow_pickle", "False") == "False", where
        assert called not in {"eval", "exec"}, where
        assert called != "print" or name.startswith("cli/"), where


@pytest.mark.parametrize("name", NAMES)
def test_files_and_functions_can_be_read_at_one_sitting(name: str) -> None:
    """At most 500 lines a file and 60 a function, counted with everything."""
    assert len((SOURCE / name).read_text(encoding="utf-8").splitlines()) <= 500
    for node in ast.walk(parsed(SOURCE / name)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = (node.end_lineno or 0) - node.lineno + 1
            assert length <= 60, f"{node.name} has {length} lines"


MAKE_FOLDERS = {
    "files.py": "marks what it makes",
    "data/split.py": "inside of a data set",
    "data/cache_files.py": "marks the cache",
    "library/index/index.py": "marks the library",
    "library/catalog.py": "the library",
    "library/embed/tables.py": "beside a file of vectors, and no picture in it",
}
"""The modules that make folders, and why no scan takes pictures in them for surfaces."""
SAVE_PICTURES = {
    "files.py": "names vaeneer in it",
    "evaluation/plots.py": "names vaeneer in it",
    "data/decode_worker.py": "a surface, converted for a data set",
    "data/synthetic/synthesize.py": "a surface that is made",
}
"""The modules that write pictures to files."""


@pytest.mark.parametrize("name", NAMES)
def test_no_folder_and_no_picture_is_written_without_a_mark(name: str) -> None:
    """`claim_folder`, `replacing_folder` and `save_picture` of files.py are the ways to do it."""
    for node in ast.walk(parsed(SOURCE / name)):
        if not isinstance(node, ast.Call):
            continue
        called, given = ast.unparse(node.func), [ast.unparse(value) for value in node.args]
        where = f"{name}, line {node.lineno}: {called}"
        if called.endswith((".mkdir", "makedirs")):
            assert name in MAKE_FOLDERS, f"{where}; use claim_folder"
        to_file = bool(given) and given[0] in {"temporary", "path", "file", "target"}
        if called.endswith(".savefig") or (called.endswith(".save") and to_file):
            assert name in SAVE_PICTURES, f"{where}; use save_picture"


def test_module_names_say_what_is_inside() -> None:
    vague = {"utils", "util", "helpers", "helper", "common", "misc", "tools"}
    assert not {Path(name).stem for name in NAMES} & vague
