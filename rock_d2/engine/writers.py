"""What a run tells people: a header, a line now and then, and files about itself."""

import datetime
import logging
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog
from detectron2.utils.collect_env import collect_env_info
from detectron2.utils.events import (
    EventWriter,
    JSONWriter,
    TensorboardXWriter,
    get_event_storage,
)
from tabulate import tabulate
from torch import nn

from rock_d2 import model_zoo
from rock_d2.export.complexity import named_parts, num_parameters
from rock_d2.engine.machine import machine
from rock_d2.engine.wandb_writer import WandbWriter

logger = logging.getLogger(__name__)

METRICS_FILE = "metrics.json"
PAPER_CONFIG = "rock_nyuv2.yaml"
# Where things lie and how fast they come says nothing about what is learnt.
NO_DEVIATION = (
    *("VERSION", "OUTPUT_DIR", "SEED", "MODEL.DEVICE"),
    *("DATALOADER.NUM_WORKERS", "DATALOADER.RESIDENT", "DATALOADER.AUGMENT_ON"),
)


def header(cfg: CfgNode, model: nn.Module, records: Sequence[Mapping[str, Any]]) -> str:
    """What is learnt from which data by which model, and how that differs from the paper's.

    Args:
        cfg: of the training.
        model: of the training.
        records: of the training sets, those that are used.
    """
    data = [data_row(" + ".join(cfg.DATASETS.TRAIN), "train", records)]
    data += [data_row(name, "test", DatasetCatalog.get(name)) for name in cfg.DATASETS.TEST]
    parts = [(name, num_parameters(part)) for name, part in named_parts(model).items()]
    parts.append(("total", num_parameters(model)))
    differences = deviations(cfg, model_zoo.get_config(PAPER_CONFIG))
    return "\n\n".join(
        [
            "Data",
            tabulate(data, headers=["data set", "use", "images", "boxes"], intfmt=","),
            "Parameters",
            tabulate(parts, headers=["part", "parameters"], intfmt=","),
            f"Where this run deviates from configs/{PAPER_CONFIG}, the paper's settings",
            tabulate(differences, headers=["setting", "here", "paper"], disable_numparse=True)
            if differences
            else "nowhere",
        ]
    )


def data_row(
    name: str, use: str, records: Sequence[Mapping[str, Any]]
) -> tuple[str, str, int, int]:
    return name, use, len(records), sum(len(record["annotations"]) for record in records)


def deviations(cfg: CfgNode, paper: CfgNode) -> list[tuple[str, Any, Any]]:
    """Settings that two configs have different values of: (name, here, there)."""
    here, there = dict(flat_settings(cfg)), dict(flat_settings(paper))
    return [
        (name, here.get(name), there.get(name))
        for name in {**there, **here}
        if here.get(name) != there.get(name) and not name.startswith(NO_DEVIATION)
    ]


def flat_settings(node: CfgNode, prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in node.items():
        if isinstance(value, CfgNode):
            yield from flat_settings(value, f"{prefix}{key}.")
        else:
            yield prefix + key, list(value) if isinstance(value, tuple) else value


def describe_run(cfg: CfgNode, *, trains: bool) -> None:
    """Writes config.yaml and environment.txt into OUTPUT_DIR.

    Those of a training stay as they are when something is evaluated in its folder.
    """
    folder = Path(cfg.OUTPUT_DIR)
    if not trains and (folder / METRICS_FILE).exists():
        return
    (folder / "config.yaml").write_text(cfg.dump())
    on_gpu = cfg.MODEL.DEVICE != "cpu"
    facts = {
        "command": " ".join(sys.argv),
        "commit": git_commit(),
        "machine": machine(on_gpu=on_gpu),
    }
    listed = "".join(f"{name}: {fact}\n" for name, fact in facts.items())
    (folder / "environment.txt").write_text(f"{listed}\n{collect_env_info()}\n")


def git_commit() -> str:
    """The commit that this code is at, and whether files differ from it."""
    command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--abbrev=40"]
    try:
        found = subprocess.run(
            [*command, "--dirty=, with changes"], capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return "unknown: this is no git checkout"
    return found.stdout.strip()


def build_writers(cfg: CfgNode, *, first_iter: int = 0) -> Sequence[EventWriter]:
    """Console, metrics.json, TensorBoard; the values are means already, so none smooths."""
    writers = [
        ConsoleWriter(cfg.SOLVER.MAX_ITER),
        JSONWriter(str(Path(cfg.OUTPUT_DIR, METRICS_FILE)), window_size=1),
        # Earlier events of later iterations are of an interrupted training, and void.
        TensorboardWriter(cfg.OUTPUT_DIR, window_size=1, purge_step=first_iter or None),
    ]
    if cfg.WANDB_PROJECT:
        writers.append(
            WandbWriter(
                project=cfg.WANDB_PROJECT,
                output_dir=cfg.OUTPUT_DIR,
                settings=dict(flat_settings(cfg)),
                goes_on=first_iter > 0,
            )
        )
    return writers


class TensorboardWriter(TensorboardXWriter):
    """Detectron2's, which leaves up to two minutes in memory, and these to the next crash."""

    def write(self) -> None:
        super().write()
        self._writer.flush()


class ConsoleWriter(EventWriter):
    """One line with progress, losses, learning rate, speed and memory."""

    def __init__(self, max_iter: int):
        self._max_iter = max_iter
        self._last = -1

    def write(self) -> None:
        latest = get_event_storage().latest()
        loss, iteration = latest.get("total_loss", (None, -1))
        if iteration <= self._last:
            return
        self._last = iteration
        value = {name: value for name, (value, _) in latest.items()}
        single = "  ".join(
            f"{name.removeprefix('loss_')} {value[name]:.3g}"
            for name in value
            if name.startswith("loss_")
        )
        eta = datetime.timedelta(seconds=round(value["eta_seconds"]))
        logger.info(
            f"{iteration + 1}/{self._max_iter}  eta {eta}  loss {loss:.4g} ({single})  "
            f"lr {value['lr']:.3g}  {value['images_per_second']:.3g} images/s  "
            f"waiting for data {100 * value['data_time'] / value['time']:.0f} %  "
            f"memory {value['memory_gb']:.1f} GB"
        )
