"""What every auxiliary task is made of. A new task is one new file beside this one."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import cv2
import numpy as np
import torch
from detectron2.config import CfgNode
from detectron2.data import Metadata
from detectron2.data.transforms import TransformList
from fvcore.common.registry import Registry
from torch import nn

from rock_d2.evaluation.task_evaluator import Meter, MeterEvaluator

TASK_REGISTRY = Registry("AUX_TASK")
TASK_REGISTRY.__doc__ = "Auxiliary tasks by the name that MODEL.ROCK.TASKS gives them."


class ColourScale(NamedTuple):
    """What the colours of a picture mean.

    Attributes:
        low, high: the values at its ends, with their unit.
        colours: uint8 (K, 3), RGB, from low to high.
    """

    low: str
    high: str
    colours: np.ndarray


def rgb_colours(colour_map: int) -> np.ndarray:
    """The colours of one of OpenCV's maps, uint8 (256, 3), from low to high."""
    return cv2.applyColorMap(np.arange(256, dtype=np.uint8), colour_map).reshape(256, 3)[:, ::-1]


class Drawing(NamedTuple):
    """What a person is shown of a label: a line of text and, where it is a map, a picture.

    Attributes:
        caption: one line.
        image: uint8 (H, W, 3), RGB, or None.
        scale: of the picture's colours, or None if the caption tells.
    """

    caption: str
    image: np.ndarray | None
    scale: ColourScale | None = None


