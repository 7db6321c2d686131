"""Default boxes against arithmetic by hand."""

import pytest
import torch
from detectron2.layers import ShapeSpec
from detectron2.modeling import build_anchor_generator
from tiny import base_cfg

from rock_d2.modeling.ssd.anchors import SSDAnchorGenerator, nominal_size
from rock_d2.modeling.ssd.head import SSDHead

PAPER_MAPS = [(30, 40), (15, 20), (8, 10), (4, 5), (2, 3), (1, 2), (1, 1)]
# Four a cell on maps 1, 6 and 7, six on the others (SSD512).
COUNTS = [4800, 1800, 480, 120, 36, 8, 4]


@pytest.fixture(scope="module")
def paper_boxes() -> list[torch.Tensor]:
    """The boxes of the paper's model by map, through the config."""
    cfg = base_cfg()
    shapes = SSDHead.map_shapes(
        [ShapeSpec(channels=2048, stride=16)], cfg.INPUT.SIZE, cfg.MODEL.SSD.EXTRA_CHANNELS
    )
    assert [(shape.height, shape.width) for shape in shapes] == PAPER_MAPS
    boxes = build_anchor_generator(cfg, shapes)(
        [torch.zeros(2, 1, *size) for size in PAPER_MAPS], (480, 640)
    )
    assert len(boxes) == sum(COUNTS) == 7248
    return boxes.split(COUNTS)


def test_first_map_by_hand(paper_boxes):
    # Cells of 480 / 30 = 640 / 40 = 16 pixels: the first centre is (8, 8), the second (24, 8) and
    # the first of the second row (8, 24).
    # Scale 0.07 of the shorter side 480 is 33.6, the next scale 0.15 is 72.
    # Squares of 33.6 and sqrt(33.6 * 72) = 49.1854; ratio 2: 33.6 * sqrt(2) = 47.5176 by
    # 33.6 / sqrt(2) = 23.7588, and the same upright.
    halves = torch.tensor(
        [[16.8, 16.8], [24.5927, 24.5927], [23.7588, 11.8794], [11.8794, 23.7588]]
    )
    for first, centre in ((0, [8.0, 8.0]), (4, [24.0, 8.0]), (40 * 4, [8.0, 24.0])):
        expected = torch.tensor(centre * 2) + torch.cat([-halves, halves], dim=1)
        found = paper_boxes[0][first : first + 4]
        torch.testing.assert_close(found, expected, atol=1e-3, rtol=0)


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


@pytest.mark.parametrize("size", [(97, 131), (64, 64), (33, 200)])
def test_centres_lie_evenly_in_images_of_any_size(size):
    sizes = [(-(-size[0] // stride), -(-size[1] // stride)) for stride in (8, 16, 32)]
    generator = SSDAnchorGenerator(
        image_size=(60, 80), num_maps=3, scales=(0.1, 0.2, 0.9), aspect_ratios=(2.0,)
    )
    boxes = generator([torch.zeros(1, 1, *of_map) for of_map in sizes], size)
    counts = [4 * height * width for height, width in sizes]
    for (height, width), of_map in zip(sizes, boxes.split(counts), strict=True):
        centres = ((of_map[:, :2] + of_map[:, 2:]) / 2).view(height, width, 4, 2)
        expected = torch.tensor([(0.5 + width // 2) / width, 0.5 / height]) * torch.tensor(
            size[::-1]
        )
        torch.testing.assert_close(centres[0, width // 2], expected.expand(4, 2))
        last = torch.tensor([1 - 0.5 / width, 1 - 0.5 / height]) * torch.tensor(size[::-1])
        torch.testing.assert_close(centres[-1, -1], last.expand(4, 2))
    # The scales refer to the size that is designed for: 0.1 of 60 pixels.
    assert (boxes[0, 2:] - boxes[0, :2]).tolist() == pytest.approx([6, 6])
    assert generator.state_dict() == {}, "boxes follow from the settings"


@pytest.mark.parametrize(("setting", "value"), [("INPUT.SIZE", [30]), ("INPUT.MIN_SIZE_TEST", 0)])
def test_a_size_that_gives_no_boxes_is_refused(setting, value):
    with pytest.raises(ValueError, match=rf"{setting}.* or more"):
        nominal_size(base_cfg("INPUT.SIZE", [], setting, value))
