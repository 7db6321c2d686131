"""Metrics of the tasks by hand and against scikit-learn, and their evaluator."""

import cv2
import numpy as np
import pytest
import torch
from detectron2.data import DatasetCatalog, MetadataCatalog

from rock_d2.evaluation.protocols import Protocol
from rock_d2.evaluation.task_evaluator import TaskEvaluator, measured_ids
from rock_d2.tasks import Depth, Edges, Normals, Scene


def evaluate(task, pairs):
    """Metrics of (prediction, label) pairs, one image each."""
    meter = task.meter()
    return meter.metrics(sum(meter.count(prediction, label) for prediction, label in pairs))


def depth_pair(prediction, label):
    return np.array([[prediction]], np.float32), np.array([label], np.float32)


def random_normals(seed, height=40, width=31):
    """A prediction (3, H, W) and a label (H, W, 3), unit vectors."""
    vectors = np.random.default_rng(seed).normal(size=(2, 3, height, width))
    prediction, label = np.float32(vectors / np.linalg.norm(vectors, axis=1, keepdims=True))
    return prediction, label.transpose(1, 2, 0)


def test_depth_is_pooled_over_pixels_and_bounded():
    # One image with one known pixel and an error of 4, one with three and none: not (4 + 0) / 2.
    pairs = [depth_pair((5, 5, 5), (1, 0, 0)), depth_pair((2, 2, 2), (2, 2, 2))]
    assert evaluate(Depth(), pairs)["rmse"] == pytest.approx(np.sqrt(16 / 4))
    pair = depth_pair((15, 15, 8), (14, 8, 10))
    # The first label is beyond 10 m. The others: 10 for 8, 8 for 10.
    assert evaluate(Depth(eval_cap=10.0), [pair])["rmse"] == pytest.approx(2)
    assert evaluate(Depth(), [pair])["rmse"] == pytest.approx(np.sqrt((1 + 49 + 4) / 3))
    # A prediction of zero counts as the smallest depth.
    found = evaluate(Depth(min_depth=0.01), [depth_pair((0,), (1,))])
    assert found["rmse_log"] == pytest.approx(np.log(100))
    # Behind the camera it is wrong in all ratios; its error is as large as it is.
    found = evaluate(Depth(), [depth_pair((-1,), (2,))])
    assert (found["rmse"], found["abs_rel"], found["delta3"]) == (3, 1.5, 0)


def test_depth_as_scikit_learn_has_it():
    metrics = pytest.importorskip("sklearn.metrics", reason="scikit-learn is not installed")
    rng = np.random.default_rng(4)
    labels = rng.uniform(0.7, 10, (3, 20, 30)).astype(np.float32)
    labels[rng.random(labels.shape) < 0.3] = 0
    predictions = (labels + 0.1) * rng.uniform(0.6, 1.5, labels.shape).astype(np.float32)
    found = evaluate(Depth(), [(p[None], g) for p, g in zip(predictions, labels, strict=True)])
    g, p = (maps[labels > 0].astype(float) for maps in (labels, predictions))
    ratio = np.exp(np.abs(np.log(p) - np.log(g)))
    expected = {
        "rmse": metrics.root_mean_squared_error(g, p),
        "rmse_log": metrics.root_mean_squared_error(np.log(g), np.log(p)),
        "abs_rel": metrics.mean_absolute_percentage_error(g, p),
        "sq_rel": metrics.mean_squared_error(g, p, sample_weight=1 / g) * np.mean(1 / g),
    }
    for i in (1, 2, 3):
        expected[f"delta{i}"] = metrics.accuracy_score(np.ones(len(g)), ratio < 1.25**i)
    assert found == pytest.approx(expected, rel=1e-12)


def test_normals_as_scikit_learn_has_them():
    pairwise = pytest.importorskip("sklearn.metrics.pairwise", reason="scikit-learn is absent")
    pairs = [random_normals(seed) for seed in range(3)]
    found = evaluate(Normals(), pairs)
    vectors = [
        np.concatenate([np.moveaxis(x, axis, -1).reshape(-1, 3) for x in maps]).astype(float)
        for maps, axis in zip(zip(*pairs, strict=True), (0, 2), strict=True)
    ]
    angles = np.degrees(np.arccos(1 - pairwise.paired_cosine_distances(*vectors)))
    assert found["mean_angle"] == pytest.approx(angles.mean(), rel=1e-9)
    assert found["median_angle"] == pytest.approx(np.median(angles), abs=0.06)
    assert found["rmse"] == pytest.approx(np.sqrt(np.mean(angles**2)), rel=1e-9)
    for bound in ("11.25", "22.5", "30"):
        assert found[f"within_{bound}"] == pytest.approx((angles < float(bound)).mean())


