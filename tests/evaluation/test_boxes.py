"""Box metrics: hand-worked, with nothing found, with nothing to find, and on the way to files."""

import json
import math

import pytest
import torch
from coco_sets import SQUARE, coco_set
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.data.datasets import register_coco_instances
from detectron2.evaluation import COCOEvaluator
from detectron2.structures import Boxes, Instances

from rock_d2.evaluation.boxes import STATS, BoxEvaluator, score_boxes


def score(*args, **options):
    return score_boxes(*coco_set(*args, **options), backend="pycocotools")


def test_by_hand():
    # Class a: one object found exactly, one with an IoU of 0.72; class b: never found; c: nothing.
    results = score(
        [(1, 1, SQUARE), (2, 1, SQUARE), (1, 2, (0, 0, 20, 20))],
        [(1, 1, SQUARE, 0.9), (2, 1, (0, 0, 72, 100), 0.8)],
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


def test_what_is_found_in_an_image_without_objects_is_wrong():
    objects = [(1, 1, SQUARE), (2, 1, SQUARE)]
    found = [(1, 1, SQUARE, 0.9), (2, 1, SQUARE, 0.8), (3, 1, SQUARE, 0.95)]
    assert score(objects, found[:2])["AP50-a"] == pytest.approx(100)
    results = score(objects, found)
    # Precision 0, 1/2, 2/3 in the order of scores.
    assert results["AP50-a"] == pytest.approx(200 / 3)
    assert results["VOC50-a"] == pytest.approx(200 / 3)


def test_coco_and_voc_differ_about_a_second_claim():
    # As in test_voc: COCO gives the second detection the object that is free.
    results = score(
        [(1, 1, (0, 0, 100, 10)), (1, 1, (30, 0, 100, 10))],
        [(1, 1, (0, 0, 100, 10), 0.9), (1, 1, (5, 0, 100, 10), 0.8)],
    )
    assert (results["AP50"], results["VOC50"]) == pytest.approx((100, 50))


def test_classes_keep_their_names_whatever_their_order():
    objects = [(1, 1, SQUARE), (2, 3, SQUARE)]
    results = score(objects, [(2, 3, SQUARE, 0.5)], categories=(3, 1, 2))
    for metric in ("AP", "AP50", "AP75", "VOC50"):
        found = [results[f"{metric}-{name}"] for name in "abc"]
        assert found == pytest.approx([0, math.nan, 100], nan_ok=True)


def test_nothing_found_is_zero_where_there_is_something():
    results = score([(1, 1, SQUARE)], [])
    assert results["AP"] == results["VOC50"] == results["AP-a"] == results["AR100"] == 0
    assert math.isnan(results["AP-b"]) and math.isnan(results["APs"])


def test_nothing_to_find_is_nan():
    for found in ([], [(1, 1, SQUARE, 0.5)]):
        assert all(map(math.isnan, score([], found).values()))


def test_area_and_iscrowd_may_be_absent():
    truth, found = coco_set([(1, 1, SQUARE)], [(1, 1, SQUARE, 0.5)])
    del truth["annotations"][0]["area"], truth["annotations"][0]["iscrowd"]
    assert score_boxes(truth, found)["APl"] == pytest.approx(100)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"image_id": 77}, "image_id 77, which the data set does not have"),
        ({"category_id": 4}, "category_id 4, which the data set does not have"),
        ({"score": math.nan}, "is not finite"),
        ({"bbox": [0, 0, math.inf, 1]}, "is not finite"),
        ({"bbox": [0, 0, 1]}, "not COCO's result format"),
    ],
)
def test_bad_detections_are_errors(change, message):
    truth, found = coco_set([(1, 1, SQUARE)], [(1, 1, SQUARE, 0.5)] * 2)
    with pytest.raises(ValueError, match=message):
        score_boxes(truth, [found[0], found[1] | change])


@pytest.fixture
def dataset(tmp_path):
    """A registered data set whose category ids are not the class numbers, and its objects."""
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
    yield truth
    DatasetCatalog.remove("three_images")
    MetadataCatalog.remove("three_images")


