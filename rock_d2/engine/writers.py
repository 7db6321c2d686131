"""The writers of a training's values: Detectron2's, and Weights & Biases (the extra ``wandb``)."""

from collections.abc import Sequence
from pathlib import Path
from uuid import uuid4

from detectron2.config import CfgNode
from detectron2.utils.events import (
    CommonMetricPrinter,
    EventWriter,
    JSONWriter,
    TensorboardXWriter,
)

from rock_d2.checkpoint.identity import flat_settings

# In the training's folder: the name of its run of Weights & Biases.
RUN_FILE = "wandb_run"


def build_writers(cfg: CfgNode, *, start_iter: int) -> Sequence[EventWriter]:
    """Return Detectron2's writers, and start Weights & Biases if it is asked for.

    The values are means over SOLVER.LOG_PERIOD already, so that no writer smooths them.

    Args:
        cfg: of the training.
        start_iter: the iteration that it starts or resumes with.
    """
    folder = Path(cfg.OUTPUT_DIR)
    folder.mkdir(parents=True, exist_ok=True)
    if cfg.WANDB_PROJECT:
        start_wandb(cfg, resumed=start_iter > 0)
    return [
        CommonMetricPrinter(cfg.SOLVER.MAX_ITER, window_size=1),
        JSONWriter(str(folder / "metrics.json")),
        # An interrupted training may have written later iterations than it is resumed from.
        TensorboardXWriter(str(folder), purge_step=start_iter or None),
    ]


def start_wandb(cfg: CfgNode, *, resumed: bool) -> None:
    """Start a run of Weights & Biases, which takes what TensorBoard gets from now on.

    A training that is resumed in its folder continues its run.
    """
    try:
        import wandb
    except ImportError:
        raise ImportError(
            f"WANDB_PROJECT is {cfg.WANDB_PROJECT!r}, but wandb is not installed: "
            "pip install 'rock_d2[wandb]', or set WANDB_PROJECT ''"
        ) from None
    file = Path(cfg.OUTPUT_DIR, RUN_FILE)
    if not (resumed and file.exists()):
        file.write_text(uuid4().hex)
    wandb.init(
        project=cfg.WANDB_PROJECT,
        dir=cfg.OUTPUT_DIR,
        id=file.read_text(),
        resume="allow",
        config=dict(flat_settings(cfg)),
        sync_tensorboard=True,
    )
