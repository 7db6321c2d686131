"""Stored predictions score what they scored when they were made."""

import json
import math
from pathlib import Path

import evaluate_predictions
import numpy as np
import pytest
import torch
from detectron2.config import get_cfg
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.structures import Boxes, Instances
from PIL import Image

from rock_d2 import add_rock_config, build_evaluator, register_multitask_coco
from rock_d2.engine.command_line import parse


@pytest.fixture(scope="module")
def evaluated(rooms_root, tmp_path_factory):
    """Results of build_evaluator on rooms_val, and the folder with what it has stored."""
    folder = tmp_path_factory.mktemp("evaluated")
    file = f"{rooms_root}/rooms/annotations/rooms_val.json"
    register_multitask_coco("stored", file, f"{rooms_root}/rooms")
    cfg = get_cfg()
    add_rock_config(cfg)
    cfg.OUTPUT_DIR = str(folder)
    cfg.TEST.SAVE_AUXILIARY = True
    evaluator = build_evaluator(cfg, "stored")
    evaluator.reset()
    torch.manual_seed(0)
    for record in DatasetCatalog.get("stored"):
        size = record["height"], record["width"]
        boxes = torch.tensor([a["bbox"] for a in record["annotations"]]).reshape(-1, 4).float()
        boxes[:, 2:] += boxes[:, :2]
        found = Instances(size, pred_boxes=Boxes(boxes + torch.randn(len(boxes), 1)))
        found.scores = torch.rand(len(boxes))
        found.pred_classes = torch.tensor([a["category_id"] for a in record["annotations"]]).long()
        maps = {"depth": 5 * torch.rand(1, *size), "normals": torch.randn(3, *size)}
        evaluator.process([record], [{"instances": found, "scene": torch.rand(27), **maps}])
    yield evaluator.evaluate(), folder / "inference/stored"
    DatasetCatalog.remove("stored")
    MetadataCatalog.remove("stored")


def score(*arguments):
    command = ["--dataset", "stored", *map(str, arguments)]
    evaluate_predictions.main(parse(evaluate_predictions.make_parser(), command))


def test_same_results_without_a_model(evaluated, tmp_path, capsys):
    expected, folder = evaluated
    output = tmp_path / "results.json"
    boxes = folder / "coco_instances_results.json"
    score("--predictions", boxes, "--aux-dir", folder, "--output", output)
    found = json.loads(output.read_text())
    # Of a data set without a protocol, this is its name.
    assert (found.pop("protocol"), found.pop("main")) == ("stored", ["bbox"])
    assert found.keys() == expected.keys()
    for name, metrics in expected.items():
        values = {key: math.nan if x is None else x for key, x in found[name].items()}
        assert values == pytest.approx(metrics, rel=1e-12, nan_ok=True), name
    assert "depth/rmse" in capsys.readouterr().out
    # Results of a folder's files stay in it.
    (tmp_path / "seen").mkdir()
    for record in DatasetCatalog.get("stored"):
        name = Path(record["file_name"]).stem
        (tmp_path / "seen" / f"{name}.json").write_text('{"instances": []}')
    score("--predictions", tmp_path / "seen")
    assert json.loads((tmp_path / "seen/results.json").read_text())["bbox"]["AP50"] == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["results.json", "seen"]
    score("--aux-dir", folder, "--output", output)
    tasks = json.loads(output.read_text())
    assert tasks.keys() >= expected.keys() - {"bbox"} and "bbox" not in tasks
    with pytest.raises(ValueError, match=r"--predictions, --aux-dir: one of them"):
        score("--output", output)


def test_a_task_whose_classes_are_the_data_sets(evaluated, tmp_path):
    MetadataCatalog.get("stored").stuff_classes = [f"class {i}" for i in range(40)]
    (tmp_path / "sem_seg").mkdir()
    for record in DatasetCatalog.get("stored"):
        label = np.array(Image.open(record["sem_seg_file_name"]))
        right = np.float32(np.arange(40)[:, None, None] == label)
        file = tmp_path / "sem_seg" / f"{record['image_id']}.npz"
        np.savez_compressed(file, prediction=right)
    score("--aux-dir", tmp_path, "MODEL.TASKS.MAIN", '["SemSeg"]', "MODEL.DETECTOR", "")
    assert json.loads((tmp_path / "results.json").read_text())["sem_seg"]["pixel_acc"] == 1


def test_predictions_of_other_tasks_are_not_left_out(evaluated, tmp_path):
    (tmp_path / "human_parts").mkdir()
    with pytest.raises(ValueError, match=r"predictions of human_parts, which are not among"):
        score("--aux-dir", tmp_path)


def test_predictions_are_not_overwritten(evaluated, tmp_path):
    _, folder = evaluated
    boxes, link = tmp_path / "results.json", tmp_path / "link.json"
    boxes.write_text(before := (folder / "coco_instances_results.json").read_text())
    link.symlink_to(boxes)
    for output in ((), ("--output", boxes), ("--output", link)):
        with pytest.raises(ValueError, match="is --predictions itself; choose another file"):
            score("--predictions", boxes, *output)
    assert boxes.read_text() == before
