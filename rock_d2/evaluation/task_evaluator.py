"""Metrics that are sums over images: they stream, and add up over processes.

docs/METRICS.md has the conventions.
"""

import logging
import zlib
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from detectron2.evaluation import DatasetEvaluator
from detectron2.utils import comm

logger = logging.getLogger(__name__)

# Rows and columns of NYUv2's 480 x 640 frames: the crop of Eigen et al. (NIPS 2014), and where the
# toolbox of Silberman et al. has the Kinect see anything (get_projection_mask.m, where MATLAB
# counts rows 45 to 471 and columns 41 to 601).
CROP_SIZE = (480, 640)
CROPS = {
    "eigen": (slice(20, 460), slice(24, 616)),
    "toolbox": (slice(44, 471), slice(40, 601)),
}


class Meter(ABC):
    """A metric in two steps: what to count in an image, and what the total of the counts means."""

    @abstractmethod
    def count(self, prediction: np.ndarray, label: np.ndarray | int) -> np.ndarray:
        """Counts of one image, a float64 vector of the same length for every image.

        It is zero throughout if nothing of the label is known.
        """

    @abstractmethod
    def metrics(self, total: np.ndarray) -> dict[str, float]:
        """The metrics by name, from the sum of the counts of all images, which is not zero."""


class MeterEvaluator(DatasetEvaluator):
    """Evaluates one auxiliary task at the labels' own resolution; keeps one vector, no map."""

    def __init__(
        self, task: Any, meter: Meter, *, crop: str = "none", save_dir: Path | None = None
    ):
        """
        Args:
            task: an Task: its name, and how a label is read.
            meter: what is counted.
            crop: the part of maps that counts: "none" (all of it) or a name in CROPS.
            save_dir: where to keep each prediction as <image_id>.npz; None keeps none.
        """
        if crop != "none" and crop not in CROPS:
            raise ValueError(f"TEST.EVAL_CROP is {crop!r}; it must be none, {' or '.join(CROPS)}")
        self.task = task
        self.meter = meter
        self.crop = crop
        self.save_dir = save_dir
        self.reset()

    def reset(self) -> None:
        # Neutral in sums, and what a process without any label contributes.
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
            if self.crop != "none":
                window = crop_window(self.crop, size)
                prediction, label = prediction[(..., *window)], label[window]
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


def crop_window(crop: str, size: tuple[int, int]) -> tuple[slice, slice]:
    """Rows and columns of a crop of NYUv2's frames."""
    if tuple(size) != CROP_SIZE:
        raise ValueError(
            f"TEST.EVAL_CROP: {crop} is made for labels of {CROP_SIZE}, not {tuple(size)}; "
            "other data sets want none"
        )
    return CROPS[crop]


def save_prediction(folder: Path, record: Mapping[str, Any], prediction: np.ndarray) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(folder / f"{record['image_id']}.npz", prediction=prediction)


def load_prediction(folder: Path, record: Mapping[str, Any]) -> np.ndarray:
    """What ``save_prediction`` has kept of an image."""
    path = folder / f"{record['image_id']}.npz"
    if not path.is_file():
        raise FileNotFoundError(
            f"{path}: no prediction of {record['file_name']}; TEST.SAVE_AUXILIARY True keeps all"
        )
    try:
        with np.load(path, allow_pickle=False) as file:
            prediction = file["prediction"]
    except (
        *(OSError, RuntimeError, ValueError, EOFError, KeyError),
        *(BadZipFile, zlib.error),
    ) as problem:
        # NumPy has no error of its own for what is cut short or damaged.
        raise ValueError(
            f"{path}: damaged, or no prediction ({problem}); evaluate the model anew"
        ) from None
    if prediction.dtype.kind != "f":
        raise ValueError(f"{path}: holds {prediction.dtype}, no prediction; evaluate anew")
    return prediction
