"""A task of one's own, in one file outside the package, works with any detector."""

import sys
from importlib import import_module
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from detectron2.modeling import build_model
from detectron2.structures import BoxMode
from detectron2.utils.events import EventStorage

from rock_d2 import TASK_REGISTRY, RockDatasetMapper, load_config

ROOT = Path(__file__).parents[2]
CONFIGS = {
    "SSD": "rock/rock_rooms.yaml",
    "RetinaNet": "detectors/retinanet_rock_rooms.yaml",
    "Mask R-CNN": "detectors/mask_rcnn_rock_rooms.yaml",
}


@pytest.fixture(scope="module")
def outlines_task():
    sys.path.insert(0, str(ROOT / "examples"))
    yield import_module("outlines_task")
    sys.path.remove(str(ROOT / "examples"))
    # Other tests, and the configs that they write, do not have it; registries forget nothing.
    TASK_REGISTRY._obj_map.pop("Outlines")
    del sys.modules["outlines_task"]


@pytest.fixture
def record(tmp_path):
    """An image of 60 x 80 with an object with its outline; the first row is unknown."""
    edges = cv2.rectangle(np.zeros((60, 80), np.uint8), (20, 10), (60, 50), color=1)
    edges[0] = 255
    files = {"file_name": edges[..., None].repeat(3, axis=2) * 100, "outlines_file_name": edges}
    for field, pixels in files.items():
        cv2.imwrite(str(tmp_path / f"{field}.png"), pixels)
    outline = [20, 10, 60, 10, 60, 50, 20, 50]
    box = {"bbox": [20, 10, 40, 40], "bbox_mode": BoxMode.XYWH_ABS, "category_id": 0}
    return {
        **{field: str(tmp_path / f"{field}.png") for field in files},
        **{"height": 60, "width": 80, "image_id": 1},
        "annotations": [{**box, "iscrowd": 0, "segmentation": [outline]}],
    }


@pytest.mark.parametrize("detector", CONFIGS)
def test_with_a_detector(outlines_task, record, detector):
    options = ("MODEL.TASKS.AUXILIARY", ["Outlines"], "MODEL.DEVICE", "cpu", "MODEL.WEIGHTS", "")
    options += ("INPUT.SIZE", [96, 128])
    cfg = load_config(str(ROOT / "configs" / CONFIGS[detector]), options)
    torch.manual_seed(0)
    model = build_model(cfg)
    mapper = RockDatasetMapper(cfg, is_train=True)
    unlabelled = {key: value for key, value in record.items() if key != "outlines_file_name"}
    with EventStorage():
        losses = model([mapper(record), mapper(unlabelled)])
        sum(losses.values()).backward()
        assert losses["loss_outlines"] > 0
        assert any(p.grad.any() for p in model.neck.parameters() if p.grad is not None)
        assert model([mapper(unlabelled), mapper(unlabelled)])["loss_outlines"] == 0
    model.eval()
    with torch.no_grad():
        output = model([RockDatasetMapper(cfg, is_train=False)(record)])[0]
    assert output["outlines"].shape == (1, 60, 80)
    assert output["outlines"].min() >= 0 and output["outlines"].max() <= 1 and "instances" in output


def test_loss_and_metric(outlines_task, record):
    task = outlines_task.Outlines()
    label = task.read(record)
    target = torch.from_numpy(label)[None, None]
    # Undecided everywhere: the weighted mean of log 2, with 160 of the 59 x 80 known pixels edges.
    share = 160 / (59 * 80)
    expected = (0.95 * share + 0.05 * (1 - share)) * np.log(2)
    assert task.loss(torch.zeros(1, 1, 60, 80), target).item() == pytest.approx(expected)
    # All edges and as many others: precision 1/2, recall 1.
    prediction = (label == 1) | (np.roll(label, 40, axis=1) == 1)
    found = int(prediction[1:].sum())
    metrics = task.meter().metrics(task.meter().count(np.float32(prediction)[None], label))
    assert metrics == pytest.approx(
        {"precision": 160 / found, "recall": 1, "f1": 2 * 160 / (160 + found)}
    )
