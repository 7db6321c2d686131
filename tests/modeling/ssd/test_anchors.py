"""Default boxes against arithmetic by hand."""

import pytest
import torch
from detectron2.layers import ShapeSpec
from detectron2.modeling import build_anchor_generator
from tiny import base_cfg

from rock_d2.modeling.ssd.anchors import SSDAnchorGenerator, box_shapes
from rock_d2.modeling.ssd.head import all_map_shapes

PAPER_MAPS = [(30, 40), (15, 20), (8, 10), (4, 5), (2, 3), (1, 2), (1, 1)]


@pytest.fixture(scope="module")
def paper_boxes() -> list[torch.Tensor]:
    """The boxes of the paper's model, through the config."""
    cfg = base_cfg()
    shapes = all_map_shapes(
        [ShapeSpec(channels=2048, stride=16)], cfg.INPUT.SIZE, cfg.MODEL.SSD.EXTRA_CHANNELS
    )
    assert [(shape.height, shape.width) for shape in shapes] == PAPER_MAPS
    generator = build_anchor_generator(cfg, shapes)
    maps = [torch.zeros(2, 1, *size) for size in PAPER_MAPS]
    return [boxes.tensor for boxes in generator(maps)]


def test_first_map_by_hand(paper_boxes):
    # Cells of 480 / 30 = 640 / 40 = 16 pixels: the first centre is (8, 8), the second (24, 8) and
    # the first of the second row (8, 24).
    # Scale 0.07 of the shorter side 480 is 33.6, the next scale 0.15 is 72.
    # Squares of 33.6 and sqrt(33.6 * 72) = 49.1854; ratio 2: 33.6 * sqrt(2) = 47.5176 by
    # 33.6 / sqrt(2) = 23.7588, and the same upright.
    halves = torch.tensor(
        [[16.8, 16.8], [24.5927, 24.5927], [23.7588, 11.8794], [11.8794, 23.7588]]
    )
    boxes = paper_boxes[0]
    for first, centre in ((0, [8.0, 8.0]), (4, [24.0, 8.0]), (40 * 4, [8.0, 24.0])):
        expected = torch.tensor(centre) + torch.cat([-halves, halves], dim=1).view(4, 2, 2)
        torch.testing.assert_close(
            boxes[first : first + 4].view(4, 2, 2), expected, atol=1e-3, rtol=0
        )


def test_last_map_by_hand(paper_boxes):
    # One cell with its centre at (320, 240). Scale 0.9 of 480 is 432, the next would be
    # 0.9 + (0.9 - 0.15) / 5 = 1.05, that is 504.
    # Square of 432: 320 - 216 = 104, 240 - 216 = 24. Square of sqrt(432 * 504) = 466.6133.
    # Ratio 2: 432 * sqrt(2) = 610.9403 by 432 / sqrt(2) = 305.4701.
    expected = torch.tensor(
        [
            [104, 24, 536, 456],
            [86.6933, 6.6933, 553.3067, 473.3067],
            [14.5299, 87.2649, 625.4701, 392.7351],
            [167.2649, -65.4701, 472.7351, 545.4701],
        ]
    )
    torch.testing.assert_close(paper_boxes[6], expected, atol=1e-3, rtol=0)


def test_number_of_boxes(paper_boxes):
    # Four a cell on maps 1, 6 and 7, six on the others (SSD512):
    # 4800 + 1800 + 480 + 120 + 36 + 8 + 4.
    assert [len(boxes) for boxes in paper_boxes] == [4800, 1800, 480, 120, 36, 8, 4]
    assert sum(len(boxes) for boxes in paper_boxes) == 7248


def test_scales_rise_evenly_from_the_second_map():
    shapes = box_shapes(num_maps=7, side=100, scales=(0.07, 0.15, 0.9), aspect_ratios=(2, 3))
    squares = [shape[0][0] for shape in shapes]
    assert squares == pytest.approx([7, 15, 30, 45, 60, 75, 90])
    ratios = [w / h for w, h in shapes[1]]
    assert ratios == pytest.approx([1, 1, 2, 1 / 2, 3, 1 / 3])
    areas = [w * h for w, h in shapes[1]]
    assert areas == pytest.approx([225, 15 * 30] + [225] * 4)


@pytest.mark.parametrize("num_maps", [3, 5, 7])
def test_the_last_map_has_the_last_scale(num_maps):
    shapes = box_shapes(num_maps=num_maps, side=100, scales=(0.1, 0.2, 0.8), aspect_ratios=(2,))
    assert shapes[0][0] == pytest.approx((10, 10))
    assert shapes[-1][0] == pytest.approx((80, 80))


@pytest.mark.parametrize("size", [(97, 131), (64, 64), (33, 200)])
def test_centres_lie_evenly_for_any_size(size):
    shapes = all_map_shapes([ShapeSpec(channels=8, stride=32)], size, [4, 4, 4, 4, 4])
    assert (shapes[-1].height, shapes[-1].width) == (1, 1)
    map_sizes = [(shape.height, shape.width) for shape in shapes]
    generator = SSDAnchorGenerator(
        image_size=size, map_sizes=map_sizes, scales=(0.1, 0.2, 0.9), aspect_ratios=(2.0,)
    )
    for (height, width), boxes in zip(
        map_sizes, generator([torch.zeros(1, 1, *m) for m in map_sizes]), strict=True
    ):
        centres = boxes.get_centers().view(height, width, 4, 2)
        assert centres.mean(dim=(0, 1, 2)).tolist() == pytest.approx([size[1] / 2, size[0] / 2])
        assert centres[0, 0, :, 0].tolist() == pytest.approx([size[1] / width / 2] * 4)
        assert centres[-1, -1, :, 1].tolist() == pytest.approx([size[0] * (1 - 0.5 / height)] * 4)


def test_boxes_move_with_the_model_and_stay_out_of_checkpoints():
    generator = SSDAnchorGenerator(
        image_size=(8, 8), map_sizes=[(2, 2), (1, 1)], scales=(0.1, 0.2, 0.9), aspect_ratios=(2.0,)
    )
    generator.to("meta")
    assert [buffer.device.type for buffer in generator.buffers()] == ["meta"] * 2
    assert generator.state_dict() == {}


def test_other_map_sizes_are_refused():
    generator = SSDAnchorGenerator(
        image_size=(8, 8), map_sizes=[(2, 2), (1, 1)], scales=(0.1, 0.2, 0.9), aspect_ratios=(2.0,)
    )
    with pytest.raises(ValueError, match=r"INPUT\.SIZE"):
        generator([torch.zeros(1, 1, 2, 3), torch.zeros(1, 1, 1, 1)])