def instances(found):
    """Detections of one image from (class, x y w h, score)."""
    boxes = torch.tensor([box for _, box, _ in found]).reshape(-1, 4).float()
    boxes[:, 2:] += boxes[:, :2]
    return Instances(
        (480, 640),
        pred_boxes=Boxes(boxes),
        scores=torch.tensor([score for *_, score in found]),
        pred_classes=torch.tensor([index for index, *_ in found], dtype=torch.int64),
    )


FOUND = {
    5: [(2, (1, 2, 40, 40), 0.75), (2, (300, 300, 9, 9), 0.5)],
    7: [(0, SQUARE, 0.875), (1, SQUARE, 0.625)],
    9: [],
}


def evaluate(evaluator, found):
    evaluator.reset()
    for image, boxes in found.items():
        evaluator.process([{"image_id": image}], [{"instances": instances(boxes)}])
    return evaluator.evaluate()


def test_same_file_and_numbers_as_detectron2(dataset, tmp_path):
    mine, theirs = str(tmp_path / "mine"), str(tmp_path / "theirs")
    reference = COCOEvaluator("three_images", ("bbox",), output_dir=theirs, use_fast_impl=False)
    expected = evaluate(reference, FOUND)["bbox"]
    results = evaluate(BoxEvaluator("three_images", output_dir=mine), FOUND)["bbox"]
    assert {key: results[key] for key in expected} == pytest.approx(expected, nan_ok=True)
    assert set(STATS) < set(results) and len(results) == 12 + 1 + 4 * 3
    files = [tmp_path / folder / "coco_instances_results.json" for folder in ("mine", "theirs")]
    assert files[0].read_text() == files[1].read_text()
    assert {found["category_id"] for found in json.loads(files[0].read_text())} == {3, 11, 20}


def test_images_can_be_chosen_as_in_detectron2(dataset, tmp_path):
    evaluator = BoxEvaluator("three_images", output_dir=str(tmp_path))
    evaluate(evaluator, FOUND)
    # Image 7 has one of its two classes right and nothing of class t.
    results = evaluator.evaluate(img_ids=[7])["bbox"]
    assert (results["AP50-c"], results["AP50-t"]) == pytest.approx((100, 0))


def test_no_box_in_any_image(dataset, tmp_path):
    results = evaluate(BoxEvaluator("three_images", output_dir=str(tmp_path)), {5: [], 7: []})
    assert results["bbox"]["AP"] == results["bbox"]["AP-c"] == 0
    assert math.isnan(results["bbox"]["AP-k"])


def test_more_classes_than_the_data_set_has(dataset, tmp_path):
    with pytest.raises(
        ValueError, match="class 3 was predicted, but data set `three_images` has 3"
    ):
        evaluate(BoxEvaluator("three_images", output_dir=str(tmp_path)), {5: [(3, SQUARE, 0.5)]})


def test_images_without_numbers_are_refused(dataset, tmp_path):
    for image in dataset["images"]:
        image["id"] = f"image {image['id']}"
    dataset["annotations"] = []
    (tmp_path / "truth.json").write_text(json.dumps(dataset))
    with pytest.raises(ValueError, match=r"`three_images`: image_id 'image 5' is no whole number"):
        BoxEvaluator("three_images", output_dir=str(tmp_path))


def test_boxes_are_kept_in_56_bytes_each_and_nothing_else_is(dataset, tmp_path):
    evaluator = BoxEvaluator("three_images", output_dir=str(tmp_path))
    evaluator.reset()
    for image, found in FOUND.items():
        evaluator.process([{"image_id": image}], [{"instances": instances(found)}])
    kept = [column for part in evaluator._predictions for column in part]
    # A view would keep what it is a view of.
    assert all(column.base is None or column.base.nbytes == column.nbytes for column in kept)
    assert sum(column.nbytes for column in kept) == 56 * 4
