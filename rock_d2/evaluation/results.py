"""Results of an evaluation for people and for programs."""

import json
import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from tabulate import tabulate

from rock_d2.files import atomic_file

# Of one data set: {"bbox": {"AP": 31.4, "AP-bed": 50.2}, "<task>": {"<metric>": 0.2}}.
Results = Mapping[str, Mapping[str, float]]


def results_table(results: Results) -> str:
    """Return two markdown tables: all metrics, then those of categories (``<metric>-<category>``).

    The second is left out where no result names a category. A metric without ground truth is "nan".
    """
    overall, by_category, columns = [], defaultdict(dict), {}
    for task, metrics in results.items():
        for key, value in metrics.items():
            # Only the first dash separates: categories such as night-stand have their own.
            metric, _, category = key.partition("-")
            if category:
                by_category[category][metric] = value
                columns[metric] = None
            else:
                overall.append((f"{task}/{metric}", value))
    tables = [(overall, ["metric", "value"])]
    if by_category:
        rows = [
            (category, *(values.get(metric) for metric in columns))
            for category, values in by_category.items()
        ]
        tables.append((rows, ["category", *columns]))
    layout = {"tablefmt": "github", "floatfmt": ".3f"}
    return "\n\n".join(tabulate(rows, headers=headers, **layout) for rows, headers in tables)


class Measured(NamedTuple):
    """The content of results.json.

    Attributes:
        metrics: ``<task>/<metric>``, those that have a value.
        protocol: how they were measured; "" where the file does not say.
        main: the tasks that the model is for, ``bbox`` for a detector.
    """

    metrics: dict[str, float]
    protocol: str
    main: tuple[str, ...]

    @property
    def tasks(self) -> set[str]:
        return {name.partition("/")[0] for name in self.metrics}


def read_results(path: str | Path) -> Measured:
    """Return what ``save_results`` has written; raise ValueError or OSError where it is not."""
    try:
        document = json.loads(Path(path).read_text())
        metrics = {
            f"{task}/{metric}": float(value)
            for task, of_task in document.items()
            if isinstance(of_task, dict)
            for metric, value in of_task.items()
            if value is not None
        }
    except (AttributeError, TypeError, ValueError) as problem:
        raise ValueError(f"{path}: no results of an evaluation ({problem})") from None
    return Measured(metrics, document.get("protocol", ""), tuple(document.get("main", ())))


def save_results(
    results: Results, path: str | Path, *, protocol: str = "", main: Sequence[str] = ()
) -> None:
    """Write results as JSON, whole or not at all; NaN, a metric without ground truth, is null."""
    document = {"protocol": protocol, "main": list(main)} | {
        task: {
            metric: float(value) if math.isfinite(value) else None
            for metric, value in metrics.items()
        }
        for task, metrics in results.items()
    }
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_file(path) as file:
        file.write((json.dumps(document, indent=2, allow_nan=False) + "\n").encode())
