"""The losses of the tasks, by hand and by law."""

import math
from abc import abstractmethod

import pytest
import torch
from detectron2.data import Metadata, MetadataCatalog
from tiny import tiny_cfg
from torch.nn import functional as F

from rock_d2.tasks import TASK_REGISTRY, Depth, Normals, Scene, build_tasks
from rock_d2.tasks.depth import berhu_loss
from rock_d2.tasks.normals import cosine_l2_loss

CPU = torch.device("cpu")
SCENE = Scene(num_classes=4)


def berhu(*errors: float, fraction: float = 0.2) -> float:
    error = torch.tensor(errors, dtype=torch.float64)
    return float(berhu_loss(error, torch.ones_like(error, dtype=torch.bool), fraction=fraction))


def test_berhu_by_hand():
    # The largest error is 5, so c = 1: |-0.5|, |1| and (25 + 1) / 2 = 13.
    assert berhu(-0.5, 1.0, 5.0) == pytest.approx((0.5 + 1 + 13) / 3)
    assert berhu(-5.0) == pytest.approx(13)
    assert berhu(1.0, 5.0, fraction=1.0) == pytest.approx((1 + 5) / 2)


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_berhu_and_its_derivative_are_continuous_at_the_threshold(sign):
    def value_and_slope(size: float) -> tuple[float, float]:
        error = torch.tensor([sign * size, 5.0], dtype=torch.float64, requires_grad=True)
        loss = 2 * berhu_loss(error, torch.ones(2, dtype=torch.bool), fraction=0.2)
        (slope,) = torch.autograd.grad(loss, error)
        return float(loss.detach()) - 13, float(slope[0])

    below, above = value_and_slope(1 - 1e-6), value_and_slope(1 + 1e-6)
    assert above[0] == pytest.approx(below[0], abs=1e-5)
    assert below == pytest.approx((1, sign), abs=1e-5)
    assert above == pytest.approx((1, sign), abs=1e-5)
    assert value_and_slope(2)[1] == pytest.approx(2 * sign)


def test_depth_loss_by_hand():
    # One cell of 4 x 6 pixels; those known are 2 m and 6 m, so the target is ln 4. A single error
    # e has c = e / 5 and the loss (e^2 + c^2) / 2c = 2.6 e.
    target = torch.zeros(1, 1, 4, 6)
    target[0, 0, 0, 0], target[0, 0, 3, 5] = 2, 6
    prediction = torch.full((1, 1, 1, 1), math.log(4) - 0.5)
    assert float(Depth().loss(prediction, target)) == pytest.approx(2.6 * 0.5)
    assert float(Depth().loss(prediction + 0.5, target)) == pytest.approx(0, abs=1e-6)
    # Nearer targets count as the smallest depth.
    near = torch.full((1, 1, 4, 6), 1e-9)
    prediction = torch.full((1, 1, 1, 1), math.log(0.5))
    assert float(Depth(min_depth=0.5).loss(prediction, near)) == pytest.approx(0, abs=1e-6)


def test_depth_in_metres():
    prediction = torch.tensor([[[0.0, math.log(4)]]])
    assert Depth().postprocess(prediction, (1, 2)).flatten().tolist() == pytest.approx([1, 4])
    # Halfway between the cells, in log space: the geometric mean.
    wide = Depth().postprocess(prediction, (2, 3))
    assert wide.shape == (1, 2, 3) and wide[0, 0, 1] == pytest.approx(2)


@pytest.mark.parametrize(
    ("vector", "loss"),
    # (1 - dot) + squared distance: equal, opposite, and at a right angle 1 + 2.
    [([0.0, 0.6, -0.8], 0.0), ([0.0, -0.6, 0.8], 6.0), ([1.0, 0.0, 0.0], 3.0)],
)
def test_normals_loss_by_hand(vector, loss):
    prediction = torch.tensor(vector).view(1, 3, 1, 1).expand(1, 3, 2, 3)
    target = torch.tensor([0.0, 0.6, -0.8]).view(1, 3, 1, 1).expand(1, 3, 4, 6)
    assert float(Normals().loss(prediction, target)) == pytest.approx(loss, abs=1e-6)
    known = torch.arange(6).view(1, 1, 2, 3) < 1
    assert float(cosine_l2_loss(prediction, target[:, :, :2, :3], known)) == pytest.approx(loss)


