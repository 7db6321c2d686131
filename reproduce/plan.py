"""From tables to runs: each an ordinary command line of tools/train_net.py in its own folder."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from detectron2.config import CfgNode

from reproduce.tables import BASELINE, Row, Table
from rock_d2 import model_zoo
from rock_d2.checkpoint.identity import flat_settings
from rock_d2.config import load_config

# The config that all models of a table share, by data set and split. Rooms have no third part.
BASES = {
    ("nyuv2", "val"): f"ablations/{BASELINE.config}.yaml",
    ("nyuv2", "test"): "rock/ssd_nyuv2.yaml",
    ("rooms", "val"): "rock/ssd_rooms.yaml",
    ("rooms", "test"): "rock/ssd_rooms.yaml",
}
# Settings of the place, the speed and the observation of a training; it learns the same.
NO_DIFFERENCE = (
    *("VERSION", "OUTPUT_DIR", "SEED", "MODEL.DEVICE"),
    *("DATALOADER.NUM_WORKERS", "DATALOADER.RESIDENT"),
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
        settings: KEY VALUE pairs that make it different from them.
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
        """Return options of tools/train_net.py, and the KEY VALUE pairs that follow them."""
        pairs = [*self.settings, "SEED", str(self.seed), "OUTPUT_DIR", str(self.folder)]
        if self.trained is None:
            return ["--config-file", self.base, "--resume"], pairs
        weights = ["MODEL.WEIGHTS", str(self.trained.folder / "model_final.pth")]
        return ["--config-file", self.base, "--eval-only"], [*pairs, *weights]


@dataclass(frozen=True)
class Plan:
    """The runs of some tables, each model once however many tables it stands in.

    Attributes:
        tables: those to fill.
        dataset: "nyuv2" or "rooms".
        seeds: every model is trained once with each.
        output: the folder of all runs.
        iterations: factor of the schedule's length.
        options: KEY VALUE pairs for every run.
    """

    tables: Sequence[Table]
    dataset: str
    seeds: Sequence[int]
    output: Path
    iterations: float = 1.0
    options: Sequence[str] = ()

    def runs(self) -> list[Run]:
        """Return all runs: trainings by their seeds, then evaluations."""
        rows = [(table, row) for table in self.tables for row in table.rows]
        runs = [self.run(table, row, seed) for seed in self.seeds for table, row in rows]
        needed = [run.trained for run in runs if run.trained is not None]
        return sorted(dict.fromkeys([*runs, *needed]), key=lambda run: run.trained is not None)

    def run(self, table: Table, row: Row, seed: int) -> Run:
        """Return the run of a row of a table."""
        base = BASES[self.dataset, table.split]
        name, pairs = row.config, model_settings(row.config)
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
        pairs += tuple(self.options)
        if fraction < 1:
            # Of the images that all models of the table see.
            fraction *= load_config(file, pairs).DATASETS.TRAIN_FRACTION
            pairs += ("DATASETS.TRAIN_FRACTION", f"{fraction:g}")
        pairs += schedule(load_config(file, pairs), self.iterations)
        return Run(name, seed, self.output / name / f"seed{seed}", file, pairs, trained)


@cache
def model_settings(row: str) -> tuple[str, ...]:
    """Return KEY VALUE pairs that make the baseline of any data set the model of a table's row."""
    config, baseline = (
        model_zoo.get_config(f"ablations/{name}.yaml") for name in (row, BASELINE.config)
    )
    found = differences(config, baseline)
    return tuple(part for name, value, _ in found for part in (name, as_argument(value)))


def as_argument(value: Any) -> str:
    """Return a value as a shell needs the fewest quotes for it."""
    return json.dumps(value) if isinstance(value, list) else str(value)


def differences(config: CfgNode, other: CfgNode) -> list[tuple[str, Any, Any]]:
    """Return the settings that change what is learnt and differ: (name, here, there)."""
    here, there = dict(flat_settings(config)), dict(flat_settings(other))
    return [
        (name, here.get(name), there.get(name))
        for name in {**there, **here}
        if here.get(name) != there.get(name) and name not in NO_DIFFERENCE
    ]


def schedule(cfg: CfgNode, factor: float) -> tuple[str, ...]:
    """Return KEY VALUE pairs of the config's schedule times ``factor``."""
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
    """Raise ValueError for a folder whose training was started with other settings."""
    for run in runs:
        file = run.folder / "config.yaml"
        if run.trained is not None or not file.is_file():
            continue
        try:
            stored = load_config(file)
        except ValueError as unknown:
            raise ValueError(f"{unknown}; choose another --output") from None
        # As it comes back from a file, where tuples within lists have become lists.
        wanted = CfgNode.load_cfg(run.config().dump())
        for name, there, here in differences(stored, wanted):
            raise ValueError(
                f"{file}: this run was started with {name} {there}, not {here}; "
                "choose another --output, or remove the folder"
            )
