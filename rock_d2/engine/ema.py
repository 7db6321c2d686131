"""The exponential moving average of a model's weights."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.optim.swa_utils import get_ema_multi_avg_fn


class WeightAverage:
    """The average of a model's parameters and statistics over the training.

    Its decay starts lower, min(decay, (1 + t) / (10 + t)) after t updates, so that the initial
    weights are soon forgotten (TensorFlow's ``ExponentialMovingAverage``). A checkpoint that is
    written inside ``applied`` holds the average as the model and the weights that are learnt as
    this object's state; ``load_state_dict`` reads such a checkpoint.
    """

    def __init__(self, model: nn.Module, decay: float):
        if not 0 <= decay < 1:
            raise ValueError(f"MODEL_EMA.DECAY is {decay}; it must be in [0, 1)")
        self.model = model
        self.decay = decay
        self.reset()

    @torch.no_grad()
    def reset(self) -> None:
        """Let the average start from the model's present weights."""
        self.num_updates = 0
        self._other = {name: value.clone() for name, value in self.model.state_dict().items()}

    @torch.no_grad()
    def update(self) -> None:
        decay = min(self.decay, (1 + self.num_updates) / (10 + self.num_updates))
        self.num_updates += 1
        present = self.model.state_dict()
        learnt = [name for name, value in present.items() if value.is_floating_point()]
        # All at once: a ResNet-50 has hundreds.
        average_all = get_ema_multi_avg_fn(decay)
        average_all([self._other[n] for n in learnt], [present[n] for n in learnt], None)
        for name in present.keys() - learnt:
            self._other[name].copy_(present[name])

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Give the model the average, and afterwards its own weights back."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    @torch.no_grad()
    def _swap(self) -> None:
        for name, value in self.model.state_dict().items():
            held = value.clone()
            value.copy_(self._other[name])
            self._other[name] = held

    def state_dict(self) -> dict[str, Any]:
        return {"num_updates": self.num_updates, "weights": self._other}

    @torch.no_grad()
    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.num_updates = state["num_updates"]
        for name, value in state["weights"].items():
            self._other[name].copy_(value)
        self._swap()
