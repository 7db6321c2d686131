"""MTI-Net, multi-scale task interaction (Vandenhende et al., ECCV 2020, sec. 3, figure 3)."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from detectron2.config import CfgNode, configurable
from detectron2.layers import ShapeSpec
from torch import nn

from rock_d2.layers import check_norm, own_seed
from rock_d2.modeling.necks.blocks import (
    basic_blocks,
    coarse_to_fine,
    for_each_task,
    join,
    predictors,
    task_names,
)
from rock_d2.modeling.necks.distillation import (
    Distillation,
    DistillingNeck,
    build_fusion,
    fusion_of,
)
from rock_d2.modeling.necks.heads import Head, build_heads, head_of
from rock_d2.modeling.necks.neck import NECK_REGISTRY, Extents, Features, Labels, Predictions
from rock_d2.modeling.necks.propagation import FeaturePropagation
from rock_d2.tasks import Task

# The features of each task, by scale (the name of the map) and task.
Encodings = dict[str, dict[str, torch.Tensor]]


@NECK_REGISTRY.register()
class MTINet(DistillingNeck):
    """Predicts and distils all tasks at every scale, and the main tasks from all scales together.

    Auxiliary tasks have initial predictions only. Where a detector follows, the features of all
    tasks are distilled and merged into its maps: X_s + sum over tasks of Dec_ts(o_ts).
    """

    @configurable
    def __init__(
        self,
        *,
        input_shape: Mapping[str, ShapeSpec],
        in_features: Sequence[str],
        head: Head,
        width: int = 0,
        norm: str = "BN",
        fpm: bool = True,
        fpm_softmax: str = "tasks",
        fpm_order: Sequence[str] = (),
        evaluate_scale: str = "",
        fusion: type[nn.Module],
        **settings: Any,
    ):
        """``add_config`` explains the settings that are not of ``Neck``.

        ``fpm_order`` has names of tasks, not the registered ones. ``fusion`` is the class of what
        merges the tasks' features into the detector's.
        """
        super().__init__(**settings)
        shapes = coarse_to_fine(input_shape, in_features, setting="MODEL.MTI.IN_FEATURES")
        widths = task_widths(shapes, width=width, norm=norm)
        self.evaluate_scale = checked_scale(evaluate_scale, shapes)
        # In an order of their own: that of the settings then changes nothing.
        names = joined_order(self.tasks, fpm_order)
        receivers = self.receivers(fusion)
        self.initial, self.predictors = nn.ModuleDict(), nn.ModuleDict()
        self.distillation, self.fpm = nn.ModuleDict(), nn.ModuleDict()
        coarser = 0
        for scale, channels in widths.items():
            with own_seed(scale):
                self.add_scale(scale, shapes[scale].channels + coarser, channels, norm)
                self.distillation[scale] = Distillation(
                    receivers=receivers, tasks=names, channels=channels
                )
                if fpm and scale != list(widths)[-1]:
                    self.fpm[scale] = FeaturePropagation(
                        tasks=names, channels=channels, softmax=fpm_softmax, norm=norm
                    )
                    coarser = channels
        scales = {s: ShapeSpec(channels=c, stride=shapes[s].stride) for s, c in widths.items()}
        self.heads = build_heads(head, scales, self.tasks[: self.num_main])
        encodings = {scale: dict.fromkeys(receivers, c) for scale, c in widths.items()}
        self.fusion = build_fusion(fusion, shapes, encodings, norm=norm)

    @classmethod
    def add_config(cls, node: CfgNode) -> None:
        """Add ``MODEL.MTI``; HeadsNeck and PADNet take their common settings from there, too."""
        node.MTI = CfgNode()
        # The backbone's maps, one to four, that are the scales.
        node.MTI.IN_FEATURES = ["s4", "s8", "s16", "s32"]
        # "hrnet" (maps joined, two 1 x 1 convolutions) or "fpn" (panoptic FPN's, of
        # MODEL.SEM_SEG_HEAD.CONVS_DIM channels with MODEL.SEM_SEG_HEAD.NORM).
        node.MTI.HEAD = "hrnet"
        # Normalisation outside backbone and "fpn" heads.
        node.MTI.NORM = "BN"
        # Channels of each task's features at every scale; 0: those of the scale's map, as HRNet's
        # branches have in the paper. It gives none for a feature pyramid.
        node.MTI.WIDTH = 0
        # Whether each scale's features are propagated to the next finer one (table 2).
        node.MTI.FPM = True
        # The attention's softmax there: over the "tasks" (the paper) or over runs of neighbouring
        # "channels" (the published code).
        node.MTI.FPM_SOFTMAX = "tasks"
        # Tasks, by their registered names, in the order in which their channels are joined there;
        # []: by name. It matters for weights that were trained in another order.
        node.MTI.FPM_ORDER = []
        # The scale whose initial predictions are evaluated in place of the final ones (table 4).
        node.MTI.EVALUATE_SCALE = ""

        node.MTI.FUSION = CfgNode()
        # How the tasks' features enter the detector's maps: a fusion of ROCK's.
        node.MTI.FUSION.NAME = "SumFusion"

    @classmethod
    def from_config(cls, cfg: CfgNode, input_shape: Mapping[str, ShapeSpec]) -> dict[str, Any]:
        node = cfg.MODEL.MTI
        return super().from_config(cfg, input_shape) | {
            "input_shape": input_shape,
            "in_features": node.IN_FEATURES,
            "head": head_of(cfg),
            "width": node.WIDTH,
            "norm": node.NORM,
            "fpm": node.FPM,
            "fpm_softmax": node.FPM_SOFTMAX,
            "fpm_order": task_names(node.FPM_ORDER, setting="MODEL.MTI.FPM_ORDER"),
            "evaluate_scale": node.EVALUATE_SCALE,
            "fusion": fusion_of(cfg),
        }

    def add_scale(self, scale: str, in_channels: int, channels: int, norm: str) -> None:
        self.initial[scale] = for_each_task(
            "initial", self.tasks, lambda task: basic_blocks(in_channels, channels, norm=norm)
        )
        self.predictors[scale] = predictors("predictors", self.tasks, channels)

    def forward(
        self, features: Features, extents: Extents | None = None, labels: Labels | None = None
    ) -> tuple[Features, Predictions]:
        predictions: Predictions = {task.name: [] for task in self.tasks}
        encodings = self.encode(features, extents)
        for scale, encoding in encodings.items():
            self.predict(self.predictors[scale], encoding, predictions, extents)
        distilled = {scale: self.distillation[scale](f) for scale, f in encodings.items()}
        by_task = {t: {s: o[t] for s, o in distilled.items()} for t in self.heads}
        self.predict(self.heads, by_task, predictions, extents)
        refined = {s: self.fusion[s](features[s], o, extents) for s, o in distilled.items()}
        if self.evaluate_scale and not self.training:
            i = list(self.initial).index(self.evaluate_scale)
            predictions = {task: maps[i : i + 1] for task, maps in predictions.items()}
        return {**features, **refined}, predictions

    def encode(self, features: Features, extents: Extents | None = None) -> Encodings:
        """Return f_st, the features of the initial predictions, from the coarsest scale."""
        encodings: Encodings = {}
        coarser: dict[str, torch.Tensor] = {}
        for scale, initial in self.initial.items():
            x = features[scale]
            inputs = {t: join([x, coarser[t]]) if coarser else x for t in initial}
            encodings[scale] = {t: blocks(inputs[t]) for t, blocks in initial.items()}
            if scale in self.fpm:
                coarser = self.fpm[scale](encodings[scale], extents)
        return encodings


def task_widths(shapes: Mapping[str, ShapeSpec], *, width: int, norm: str) -> dict[str, int]:
    if width < 0:
        raise ValueError(f"MODEL.MTI.WIDTH is {width}; it must be 0 or more")
    widths = {scale: width or shape.channels for scale, shape in shapes.items()}
    check_norm(norm, list(widths.values()), setting="MODEL.MTI.NORM")
    return widths


def checked_scale(name: str, shapes: Mapping[str, ShapeSpec]) -> str:
    if name and name not in shapes:
        raise ValueError(f"MODEL.MTI.EVALUATE_SCALE is {name!r}; the scales are {list(shapes)}")
    return name


def joined_order(tasks: Sequence[Task], wanted: Sequence[str]) -> list[str]:
    """Return the names of the tasks as wanted, or else sorted."""
    names = sorted(task.name for task in tasks)
    if wanted and sorted(wanted) != names:
        raise ValueError(f"MODEL.MTI.FPM_ORDER: {list(wanted)} are not the tasks {names}")
    return list(wanted) or names
