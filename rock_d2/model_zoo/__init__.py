"""The project's configs and models by name, as ``detectron2.model_zoo`` has Detectron2's."""

from pathlib import Path

import torch
from detectron2.config import CfgNode
from detectron2.modeling import build_model
from torch import nn

from rock_d2.config import load_config
from rock_d2.checkpoint.checkpointer import RockCheckpointer

# Installed, the configs lie beside this file; in a checkout they are at its root.
_HERE = Path(__file__).parent
CONFIGS = next(
    folder for folder in (_HERE / "configs", _HERE.parents[1] / "configs") if folder.is_dir()
)


def get_config_file(config_path: str) -> str:
    """The full path of a config of this project.

    Args:
        config_path: relative to ``configs/``, for instance "rock_nyuv2.yaml".
    """
    file = CONFIGS / config_path
    if not file.is_file():
        known = sorted(str(path.relative_to(CONFIGS)) for path in CONFIGS.rglob("*.yaml"))
        raise FileNotFoundError(f"{config_path} is no config; there are: {', '.join(known)}")
    return str(file)


def get_config(config_path: str, trained: bool = False) -> CfgNode:
    """A config of this project.

    Args:
        config_path: relative to ``configs/``.
        trained: whether MODEL.WEIGHTS shall be the trained model.
    """
    if trained:
        raise ValueError(
            f"{config_path}: no trained weights are published; train the model with "
            "tools/train_net.py, or set MODEL.WEIGHTS to your own file"
        )
    return load_config(get_config_file(config_path))


def get(config_path: str, trained: bool = False, device: str | None = None) -> nn.Module:
    """A model of this project with the weights that its config names, in training mode.

    Args:
        config_path: relative to ``configs/``.
        trained: see ``get_config``.
        device: instead of the config's; without a GPU it is the CPU anyway.
    """
    cfg = get_config(config_path, trained)
    if device is None and not torch.cuda.is_available():
        device = "cpu"
    if device is not None:
        cfg.MODEL.DEVICE = device
    model = build_model(cfg)
    RockCheckpointer(cfg, model=model).load(cfg.MODEL.WEIGHTS)
    return model
