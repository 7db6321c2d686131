"""Small models, and pre-trained ResNets as their publishers write them."""

import logging
from collections.abc import Callable, Iterator

import pytest
from detectron2.config import CfgNode

from rock_d2 import model_zoo


@pytest.fixture
def small_config() -> Callable[..., CfgNode]:
    """ROCK on a ResNet-18 up to conv5, with further settings as KEY, VALUE, and so on."""

    def build(*settings: object) -> CfgNode:
        cfg = model_zoo.get_config("quick_schedules/rock_rooms_quick.yaml")
        in_features = ["MODEL.SSD.IN_FEATURES", ["res5"], "MODEL.ROCK.IN_FEATURE", "res5"]
        cfg.merge_from_list(["MODEL.RESNETS.OUT_FEATURES", ["res5"], *in_features, *settings])
        return cfg

    return build


@pytest.fixture
def heard(caplog) -> Iterator[pytest.LogCaptureFixture]:
    """The project's log, which its logger keeps to itself once Detectron2 has set it up."""
    logger = logging.getLogger("rock_d2")
    logger.addHandler(caplog.handler)
    yield caplog
    logger.removeHandler(caplog.handler)
