"""Disparity: f b / Z, by hand and by its law with depth."""

import math

import numpy as np
import pytest
import torch
from detectron2.data import transforms as T
from fvcore.transforms.transform import PadTransform

from rock_d2.tasks import Depth, Disparity
from rock_d2.tasks.depth import encode_depth
from rock_d2.tasks.disparity import encode_disparity
from rock_d2.tasks.geometry import LabelMap

# Focal length times baseline, in pixels and metres; those of Cityscapes are 2262.5 x 0.2093.
FOCAL_BASELINE = 473.6


@pytest.mark.parametrize(
    ("transform", "zoom"),
    [
        (T.CropTransform(20, 10, 40, 30), 2),
        (PadTransform(10, 0, 30, 30), 2 / 3),
        (T.ResizeTransform(60, 80, 30, 40), 1),
        (T.HFlipTransform(80), 1),
    ],
)
def test_a_zoom_multiplies_disparity_as_it_divides_depth(transform, zoom):
    metres = np.random.default_rng(0).uniform(5, 60, (60, 80))
    stored = encode_disparity(FOCAL_BASELINE / metres), encode_depth(metres)
    transforms = T.TransformList([transform])
    moved = [
        task.transform(LabelMap(pixels[None], 0), transforms)
        for task, pixels in zip((Disparity(), Depth()), stored, strict=True)
    ]
    disparity, depth = Disparity().to_tensor(moved[0]), Depth().to_tensor(moved[1])
    np.testing.assert_allclose(disparity.numpy(), zoom * moved[0].pixels / 256, rtol=1e-6)
    known = depth > 0
    assert known.sum() >= 30 * 40 and (disparity[~known] == 0).all()
    # Half a step of 1/256 pixel is 0.03 % of the smallest disparity.
    product = (disparity * depth)[known]
    torch.testing.assert_close(product, torch.full_like(product, FOCAL_BASELINE), rtol=5e-4, atol=0)


def test_loss_by_hand_and_by_that_of_depth():
    # One cell of 4 x 6 pixels; those known are 2 and 8 pixels, so the target is ln 5. A single
    # error e has c = e / 5 and the loss (e^2 + c^2) / 2c = 2.6 e.
    target = torch.zeros(1, 1, 4, 6)
    target[0, 0, 0, 0], target[0, 0, 3, 5] = 2, 8
    prediction = torch.full((1, 1, 1, 1), math.log(5) - 0.5)
    assert float(Disparity().loss(prediction, target)) == pytest.approx(2.6 * 0.5)
    metres, guess = 5 + 50 * torch.rand(1, 1, 4, 6), 3 * torch.rand(1, 1, 4, 6)
    expected = Depth().loss(guess, metres)
    found = Disparity().loss(math.log(FOCAL_BASELINE) - guess, FOCAL_BASELINE / metres)
    torch.testing.assert_close(found, expected)


def test_metrics_by_hand():
    # Errors of 4 are above 3 pixels, and above 5 % of 10 but not of 100; 0 does not count.
    label, found = np.float32([[10, 100, 0]]), np.float32([[[14, 96, 50]]])
    meter = Disparity().meter()
    metrics = meter.metrics(meter.count(found, label))
    logs = np.log([1.4, 0.96])
    assert metrics == pytest.approx(
        {
            "mean_abs": 4,
            "rmse": 4,
            "rmse_log": np.sqrt((logs**2).mean()),
            "abs_rel": (0.4 + 0.04) / 2,
            "d1": 0.5,
        }
    )


@pytest.mark.parametrize("pixels", [-0.1, np.nan, 256])
def test_values_that_files_cannot_hold_are_refused(pixels):
    assert encode_disparity(np.array([[0, 1.5]])).tolist() == [[0, 384]]
    with pytest.raises(ValueError, match="disparity: negative, NaN or beyond"):
        encode_disparity(np.full((2, 2), pixels, np.float32))
