"""From tables to runs: each an ordinary command line of tools/train_net.py in its own folder."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import chain
from pathlib import Path
from typing import Any

from detectron2.config import CfgNode

from reproduce.settings import differences
from reproduce.table import Row, Table
from rock_d2 import model_zoo
from rock_d2.config import CONFIGS, load_config
from rock_d2.evaluation.protocols import protocol_of
from rock_d2.tasks import TASK_REGISTRY

# The config that all models with a detector share, without its folder and the data's name.
DETECTORS = {
    "SSD": "ssd",
    "RetinaNet": "retinanet_plain",
    "FasterRCNN": "faster_rcnn_plain",
    "FCOS": "fcos_plain",
}
# Of ROCK's tables, that their other models are given as differences to.
BASELINE = "table1_baseline"
# Of MTI-Net's, where a data set has no files of its own but the first.
MTI_BASELINE = "single_hrnet18"
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
# By the data set: the configs of a pre-training on another one, and of what goes on from there.
PRETRAINING = {
    "nyuv2": ("rock/pretrain_hypersim.yaml", "rock/finetune_nyuv2.yaml"),
    "rooms": ("rock/pretrain_rooms_other.yaml", "rock/finetune_rooms.yaml"),
}
# By their folders in configs/mti; rooms have such a folder, too.
MTI_DATASETS = ("nyud", "pascal")
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
        pretrained: the run whose model it starts from, if that is not in the config.
        imports: modules and files that its process imports first.
    """

    name: str
    seed: int
    folder: Path
    base: str
    settings: tuple[str, ...]
    trained: "Run | None" = None
    pretrained: "Run | None" = None
    imports: tuple[str, ...] = ()

    @property
    def needs(self) -> "Run | None":
        """The run that has to be finished before."""
        return self.trained or self.pretrained

    @property
    def finished(self) -> bool:
        """Whether there are results; those of an evaluation must not be of an earlier training."""
        results = self.folder / "results.json"
        if not results.is_file() or self.trained is None:
            return results.is_file()
        trained = self.trained.folder / "results.json"
        return trained.is_file() and trained.stat().st_mtime <= results.stat().st_mtime

    def config(self) -> CfgNode:
        return load_config(self.base, self.arguments()[1])

    def arguments(self) -> tuple[list[str], list[str]]:
        """Return options of tools/train_net.py, and the KEY VALUE pairs that follow them."""
        pairs = [*self.settings, "SEED", str(self.seed), "OUTPUT_DIR", str(self.folder)]
        if self.needs is not None:
            pairs += ["MODEL.WEIGHTS", str(self.needs.folder / "model_final.pth")]
        options = [word for name in self.imports for word in ("--import", name)]
        mode = "--eval-only" if self.trained else "--resume"
        return [*options, "--config-file", self.base, mode], pairs


