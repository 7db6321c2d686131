"""Metrics that are sums over images: they stream, and add up over processes."""

from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from detectron2.evaluation import DatasetEvaluator
from detectron2.utils import comm


class Meter(ABC):
    """A metric in two steps: what to count in an image, and what the total of the counts means."""

    @abstractmethod
    def count(self, prediction: np.ndarray, label: np.ndarray | int) -> np.ndarray:
        """Counts of one image, a float64 vector of the same length for every image."""

    @abstractmethod
    def metrics(self, total: np.ndarray) -> dict[str, float]:
        """The metrics by name, from the sum of the counts of all images."""


class MeterEvaluator(DatasetEvaluator):
    """Evaluates one auxiliary task at the labels' own resolution; keeps one vector, no map."""

    def __init__(self, task: Any, meter: Meter):
        """
        Args:
            task: an AuxTask: its name, and how a label is read.
            meter: what is counted.
        """
        self.task = task
        self.meter = meter
        self.reset()

    def reset(self) -> None:
        self._total = 0.0
        self._num_images = 0

    def process(
        self, inputs: Sequence[Mapping[str, Any]], outputs: Sequence[Mapping[str, Any]]
    ) -> None:
        for record, output in zip(inputs, outputs, strict=True):
            label = self.task.read(record)
            if label is None or self.task.name not in output:
                continue
            prediction = output[self.task.name].cpu().numpy()
            self._total = self._total + self.meter.count(prediction, label)
            self._num_images += 1

    def evaluate(self) -> dict[str, dict[str, float]] | None:
        parts = comm.gather((self._total, self._num_images))
        if not comm.is_main_process():
            return None
        if sum(count for _, count in parts) == 0:
            return {}
        return OrderedDict({self.task.name: self.meter.metrics(sum(total for total, _ in parts))})
