"""Charts of an evaluation and of a training, as pictures."""

import json
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib import colormaps
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator

# Inches at 100 pixels.
WIDTH = 10.0
# Of losses and metrics, on a logarithmic scale.
TICKS = [0, 0.1, 0.2, 0.3, 0.5, 0.7, 1, 2, 3, 5, 10, 20, 30, 50, 100]


def precision_recall_chart(precision: np.ndarray, classes: Sequence[str]) -> np.ndarray:
    """Draw precision over recall at an IoU of 0.5: uint8 (H, W, 3).

    ``precision`` is (101 recalls from 0 to 1, K classes), -1 where a class has no ground truth.
    """
    figure = Figure(figsize=(WIDTH, 6), layout="constrained")
    axes = figure.subplots()
    axes.set_prop_cycle(color=colormaps["tab20"].colors)
    recalls = np.linspace(0, 1, len(precision))
    known = [k for k in range(len(classes)) if precision[0, k] > -1]
    for k in sorted(known, key=lambda k: -precision[:, k].mean()):
        label = f"{classes[k]} {100 * precision[:, k].mean():.1f}"
        axes.plot(recalls, precision[:, k], linewidth=0.8, label=label)
    if known:
        mean = precision[:, known].mean(axis=1)
        axes.plot(recalls, mean, "k", linewidth=2.5, label=f"mean {100 * mean.mean():.1f}")
        axes.legend(loc="center left", bbox_to_anchor=(1, 0.5), fontsize=8, title="AP50")
    axes.set(xlabel="recall", ylabel="precision", xlim=(0, 1), ylim=(0, 1.02))
    return pixels(figure)


def confusion_chart(matrix: np.ndarray, classes: Sequence[str]) -> np.ndarray:
    """Draw a matrix of ``confusion_matrix``, each row as shares of its sum: uint8 (H, W, 3)."""
    side = max(6.0, 0.42 * len(matrix) + 2)
    figure = Figure(figsize=(side, side), layout="constrained")
    axes = figure.subplots()
    shares = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    ticks = range(len(matrix))
    axes.set_xticks(ticks, [*classes, "(missed)"], rotation=90, fontsize=8)
    axes.set_yticks(ticks, [*classes, "(no object)"], fontsize=8)
    axes.set(xlabel="predicted", ylabel="true")
    for (row, column), count in np.ndenumerate(matrix):
        if count:
            colour = "white" if shares[row, column] > 0.6 else "black"
            axes.text(column, row, count, ha="center", va="center", fontsize=6, color=colour)
    return pixels(figure)


def training_chart(metrics: Path) -> np.ndarray:
    """Draw the losses and the evaluations' overall metrics of a metrics.json: uint8 (H, W, 3)."""
    series: dict[str, list[tuple[int, float]]] = defaultdict(list)
    for line in metrics.read_text().splitlines():
        try:
            values = json.loads(line)
        except json.JSONDecodeError:
            # An interruption may have cut it off.
            continue
        for name, value in values.items():
            if isinstance(value, (int, float)):
                series[name].append((values["iteration"], value))
    losses = {name: points for name, points in series.items() if "loss" in name}
    # Those of single classes have a dash.
    measured = {n: p for n, p in series.items() if "/" in n and "-" not in n and n not in losses}
    groups = {"losses": losses}
    for name, points in measured.items():
        groups.setdefault(name.rpartition("/")[0], {})[name] = points
    figure = Figure(figsize=(WIDTH, 2.6 * len(groups)), layout="constrained")
    rows = figure.subplots(len(groups), squeeze=False, sharex=True)[:, 0]
    for axes, (title, lines) in zip(rows, groups.items(), strict=True):
        axes.set_prop_cycle(color=colormaps["tab20"].colors)
        for name, points in lines.items():
            marker = "" if title == "losses" else "."
            axes.plot(*zip(*points, strict=True), marker=marker, label=name.rpartition("/")[2])
        # Losses and metrics of one task can be a hundred times each other.
        axes.set_yscale("symlog", linthresh=0.1)
        axes.yaxis.set_major_locator(FixedLocator(TICKS))
        axes.yaxis.set_major_formatter("{x:g}")
        axes.set_title(title, fontsize=10)
        axes.grid(alpha=0.3)
        axes.legend(loc="center left", bbox_to_anchor=(1, 0.5), fontsize=7)
    axes.set_xlabel("iteration")
    return pixels(figure)


def pixels(figure: Figure) -> np.ndarray:
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()
