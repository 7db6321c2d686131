"""The figures of a table from its finished runs."""

from dataclasses import dataclass, field
from typing import Any

from reproduce.outcomes import Outcome, check_protocols, common_protocol, read_outcome
from reproduce.plan import Plan, start
from reproduce.settings import differences
from reproduce.statistics import Difference, Spread, paired_difference, spread
from reproduce.table import GAIN, Column, Row, Table
from rock_d2.config import load_config
from rock_d2.engine.results import main_tasks
from rock_d2.evaluation.gain import Gain, gain
from rock_d2.evaluation.protocols import find_protocol

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
                outcome = read_outcome(*self.plan.run(self.table, row, seed))
                if outcome is not None:
                    found[seed] = outcome
        check_protocols(self.runs())

    def runs(self) -> list[Outcome]:
        return [outcome for found in self.outcomes.values() for outcome in found.values()]

    @property
    def protocol_name(self) -> str:
        """Of the protocol by which all runs were measured."""
        return common_protocol(self.runs()) or ""

    def values(self, row: Row, column: Column | str) -> dict[int, float]:
        """Return a figure, in the paper's unit, or a metric or a cost as it is, by seed."""
        if not isinstance(column, Column):
            column = Column(column)
        if column.metric == GAIN:
            return self.delta(row, self.table.row(column.over) if column.over else self.other(row))
        found = {seed: run.metrics | run.costs() for seed, run in self.outcomes[row].items()}
        name = column.metric
        return {seed: column.scale * x[name] for seed, x in found.items() if name in x}

    def delta(self, row: Row, baseline: Row | None) -> dict[int, float]:
        """Return the gain over the baseline with the same seed, over itself where there is none."""
        found = {seed: x.delta for seed, x in self._gains(row, baseline or row).items()}
        return {seed: value for seed, value in found.items() if value is not None}

    def _gains(self, row: Row, baseline: Row) -> dict[int, Gain]:
        protocol, others = find_protocol(self.protocol_name), self.outcomes[baseline]
        return {
            seed: gain(run.metrics, others[seed].metrics, protocol=protocol, tasks=run.tasks())
            for seed, run in self.outcomes[row].items()
            if seed in others
        }

    def gaps(self) -> list[str]:
        """Return a sentence for each row whose gain lacks a metric."""
        if self.table.compared.metric != GAIN:
            return []
        missing = {
            row: {
                name
                for x in self._gains(row, self.other(row) or row).values()
                for name in x.missing
            }
            for row in self.table.rows
        }
        return [
            f"No gain of {row.title}: there is no {', no '.join(sorted(names))}."
            for row, names in missing.items()
            if names
        ]

    def papers_gains(self) -> str:
        """Return a sentence with the gains that follow from the paper's printed figures."""
        if not self.table.protocol:
            return ""
        protocol, found = find_protocol(self.table.protocol), []
        figures = {
            row: {c.metric: x / c.scale for c, x in self.table.papers(row).items() if x is not None}
            for row in self.table.rows
        }
        for row in self.table.rows:
            other = figures.get(self.other(row))
            if not other or not figures[row].keys() & protocol.metrics.keys():
                continue
            tasks = main_tasks(self.plan.run(self.table, row, seed=1)[0].config())
            papers = gain(figures[row], other, protocol=protocol, tasks=tasks)
            lacks = f"unknown (no {', no '.join(papers.missing)})"
            found.append(f"{row.title} {lacks if papers.missing else f'{papers.delta:+.2f}'}")
        return f"From the paper's own figures Δm is: {', '.join(found)}." if found else ""

    def spread(self, row: Row, column: Column | str) -> Spread | None:
        values = list(self.values(row, column).values())
        return spread(values) if values else None

    def other(self, row: Row) -> Row | None:
        """Return the row that a row is compared with."""
        return self.table.row(row.against) if row.against else None

    def difference(self, row: Row, metric: Column | str | None = None) -> Difference | None:
        """Return how the row differs from the one that it is compared with."""
        other, metric = self.other(row), metric or self.table.compared
        return other and paired_difference(self.values(row, metric), self.values(other, metric))

    def papers_difference(self, row: Row) -> float | None:
        """Return the same of the compared column in the paper."""
        other, column = self.other(row), self.table.compared
        here = self.table.papers(row)[column]
        there = other and self.table.papers(other)[column]
        return None if here is None or there is None else here - there

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
        places, here = self.places(row, over), self.values(row, self.table.compared)
        there = self.values(other, self.table.compared)
        seeds = sorted(places.keys() & here.keys() & there.keys())
        return [(places[seed], here[seed] - there[seed]) for seed in seeds]

    def metrics(self) -> list[str]:
        """Return all that any run has measured."""
        return list(dict.fromkeys(name for run in self.runs() for name in run.metrics))

    def settings(self) -> list[tuple[str, Any, Any]]:
        """Return where the table's runs differ from the paper's: setting, here, there.

        A table on the rooms alone is no table of a paper.
        """
        row = Row("", self.table.rows[0].config)
        papers = (self.table.datasets or ("nyuv2",))[0]
        if papers.startswith("rooms"):
            return []
        there = load_config(*start(self.table, row, papers))
        (run,) = self.plan.run(self.table, row, seed=1)
        return differences(run.config(), there)
