"""The header of a training's log, and the writers of its values."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from detectron2.config import CfgNode
from detectron2.utils.events import (
    CommonMetricPrinter,
    EventWriter,
    JSONWriter,
    TensorboardXWriter,
)
from fvcore.nn import parameter_count
from tabulate import tabulate
from torch import nn

from rock_d2 import model_zoo
from rock_d2.engine.wandb_writer import WandbWriter

PAPER_CONFIG = "rock_nyuv2.yaml"
# Settings of the place and the speed of a run, which change nothing that it learns.
NO_DEVIATION = (
    *("VERSION", "OUTPUT_DIR", "SEED", "MODEL.DEVICE"),
    *("DATALOADER.NUM_WORKERS", "DATALOADER.RESIDENT"),
)


def header(cfg: CfgNode, model: nn.Module) -> str:
    """Return the sizes of a model's parts, and where a config deviates from the paper's."""
    counts = parameter_count(model)
    parts = [(name, counts[name]) for name, _ in model.named_children()]
    differences = deviations(cfg, model_zoo.get_config(PAPER_CONFIG))
    return "\n\n".join(
        [
            tabulate([*parts, ("total", counts[""])], headers=["part", "parameters"], intfmt=","),
            f"Where this run deviates from configs/{PAPER_CONFIG}, the paper's settings",
            tabulate(differences, headers=["setting", "here", "paper"], disable_numparse=True),
        ]
    )


def deviations(cfg: CfgNode, paper: CfgNode) -> list[tuple[str, Any, Any]]:
    """Return the settings that two configs have different values of: (name, here, there)."""
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


def build_writers(cfg: CfgNode, *, start_iter: int) -> Sequence[EventWriter]:
    """Return Detectron2's writers, and that of Weights & Biases if it is asked for.

    The values are means over SOLVER.LOG_PERIOD already, so that no writer smooths them.

    Args:
        cfg: of the training.
        start_iter: the iteration that it starts or resumes with.
    """
    writers = [
        CommonMetricPrinter(cfg.SOLVER.MAX_ITER, window_size=1),
        JSONWriter(str(Path(cfg.OUTPUT_DIR, "metrics.json"))),
        # An interrupted training may have written later iterations than it is resumed from.
        TensorboardXWriter(cfg.OUTPUT_DIR, purge_step=start_iter or None),
    ]
    if cfg.WANDB_PROJECT:
        settings = dict(flat_settings(cfg))
        writers.append(
            WandbWriter(cfg.WANDB_PROJECT, cfg.OUTPUT_DIR, settings, resumed=start_iter > 0)
        )
    return writers
