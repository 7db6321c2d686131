"""Metrics that are sums over images, so that they stream and add up over processes."""

from abc import ABC, abstractmethod

import numpy as np


class Meter(ABC):
    """A metric in two steps: counts of each image, and the metrics of the total of the counts.

    docs/METRICS.md has the conventions.

    Attributes:
        processes: that count images: 1 is the evaluation's own, 0 means one a core.
    """

    processes = 1

    @abstractmethod
    def count(self, prediction: np.ndarray, label: np.ndarray | int) -> np.ndarray:
        """Return the counts of one image, a float64 vector of equal length for every image.

        It is zero throughout if nothing of the label is known.
        """

    @abstractmethod
    def metrics(self, total: np.ndarray) -> dict[str, float]:
        """Return the metrics by name, from the sum of all images' counts, which is not zero."""
