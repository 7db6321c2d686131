"""A data set of one's own with depth, in one file outside the package."""

import json
from pathlib import Path
from runpy import run_path

import cv2
import numpy as np
import pytest
import torch
from check_dataset import check_dataset
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.modeling import build_model
from detectron2.utils.events import EventStorage

from rock_d2 import build_train_loader, load_config
from rock_d2.tasks import Depth

ROOT = Path(__file__).parents[2]
SETS = ("kitchens_train", "kitchens_val")


@pytest.fixture
def kitchens(tmp_path, monkeypatch):
    """Three images of 96 x 128 with an object each, two of them with depth 2 m, near a hole."""
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path))
    write_depth = run_path(str(ROOT / "examples/my_dataset.py"))["write_depth"]
    rng = np.random.default_rng(0)
    images, boxes = [], []
    for i in range(3):
        image = {"id": i + 1, "file_name": f"images/{i}.png", "height": 96, "width": 128}
        (tmp_path / "kitchens/images").mkdir(parents=True, exist_ok=True)
        pixels = rng.integers(0, 256, (96, 128, 3), np.uint8)
        cv2.imwrite(str(tmp_path / "kitchens" / image["file_name"]), pixels)
        if i < 2:
            image["depth_file_name"] = f"depth/{i}.png"
            (tmp_path / "kitchens/depth").mkdir(exist_ok=True)
            metres = np.full((96, 128), 2.0)
            metres[:10, :10] = 0
            write_depth(tmp_path / "kitchens" / image["depth_file_name"], metres)
        images.append(image)
        box = {"bbox": [30, 20, 50, 40], "category_id": 1, "area": 2000, "iscrowd": 0}
        box["segmentation"] = [[30, 20, 80, 20, 80, 60, 30, 60]]
        boxes.append({**box, "id": i + 1, "image_id": i + 1})
    document = {"images": images, "annotations": boxes, "categories": [{"id": 1, "name": "oven"}]}
    (tmp_path / "kitchens/train.json").write_text(json.dumps({"info": {}, **document}))
    yield tmp_path
    for name in SETS:
        DatasetCatalog.remove(name)
        MetadataCatalog.remove(name)


def test_its_items_have_the_depth_that_was_written(kitchens):
    options = ("DATASETS.TRAIN", (SETS[0],), "MODEL.TASKS.AUXILIARY", ["Depth"], "SEED", 1)
    options += ("MODEL.SSD.NUM_CLASSES", 0, "SOLVER.IMS_PER_BATCH", 3, "INPUT.SIZE", [96, 128])
    options += ("DATALOADER.NUM_WORKERS", 0, "INPUT.MIN_IOU_CROP.ENABLED", False)
    cfg = load_config(str(ROOT / "configs/rock_nyuv2.yaml"), options)
    assert MetadataCatalog.get(SETS[0]).thing_classes == ["oven"]
    items = {item["image_id"]: item for item in next(iter(build_train_loader(cfg)))}
    assert sorted(items) == [1, 2, 3] and "depth" not in items[3]
    assert torch.equal(items[1]["depth"].unique(), torch.tensor([0.0, 2.0]))
    assert int((items[1]["depth"] == 0).sum()) == 100
    assert all(len(item["instances"]) == 1 for item in items.values())
    report = check_dataset(SETS[0], [Depth()], num_processes=1)
    # 100 of 96 x 128 pixels of two images are unknown, and all of the third.
    assert report.coverage["depth"] == pytest.approx(2 / 3 * (1 - 100 / (96 * 128)))


@pytest.mark.parametrize(
    "config",
    [
        "rock/rock_rooms.yaml",
        "detectors/retinanet_rock_rooms.yaml",
        "detectors/mask_rcnn_rock_rooms.yaml",
    ],
)
def test_detectors_learn_its_objects_and_its_depth(kitchens, config):
    options = ("DATASETS.TRAIN", (SETS[0],), "DATASETS.TEST", (), "SEED", 1, "MODEL.WEIGHTS", "")
    options += ("MODEL.TASKS.AUXILIARY", ["Depth"], "MODEL.DEVICE", "cpu", "INPUT.SIZE", [96, 128])
    options += ("SOLVER.IMS_PER_BATCH", 3, "INPUT.MIN_IOU_CROP.ENABLED", False)
    cfg = load_config(str(ROOT / "configs" / config), options)
    batch = next(iter(build_train_loader(cfg)))
    torch.manual_seed(0)
    model = build_model(cfg)
    with EventStorage():
        losses = model(batch)
    sum(losses.values()).backward()
    assert losses["loss_depth"] > 0 and all(loss.isfinite() for loss in losses.values())
    # One class, which the data set has and no config names.
    model.eval()
    with torch.no_grad():
        found = model(batch)[0]
    assert found["depth"].shape == (1, 96, 128) and not found["instances"].pred_classes.any()
