"""Sizes and gradients of the networks of configs/mti, on the meta device: no value is computed."""

import re
from typing import Any

import pytest
import torch
from analyze_model import complexity_of, num_parameters
from detectron2.config import CfgNode
from detectron2.modeling import build_model
from tiny import on_meta
from torch.utils.flop_counter import FlopCounterMode

from rock_d2 import model_zoo

# Parameters, and multiply-adds in 10^9 for one image, of the published code's modules. It has no
# feature pyramids; those figures are Detectron2's FPN's and SemSegFPNHead's.
ROWS = {
    "nyud/single_hrnet18": (3_945_270, 11.367),
    "nyud/single_hrnet18 Depth": (3_934_701, 11.165),
    "nyud/mtl_hrnet18": (4_019_251, 12.772),
    "nyud/pad_net_hrnet18": (7_019_056, 70.245),
    "nyud/pad_net_n_hrnet18": (9_590_451, 119.577),
    "nyud/pad_net_ne_hrnet18": (12_161_332, 168.898),
    "nyud/mti_net_hrnet18": (8_578_179, 17.142),
    "nyud/mti_net_n_hrnet18": (11_587_653, 19.928),
    "nyud/mti_net_ne_hrnet18": (14_838_121, 22.879),
    "nyud/mti_net_no_fpm_hrnet18": (7_009_125, 15.486),
    "nyud/mti_net_no_fpm_ne_hrnet18": (10_980_301, 19.072),
    "nyud/mti_net_3_scales_hrnet18": (5_014_840, 13.613),
    "nyud/mti_net_2_scales_hrnet18": (4_122_351, 11.832),
    "nyud/mti_net_1_scale_hrnet18": (3_898_314, 10.473),
    "nyud/single_hrnet48": (65_874_520, 109.789),
    "nyud/single_hrnet48 Depth": (65_846_401, 109.250),
    "nyud/mtl_hrnet48": (66_395_801, 119.756),
    "nyud/pad_net_hrnet48": (69_218_306, 173.852),
    "nyud/mti_net_hrnet48": (98_727_553, 150.716),
    "nyud/mti_net_ne_hrnet48": (143_207_429, 191.498),
    "nyud/pad_net_hrnet48 SemSeg Depth + Normals Edges": (74_648_582, 278.034),
    "nyud/mtl_r50_fpn": (30_105_321, 60.75),
    "pascal/single_hrnet18": (3_940_121, 9.616),
    "pascal/single_hrnet18 HumanParts": (3_936_327, 9.554),
    "pascal/single_hrnet18 Normals": (3_935_243, 9.536),
    "pascal/single_hrnet18 Saliency": (3_934_701, 9.527),
    "pascal/single_hrnet18 Edges": (3_934_701, 9.527),
    "pascal/single_hrnet48": (65_860_821, 93.463),
    "pascal/single_hrnet48 HumanParts": (65_850_727, 93.298),
    "pascal/mtl_hrnet48": (67_951_713, 127.578),
    "pascal/pad_net_hrnet48": (91_936_242, 520.388),
    "pascal/pad_net_small_hrnet18": (12_083_608, 142.862),
    "pascal/mtl_hrnet18": (4_238_213, 14.447),
    "pascal/pad_net_hrnet18": (29_304_992, 424.900),
    "pascal/mti_net_hrnet18": (24_494_171, 30.310),
    "pascal/mtl_small_hrnet18": (4_089_709, 12.040),
    "pascal/mti_net_small_hrnet18": (12_645_441, 18.903),
    "pascal/mti_net_hrnet48": (211_871_031, 240.300),
    "pascal/single_r50_fpn": (28_478_933, 44.02),
}
# Of the pyramids, in 10^6 and 10^9, as they are rounded there.
ROUNDED = {
    "nyud/single_r18_fpn": (15.413, 35.95),
    "nyud/single_r18_fpn Depth": (15.408, 35.85),
    "nyud/mtl_r18_fpn": (17.037, 45.06),
    "nyud/single_r50_fpn": (28.481, 51.63),
    "nyud/single_r50_fpn Depth": (28.476, 51.54),
    "pascal/single_r18_fpn": (15.410, 30.63),
    "pascal/mtl_r18_fpn": (21.907, 61.76),
    "pascal/single_r50_fpn Edges": (28.476, 43.98),
    "pascal/mtl_r50_fpn": (34.976, 75.15),
}
# By the channels of the pyramid and of the tasks.
WIDTHS = {
    (256, 256): (221.0, 982.8),
    (256, 128): (81.9, 303.9),
    (128, 128): (76.3, 275.4),
    (256, 96): (60.6, 199.5),
    (256, 64): (44.7, 121.2),
    (64, 64): (39.3, 94.3),
}
LABELS = {"sem_seg": 1, "edges": 1, "depth": 1, "normals": 3, "human_parts": 1, "saliency": 1}
SYSTEMS = sorted(
    str(file.relative_to(model_zoo.CONFIGS / "mti").with_suffix(""))
    for file in (model_zoo.CONFIGS / "mti").glob("*/*.yaml")
    # The others are the same networks, wider or by another recipe.
    if not re.search("published|hrnet48|r50", file.stem)
)


