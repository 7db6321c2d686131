"""A row of the benchmark without a fast path has none, and predicts the same."""

import argparse

import pytest
import torch

from benchmarks.infer import OURS, SWITCHED_OFF, build, inputs

SIZE = (48, 64)
OPTIONS = [
    *("INPUT.SIZE", SIZE, "MODEL.RESNETS.DEPTH", 18),
    *("MODEL.RESNETS.RES2_OUT_CHANNELS", 64, "MODEL.RESNETS.RES5_DILATION", 1),
]
ARGS = argparse.Namespace(device="cpu", batch_size=2, opts=OPTIONS)


@pytest.mark.parametrize("switched_off", SWITCHED_OFF)
@torch.no_grad()
def test_what_is_switched_off_is_not_there(switched_off):
    name = f"SSD-R50, {switched_off}"
    assert name in OURS
    kind, models = SWITCHED_OFF[switched_off], []
    for row in ("SSD-R50", name):
        torch.manual_seed(0)
        models.append(build(row, ARGS))
    model, slower = models
    count, left = (sum(isinstance(m, kind) for m in x.modules()) for x in models)
    assert count > 0 and left == 0
    images = model.stack_images(inputs(name, ARGS, SIZE))
    for found, expected in zip(slower.predict(images)[:3], model.predict(images)[:3], strict=True):
        assert (found - expected).norm() < 1e-5 * expected.norm()
