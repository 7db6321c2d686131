"""Charts as SVG files.

Colours follow Okabe and Ito, which people with any colour vision can distinguish.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import fmean

import matplotlib as mpl
from cycler import cycler
from matplotlib.axes import Axes
from matplotlib.figure import Figure

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#666666", "#000000")
STYLE = {
    "axes.prop_cycle": cycler(color=COLOURS),
    "axes.spines.right": False,
    "axes.spines.top": False,
    # Text stays text, and the same figures give the same file.
    "svg.fonttype": "none",
    "svg.hashsalt": "rock_d2",
}


@contextmanager
def chart(file: Path, *, height: float) -> Iterator[Axes]:
    """Give axes to draw on, and write them to a file in the end."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(9, height), layout="constrained")
        yield figure.subplots()
        figure.savefig(file, format="svg", metadata={"Date": None})


def dot_chart(
    file: Path, rows: Mapping[str, Sequence[float]], marks: Mapping[str, float], *, unit: str
) -> None:
    """Draw each row's values as dots with their mean as a bar, and the paper's as a diamond."""
    with chart(file, height=1.2 + 0.35 * len(rows)) as axes:
        for y, (title, values) in enumerate(rows.items()):
            axes.plot(values, [y] * len(values), "o", alpha=0.6, color=COLOURS[y % len(COLOURS)])
            if values:
                axes.plot(fmean(values), y, "|", markersize=18, markeredgewidth=2.5, color="black")
            if title in marks:
                axes.plot(marks[title], y, "D", fillstyle="none", color="black")
        axes.set_yticks(range(len(rows)), list(rows))
        axes.set_ylim(len(rows) - 0.5, -0.5)
        axes.set_xlabel(f"{unit}: dots are seeds, bars their means, diamonds the paper's figures")


def scatter_chart(
    file: Path,
    series: Mapping[str, Sequence[tuple[float, float]]],
    *,
    x_title: str,
    y_title: str,
) -> None:
    """Draw each series' points and, ringed, their mean."""
    with chart(file, height=4) as axes:
        axes.axhline(0, color="black", linewidth=0.8)
        for i, (title, points) in enumerate(series.items()):
            colour = COLOURS[i % len(COLOURS)]
            axes.plot(*zip(*points, strict=True), "o", color=colour, alpha=0.6, label=title)
            mean = [[fmean(values)] for values in zip(*points, strict=True)]
            axes.plot(*mean, "o", markersize=12, fillstyle="none", color=colour)
        counts = {x for points in series.values() for x, _ in points}
        if all(float(x).is_integer() for x in counts):
            axes.set_xticks(sorted(counts))
        axes.set(xlabel=x_title, ylabel=y_title)
        axes.legend(bbox_to_anchor=(1.01, 1), loc="upper left")


def line_chart(
    file: Path, series: Mapping[str, Sequence[Mapping[float, float]]], *, x_title: str, y_title: str
) -> None:
    """Draw the mean of each series' curves, y by x, and the single curves pale behind it."""
    with chart(file, height=4) as axes:
        for i, (title, curves) in enumerate(series.items()):
            colour = COLOURS[i % len(COLOURS)]
            for curve in curves:
                axes.plot(list(curve), list(curve.values()), color=colour, alpha=0.3, linewidth=1)
            common = sorted(set.intersection(*map(set, curves)))
            means = [fmean(curve[x] for curve in curves) for x in common]
            axes.plot(common, means, color=colour, linewidth=2.5, label=title)
        axes.set(xlabel=x_title, ylabel=y_title)
        axes.legend(bbox_to_anchor=(1.01, 1), loc="upper left")
