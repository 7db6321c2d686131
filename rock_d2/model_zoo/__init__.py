"""The project's configs and models by name, as ``detectron2.model_zoo`` has Detectron2's."""

from pathlib import Path

import torch
from detectron2.config import CfgNode
from detectron2.modeling import build_model
from torch import nn

from rock_d2.checkpoint.checkpointer import RockCheckpointer
from rock_d2.config import load_config

# Installed, the configs are beside this file; in a checkout they are at its root.
_HERE = Path(__file__).parent
CONFIGS = next(
    folder for folder in (_HERE / "configs", _HERE.parents[1] / "configs") if folder.is_dir()
)


def get_config_file(config_path: str) -> str:
    """Return the full path of a config.

    Args:
        config_path: relative to ``configs/``, for instance "rock_nyuv2.yaml".
    """
    file = CONFIGS / config_path
    if not file.is_file():
        known = sorted(str(path.relative_to(CONFIGS)) for path in CONFIGS.rglob("*.yaml"))
        raise FileNotFoundError(f"{config_path} is no config; there are: {', '.join(known)}")
    return str(file)


def get_config(config_path: str) -> CfgNode:
    """Return a config by its path relative to ``configs/``."""
    return load_config(get_config_file(config_path))


def get(config_path: str, device: str | None = None) -> nn.Module:
    """Return a model in training mode, with the weights that its config names.

    Args:
        config_path: relative to ``configs/``.
        device: instead of the config's; without a GPU it is the CPU in any case.
    """
    cfg = get_config(config_path)
    if device is not None or not torch.cuda.is_available():
        cfg.MODEL.DEVICE = device or "cpu"
    model = build_model(cfg)
    RockCheckpointer(cfg, model=model).load(cfg.MODEL.WEIGHTS)
    return model
