"""Metrics of the auxiliary tasks against hand-worked cases and plain NumPy."""

import cv2
import numpy as np
import pytest
import torch

from rock_d2.evaluation.meters import MeterEvaluator
from rock_d2.tasks import Depth, Normals, Scene


def evaluate(task, pairs):
    """Metrics of (prediction, label) pairs, one image each."""
    meter = task.meter()
    return meter.metrics(sum(meter.count(prediction, label) for prediction, label in pairs))


def test_depth_by_hand():
    label = np.array([[2.0, 4.0, 0.0]], np.float32)
    prediction = np.array([[[3.0, 4.0, 9.0]]], np.float32)
    found = evaluate(Depth(), [(prediction, label)])
    # Two known pixels with errors 1 and 0; 3 / 2 = 1.5 is within 1.25^2 = 1.5625, not 1.25.
    expected = {
        "rmse": np.sqrt(1 / 2),
        "rmse_log": np.sqrt(np.log(1.5) ** 2 / 2),
        "abs_rel": 0.25,
        "sq_rel": 0.25,
        "delta1": 0.5,
        "delta2": 1.0,
        "delta3": 1.0,
    }
    assert found == pytest.approx(expected)


def test_normals_by_hand():
    towards, right = (0, 0, -1), (1, 0, 0)
    label = np.float32([[towards, towards, (0, 0, 0)]])
    tilted = (np.sin(np.radians(20)), 0, -np.cos(np.radians(20)))
    prediction = np.float32([[tilted, right, right]]).transpose(2, 0, 1)
    found = evaluate(Normals(), [(prediction, label)])
    # Angles of 20 and 90 degrees; the third pixel is unknown.
    assert found["mean_angle"] == pytest.approx(55)
    assert found["rmse"] == pytest.approx(np.sqrt((400 + 8100) / 2), rel=1e-5)
    assert (found["within_11.25"], found["within_22.5"], found["within_30"]) == (0, 0.5, 0.5)


def test_the_median_angle_is_that_of_all_pixels():
    rng = np.random.default_rng(0)
    pairs, angles = [], []
    for _ in range(3):
        vectors = rng.normal(size=(2, 3, 40, 31))
        prediction, label = np.float32(vectors / np.linalg.norm(vectors, axis=1, keepdims=True))
        pairs.append((prediction, label.transpose(1, 2, 0)))
        cosine = (prediction.astype(float) * label).sum(axis=0)
        angles.append(np.degrees(np.arccos(cosine.clip(-1, 1))))
    found = evaluate(Normals(), pairs)
    assert found["median_angle"] == pytest.approx(np.median(angles), abs=0.06)
    assert found["mean_angle"] == pytest.approx(np.mean(angles), abs=1e-3)


def test_scene_by_hand():
    def scores(index):
        return np.eye(4)[index]

    # Three images of class 0, one of them wrong; one of class 2, right; class 1 and 3 never.
    found = evaluate(
        Scene(num_classes=4), [(scores(0), 0), (scores(0), 0), (scores(3), 0), (scores(2), 2)]
    )
    assert found == pytest.approx({"acc": 3 / 4, "balanced_acc": (2 / 3 + 1) / 2})


def test_images_without_a_label_are_not_counted(tmp_path):
    path = str(tmp_path / "depth.png")
    cv2.imwrite(path, np.full((2, 3), 2000, np.uint16))
    evaluator = Depth().evaluator()
    output = {"depth": torch.full((1, 2, 3), 3.0)}
    evaluator.process([{"depth_file_name": path}, {}], [output, output])
    assert evaluator.evaluate()["depth"]["rmse"] == pytest.approx(1)
    evaluator.reset()
    evaluator.process([{}], [output])
    assert evaluator.evaluate() == {}


def test_counts_add_up_over_parts():
    rng = np.random.default_rng(1)
    pairs = [
        (rng.uniform(1, 5, (1, 6, 7)), rng.uniform(1, 5, (6, 7)).astype(np.float32))
        for _ in range(4)
    ]
    meter = Depth().meter()
    halves = [sum(meter.count(*pair) for pair in part) for part in (pairs[:1], pairs[1:])]
    assert meter.metrics(sum(halves)) == pytest.approx(evaluate(Depth(), pairs))
    assert isinstance(Depth().evaluator(), MeterEvaluator)
