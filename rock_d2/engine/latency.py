"""How long models take for an image, compared under the same conditions (table 4)."""

import time
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import nn

from rock_d2.engine.complexity import markdown


def measure_latency(
    models: Mapping[str, nn.Module], *, rounds: int, warm_up: int
) -> dict[str, np.ndarray]:
    """Milliseconds for one image, (rounds,) for each model.

    The models take turns, so that whatever else slows the machine down hits all of them alike.

    Args:
        models: SSDs by name, each on its device.
        rounds: how often each is measured.
        warm_up: rounds before that, which choose algorithms and fill caches.
    """
    was_training = {name: model.training for name, model in models.items()}
    inputs = {
        name: [{"image": torch.zeros(3, *model.eval().input_size, dtype=torch.uint8)}]
        for name, model in models.items()
    }
    times = np.empty((len(models), warm_up + rounds))
    with torch.inference_mode():
        for i in range(warm_up + rounds):
            for k, (name, model) in enumerate(models.items()):
                synchronise(model.device)
                start = time.perf_counter()
                model(inputs[name])
                synchronise(model.device)
                times[k, i] = 1000 * (time.perf_counter() - start)
    for name, model in models.items():
        model.train(was_training[name])
    return dict(zip(models, times[:, warm_up:], strict=True))


def synchronise(device: torch.device) -> None:
    """Waits for a GPU, which works on while Python goes ahead."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def latency_table(times: Mapping[str, Sequence[float]]) -> str:
    """A markdown table: median, quartiles, and the median ratio to the first model's time."""
    first = np.asarray(next(iter(times.values())))
    rows = [["model", "ms/image", "quartiles", "ratio"], ["---", "---:", "---:", "---:"]]
    for name, values in times.items():
        low, median, high = np.percentile(values, [25, 50, 75])
        ratio = np.median(np.asarray(values) / first)
        rows.append([name, f"{median:.1f}", f"{low:.1f} to {high:.1f}", f"{ratio:.2f}"])
    return markdown(rows)
