"""A fixture for test modules that say ``pytest_plugins = ("tiny_weights",)``."""

from pathlib import Path

import pytest
import torch
from detectron2.modeling import build_model
from tiny_model import tiny_config

from rock_d2.checkpoint.checkpointer import RockCheckpointer


@pytest.fixture(scope="session")
def tiny_weights(tmp_path_factory) -> dict[str, Path]:
    """Checkpoints of the model and of its baseline."""
    folder = tmp_path_factory.mktemp("weights")
    for name in ("rock", "ssd"):
        cfg = tiny_config(name)
        torch.manual_seed(0)
        RockCheckpointer(cfg, model=build_model(cfg), save_dir=str(folder)).save(name)
    return {name: folder / f"{name}.pth" for name in ("rock", "ssd")}
