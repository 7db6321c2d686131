"""SSD in training: gradients, labels that are missing, bad input."""

import pytest
import torch
from detectron2.data import MetadataCatalog
from tiny import MODELS, item, on_meta, tiny_cfg, tiny_model
from torch import nn


@pytest.fixture(scope="module")
def rock() -> nn.Module:
    return tiny_model(*MODELS["rock"])


def test_losses_are_computed_in_single_precision_under_autocast(rock):
    rock.train().zero_grad()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        losses = rock([item(0), item(1, labels=("scene",))])
    assert {loss.dtype for loss in losses.values()} == {torch.float32}
    sum(losses.values()).backward()
    assert all(p.grad.isfinite().all() for p in rock.parameters())


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        # Class C is the background: it would teach the wrong thing without a word.
        (
            lambda bad: bad["instances"].gt_classes.fill_(3),
            r"hold class 3, but MODEL\.SSD\.NUM_CLA",
        ),
        # The coded size is the logarithm of 0.
        (lambda bad: bad["instances"].gt_boxes.tensor.fill_(9), r"`instances`.*without area"),
    ],
    ids=["class", "area"],
)
def test_ground_truths_that_make_no_sense_are_refused(rock, damage, message):
    bad = item(0)
    damage(bad)
    with pytest.raises(ValueError, match=message):
        rock.train()([item(1), bad])


@pytest.mark.parametrize("architecture", ["MultiTask", "SSD"])
def test_number_of_classes_comes_from_the_data(architecture):
    MetadataCatalog.get("five_things").thing_classes = list("abcde")
    options = ("MODEL.SSD.NUM_CLASSES", 0, "DATASETS.TRAIN", ("five_things",))
    model = on_meta(tiny_cfg(*options, "MODEL.META_ARCHITECTURE", architecture))
    assert getattr(model, "detector", model).head.num_classes == 5


@pytest.mark.parametrize("name", ["baseline", "flat", "rock"])
def test_a_training_step_reads_nothing_back(name):
    """Tensors of device `meta` hold no values: a step that asks for one on the host raises."""
    model = tiny_model("MODEL.DEVICE", "meta", *MODELS[name]).train()
    losses = model([item(0), item(1, labels=("depth",), objects=0, size=(70, 90))])
    assert {loss.device.type for loss in losses.values()} == {"meta"}
    sum(losses.values()).backward()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_training_step_never_waits_for_the_gpu():
    model = tiny_model("MODEL.DEVICE", "cuda", *MODELS["rock"]).train()
    batches = [[item(0), item(1, labels=(), objects=0)], [item(2), item(3)]]
    sum(model(batches[0]).values()).backward()
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        sum(model(batches[1]).values()).backward()
    finally:
        torch.cuda.set_sync_debug_mode("default")


def test_losses_have_their_weights():
    plain, weighted = (
        tiny_model(
            "MODEL.SSD.CLS_LOSS_WEIGHT", classes, "MODEL.SSD.BOX_REG_LOSS_WEIGHT", boxes
        ).train()([item(0), item(1)])
        for classes, boxes in ((1.0, 1.0), (0.5, 3.0))
    )
    torch.testing.assert_close(weighted["loss_cls"], 0.5 * plain["loss_cls"])
    torch.testing.assert_close(weighted["loss_box_reg"], 3 * plain["loss_box_reg"])
