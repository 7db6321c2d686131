"""The figures of a table from its finished runs."""

from dataclasses import dataclass, field
from typing import Any

from reproduce.outcomes import Outcome, read_outcome
from reproduce.plan import Plan, base, differences, model_settings
from reproduce.statistics import Difference, Spread, paired_difference, spread
from reproduce.tables import METRICS, Row, Table
from rock_d2.config import load_config

# The metric that models are compared by, seed by seed.
COMPARED = METRICS[0]
# The number of the backbone's maps in the pyramid that X is in.
MAPS = "maps"


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

    def other(self, row: Row) -> Row | None:
        """Return the row that a row is compared with."""
        return next((other for other in self.table.rows if other.title == row.against), None)

    def difference(self, row: Row, metric: str = COMPARED) -> Difference | None:
        """Return how the row differs from the one that it is compared with."""
        other = self.other(row)
        return other and paired_difference(self.values(row, metric), self.values(other, metric))

    def papers_difference(self, row: Row) -> float | None:
        """Return the same of COMPARED in the paper."""
        other = self.other(row)
        known = other is not None and None not in (row.paper[0], other.paper[0])
        return row.paper[0] - other.paper[0] if known else None

    def places(self, row: Row, over: str) -> dict[int, float]:
        """Return MAPS, or a metric of a task as the decoders see it, of the row's runs by seed."""
        models = {seed: run.run.config().MODEL for seed, run in self.outcomes[row].items()}
        if over == MAPS:
            return {seed: len(model.FPN.IN_FEATURES) for seed, model in models.items()}
        task = over.partition("/")[0]
        given = {s: 1.0 for s, m in models.items() if task in map(str.lower, m.ROCK.GIVEN)}
        return self.values(row, over) | given

    def gains(self, row: Row, over: str) -> list[tuple[float, float]]:
        """Return for each pair of runs the place of the row's run, and its gain over the other."""
        other = self.other(row)
        if other is None:
            return []
        places, here = self.places(row, over), self.values(row, COMPARED)
        there = self.values(other, COMPARED)
        seeds = sorted(places.keys() & here.keys() & there.keys())
        return [(places[seed], here[seed] - there[seed]) for seed in seeds]

    def metrics(self) -> list[str]:
        """Return all that any run has measured."""
        return list(dict.fromkeys(name for run in self.runs() for name in run.metrics))

    def settings(self) -> list[tuple[str, Any, Any]]:
        """Return where the table's runs differ from the paper's: setting, here, there."""
        config = self.table.rows[0].config
        file, pairs = base(self.table.dataset or "nyuv2", self.table.split)
        there = load_config(file, [*pairs, *model_settings(config)])
        return differences(self.plan.run(self.table, Row("", config), seed=1).config(), there)
