"""Checkpoints of rock-pytorch: all of it by its own configs, and nothing by others."""

import pytest
import torch
import torchvision
from detectron2.modeling import build_model
from torch import nn
from torch.nn import functional as F

from rock_d2 import model_zoo
from rock_d2.checkpoint.formats import PortFormat, learned
from rock_d2.modeling.rock_pytorch import convert_port

# Boxes of each map, and channels of the maps after conv5.
BOXES, CHANNELS = (4, 6, 6, 6, 4, 4), (1024, 512, 256, 256, 256)
# The windows of the last two maps have no border and cover 3 x 3 cells and all of 2 x 3.
WINDOWS = ((3, 3), (3, 3), (3, 3), (3, 3), (2, 3))


def normalised(conv: str, norm: str, c_out: int, c_in: int, *window: int) -> dict[str, tuple]:
    """Return the tensors of a convolution with a bias and of its normalisation."""
    vectors = (f"{conv}.bias", *(f"{norm}.{x}" for x in ("weight", "bias")))
    statistics = [f"{norm}.{x}" for x in ("running_mean", "running_var")]
    return {f"{conv}.weight": (c_out, c_in, *window)} | dict.fromkeys(
        (*vectors, *statistics), (c_out,)
    )


def released_layout(tasks: dict[str, int]) -> dict[str, tuple]:
    """Return the names and shapes of the port's only release."""
    with torch.device("meta"):
        resnet = torchvision.models.resnet50(num_classes=0).state_dict()
    found = {f"feature_extractor.{n}": x.shape for n, x in resnet.items() if "fc." not in n}
    maps, middles = (2048, *CHANNELS), (1024, 256, 128, 128, 128)
    for i, window in enumerate(WINDOWS):
        layer = f"detection.additional_layers.{i}."
        found |= normalised(f"{layer}0", f"{layer}1", middles[i], maps[i], 1, 1)
        found |= normalised(f"{layer}3", f"{layer}4", maps[i + 1], middles[i], *window)
    for i, (channels, boxes) in enumerate(zip(maps, BOXES, strict=True)):
        for name, outputs in (("loc", 4 * boxes), ("conf", 20 * boxes)):
            found[f"detection.{name}.{i}.weight"] = (outputs, channels, 3, 3)
            found[f"detection.{name}.{i}.bias"] = (outputs,)
    if tasks:
        found |= normalised("auxiliary.conv1", "auxiliary.bn1", 512, 2048, 1, 1)
        found |= normalised("auxiliary.conv2", "auxiliary.bn2", 512, 512, 3, 3)
        norm = normalised("", "auxiliary.bn3", 2048, 0)
        found |= {name: shape for name, shape in norm.items() if name.startswith("auxiliary")}
    for task, channels in tasks.items():
        part = f"auxiliary.{task}_extractor."
        for i, c_out, c_in, side in ((1, 256, 512, 1), (2, 256, 256, 3), (3, 512, 256, 1)):
            found |= normalised(f"{part}conv{i}", f"{part}bn{i}", c_out, c_in, side, side)
        found[f"{part}{task}_in.weight"], found[f"{part}{task}_in.bias"] = (
            (channels, 512, 1, 1),
            (channels,),
        )
        found |= normalised(f"{part}{task}_out", f"{part}bn_out", 2048, channels, 1, 1)
    return found


# Parameters of the port's source, all three tasks or none.
@pytest.mark.parametrize(
    ("name", "parameters", "tasks"),
    [
        ("ssd", 41_948_560, {}),
        ("rock", 49_327_531, {"scene": 27, "depth": 128, "normals": 384}),
    ],
    ids=["ssd", "rock"],
)
def test_released_layout_fills_the_whole_model(name, parameters, tasks):
    port = {n: torch.empty(shape, device="meta") for n, shape in released_layout(tasks).items()}
    assert parameters == sum(x.numel() for n, x in port.items() if "running" not in n and x.ndim)
    cfg = model_zoo.get_config(f"port/{name}_nyuv2.yaml")
    cfg.MODEL.DEVICE = "meta"
    with torch.device("meta"):
        state = build_model(cfg).state_dict()
    ours = PortFormat().translate(port, state)
    assert {n: ours[n].shape for n in learned(ours)} == {n: state[n].shape for n in learned(state)}


def test_bias_before_normalisation_becomes_a_part_of_the_mean():
    torch.manual_seed(0)
    conv, norm = nn.Conv2d(3, 5, 1), nn.BatchNorm2d(5).eval()
    for values in norm.state_dict().values():
        values.copy_(torch.rand(values.shape) + 0.5)
    stored = {f"a.{n}": x for n, x in conv.state_dict().items()}
    stored |= {f"a.norm.{n}": x for n, x in norm.state_dict().items()}
    x = torch.randn(2, 3, 4, 4)
    expected = norm(conv(x))
    converted = convert_port(stored)
    assert "a.bias" not in converted
    norm.load_state_dict({n[7:]: v for n, v in converted.items() if n.startswith("a.norm.")})
    torch.testing.assert_close(norm(F.conv2d(x, converted["a.weight"])), expected)


def test_predictors_channels_go_from_output_by_output_to_box_by_box():
    # One class and the background, 2 boxes: the port has (output, box), the background first.
    deltas = torch.tensor([[k, box] for k in range(4) for box in range(2)])
    logits = torch.tensor([[k, box] for k in range(2) for box in range(2)])
    found = convert_port({"head.bbox_pred.0.weight": deltas, "head.cls_score.0.weight": logits})
    by_box = [[k, box] for box in range(2) for k in range(4)]
    assert found["head.bbox_pred.0.weight"].tolist() == by_box
    assert found["head.cls_score.0.weight"].tolist() == [[1, 0], [0, 0], [1, 1], [0, 1]]