@dataclass(frozen=True)
class Plan:
    """The runs of some tables, each model once however many tables it stands in.

    Attributes:
        tables: those to fill.
        dataset: a key of SPLITS, or one of MTI_DATASETS.
        seeds: every model is trained once with each.
        output: the folder of all runs.
        iterations: factor of the schedule's length.
        options: KEY VALUE pairs for every run.
        detector: a key of DETECTORS.
        imports: modules and files that every run imports first.
    """

    tables: Sequence[Table]
    dataset: str
    seeds: Sequence[int]
    output: Path
    iterations: float = 1.0
    options: Sequence[str] = ()
    detector: str = "SSD"
    imports: Sequence[str] = ()

    def runs(self) -> list[Run]:
        """Return all runs: each after the one that it needs, trainings by their seeds."""
        for table in self.tables:
            self.check(table)
        rows = [(table, row) for table in self.tables for row in table.rows]
        runs = [
            run for seed in self.seeds for table, row in rows for run in self.run(table, row, seed)
        ]
        needed = [run.needs for run in runs if run.needs is not None]
        return sorted(dict.fromkeys([*runs, *needed]), key=lambda run: run.needs is not None)

    def check(self, table: Table) -> None:
        """Raise ValueError where the data set, or the detector, is not one of the table's."""
        known = table.datasets or [name for name in SPLITS if name != "cityscapes"]
        if self.dataset not in known:
            raise ValueError(f"table {table.name} needs --dataset {' or '.join(known)}")
        if table.configs == "mti" and self.detector != "SSD":
            raise ValueError(f"{table.name} has no detector; leave --detector out")

    def run(self, table: Table, row: Row, seed: int) -> tuple[Run, ...]:
        """Return the run of a row of a table, or one for each task that is learned alone."""
        if row.pretrained:
            before, after = PRETRAINING[self.dataset]
            # Runs of other seeds that are there already may have begun with one.
            files = (self.output / Path(before).stem).glob("seed*/config.yaml")
            seeds = [file.parent.name.removeprefix("seed") for file in files]
            first = min((int(x) for x in seeds if x.isdecimal()), default=self.seeds[0])
            pretrained = self._own(Path(before).stem, before, first)
            return (self._own(row.run_name, after, seed, pretrained=pretrained),)
        file, pairs = start(table, row, self.dataset, self.detector)
        pairs += row.more + tuple(self.options)
        cfg = load_config(file, pairs)
        pairs += (*data_settings(row, cfg), *pyramid_settings(row, cfg))
        pairs += schedule(cfg, self.iterations)
        # Other data sets have no third part.
        is_test = (self.dataset, table.split) == ("nyuv2", "test")
        name = row.run_name + ("_test" if is_test else "")
        if row.alone:
            return tuple(self._alone(task, name, seed, file, pairs) for task in row.alone)
        run = self._named(name, seed, file, pairs)
        if not row.evaluate:
            return (run,)
        return (self._named(name + row.called, seed, file, pairs + row.evaluate, trained=run),)

    def _alone(self, task: str, name: str, seed: int, file: str, pairs: tuple[str, ...]) -> Run:
        """Return the training of one task, whichever the config's is."""
        pairs += ("MODEL.TASKS.MAIN", as_argument([task]))
        cfg, task_name = load_config(file, pairs), TASK_REGISTRY.get(task).name
        for metric, best in protocol_of(cfg, cfg.DATASETS.TEST[0]).metrics.items():
            if metric.partition("/")[0] == task_name and metric != cfg.TEST.BEST_METRIC:
                pairs += ("TEST.BEST_METRIC", metric, "TEST.BEST_MODE", best)
        return self._named(f"{name}_{task.lower()}", seed, file, pairs)

    def _named(self, name: str, seed: int, file: str, pairs: tuple[str, ...], **more: Any) -> Run:
        folder, imports = self.output / name / f"seed{seed}", tuple(self.imports)
        return Run(name, seed, folder, file, pairs, imports=imports, **more)

    def _own(self, name: str, config: str, seed: int, pretrained: Run | None = None) -> Run:
        """Return the training of a config file that is no row's."""
        file, pairs = model_zoo.get_config_file(config), tuple(self.options)
        pairs += schedule(load_config(file, pairs), self.iterations)
        return self._named(name, seed, file, pairs, pretrained=pretrained)


def start(
    table: Table, row: Row, dataset: str, detector: str = "SSD"
) -> tuple[str, tuple[str, ...]]:
    """Return the config file of a row's model, and the KEY VALUE pairs that it differs by."""
    if table.configs == "mti":
        return mti_start(row.config, dataset)
    if table.configs == "detectors":
        name = f"{DETECTORS[detector].removesuffix('_plain')}_{row.config}_{dataset}"
        return model_zoo.get_config_file(f"detectors/{name}.yaml"), ()
    file, pairs = base(dataset, table.split, detector)
    return file, pairs + model_settings(row.config)


def mti_start(config: str, dataset: str) -> tuple[str, tuple[str, ...]]:
    """Return a file of configs/mti, and pairs that make it the model of a row."""
    if dataset != "rooms" or not (CONFIGS / f"mti/nyud/{config}.yaml").is_file():
        return model_zoo.get_config_file(f"mti/{dataset}/{config}.yaml"), ()
    # NYUD-v2's models, from random weights.
    pairs = model_settings(config, baseline=MTI_BASELINE, folder="mti/nyud")
    kept = [
        pair for pair in zip(pairs[::2], pairs[1::2], strict=True) if pair[0] != "MODEL.WEIGHTS"
    ]
    return model_zoo.get_config_file(f"mti/rooms/{MTI_BASELINE}.yaml"), tuple(chain(*kept))


def available(table: Table, dataset: str, detector: str = "SSD") -> Table:
    """Return a table with the rows that there are configs for."""
    if dataset in PRETRAINING and detector == "SSD":
        return table
    return replace(table, rows=tuple(row for row in table.rows if not row.pretrained))


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
        # As many images with boxes in each batch as other rows have, and as many without.
        pairs += ("DATASETS.BOXED_FRACTION", f"{row.boxed:g}", "DATALOADER.BOXED_SHARE", "0.5")
        pairs += ("SOLVER.IMS_PER_BATCH", str(2 * cfg.SOLVER.IMS_PER_BATCH))
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
def model_settings(
    row: str, *, baseline: str = BASELINE, folder: str = "ablations"
) -> tuple[str, ...]:
    """Return KEY VALUE pairs that make the baseline of any data set the model of a table's row."""
    config, other = (model_zoo.get_config(f"{folder}/{name}.yaml") for name in (row, baseline))
    found = differences(config, other)
    return tuple(part for name, value, _ in found for part in (name, as_argument(value)))


def as_argument(value: Any) -> str:
    """Return a value as a shell needs the fewest quotes for it."""
    return json.dumps(value) if isinstance(value, list) else str(value)


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