def test_scene_as_scikit_learn_has_it():
    metrics = pytest.importorskip("sklearn.metrics", reason="scikit-learn is not installed")
    rng = np.random.default_rng(6)
    labels, scores = rng.integers(0, 9, 200), rng.random((200, 12))
    pairs = [(s, int(k)) for s, k in zip(scores, labels, strict=True)]
    found = evaluate(Scene(num_classes=12), pairs)
    named = scores.argmax(axis=1)
    # Of the classes that occur, as here; scikit-learn warns that others are predicted.
    with pytest.warns(UserWarning, match="y_pred contains classes not in y_true"):
        balanced = metrics.balanced_accuracy_score(labels, named)
    expected = {"acc": metrics.accuracy_score(labels, named), "balanced_acc": balanced}
    assert found == pytest.approx(expected)


@pytest.fixture
def record(tmp_path):
    """A dataset dict with a label of 480 x 640 that is 2 m everywhere."""
    path = str(tmp_path / "depth.png")
    cv2.imwrite(path, np.full((480, 640), 2000, np.uint16))
    return {"image_id": 4, "depth_file_name": path, "file_name": "4.png"}


def measure(record, *predictions, **options):
    evaluator = TaskEvaluator(Depth(), **options)
    for prediction in predictions:
        evaluator.process([record], [{"depth": torch.as_tensor(prediction)[None]}])
    return evaluator.evaluate()


def test_predictions_are_measured_as_8_bits_hold_them(tmp_path):
    path = str(tmp_path / "normals.png")
    cv2.imwrite(path, np.uint8([[[0, 127, 127]]]))
    found = []
    for protocol in (Protocol(), Protocol(quantise=True)):
        evaluator = TaskEvaluator(Normals(), protocol=protocol)
        towards_us = torch.tensor([0.0, 0.0, -1.0]).view(3, 1, 1)
        evaluator.process([{"normals_file_name": path}], [{"normals": towards_us}])
        found.append(evaluator.evaluate()["normals"]["mean_angle"])
    # x and y are 127 of 255, -1 / 255 each.
    assert found == pytest.approx([0, np.degrees(np.arctan(2**0.5 / 255))])
    probabilities = np.float32([0, 0.5, 0.999, 1])
    assert Edges().quantised(probabilities) * 255 == pytest.approx([0, 127, 254, 255])


def test_images_add_up_and_those_without_a_label_are_not_counted(record):
    far, farther = np.full((480, 640), 3.0), np.full((480, 640), 5.0)
    # Errors of 1 and 3 m.
    assert measure(record, far, farther)["depth"]["rmse"] == pytest.approx(np.sqrt(5))
    evaluator = TaskEvaluator(Depth())
    output = {"depth": torch.from_numpy(far)[None]}
    evaluator.process([record, {}, record], [output, output, {}])
    assert evaluator.evaluate()["depth"]["rmse"] == pytest.approx(1)
    # A label without a known pixel is no label.
    cv2.imwrite(record["depth_file_name"], np.zeros((480, 640), np.uint16))
    assert measure(record, far) == {}


@pytest.mark.parametrize(
    ("crop", "corner", "opposite"),
    [
        ("eigen", (20, 24), (459, 615)),
        ("toolbox", (44, 40), (470, 600)),
        ("gupta", (45, 40), (469, 599)),
    ],
)
def test_a_crop_begins_and_ends_where_it_should(record, crop, corner, opposite):
    pixels = (opposite[0] - corner[0] + 1) * (opposite[1] - corner[1] + 1)
    prediction = np.full((480, 640), 4.0)
    # Outside of the crop, and at two of its corners, it is wrong by 2 m of 2 m.
    prediction[corner[0] : opposite[0] + 1, corner[1] : opposite[1] + 1] = 2
    prediction[corner] = prediction[opposite] = 4
    abs_rel = measure(record, prediction, protocol=Protocol(crop=crop))["depth"]["abs_rel"]
    assert abs_rel * pixels == pytest.approx(2)


def test_wrong_sizes_and_values_are_named(record):
    with pytest.raises(ValueError, match=r"image 4, depth: the label is \(480, 640\)"):
        measure(record, np.ones((480, 639)))
    with pytest.raises(ValueError, match="image 4, depth: the prediction is not finite"):
        measure(record, np.full((480, 640), np.nan))


def test_other_processes_measure_a_part_of_the_images(tmp_path):
    rng, path = np.random.default_rng(0), str(tmp_path / "edges.png")
    cv2.imwrite(path, np.uint8(rng.uniform(size=(12, 16)) < 0.2))
    records = [{"image_id": i, "edges_file_name": path} for i in range(10)]
    outputs = [{"edges": torch.from_numpy(rng.uniform(size=(1, 12, 16)))} for _ in records]
    DatasetCatalog.register("ten", lambda: records)
    results = []
    for processes, images, part in ((1, 3, range(10)), (1, 0, [0, 3, 6]), (1, 1, [0]), (2, 1, [0])):
        task = Edges(processes=processes, eval_images=images)
        evaluator = TaskEvaluator(task, image_ids=measured_ids(task, "ten"))
        evaluator.process([records[i] for i in part], [outputs[i] for i in part])
        results.append(evaluator.evaluate())
    DatasetCatalog.remove("ten")
    MetadataCatalog.pop("ten", None)
    # Of ten images the first, the fourth and the seventh.
    assert results[0] == results[1] and 0 < results[0]["edges"]["odsF"] < 1
    assert results[2] == results[3] != results[0]
