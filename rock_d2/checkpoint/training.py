"""Checkpoints of a training, from which it resumes as if it had not been interrupted."""

from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from detectron2.config import CfgNode
from detectron2.utils import comm
from torch import nn

from rock_d2.checkpoint.checkpointer import RockCheckpointer
from rock_d2.checkpoint.classes import adapt_predictors
from rock_d2.checkpoint.downloads import local_file
from rock_d2.checkpoint.identity import check_identity
from rock_d2.files import remove_unfinished


class TrainingCheckpointer(RockCheckpointer):
    """Saves a training of all processes; the main one writes.

    Where there are averaged weights, these are stored as the model, since they were evaluated.
    """

    def __init__(
        self,
        cfg: CfgNode,
        model: nn.Module,
        *,
        identity: dict[str, str],
        average: Any,
        trainer: Any,
    ):
        """Take the bare model, its ``WeightAverage`` or None, and the trainer.

        The trainer's ``process_state()`` is what each process has for itself.
        """
        super().__init__(
            cfg,
            model=model,
            save_dir=cfg.OUTPUT_DIR,
            num_kept=cfg.SOLVER.CHECKPOINTS_KEPT,
            trainer=trainer,
        )
        self._identity = identity
        self._average = average
        self._by_class_name = cfg.MODEL.WEIGHTS_BY_CLASS_NAME

    def save(self, name: str, **kwargs: Any) -> None:
        """Save from all processes; all of them raise OSError if the main one cannot write."""
        states = comm.all_gather(self.checkpointables["trainer"].process_state())
        problem = ""
        if self.save_to_disk:
            extras = {"processes": states, "identity": self._identity, **kwargs}
            try:
                with self._average.applied() if self._average is not None else nullcontext():
                    super().save(name, **extras)
            except OSError as error:
                reason = error.strerror or error
                problem = f"{self.save_dir}/{name}.pth cannot be written: {reason}"
        problem = comm.all_gather(problem)[0]
        if problem:
            raise OSError(f"{problem}; earlier checkpoints are as they were")

    def find_last(self) -> Path | None:
        """Return the checkpoint to resume from, the same for all processes, if there is one."""
        path = None
        if comm.is_main_process():
            remove_unfinished(self.files.folder)
            path = self.files.newest()
        return comm.all_gather(path)[0]

    def start_from(self, weights: str) -> None:
        if weights:
            file = local_file(weights)
            checkpoint = self.read(file)
            adapt_predictors(
                file,
                checkpoint["model"],
                self.model.state_dict(),
                there=checkpoint.get("classes", {}).get("thing_classes", []),
                here=self.classes.get("thing_classes", []),
                by_name=self._by_class_name,
            )
            self.restore(file, checkpoint, checkpointables=[])
        if comm.is_main_process():
            remove_unfinished(self.files.folder)

    def resume_from(self, path: Path) -> dict[str, Any] | None:
        """Load everything and return this process's own state, if it has one."""
        file, rank = str(path), comm.get_rank()
        checkpoint = self.read(file)
        if not isinstance(checkpoint.get("trainer"), dict) or "identity" not in checkpoint:
            raise ValueError(f"{file}: holds weights, but no training of rock_d2 to resume")
        check_identity(file, stored=checkpoint["identity"], now=self._identity)
        states = self.restore(file, checkpoint)["processes"]
        return states[rank] if rank < len(states) else None


def load_optimizer(optimizer: torch.optim.Optimizer, stored: dict[str, Any]) -> None:
    """Load the state of an optimizer whose values are like its parameters, and single numbers.

    Fused optimizers pair numbers by their place in memory: they would write beyond smaller values.
    """
    optimizer.load_state_dict(stored)
    for parameter, values in optimizer.state.items():
        for name, value in values.items():
            if isinstance(value, torch.Tensor) and value.shape == parameter.shape:
                values[name] = torch.empty_like(parameter, dtype=value.dtype).copy_(value)
            elif getattr(value, "shape", ()) or not isinstance(value, torch.Tensor | float | int):
                found = list(getattr(value, "shape", [type(value).__name__]))
                raise ValueError(f"an {name} is {found}, its parameter {list(parameter.shape)}")
