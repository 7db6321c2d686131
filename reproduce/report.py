"""The tables as Markdown with charts beside it, as CSV, and as one HTML page each."""

import csv
import re
from collections.abc import Iterable, Iterator, Sequence
from html import escape
from pathlib import Path

from tabulate import tabulate

from reproduce.comparison import COMPARED, Comparison
from reproduce.complexity_table import complexity_report
from reproduce.plan import Plan
from reproduce.sections import COSTS, Section, sections_of, short
from reproduce.tables import METRICS, Table

STYLE = """
body { font: 15px/1.5 Helvetica, Arial, sans-serif; color: #222; max-width: 1200px;
       margin: 2em auto; padding: 0 1em; }
table { border-collapse: collapse; font-size: 13px; margin: 1em 0; display: block;
        overflow-x: auto; }
th, td { padding: 4px 10px; border-bottom: 1px solid #ddd; text-align: right; white-space: nowrap; }
th:first-child, td:first-child { text-align: left; }
th { border-bottom: 2px solid #888; }
svg { max-width: 100%; height: auto; }
"""


def write_reports(plan: Plan) -> list[Path]:
    """Writes all of the plan's tables from what is finished; returns the files."""
    plan.output.mkdir(parents=True, exist_ok=True)
    return [file for table in plan.tables for file in _write_report(plan, table)]


def _write_report(plan: Plan, table: Table) -> Iterator[Path]:
    stem = plan.output / (f"table{table.name}" if table.name.isdigit() else table.name)
    if table.trained:
        comparison = Comparison(plan, table)
        sections, summary = sections_of(comparison), summary_rows(comparison)
        yield write_csv(stem.with_name(f"{stem.name}_runs.csv"), run_rows(comparison))
    else:
        sections, summary = complexity_report(plan, table)
    yield write_csv(stem.with_suffix(".csv"), summary)
    title = f"Table {table.name}: {table.title}" if table.name.isdigit() else table.title
    title += f" ({plan.dataset})"
    for section in sections:
        if section.file:
            yield _write(stem.with_name(f"{stem.name}_{section.file}.svg"), section.chart)
    yield _write(stem.with_suffix(".md"), as_markdown(title, sections, stem.name))
    yield _write(stem.with_suffix(".html"), as_html(title, sections))


def _write(file: Path, text: str) -> Path:
    file.write_text(text)
    return file


def as_markdown(title: str, sections: Iterable[Section], stem: str) -> str:
    parts = [f"# {title}"]
    for section in sections:
        parts += [f"## {section.heading}", *section.text]
        if section.header:
            table = tabulate(section.rows, section.header, tablefmt="github", disable_numparse=True)
            parts.append(table)
        if section.file:
            parts.append(f"![{section.heading}]({stem}_{section.file}.svg)")
    return "\n\n".join(parts) + "\n"


def as_html(title: str, sections: Iterable[Section]) -> str:
    parts = []
    for section in sections:
        parts.append(f"<h2>{escape(section.heading)}</h2>")
        parts += [f"<p>{escape(text)}</p>" for text in section.text]
        if section.header:
            parts.append(_html_table(section))
        parts.append(section.chart)
    body = "\n".join(parts)
    return (
        f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><title>{escape(title)}'
        f"</title><style>{STYLE}</style></head>\n<body><h1>{escape(title)}</h1>\n{body}\n"
        "</body></html>\n"
    )


def _html_table(section: Section) -> str:
    head = "".join(f"<th>{escape(word)}</th>" for word in section.header)
    rows = "\n".join(
        "<tr>" + "".join(f"<td>{_html_words(word)}</td>" for word in row) + "</tr>"
        for row in section.rows
    )
    return f"<table><thead><tr>{head}</tr></thead>\n<tbody>{rows}</tbody></table>"


def _html_words(markdown: str) -> str:
    return re.sub("`(.*?)`", r"<code>\1</code>", escape(markdown))


def summary_rows(comparison: Comparison) -> list[dict[str, object]]:
    """A row of the table each, in numbers."""
    rows = []
    for row in comparison.table.rows:
        cells: dict[str, object] = {"model": row.title, "n": len(comparison.outcomes[row])}
        for metric, figure in zip(METRICS, row.paper, strict=True):
            found = comparison.spread(row, metric)
            cells[f"{short(metric)} mean"] = found and found.mean
            cells[f"{short(metric)} std"] = found and found.std
            cells[f"{short(metric)} paper"] = figure
        difference = comparison.difference(row)
        cells["against"] = row.against
        for name in ("mean", "low", "high", "p_value", "count"):
            title = f"{short(COMPARED)} difference {name}"
            cells[title] = difference and getattr(difference, name)
        cells[f"{short(COMPARED)} difference paper"] = comparison.paper_difference(row)
        for name in COSTS:
            found = comparison.cost(row, name)
            cells[name] = found and found.mean
        rows.append(cells)
    return rows


def run_rows(comparison: Comparison) -> list[dict[str, object]]:
    """A run each, with everything that was measured."""
    return [
        {"model": row.title, "seed": seed, **outcome.costs}
        | {name: outcome.metrics.get(name) for name in comparison.metrics()}
        for row, of_row in comparison.outcomes.items()
        for seed, outcome in of_row.items()
    ]


def write_csv(file: Path, rows: Sequence[dict[str, object]]) -> Path:
    with file.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, list(dict.fromkeys(k for row in rows for k in row)))
        writer.writeheader()
        writer.writerows(rows)
    return file
