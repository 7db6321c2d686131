"""How long models take for an image, compared under the same conditions (table 4)."""

from collections.abc import Mapping
from functools import partial

import numpy as np
import torch
from torch import nn

from rock_d2.benchmarks.timing import ratio, spread, take_turns
from rock_d2.engine.complexity import markdown


def measure_latency(
    models: Mapping[str, nn.Module], *, rounds: int, warm_up: int
) -> dict[str, np.ndarray]:
    """Milliseconds for one image, (rounds,) for each model, the models in turns.

    Args:
        models: SSDs by name, all on one device.
        rounds: how often each is measured.
        warm_up: rounds before that, which choose algorithms and fill caches.
    """
    was_training = {name: model.training for name, model in models.items()}
    candidates = {
        name: partial(model, [{"image": torch.zeros(3, *model.input_size, dtype=torch.uint8)}])
        for name, model in models.items()
    }
    for model in models.values():
        model.eval()
    device = next(iter(models.values())).device
    with torch.inference_mode():
        times = take_turns(candidates, rounds=rounds, warm_up=warm_up, device=device)
    for name, model in models.items():
        model.train(was_training[name])
    return {name: 1000 * seconds for name, seconds in times.items()}


def latency_table(times: Mapping[str, np.ndarray]) -> str:
    """A markdown table: median, quartiles, and the median ratio to the first model's time."""
    first = next(iter(times))
    rows = [["model", "ms/image", "quartiles", "ratio"], ["---", "---:", "---:", "---:"]]
    for name, milliseconds in times.items():
        median, low, high = spread(milliseconds)
        ratio_to_first = ratio(times, name, first).median
        rows.append([name, f"{median:.1f}", f"{low:.1f} to {high:.1f}", f"{ratio_to_first:.2f}"])
    return markdown(rows)
