"""Flat multi-task learning, the paper's second baseline (sec. 4.1)."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from detectron2.config import CfgNode, configurable
from detectron2.layers import Conv2d, ShapeSpec
from torch import nn

from rock_d2.modeling.necks.neck import NECK_REGISTRY, Neck, shape_of
from rock_d2.layers.init import own_seed
from rock_d2.tasks import Task, build_tasks


@NECK_REGISTRY.register()
class FlatMTL(Neck):
    """One 1 x 1 convolution a task on the shared features, which go on unchanged."""

    @configurable
    def __init__(
        self,
        *,
        input_shape: Mapping[str, ShapeSpec],
        in_feature: str,
        tasks: Sequence[Task],
        predict_auxiliary: bool = True,
    ):
        """
        Args:
            input_shape: of the backbone's features.
            in_feature: the name of the features that the tasks are predicted from.
            tasks: the auxiliary tasks, at least one.
            predict_auxiliary: whether the tasks are predicted at test time too.
        """
        super().__init__(input_shape=input_shape, tasks=tasks)
        self.in_feature = in_feature
        self.predict_auxiliary = predict_auxiliary
        x = shape_of(input_shape, in_feature, setting="MODEL.ROCK.IN_FEATURE")
        # With as many maps as outputs, ROCK's pooling has blocks of one map: the same predictors
        # do nothing but the scalar tasks' global average and the vectors' unit length.
        self.heads = nn.ModuleDict()
        for task in tasks:
            with own_seed(task.name):
                self.heads[task.name] = Conv2d(x.channels, task.num_outputs, kernel_size=1)

    @classmethod
    def from_config(cls, cfg: CfgNode, input_shape: Mapping[str, ShapeSpec]) -> dict[str, Any]:
        return {
            "input_shape": input_shape,
            "in_feature": cfg.MODEL.ROCK.IN_FEATURE,
            "tasks": build_tasks(cfg, needed_by=cls.__name__),
            "predict_auxiliary": cfg.MODEL.ROCK.PREDICT_AUXILIARY,
        }

    def forward(
        self, features: dict[str, torch.Tensor]
    ) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
        if not (self.training or self.predict_auxiliary):
            return features, {}
        x = features[self.in_feature]
        return features, {task: self.predictors[task](head(x)) for task, head in self.heads.items()}
