"""The evaluators that belong to a detector and to tasks."""

import json

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


def evaluate(folder, outputs, *settings):
    cfg = get_cfg()
    add_rock_config(cfg)
    cfg.merge_from_list(["OUTPUT_DIR", str(folder), *settings])
    evaluator = build_evaluator(cfg, "triangle")
    evaluator.reset()
    evaluator.process(DatasetCatalog.get("triangle"), outputs)
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
    DatasetCatalog.get("triangle")[0]["scene_id"] = 0
    assert "scene" not in evaluate(tmp_path, found, *options, "DATASETS.TRAIN", ("rooms_of_mine",))
    assert "scene is not measured: data set `triangle` has other scene_classes" in caplog.text
    MetadataCatalog.remove("rooms_of_mine")
