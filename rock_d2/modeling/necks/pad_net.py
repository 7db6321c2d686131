"""PAD-Net (Xu et al., CVPR 2018) on the maps of several scales, as MTI-Net's authors have it."""

from collections.abc import Mapping, Sequence
from typing import Any

from detectron2.config import CfgNode, configurable
from detectron2.layers import ShapeSpec
from torch import nn

from rock_d2.layers import check_norm, own_seed
from rock_d2.modeling.necks.blocks import (
    bottlenecks,
    coarse_to_fine,
    for_each_task,
    join,
    mixing_conv,
    predictors,
)
from rock_d2.modeling.necks.distillation import (
    Distillation,
    DistillingNeck,
    build_fusion,
    fusion_of,
)
from rock_d2.modeling.necks.neck import NECK_REGISTRY, Extents, Features, Labels, Predictions


@NECK_REGISTRY.register()
class PADNet(DistillingNeck):
    """Predicts all tasks at the finest scale, distils there, and predicts the main tasks again.

    Auxiliary tasks have initial predictions only. Where a detector follows, the features of all
    tasks are distilled and merged into its finest map.
    """

    @configurable
    def __init__(
        self,
        *,
        input_shape: Mapping[str, ShapeSpec],
        in_features: Sequence[str],
        width: int,
        norm: str = "BN",
        fusion: type[nn.Module],
        **settings: Any,
    ):
        """Join ``in_features`` at the finest one's size; the rest is as in ``MTINet``."""
        super().__init__(**settings)
        shapes = coarse_to_fine(input_shape, in_features, setting="MODEL.MTI.IN_FEATURES")
        if width < 4:
            raise ValueError(f"MODEL.PADNET.WIDTH is {width}; it must be 4 or more")
        joined = sum(shape.channels for shape in shapes.values())
        check_norm(norm, [width, joined], setting="MODEL.MTI.NORM")
        self.scales = list(shapes)[::-1]
        receivers = self.receivers(fusion)
        main = self.tasks[: self.num_main]
        with own_seed("mix"):
            self.mix = mixing_conv(joined, norm=norm)
        self.initial = for_each_task(
            "initial", self.tasks, lambda task: bottlenecks(joined, width, norm=norm)
        )
        self.predictors = predictors("predictors", self.tasks, width)
        self.distillation = Distillation(
            receivers=receivers, tasks=[task.name for task in self.tasks], channels=width
        )
        self.refinement = for_each_task(
            "refinement", main, lambda task: bottlenecks(width, width, norm=norm)
        )
        self.heads = predictors("heads", main, width)
        encodings = {self.scales[0]: dict.fromkeys(receivers, width)}
        self.fusion = build_fusion(fusion, shapes, encodings, norm=norm)

    @classmethod
    def add_config(cls, node: CfgNode) -> None:
        """Add ``MODEL.PADNET``; maps, norm and fusion are those of ``MODEL.MTI``."""
        node.PADNET = CfgNode()
        # Channels of each task's features (MTI-Net's published code).
        node.PADNET.WIDTH = 256

    @classmethod
    def from_config(cls, cfg: CfgNode, input_shape: Mapping[str, ShapeSpec]) -> dict[str, Any]:
        return super().from_config(cfg, input_shape) | {
            "input_shape": input_shape,
            "in_features": cfg.MODEL.MTI.IN_FEATURES,
            "width": cfg.MODEL.PADNET.WIDTH,
            "norm": cfg.MODEL.MTI.NORM,
            "fusion": fusion_of(cfg),
        }

    def forward(
        self, features: Features, extents: Extents | None = None, labels: Labels | None = None
    ) -> tuple[Features, Predictions]:
        predictions: Predictions = {task.name: [] for task in self.tasks}
        x = self.mix(join([features[scale] for scale in self.scales]))
        encodings = {task: blocks(x) for task, blocks in self.initial.items()}
        self.predict(self.predictors, encodings, predictions, extents)
        distilled = self.distillation(encodings)
        refined = {task: blocks(distilled[task]) for task, blocks in self.refinement.items()}
        self.predict(self.heads, refined, predictions, extents)
        merged = {s: fuse(features[s], distilled) for s, fuse in self.fusion.items()}
        return {**features, **merged}, predictions