@dataclass(frozen=True)
class Task(ABC):
    """One auxiliary task: a picklable value that holds settings and no weights.

    Each field is a setting with its default, and a key of ``MODEL.ROCK.<NAME>`` in capitals. The
    methods stand in the order of the data: from file to batch, to prediction and loss, to people.

    Attributes:
        name: key of the batch and stem of every other name: ``loss_<name>``, ``apply_<name>``.
        field: the key of a dataset dict that carries the label; images may lack it.
        num_outputs: maps (or classes) of the prediction.
        loss_weight: factor of the loss in the sum that is minimised.
    """

    name: ClassVar[str]
    field: ClassVar[str]
    num_outputs: ClassVar[int]

    loss_weight: float = 1.0

    @classmethod
    def add_config(cls, node: CfgNode) -> None:
        """Adds this task's settings to ``cfg.MODEL.ROCK``."""
        settings = {setting.name.upper(): setting.default for setting in fields(cls)}
        node[cls.name.upper()] = CfgNode(settings)

    @classmethod
    def from_config(cls, node: CfgNode) -> "Task":
        """The task with the settings of ``cfg.MODEL.ROCK``."""
        settings = node[cls.name.upper()]
        return cls(**{setting.name: settings[setting.name.upper()] for setting in fields(cls)})

    @property
    @abstractmethod
    def channels(self) -> int:
        """K_t, the width of the task's encoding (sec. 2)."""

    def check_metadata(self, metadata: Metadata) -> None:
        """Raises ValueError if a data set's facts contradict the settings."""

    @abstractmethod
    def load(self, record: Mapping[str, Any]) -> Any | None:
        """The label of a dataset dict in the form that transforms take; None if it has none."""

    @abstractmethod
    def read(self, record: Mapping[str, Any]) -> np.ndarray | int | None:
        """The label of a dataset dict in its units, for evaluators and people; None likewise."""

    @abstractmethod
    def check(self, record: Mapping[str, Any], metadata: Metadata) -> tuple[list[str], float]:
        """What is wrong with the label, a line each, and the share of the image that is known.

        Args:
            record: a dataset dict that has the label.
            metadata: of its data set.
        """

    def transform(self, label: Any, transforms: TransformList) -> Any:
        """A loaded label after the transforms that its image went through."""
        for transform in transforms.transforms:
            if not hasattr(transform, f"apply_{self.name}"):
                kind = type(transform).__name__
                raise NotImplementedError(
                    f"{kind} has no rule for `{self.name}`: switch that augmentation off, or give "
                    f"it one by {kind}.register_type({self.name!r}, rule)"
                )
        return getattr(transforms, f"apply_{self.name}")(label)

    @abstractmethod
    def to_tensor(self, label: Any) -> torch.Tensor | int:
        """A transformed label as a batch item holds it."""

    def stored_bytes(self, record: Mapping[str, Any]) -> int:
        """What a dataset dict's label takes in memory, if that is worth counting."""
        return 0

    def shelf(self, records: Sequence[Mapping[str, Any]], device: torch.device) -> "Shelf":
        """A place for the labels of a whole set, on a device if they are large."""
        return Shelf(self)

    @abstractmethod
    def collate(
        self, batched_inputs: Sequence[Mapping[str, Any]], device: torch.device
    ) -> torch.Tensor:
        """The labels of a batch as one tensor; images without a label are 'unknown' in it.

        So the shapes are the same whatever is missing, and a loss that skips what is unknown
        gives such images exactly no gradient.
        """

    @abstractmethod
    def predictor(self) -> nn.Module:
        """The pooling from encoding to prediction (sec. 2.2), without any parameter."""

    @abstractmethod
    def loss(self, prediction: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """The mean loss over what is known of a collated batch, before ``loss_weight``; in fp32.

        It is 0 with a gradient of 0 where nothing is known.
        """

    @abstractmethod
    def postprocess(self, prediction: torch.Tensor, output_size: tuple[int, int]) -> torch.Tensor:
        """One image's prediction in the label's units, at ``output_size`` (height, width)."""

    @abstractmethod
    def meter(self) -> Meter:
        """What is measured of the predictions."""

    def evaluator(self, *, crop: str = "none", save_dir: Path | None = None) -> MeterEvaluator:
        """Detectron2's evaluator of this task, with results ``<name>/<metric>``.

        Args:
            crop: the part of maps that counts (TEST.EVAL_CROP).
            save_dir: where to keep the predictions, if anywhere.
        """
        return MeterEvaluator(self, self.meter(), crop=crop, save_dir=save_dir)

    @abstractmethod
    def draw(self, label: np.ndarray | int, metadata: Metadata) -> Drawing:
        """Shows a label, in the form of ``read``, to a person."""

    @abstractmethod
    def draw_prediction(
        self,
        prediction: np.ndarray,
        metadata: Metadata,
        *,
        encoding: np.ndarray | None = None,
        label: np.ndarray | int | None = None,
    ) -> Drawing:
        """Shows an image's prediction, in the form of ``postprocess``, to a person.

        Args:
            prediction: of one image.
            metadata: of its data set.
            encoding: (channels, h, w), what the prediction was pooled from, where it is at hand.
            label: the truth, where it is at hand: the picture is drawn to compare with it.
        """

    def ranking(self, prediction: np.ndarray, metadata: Metadata, count: int) -> dict[str, float]:
        """The most probable classes, best first, of a task that classifies; else nothing."""
        return {}


class Shelf:
    """Keeps the labels of a data set, as loaded, and makes those of a batch (AUGMENT_ON).

    This one takes labels of any kind, stays on the host and goes image by image.
    """

    def __init__(self, task: Task):
        self.task = task
        self.labels: dict[int, Any] = {}

    def put(self, index: int, label: Any | None) -> None:
        """Keeps the label of image number ``index``, or that it has none."""
        if label is not None:
            self.labels[index] = label

    def batch(
        self, indices: Sequence[int], transforms: Sequence[TransformList]
    ) -> list[torch.Tensor | int | None]:
        """What batch items hold of these images after these transforms; None without a label."""
        task = self.task
        return [
            task.to_tensor(task.transform(self.labels[i], each)) if i in self.labels else None
            for i, each in zip(indices, transforms, strict=True)
        ]


def build_tasks(cfg: CfgNode, needed_by: str | None = None) -> tuple[Task, ...]:
    """The tasks that ``cfg.MODEL.ROCK.TASKS`` names.

    Args:
        cfg: a whole config.
        needed_by: what cannot do without any task, for the error's sake.
    """
    names = cfg.MODEL.ROCK.TASKS
    unknown = [name for name in names if name not in TASK_REGISTRY]
    if unknown or len(set(names)) < len(names):
        known = ", ".join(name for name, _ in TASK_REGISTRY)
        raise ValueError(f"MODEL.ROCK.TASKS: {names} must be different names of: {known}")
    if needed_by and not names:
        raise ValueError(
            f"MODEL.ROCK.TASKS is empty, but {needed_by} learns tasks; "
            "the detector alone is MODEL.NECK.NAME: IdentityNeck"
        )
    return tuple(TASK_REGISTRY.get(name).from_config(cfg.MODEL.ROCK) for name in names)
