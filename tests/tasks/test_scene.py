"""Scene classification: cross-entropy over the images that have a label."""

import math

import pytest
import torch
from detectron2.data import Metadata, MetadataCatalog
from tiny import tiny_cfg

from rock_d2.tasks import Scene, build_tasks

TASK = Scene(num_classes=4)


def test_loss_by_hand():
    # Softmax of (ln 5, 0, 0, 0) gives 5/8 and 1/8.
    logits = torch.tensor([[math.log(5), 0, 0, 0], [math.log(5), 0, 0, 0]])
    expected = (math.log(8 / 5) + math.log(8)) / 2
    assert float(TASK.loss(logits, torch.tensor([0, 3]))) == pytest.approx(expected)


def test_gradient_is_softmax_minus_one_hot():
    torch.manual_seed(0)
    logits = torch.randn(3, 4, requires_grad=True)
    batch = [{"scene": 1}, {}, {"scene": 2}]
    target = TASK.collate(batch, size=(1, 1), device=torch.device("cpu"))
    (gradient,) = torch.autograd.grad(TASK.loss(logits, target), logits)
    softmax, one_hot = logits.softmax(dim=1), torch.eye(4)
    expected = torch.stack([softmax[0] - one_hot[1], torch.zeros(4), softmax[2] - one_hot[2]])
    torch.testing.assert_close(gradient, expected / 2)


def test_prediction_is_a_distribution():
    scores = TASK.postprocess(torch.tensor([math.log(5), 0, 0, 0]), (480, 640))
    assert scores.tolist() == pytest.approx([5 / 8, 1 / 8, 1 / 8, 1 / 8])
    assert TASK.ranking(scores.numpy(), Metadata(), 1) == {"class 0": pytest.approx(5 / 8)}


@pytest.mark.parametrize("label", [4, -1, 1.0, True, "kitchen"], ids=repr)
def test_labels_out_of_range_are_refused(label):
    with pytest.raises(ValueError, match=r"a\.jpg: `scene_id` is .*int from 0 to 3"):
        TASK.load({"file_name": "a.jpg", "scene_id": label})
    with pytest.raises(ValueError, match=r"`scene` is .*SCENE\.NUM_CLASSES = 4"):
        TASK.collate([{"scene": 27}], size=(1, 1), device=torch.device("cpu"))


def test_number_of_classes_comes_from_the_data_where_it_is_open():
    MetadataCatalog.get("two_scenes").scene_classes = ["inside", "outside"]
    options = ("MODEL.TASKS.SCENE.NUM_CLASSES", 0, "MODEL.TASKS.AUXILIARY", ["Scene"])
    (task,) = build_tasks(tiny_cfg(*options, "DATASETS.TRAIN", ("two_scenes",)))
    assert task == Scene(num_classes=2)
    with pytest.raises(ValueError, match=r"SCENE\.NUM_CLASSES is 0, but data set `sceneless`"):
        build_tasks(tiny_cfg(*options, "DATASETS.TRAIN", ("sceneless",)))
    with pytest.raises(ValueError, match=r"SCENE\.NUM_CLASSES is 4, .* has 2 scene_classes"):
        TASK.check_metadata(MetadataCatalog.get("two_scenes"))
