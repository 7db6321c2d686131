"""Tasks. Importing this package registers them; a new task adds one line here."""

from rock_d2.tasks.base import TASK_REGISTRY, ColourScale, Drawing, Task, build_tasks
from rock_d2.tasks.depth import Depth
from rock_d2.tasks.maps import MapTask
from rock_d2.tasks.meters import Meter
from rock_d2.tasks.normals import Normals
from rock_d2.tasks.scene import Scene

# The auxiliary tasks of the paper (sec. 3).
PAPER_TASKS = ("Scene", "Depth", "Normals")

__all__ = [
    "PAPER_TASKS",
    "TASK_REGISTRY",
    "ColourScale",
    "Depth",
    "Drawing",
    "MapTask",
    "Meter",
    "Normals",
    "Scene",
    "Task",
    "build_tasks",
]
