"""Detections as arrays: the same numbers as Detectron2's, to the last bit."""

import json

import numpy as np
import pytest
import torch
from coco_sets import SQUARE, coco_set
from detectron2.evaluation.coco_evaluation import instances_to_coco_json
from detectron2.structures import Boxes, Instances

from rock_d2.evaluation.detections import Detections

SIZES = (3, 0, 5, 1)


def outputs(dtype: torch.dtype = torch.float32) -> list[dict]:
    """Of four images with other numbers of boxes, and numbers of all magnitudes."""
    torch.manual_seed(0)
    found = []
    for size in SIZES:
        corners = 640 * torch.rand(size, 2)
        boxes = torch.cat([corners, corners + torch.logspace(-7, 3, 2 * size).view(size, 2)], 1)
        instances = Instances((480, 640), pred_boxes=Boxes(boxes.to(dtype)))
        # Boxes(...) would make single precision of them.
        instances.pred_boxes.tensor = instances.pred_boxes.tensor.to(dtype)
        instances.scores = torch.logspace(-9, 0, size).to(dtype)
        instances.pred_classes = torch.arange(size)
        found.append({"instances": instances})
    return found


INPUTS = [{"image_id": number} for number in (7, 1, 123456789, 2)]


def test_conversion_is_detectron2s_to_the_last_byte():
    expected = [
        box
        for item, output in zip(INPUTS, outputs(), strict=True)
        for box in instances_to_coco_json(output["instances"], item["image_id"])
    ]
    assert len(expected) == sum(SIZES)
    # However the images come in batches.
    for size in (1, 3, 4):
        parts = [
            Detections.from_model(INPUTS[i : i + size], outputs()[i : i + size])
            for i in range(0, 4, size)
        ]
        assert Detections.concatenate(parts).to_json() == json.dumps(expected)


def test_what_a_model_computes_in_half_precision_is_kept_exactly():
    found = Detections.from_model(INPUTS, outputs(torch.float16))
    scores = [score for output in outputs(torch.float16) for score in output["instances"].scores]
    assert found.score.tolist() == [float(score) for score in scores]


def test_nothing_found():
    none = Detections.from_model(INPUTS[1:2], outputs()[1:2])
    assert none.to_json() == Detections.concatenate([]).to_json() == "[]"
    assert none.boxes.shape == (0, 4)
    assert Detections.from_coco([]).boxes.shape == (0, 4)


def test_from_files_and_back():
    _, found = coco_set([], [(1, 2, SQUARE, 0.1), (3, 1, (0.1, 1e-9, 1e22, 7), 1 / 3)])
    detections = Detections.from_coco(found)
    assert detections.to_json() == json.dumps(found)
    assert json.loads(detections.choose(np.array([1])).to_json()) == found[1:]


@pytest.mark.parametrize(
    "change",
    [
        {"image_id": 1.5},
        {"image_id": None},
        {"image_id": "1"},
        {"category_id": 10**30},
        {"bbox": [0, 0, 1]},
        {"bbox": [[0], 0, 1, 1]},
        {"bbox": 7},
        {"score": "high"},
        {"score": 10**400},
    ],
    ids=str,
)
def test_what_is_no_result_is_refused(change):
    _, found = coco_set([], [(1, 2, SQUARE, 0.1)] * 5)
    with pytest.raises(ValueError, match="not COCO's result format, a list of objects with"):
        Detections.from_coco([*found, found[0] | change])
    with pytest.raises(ValueError, match="not COCO's result format"):
        Detections.from_coco([found[0] | change] * 5)


def test_fields_must_be_there():
    with pytest.raises(ValueError, match=r"not COCO's result format.*KeyError\('score'\)"):
        Detections.from_coco([{"image_id": 1, "category_id": 1, "bbox": [0, 0, 1, 1]}])
