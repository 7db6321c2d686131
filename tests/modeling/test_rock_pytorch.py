"""The network of rock-pytorch where it is not the paper's, against arithmetic by hand."""

import pytest
import torch
from detectron2.config import CfgNode
from detectron2.layers import ShapeSpec
from detectron2.modeling import build_anchor_generator, build_model
from tiny import item, on_meta

from rock_d2 import FUSION_REGISTRY, model_zoo
from rock_d2.modeling.rock_pytorch import PortHead

MAPS = [(30, 40), (15, 20), (8, 10), (4, 5), (2, 3), (1, 1)]
# Four a cell on maps 1, 5 and 6, six on the others.
COUNTS = [4800, 1800, 480, 120, 24, 4]


def port_cfg(name: str = "rock") -> CfgNode:
    return model_zoo.get_config(f"port/{name}_nyuv2.yaml")


@pytest.fixture(scope="module")
def boxes() -> list[torch.Tensor]:
    cfg = port_cfg()
    given = [ShapeSpec(channels=2048, stride=16)]
    shapes = PortHead.map_shapes(given, cfg.INPUT.SIZE, cfg.MODEL.SSD.EXTRA_CHANNELS)
    assert [(shape.height, shape.width) for shape in shapes] == MAPS
    generator = build_anchor_generator(cfg, shapes)
    found = generator([torch.zeros(1, 1, *size) for size in MAPS], (480, 640))
    assert len(found) == sum(COUNTS) == 7228
    return found.split(COUNTS)


def test_first_map_by_hand(boxes):
    # Scale 0.07 is 44.8 of 640 by 33.6 of 480; sqrt(0.07 * 0.15) = 0.102470 is 65.5805 by 49.1854;
    # ratio 2: 0.07 * sqrt(2) = 0.0989949 of the width by 0.0494975 of the height, and the same
    # with the two exchanged. The second cell's centre is (24, 8).
    sides = torch.tensor([[44.8, 33.6], [65.5805, 49.1854], [63.3568, 23.7588], [31.6784, 47.5176]])
    expected = torch.tensor([24.0, 8.0] * 2) + torch.cat([-sides, sides], dim=1) / 2
    torch.testing.assert_close(boxes[0][4:8], expected, atol=1e-3, rtol=0)


def test_cells_have_whole_pixels(boxes):
    # Map 5 has 3 columns in 640 pixels: 213 each, so that the centres are 106.5, 319.5 and 532.5.
    centres = (boxes[4][::4, :2] + boxes[4][::4, 2:]) / 2
    rows = [(x, y) for y in (120.0, 360.0) for x in (106.5, 319.5, 532.5)]
    torch.testing.assert_close(centres, torch.tensor(rows), atol=1e-3, rtol=0)


def test_boxes_are_no_larger_than_the_image(boxes):
    # Scale 0.87 at ratio 2 is 1.2304 times the width, which counts as the width, by
    # 0.87 / sqrt(2) = 0.615183 of the height, 295.288.
    wide, high = boxes[5][2], boxes[5][3]
    assert wide.tolist() == pytest.approx([0, 240 - 147.644, 640, 240 + 147.644], abs=1e-3)
    assert high.tolist() == pytest.approx([320 - 196.859, 0, 320 + 196.859, 480], abs=1e-3)


def test_fusion_normalises_the_sum():
    torch.manual_seed(0)
    settings = {"out_channels": 4, "encoding_channels": {"a": 2, "b": 3}, "norm": "BN"}
    port, paper = (FUSION_REGISTRY.get(f"{name}Fusion")(**settings) for name in ("Port", "Sum"))
    paper.load_state_dict(port.state_dict(), strict=False)
    x, encodings = (
        torch.randn(2, 4, 3, 5),
        {"a": torch.randn(2, 2, 3, 5), "b": torch.ones(2, 3, 3, 5)},
    )
    total = paper(x, encodings)
    mean = total.mean(dim=(0, 2, 3), keepdim=True)
    deviation = (total.var(dim=(0, 2, 3), keepdim=True, correction=0) + 1e-5).sqrt()
    expected = ((total - mean) / deviation).clamp(min=0)
    torch.testing.assert_close(port(x, encodings), expected, atol=1e-5, rtol=0)


def test_only_the_first_window_of_conv5_is_not_dilated():
    blocks = on_meta(port_cfg()).backbone.res5
    assert [block.conv2.dilation for block in blocks] == [(1, 1), (2, 2), (2, 2)]
    assert [block.conv2.stride for block in blocks] == [(1, 1)] * 3


@pytest.mark.parametrize("name", ["ssd", "rock"])
def test_a_step_reaches_every_parameter(name):
    size = (272, 272)
    cfg = port_cfg(name)
    cfg.merge_from_list(
        [
            *("MODEL.DEVICE", "cpu", "INPUT.SIZE", size, "MODEL.ROCK.WIDTH", 8),
            *("MODEL.RESNETS.STEM_OUT_CHANNELS", 8, "MODEL.RESNETS.RES2_OUT_CHANNELS", 16),
            *("MODEL.RESNETS.WIDTH_PER_GROUP", 4, "MODEL.SSD.EXTRA_CHANNELS", [8] * 5),
        ]
    )
    torch.manual_seed(0)
    model = build_model(cfg)
    losses = model([item(seed, size=size) for seed in range(2)])
    sum(losses.values()).backward()
    assert [name for name, p in model.named_parameters() if p.grad is None] == []
    assert all(p.grad.isfinite().all() for p in model.parameters())
    # The objects have the size of the second map's boxes.
    assert model.detector.head.bbox_pred[1].weight.grad.abs().max() > 0
