"""What a report says, whatever it is written in: headings, texts, grids of words and charts."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from statistics import fmean, median

from rock_d2.engine.gradient_conflict import SECONDS
from reproduce.comparison import COMPARED, Comparison
from reproduce.outcomes import Outcome
from reproduce.statistics import Spread
from reproduce.svg import bar_chart, dot_chart, line_chart
from reproduce.tables import METRICS, Row

NORM, COSINE = "gradient_norm/", "gradient_cosine/"
COSTS = {"hours": "hours of training", "memory_gb": "GB", "images_per_second": "images/s"}


@dataclass
class Section:
    """A part of a report.

    Attributes:
        heading: its title.
        text: paragraphs.
        header, rows: a table, if there is a header.
        chart: an SVG image, if it is not empty.
        file: ends the name of the chart's own file, if it gets one.
    """

    heading: str
    text: Sequence[str] = ()
    header: Sequence[str] = ()
    rows: list[Sequence[str]] = field(default_factory=list)
    chart: str = ""
    file: str = ""


def sections_of(comparison: Comparison) -> list[Section]:
    found = [
        setting(comparison.settings()),
        results(comparison),
        curves(comparison),
        categories(comparison),
        *gradients(comparison),
        costs(comparison),
    ]
    return [section for section in found if section is not None]


def setting(rows: list[Sequence[str]]) -> Section:
    """What ``differing_settings`` has found."""
    text = "Beside what README.md lists as this project's deviations:"
    if not rows:
        text = "Nothing but what README.md lists as this project's deviations."
    header = ("setting", "here", "the paper") if rows else ()
    return Section("What differs from the paper's setting", [text], header, rows)


def results(comparison: Comparison) -> Section:
    header = ["model", "n"]
    for metric in METRICS:
        header += [short(metric), f"paper's {short(metric)}"]
    difference = f"difference in {short(COMPARED)}"
    header += [difference, "95 % interval", "p", "pairs", "paper's difference", "against"]
    text = list(comparison.table.notes)
    if comparison.num_missing:
        text.append(f"{comparison.num_missing} runs are not finished and not counted.")
    text.append(
        "Mean ± standard deviation over n seeds, in percent. Differences are between runs with "
        "the same seed, hence the same data order and initial weights of what models share; "
        "interval: bootstrap of their mean (10 000 samples), which is too narrow for few pairs; "
        "p: paired t-test, two-sided."
    )
    rows = [_result_row(comparison, row) for row in comparison.table.rows]
    measured = {
        row.title: list(comparison.values(row, COMPARED).values()) for row in comparison.table.rows
    }
    papers = {row.title: row.paper[0] for row in comparison.table.rows if row.paper[0] is not None}
    chart = dot_chart(measured, papers, unit=f"{short(COMPARED)} (%)", mark="the paper's figure")
    return Section("Results", text, header, rows, chart, file="results")


def _result_row(comparison: Comparison, row: Row) -> list[str]:
    seeds = len(comparison.outcomes[row])
    cells = [row.title, str(seeds)]
    for metric, figure in zip(METRICS, row.paper, strict=True):
        cells += [with_spread(comparison.spread(row, metric)), number(figure)]
    found = comparison.difference(row)
    if found is None:
        cells += [""] * 4
    else:
        interval = f"[{found.low:+.1f}, {found.high:+.1f}]" if found.count > 1 else ""
        p_value = f"{found.p_value:.3f}" if found.p_value == found.p_value else ""
        cells += [f"{found.mean:+.1f}", interval, p_value, str(found.count)]
    paper = comparison.paper_difference(row)
    return [*cells, "" if paper is None else f"{paper:+.1f}", row.against]


def curves(comparison: Comparison) -> Section | None:
    """Over the training, where it was evaluated on the way."""
    series = {}
    for row, of_row in comparison.outcomes.items():
        found = [run.curve(COMPARED) for run in of_row.values()]
        if found := [curve for curve in found if len(curve) > 1]:
            series[row.title] = found
    if not series:
        return None
    chart = line_chart(series, x_title="iterations", y_title=f"{short(COMPARED)} (%)")
    text = ["Pale: single seeds; full: their mean."]
    return Section(f"{short(COMPARED)} over the training", text, chart=chart, file="curves")


def gradients(comparison: Comparison) -> Iterator[Section]:
    """What SOLVER.GRADIENT_CONFLICT_PERIOD has logged, a section a model."""
    for row, of_row in comparison.outcomes.items():
        runs = list(of_row.values())
        names = list(dict.fromkeys(n for run in runs for line in run.log.values() for n in line))
        cosines = {
            name.removeprefix(COSINE): [run.curve(name) for run in runs]
            for name in names
            if name.startswith(COSINE)
        }
        if not cosines:
            continue
        lines = [
            [
                name.removeprefix(NORM),
                *(mean_of(runs, kind + name.removeprefix(NORM)) for kind in (NORM, COSINE)),
            ]
            for name in names
            if name.startswith(NORM)
        ]
        text = [f"Means over the training; cosine: with the detector's gradient. {cost_of(runs)}"]
        header = ("gradient of", "norm", "cosine")
        chart = line_chart(cosines, x_title="iterations", y_title="cosine with the detector's")
        yield Section(f"Gradients on the backbone: {row.title}", text, header, lines, chart)


def cost_of(runs: Sequence[Outcome]) -> str:
    seconds = [value for run in runs for value in run.curve(SECONDS).values()]
    steps = [value for run in runs for value in run.curve("time").values()]
    return f"A measurement took {median(seconds) / median(steps):.1f} times as long as a step."


def mean_of(runs: Sequence[Outcome], name: str) -> str:
    values = [value for run in runs for value in run.curve(name).values()]
    return f"{fmean(values):.3g}" if values else ""


def categories(comparison: Comparison) -> Section | None:
    """The categories below each other, ours and the paper's figures beside each other."""
    names = comparison.categories()
    if not names:
        return None
    header, papers = ["category"], []
    for row in comparison.table.rows:
        papers.append(comparison.paper_by_category(row))
        header += [row.title, "the paper's"] if row.by_category else [row.title]
    lines = []
    for category in names:
        cells = [category]
        for row, paper in zip(comparison.table.rows, papers, strict=True):
            cells.append(with_spread(comparison.spread(row, f"{COMPARED}-{category}")))
            if paper:
                cells.append(number(paper.get(category)))
        lines.append(cells)
    bars = {
        row.title: {
            category: found.mean
            for category in names
            if (found := comparison.spread(row, f"{COMPARED}-{category}"))
        }
        for row in comparison.table.rows
        if comparison.outcomes[row]
    }
    chart = bar_chart(names, bars, unit=f"{short(COMPARED)} (%)")
    return Section(
        f"{short(COMPARED)} of each category", (), header, lines, chart, file="categories"
    )


def costs(comparison: Comparison) -> Section:
    rows = [
        [row.title, *(with_spread(comparison.cost(row, name), digits=2) for name in COSTS)]
        for row in comparison.table.rows
    ]
    runs = [run for of_row in comparison.outcomes.values() for run in of_row.values()]
    hours = sum(run.costs.get("hours", 0) for run in runs)
    code, machines = (
        "; ".join(sorted({run.environment(fact) for run in runs})) or "none ran"
        for fact in ("commit", "machine")
    )
    text = [
        "Of one training, without its evaluations; memory is the most at any time.",
        f"{len(runs)} runs, {hours:.1f} hours in all; code: {code}; machine: {machines}.",
    ]
    return Section("Cost", text, ["model", *COSTS.values()], rows)


def short(metric: str) -> str:
    return metric.split("/")[-1]


def number(value: float | None) -> str:
    return "" if value is None else f"{value:.1f}"


def with_spread(found: Spread | None, digits: int = 1) -> str:
    if found is None:
        return ""
    if found.count == 1:
        return f"{found.mean:.{digits}f}"
    return f"{found.mean:.{digits}f} ± {found.std:.{digits}f}"
