"""The maps before the pooling: the evidence for a class, by place (ROCK, figure 3 d)."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import cv2
import numpy as np
import torch
from torch import nn

from rock_d2.tasks.base import ColourScale, Drawing, rgb_colours

# Parts of a neck that hold, by map and task, the layers whose outputs are pooled to predictions.
LAYERS = ("encoders", "predictors", "heads")


@contextmanager
def recorded_encodings(model: nn.Module) -> Iterator[dict[str, torch.Tensor]]:
    """Within it, record each task's encoding (N, K, h, w) of the last forward pass, by name.

    Of several encodings of a task the last one stays, on the finest map.
    """
    encodings: dict[str, torch.Tensor] = {}
    names = {task.name for task in model.neck.tasks}

    def keep(name: str) -> Any:
        return lambda module, inputs, output: encodings.update({name: output.detach()})

    hooks = []
    for path, module in model.neck.named_modules():
        parts = path.split(".")
        if parts[0] in LAYERS and parts[-1] in names:
            hooks.append(module.register_forward_hook(keep(parts[-1])))
    try:
        yield encodings
    finally:
        for hook in hooks:
            hook.remove()


def heat_map(drawing: Drawing, evidence: np.ndarray) -> Drawing:
    """Add a smooth picture of a coarse map (h, w), from black, its least, to bright, its largest.

    The map's mean over the image is the score of its class.
    """
    low, high = float(evidence.min()), float(evidence.max())
    share = (evidence.astype(np.float32) - low) / max(high - low, 1e-6)
    # Cells are made smooth before they get colours: colours in between would mean nothing.
    share = cv2.resize(share, None, fx=16, fy=16, interpolation=cv2.INTER_LINEAR)
    colours = rgb_colours(cv2.COLORMAP_INFERNO)
    scale = ColourScale(f"{low:.1f}", f"{high:.1f}", colours)
    return drawing._replace(image=colours[np.uint8(255 * share)], scale=scale)
