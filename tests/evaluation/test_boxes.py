"""Box metrics: hand-worked, by every library, and on the way from a model to files."""

import json
import math

import numpy as np
import pytest
import torch
from coco_sets import SQUARE, coco_set, random_set
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.data.datasets import register_coco_instances
from detectron2.evaluation import COCOEvaluator
from detectron2.structures import Boxes, Instances
from evaluate_predictions import check_detections

from rock_d2.evaluation.boxes import STATS, BoxEvaluator, coco_scores, score_boxes


def score(*args, **options):
    return score_boxes(*coco_set(*args, **options), backend="pycocotools")


def test_by_hand():
    # Class a: one object found exactly, one with an IoU of 0.72; class b: never found; c: nothing.
    results = score(
        [(1, 1, SQUARE), (2, 1, SQUARE), (1, 2, (0, 0, 20, 20))],
        [(1, 1, SQUARE, 0.9), (2, 1, (0, 0, 72, 100), 0.8)],
        categories=(3, 1, 2),
    )
    # Half of the objects found means recalls 0, 0.01, ... 0.5 of 101.
    half = 100 * 51 / 101
    assert results["AP50-a"] == pytest.approx(100)
    assert results["AP75-a"] == pytest.approx(half)
    # Both are right for IoUs of 0.5 to 0.7, one from 0.75 on.
    assert results["AP-a"] == pytest.approx((100 + half) / 2)
    assert results["VOC50-a"] == pytest.approx(100)
    for metric in ("AP", "AP50", "AP75", "VOC50"):
        assert results[f"{metric}-b"] == 0
        assert math.isnan(results[f"{metric}-c"])
        assert results[metric] == pytest.approx(results[f"{metric}-a"] / 2)
    # Class b has small objects only, class a large ones only.
    assert results["APs"] == 0
    assert math.isnan(results["APm"])
    assert results["APl"] == pytest.approx(results["AP-a"])
    # One detection an image finds as much as a hundred; the mean over IoUs is (5 + 2.5) / 10.
    assert results["AR1"] == results["AR100"] == pytest.approx(75 / 2)


EMPTY_BOXES = coco_set(
    [(1, 1, (5, 5, 0, 0)), (1, 1, (5, 5, 10, 10))],
    [(1, 1, (5, 5, 0, 0), 0.9), (1, 1, (5, 5, 10, 10), 0.8), (2, 2, (0, 0, 0, 9), 0.7)],
)


@pytest.mark.parametrize("kind", [coco_set([], []), EMPTY_BOXES, *map(random_set, range(2))])
def test_hotcoco_computes_pycocotools_numbers(kind):
    pytest.importorskip("hotcoco", reason="hotcoco is not installed: pip install -e .[fast]")
    expected = coco_scores(*kind, backend="pycocotools")
    for mine, theirs in zip(coco_scores(*kind, backend="hotcoco"), expected, strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=0, atol=1e-9)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"image_id": 77}, "has no such image_id"),
        ({"score": math.nan}, "no box x, y, width, height in pixels"),
        ({"bbox": [0, 0, 1]}, "not COCO's result format"),
        ({"bbox": [9, 9, -5, 2]}, r"no box x, y.*\[9, 9, -5, 2\]"),
    ],
    ids=str,
)
def test_wrong_detections_are_named(change, message):
    truth, found = coco_set([(1, 1, SQUARE)], [(1, 1, SQUARE, 0.5)] * 2)
    # Neither is needed.
    del truth["annotations"][0]["area"], truth["annotations"][0]["iscrowd"]
    assert score_boxes(truth, found)["APl"] == pytest.approx(100)
    with pytest.raises(ValueError, match=message):
        check_detections(truth, [found[0], found[1] | change])


@pytest.fixture
def dataset(tmp_path):
    """Register a data set whose category ids are not the class numbers."""
    truth, _ = coco_set(
        [(7, 3, SQUARE), (7, 20, (50, 60, 20, 30)), (5, 20, (1, 2, 40, 50))],
        [],
        images=(5, 7, 9),
        categories=(3, 11, 20),
    )
    file = tmp_path / "truth.json"
    file.write_text(json.dumps(truth))
    register_coco_instances("three_images", {}, str(file), str(tmp_path))
    DatasetCatalog.get("three_images")
    yield
    DatasetCatalog.remove("three_images")
    MetadataCatalog.remove("three_images")


# By image: class, box x y w h and score.
FOUND = {
    5: [(2, (1, 2, 40, 40), 0.75), (2, (300, 300, 9, 9), 0.5)],
    7: [(0, SQUARE, 0.875), (1, (1e-7, 0.1, 99.7, 1 / 3), 0.1)],
    9: [],
}


def evaluate(evaluator, found):
    evaluator.reset()
    for image, items in found.items():
        boxes = torch.tensor([box for _, box, _ in items]).reshape(-1, 4).float()
        boxes[:, 2:] += boxes[:, :2]
        instances = Instances((480, 640), pred_boxes=Boxes(boxes))
        instances.scores = torch.tensor([score for *_, score in items])
        instances.pred_classes = torch.tensor([label for label, *_ in items], dtype=torch.int64)
        evaluator.process([{"image_id": image}], [{"instances": instances}])
    return evaluator.evaluate()


@pytest.mark.usefixtures("dataset")
def test_same_file_and_numbers_as_detectron2(tmp_path):
    mine, theirs = str(tmp_path / "mine"), str(tmp_path / "theirs")
    reference = COCOEvaluator("three_images", ("bbox",), output_dir=theirs, use_fast_impl=False)
    expected = evaluate(reference, FOUND)["bbox"]
    results = evaluate(BoxEvaluator("three_images", output_dir=mine), FOUND)["bbox"]
    assert {key: results[key] for key in expected} == pytest.approx(expected, nan_ok=True)
    assert set(STATS) < set(results) and len(results) == 12 + 1 + 4 * 3
    files = [tmp_path / folder / "coco_instances_results.json" for folder in ("mine", "theirs")]
    assert files[0].read_text() == files[1].read_text()
    assert {found["category_id"] for found in json.loads(files[0].read_text())} == {3, 11, 20}


@pytest.mark.usefixtures("dataset")
def test_boxes_count_for_the_class_of_the_same_name(tmp_path):
    plain = evaluate(BoxEvaluator("three_images", output_dir=str(tmp_path)), FOUND)
    place = {0: 2, 1: 3, 2: 0}
    found = {i: [(place[kind], *rest) for kind, *rest in boxes] for i, boxes in FOUND.items()}
    # Of a class that the set has not.
    found[7].append((1, SQUARE, 0.99))
    classes = ["t", "other", "c", "k"]
    named = BoxEvaluator("three_images", output_dir=str(tmp_path), classes=classes)
    assert evaluate(named, found)["bbox"] == pytest.approx(plain["bbox"], nan_ok=True)
