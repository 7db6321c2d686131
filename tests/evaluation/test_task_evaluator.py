"""Metrics of the auxiliary tasks against hand-worked cases and scikit-learn."""

import pickle

import cv2
import numpy as np
import pytest
import torch

from rock_d2.evaluation.task_evaluator import (
    TaskEvaluator,
    load_prediction,
    save_prediction,
)
from rock_d2.tasks import Depth, Normals, Scene


def evaluate(task, pairs):
    """Metrics of (prediction, label) pairs, one image each."""
    meter = task.meter()
    return meter.metrics(sum(meter.count(prediction, label) for prediction, label in pairs))


def depth_image(*metres):
    return np.array([metres], np.float32)


def random_normals(rng, height=40, width=31):
    """A prediction (3, H, W) and a label (H, W, 3), unit vectors."""
    vectors = rng.normal(size=(2, 3, height, width))
    prediction, label = np.float32(vectors / np.linalg.norm(vectors, axis=1, keepdims=True))
    return prediction, label.transpose(1, 2, 0)


def test_depth_by_hand():
    found = evaluate(Depth(), [(depth_image(3, 4, 9)[None], depth_image(2, 4, 0))])
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


def test_pixels_are_pooled_over_images():
    # One image with one known pixel and an error of 4, one with three and none: not (4 + 0) / 2.
    pairs = [
        (depth_image(5, 5, 5)[None], depth_image(1, 0, 0)),
        (depth_image(2, 2, 2)[None], depth_image(2, 2, 2)),
    ]
    found = evaluate(Depth(), pairs)
    assert found["rmse"] == pytest.approx(np.sqrt(16 / 4))
    assert found["abs_rel"] == pytest.approx(4 / 4)
    assert found["delta3"] == pytest.approx(3 / 4)


def test_the_cap_drops_labels_and_clamps_predictions():
    prediction, label = depth_image(15, 15, 8)[None], depth_image(14, 8, 10)
    # The first label is beyond 10 m. The others: 10 for 8, 8 for 10.
    assert evaluate(Depth(eval_cap=10.0), [(prediction, label)])["rmse"] == pytest.approx(2)
    found = evaluate(Depth(), [(prediction, label)])
    assert found["rmse"] == pytest.approx(np.sqrt((1 + 49 + 4) / 3))


def test_predictions_of_zero_count_as_the_smallest_depth():
    found = evaluate(Depth(min_depth=0.01), [(depth_image(0)[None], depth_image(1))])
    assert found["rmse_log"] == pytest.approx(np.log(100))


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


def test_equal_and_opposite_normals():
    # In float32 the arc cosine of a vector with itself may be 0.03 degrees; here it is none.
    _, label = random_normals(np.random.default_rng(2))
    same = label.transpose(2, 0, 1)
    found = evaluate(Normals(), [(same, label)])
    assert found["mean_angle"] < 1e-5 and found["median_angle"] == pytest.approx(0, abs=0.005)
    found = evaluate(Normals(), [(-same, label)])
    assert [found[key] for key in ("mean_angle", "rmse")] == pytest.approx([180] * 2, abs=1e-5)
    assert found["median_angle"] == pytest.approx(180, abs=0.005)


def test_only_the_direction_of_a_predicted_normal_counts():
    prediction, label = random_normals(np.random.default_rng(3))
    expected = evaluate(Normals(), [(prediction, label)])
    assert evaluate(Normals(), [(prediction * 0.5, label)]) == pytest.approx(expected)
    assert evaluate(Normals(), [(prediction * 0, label)])["mean_angle"] == pytest.approx(90)


def test_the_median_angle_is_that_of_all_pixels():
    rng = np.random.default_rng(0)
    pairs = [random_normals(rng) for _ in range(3)]
    angles = [
        np.degrees(np.arccos((p.astype(float) * g.transpose(2, 0, 1)).sum(axis=0).clip(-1, 1)))
        for p, g in pairs
    ]
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
    prediction, label = random_normals(np.random.default_rng(5))
    found = evaluate(Normals(), [(prediction, label)])
    vectors = prediction.reshape(3, -1).T.astype(float), label.reshape(-1, 3).astype(float)
    angles = np.degrees(np.arccos(1 - pairwise.paired_cosine_distances(*vectors)))
    assert found["mean_angle"] == pytest.approx(angles.mean(), rel=1e-9)
    assert found["rmse"] == pytest.approx(np.sqrt(np.mean(angles**2)), rel=1e-9)
    for bound in ("11.25", "22.5", "30"):
        assert found[f"within_{bound}"] == pytest.approx((angles < float(bound)).mean())


def test_scene_as_scikit_learn_has_it():
    metrics = pytest.importorskip("sklearn.metrics", reason="scikit-learn is not installed")
    rng = np.random.default_rng(6)
    labels, scores = rng.integers(0, 9, 200), rng.random((200, 12))
    found = evaluate(
        Scene(num_classes=12), [(s, int(k)) for s, k in zip(scores, labels, strict=True)]
    )
    named = scores.argmax(axis=1)
    # Of the classes that occur, as here; scikit-learn warns that others are predicted.
    with pytest.warns(UserWarning, match="y_pred contains classes not in y_true"):
        balanced = metrics.balanced_accuracy_score(labels, named)
    assert found == pytest.approx(
        {"acc": metrics.accuracy_score(labels, named), "balanced_acc": balanced}
    )


