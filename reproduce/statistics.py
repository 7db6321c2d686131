"""Figures over seeds, and differences between models that were trained with the same seeds."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from scipy.stats import ttest_rel

RESAMPLES = 10_000


class Spread(NamedTuple):
    """Of a model over its seeds; ``std`` is that of a sample, NaN for a single seed."""

    mean: float
    std: float
    count: int


class Difference(NamedTuple):
    """Between two models over their common seeds.

    Attributes:
        mean: of the differences.
        low, high: the 95 % bootstrap interval of this mean; NaN for a single pair.
        p_value: of the paired t-test, two-sided; NaN for a single pair.
        count: pairs.
    """

    mean: float
    low: float
    high: float
    p_value: float
    count: int


def spread(values: Sequence[float]) -> Spread:
    values = np.asarray(values, dtype=float)
    std = values.std(ddof=1) if len(values) > 1 else np.nan
    return Spread(float(values.mean()), float(std), len(values))


def paired_difference(
    values: Mapping[int, float], others: Mapping[int, float]
) -> Difference | None:
    """``values`` minus ``others``, each by seed; None if they have no seed in common."""
    seeds = sorted(values.keys() & others.keys())
    if not seeds:
        return None
    first = np.array([values[seed] for seed in seeds])
    second = np.array([others[seed] for seed in seeds])
    low, high = bootstrap_interval(first - second)
    # Equal differences have no spread to test against.
    spread_out = len(seeds) > 1 and np.ptp(first - second) > 0
    p_value = float(ttest_rel(first, second).pvalue) if spread_out else np.nan
    return Difference(float((first - second).mean()), low, high, p_value, len(seeds))


def bootstrap_interval(values: np.ndarray, level: float = 0.95) -> tuple[float, float]:
    """Of the mean, by percentiles; always the same for the same values."""
    if len(values) < 2:
        return np.nan, np.nan
    chosen = np.random.default_rng(0).integers(len(values), size=(RESAMPLES, len(values)))
    tail = 100 * (1 - level) / 2
    low, high = np.percentile(values[chosen].mean(axis=1), [tail, 100 - tail])
    return float(low), float(high)
