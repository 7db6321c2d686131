"""The figures of a table from its finished runs."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from detectron2.data import MetadataCatalog

from rock_d2 import model_zoo
from rock_d2.config import load_config
from reproduce.outcomes import Outcome, read_outcome
from reproduce.plan import BASES, Plan, differences, model_settings
from reproduce.statistics import Difference, Spread, paired_difference, spread
from reproduce.tables import METRICS, Row, Table

# What models are compared by, seed by seed.
COMPARED = METRICS[0]
# Names for what readers look for first; other settings stand under their own.
WORDS = {
    "DATASETS.TRAIN": "training data",
    "DATASETS.TEST": "evaluation data",
    "MODEL.WEIGHTS": "initial weights",
    "MODEL.RESNETS.DEPTH": "layers of the ResNet",
    "INPUT.SIZE": "input size",
    "SOLVER.MAX_ITER": "iterations",
    "SOLVER.IMS_PER_BATCH": "batch size",
}


@dataclass
class Comparison:
    """A table with what its runs have given so far.

    Attributes:
        plan: of the runs.
        table: which.
        outcomes: of each row's finished runs, by seed.
    """

    plan: Plan
    table: Table
    outcomes: dict[Row, dict[int, Outcome]] = field(init=False)

    def __post_init__(self) -> None:
        self.outcomes = {row: dict(self._finished(row)) for row in self.table.rows}

    def _finished(self, row: Row) -> Iterator[tuple[int, Outcome]]:
        for seed in self.plan.seeds:
            outcome = read_outcome(self.plan.run(self.table, row, seed))
            if outcome is not None:
                yield seed, outcome

    @property
    def num_missing(self) -> int:
        found = sum(len(of_row) for of_row in self.outcomes.values())
        return len(self.table.rows) * len(self.plan.seeds) - found

    def values(self, row: Row, metric: str) -> dict[int, float]:
        """A metric of the row's runs by seed."""
        return {
            seed: outcome.metrics[metric]
            for seed, outcome in self.outcomes[row].items()
            if metric in outcome.metrics
        }

    def spread(self, row: Row, metric: str) -> Spread | None:
        values = list(self.values(row, metric).values())
        return spread(values) if values else None

    def reference(self, row: Row) -> Row | None:
        """The row that this one is compared with."""
        return next((other for other in self.table.rows if other.title == row.against), None)

    def difference(self, row: Row) -> Difference | None:
        other = self.reference(row)
        if other is None:
            return None
        return paired_difference(self.values(row, COMPARED), self.values(other, COMPARED))

    def paper_difference(self, row: Row) -> float | None:
        other = self.reference(row)
        if other is None or None in (row.paper[0], other.paper[0]):
            return None
        return row.paper[0] - other.paper[0]

    def cost(self, row: Row, name: str) -> Spread | None:
        found = [run.costs[name] for run in self.outcomes[row].values() if name in run.costs]
        return spread(found) if found else None

    def metrics(self) -> list[str]:
        """All that any run has measured."""
        runs = (run for of_row in self.outcomes.values() for run in of_row.values())
        return list(dict.fromkeys(name for run in runs for name in run.metrics))

    def categories(self) -> list[str]:
        """Those that were measured."""
        prefix = f"{COMPARED}-"
        return [name.removeprefix(prefix) for name in self.metrics() if name.startswith(prefix)]

    def paper_by_category(self, row: Row) -> dict[str, float]:
        data_set = self.plan.run(self.table, row, seed=1).config().DATASETS.TEST[0]
        names = MetadataCatalog.get(data_set).thing_classes
        return dict(zip(names, row.by_category, strict=True)) if row.by_category else {}

    def settings(self) -> list[tuple[str, Any, Any]]:
        """Where the table's runs differ from the paper's: setting, here, there."""
        return differing_settings(self.plan, self.table)


def differing_settings(plan: Plan, table: Table) -> list[tuple[str, Any, Any]]:
    row = table.rows[0]
    here = plan.run(table, row, seed=1).config()
    file = model_zoo.get_config_file(BASES["nyuv2", table.split])
    found = differences(here, load_config(file, model_settings(row.config)))
    found.sort(key=lambda item: list(WORDS).index(item[0]) if item[0] in WORDS else len(WORDS))
    return [
        (
            f"{WORDS[name]} (`{name}`)" if name in WORDS else f"`{name}`",
            _word(name, a),
            _word(name, b),
        )
        for name, a, b in found
    ]


def _word(name: str, value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "none"
    if value == "":
        return "random" if name == "MODEL.WEIGHTS" else "none"
    return str(value)
