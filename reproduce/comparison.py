"""The figures of a table from its finished runs."""

from dataclasses import dataclass, field
from typing import Any

from reproduce.outcomes import Outcome, read_outcome
from reproduce.plan import BASES, Plan, differences, model_settings
from reproduce.statistics import Difference, Spread, paired_difference, spread
from reproduce.tables import METRICS, Row, Table
from rock_d2 import model_zoo
from rock_d2.config import load_config

# The metric that models are compared by, seed by seed.
COMPARED = METRICS[0]


@dataclass
class Comparison:
    """A table with the results that its runs have given so far.

    Attributes:
        plan: of the runs.
        table: which.
        outcomes: of each row's finished runs, by seed.
    """

    plan: Plan
    table: Table
    outcomes: dict[Row, dict[int, Outcome]] = field(init=False)

    def __post_init__(self) -> None:
        self.outcomes = {row: {} for row in self.table.rows}
        for row, found in self.outcomes.items():
            for seed in self.plan.seeds:
                outcome = read_outcome(self.plan.run(self.table, row, seed))
                if outcome is not None:
                    found[seed] = outcome

    def runs(self) -> list[Outcome]:
        return [outcome for found in self.outcomes.values() for outcome in found.values()]

    def values(self, row: Row, metric: str) -> dict[int, float]:
        """Return a metric, or a cost, of the row's runs by seed."""
        found = {seed: run.metrics | run.costs() for seed, run in self.outcomes[row].items()}
        return {seed: values[metric] for seed, values in found.items() if metric in values}

    def spread(self, row: Row, metric: str) -> Spread | None:
        values = list(self.values(row, metric).values())
        return spread(values) if values else None

    def difference(self, row: Row) -> tuple[Difference | None, float | None]:
        """Return how the row differs from the one that it is compared with: here, in the paper."""
        other = next((other for other in self.table.rows if other.title == row.against), None)
        if other is None:
            return None, None
        here = paired_difference(self.values(row, COMPARED), self.values(other, COMPARED))
        known = None not in (row.paper[0], other.paper[0])
        return here, row.paper[0] - other.paper[0] if known else None

    def metrics(self) -> list[str]:
        """Return all that any run has measured."""
        return list(dict.fromkeys(name for run in self.runs() for name in run.metrics))

    def settings(self) -> list[tuple[str, Any, Any]]:
        """Return where the table's runs differ from the paper's: setting, here, there."""
        row = self.table.rows[0]
        file = model_zoo.get_config_file(BASES["nyuv2", self.table.split])
        there = load_config(file, model_settings(row.config))
        return differences(self.plan.run(self.table, row, seed=1).config(), there)
