"""The contract of a task. A new task is one new file beside this one, or anywhere else."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import Field, dataclass, field, fields
from typing import Any, ClassVar, NamedTuple

import cv2
import numpy as np
import torch
from detectron2.config import CfgNode
from detectron2.data import Metadata, MetadataCatalog
from detectron2.data.transforms import TransformList
from fvcore.common.registry import Registry
from fvcore.transforms.transform import Transform

from rock_d2.classes import first_set
from rock_d2.tasks.meters import Meter

TASK_REGISTRY = Registry("TASK")
TASK_REGISTRY.__doc__ = "Tasks by the name that MODEL.TASKS.MAIN and AUXILIARY give them."


class ColourScale(NamedTuple):
    """The meaning of a picture's colours.

    Attributes:
        low, high: the values at its ends, with their unit.
        colours: uint8 (K, 3), RGB, from low to high.
    """

    low: str
    high: str
    colours: np.ndarray


def rgb_colours(colour_map: int) -> np.ndarray:
    """Return the colours of one of OpenCV's maps, uint8 (256, 3), from low to high."""
    return cv2.applyColorMap(np.arange(256, dtype=np.uint8), colour_map).reshape(256, 3)[:, ::-1]


class Drawing(NamedTuple):
    """A label or a prediction for people: a line of text and, where it is a map, a picture.

    Attributes:
        caption: one line.
        image: uint8 (H, W, 3), RGB, or None.
        scale: of the picture's colours, or None if the caption explains them.
    """

    caption: str
    image: np.ndarray | None
    scale: ColourScale | None = None


def setting(default: Any, *, key: str) -> Any:
    """Return a field of a task whose key of ``MODEL.TASKS.<NAME>`` is not its name."""
    return field(default=default, metadata={"key": key})


def key_of(setting: Field) -> str:
    return setting.metadata.get("key", setting.name.upper())