def test_target_normals_are_means_of_known_pixels_at_unit_length():
    # (1, 0, 0) and (0, 0, -1) are known, their mean has length 1 / sqrt(2).
    target = torch.zeros(1, 3, 4, 6)
    target[0, :, 0, 0] = torch.tensor([1.0, 0, 0])
    target[0, :, 3, 5] = torch.tensor([0.0, 0, -1])
    prediction = F.normalize(torch.tensor([1.0, 0, -1]), dim=0).view(1, 3, 1, 1)
    assert float(Normals().loss(prediction, target)) == pytest.approx(0, abs=1e-6)


def test_scene_loss_by_hand():
    # Softmax of (ln 5, 0, 0, 0) gives 5/8 and 1/8; the gradient is softmax minus one-hot.
    logits = torch.tensor([math.log(5), 0, 0, 0]).repeat(3, 1).requires_grad_()
    target = SCENE.collate([{"scene": 0}, {}, {"scene": 3}], size=(1, 1), device=CPU)
    loss = SCENE.loss(logits, target)
    assert loss.item() == pytest.approx((math.log(8 / 5) + math.log(8)) / 2)
    (gradient,) = torch.autograd.grad(loss, logits)
    expected = torch.tensor([[-3, 1, 1, 1], [0, 0, 0, 0], [5, 1, 1, -7]]) / 16
    torch.testing.assert_close(gradient, expected)
    scores = SCENE.postprocess(logits[0].detach(), (480, 640))
    assert scores.tolist() == pytest.approx([5 / 8, 1 / 8, 1 / 8, 1 / 8])
    assert SCENE.ranking(scores.numpy(), Metadata(), 1) == {"class 0": pytest.approx(5 / 8)}


@pytest.mark.parametrize("label", [4, -1, 1.0, True, "kitchen"], ids=repr)
def test_scenes_out_of_range_are_refused(label):
    with pytest.raises(ValueError, match=r"a\.jpg: `scene_id` is .*int from 0 to 3"):
        SCENE.load({"file_name": "a.jpg", "scene_id": label})


def test_number_of_scenes_comes_from_the_data_where_it_is_open():
    MetadataCatalog.get("two_scenes").scene_classes = ["inside", "outside"]
    options = ("MODEL.TASKS.SCENE.NUM_CLASSES", 0, "MODEL.TASKS.AUXILIARY", ["Scene"])
    (task,) = build_tasks(tiny_cfg(*options, "DATASETS.TRAIN", ("two_scenes",)))
    assert task == Scene(num_classes=2)
    with pytest.raises(ValueError, match=r"SCENE\.NUM_CLASSES is 0, but data set `sceneless`"):
        build_tasks(tiny_cfg(*options, "DATASETS.TRAIN", ("sceneless",)))
    with pytest.raises(ValueError, match=r"SCENE\.NUM_CLASSES is 4, .* has 2 scene_classes"):
        SCENE.check_metadata(MetadataCatalog.get("two_scenes"))


def test_classes_of_other_names_are_other_classes():
    for name, classes in {"kitchens": ["kitchen", "bath"], "baths": ["bath", "kitchen"]}.items():
        MetadataCatalog.get(name).scene_classes = classes
    first, other, silent = map(MetadataCatalog.get, ("kitchens", "baths", "sceneless"))
    with pytest.raises(
        ValueError, match=r"`baths` has other scene_classes than `kitchens`.*'bath'"
    ):
        Scene(num_classes=2).check_metadata(other, first)
    for metadata, known in ((first, first), (silent, first), (other, silent)):
        Scene(num_classes=2).check_metadata(metadata, known)


def test_a_task_that_cannot_be_measured_is_one_line():
    @TASK_REGISTRY.register()
    class Unmeasured(Scene):
        name = "unmeasured"
        meter = abstractmethod(Scene.meter)

    try:
        with pytest.raises(ValueError, match="Unmeasured lacks the methods meter"):
            build_tasks(tiny_cfg("MODEL.TASKS.AUXILIARY", ["Unmeasured"]))
    finally:
        TASK_REGISTRY._obj_map.pop("Unmeasured")
