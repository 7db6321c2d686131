"""From tables to runs: each an ordinary command line of tools/train_net.py in its own folder."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from detectron2.config import CfgNode

from rock_d2 import model_zoo
from rock_d2.config import load_config
from rock_d2.engine.writers import deviations
from reproduce.tables import BASELINE, Row, Table

# What every model of a table has in common, by data set and split. Rooms have no third part.
BASES = {
    ("nyuv2", "val"): f"ablations/{BASELINE.config}.yaml",
    ("nyuv2", "test"): "ssd_nyuv2.yaml",
    ("rooms", "val"): "ssd_rooms.yaml",
    ("rooms", "test"): "ssd_rooms.yaml",
}
# What a training is observed by; it learns the same.
OBSERVATION = (
    *("SOLVER.CHECKPOINT_PERIOD", "SOLVER.LOG_PERIOD", "SOLVER.GRADIENT_CONFLICT_PERIOD"),
    *("TEST.EVAL_PERIOD", "TEST.NUM_PICTURES"),
)
# An interruption costs a fifth of a training at most, if the config is not more careful.
CHECKPOINTS = 5


@dataclass(frozen=True)
class Run:
    """One process of tools/train_net.py.

    Attributes:
        name: of its model, the same for all seeds.
        seed: of weights, order of the data and augmentation.
        folder: its OUTPUT_DIR.
        base: the config that it shares with the other models of its table.
        settings: KEY VALUE pairs that make it what it is.
        trained: the run whose model it only evaluates, if it does not train.
    """

    name: str
    seed: int
    folder: Path
    base: str
    settings: tuple[str, ...]
    trained: "Run | None" = None

    @property
    def finished(self) -> bool:
        return (self.folder / "results.json").is_file()

    def config(self) -> CfgNode:
        return load_config(self.base, self.arguments()[1])

    def arguments(self) -> tuple[list[str], list[str]]:
        """Options of tools/train_net.py, and the KEY VALUE pairs that follow them."""
        pairs = [*self.settings, "SEED", str(self.seed), "OUTPUT_DIR", str(self.folder)]
        if self.trained is None:
            return ["--config-file", self.base, "--resume"], pairs
        weights = ["MODEL.WEIGHTS", str(self.trained.folder / "model_final.pth")]
        return ["--config-file", self.base, "--eval-only"], [*pairs, *weights]


class Plan:
    """The runs of some tables, each model once however many tables it stands in."""

    def __init__(
        self,
        tables: Sequence[Table],
        *,
        dataset: str,
        seeds: Sequence[int],
        output: Path,
        iterations: float = 1.0,
        options: Sequence[str] = (),
    ):
        """
        Args:
            tables: what is to be filled.
            dataset: "nyuv2" or "rooms".
            seeds: every model is trained once with each.
            output: the folder of all runs.
            iterations: what the schedule is stretched by.
            options: KEY VALUE pairs for every run.
        """
        self.tables = tables
        self.dataset = dataset
        self.seeds = seeds
        self.output = output
        self._iterations = iterations
        self._options = tuple(options)

    def runs(self) -> list[Run]:
        """All runs, evaluations last, and before that the first seed of every model first."""
        rows = [(table, row) for table in self.tables if table.trained for row in table.rows]
        runs = [self.run(table, row, seed) for seed in self.seeds for table, row in rows]
        needed = [run.trained for run in runs if run.trained is not None]
        return sorted(dict.fromkeys([*runs, *needed]), key=lambda run: run.trained is not None)

    def run(self, table: Table, row: Row, seed: int) -> Run:
        base = BASES[self.dataset, table.split]
        pairs = model_settings(row.config)
        name = row.config
        if row.fraction < 1:
            name += f"_{round(100 * row.fraction)}"
        if base == BASES["nyuv2", "test"]:
            name += "_test"
        run = self._run(name, seed, base, pairs, row.fraction)
        if row.switched_off is None:
            return run
        pairs += ("MODEL.ROCK.FUSION.SWITCHED_OFF", as_argument(list(row.switched_off)))
        name += "_without_" + "_".join(row.switched_off).lower()
        return self._run(name, seed, base, pairs, row.fraction, trained=run)

    def _run(
        self,
        name: str,
        seed: int,
        base: str,
        pairs: tuple[str, ...],
        fraction: float,
        trained: Run | None = None,
    ) -> Run:
        file = model_zoo.get_config_file(base)
        pairs += self._options
        if fraction < 1:
            # Of the images that all models of the table see.
            fraction *= load_config(file, pairs).DATASETS.TRAIN_FRACTION
            pairs += ("DATASETS.TRAIN_FRACTION", f"{fraction:g}")
        pairs += schedule(load_config(file, pairs), self._iterations)
        folder = self.output / name / f"seed{seed}"
        return Run(name, seed, folder, file, pairs, trained)


@cache
def model_settings(row: str) -> tuple[str, ...]:
    """KEY VALUE pairs that make the baseline of any data set the model of a row of a table."""
    config, baseline = (
        model_zoo.get_config(f"ablations/{name}.yaml") for name in (row, BASELINE.config)
    )
    found = differences(config, baseline)
    return tuple(part for name, value, _ in found for part in (name, as_argument(value)))


def as_argument(value: Any) -> str:
    """As a shell shows it with the fewest quotes."""
    return json.dumps(value) if isinstance(value, list) else str(value)


def differences(config: CfgNode, other: CfgNode) -> list[tuple[str, Any, Any]]:
    """Settings that change what is learnt and have two values: (name, here, there)."""
    return [found for found in deviations(config, other) if found[0] not in OBSERVATION]


def as_written(cfg: CfgNode) -> CfgNode:
    """As it comes back from a file, where tuples within lists have become lists."""
    return CfgNode.load_cfg(cfg.dump())


def schedule(cfg: CfgNode, factor: float) -> tuple[str, ...]:
    """KEY VALUE pairs of the config's schedule times ``factor``."""
    solver = cfg.SOLVER
    length = max(1, round(factor * solver.MAX_ITER))
    period = min(solver.CHECKPOINT_PERIOD, -(-length // CHECKPOINTS))
    values: dict[str, Any] = {"SOLVER.CHECKPOINT_PERIOD": period}
    if factor != 1:
        values |= {
            "SOLVER.MAX_ITER": length,
            "SOLVER.STEPS": tuple(round(factor * step) for step in solver.STEPS),
            "SOLVER.WARMUP_ITERS": round(factor * solver.WARMUP_ITERS),
        }
    return tuple(part for pair in values.items() for part in map(str, pair))


def check_stored_settings(runs: Iterable[Run]) -> None:
    """Raises ValueError for a folder whose training was started with other settings."""
    for run in runs:
        file = run.folder / "config.yaml"
        if run.trained is not None or not file.is_file():
            continue
        try:
            stored = load_config(file)
        except ValueError as unknown:
            raise ValueError(f"{unknown}; choose another --output") from None
        different = differences(as_written(stored), as_written(run.config()))
        if different:
            name, there, wanted = different[0]
            raise ValueError(
                f"{file}: this run was started with {name} {there}, not {wanted}; "
                "choose another --output, or remove the folder"
            )
