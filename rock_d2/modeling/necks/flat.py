"""Flat multi-task learning, the paper's second baseline (ROCK, sec. 4.1)."""

from collections.abc import Mapping, Sequence
from typing import Any

from detectron2.config import CfgNode, configurable
from detectron2.layers import ShapeSpec
from torch import nn

from rock_d2.modeling.necks.blocks import coarse_to_fine, predictors
from rock_d2.modeling.necks.neck import NECK_REGISTRY, Extents, Features, Labels, Neck, Predictions


@NECK_REGISTRY.register()
class FlatMTL(Neck):
    """Predicts each task by one 1 x 1 convolution on the features, which stay as they are.

    It predicts from the maps that ROCK would refine, so that both differ in one word of a yaml.
    """

    @configurable
    def __init__(
        self, *, input_shape: Mapping[str, ShapeSpec], in_features: Sequence[str], **settings: Any
    ):
        """Predict the tasks from each of ``in_features``; ``settings`` are those of ``Neck``."""
        super().__init__(**settings)
        shapes = coarse_to_fine(input_shape, in_features, setting="MODEL.ROCK.IN_FEATURES")
        self.predictors = nn.ModuleDict(
            {name: predictors(name, self.tasks, x.channels) for name, x in shapes.items()}
        )

    @classmethod
    def from_config(cls, cfg: CfgNode, input_shape: Mapping[str, ShapeSpec]) -> dict[str, Any]:
        own = {"input_shape": input_shape, "in_features": cfg.MODEL.ROCK.IN_FEATURES}
        return super().from_config(cfg, input_shape) | own

    def forward(
        self, features: Features, extents: Extents | None = None, labels: Labels | None = None
    ) -> tuple[Features, Predictions]:
        predictions: Predictions = {task.name: [] for task in self.tasks}
        for name, layers in self.predictors.items():
            maps = {task.name: layers[task.name](features[name]) for task in self.predicted}
            for task, prediction in self.activate(maps, extents).items():
                predictions[task].append(prediction)
        return features, predictions
