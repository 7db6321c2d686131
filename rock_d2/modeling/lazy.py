"""Networks that a Python file describes, by Detectron2's LazyConfig."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from detectron2.config import CfgNode, LazyConfig, instantiate
from detectron2.modeling import META_ARCH_REGISTRY
from torch import nn

from rock_d2.classes import class_names
from rock_d2.tasks import TASK_REGISTRY, Task, build_tasks


def add_lazy_config(cfg: CfgNode) -> None:
    cfg.MODEL.LAZY = CfgNode()
    # The Python file whose `model` is the network, for MODEL.META_ARCHITECTURE "build_lazy_model".
    # As --config-file it sets both, and its `settings` names the yaml that has the rest.
    cfg.MODEL.LAZY.FILE = ""
    # Changes of it, as ["neck.width=256"].
    cfg.MODEL.LAZY.OVERRIDES = []


def settings_of(path: str) -> str:
    try:
        settings, _ = LazyConfig.load(path, ("settings", "model"))
    except KeyError as problem:
        raise ValueError(f"{path} is no config: it lacks `{problem.args[0]}`") from None
    return settings


def use_lazy_model(cfg: CfgNode, path: str) -> None:
    cfg.MODEL.META_ARCHITECTURE = build_lazy_model.__name__
    cfg.MODEL.LAZY.FILE = str(Path(path).resolve())


def make_tasks(**settings: Mapping[str, Any]) -> tuple[Task, ...]:
    """Return tasks by their registered names, each with fields that are not the default."""
    return tuple(TASK_REGISTRY.get(name)(**fields) for name, fields in settings.items())


@META_ARCH_REGISTRY.register()
def build_lazy_model(cfg: CfgNode) -> nn.Module:
    """Return the network of MODEL.LAZY.

    MODEL.TASKS has to say the same tasks: the labels are read, and predictions are measured, by it.
    """
    tree = LazyConfig.load(cfg.MODEL.LAZY.FILE, "model")
    model = instantiate(LazyConfig.apply_overrides(tree, list(cfg.MODEL.LAZY.OVERRIDES)))
    tasks, wanted = model.neck.tasks, build_tasks(cfg)
    if tasks and set(tasks) != set(wanted):
        raise ValueError(
            f"{cfg.MODEL.LAZY.FILE}: model.neck.tasks are {list(tasks)}, but MODEL.TASKS says "
            f"{list(wanted)}"
        )
    found, count = num_classes(model.detector), len(class_names(cfg))
    if count and found not in (None, count):
        raise ValueError(
            f"{cfg.MODEL.LAZY.FILE}: the detector of `model` has {found} classes, but the data "
            f"have {count}; set its num_classes, there or by MODEL.LAZY.OVERRIDES"
        )
    return model


def num_classes(detector: nn.Module) -> int | None:
    """Return the number of a detector's classes, which one of its parts keeps; None: none."""
    parts = (detector, *(getattr(detector, name, None) for name in ("roi_heads", "head")))
    return next((part.num_classes for part in parts if hasattr(part, "num_classes")), None)
