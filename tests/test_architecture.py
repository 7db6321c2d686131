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
FOLDERS = ("rock_d2", "tools", "reproduce", "benchmarks", "datasets", "examples", "tests")

# The parts of the package in lines: each may import itself and parts of the lines above its own.
ORDER = (
    ("classes", "files", "image_files", "registry"),
    ("layers",),
    ("tasks",),
    ("modeling", "data", "evaluation"),
    ("config", "checkpoint", "visualization"),
    ("engine",),
    ("results", "sources"),
    ("model_zoo", "predictor"),
)


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def part_of(module: str) -> str:
    return module.partition(".")[2].partition(".")[0]


def imports_of(path: Path) -> set[str]:
    """Return the modules of the package that a file imports, anywhere in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found & {module_name(source) for source in SOURCES}


def test_imports_have_no_cycle():
    graph = {module_name(path): imports_of(path) - {module_name(path)} for path in SOURCES}
    # A file that imports its own package's __init__ closes a cycle, too.
    TopologicalSorter(graph).prepare()


def test_each_part_imports_only_parts_above_it():
    line_of = {part: line for line, parts in enumerate(ORDER) for part in parts}
    wrong = []
    for path in SOURCES[1:]:
        part = part_of(module_name(path))
        assert part in line_of, f"ORDER does not say where {part} stands"
        for other in imports_of(path):
            if part_of(other) != part and line_of.get(part_of(other), len(ORDER)) >= line_of[part]:
                wrong.append(f"{module_name(path)} imports {other}")
    assert wrong == []


def test_no_task_is_mentioned_outside_its_places():
    names = "|".join(name.lower() for name, _ in TASK_REGISTRY)
    word = re.compile(rf"(?<![a-z])({names})(?![a-z])", re.IGNORECASE)
    places = (PACKAGE / "tasks", PACKAGE / "data" / "datasets")
    files = [*SOURCES, *sorted((ROOT / "tools").rglob("*.py"))]
    mentions = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()}"
        for path in files
        if not any(place in path.parents for place in places)
        for number, line in enumerate(path.read_text().splitlines(), start=1)
        if word.search(re.sub(r"resnets\.depth", "", line, flags=re.IGNORECASE))
    ]
    assert mentions == []


def length(function: ast.FunctionDef) -> int:
    """Return the lines of a function without its docstring's."""
    documented = ast.get_docstring(function) is not None
    described = function.body[0].end_lineno - function.body[0].lineno + 1 if documented else 0
    return function.end_lineno - function.lineno + 1 - described


@pytest.mark.parametrize("folder", FOLDERS)
def test_files_and_functions_are_short(folder):
    long = []
    for path in sorted((ROOT / folder).rglob("*.py")):
        text = path.read_text()
        lines = len(text.splitlines())
        long += [f"{path.relative_to(ROOT)}: {lines} lines"] if lines > 300 else []
        long += [
            f"{path.relative_to(ROOT)}:{node.lineno}: {node.name} has {length(node)} lines"
            for node in ast.walk(ast.parse(text))
            if isinstance(node, ast.FunctionDef) and length(node) > 40
        ]
    assert long == []
