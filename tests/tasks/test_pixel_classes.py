"""Tasks with a class at each pixel: losses and metrics by hand, by law and by scikit-learn."""

import math

import cv2
import numpy as np
import pytest
import torch
from detectron2.data import Metadata
from torch.nn import functional as F

from rock_d2.tasks import BinaryMapTask, Depth, Edges, HumanParts, Normals, Saliency, SemSeg, Task

SEG = SemSeg(num_classes=3)


def uniform(task: Task, target: list, size: tuple[int, int]) -> float:
    """The loss of a network that is undecided everywhere."""
    label = torch.tensor(target, dtype=torch.float32)[None, None]
    return float(task.loss(torch.zeros(1, task.num_outputs, *size), label))


def test_losses_of_a_network_that_knows_nothing():
    label = [[0, 1, 1, 255], [0, 0, 0, 255]]
    assert uniform(SEG, label, (2, 4)) == pytest.approx(math.log(3))
    # 2 of 6 known pixels are positive: (0.95 * 2 + 0.05 * 4) / 6 ln 2, and with the share of the
    # others as weight (4/6 * 2 + 2/6 * 4) / 6 ln 2.
    assert uniform(Edges(), label, (2, 4)) == pytest.approx(2.1 / 6 * math.log(2))
    assert uniform(Saliency(), label, (2, 4)) == pytest.approx(16 / 36 * math.log(2))
    # All or none salient: the other class has no pixels and this one no weight.
    assert uniform(Saliency(), [[0, 0]], (1, 2)) == uniform(Saliency(), [[1, 1]], (1, 2)) == 0


@pytest.mark.parametrize("task", [Edges(), Saliency()], ids=lambda task: task.name)
def test_a_small_prediction_costs_what_it_would_enlarged(task):
    torch.manual_seed(0)
    logits = torch.randn(2, 1, 3, 4)
    target = (torch.rand(2, 1, 12, 16) < 0.3).float()
    enlarged = F.interpolate(logits, scale_factor=4, mode="nearest")
    torch.testing.assert_close(task.loss(logits, target), task.loss(enlarged, target))
    # Of the definition: weights by class, over the number of pixels.
    w = 0.95 if isinstance(task, Edges) else 1 - target.mean()
    each = F.binary_cross_entropy_with_logits(enlarged, target, reduction="none")
    expected = (torch.where(target == 1, w, 1 - w) * each).mean()
    torch.testing.assert_close(task.loss(enlarged, target), expected)


def test_l1_losses_by_hand():
    # Errors of 1 m and 0.5 m, and an unknown pixel.
    depth = torch.tensor([[[[2.0, 4.0, 0.0]]]])
    prediction = torch.tensor([[[[3.0, 3.5, 9.0]]]])
    task = Depth(loss_name="l1")
    assert float(task.loss(prediction, depth)) == pytest.approx(0.75)
    assert task.postprocess(prediction[0], (1, 3)).flatten().tolist() == [3, 3.5, 9]
    # (1, 0, 0) for (0, 0.6, -0.8): (1 + 0.6 + 0.8) / 3.
    normals = torch.tensor([0, 0.6, -0.8]).view(1, 3, 1, 1)
    found = torch.tensor([1.0, 0, 0]).view(1, 3, 1, 1)
    assert float(Normals(loss_name="l1").loss(found, normals)) == pytest.approx(0.8)
    for kind in (Depth, Normals):
        with pytest.raises(ValueError, match=rf"TASKS\.{kind.name.upper()}\.LOSS is 'l3'.*: .*l1"):
            kind(loss_name="l3")


def test_metrics_of_classes_are_those_of_scikit_learn():
    metrics = pytest.importorskip("sklearn.metrics", reason="scikit-learn is not installed")
    rng = np.random.default_rng(0)
    # Class 2 is found and never true, class 3 neither.
    truth, found = rng.integers(0, 2, (2, 6, 8)), rng.integers(0, 3, (2, 6, 8))
    labels = truth.astype(np.float32)
    labels[:, :2] = 255
    meter = SemSeg(num_classes=4).meter()
    scores = np.eye(4)[found].transpose(0, 3, 1, 2)
    total = sum(meter.count(s, label) for s, label in zip(scores, labels, strict=True))
    true, guess = truth[:, 2:].ravel(), found[:, 2:].ravel()
    assert meter.metrics(total) == pytest.approx(
        {
            "miou": metrics.jaccard_score(true, guess, labels=[0, 1], average="macro"),
            "pixel_acc": metrics.accuracy_score(true, guess),
            "mean_acc": metrics.balanced_accuracy_score(true, guess),
        }
    )


