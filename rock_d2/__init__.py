"""rock_d2: primary multi-task learning for Detectron2.

Importing this package is quick; the modules behind its names are imported as the names are used.
The first of them also registers all that rock_d2 adds to Detectron2: every program that uses
rock_d2 needs one, if only ``add_rock_config``.
"""

import importlib
import importlib.util
from typing import TYPE_CHECKING, Any

from rock_d2.imports import defer_compiler
from rock_d2.noise import silence

if importlib.util.find_spec("detectron2") is None:
    raise ImportError(
        "rock_d2 needs Detectron2; install it with: python third_party/detectron2/install.py"
    )

silence()
defer_compiler()

if TYPE_CHECKING:
    from rock_d2.config import add_rock_config
    from rock_d2.data import (
        RockDatasetMapper,
        build_test_loader,
        build_train_loader,
        load_multitask_coco,
        register_multitask_coco,
    )
    from rock_d2.evaluation.build import build_evaluator
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

# What is imported as it is used: name and module.
_LAZY = {
    "AUX_TASK_REGISTRY": "rock_d2.tasks",
    "AuxTask": "rock_d2.tasks",
    "FUSION_REGISTRY": "rock_d2.modeling.fusion",
    "NECK_REGISTRY": "rock_d2.modeling.neck",
    "Predictor": "rock_d2.predictor",
    "RockDatasetMapper": "rock_d2.data",
    "add_rock_config": "rock_d2.config",
    "build_evaluator": "rock_d2.evaluation.build",
    "build_test_loader": "rock_d2.data",
    "build_train_loader": "rock_d2.data",
    "load_multitask_coco": "rock_d2.data",
    "register_multitask_coco": "rock_d2.data",
}


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    importlib.import_module("rock_d2.registration")
    value = getattr(importlib.import_module(_LAZY[name]), name)
    # From now on it is found without this function.
    globals()[name] = value
    return value
