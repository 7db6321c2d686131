"""The house rules that a reader can rely on: who imports whom, and where a task is mentioned."""

import ast
import re
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

from rock_d2 import TASK_REGISTRY

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "rock_d2"
SOURCES = sorted(PACKAGE.rglob("*.py"))

# What each part may import of the package, beside itself; the longest prefix decides. Parts that
# stand in no line (__init__ files, engine, visualization) may import anything but tools.
MAY_IMPORT = {
    "rock_d2.freed_memory": (),
    "rock_d2.image_files": (),
    "rock_d2.transfer": (),
    "rock_d2.tasks": (
        "rock_d2.image_files",
        "rock_d2.transfer",
        "rock_d2.layers.pooling",
        "rock_d2.layers.normalizers",
        "rock_d2.evaluation.task_evaluator",
    ),
    "rock_d2.config": ("rock_d2.tasks", "rock_d2.registration"),
    "rock_d2.data": ("rock_d2.freed_memory", "rock_d2.image_files", "rock_d2.tasks"),
    "rock_d2.evaluation": ("rock_d2.tasks",),
    "rock_d2.evaluation.task_evaluator": (),
    "reproduce": (
        "rock_d2.model_zoo",
        "rock_d2.config",
        "rock_d2.tasks",
        "rock_d2.engine.writers",
        "rock_d2.export.complexity",
        "rock_d2.export.fuse",
        "rock_d2.engine.gradient_conflict",
        "rock_d2.engine.machine",
        "benchmarks.latency",
        "benchmarks.timing",
    ),
    "reproduce.statistics": (),
    "reproduce.svg": (),
    "rock_d2.layers.pooling": (),
    "rock_d2.modeling.necks.neck": (),
    "rock_d2.layers.init": (),
    "rock_d2.modeling.fusions.fusion": ("rock_d2.layers.init",),
    "rock_d2.modeling.ssd.anchors": (),
    "rock_d2.modeling.ssd.postprocessing": (),
    "rock_d2.modeling.ssd.matcher": (),
    "rock_d2.layers.normalizers": (),
    "rock_d2.modeling.ssd.losses": (),
    "rock_d2.modeling.ssd.head": ("rock_d2.modeling.necks.neck",),
    "rock_d2.modeling.rock_pytorch": (
        "rock_d2.modeling.ssd.anchors",
        "rock_d2.modeling.fusions.fusion",
        "rock_d2.modeling.necks.neck",
        "rock_d2.modeling.necks.rock",
        "rock_d2.layers.init",
        "rock_d2.modeling.ssd.head",
    ),
    "rock_d2.modeling.necks.rock": (
        "rock_d2.tasks",
        "rock_d2.modeling.necks.neck",
        "rock_d2.modeling.fusions.fusion",
        "rock_d2.layers.init",
    ),
    "rock_d2.modeling.necks.flat": (
        "rock_d2.tasks",
        "rock_d2.modeling.necks.neck",
        "rock_d2.layers.init",
    ),
    "rock_d2.modeling.ssd.detector": (
        "rock_d2.modeling.ssd.postprocessing",
        "rock_d2.modeling.necks.neck",
        "rock_d2.layers.normalizers",
        "rock_d2.layers.init",
        "rock_d2.modeling.ssd.matcher",
        "rock_d2.modeling.ssd.head",
        "rock_d2.modeling.ssd.losses",
        "rock_d2.transfer",
    ),
}


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports_of(path: Path) -> set[str]:
    """Modules of the package that a file imports, anywhere in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            found.add(node.module)
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    modules = {module_name(source) for source in SOURCES}
    return found & modules


def is_within(module: str, part: str) -> bool:
    return module == part or module.startswith(part + ".")


def test_imports_have_no_cycle():
    graph = {module_name(path): imports_of(path) - {module_name(path)} for path in SOURCES}
    # A file that imports its own package's __init__ closes a cycle, too.
    TopologicalSorter(graph).prepare()


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: module_name(path))
def test_each_part_imports_only_what_it_may(path):
    module = module_name(path)
    rules = [part for part in MAY_IMPORT if is_within(module, part)]
    if path.name == "__init__.py" or not rules:
        return
    rule = max(rules, key=len)
    allowed = (rule, *MAY_IMPORT[rule])
    strangers = {
        other for other in imports_of(path) if not any(is_within(other, part) for part in allowed)
    }
    assert strangers - {"rock_d2"} == set()


def test_no_task_is_mentioned_outside_its_places():
    names = "|".join(name.lower() for name, _ in TASK_REGISTRY)
    word = re.compile(rf"(?<![a-z])({names})(?![a-z])", re.IGNORECASE)
    places = (PACKAGE / "tasks", PACKAGE / "data" / "datasets")
    files = [*SOURCES, *sorted((ROOT / "tools").rglob("*.py"))]
    files = [path for path in files if not any(place in path.parents for place in places)]
    assert len(files) > 4
    mentions = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()}"
        for path in files
        for number, line in enumerate(path.read_text().splitlines(), start=1)
        if word.search(re.sub(r"resnets\.depth", "", line, flags=re.IGNORECASE))
    ]
    assert mentions == []


def test_files_are_short():
    long = [
        f"{path.relative_to(ROOT)}: {count} lines"
        for folder in ("rock_d2", "tools", "datasets", "tests", "third_party")
        for path in sorted((ROOT / folder).rglob("*.py"))
        if (count := len(path.read_text().splitlines())) > 300
    ]
    assert long == []