def test_metrics_of_saliency_are_those_of_scikit_learn():
    metrics = pytest.importorskip("sklearn.metrics", reason="scikit-learn is not installed")
    rng = np.random.default_rng(0)
    truth, scores = rng.uniform(size=(3, 6, 8)) < 0.4, rng.uniform(size=(3, 6, 8))
    scores = (scores + 0.3 * truth).astype(np.float32)
    truth[2] = False
    meter = Saliency().meter()
    images = list(zip(scores, truth, strict=True))
    total = sum(meter.count(score[None], label.astype(np.float32)) for score, label in images)
    ious, fs = [], []
    for threshold in np.arange(0.2, 0.91, 0.05):
        pairs = [(label.ravel(), score.ravel() > threshold) for score, label in images]
        iou, p, r = (
            np.mean([measure(*pair, zero_division=empty) for pair in pairs])
            for measure, empty in (
                (metrics.jaccard_score, 1),
                (metrics.precision_score, 0),
                (metrics.recall_score, 0),
            )
        )
        ious.append(iou)
        fs.append(2 * p * r / (p + r))
    assert meter.metrics(total) == pytest.approx({"miou": max(ious), "max_f": max(fs)})


def test_metric_of_edges_is_their_loss():
    torch.manual_seed(0)
    logits, target = torch.randn(1, 1, 6, 8), (torch.rand(1, 1, 6, 8) < 0.2).float()
    target[..., 0] = 255
    task = Edges(edge_weight=0.8)
    meter = task.meter()
    total = meter.count(task.postprocess(logits[0], (6, 8)).numpy(), target[0, 0].numpy())
    assert meter.metrics(total)["bce"] == pytest.approx(float(task.loss(logits, target)))


def write(folder, task: Task, pixels: list) -> dict:
    path = str(folder / f"{task.name}.png")
    cv2.imwrite(path, np.array(pixels, np.uint8))
    return {task.field: path, "height": len(pixels), "width": len(pixels[0])}


def test_an_image_without_people_says_nothing_about_their_parts(tmp_path):
    task = HumanParts()
    assert (task.read(write(tmp_path, task, [[0, 0, 255]])) == 255).all()
    assert task.read(write(tmp_path, task, [[0, 6, 255]])).tolist() == [[0, 6, 255]]


@pytest.mark.parametrize("task", [SEG, HumanParts(), Edges(), Saliency()], ids=lambda t: t.name)
def test_labels_that_cannot_be_are_refused(task, tmp_path):
    record = write(tmp_path, task, [[0, task.num_classes]])
    message = rf"{task.name}\.png: .*class {task.num_classes}; it must be below {task.num_classes}"
    with pytest.raises(ValueError, match=message):
        task.load(record)
    assert len(task.check(record, Metadata(name="any"))[0]) == 1
    with pytest.raises(ValueError, match=r"is 1 x 2, its image 1 x 3"):
        task.load(write(tmp_path, task, [[0, 1]]) | {"width": 3})


def test_number_of_classes_is_the_datas():
    metadata = Metadata(name="two", stuff_classes=["wall", "floor"])
    task = SemSeg().for_data(metadata)
    assert task.num_outputs == 2 and SEG.for_data(metadata) == SEG
    with pytest.raises(ValueError, match=r"NUM_CLASSES is 3, but data set `two` has 2 stuff_"):
        SEG.check_metadata(metadata)
    with pytest.raises(ValueError, match=r"NUM_CLASSES is 0, but data set `any` has no stuff_cl"):
        SemSeg().for_data(Metadata(name="any"))
    with pytest.raises(ValueError, match=r"SEM_SEG\.NUM_CLASSES is 0, and there is no data set"):
        SemSeg().num_outputs  # noqa: B018


def test_binary_tasks_have_a_map_of_logits():
    for task in (Edges(), Saliency()):
        assert isinstance(task, BinaryMapTask) and task.num_outputs == 1
        assert task.postprocess(torch.zeros(1, 2, 2), (4, 4)).unique() == 0.5


def test_a_cell_has_the_class_of_the_pixel_in_its_middle():
    target = torch.zeros(1, 1, 3, 3)
    target[..., 1, 1] = 2
    logits = torch.tensor([0, 0, 50.0]).view(1, 3, 1, 1)
    assert float(SEG.loss(logits, target)) == pytest.approx(0, abs=1e-6)


def test_probabilities_are_those_of_enlarged_logits():
    # The middle pixel lies halfway between logits of 0 and 4.
    logits = torch.tensor([[[0.0, 4.0]]])
    half = 1 / (1 + math.exp(-2))
    assert float(Edges().postprocess(logits, (1, 3))[0, 0, 1]) == pytest.approx(half)
    two = torch.cat([torch.zeros_like(logits), logits])
    assert float(SemSeg(num_classes=2).postprocess(two, (1, 3))[1, 0, 1]) == pytest.approx(half)
