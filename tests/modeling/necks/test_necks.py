"""Necks: flat multi-task learning and ROCK against formulas, and where their predictions lie."""

import numpy as np
import pytest
import torch
from detectron2.layers import ShapeSpec
from tiny import item, with_random_norms
from torch import nn
from torch.nn import functional as F

from rock_d2.modeling.necks import ROCK, FlatMTL
from rock_d2.modeling.necks.neck import final_output
from rock_d2.tasks import Depth, Normals, Scene

SHAPES = {"other": ShapeSpec(channels=3, stride=8), "x": ShapeSpec(channels=8, stride=32)}
TASKS = (Normals(channels=6), Scene(num_classes=5), Depth(channels=4))
FORM = {"input_shape": SHAPES, "in_features": ["x"], "tasks": TASKS}


def features() -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    return {"other": torch.randn(2, 3, 12, 16), "x": torch.randn(2, 8, 3, 4)}


def trained_rock() -> ROCK:
    """A block whose batch normalisation has seen something."""
    torch.manual_seed(1)
    block = ROCK(**FORM, shared_trunk=False, width=7, norm="BN", fusion="SumFusion")
    return with_random_norms(block).double().eval()


def batch_norm(y: torch.Tensor, norm: nn.BatchNorm2d) -> torch.Tensor:
    scale = norm.weight / (norm.running_var + norm.eps).sqrt()
    return (y - norm.running_mean[:, None, None]) * scale[:, None, None] + norm.bias[:, None, None]


def written_out(block: ROCK, x: torch.Tensor) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """Equation 1 and the encodings by einsum alone."""
    reduce, mix = block.trunk["x"]
    y = torch.einsum("oi,nihw->nohw", reduce.weight[:, :, 0, 0], x)
    y = batch_norm(y, reduce.norm).clamp(min=0)
    height, width = x.shape[2:]
    y = F.pad(y, (1, 1, 1, 1)).unfold(2, height, 1).unfold(3, width, 1)
    y = torch.einsum("oikl,niklhw->nohw", mix.weight, y)
    y = batch_norm(y, mix.norm).clamp(min=0)
    refined, encodings = x, {}
    for name, encoder in block.encoders["x"].items():
        e = torch.einsum("ki,nihw->nkhw", encoder.weight[:, :, 0, 0], y)
        encodings[name] = e + encoder.bias[:, None, None]
        decoder = block.fusion["x"].decoders[name]
        d = torch.einsum("ck,nkhw->nchw", decoder.weight[:, :, 0, 0], encodings[name])
        refined = refined + batch_norm(d, decoder.norm).clamp(min=0)
    return refined, encodings


def test_rock_is_equations_1_and_2():
    block, inputs = trained_rock(), {name: x.double() for name, x in features().items()}
    outputs, predictions = block(inputs)
    refined, encodings = written_out(block, inputs["x"])
    torch.testing.assert_close(outputs["x"], refined, atol=1e-10, rtol=0)
    assert encodings["scene"].min() < 0, "encodings are linear"

    exact = {"atol": 1e-6, "rtol": 0, "check_dtype": False}
    found = {task: of_task[-1] for task, of_task in predictions.items()}
    torch.testing.assert_close(found["scene"], encodings["scene"].sum((2, 3)) / 12, **exact)
    depth = sum(encodings["depth"][:, i : i + 1] for i in range(4)) / 4
    torch.testing.assert_close(found["depth"], depth, **exact)
    x, y, z = (encodings["normals"][:, i] + encodings["normals"][:, i + 1] for i in (0, 2, 4))
    vectors = torch.stack([x, y, z], dim=1)
    unit = vectors / vectors.norm(dim=1, keepdim=True)
    torch.testing.assert_close(found["normals"], unit, **exact)


def test_flat_is_one_convolution_a_task():
    neck = FlatMTL(**FORM)
    # Into 3, 5 and 1 maps from 8 channels, and as many biases.
    assert sum(p.numel() for p in neck.parameters()) == (3 + 5 + 1) * (8 + 1)
    inputs = features()
    outputs, predictions = neck(inputs)
    assert outputs is inputs
    maps = {
        name: F.conv2d(inputs["x"], layer.weight, layer.bias)
        for name, layer in neck.predictors["x"].items()
    }
    unit = maps["normals"] / maps["normals"].norm(dim=1, keepdim=True)
    torch.testing.assert_close(predictions["depth"], [maps["depth"]])
    torch.testing.assert_close(predictions["scene"], [maps["scene"].mean(dim=(2, 3))])
    torch.testing.assert_close(predictions["normals"], [unit])


def test_losses_are_weighted_once_and_summed_over_the_predictions():
    tasks = (Scene(num_classes=5, loss_weight=2.0), Depth(loss_weight=0.0))
    neck = FlatMTL(input_shape=SHAPES, in_features=["x"], tasks=tasks)
    labels = neck.collate([item(0), item(1)], size=(96, 128), device=torch.device("cpu"))
    coarse, fine, depth = torch.randn(2, 5), torch.randn(2, 5), torch.randn(2, 1, 3, 4)
    losses = neck.losses({"scene": [coarse, fine], "depth": [depth]}, labels)
    expected = sum(2 * F.cross_entropy(logits, torch.tensor([0, 1])) for logits in (coarse, fine))
    torch.testing.assert_close(losses["loss_scene"], expected)
    assert losses["loss_depth"] == 0
    (first, _) = neck.inference({"scene": [coarse, fine]}, [(3, 4), (3, 4)])
    torch.testing.assert_close(first["scene"], fine[0].softmax(dim=0))


@pytest.mark.parametrize("compare_at", ["prediction", "label"])
def test_maps_are_compared_at_the_prediction_or_at_the_label(compare_at):
    torch.manual_seed(0)
    neck = FlatMTL(**{**FORM, "tasks": (Depth(),)}, compare_at=compare_at)
    prediction, label = torch.randn(1, 1, 3, 4), 1 + torch.rand(1, 1, 6, 8)
    if compare_at == "label":
        at_both = F.interpolate(prediction, size=(6, 8), mode="bilinear"), label
    else:
        at_both = prediction, F.avg_pool2d(label, 2)
    expected = Depth().loss_weight * Depth().loss(*at_both)
    losses = neck.losses({"depth": [prediction]}, {"depth": label})
    torch.testing.assert_close(losses["loss_depth"], expected)


@pytest.mark.parametrize("image", [(64, 96), (80, 100), (33, 127), (96, 128)])
@pytest.mark.parametrize("scale", [1, 2])
def test_a_prediction_stays_where_it_is_in_the_image(image, scale):
    """A map of 3 x 4 cells of 32 pixels says, in log metres, which column of the image it is."""
    columns = (torch.arange(4.0) + 0.5) * 32
    prediction = columns.log().expand(1, 3, 4)
    share = (image[0] / 96, image[1] / 128)
    size = (image[0] * scale, image[1] * scale)
    found = final_output(Depth(), prediction, size, share)
    assert found.shape == (1, *size)
    # Between the centres of the first and the last cell of the image; the logarithm is no line.
    cells = -(-image[1] // 32)
    inside = (torch.arange(size[1]) + 0.5) / scale
    between = (inside > 16) & (inside < 32 * cells - 16)
    expected = torch.from_numpy(np.interp(inside[between], columns, columns.log())).exp()
    torch.testing.assert_close(found[0, 0, between].double(), expected, rtol=1e-4, atol=0)
