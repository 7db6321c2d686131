"""SSD's head: map sizes, prior and the order of its outputs."""

import pytest
import torch
from detectron2.layers import ShapeSpec
from tiny import tiny_cfg, tiny_model

from rock_d2.modeling.ssd.anchors import SSDAnchorGenerator
from rock_d2.modeling.ssd.head import SSDHead, all_map_shapes


def head(*, num_classes: int = 3, prior_prob: float = 0.01) -> SSDHead:
    shapes = [
        ShapeSpec(channels=channels, height=height, width=width, stride=stride)
        for channels, height, width, stride in ((6, 3, 4, 8), (4, 2, 2, 16), (4, 1, 1, 32))
    ]
    generator = SSDAnchorGenerator(
        image_size=(24, 32),
        map_sizes=[(shape.height, shape.width) for shape in shapes],
        scales=(0.1, 0.2, 0.9),
        aspect_ratios=(2.0,),
    )
    torch.manual_seed(0)
    return SSDHead(
        in_features=["x"],
        map_shapes=shapes,
        extra_layers=SSDHead.make_extra_layers(shapes, norm=""),
        anchor_generator=generator,
        num_classes=num_classes,
        prior_prob=prior_prob,
    )


@pytest.mark.parametrize("num_classes", [1, 19])
def test_every_box_starts_as_an_object_with_the_prior_probability(num_classes):
    model = head(num_classes=num_classes, prior_prob=0.01)
    for layer, channels in zip(model.cls_score, (6, 4, 4), strict=True):
        scores = layer(torch.zeros(1, channels, 2, 2)).view(1, 4, num_classes + 1, 2, 2)
        objects = scores.softmax(dim=2)[:, :, :-1]
        torch.testing.assert_close(objects.sum(dim=2), torch.full((1, 4, 2, 2), 0.01))
        torch.testing.assert_close(objects, torch.full_like(objects, 0.01 / num_classes))


def test_outputs_follow_the_default_boxes():
    model = head()
    features = torch.randn(2, 6, 3, 4)
    with torch.no_grad():
        # The first map's box 2 of each cell: biases tell boxes apart, weights nothing.
        for layers, size in ((model.cls_score, 4), (model.bbox_pred, 4)):
            torch.nn.init.zeros_(layers[0].weight)
            layers[0].bias.zero_().view(4, size)[2] = 7.0
        logits, deltas, boxes = model({"x": features})
        hot = (logits[:, : 3 * 4 * 4] == 7).all(dim=2)
    assert logits.shape == (2, 68, 4) and deltas.shape == (2, 68, 4) and boxes.shape == (68, 4)
    assert torch.equal(hot, (deltas[:, : 3 * 4 * 4] == 7).all(dim=2))
    assert hot[1].nonzero()[:, 0].tolist() == list(range(2, 48, 4))


def test_a_cell_speaks_for_its_own_boxes():
    model = head()
    torch.nn.init.zeros_(model.cls_score[0].weight)
    with torch.no_grad():
        # Only the centre of the 3 x 3 window counts: logit = the feature of the same cell.
        model.cls_score[0].weight[:, 0, 1, 1] = 1
        model.cls_score[0].bias.zero_()
        feature = torch.zeros(1, 6, 3, 4)
        feature[0, 0, 1, 2] = 5
        logits, _, boxes = model({"x": feature})
    hot = (logits[0, :48] == 5).all(dim=1).nonzero()[:, 0]
    centres = (boxes[hot, :2] + boxes[hot, 2:]) / 2
    # Row 1, column 2 of cells of 8 x 8 pixels.
    assert centres.tolist() == [[20.0, 12.0]] * 4


def test_extra_maps_halve_until_one_cell():
    given = [ShapeSpec(channels=8, stride=16)]
    sizes = [
        (shape.height, shape.width, shape.channels)
        for shape in all_map_shapes(given, (50, 100), [7, 6, 5, 4, 3])
    ]
    assert sizes == [(4, 7, 8), (2, 4, 7), (1, 2, 6), (1, 1, 5)]


@pytest.mark.parametrize("size", [(97, 131), (64, 64), (33, 200)])
def test_promised_map_sizes_are_the_real_ones(size):
    model = tiny_model("INPUT.SIZE", list(size)).eval()
    image = torch.zeros(3, *size, dtype=torch.uint8)
    with torch.no_grad():
        # The anchor generator raises if a map differs.
        logits, _, boxes = model.head(model.neck(model.backbone(image[None].float()))[0])
    assert logits.shape[1] == len(boxes)


def test_two_maps_of_the_backbone():
    cfg_options = [
        "MODEL.RESNETS.OUT_FEATURES",
        ["res4", "res5"],
        "MODEL.SSD.IN_FEATURES",
        ["res4", "res5"],
        "MODEL.NECK.NAME",
        "ROCK",
    ]
    model = tiny_model(*cfg_options).eval()
    with torch.no_grad():
        features = model.neck(model.backbone(torch.zeros(1, 3, 96, 128)))[0]
        logits, _, boxes = model.head(features)
    assert [tuple(f.shape[-2:]) for f in features.values()] == [(6, 8), (3, 4)]
    assert logits.shape[1] == len(boxes) == 6 * 8 * 4 + 3 * 4 * 6 + 2 * 2 * 4 + 4


def test_a_map_that_does_not_exist_is_refused():
    cfg = tiny_cfg("MODEL.SSD.IN_FEATURES", ["res3"])
    with pytest.raises(ValueError, match=r"MODEL\.SSD\.IN_FEATURES.*res3"):
        SSDHead(cfg, {"res5": ShapeSpec(channels=8, stride=32)})
