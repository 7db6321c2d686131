"""Auxiliary tasks. Importing this package registers them; a new task adds one line here."""

from rock_d2.tasks.base import AUX_TASK_REGISTRY, AuxTask, build_tasks
from rock_d2.tasks.depth import Depth
from rock_d2.tasks.normals import Normals
from rock_d2.tasks.scene import Scene

__all__ = ["AUX_TASK_REGISTRY", "AuxTask", "Depth", "Normals", "Scene", "build_tasks"]
