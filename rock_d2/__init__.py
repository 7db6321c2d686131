"""Multi-task learning for Detectron2: detectors that learn further tasks while they train.

Importing this package registers its networks, tasks and data sets with Detectron2.
"""

from rock_d2.config import add_rock_config, load_config
from rock_d2.data import (
    RockDatasetMapper,
    build_test_loader,
    build_train_loader,
    load_multitask_coco,
    register_multitask_coco,
)
from rock_d2.evaluation.build import build_evaluator
from rock_d2.modeling.balancing import BALANCER_REGISTRY
from rock_d2.modeling.fusions import FUSION_REGISTRY
from rock_d2.modeling.necks import NECK_REGISTRY
from rock_d2.predictor import Predictor
from rock_d2.tasks import TASK_REGISTRY, Task

__version__ = "0.1.0"