def row_cfg(row: str) -> CfgNode:
    """Return the config of "<file>", of "<file> <main tasks>" or with "+ <auxiliary tasks>"."""
    name, _, tasks = row.partition(" ")
    cfg = model_zoo.get_config(f"mti/{name}.yaml")
    main, _, auxiliary = tasks.partition(" + ")
    cfg.merge_from_list(["MODEL.TASKS.MAIN", main.split()] if main else [])
    cfg.merge_from_list(["MODEL.TASKS.AUXILIARY", auxiliary.split()] if auxiliary else [])
    return cfg


def counts(cfg: CfgNode) -> tuple[int, float]:
    """Return the parameters and the multiply-adds, in 10^9, for one image."""
    model = on_meta(cfg).eval()
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model([image(cfg.INPUT.SIZE)])
    # A multiplication and an addition.
    return num_parameters(model), counter.get_total_flops() / 2e9


def image(size: tuple[int, int], **labels: Any) -> dict[str, Any]:
    return {"image": torch.zeros(3, *size, dtype=torch.uint8), **labels}


@pytest.mark.parametrize("row", ROWS)
def test_size_is_the_published_codes(row):
    parameters, operations = counts(row_cfg(row))
    assert parameters == ROWS[row][0]
    assert operations == pytest.approx(ROWS[row][1], rel=1e-3)


@pytest.mark.parametrize("row", ROUNDED)
def test_size_with_a_pyramid(row):
    parameters, operations = counts(row_cfg(row))
    assert (parameters / 1e6, operations) == pytest.approx(ROUNDED[row], rel=1e-3)


@pytest.mark.parametrize("widths", WIDTHS)
def test_size_of_mti_net_on_a_pyramid_by_its_width(widths):
    cfg = row_cfg("pascal/mti_net_r50_fpn")
    cfg.MODEL.FPN.OUT_CHANNELS, cfg.MODEL.MTI.WIDTH = widths
    parameters, operations = counts(cfg)
    assert (parameters / 1e6, operations) == pytest.approx(WIDTHS[widths], rel=2e-3)


def test_the_tool_counts_the_same_operations():
    cfg = row_cfg("nyud/mti_net_hrnet18")
    cfg.MODEL.DEVICE = "cpu"
    # Of 480 x 640 pixels these are a 25th.
    whole = complexity_of(build_model(cfg), (96, 128)).whole
    assert 25 * whole.flops / 1e9 == pytest.approx(17.142, rel=0.01)


@pytest.mark.parametrize("system", SYSTEMS)
def test_no_parameter_lacks_a_gradient(system):
    model = on_meta(row_cfg(system)).train()
    labels = {name: torch.ones(channels, 64, 64) for name, channels in LABELS.items()}
    sum(model([image((64, 64), **labels)] * 2).values()).backward()
    trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
    assert [name for name, p in trained.items() if p.grad is None] == []
