"""SSD's head: map sizes, prior and the order of its outputs."""

import pytest
import torch
from detectron2.layers import ShapeSpec
from tiny import tiny_cfg, tiny_model

from rock_d2.modeling.ssd.anchors import SSDAnchorGenerator
from rock_d2.modeling.ssd.head import SSDHead, build_ssd_head


def head(*, num_classes: int = 3, norm: str = "") -> SSDHead:
    """On one map of 3 x 4 cells of 8 pixels, and two extra ones."""
    generator = SSDAnchorGenerator(
        image_size=(24, 32), num_maps=3, scales=(0.1, 0.2, 0.9), aspect_ratios=(2.0,)
    )
    torch.manual_seed(0)
    return SSDHead(
        input_shape={"x": ShapeSpec(channels=6, stride=8)},
        in_features=["x"],
        image_size=(24, 32),
        extra_channels=(4, 4),
        norm=norm,
        anchor_generator=generator,
        num_classes=num_classes,
        prior_prob=0.01,
    )


@pytest.mark.parametrize("num_classes", [1, 19])
def test_every_box_starts_as_an_object_with_the_prior_probability(num_classes):
    model = head(num_classes=num_classes)
    for layer, channels in zip(model.cls_score, (6, 4, 4), strict=True):
        scores = layer(torch.zeros(1, channels, 2, 2)).view(1, 4, num_classes + 1, 2, 2)
        objects = scores.softmax(dim=2)[:, :, :-1]
        torch.testing.assert_close(objects, torch.full_like(objects, 0.01 / num_classes))


def test_one_image_has_no_batch_statistics_in_a_map_of_one_cell():
    model, x = head(norm="BN"), torch.zeros(2, 6, 3, 4)
    assert model({"x": x}, (24, 32))[0].isfinite().all()
    with pytest.raises(ValueError, match=r"MODEL.SSD.NORM BN needs two images.*IMS_PER_BATCH"):
        model({"x": x[:1]}, (24, 32))
    model.eval()({"x": x[:1]}, (24, 32))
    head()({"x": x[:1]}, (24, 32))


def test_a_cell_predicts_its_own_boxes():
    model = head()
    feature = torch.zeros(2, 6, 3, 4)
    feature[1, 0, 1, 2] = 5
    with torch.no_grad():
        for layers, size in ((model.cls_score, 4), (model.bbox_pred, 4)):
            # Only the centre of the 3 x 3 window counts, and box 2 has a bias of 7 besides.
            torch.nn.init.zeros_(layers[0].weight)
            layers[0].weight[:, 0, 1, 1] = 1
            layers[0].bias.zero_().view(4, size)[2] = 7
        logits, deltas, boxes = model({"x": feature}, (24, 32))
    # 4 boxes in 3 * 4, 2 * 2 and 1 cells.
    assert logits.shape == (2, 68, 4) and deltas.shape == (2, 68, 4) and boxes.shape == (68, 4)
    torch.testing.assert_close(logits[:, :48], deltas[:, :48])
    value = logits[:, :48, 0]
    assert (value[0] == 7).nonzero()[:, 0].tolist() == list(range(2, 48, 4))
    hot = ((value[1] == 5) | (value[1] == 12)).nonzero()[:, 0]
    # Row 1, column 2 of cells of 8 x 8 pixels.
    centres = (boxes[hot, :2] + boxes[hot, 2:]) / 2
    assert centres.tolist() == [[20.0, 12.0]] * 4


@pytest.mark.parametrize("size", [(96, 128), (97, 131), (64, 64), (33, 200)])
def test_images_of_any_size_through_two_maps_of_the_backbone(size):
    two = ["res4", "res5"]
    model = tiny_model("MODEL.RESNETS.OUT_FEATURES", two, "MODEL.SSD.IN_FEATURES", two).eval()
    with torch.no_grad():
        logits, deltas, boxes = model.detector.predict(torch.zeros(1, 3, *size))
    assert logits.shape[1] == deltas.shape[1] == len(boxes)
    # 4, 6, 4 and 4 boxes in the cells of four maps, each half of the one before.
    cells = [(-(-size[0] // stride)) * (-(-size[1] // stride)) for stride in (16, 32, 64, 128)]
    assert len(boxes) == sum(c * k for c, k in zip(cells, (4, 6, 4, 4), strict=True))


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        *(("MODEL.SSD.IN_FEATURES", names) for names in (["res3"], [])),
        ("MODEL.SSD.NUM_CLASSES", 0),
        ("MODEL.SSD.PRIOR_PROB", 1.0),
        ("MODEL.SSD.EXTRA_CHANNELS", [1]),
        ("MODEL.SSD.SCALES", [0.1, 0.9]),
        ("MODEL.SSD.HEAD", "Hand"),
        ("INPUT.SIZE", [8, 640]),
    ],
)
def test_settings_that_make_no_sense_are_named(setting, value):
    with pytest.raises(ValueError, match=setting):
        build_ssd_head(tiny_cfg(setting, value), {"res5": ShapeSpec(channels=8, stride=32)})
