"""Tasks whose classes can be left to the data set."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar

from detectron2.data import Metadata

from rock_d2.tasks.base import Task


class ClassesFromData:
    """Of a task whose number of classes, a setting, can be left to the data set: 0.

    Attributes:
        class_list: the key of the data set's facts that names the classes.
    """

    class_list: ClassVar[str]

    def for_data(self, metadata: Metadata) -> "Task":
        if self.num_classes:
            return self
        classes = metadata.get(self.class_list, ())
        if not classes:
            raise ValueError(
                f"MODEL.TASKS.{self.name.upper()}.NUM_CLASSES is 0, but data set "
                f"`{metadata.name}` has no {self.class_list}; set the number"
            )
        return replace(self, num_classes=len(classes))

    def check_metadata(self, metadata: Metadata, first: Metadata | None = None) -> None:
        classes = list(metadata.get(self.class_list, ()))
        if len(classes) not in (0, self.num_classes):
            raise ValueError(
                f"MODEL.TASKS.{self.name.upper()}.NUM_CLASSES is {self.num_classes}, but data set "
                f"`{metadata.name}` has {len(classes)} {self.class_list}"
            )
        wanted = list(first.get(self.class_list, ())) if first else []
        if classes and wanted and classes != wanted:
            raise ValueError(
                f"data set `{metadata.name}` has other {self.class_list} than `{first.name}`: for "
                f"instance {next(a for a, b in zip(classes, wanted, strict=True) if a != b)!r}"
            )

    def check(self, record: Mapping[str, Any], metadata: Metadata) -> tuple[list[str], float]:
        count = len(metadata.get(self.class_list, ())) or self.num_classes
        return super(ClassesFromData, replace(self, num_classes=count)).check(record, metadata)
