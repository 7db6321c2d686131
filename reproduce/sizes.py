"""Sizes and operations of a table's models, as MTI-Net's table 7 has them."""

from detectron2.modeling import build_model
from tabulate import tabulate

from reproduce.plan import Plan
from reproduce.table import Row, Table
from rock_d2.config import load_config
from tools.analyze_model import Complexity, cells_of, changes, complexity_of, image_size, total

METHOD = (
    "Millions of parameters and billions of multiply-adds of one image, as tools/analyze_model.py "
    "counts them, and their changes over the first row."
)


def sizes_section(plan: Plan, table: Table) -> str:
    """Return the section of a table that has sizes."""
    if not table.sizes:
        return ""
    found = {row: size_of(plan, table, row) for row in table.rows}
    first = found[table.rows[0]]
    header = ["model", "M params", "G MACs"]
    for what in ("params", "MACs"):
        header += [what, "the paper's"]
    lines = []
    for row, size in found.items():
        cells = [row.title, *cells_of(size)[:2]]
        papers = table.sizes.get(row.title, ("", ""))
        for change, figure in zip(changes(size, first), papers, strict=True):
            cells += [f"{change:+.1f} %", figure and f"{figure:+.1f} %"]
        lines.append(cells)
    for title in table.others:
        papers = [f"{figure:+.1f} %" for figure in table.sizes[title]]
        lines.append([title, "", "", "", papers[0], "", papers[1]])
    grid = tabulate(lines, header, tablefmt="github", disable_numparse=True)
    return f"## Sizes\n\n{METHOD}\n\n{grid}"


def size_of(plan: Plan, table: Table, row: Row) -> Complexity:
    """Return the size of a row's model, or of its models together."""
    configs = [run.config() for run in plan.run(table, row, seed=1)]
    configs = [load_config(cfg, ["MODEL.DEVICE", "cpu"]) for cfg in configs]
    return total(complexity_of(build_model(cfg), image_size(cfg)).whole for cfg in configs)