@dataclass(frozen=True)
class Task(ABC):
    """A task that a network learns: a picklable value that holds settings and no weights.

    Each field is a setting with its default, and a key of ``MODEL.TASKS.<NAME>`` in capitals. The
    methods stand in the order of the data: from file to batch, to prediction and loss, to people.
    ``MapTask`` has most of them for tasks whose label is a map in a PNG.

    Attributes:
        name: key of batch items and stem of every other name: ``loss_<name>``, ``apply_<name>``.
        field: the key of a dataset dict that carries the label; images may lack it.
        num_outputs: maps of the network's prediction, before ``activation``.
        unit: of the numbers of ``postprocess``, for people.
        is_map: whether the prediction is a map rather than one vector for the whole image.
        eval_images: of a test set that are measured, evenly spread over it; 0: all.
        loss_weight: factor of the loss in the sum that is minimised.
    """

    name: ClassVar[str]
    field: ClassVar[str]
    num_outputs: ClassVar[int]
    unit: ClassVar[str] = ""
    is_map: ClassVar[bool] = False
    eval_images: ClassVar[int] = 0

    loss_weight: float = 1.0

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "name" in cls.__dict__:
            cls.register_transforms()

    @classmethod
    def register_transforms(cls) -> None:
        """Give Detectron2's transforms their rules ``apply_<name>``; by default nothing happens.

        A rule takes a transform and a loaded label, and returns the label afterwards.
        """
        Transform.register_type(cls.name, lambda transform, label: label)

    @classmethod
    def add_config(cls, node: CfgNode) -> None:
        """Add this task's settings to ``cfg.MODEL.TASKS``."""
        settings = {key_of(setting): setting.default for setting in fields(cls)}
        node[cls.name.upper()] = CfgNode(settings)

    @classmethod
    def from_config(cls, node: CfgNode) -> "Task":
        """Return the task with the settings of ``cfg.MODEL.TASKS``."""
        settings = node[cls.name.upper()]
        return cls(**{setting.name: settings[key_of(setting)] for setting in fields(cls)})

    def for_data(self, metadata: Metadata) -> "Task":
        """Return the task with the data set's facts where the settings leave them open."""
        return self

    @property
    def channels(self) -> int:
        """K_t, the width of ROCK's encoding: a multiple of ``num_outputs`` (ROCK, sec. 2)."""
        return self.num_outputs

    def check_metadata(self, metadata: Metadata, first: Metadata | None = None) -> None:
        """Raise ValueError if a data set's facts contradict the settings, or the first set's."""

    def load(self, record: Mapping[str, Any]) -> Any | None:
        """Return the label of a dataset dict in the form that transforms take; None without one."""
        return record.get(self.field)

    def read(self, record: Mapping[str, Any]) -> np.ndarray | int | None:
        """Return the label in its units, for evaluators and people; None without one."""
        return self.load(record)

    def check(self, record: Mapping[str, Any], metadata: Metadata) -> tuple[list[str], float]:
        """Return the faults of a label, a line each, and the share of the image that is known."""
        try:
            return [], float(self.read(record) is not None)
        except (OSError, ValueError) as error:
            return [str(error)], 0.0

    def transform(self, label: Any, transforms: TransformList) -> Any:
        """Return a loaded label after the transforms that its image went through."""
        for transform in transforms.transforms:
            if not hasattr(transform, f"apply_{self.name}"):
                kind = type(transform).__name__
                raise NotImplementedError(
                    f"{kind} has no rule for `{self.name}`: switch that augmentation off, or give "
                    f"it one by {kind}.register_type({self.name!r}, rule)"
                )
        return getattr(transforms, f"apply_{self.name}")(label)

    def to_tensor(self, label: Any) -> torch.Tensor | int:
        """Return a transformed label as a batch item holds it."""
        return label

    @abstractmethod
    def collate(
        self,
        batched_inputs: Sequence[Mapping[str, Any]],
        *,
        size: tuple[int, int],
        device: torch.device,
    ) -> torch.Tensor:
        """Return the labels of a batch as one tensor.

        Images without a label and padding, up to ``size``, are 'unknown' in it. So the shapes are
        the same whichever labels are missing, and a loss that skips the unknown gives such images
        exactly no gradient.
        """

    def target_maps(
        self, target: torch.Tensor, size: tuple[int, int]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the maps (N, num_outputs, h, w) that would predict the collated labels.

        And bool (N, 1, h, w) or (N, 1, 1, 1), true where the label is known.
        """
        raise ValueError(f"MODEL.ROCK.GIVEN: {type(self).__name__} has no `target_maps`")

    def activation(self, maps: torch.Tensor) -> torch.Tensor:
        """Return the prediction of the network's maps (N, num_outputs, h, w).

        That of a map task changes nothing if it is applied twice.
        """
        return maps

    @abstractmethod
    def loss(self, prediction: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """Return the mean loss over the known part of a collated batch, before ``loss_weight``.

        It is computed in fp32, and is 0 with a gradient of 0 where nothing is known.
        """

    @abstractmethod
    def postprocess(self, prediction: torch.Tensor, output_size: tuple[int, int]) -> torch.Tensor:
        """Return one image's prediction in the label's units, at ``output_size`` (H, W)."""

    def quantised(self, prediction: np.ndarray) -> np.ndarray:
        """Return an image's prediction, in the form of ``postprocess``, as an 8-bit PNG holds it.

        A task whose predictions are not kept in such a file leaves them as they are.
        """
        return prediction

    @abstractmethod
    def meter(self) -> Meter:
        """Return the metric of the predictions."""

    def as_values(self, prediction: np.ndarray) -> np.ndarray:
        """Return an image's prediction, in the form of ``postprocess``, in the form of ``read``."""
        return prediction

    @abstractmethod
    def draw(
        self, values: np.ndarray | int, metadata: Metadata, *, reference: Any | None = None
    ) -> Drawing:
        """Draw a label (of ``read``) or a prediction (of ``as_values``) for people.

        The truth is the ``reference``, where it is at hand, to compare with.
        """

    def ranking(self, prediction: np.ndarray, metadata: Metadata, count: int) -> dict[str, float]:
        """Return the most probable classes, best first, of a task that classifies images."""
        return {}


def build_tasks(cfg: CfgNode) -> tuple[Task, ...]:
    """Return the tasks that ``cfg.MODEL.TASKS.MAIN`` and ``AUXILIARY`` name."""
    names = [*cfg.MODEL.TASKS.MAIN, *cfg.MODEL.TASKS.AUXILIARY]
    unknown = [name for name in names if name not in TASK_REGISTRY]
    if unknown or len(set(names)) < len(names):
        known = ", ".join(name for name, _ in TASK_REGISTRY)
        raise ValueError(
            f"MODEL.TASKS.MAIN and AUXILIARY: {names} must be different names of: {known}"
        )
    for name in names:
        if lacking := TASK_REGISTRY.get(name).__abstractmethods__:
            raise ValueError(f"MODEL.TASKS: {name} lacks the methods {', '.join(sorted(lacking))}")
    tasks = tuple(TASK_REGISTRY.get(name).from_config(cfg.MODEL.TASKS) for name in names)
    if not (cfg.DATASETS.TRAIN or cfg.DATASETS.TEST):
        return tasks
    return tuple(task.for_data(MetadataCatalog.get(first_set(cfg, task.name))) for task in tasks)
