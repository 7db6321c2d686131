"""The evaluators that belong to a detector and to tasks."""

import json

import cv2
import numpy as np
import pytest
import torch
from coco_sets import coco_set
from detectron2.config import get_cfg
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.data.datasets import register_coco_instances
from detectron2.structures import Boxes, Instances

from rock_d2 import add_rock_config, build_evaluator


@pytest.fixture
def triangle(tmp_path):
    """A data set with one object, the lower left half of a square, and an image nobody labelled."""
    truth, _ = coco_set([(1, 1, (10, 10, 40, 40))], [], images=[1, 2], categories=[1])
    truth["images"][1]["boxes_known"] = False
    truth["annotations"][0]["segmentation"] = [[10, 10, 10, 50, 50, 50]]
    # The evaluators do without these.
    for field in ("area", "iscrowd"):
        truth["annotations"][0].pop(field, None)
    (tmp_path / "truth.json").write_text(json.dumps(truth))
    register_coco_instances("triangle", {}, str(tmp_path / "truth.json"), str(tmp_path))
    yield DatasetCatalog.get("triangle")
    DatasetCatalog.remove("triangle")
    MetadataCatalog.remove("triangle")


def evaluate(folder, outputs, *settings, **fields):
    cfg = get_cfg()
    add_rock_config(cfg)
    cfg.merge_from_list(["OUTPUT_DIR", str(folder), *settings])
    evaluator = build_evaluator(cfg, "triangle")
    evaluator.reset()
    evaluator.process([r | fields for r in DatasetCatalog.get("triangle")], outputs)
    return evaluator.evaluate()


def test_masks_are_measured_beside_boxes(triangle, tmp_path):
    rows, columns = torch.meshgrid(torch.arange(480), torch.arange(640), indexing="ij")
    square = (rows >= 10) & (rows < 50) & (columns >= 10) & (columns < 50)
    for mask, ap50 in ((square & (columns <= rows), 100), (square & (columns > rows), 0)):
        found = Instances((480, 640), pred_boxes=Boxes(torch.tensor([[10.0, 10, 50, 50]])))
        found.scores, found.pred_classes = torch.tensor([0.9]), torch.tensor([0])
        found.pred_masks = mask[None]
        options = ("MODEL.DETECTOR", "GeneralizedRCNN", "MODEL.MASK_ON", True)
        results = evaluate(tmp_path, [{"instances": found}] * 2, *options)
        # The box is right in any case; in the second image it is neither right nor wrong.
        assert results["bbox"]["AP"] == pytest.approx(100)
        assert results["segm"]["AP50"] == pytest.approx(ap50)


def test_a_task_is_not_measured_by_other_classes(triangle, tmp_path, caplog):
    for name, classes in {
        "rooms_of_mine": ["kitchen", "bath"],
        "triangle": ["bath", "kitchen"],
    }.items():
        MetadataCatalog.get(name).scene_classes = classes
    found = [{"scene": torch.tensor([1.0, 0.0])}] * 2
    options = ("MODEL.DETECTOR", "", "MODEL.TASKS.AUXILIARY", ["Scene"])
    options = (*options, "MODEL.TASKS.SCENE.NUM_CLASSES", 2)
    assert evaluate(tmp_path, found, *options, scene_id=0)["scene"]["acc"] == 1
    options = (*options, "DATASETS.TRAIN", ("rooms_of_mine",))
    assert "scene" not in evaluate(tmp_path, found, *options, scene_id=0)
    assert "scene is not measured: data set `triangle` has other scene_classes" in caplog.text
    MetadataCatalog.remove("rooms_of_mine")


def test_a_task_is_measured_by_the_configs_protocol(tmp_path):
    file = str(tmp_path / "depth.png")
    cv2.imwrite(file, np.full((480, 640), 2000, np.uint16))
    records = [{"image_id": i, "depth_file_name": file} for i in range(2)]
    DatasetCatalog.register("two_frames", lambda: records)
    cfg = get_cfg()
    add_rock_config(cfg)
    options = [
        "OUTPUT_DIR",
        str(tmp_path),
        "MODEL.DETECTOR",
        "",
        "MODEL.TASKS.AUXILIARY",
        ["Depth"],
    ]
    cfg.merge_from_list([*options, "TEST.EVAL_CROP", "eigen"])
    evaluator = build_evaluator(cfg, "two_frames")
    evaluator.reset()
    # Right within the crop only.
    found = torch.full((1, 480, 640), 9.0)
    found[:, 20:460, 24:616] = 2
    evaluator.process(records, [{"depth": found}] * 2)
    assert evaluator.evaluate()["depth"]["rmse"] == 0
    DatasetCatalog.remove("two_frames")
    MetadataCatalog.remove("two_frames")
