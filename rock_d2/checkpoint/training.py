"""Checkpoints of a training: all that is needed to go on as if nothing had happened."""

import logging
from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from detectron2.config import CfgNode
from detectron2.utils import comm
from torch import nn

from rock_d2.checkpoint.checkpointer import RockCheckpointer
from rock_d2.engine.ema import WeightAverage
from rock_d2.engine.ending import NotSaved
from rock_d2.checkpoint.identity import SHAPES, Identity, check_identity

logger = logging.getLogger(__name__)


class TrainingCheckpointer(RockCheckpointer):
    """Saves from all processes together; the first one writes.

    Where there are averaged weights, these are stored as the model: they were evaluated.
    """

    def __init__(
        self,
        cfg: CfgNode,
        model: nn.Module,
        *,
        identity: Identity,
        average: WeightAverage | None,
        trainer: Any,
    ):
        """
        Args:
            cfg: of the training.
            model: of the training, not wrapped.
            identity: which training this is.
            average: of the model's weights, if one is kept.
            trainer: whose state is stored and loaded.
        """
        super().__init__(cfg, model=model, save_dir=cfg.OUTPUT_DIR, trainer=trainer)
        self.store.num_kept = cfg.SOLVER.CHECKPOINTS_KEPT
        self._must_save = cfg.SOLVER.STOP_IF_NOT_SAVED
        self._identity = identity
        self._average = average
        # Whether another training's checkpoint will do; None while none is gone on from.
        self._anyway: bool | None = None

    def save(self, name: str, **kwargs: Any) -> None:
        """Raises NotSaved in every process if the first one cannot write."""
        trainer = self.checkpointables["trainer"]
        # A step that went wrong must not be stored.
        trainer.settle()
        states = comm.all_gather(trainer.process_state())
        problem = None
        if self.save_to_disk:
            extras = {"processes": states, "identity": self._identity, **kwargs}
            try:
                with self._average.applied() if self._average is not None else nullcontext():
                    super().save(name, **extras)
            except OSError as error:
                problem = self._not_written(name, error)
        self._answer(comm.all_gather(problem)[0])

    def save_weights(
        self, name: str, weights: Mapping[str, torch.Tensor], *, iteration: int
    ) -> None:
        """Saves weights that the model had after ``iteration`` iterations, and no training.

        Only trainings of one process have such weights.
        """
        content = {"model": weights, "style": self.style.settings(), "iteration": iteration}
        logger.info(f"Saving the weights of iteration {iteration} to {self.save_dir}/{name}.pth")
        try:
            self.store.write(name, content)
        except OSError as error:
            self._answer(self._not_written(name, error))

    def _not_written(self, name: str, error: OSError) -> str:
        return f"{self.save_dir}/{name}.pth cannot be written: {error.strerror or error}"

    def _answer(self, problem: str | None) -> None:
        if problem and self._must_save:
            raise NotSaved(f"{problem}; {self.last_good()}")
        if problem and self.save_to_disk:
            logger.error(f"{problem}; the training goes on without it (SOLVER.STOP_IF_NOT_SAVED)")

    def last_good(self) -> str:
        """Where a training that ends now can go on from, in words."""
        tag = self.store.tag()
        found = f"the last good checkpoint is {self.store.folder / tag}" if tag else ""
        return found or "there is no checkpoint yet"

    def find_last(self) -> Path | None:
        """The checkpoint to go on from, the same for all processes, if there is any."""
        path = problem = None
        if comm.is_main_process():
            try:
                self.store.clean()
                path = self.store.find_last()
            except (OSError, ValueError) as error:
                problem = str(error)
        path, problem = comm.all_gather((path, problem))[0]
        if problem:
            raise ValueError(problem)
        return path

    def start_anew(self, weights: str) -> None:
        """Starts with these weights, or from scratch without any."""
        self.load(weights, checkpointables=[])
        if comm.is_main_process():
            self.store.clean()
            self.store.start_anew()

    def go_on_from(self, path: Path, *, anyway: bool) -> dict[str, Any] | None:
        """Loads everything and returns this process's own state, if it has one.

        Raises ValueError if it is another training's, unless ``anyway`` it may be.
        """
        self._anyway = anyway
        states, rank = self.load(str(path)).get("processes", []), comm.get_rank()
        if comm.is_main_process():
            self.store.go_on_from(path)
        return states[rank] if rank < len(states) else None

    def _load_file(self, filename: str) -> dict[str, Any]:
        checkpoint = super()._load_file(filename)
        if self._anyway is None:
            return checkpoint
        stored, now = checkpoint.get("identity"), self._identity
        check_identity(filename, stored=stored, now=now, anyway=self._anyway)
        if stored is not None and stored["decisive"][SHAPES] != now["decisive"][SHAPES]:
            # Moments and averages belong to weights of other shapes, sums to other losses.
            for state in ("step", "average"):
                checkpoint["trainer"].pop(state, None)
            checkpoint["trainer"].get("hooks", {}).pop("OverlappedEvaluations", None)
            checkpoint.pop("processes", None)
        return checkpoint
