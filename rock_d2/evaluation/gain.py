"""The gain over single-task networks, Δm (Maninis et al., CVPR 2019; MTI-Net, sec. 4.1)."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import NamedTuple

from rock_d2.evaluation.protocols import Protocol, find_protocol, one_protocol
from rock_d2.evaluation.results import Measured, read_results


class Gain(NamedTuple):
    """Over a baseline.

    Attributes:
        delta: Δm in percent, the mean of the parts; None where a metric is missing.
        parts: of each metric the gain in percent; a smaller error is a gain.
        missing: ``<metric> of the model`` or ``of the baseline``, and what else there is not.
    """

    delta: float | None
    parts: dict[str, float]
    missing: tuple[str, ...]


def gain(
    metrics: Mapping[str, float],
    baseline: Mapping[str, float],
    *,
    protocol: Protocol,
    tasks: Sequence[str] = (),
) -> Gain:
    """Return the gain of a model by the metric that the protocol compares each task by.

    Compared are its main tasks, ``tasks``, or by default all that it has been measured on.
    """
    tasks = tasks or tuple(dict.fromkeys(name.split("/")[0] for name in metrics))
    compared = {name.split("/")[0]: name for name in protocol.metrics}
    parts, missing = {}, [f"a metric for {task}" for task in tasks if task not in compared]
    for task in tasks:
        name = compared.get(task)
        if name is None:
            continue
        gaps = [
            f"{name} of the {whose}"
            for whose, found in (("model", metrics), ("baseline", baseline))
            # An error of 0 percent of the baseline's has no meaning.
            if name not in found or (found is baseline and not found[name])
        ]
        missing += gaps
        if not gaps:
            sign = 1 if protocol.metrics[name] == "max" else -1
            parts[name] = 100 * sign * (metrics[name] - baseline[name]) / baseline[name]
    delta = fmean(parts.values()) if parts and not missing else None
    return Gain(delta, parts, tuple(missing))


def read_means(files: Sequence[str | Path]) -> Measured:
    """Return the mean of each metric over results.json of several models, tasks or seeds.

    Only a file's main tasks count, if it names any.
    """
    if not files:
        raise ValueError("TEST.BASELINE is empty; name results.json of single-task networks")
    found = {file: read_results(file) for file in files}
    protocol = one_protocol([(x.protocol, x.tasks) for x in found.values()])
    if not protocol or not all(results.protocol for results in found.values()):
        named = (f"{file} by {x.protocol or 'no named protocol'}" for file, x in found.items())
        raise ValueError(f"measured {', '.join(named)}; evaluate all by one protocol")
    values = defaultdict(list)
    for results in found.values():
        for name, value in results.metrics.items():
            if not results.main or name.split("/")[0] in results.main:
                values[name].append(value)
    main = dict.fromkeys(task for results in found.values() for task in results.main)
    means = {name: fmean(of_metric) for name, of_metric in values.items()}
    return Measured(means, protocol, tuple(main))


def gain_over(measured: Measured, baseline: Measured) -> Gain:
    """Return the gain of means over others; raise ValueError if the protocol is another."""
    protocol = one_protocol([(x.protocol, x.tasks) for x in (measured, baseline)])
    if protocol is None:
        raise ValueError(
            f"the model was measured by {measured.protocol}, the baseline by {baseline.protocol}; "
            "evaluate them by one protocol"
        )
    compared = find_protocol(protocol)
    return gain(measured.metrics, baseline.metrics, protocol=compared, tasks=measured.main)
