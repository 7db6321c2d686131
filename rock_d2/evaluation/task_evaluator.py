"""Metrics that are sums over images: they stream, and add up over processes.

docs/METRICS.md has the conventions.
"""

import logging
import os
from collections import deque
from collections.abc import Container, Mapping, Sequence
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from detectron2.data import DatasetCatalog
from detectron2.evaluation import DatasetEvaluator
from detectron2.utils import comm

from rock_d2.evaluation.protocols import PLAIN, Protocol
from rock_d2.tasks import Task

logger = logging.getLogger(__name__)


class TaskEvaluator(DatasetEvaluator):
    """Evaluate one task by its meter at the labels' own resolution; keep one vector, no map."""

    def __init__(
        self,
        task: Task,
        *,
        protocol: Protocol = PLAIN,
        image_ids: Container[Any] | None = None,
        save_dir: Path | None = None,
    ):
        """Measure the images of ``image_ids``, or all (None).

        Each prediction is kept in ``save_dir`` as <image_id>.npz; None keeps none.
        """
        self.task = task
        self.meter = task.meter()
        self.protocol = protocol
        self.image_ids = image_ids
        self.save_dir = save_dir
        self.reset()

    def reset(self) -> None:
        # Neutral in sums, and the contribution of a process without any label.
        self._total = 0.0
        self._pool: Executor | None = None
        self._waiting: deque[Future[np.ndarray]] = deque()

    def process(
        self, inputs: Sequence[Mapping[str, Any]], outputs: Sequence[Mapping[str, Any]]
    ) -> None:
        for record, output in zip(inputs, outputs, strict=True):
            if self.task.name not in output:
                continue
            prediction = output[self.task.name].cpu().numpy()
            if self.save_dir is not None:
                save_prediction(self.save_dir, record, prediction)
            if self.image_ids is not None and record["image_id"] not in self.image_ids:
                continue
            label = self.task.read(record)
            if label is not None:
                self._count(*self._checked(record, prediction, label))

    def _checked(
        self, record: Mapping[str, Any], prediction: np.ndarray, label: np.ndarray | int
    ) -> tuple[np.ndarray, np.ndarray | int]:
        where = f"image {record.get('image_id')}, {self.task.name}"
        if not np.isfinite(prediction).all():
            raise ValueError(f"{where}: the prediction is not finite; has training diverged?")
        if isinstance(label, np.ndarray):
            size = label.shape[:2]
            if prediction.shape[-2:] != size:
                raise ValueError(
                    f"{where}: the label is {size}, the prediction {prediction.shape[-2:]}; "
                    "tools/check_dataset.py finds labels that have not their image's size"
                )
            if self.protocol.quantise:
                prediction = self.task.quantised(prediction)
            prediction, label = self.protocol.applied(self.task.name, prediction, label)
        return prediction, label

    def _count(self, prediction: np.ndarray, label: np.ndarray | int) -> None:
        if self.meter.processes == 1:
            self._total = self._total + self.meter.count(prediction, label)
            return
        processes = self.meter.processes or len(os.sched_getaffinity(0)) // comm.get_local_size()
        if self._pool is None:
            # A forked process could hang in a lock of a library's thread.
            context = get_context("spawn")
            self._pool = ProcessPoolExecutor(max(processes, 1), mp_context=context)
        self._waiting.append(self._pool.submit(self.meter.count, prediction, label))
        # More would fill the memory.
        self._collect(left=4 * processes)

    def _collect(self, *, left: int) -> None:
        while len(self._waiting) > left:
            self._total = self._total + self._waiting.popleft().result()

    def evaluate(self) -> dict[str, dict[str, float]] | None:
        self._collect(left=0)
        if self._pool is not None:
            self._pool.shutdown()
        parts = comm.gather(self._total)
        if not comm.is_main_process():
            return None
        total = sum(parts)
        if not np.any(total):
            logger.info(f"{self.task.name}: nothing to measure, no image has prediction and label")
            return {}
        metrics = self.meter.metrics(total)
        return {self.task.name: {name: float(value) for name, value in metrics.items()}}


def measured_ids(task: Task, dataset_name: str) -> set[Any] | None:
    """Return the ids of the images that a task's ``eval_images`` stands for; None for all."""
    if not task.eval_images:
        return None
    records = DatasetCatalog.get(dataset_name)
    number = min(task.eval_images, len(records))
    return {records[i * len(records) // number]["image_id"] for i in range(number)}


def save_prediction(folder: Path, record: Mapping[str, Any], prediction: np.ndarray) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(folder / f"{record['image_id']}.npz", prediction=prediction)
