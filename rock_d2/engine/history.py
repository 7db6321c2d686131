"""What a training records about itself, continued after an interruption without gap or repeat."""

import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from detectron2.engine import HookBase
from detectron2.utils.events import EventStorage, EventWriter

from rock_d2.engine.ending import NotSaved
from rock_d2.engine.results import Measured

logger = logging.getLogger(__name__)


class History(HookBase):
    """Lets writers write now and then, and takes back what was written after a checkpoint.

    It comes before the hook that saves, so that a checkpoint's iteration is recorded, too. Values
    are written after each evaluation as well: then nothing waits to be written that a checkpoint
    would have to hold.
    """

    def __init__(
        self,
        file: Path,
        build_writers: Callable[[], Sequence[EventWriter]],
        *,
        periods: Sequence[int],
        must_write: bool = True,
    ):
        """
        Args:
            file: metrics.json, to which one of the writers appends.
            build_writers: called once the training begins.
            periods: of writing, in iterations; 0 counts for nothing.
            must_write: whether a disk that is full ends the training.
        """
        self._file = file
        self._build_writers = build_writers
        self._periods = [period for period in periods if period]
        self._must_write = must_write
        self._writers: Sequence[EventWriter] = ()
        self._size: int | None = None

    def restart(self) -> None:
        """Takes back everything: the training starts again from its beginning."""
        self._size = 0

    def before_train(self) -> None:
        if self._size is not None and self._file.exists():
            if self._file.stat().st_size < self._size:
                logger.warning(f"{self._file} has lost lines since the checkpoint was written")
            else:
                with open(self._file, "r+b") as file:
                    file.truncate(self._size)
        self._writers = self._build_writers()

    def after_step(self) -> None:
        done = self.trainer.iter + 1
        if done == self.trainer.max_iter or any(done % period == 0 for period in self._periods):
            self._let_writers("write")

    def after_train(self) -> None:
        self._let_writers("write")
        self._let_writers("close")

    def write_at(self, iteration: int, measured: Measured) -> None:
        """Writes what was found about an iteration that the writers have left behind."""
        with EventStorage(iteration) as storage:
            storage.put_scalars(**measured.metrics(), smoothing_hint=False)
            measured.show_pictures(storage)
            # Detectron2's writers pass over what is older than what they wrote last.
            last = {w: w._last_write for w in self._writers if hasattr(w, "_last_write")}
            for writer in last:
                writer._last_write = iteration - 1
            self._let_writers("write")
            for writer, position in last.items():
                writer._last_write = position

    def _let_writers(self, act: str) -> None:
        try:
            for writer in self._writers:
                getattr(writer, act)()
        except OSError as problem:
            message = f"{self._file} or TensorBoard's events cannot be written: {problem}"
            if self._must_write:
                raise NotSaved(message) from problem
            logger.error(message)

    def state_dict(self) -> dict[str, Any]:
        return {"size": self._file.stat().st_size if self._file.exists() else 0}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._size = state["size"]
