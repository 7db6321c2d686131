"""Semantic segmentation: the class of each pixel."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from detectron2.data import Metadata

from rock_d2.tasks.base import TASK_REGISTRY
from rock_d2.tasks.class_maps import ClassMapTask


@TASK_REGISTRY.register()
@dataclass(frozen=True)
class SemSeg(ClassMapTask):
    """Semantic segmentation by cross-entropy (MTI-Net, sec. 4.1).

    Field and outputs are those of Detectron2's semantic segmentation.

    Attributes:
        num_classes: 0: as many as the data set has ``stuff_classes``.
    """

    name = "sem_seg"
    field = "sem_seg_file_name"

    num_classes: int = 0

    @property
    def num_outputs(self) -> int:
        if not self.num_classes:
            raise ValueError(
                "MODEL.TASKS.SEM_SEG.NUM_CLASSES is 0, and there is no data set that says how "
                "many; set the number"
            )
        return self.num_classes

    def for_data(self, metadata: Metadata) -> "SemSeg":
        if self.num_classes:
            return self
        classes = metadata.get("stuff_classes", ())
        if not classes:
            raise ValueError(
                "MODEL.TASKS.SEM_SEG.NUM_CLASSES is 0, but data set "
                f"`{metadata.name}` has no stuff_classes; set the number"
            )
        return replace(self, num_classes=len(classes))

    def check_metadata(self, metadata: Metadata) -> None:
        found = len(metadata.get("stuff_classes", ()))
        if found not in (0, self.num_classes):
            raise ValueError(
                f"MODEL.TASKS.SEM_SEG.NUM_CLASSES is {self.num_classes}, but data set "
                f"`{metadata.name}` has {found} stuff_classes"
            )

    def class_names(self, metadata: Metadata) -> Sequence[str]:
        return metadata.get("stuff_classes", ()) or super().class_names(metadata)

    def pixel_problems(self, pixels: np.ndarray) -> Iterator[str]:
        # Where nobody has said how many classes there are, any may occur.
        if self.num_classes:
            yield from super().pixel_problems(pixels)

    def check(self, record: Mapping[str, Any], metadata: Metadata) -> tuple[list[str], float]:
        count = len(metadata.get("stuff_classes", ())) or self.num_classes
        return ClassMapTask.check(replace(self, num_classes=count), record, metadata)
