"""The tables as Markdown with charts beside it, and as CSV."""

import csv
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path

from tabulate import tabulate

from reproduce.comparison import MAPS, Comparison
from reproduce.figures import dot_chart, line_chart, scatter_chart
from reproduce.plan import Plan
from reproduce.sizes import sizes_section
from reproduce.statistics import Difference, Spread
from reproduce.table import Row, Table

COSTS = {"hours": "hours of training", "memory_gb": "GB", "images_per_second": "images/s"}
# What gains are drawn against where it differs, and the names of the figures.
GAINS_OVER = {
    "scene/acc": ("scene accuracy (1 where it is given)", "gain_scene"),
    MAPS: ("maps of the backbone in X's pyramid", "gain_maps"),
}
METHOD = (
    "Mean ± standard deviation over n seeds, shares in percent. Differences are between runs with "
    "the same seed, hence the same data order and initial weights of what models share; interval: "
    "bootstrap of their mean (10 000 samples), which is too narrow for few pairs; p: paired "
    "t-test, two-sided."
)


def write_reports(plan: Plan) -> list[Path]:
    """Write all of the plan's tables from the runs that are finished; return the files."""
    plan.output.mkdir(parents=True, exist_ok=True)
    return [file for table in plan.tables for file in _write_report(plan, table)]


def _write_report(plan: Plan, table: Table) -> Iterator[Path]:
    is_papers = table.name.isdigit()
    stem = plan.output / (f"table{table.name}" if is_papers else table.name)
    comparison = Comparison(plan, table)
    title = f"Table {table.name}: {table.title}" if is_papers else table.title
    of_runs = plan.dataset if plan.detector == "SSD" else f"{plan.dataset}, {plan.detector}"
    sections = [
        f"# {title} ({of_runs})",
        protocols(comparison),
        settings_section(comparison),
        results_section(comparison, Path(f"{stem}_results.svg")),
        curves_section(comparison, Path(f"{stem}_curves.svg")),
        *(
            gains_section(comparison, metric, stem)
            for metric in GAINS_OVER
            if table.configs == "ablations"
        ),
        categories_section(comparison),
        changes_section(comparison),
        costs_section(comparison),
        sizes_section(plan, table),
    ]
    report = Path(f"{stem}.md")
    report.write_text("\n\n".join(filter(None, sections)) + "\n")
    yield report
    yield write_csv(Path(f"{stem}.csv"), summary_rows(comparison))
    yield write_csv(Path(f"{stem}_runs.csv"), run_rows(comparison))


def protocols(comparison: Comparison) -> str:
    ours = comparison.protocol_name or "not named by these runs"
    papers = comparison.table.protocol
    return f"Protocol of our figures: {ours}." + (f" Of the paper's: {papers}." if papers else "")


def settings_section(comparison: Comparison) -> str:
    rows = [(f"`{name}`", here, there) for name, here, there in comparison.settings()]
    if not rows:
        return ""
    text = "Beside the deviations that docs/PAPERS.md lists:"
    table = grid(["setting", "here", "the paper"], rows)
    return f"## Differences to the paper's settings\n\n{text}\n\n{table}"


def results_section(comparison: Comparison, figure: Path) -> str:
    table, rows = comparison.table, comparison.table.rows
    header = ["model", "n"]
    for column in table.columns:
        header += [column.name, "the paper's"]
    header += [f"difference in {table.compared.name}", "95 % interval", "p", "pairs"]
    header += ["the paper's", "against"]
    notes = [*table.notes, *filter(None, [comparison.papers_gains()]), *comparison.gaps()]
    missing = len(rows) * len(comparison.plan.seeds) - len(comparison.runs())
    if missing:
        notes.append(f"{missing} runs are not finished and not counted.")
    measured = {row.title: list(comparison.values(row, table.compared).values()) for row in rows}
    papers = {row.title: table.papers(row)[table.compared] for row in rows}
    known = {title: figure for title, figure in papers.items() if figure is not None}
    dot_chart(figure, measured, known, unit=unit(table))
    cells = [
        [title, "", *chain.from_iterable(("", figure or "") for figure in figures)]
        for title, figures in table.others.items()
    ]
    lines = grid(header, [*cells, *(_result_row(comparison, row) for row in rows)])
    return "\n\n".join(["## Results", *notes, METHOD, lines, f"![Results]({figure.name})"])


def unit(table: Table) -> str:
    return f"{table.compared.name} (%)"


def _result_row(comparison: Comparison, row: Row) -> list[str]:
    cells = [row.title, str(len(comparison.outcomes[row]))]
    for column, figure in comparison.table.papers(row).items():
        found = with_spread(comparison.spread(row, column), digits=column.digits)
        cells += [found, "" if figure is None else figure]
    found, paper = comparison.difference(row), comparison.papers_difference(row)
    if found is None:
        cells += [""] * 4
    else:
        p_value = f"{found.p_value:.3f}" if found.p_value == found.p_value else ""
        cells += [f"{found.mean:+.1f}", interval(found), p_value, found.count]
    return [*cells, "" if paper is None else f"{paper:+.1f}", row.against]


