"""Small models, and pre-trained ResNets as their publishers write them."""

import logging
from collections.abc import Callable, Iterator

import pytest
import torch
import torchvision
from detectron2.config import CfgNode
from tiny import with_random_norms
from torch import nn

from rock_d2 import model_zoo


@pytest.fixture(scope="session")
def small_config() -> Callable[..., CfgNode]:
    """ROCK on a ResNet-18 up to conv5, with further settings as KEY, VALUE, and so on."""

    def build(*settings: object, name: str = "quick_schedules/rock_rooms_quick.yaml") -> CfgNode:
        cfg = model_zoo.get_config(name)
        res5 = ("MODEL.SSD.IN_FEATURES", ["res5"], "MODEL.ROCK.IN_FEATURES", ["res5"])
        if "quick" in name:
            cfg.merge_from_list(["MODEL.RESNETS.OUT_FEATURES", ["res5"], *res5])
        cfg.merge_from_list(["MODEL.DEVICE", "cpu", *settings])
        return cfg

    return build


@pytest.fixture
def heard(caplog) -> Iterator[pytest.LogCaptureFixture]:
    """What the project and fvcore log, also once Detectron2 has set their loggers up."""
    caplog.set_level(logging.INFO)
    loggers = [logging.getLogger(name) for name in ("rock_d2", "fvcore")]
    for logger in loggers:
        logger.addHandler(caplog.handler)
    yield caplog
    for logger in loggers:
        logger.removeHandler(caplog.handler)


@pytest.fixture(scope="session")
def resnets() -> dict[int, nn.Module]:
    torch.manual_seed(0)
    found = {18: torchvision.models.resnet18(), 50: torchvision.models.resnet50()}
    return {depth: with_random_norms(resnet).eval() for depth, resnet in found.items()}
