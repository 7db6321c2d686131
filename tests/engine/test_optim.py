import logging

import pytest
import torch
from detectron2.config import CfgNode, get_cfg
from torch import nn
from toy import Slope, new_step

from rock_d2 import add_rock_config
from rock_d2.engine.optim import build_lr_scheduler, build_optimizer

CLIP = "SOLVER.CLIP_GRADIENTS"
CLIPPED = (f"{CLIP}.ENABLED", True, f"{CLIP}.CLIP_TYPE", "value", f"{CLIP}.CLIP_VALUE", 0.25)
PLAIN_SGD = ("SOLVER.OPTIMIZER", "SGD", "SOLVER.MOMENTUM", 0.0, "SOLVER.WEIGHT_DECAY", 0.0)


def settings(*options: object) -> CfgNode:
    cfg = get_cfg()
    add_rock_config(cfg)
    cfg.merge_from_list(["SOLVER.BASE_LR", 0.5, *options])
    return cfg


def network() -> nn.Module:
    torch.manual_seed(0)
    conv = nn.Conv2d(3, 4, kernel_size=1)
    return nn.Sequential(conv, nn.BatchNorm2d(4)).to(memory_format=torch.channels_last)


def test_normalization_and_biases_have_their_own_weight_decay():
    part = network()
    options = ("SOLVER.WEIGHT_DECAY", 0.1, "SOLVER.WEIGHT_DECAY_NORM", 0.2)
    optimizer = build_optimizer(settings(*options, "SOLVER.WEIGHT_DECAY_BIAS", 0.3), part)
    decay = {
        parameter: group["weight_decay"]
        for group in optimizer.param_groups
        for parameter in group["params"]
    }
    assert [decay[p] for p in part.parameters()] == [0.1, 0.3, 0.2, 0.3]


def test_parts_have_their_multiples_of_the_learning_rate():
    multipliers = [["0", 0.1], ["0.bias", 3.0]]
    part = network()
    optimizer = build_optimizer(settings("SOLVER.LR_MULTIPLIERS", multipliers), part)
    rates = {p: group["lr"] for group in optimizer.param_groups for p in group["params"]}
    # BASE_LR is 0.5; the convolution's weight and bias, the normalization's.
    assert [rates[p] for p in part.parameters()] == pytest.approx([0.05, 1.5, 0.5, 0.5])
    scheduler = build_lr_scheduler(
        settings("SOLVER.LR_MULTIPLIERS", multipliers, "SOLVER.WARMUP_ITERS", 0), optimizer
    )
    assert scheduler.get_last_lr() == [group["lr"] for group in optimizer.param_groups]


@pytest.mark.parametrize("entry", [["2", 0.1], ["0.w", 1.0]])
def test_multipliers_of_no_part_are_refused(entry):
    with pytest.raises(ValueError, match=r"SOLVER\.LR_MULTIPLIERS.*\(0, 1, or one within"):
        build_optimizer(settings("SOLVER.LR_MULTIPLIERS", [entry]), network())


@pytest.mark.parametrize(
    ("slope", "precision"), [(100.0, None), (0.125, None), (0.125, torch.float16)]
)
def test_clipping_bounds_the_gradient_without_the_scale_of_fp16(slope, precision):
    model = Slope()
    optimizer = build_optimizer(settings(*CLIPPED, *PLAIN_SGD), model)
    new_step(model, [[{"slope": slope}]], optimizer, precision=precision).run_step()
    # The learning rate is 0.5.
    assert model.weight.item() == -0.5 * min(slope, 0.25)


@pytest.mark.parametrize("name", ["SGD", "Adam", "AdamW"])
def test_a_first_step_that_overflows_leaves_nothing_behind(name):
    def trained(gradients: list[float]) -> torch.Tensor:
        layer = nn.Linear(300, 300)
        nn.init.ones_(layer.weight)
        options = ("SOLVER.OPTIMIZER", name, "SOLVER.AMP.ENABLED", True)
        optimizer = build_optimizer(settings(*options, "SOLVER.AMP.DTYPE", "fp16"), layer)
        scaler = torch.amp.GradScaler("cpu", init_scale=2.0)
        for value in gradients:
            loss = scaler.scale(layer.weight.sum() * value + layer.bias.sum() * 0)
            optimizer.zero_grad()
            loss.backward()
            scaler.step(optimizer)
            scaler.update()
        return layer.weight.detach()

    torch.testing.assert_close(trained([float("inf"), 1.0]), trained([1.0]))


def learning_rates(iterations: int, *options: object, resume_at: int = 0) -> list[float]:
    """Return the rate of each iteration, with a resumption before ``resume_at``."""
    cfg = settings("SOLVER.LR_SCHEDULER_NAME", "WarmupPolyLR", "SOLVER.MAX_ITER", 10, *options)
    optimizer = build_optimizer(cfg, network())
    scheduler = build_lr_scheduler(cfg, optimizer)
    rates = []
    for iteration in range(iterations):
        if iteration == resume_at:
            states = optimizer.state_dict(), scheduler.state_dict()
            optimizer = build_optimizer(cfg, network())
            scheduler = build_lr_scheduler(cfg, optimizer)
            optimizer.load_state_dict(states[0])
            scheduler.load_state_dict(states[1])
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return rates


@pytest.mark.parametrize("resume_at", [0, 6])
@pytest.mark.parametrize(("period", "warmup"), [(1, 0), (4, 0), (1, 2)])
def test_poly_schedule(period, warmup, resume_at):
    options = ("SOLVER.POLY.PERIOD", period, "SOLVER.WARMUP_ITERS", warmup)
    rates = learning_rates(10, *options, "SOLVER.WARMUP_FACTOR", 0.0, resume_at=resume_at)
    # 0.9 ^ 0.9, 0.6 ^ 0.9, 0.2 ^ 0.9 and 0.1 ^ 0.9; a warm-up of 2 goes from 0 to 0.8 ^ 0.9.
    expected = {
        (1, 0): {0: 1.0, 1: 0.909533, 4: 0.631446, 8: 0.234924, 9: 0.125893},
        (4, 0): {0: 1.0, 3: 1.0, 4: 0.631446, 7: 0.631446, 8: 0.234924, 9: 0.234924},
        (1, 2): {0: 0.0, 1: 0.409026, 4: 0.631446, 8: 0.234924, 9: 0.125893},
    }[period, warmup]
    # The learning rate is 0.5.
    found = {iteration: rates[iteration] / 0.5 for iteration in expected}
    assert found == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(("warmup", "is_mentioned"), [(9, False), (10, True)])
def test_a_warmup_that_never_ends_is_mentioned(warmup, is_mentioned, caplog, monkeypatch):
    monkeypatch.setattr(logging.getLogger("rock_d2"), "propagate", True)
    cfg = settings("SOLVER.MAX_ITER", 10, "SOLVER.WARMUP_ITERS", warmup, "SOLVER.STEPS", ())
    build_lr_scheduler(cfg, build_optimizer(cfg, network()))
    found = "SOLVER.WARMUP_ITERS is 10 and SOLVER.MAX_ITER 10" in caplog.text
    assert found is is_mentioned


@pytest.mark.parametrize(("key", "value"), [("POWER", 0.0), ("PERIOD", 0)])
def test_poly_schedule_refuses(key, value):
    with pytest.raises(ValueError, match=rf"SOLVER\.POLY\.{key}"):
        learning_rates(1, f"SOLVER.POLY.{key}", value)
