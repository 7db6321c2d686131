"""SOLVER.COMPILE: the same losses and gradients to rounding."""

import pytest
import torch

from benchmarks.losses import objects
from rock_d2.engine.compilation import compiler_problem
from rock_d2.engine.trainer import RockTrainer

# A network of few kernels, since compiling them is what takes time.
TINY = (
    *("MODEL.DEVICE", "cpu", "MODEL.WEIGHTS", "", "INPUT.SIZE", [32, 32]),
    *("MODEL.RESNETS.NORM", "FrozenBN"),
    *("MODEL.RESNETS.OUT_FEATURES", ["res2"], "MODEL.SSD.IN_FEATURES", ["res2"]),
    *("MODEL.ROCK.IN_FEATURE", "res2", "MODEL.ROCK.WIDTH", 16, "MODEL.SSD.EXTRA_CHANNELS", [16]),
)


def test_compiled_network_learns_the_same(small_config):
    problem = compiler_problem(torch.device("cpu"))
    if problem:
        pytest.skip(problem)
    losses, gradients = [], []
    for compiled in (False, True):
        cfg = small_config(*TINY, "SOLVER.COMPILE", compiled)
        torch.manual_seed(0)
        model = RockTrainer.build_model(cfg).train()
        generator = torch.Generator().manual_seed(0)
        image = torch.randint(256, (3, 32, 32), generator=generator, dtype=torch.uint8)
        found = model([{**objects(model, generator), "image": image, "scene": 1}] * 2)
        sum(found.values()).backward()
        losses.append(torch.stack(list(found.values())))
        gradients.append(torch.cat([p.grad.flatten() for p in model.parameters()]))
    torch.testing.assert_close(losses[0], losses[1], rtol=1e-5, atol=1e-6)
    assert (gradients[0] - gradients[1]).norm() < 1e-4 * gradients[0].norm()
