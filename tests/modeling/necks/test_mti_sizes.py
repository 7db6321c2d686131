"""Sizes and gradients of the networks of configs/mti, on the meta device: no value is computed."""

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
    "nyud/mtl_hrnet48": (66_395_801, 119.756),
    "nyud/pad_net_hrnet48": (69_218_306, 173.852),
    "nyud/mti_net_hrnet48": (98_727_553, 150.716),
    "nyud/mti_net_ne_hrnet48": (143_207_429, 191.498),
    "nyud/mtl_r50_fpn": (30_105_321, 60.75),
    "pascal/single_hrnet18": (3_940_121, 9.616),
    "pascal/single_hrnet18 HumanParts": (3_936_327, 9.554),
    "pascal/single_hrnet18 Normals": (3_935_243, 9.536),
    "pascal/mtl_hrnet18": (4_238_213, 14.447),
    "pascal/pad_net_hrnet18": (29_304_992, 424.900),
    "pascal/mti_net_hrnet18": (24_494_171, 30.310),
    "pascal/mtl_small_hrnet18": (4_089_709, 12.040),
    "pascal/mti_net_small_hrnet18": (12_645_441, 18.903),
    "pascal/mti_net_hrnet48": (211_871_031, 240.300),
    "pascal/single_r50_fpn": (28_478_933, 44.02),
}
LABELS = {"sem_seg": 1, "edges": 1, "depth": 1, "normals": 3}
SYSTEMS = (
    *("mti_net_ne_hrnet18", "mti_net_no_fpm_n_hrnet18", "mti_net_1_scale_hrnet18"),
    *("pad_net_ne_hrnet18", "mtl_hrnet18", "mti_net_ne_r18_fpn", "single_r18_fpn"),
)


def row_cfg(row: str) -> CfgNode:
    name, _, task = row.partition(" ")
    cfg = model_zoo.get_config(f"mti/{name}.yaml")
    cfg.merge_from_list(["MODEL.TASKS.MAIN", [task]] if task else [])
    return cfg


def image(size: tuple[int, int], **labels: Any) -> dict[str, Any]:
    return {"image": torch.zeros(3, *size, dtype=torch.uint8), **labels}


@pytest.mark.parametrize("row", ROWS)
def test_size_is_the_published_codes(row):
    cfg = row_cfg(row)
    model = on_meta(cfg).eval()
    parameters, operations = ROWS[row]
    assert num_parameters(model) == parameters
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model([image(cfg.INPUT.SIZE)])
    # A multiplication and an addition.
    assert counter.get_total_flops() / 2e9 == pytest.approx(operations, rel=1e-3)


def test_the_tool_counts_the_same_operations():
    cfg = row_cfg("nyud/mti_net_hrnet18")
    cfg.MODEL.DEVICE = "cpu"
    # Of 480 x 640 pixels these are a 25th.
    whole = complexity_of(build_model(cfg), (96, 128)).whole
    assert 25 * whole.flops / 1e9 == pytest.approx(17.142, rel=0.01)


@pytest.mark.parametrize("system", SYSTEMS)
def test_no_parameter_lacks_a_gradient(system):
    model = on_meta(row_cfg(f"nyud/{system}")).train()
    labels = {name: torch.ones(channels, 64, 64) for name, channels in LABELS.items()}
    sum(model([image((64, 64), **labels)] * 2).values()).backward()
    trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
    assert [name for name, p in trained.items() if p.grad is None] == []
