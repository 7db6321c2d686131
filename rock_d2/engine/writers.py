"""The writers of a training's values: Detectron2's, and Weights & Biases (the extra ``wandb``)."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any
from uuid import uuid4

from detectron2.config import CfgNode
from detectron2.utils.events import (
    CommonMetricPrinter,
    EventWriter,
    JSONWriter,
    TensorboardXWriter,
    get_event_storage,
)

from rock_d2.checkpoint.identity import flat_settings

# In the training's folder: the name of its run of Weights & Biases.
RUN_FILE = "wandb_run"


def build_writers(cfg: CfgNode, *, start_iter: int) -> Sequence[EventWriter]:
    """Return Detectron2's writers, and that of Weights & Biases if it is asked for.

    The values are means over SOLVER.LOG_PERIOD already, so that no writer smooths them.

    Args:
        cfg: of the training.
        start_iter: the iteration that it starts or resumes with.
    """
    folder = Path(cfg.OUTPUT_DIR)
    folder.mkdir(parents=True, exist_ok=True)
    writers = [
        CommonMetricPrinter(cfg.SOLVER.MAX_ITER, window_size=1),
        JSONWriter(str(folder / "metrics.json")),
        # An interrupted training may have written later iterations than it is resumed from.
        TensorboardXWriter(str(folder), purge_step=start_iter or None),
    ]
    if cfg.WANDB_PROJECT:
        settings = dict(flat_settings(cfg))
        writers.append(WandbWriter(cfg.WANDB_PROJECT, folder, settings, resumed=start_iter > 0))
    return writers


class WandbWriter(EventWriter):
    """Sends every value; a training that is resumed in its folder continues its run."""

    def __init__(self, project: str, folder: Path, settings: dict[str, Any], *, resumed: bool):
        try:
            import wandb
        except ImportError:
            raise ImportError(
                f"WANDB_PROJECT is {project!r}, but wandb is not installed: "
                "pip install 'rock_d2[wandb]', or set WANDB_PROJECT ''"
            ) from None
        file = folder / RUN_FILE
        if not (resumed and file.exists()):
            file.write_text(uuid4().hex)
        options = {"id": file.read_text(), "resume": "allow", "config": settings}
        self._run = wandb.init(project=project, dir=str(folder), **options)
        self._last = -1

    def write(self) -> None:
        storage = get_event_storage()
        latest = storage.latest().items()
        new = {name: value for name, (value, iteration) in latest if iteration > self._last}
        self._last = storage.iter
        self._run.log(new, step=storage.iter + 1, commit=True)

    def close(self) -> None:
        self._run.finish()
