"""Metrics that are sums over images: they stream, and add up over processes.

docs/METRICS.md has the conventions.
"""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from detectron2.evaluation import DatasetEvaluator
from detectron2.utils import comm

from rock_d2.evaluation.protocols import PLAIN, Protocol
from rock_d2.tasks import Task

logger = logging.getLogger(__name__)


class TaskEvaluator(DatasetEvaluator):
    """Evaluate one task by its meter at the labels' own resolution; keep one vector, no map."""

    def __init__(self, task: Task, *, protocol: Protocol = PLAIN, save_dir: Path | None = None):
        """
        Args:
            task: reads the labels, and has the meter.
            protocol: which images, pixels and classes count.
            save_dir: where to keep each prediction as <image_id>.npz; None keeps none.
        """
        self.task = task
        self.meter = task.meter()
        self.protocol = protocol
        self.save_dir = save_dir
        self.reset()

    def reset(self) -> None:
        # Neutral in sums, and the contribution of a process without any label.
        self._total = 0.0

    def process(
        self, inputs: Sequence[Mapping[str, Any]], outputs: Sequence[Mapping[str, Any]]
    ) -> None:
        for record, output in zip(inputs, outputs, strict=True):
            if self.task.name not in output:
                continue
            prediction = output[self.task.name].cpu().numpy()
            if self.save_dir is not None:
                save_prediction(self.save_dir, record, prediction)
            label = self.task.read(record)
            if label is not None:
                self._total = self._total + self._count(record, prediction, label)

    def _count(
        self, record: Mapping[str, Any], prediction: np.ndarray, label: np.ndarray | int
    ) -> np.ndarray:
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
            prediction, label = self.protocol.applied(self.task.name, prediction, label)
        return self.meter.count(prediction, label)

    def evaluate(self) -> dict[str, dict[str, float]] | None:
        parts = comm.gather(self._total)
        if not comm.is_main_process():
            return None
        total = sum(parts)
        if not np.any(total):
            logger.info(f"{self.task.name}: nothing to measure, no image has prediction and label")
            return {}
        metrics = self.meter.metrics(total)
        return {self.task.name: {name: float(value) for name, value in metrics.items()}}


def save_prediction(folder: Path, record: Mapping[str, Any], prediction: np.ndarray) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(folder / f"{record['image_id']}.npz", prediction=prediction)


def load_prediction(folder: Path, record: Mapping[str, Any]) -> np.ndarray:
    """Return an image's prediction as ``save_prediction`` has stored it."""
    path = folder / f"{record['image_id']}.npz"
    if not path.is_file():
        raise FileNotFoundError(
            f"{path}: no prediction of {record['file_name']}; TEST.SAVE_AUXILIARY True keeps all"
        )
    try:
        with np.load(path, allow_pickle=False) as file:
            return file["prediction"].astype(np.float32, casting="same_kind")
    # NumPy has no error of its own for a damaged file: it raises those of zipfile, zlib and others.
    except Exception as problem:
        raise ValueError(
            f"{path}: damaged, or no prediction ({problem}); evaluate the model again"
        ) from None
