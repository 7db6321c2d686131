"""rock_d2: primary multi-task learning for Detectron2."""

import importlib.util

if importlib.util.find_spec("detectron2") is None:
    raise ImportError(
        "rock_d2 needs Detectron2; install it with: python third_party/detectron2/install.py"
    )

# Registration: a new neck, fusion or meta-architecture adds its module here.
from rock_d2.config import add_rock_config
from rock_d2.data import (
    RockDatasetMapper,
    build_test_loader,
    build_train_loader,
    load_multitask_coco,
    register_multitask_coco,
)
from rock_d2.evaluation.build import build_evaluator
from rock_d2.modeling import anchor_generator, flat, fusion, neck, rock, ssd  # noqa: F401
from rock_d2.modeling.fusion import FUSION_REGISTRY
from rock_d2.modeling.neck import NECK_REGISTRY
from rock_d2.predictor import Predictor
from rock_d2.tasks import AUX_TASK_REGISTRY, AuxTask

__version__ = "0.1.0"

__all__ = [
    "AUX_TASK_REGISTRY",
    "FUSION_REGISTRY",
    "NECK_REGISTRY",
    "AuxTask",
    "Predictor",
    "RockDatasetMapper",
    "add_rock_config",
    "build_evaluator",
    "build_test_loader",
    "build_train_loader",
    "load_multitask_coco",
    "register_multitask_coco",
]
