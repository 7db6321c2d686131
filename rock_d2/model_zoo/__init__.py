"""The project's configs and models by name, as ``detectron2.model_zoo`` has Detectron2's."""

from difflib import get_close_matches
from pathlib import Path

import torch
from detectron2.config import CfgNode
from detectron2.modeling import build_model
from torch import nn

from rock_d2.checkpoint.checkpointer import RockCheckpointer
from rock_d2.config import CONFIGS, load_config


def get_config_file(config_path: str) -> str:
    """Return the full path of a config such as "rock_nyuv2.yaml", relative to ``configs/``."""
    file = CONFIGS / config_path
    if not file.is_file():
        known = [str(path.relative_to(CONFIGS)) for path in CONFIGS.rglob("*.yaml")]
        close = get_close_matches(config_path, known, n=5, cutoff=0)
        raise FileNotFoundError(f"{config_path} is no config; the closest are {', '.join(close)}")
    return str(file)


def get_config(config_path: str) -> CfgNode:
    return load_config(get_config_file(config_path))


def get(config_path: str, trained: bool = False, device: str | None = None) -> nn.Module:
    """Return a model in training mode, with the weights that its config names.

    ``trained`` takes those that come with the project, for instance of "rock_rooms" or
    "rock/rock_rooms.yaml"; ``trained/`` beside this file describes them. Without a GPU the device
    is the CPU.
    """
    if trained:
        config_path = f"trained/{Path(config_path).stem}.yaml"
    cfg = get_config(config_path)
    if not torch.cuda.is_available():
        device = "cpu"
    cfg.MODEL.DEVICE = device or cfg.MODEL.DEVICE
    model = build_model(cfg)
    RockCheckpointer(cfg, model=model).load(cfg.MODEL.WEIGHTS)
    return model
