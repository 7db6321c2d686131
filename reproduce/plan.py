"""From tables to runs: each an ordinary command line of tools/train_net.py in its own folder."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import chain
from pathlib import Path
from typing import Any

from detectron2.config import CfgNode

from reproduce.tables import BASELINE, TABLES, Row, Table
from rock_d2 import model_zoo
from rock_d2.checkpoint.identity import flat_settings
from rock_d2.config import load_config

# The config that all models with a detector share, without its folder and the data's name.
DETECTORS = {
    "SSD": "ssd",
    "RetinaNet": "retinanet_plain",
    "FasterRCNN": "faster_rcnn_plain",
    "FCOS": "fcos_plain",
}
# By the data set on the command line: training and evaluation data where they are not the config's.
SPLITS = {
    "nyuv2": {"val": ("nyuv2_train673", "nyuv2_val122")},
    "rooms": {},
    # The same rooms as they looked before each type had its own walls, floors and light.
    "rooms_plain": dict.fromkeys(("val", "test"), ("rooms_plain_train", "rooms_plain_val")),
    # From random weights.
    "rooms_scratch": {},
    "cityscapes": {},
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
        dataset: a key of SPLITS.
        seeds: every model is trained once with each.
        output: the folder of all runs.
        iterations: factor of the schedule's length.
        options: KEY VALUE pairs for every run.
        detector: a key of DETECTORS.
    """

    tables: Sequence[Table]
    dataset: str
    seeds: Sequence[int]
    output: Path
    iterations: float = 1.0
    options: Sequence[str] = ()
    detector: str = "SSD"

    def __post_init__(self) -> None:
        special = {table.dataset for table in TABLES}
        for table in self.tables:
            fitting = [table.dataset] if table.dataset else [x for x in SPLITS if x not in special]
            if self.dataset not in fitting:
                raise ValueError(f"table {table.name} needs --dataset {' or '.join(fitting)}")

    def runs(self) -> list[Run]:
        """Return all runs: trainings by their seeds, then evaluations."""
        rows = [(table, row) for table in self.tables for row in table.rows]
        runs = [self.run(table, row, seed) for seed in self.seeds for table, row in rows]
        needed = [run.trained for run in runs if run.trained is not None]
        return sorted(dict.fromkeys([*runs, *needed]), key=lambda run: run.trained is not None)

    def run(self, table: Table, row: Row, seed: int) -> Run:
        """Return the run of a row of a table."""
        file, pairs = base(self.dataset, table.split, self.detector)
        pairs += model_settings(row.config) + tuple(self.options)
        cfg = load_config(file, pairs)
        pairs += (*data_settings(row, cfg), *pyramid_settings(row, cfg))
        pairs += schedule(cfg, self.iterations)
        # Other data sets have no third part.
        is_test = (self.dataset, table.split) == ("nyuv2", "test")
        name = row.run_name + ("_test" if is_test else "")
        run = Run(name, seed, self.output / name / f"seed{seed}", file, pairs)
        if row.switched_off is None:
            return run
        pairs += ("MODEL.ROCK.FUSION.SWITCHED_OFF", as_argument(list(row.switched_off)))
        name += "_without_" + "_".join(row.switched_off).lower()
        return Run(name, seed, self.output / name / f"seed{seed}", file, pairs, trained=run)


def base(dataset: str, split: str, detector: str = "SSD") -> tuple[str, tuple[str, ...]]:
    """Return the file and the KEY VALUE pairs that all models of a table share."""
    folder = "rock" if detector == "SSD" else "detectors"
    if dataset == "rooms_scratch":
        folder = dataset
    file = f"{folder}/{DETECTORS[detector]}_{dataset.split('_')[0]}.yaml"
    names = dict(zip(("TRAIN", "TEST"), SPLITS[dataset].get(split, ()), strict=False))
    pairs = ((f"DATASETS.{part}", as_argument([name])) for part, name in names.items())
    return model_zoo.get_config_file(file), tuple(chain.from_iterable(pairs))


def data_settings(row: Row, cfg: CfgNode) -> tuple[str, ...]:
    """Return KEY VALUE pairs of the images and boxes that a row's model sees."""
    pairs: tuple[str, ...] = ()
    if row.fraction < 1:
        # Of the images that all models of the table see.
        pairs += ("DATASETS.TRAIN_FRACTION", f"{row.fraction * cfg.DATASETS.TRAIN_FRACTION:g}")
    if row.boxed < 1:
        pairs += ("DATASETS.BOXED_FRACTION", f"{row.boxed:g}", "DATALOADER.BOXED_SHARE", "0.5")
    return pairs


def pyramid_settings(row: Row, cfg: CfgNode) -> tuple[str, ...]:
    """Return KEY VALUE pairs of a pyramid of the backbone's finest maps alone."""
    if not row.maps:
        return ()
    names = cfg.MODEL.FPN.IN_FEATURES[: row.maps]
    if not names or cfg.MODEL.NECK.AT != "backbone":
        raise ValueError(f"{row.title}: X must be in a feature pyramid; see MODEL.NECK.AT")
    kind = "TIMM" if "timm" in cfg.MODEL.BACKBONE.NAME else "RESNETS"
    keys = ("MODEL.FPN.IN_FEATURES", f"MODEL.{kind}.OUT_FEATURES")
    return tuple(part for key in keys for part in (key, as_argument(list(names))))


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
