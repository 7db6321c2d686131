"""The whole detector in training: gradients, labels that are missing, bad input."""

import pytest
import torch
from tiny import LABELS, MODELS, SIZE, item, tiny_cfg, tiny_model
from torch.nn import functional as F

from rock_d2.modeling.ssd.detector import SSD, merge_losses

BATCHES = {
    "all-labels": lambda: [item(0), item(1)],
    "some-labels": lambda: [item(0, labels=("depth",), objects=0), item(1, labels=("scene",))],
    "no-labels": lambda: [item(0, labels=()), item(1, labels=())],
    "one-empty-image": lambda: [item(0, labels=(), objects=0)],
}


@pytest.fixture(scope="module")
def rock() -> SSD:
    return tiny_model(*MODELS["rock"])


@pytest.mark.parametrize("name", MODELS)
def test_every_parameter_learns_whatever_the_labels(name):
    model = tiny_model(*MODELS[name]).train()
    for kind, batch in BATCHES.items():
        model.zero_grad()
        losses = model(batch())
        sum(losses.values()).backward()
        assert all(loss.isfinite() for loss in losses.values()), (kind, losses)
        for path, parameter in model.named_parameters():
            if parameter.requires_grad:
                assert parameter.grad is not None, f"{kind}: {path}"
                assert parameter.grad.isfinite().all(), f"{kind}: {path}"


@pytest.mark.parametrize("name", ["flat", "rock", "rock-none"])
def test_labels_reach_every_part_of_the_neck(name):
    model = tiny_model(*MODELS[name]).train()
    losses = model([item(0), item(1)])
    assert set(losses) == {"loss_cls", "loss_box_reg", *(f"loss_{label}" for label in LABELS)}
    sum(losses[f"loss_{label}"] for label in LABELS).backward()
    for path, parameter in model.neck.named_parameters():
        if "fusion" not in path:
            assert parameter.grad.abs().max() > 0, path


@pytest.mark.parametrize("label", LABELS)
def test_an_image_without_a_label_gives_no_gradient(label):
    """Per task: no gradient for the image's prediction, and the loss of the others alone."""
    model = tiny_model(*MODELS["flat"]).train()
    batch = [item(0), item(1, labels=[other for other in LABELS if other != label])]
    _, _, _, aux = model.predict(model.stack_images(batch))
    predictions = {name: value.detach().requires_grad_() for name, value in aux.items()}
    loss = model.neck.losses(predictions, model.collate(batch).labels)[f"loss_{label}"]
    loss.backward()
    assert (predictions[label].grad[1] == 0).all()
    assert predictions[label].grad[0].abs().max() > 0
    first = {name: value.detach()[:1] for name, value in aux.items()}
    alone = model.neck.losses(first, model.collate(batch[:1]).labels)[f"loss_{label}"]
    torch.testing.assert_close(loss, alone, atol=1e-6, rtol=1e-6)


def test_zero_weights_remove_the_supervision_alone():
    model = tiny_model(*MODELS["rock-unsupervised"]).train()
    with_labels = model([item(0), item(1)])
    assert all(with_labels[f"loss_{label}"] == 0 for label in LABELS)
    (with_labels["loss_cls"] + with_labels["loss_box_reg"]).backward()
    for path, parameter in model.neck.named_parameters():
        assert parameter.grad.abs().max() > 0, path


def test_losses_are_computed_in_single_precision_under_autocast(rock):
    rock.train().zero_grad()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        losses = rock([item(0), item(1, labels=("scene",))])
    assert {loss.dtype for loss in losses.values()} == {torch.float32}
    sum(losses.values()).backward()
    assert all(p.grad.isfinite().all() for p in rock.parameters())


def test_padding_of_ground_truths_changes_no_loss():
    model = tiny_model().train()
    batch = model.collate([item(0, objects=2)])
    # Rows without area, whatever else they say.
    padded = batch._replace(
        boxes=F.pad(batch.boxes, (0, 0, 0, 36), value=7.0),
        classes=F.pad(batch.classes, (0, 36), value=1),
        present=F.pad(batch.present, (0, 36)),
    )
    with torch.no_grad():
        torch.testing.assert_close(model.compute_losses(padded), model.compute_losses(batch))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"image": torch.zeros(3, 128, 96, dtype=torch.uint8)}, r"`image`.*INPUT\.SIZE"),
        ({"image": torch.zeros(1, *SIZE, dtype=torch.uint8)}, r"`image`"),
        ({"image": torch.zeros(3, *SIZE)}, r"`image`.*float32.*uint8"),
        ({"instances": None}, r"`instances`"),
        ({"scene": 5}, r"`scene`.*SCENE\.NUM_CLASSES"),
        ({"depth": torch.zeros(1, 6, 6)}, r"`depth`"),
        ({"normals": torch.zeros(3, *SIZE, dtype=torch.float64)}, r"`normals`"),
    ],
    ids=["size", "channels", "dtype", "no-instances", "scene", "depth", "normals"],
)
def test_bad_items_are_refused(rock, change, message):
    bad = {name: value for name, value in {**item(0), **change}.items() if value is not None}
    with pytest.raises(ValueError, match=message):
        rock.train()([item(1), bad])


def test_classes_beyond_the_model_are_refused(rock):
    """Class C is the background: taken for an object it would teach the wrong thing in silence."""
    bad = item(0)
    bad["instances"].gt_classes[1] = 3
    with pytest.raises(ValueError, match=r"`instances`.*MODEL\.SSD\.NUM_CLASSES"):
        rock.train()([bad])


def test_boxes_without_area_are_refused(rock):
    """Their coded size is the logarithm of 0."""
    bad = item(0)
    bad["instances"].gt_boxes.tensor[2, 2] = bad["instances"].gt_boxes.tensor[2, 0]
    with pytest.raises(ValueError, match=r"`instances`.*without area"):
        rock.train()([bad])


def test_unknown_classification_loss_is_refused():
    with pytest.raises(ValueError, match=r"MODEL\.SSD\.CLS_LOSS.*Hinge.*HardNegativeMining, Focal"):
        SSD(tiny_cfg("MODEL.SSD.CLS_LOSS", "Hinge"))


def test_one_loss_of_a_name():
    one = torch.ones(())
    assert merge_losses({"a": one}, {"b": one}) == {"a": one, "b": one}
    with pytest.raises(ValueError, match="loss_cls"):
        merge_losses({"loss_cls": one}, {"loss_cls": one})


@pytest.mark.parametrize("name", ["baseline", "flat", "rock", "focal"])
def test_a_training_step_reads_nothing_back(name):
    """Tensors of device `meta` hold no values: whatever asks for one on the host raises."""
    model = tiny_model("MODEL.DEVICE", "meta", *MODELS[name]).train()
    losses = model([item(0), item(1, labels=("depth",), objects=0)])
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
