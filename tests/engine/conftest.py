"""A small config, and the project's log."""

import logging
from collections.abc import Callable, Iterator

import pytest
from detectron2.config import CfgNode

from rock_d2 import model_zoo


@pytest.fixture
def small_config() -> Callable[..., CfgNode]:
    """ROCK on a ResNet-18, with further settings as KEY, VALUE, and so on."""

    def build(*settings: object) -> CfgNode:
        cfg = model_zoo.get_config("quick_schedules/rock_rooms_quick.yaml")
        cfg.merge_from_list(["MODEL.DEVICE", "cpu", *settings])
        return cfg

    return build


@pytest.fixture
def heard(caplog) -> Iterator[pytest.LogCaptureFixture]:
    """The project's log, which its logger keeps to itself once Detectron2 has set it up."""
    logger = logging.getLogger("rock_d2")
    logger.addHandler(caplog.handler)
    yield caplog
    logger.removeHandler(caplog.handler)
