"""The baselines of MTI-Net's paper: one task alone, or several side by side."""

from collections.abc import Mapping, Sequence
from typing import Any

from detectron2.config import CfgNode, configurable
from detectron2.layers import ShapeSpec

from rock_d2.modeling.necks.blocks import coarse_to_fine
from rock_d2.modeling.necks.heads import Head, build_heads, head_of
from rock_d2.modeling.necks.neck import NECK_REGISTRY, Extents, Features, Labels, Neck, Predictions


@NECK_REGISTRY.register()
class HeadsNeck(Neck):
    """Predicts each task by a head of its own on the features, which stay as they are.

    It takes the maps and the head of MTINet, so that both differ in one word of a yaml.
    """

    @configurable
    def __init__(
        self,
        *,
        input_shape: Mapping[str, ShapeSpec],
        in_features: Sequence[str],
        head: Head,
        **settings: Any,
    ):
        """Predict from all ``in_features`` together; ``settings`` are those of ``Neck``."""
        super().__init__(**settings)
        shapes = coarse_to_fine(input_shape, in_features, setting="MODEL.MTI.IN_FEATURES")
        self.heads = build_heads(head, shapes, self.tasks)

    @classmethod
    def from_config(cls, cfg: CfgNode, input_shape: Mapping[str, ShapeSpec]) -> dict[str, Any]:
        own = {"input_shape": input_shape, "in_features": cfg.MODEL.MTI.IN_FEATURES}
        return super().from_config(cfg, input_shape) | own | {"head": head_of(cfg)}

    def forward(
        self, features: Features, extents: Extents | None = None, labels: Labels | None = None
    ) -> tuple[Features, Predictions]:
        maps = {task.name: self.heads[task.name](features) for task in self.predicted}
        predictions = self.activate(maps, extents)
        return features, {task.name: [predictions[task.name]] for task in self.predicted}
