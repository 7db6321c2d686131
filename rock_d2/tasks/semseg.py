"""Semantic segmentation: the class of each pixel."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from detectron2.data import Metadata

from rock_d2.tasks.base import TASK_REGISTRY
from rock_d2.tasks.class_maps import ClassMapTask
from rock_d2.tasks.data_classes import ClassesFromData


@TASK_REGISTRY.register()
@dataclass(frozen=True)
class SemSeg(ClassesFromData, ClassMapTask):
    """Semantic segmentation by cross-entropy (MTI-Net, sec. 4.1).

    Field and outputs are those of Detectron2's semantic segmentation.

    Attributes:
        num_classes: 0: as many as the data set has ``stuff_classes``.
    """

    name = "sem_seg"
    field = "sem_seg_file_name"
    class_list = "stuff_classes"

    num_classes: int = 0

    @property
    def num_outputs(self) -> int:
        if not self.num_classes:
            raise ValueError(
                "MODEL.TASKS.SEM_SEG.NUM_CLASSES is 0, and there is no data set that says how "
                "many; set the number"
            )
        return self.num_classes

    def class_names(self, metadata: Metadata) -> Sequence[str]:
        return metadata.get("stuff_classes", ()) or super().class_names(metadata)

    def pixel_problems(self, pixels: np.ndarray) -> Iterator[str]:
        # Where nobody has said how many classes there are, any may occur.
        if self.num_classes:
            yield from super().pixel_problems(pixels)
