"""Heads, and the baselines of MTI-Net's paper: one task alone, or several side by side.

A head makes a task's maps from feature maps of several scales, as large as the finest: it is built
from ``input_shape`` and ``num_outputs`` and takes {name: map}.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from detectron2.config import CfgNode, configurable
from detectron2.layers import Conv2d, ShapeSpec
from detectron2.modeling.meta_arch.semantic_seg import SemSegFPNHead
from torch import nn

from rock_d2.layers import check_norm, resize
from rock_d2.modeling.necks.blocks import coarse_to_fine, for_each_task, join, mixing_conv
from rock_d2.modeling.necks.neck import NECK_REGISTRY, Extents, Features, Labels, Neck, Predictions
from rock_d2.registry import check_choice
from rock_d2.tasks import Task

Head = Callable[..., nn.Module]


class HRNetHead(nn.Module):
    """Joins the maps at the finest size; two 1 x 1 convolutions follow (Sun et al., CVPR 2019)."""

    def __init__(self, *, input_shape: Mapping[str, ShapeSpec], num_outputs: int, norm: str):
        super().__init__()
        self.names = sorted(input_shape, key=lambda name: input_shape[name].stride)
        width = sum(shape.channels for shape in input_shape.values())
        self.mix = mixing_conv(width, norm=norm)
        self.predict = Conv2d(width, num_outputs, kernel_size=1)

    def forward(self, maps: Mapping[str, torch.Tensor]) -> torch.Tensor:
        return self.predict(self.mix(join([maps[name] for name in self.names])))


class FPNHead(SemSegFPNHead):
    """Adds the maps after convolutions and upsampling by 2 (Kirillov et al., CVPR 2019)."""

    def __init__(
        self, *, input_shape: Mapping[str, ShapeSpec], num_outputs: int, width: int, norm: str
    ):
        stride = min(shape.stride for shape in input_shape.values())
        super().__init__(
            dict(input_shape),
            num_classes=num_outputs,
            conv_dims=width,
            common_stride=stride,
            norm=norm,
        )

    def forward(self, maps: Mapping[str, torch.Tensor]) -> torch.Tensor:
        found = [
            head(maps[name]) for name, head in zip(self.in_features, self.scale_heads, strict=True)
        ]
        # Those that were enlarged by 2 several times may be larger.
        size = found[0].shape[-2:]
        return self.predictor(sum(x if x.shape[-2:] == size else resize(x, size) for x in found))


def head_of(cfg: CfgNode) -> Head:
    check_choice(cfg.MODEL.MTI.HEAD, ("hrnet", "fpn"), setting="MODEL.MTI.HEAD")
    if cfg.MODEL.MTI.HEAD == "hrnet":
        return partial(HRNetHead, norm=cfg.MODEL.MTI.NORM)
    node = cfg.MODEL.SEM_SEG_HEAD
    check_norm(node.NORM, [node.CONVS_DIM], setting="MODEL.SEM_SEG_HEAD.NORM")
    return partial(FPNHead, width=node.CONVS_DIM, norm=node.NORM)


def build_heads(
    head: Head, input_shape: Mapping[str, ShapeSpec], tasks: Sequence[Task]
) -> nn.ModuleDict:
    return for_each_task(
        "heads", tasks, lambda task: head(input_shape=input_shape, num_outputs=task.num_outputs)
    )


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
