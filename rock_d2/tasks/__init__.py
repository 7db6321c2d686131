"""Tasks. Importing this package registers them; a new task adds one line here."""

from rock_d2.tasks.base import TASK_REGISTRY, ColourScale, Drawing, Task, build_tasks
from rock_d2.tasks.binary_maps import BinaryMapTask
from rock_d2.tasks.class_maps import ClassMapTask
from rock_d2.tasks.depth import Depth
from rock_d2.tasks.disparity import Disparity
from rock_d2.tasks.edges import Edges
from rock_d2.tasks.human_parts import HumanParts
from rock_d2.tasks.maps import MapTask
from rock_d2.tasks.meters import Meter
from rock_d2.tasks.normals import Normals
from rock_d2.tasks.saliency import Saliency
from rock_d2.tasks.scene import Scene
from rock_d2.tasks.semseg import SemSeg

# The auxiliary tasks of ROCK (sec. 3).
PAPER_TASKS = ("Scene", "Depth", "Normals")
