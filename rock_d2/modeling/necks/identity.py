"""The detection baseline."""

from collections.abc import Mapping
from typing import Any

from detectron2.config import CfgNode
from detectron2.layers import ShapeSpec

from rock_d2.modeling.necks.neck import NECK_REGISTRY, Extents, Features, Labels, Neck, Predictions


@NECK_REGISTRY.register()
class IdentityNeck(Neck):
    """Learns no task and returns the features as they are."""

    @classmethod
    def from_config(cls, cfg: CfgNode, input_shape: Mapping[str, ShapeSpec]) -> dict[str, Any]:
        return {}

    def forward(
        self, features: Features, extents: Extents | None = None, labels: Labels | None = None
    ) -> tuple[Features, Predictions]:
        return features, {}
