"""What stands between backbone and detector."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from detectron2.config import CfgNode, configurable
from detectron2.layers import ShapeSpec
from fvcore.common.registry import Registry
from torch import nn

NECK_REGISTRY = Registry("NECK")
NECK_REGISTRY.__doc__ = "Necks by the name that MODEL.NECK.NAME gives them: subclasses of Neck."


def build_neck(cfg: CfgNode, input_shape: Mapping[str, ShapeSpec]) -> "Neck":
    """The neck that ``cfg.MODEL.NECK.NAME`` names."""
    return NECK_REGISTRY.get(cfg.MODEL.NECK.NAME)(cfg, input_shape)


def shape_of(input_shape: Mapping[str, ShapeSpec], name: str, *, setting: str) -> ShapeSpec:
    """The shape of the feature map that ``setting`` names."""
    if name not in input_shape:
        raise ValueError(
            f"{setting}: {name!r} is none of {sorted(input_shape)}, which the backbone gives "
            "(MODEL.RESNETS.OUT_FEATURES)"
        )
    return input_shape[name]


class Neck(nn.Module):
    """Maps feature maps to feature maps and predicts auxiliary tasks on the way.

    ``forward`` returns the features, under the names they came with, and the prediction of each
    task by its name.

    Attributes:
        predictors: by a task's name, what pools its encoding to its prediction.
        predict_auxiliary: whether the tasks are predicted at test time too.
    """

    predict_auxiliary = False

    def __init__(self, *, input_shape: Mapping[str, ShapeSpec], tasks: Sequence[Any] = ()):
        """
        Args:
            input_shape: of the backbone's features.
            tasks: the auxiliary tasks (Task) that this neck predicts.
        """
        super().__init__()
        self._output_shape = dict(input_shape)
        self.tasks = tuple(tasks)
        self.predictors = nn.ModuleDict({task.name: task.predictor() for task in tasks})

    def output_shape(self) -> dict[str, ShapeSpec]:
        return self._output_shape

    def collate(
        self, batched_inputs: Sequence[Mapping[str, Any]], device: torch.device
    ) -> dict[str, torch.Tensor]:
        """The labels of a batch, by task."""
        return {task.name: task.collate(batched_inputs, device) for task in self.tasks}

    def losses(
        self, aux: Mapping[str, torch.Tensor], labels: Mapping[str, torch.Tensor]
    ) -> dict[str, torch.Tensor]:
        """The weighted loss of each task, ``loss_<task>``.

        Args:
            aux: the predictions by task.
            labels: of ``collate``.
        """
        return {
            f"loss_{task.name}": task.loss_weight * task.loss(aux[task.name], labels[task.name])
            for task in self.tasks
        }

    def inference(
        self, aux: Mapping[str, torch.Tensor], output_sizes: Sequence[tuple[int, int]]
    ) -> list[dict[str, torch.Tensor]]:
        """Each image's auxiliary predictions at its output size (height, width), by task."""
        predicted = [task for task in self.tasks if task.name in aux]
        return [
            {task.name: task.postprocess(aux[task.name][i], size) for task in predicted}
            for i, size in enumerate(output_sizes)
        ]


@NECK_REGISTRY.register()
class IdentityNeck(Neck):
    """The detection baseline: no auxiliary task, features as they are."""

    @configurable
    def __init__(self, *, input_shape: Mapping[str, ShapeSpec]):
        super().__init__(input_shape=input_shape)

    @classmethod
    def from_config(cls, cfg: CfgNode, input_shape: Mapping[str, ShapeSpec]) -> dict[str, Any]:
        return {"input_shape": input_shape}

    def forward(
        self, features: dict[str, torch.Tensor]
    ) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
        return features, {}