def curves_section(comparison: Comparison, figure: Path) -> str:
    """Show the metric over the training, where it was evaluated on the way."""
    series, table = {}, comparison.table
    for row, found in comparison.outcomes.items():
        curves = [
            curve for run in found.values() if len(curve := run.curve(table.compared.metric)) > 1
        ]
        if curves:
            series[row.title] = curves
    if not series:
        return ""
    line_chart(figure, series, x_title="iterations", y_title=unit(table))
    return f"## {unit(table)} over the training\n\n![Single seeds and their mean]({figure.name})"


def gains_section(comparison: Comparison, metric: str, stem: Path) -> str:
    """Show what the rows gain over those that they are compared with, by another metric."""
    found = {row.title: comparison.gains(row, metric) for row in comparison.outcomes}
    series = {title: points for title, points in found.items() if points}
    if len({x for points in series.values() for x, _ in points}) < 2:
        return ""
    over, name = GAINS_OVER[metric]
    figure = Path(f"{stem}_{name}.svg")
    scatter_chart(figure, series, x_title=over, y_title=f"gain in {unit(comparison.table)}")
    return f"## Gain against {over}\n\n![Pairs of runs and their means]({figure.name})"


def categories_section(comparison: Comparison) -> str:
    prefix = f"{comparison.table.compared.metric}-"
    names = [name for name in comparison.metrics() if name.startswith(prefix)]
    rows = [
        [
            name.removeprefix(prefix),
            *(with_spread(comparison.spread(row, name)) for row in comparison.outcomes),
        ]
        for name in names
    ]
    header = ["category", *(row.title for row in comparison.outcomes)]
    return f"## {unit(comparison.table)} of each category\n\n{grid(header, rows)}" if names else ""


def changes_section(comparison: Comparison) -> str:
    """Show each category's differences with their intervals."""
    prefix = f"{comparison.table.compared.metric}-"
    names = [name for name in comparison.metrics() if name.startswith(prefix)]
    rows = [row for row in comparison.outcomes if comparison.difference(row)]
    if not names or not rows:
        return ""
    cells = [
        [name.removeprefix(prefix), *(change(comparison.difference(row, name)) for row in rows)]
        for name in names
    ]
    header = ["category", *(f"{row.title} - {row.against}" for row in rows)]
    return f"## Changes in {unit(comparison.table)} of each category\n\n{grid(header, cells)}"


def costs_section(comparison: Comparison) -> str:
    rows = [
        [row.title, *(with_spread(comparison.spread(row, name), digits=2) for name in COSTS)]
        for row in comparison.outcomes
    ]
    runs = comparison.runs()
    hours = sum(run.costs().get("hours", 0) for run in runs)
    code, machines = (
        "; ".join(sorted({run.environment(fact) for run in runs})) or "none ran"
        for fact in ("commit", "machine")
    )
    text = f"{len(runs)} runs, {hours:.1f} hours in all; code: {code}; machine: {machines}."
    table = grid(["model", *COSTS.values()], rows)
    return f"## Cost of one training, without its evaluations\n\n{text}\n\n{table}"


def summary_rows(comparison: Comparison) -> list[dict[str, object]]:
    """Return a row of the table each, in numbers."""
    rows = []
    for row, outcomes in comparison.outcomes.items():
        cells: dict[str, object] = {"model": row.title, "n": len(outcomes)}
        cells["protocol"] = comparison.protocol_name
        for column, figure in comparison.table.papers(row).items():
            found, short = comparison.spread(row, column), column.name
            cells |= {f"{short} mean": found and found.mean, f"{short} std": found and found.std}
            cells[f"{short} paper"] = figure
        found, paper = comparison.difference(row), comparison.papers_difference(row)
        title = f"{comparison.table.compared.name} difference"
        cells |= {"against": row.against, f"{title} paper": paper}
        for name in ("mean", "low", "high", "p_value", "count"):
            cells[f"{title} {name}"] = found and getattr(found, name)
        rows.append(cells)
    return rows


def run_rows(comparison: Comparison) -> list[dict[str, object]]:
    """Return a run each, with everything that was measured."""
    return [
        {"model": row.title, "seed": seed, "protocol": outcome.protocol, **outcome.costs()}
        | {name: outcome.metrics.get(name) for name in comparison.metrics()}
        for row, found in comparison.outcomes.items()
        for seed, outcome in found.items()
    ]


def write_csv(file: Path, rows: Sequence[dict[str, object]]) -> Path:
    with file.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, list(dict.fromkeys(k for row in rows for k in row)))
        writer.writeheader()
        writer.writerows(rows)
    return file


def grid(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Return a Markdown table."""
    return tabulate(rows, header, tablefmt="github", disable_numparse=True)


def change(found: Difference | None) -> str:
    return f"{found.mean:+.1f} {interval(found)}".strip() if found else ""


def interval(found: Difference) -> str:
    return f"[{found.low:+.1f}, {found.high:+.1f}]" if found.count > 1 else ""


def with_spread(found: Spread | None, digits: int = 1) -> str:
    if found is None:
        return ""
    spread = f" ± {found.std:.{digits}f}" if found.count > 1 else ""
    return f"{found.mean:.{digits}f}{spread}"
