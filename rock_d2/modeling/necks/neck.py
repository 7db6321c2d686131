"""The contract of necks, which stand between a backbone and a detector.

N images, H x W pixels of the padded batch, h x w those of a feature map.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from detectron2.config import CfgNode, configurable
from detectron2.layers import ShapeSpec
from fvcore.common.registry import Registry
from torch import nn

from rock_d2.layers import Extents, cut, resize
from rock_d2.registry import check_choice, registered
from rock_d2.tasks import Task, build_tasks

NECK_REGISTRY = Registry("NECK")
NECK_REGISTRY.__doc__ = "Necks by the name that MODEL.NECK.NAME gives them: subclasses of Neck."

Features = dict[str, torch.Tensor]
# For each task the collated labels of the batch.
Labels = Mapping[str, torch.Tensor]
# For each task its predictions, from coarse to fine; the last one is the final one.
Predictions = dict[str, list[torch.Tensor]]


def build_neck(cfg: CfgNode, input_shape: Mapping[str, ShapeSpec]) -> "Neck":
    name = cfg.MODEL.NECK.NAME
    neck = registered(NECK_REGISTRY, name, setting="MODEL.NECK.NAME")(cfg, input_shape)
    if cfg.MODEL.ROCK.GIVEN and not neck.given:
        raise ValueError(f"MODEL.ROCK.GIVEN is {cfg.MODEL.ROCK.GIVEN}, but {name} takes no labels")
    return neck


class Neck(nn.Module):
    """Refines feature maps and predicts tasks on the way.

    ``forward(features, extents, labels)`` returns the features, with the names, channels and
    strides that they came with, and the predictions of the tasks. Where ``extents`` is None, every
    image fills the batch; ``labels`` has those of ``collate``, of which only the ``given`` tasks'
    may be used.

    Attributes:
        tasks: those that are learned, the main ones first.
        given: those of the tasks whose labels are inputs, in training and at test time.
        predict_auxiliary: whether the others are predicted at test time too.
    """

    @configurable
    def __init__(
        self,
        *,
        tasks: Sequence[Task] = (),
        num_main: int = 0,
        predict_auxiliary: bool = True,
        compare_at: str = "prediction",
    ):
        """The first ``num_main`` tasks are main ones, which are always predicted."""
        super().__init__()
        check_choice(compare_at, ("prediction", "label"), setting="MODEL.TASKS.COMPARE_AT")
        self.tasks = tuple(tasks)
        self.given: tuple[Task, ...] = ()
        self.num_main = num_main
        self.predict_auxiliary = predict_auxiliary
        self.compare_at = compare_at

    @classmethod
    def add_config(cls, node: CfgNode) -> None:
        """Add the neck's settings to ``cfg.MODEL``."""

    @classmethod
    def from_config(cls, cfg: CfgNode, input_shape: Mapping[str, ShapeSpec]) -> dict[str, Any]:
        """Return what necks that learn tasks take from ``cfg.MODEL.TASKS``."""
        tasks = build_tasks(cfg)
        if not tasks:
            raise ValueError(
                f"MODEL.TASKS.MAIN and AUXILIARY are empty, but {cls.__name__} learns tasks; "
                "the detector alone is MODEL.NECK.NAME: IdentityNeck"
            )
        return {
            "tasks": tasks,
            "num_main": len(cfg.MODEL.TASKS.MAIN),
            "predict_auxiliary": cfg.MODEL.TASKS.PREDICT_AUXILIARY,
            "compare_at": cfg.MODEL.TASKS.COMPARE_AT,
        }

    @property
    def predicted(self) -> tuple[Task, ...]:
        """The tasks that ``forward`` predicts."""
        everything = self.training or self.predict_auxiliary
        return self.tasks if everything else self.tasks[: self.num_main]

    def activate(
        self, maps: Mapping[str, torch.Tensor], extents: Extents | None
    ) -> dict[str, torch.Tensor]:
        """Return the predictions of predicted tasks from their maps (N, num_outputs, h, w).

        Maps that are compared at the label's resolution stay as they are: activated maps would
        not be what the enlarged maps' activation is.
        """
        return {
            task.name: maps[task.name]
            if task.is_map and self.compare_at == "label"
            else activation(task, maps[task.name], extents)
            for task in self.predicted
            if task.name in maps
        }

    def collate(
        self,
        batched_inputs: Sequence[Mapping[str, Any]],
        *,
        size: tuple[int, int],
        device: torch.device,
    ) -> dict[str, torch.Tensor]:
        """Return a batch's labels, padded to ``size``, by task: at test time of those given."""
        tasks = self.tasks if self.training else self.given
        return {t.name: t.collate(batched_inputs, size=size, device=device) for t in tasks}

    def losses(self, predictions: Predictions, labels: Labels) -> dict[str, torch.Tensor]:
        """Return the loss of each task, ``loss_<task>``: the weighted sum over its predictions."""
        return {
            f"loss_{task.name}": task.loss_weight
            * sum(
                task.loss(self._comparable(task, prediction, labels[task.name]), labels[task.name])
                for prediction in predictions[task.name]
            )
            for task in self.tasks
        }

    def _comparable(
        self, task: Task, prediction: torch.Tensor, label: torch.Tensor
    ) -> torch.Tensor:
        """Return the prediction at the resolution of the comparison."""
        if task.is_map and self.compare_at == "label":
            return task.activation(resize(prediction, label.shape[-2:]))
        return prediction

    def inference(
        self,
        predictions: Predictions,
        sizes: Sequence[tuple[int, int]],
        extents: Extents | None = None,
    ) -> list[dict[str, torch.Tensor]]:
        """Return each image's final predictions at its output size (height, width), by task."""
        outputs: list[dict[str, torch.Tensor]] = [{} for _ in sizes]
        for task in self.tasks:
            if not predictions.get(task.name):
                continue
            final = predictions[task.name][-1]
            for i, size in enumerate(sizes):
                extent = extents[i] if extents else (1.0, 1.0)
                outputs[i][task.name] = final_output(task, final[i], size, extent)
        return outputs


def activation(task: Task, maps: torch.Tensor, extents: Extents | None) -> torch.Tensor:
    """Return a task's activation, in which padding has no share."""
    if task.is_map or not extents:
        return task.activation(maps)
    images = zip(maps, extents, strict=True)
    return torch.cat([task.activation(cut(image, extent)[None]) for image, extent in images])


def final_output(
    task: Task, prediction: torch.Tensor, size: tuple[int, int], extent: tuple[float, float]
) -> torch.Tensor:
    """Return an image's prediction at its output size, without what lies in the padding."""
    if not task.is_map:
        return task.postprocess(prediction, size)
    own = cut(prediction, extent)
    # The cells at the image's border may reach into the padding; so does the map that is resized.
    reached = [
        # Where the model is traced, shapes are tensors.
        round(float(pixels * cells / (all_cells * share)))
        for pixels, cells, all_cells, share in zip(
            size, own.shape[-2:], prediction.shape[-2:], extent, strict=True
        )
    ]
    return task.postprocess(own, tuple(reached))[..., : size[0], : size[1]]
