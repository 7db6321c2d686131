"""Distillation between the features of several tasks, and their fusion into a detector's maps.

N images, C channels, h x w places.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from detectron2.config import CfgNode
from detectron2.layers import ShapeSpec
from torch import nn

from rock_d2.layers import own_seed
from rock_d2.modeling.fusions import FUSION_REGISTRY, AttentionFusion, NoFusion
from rock_d2.modeling.necks.neck import Extents, Neck, Predictions
from rock_d2.registry import registered


class Distillation(nn.Module):
    """Attention-guided distillation between tasks (MTI-Net, equation 1).

    o_t = f_t + sum over the other tasks a of sigmoid(W_ta * f_a) x (W'_ta * f_a); f_t alone where
    there is no other.
    """

    def __init__(self, *, receivers: Sequence[str], tasks: Sequence[str], channels: int):
        """``receivers`` are the names of the tasks t, ``tasks`` those of the tasks a."""
        super().__init__()
        self.receivers = nn.ModuleDict()
        for task in receivers:
            sources = {other: channels for other in tasks if other != task}
            with own_seed(task):
                self.receivers[task] = AttentionFusion(
                    out_channels=channels, encoding_channels=sources, norm=""
                )

    def forward(self, features: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Return o_t (N, C, h, w) of the receivers from f_a (N, C, h, w) of all tasks."""
        return {task: fuse(features[task], features) for task, fuse in self.receivers.items()}


class DistillingNeck(Neck):
    """A neck whose main tasks are predicted from distilled features, and a detector's maps too."""

    def receivers(self, fusion: type[nn.Module]) -> list[str]:
        """Return the names of the tasks whose features are distilled.

        All of them for a detector that takes them in; else what the main tasks' heads need.
        """
        tasks = self.tasks[: self.num_main] if fusion is NoFusion else self.tasks
        return [task.name for task in tasks]

    def predict(
        self,
        predictors: Mapping[str, nn.Module],
        features: Mapping[str, Any],
        predictions: Predictions,
        extents: Extents | None,
    ) -> None:
        """Add each predicted task's prediction of its features, where it has a predictor."""
        asked = [task.name for task in self.predicted if task.name in predictors]
        maps = {task: predictors[task](features[task]) for task in asked}
        for task, prediction in self.activate(maps, extents).items():
            predictions[task].append(prediction)


def fusion_of(cfg: CfgNode) -> type[nn.Module]:
    """Return what brings the tasks' features to the detector: nothing where there is none."""
    if not cfg.MODEL.DETECTOR:
        if not cfg.MODEL.TASKS.MAIN:
            raise ValueError("MODEL.TASKS.MAIN and MODEL.DETECTOR are both empty; name main tasks")
        return NoFusion
    name = cfg.MODEL.MTI.FUSION.NAME
    fusion = registered(FUSION_REGISTRY, name, setting="MODEL.MTI.FUSION.NAME")
    if not getattr(fusion, "trains_encodings", True):
        raise ValueError(
            f"MODEL.MTI.FUSION.NAME: {name} passes no gradient, and nothing else trains the "
            "distilled features of auxiliary tasks; take SumFusion for instance"
        )
    return fusion


def build_fusion(
    fusion: type[nn.Module],
    shapes: Mapping[str, ShapeSpec],
    encoding_channels: Mapping[str, Mapping[str, int]],
    *,
    norm: str,
) -> nn.ModuleDict:
    """Return a fusion for each map that has encodings: their channels by map and task."""
    modules = nn.ModuleDict()
    for name, channels in encoding_channels.items():
        with own_seed(f"fusion.{name}"):
            modules[name] = fusion(
                out_channels=shapes[name].channels, encoding_channels=channels, norm=norm
            )
    return modules