@pytest.fixture
def record(tmp_path):
    """A dataset dict with a label of 480 x 640 that is 2 m everywhere."""
    path = str(tmp_path / "depth.png")
    cv2.imwrite(path, np.full((480, 640), 2000, np.uint16))
    return {"image_id": 4, "depth_file_name": path, "file_name": "4.png"}


def measure(evaluator, record, prediction):
    evaluator.reset()
    evaluator.process([record], [{"depth": torch.as_tensor(prediction)[None]}])
    return evaluator.evaluate()["depth"]


def test_images_without_a_label_are_not_counted(record):
    evaluator = TaskEvaluator(Depth())
    output = {"depth": torch.full((1, 480, 640), 3.0)}
    evaluator.process([record, {}], [output, output])
    assert evaluator.evaluate()["depth"]["rmse"] == pytest.approx(1)
    evaluator.reset()
    evaluator.process([{}, record], [output, {}])
    assert evaluator.evaluate() == {}


def test_images_add_up(record):
    evaluator = TaskEvaluator(Depth())
    for metres in (3.0, 5.0):
        evaluator.process([record], [{"depth": torch.full((1, 480, 640), metres)}])
    # Errors of 1 and 3 m.
    assert evaluator.evaluate()["depth"]["rmse"] == pytest.approx(np.sqrt(5))


def test_a_label_without_a_known_pixel_is_no_label(record):
    cv2.imwrite(record["depth_file_name"], np.zeros((480, 640), np.uint16))
    evaluator = TaskEvaluator(Depth())
    evaluator.process([record], [{"depth": torch.ones(1, 480, 640)}])
    assert evaluator.evaluate() == {}


@pytest.mark.parametrize(
    ("crop", "corner", "opposite"),
    [("eigen", (20, 24), (459, 615)), ("toolbox", (44, 40), (470, 600))],
)
def test_a_crop_begins_and_ends_where_it_should(record, crop, corner, opposite):
    evaluator = TaskEvaluator(Depth(), crop=crop)
    pixels = (opposite[0] - corner[0] + 1) * (opposite[1] - corner[1] + 1)
    for (row, column), inside in {
        corner: 1,
        opposite: 1,
        (corner[0] - 1, corner[1]): 0,
        (corner[0], corner[1] - 1): 0,
        (opposite[0] + 1, opposite[1]): 0,
        (opposite[0], opposite[1] + 1): 0,
    }.items():
        prediction = np.full((480, 640), 2.0)
        prediction[row, column] = 4
        # One pixel of the crop is wrong by 2 m of 2 m.
        assert measure(evaluator, record, prediction)["abs_rel"] * pixels == pytest.approx(inside)


def test_a_crop_refuses_other_sizes(record):
    cv2.imwrite(record["depth_file_name"], np.full((240, 320), 2000, np.uint16))
    with pytest.raises(ValueError, match=r"EVAL_CROP: eigen is made for labels of \(480, 640\)"):
        measure(TaskEvaluator(Depth(), crop="eigen"), record, np.ones((240, 320)))
    with pytest.raises(ValueError, match="must be one of none, eigen, toolbox"):
        TaskEvaluator(Depth(), crop="garg")


def test_wrong_predictions_are_errors(record):
    with pytest.raises(ValueError, match=r"image 4, depth: the label is \(480, 640\)"):
        measure(TaskEvaluator(Depth()), record, np.ones((480, 639)))
    with pytest.raises(ValueError, match="image 4, depth: the prediction is not finite"):
        measure(TaskEvaluator(Depth()), record, np.full((480, 640), np.nan))


def test_memory_does_not_grow_with_images(record):
    evaluator = TaskEvaluator(Depth())
    sizes = set()
    for _ in range(3):
        evaluator.process([record], [{"depth": torch.full((1, 480, 640), 3.0)}])
        sizes.add(len(pickle.dumps(evaluator)))
    assert len(sizes) == 1 and sizes.pop() < 2000


def test_stored_predictions_are_read_back_or_named(record, tmp_path):
    prediction = np.random.default_rng(0).random((1, 4, 5), np.float32)
    save_prediction(tmp_path, record, prediction)
    np.testing.assert_array_equal(load_prediction(tmp_path, record), prediction)
    file = tmp_path / "4.npz"
    whole = file.read_bytes()
    for damaged in (whole[:100], b"", whole[:70] + b"?" + whole[71:]):
        file.write_bytes(damaged)
        with pytest.raises(ValueError, match=rf"{file}: damaged, or no prediction"):
            load_prediction(tmp_path, record)
    file.unlink()
    with pytest.raises(FileNotFoundError, match=rf"{file}: no prediction of 4.png"):
        load_prediction(tmp_path, record)
