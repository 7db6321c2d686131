"""Statistics over seeds, and of differences between models with the same seeds."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from scipy.stats import bootstrap, ttest_rel


class Spread(NamedTuple):
    """Of a model over its seeds; ``std`` is that of a sample, NaN for a single seed."""

    mean: float
    std: float
    count: int


class Difference(NamedTuple):
    """Between two models over the seeds that both have.

    Attributes:
        mean: of the differences.
        low, high: the 95 % bootstrap interval of this mean; NaN for a single pair.
        p_value: of the paired t-test, two-sided; NaN for a single pair or equal differences.
        count: pairs.
    """

    mean: float
    low: float
    high: float
    p_value: float
    count: int


def spread(values: Sequence[float]) -> Spread:
    std = np.std(values, ddof=1) if len(values) > 1 else np.nan
    return Spread(float(np.mean(values)), float(std), len(values))


def paired_difference(
    values: Mapping[int, float], others: Mapping[int, float]
) -> Difference | None:
    """Return ``values`` minus ``others``, each by seed; None if they have no seed in common."""
    seeds = sorted(values.keys() & others.keys())
    if not seeds:
        return None
    found = np.array([values[seed] - others[seed] for seed in seeds])
    low = high = p_value = np.nan
    if len(found) > 1:
        generator = np.random.default_rng(0)
        settings = {"method": "percentile", "n_resamples": 10_000, "random_state": generator}
        low, high = bootstrap((found,), np.mean, **settings).confidence_interval
    if np.ptp(found) > 0:
        p_value = ttest_rel(found, np.zeros(len(found))).pvalue
    return Difference(*map(float, (found.mean(), low, high, p_value)), len(found))
