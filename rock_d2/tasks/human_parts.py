"""Human parts: which part of a person each pixel shows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from detectron2.data import Metadata

from rock_d2.tasks.base import TASK_REGISTRY
from rock_d2.tasks.class_maps import UNKNOWN, ClassMapTask
from rock_d2.tasks.geometry import LabelMap

BACKGROUND = 0
PARTS = ("head", "torso", "upper arms", "lower arms", "upper legs", "lower legs")


@TASK_REGISTRY.register()
@dataclass(frozen=True)
class HumanParts(ClassMapTask):
    """Segmentation of people into six parts and the background by cross-entropy.

    As in MTI-Net's data, an image without people is unknown everywhere: it teaches nothing, and
    what is found in it is not measured.
    """

    name = "human_parts"
    field = "human_parts_file_name"
    num_classes = 1 + len(PARTS)

    loss_weight: float = 2.0

    def load(self, record: Mapping[str, Any]) -> LabelMap | None:
        label = super().load(record)
        if label is None or np.isin(label.pixels, (BACKGROUND, UNKNOWN), invert=True).any():
            return label
        return label._replace(pixels=np.full_like(label.pixels, UNKNOWN))

    def class_names(self, metadata: Metadata) -> Sequence[str]:
        return ("background", *PARTS)
