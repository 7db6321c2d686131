"""Whatever makes a step fast, it stays the same step to rounding."""

from functools import partial
from itertools import cycle, groupby, islice

import pytest
import torch
from fake_cuda import fake_gpu, name_of, needs_cuda_build
from torch import nn
from trainings import config, few_rooms

from rock_d2 import build_train_loader
from rock_d2.benchmarks.train import (
    UnguardedStep,
    WithData,
    detectron2_loader,
    detectron2_step,
    our_step,
    rebuilt,
)
from rock_d2.engine.optimizer import build_optimizer, parameters_of
from rock_d2.engine.step import TrainingStep, step_settings
from rock_d2.engine.trainer import RockTrainer

# Of what a step changes. In another memory format convolutions add in another order, and batch
# normalisation over few pixels enlarges that; a wrong step would be wrong by about 1.
TOLERANCE = 0.01


@pytest.fixture(scope="module", autouse=True)
def _rooms(rooms_root):
    with few_rooms(rooms_root):
        yield


@pytest.fixture(scope="module")
def cfg(tmp_path_factory):
    # Adam moves a weight by as much whatever its gradient is, so that rounding may turn it round.
    return config(tmp_path_factory.mktemp("step"), "SOLVER.OPTIMIZER", "SGD", "MODEL.WEIGHTS", "")


@pytest.fixture(scope="module")
def batches(cfg):
    return list(islice(build_train_loader(cfg), 2))


def change(step) -> torch.Tensor:
    """What one step does to all weights."""
    # A method of a TrainingStep, or a function of one of Detectron2's trainers.
    model = (step.args[0] if isinstance(step, partial) else step.__self__).model
    before = all_weights(model)
    step()
    return all_weights(model) - before


def all_weights(model: nn.Module) -> torch.Tensor:
    # Numbers in their logical order, whatever the memory format.
    return torch.cat([p.detach().flatten() for p in model.parameters()])


@pytest.fixture(scope="module")
def expected(cfg, batches) -> torch.Tensor:
    return change(our_step(cfg, batches))


@pytest.mark.parametrize(
    "without",
    [{"channels_last": False}, {"fused": None}, {"merged": False}, {"step": UnguardedStep}],
    ids=lambda without: next(iter(without)),
)
def test_each_part_may_be_left_out(cfg, batches, expected, without):
    found = change(our_step(cfg, batches, **without))
    assert (found - expected).norm() < TOLERANCE * expected.norm()


@needs_cuda_build
def test_gpu_is_asked_for_a_whole_step_before_anybody_waits_for_the_last(cfg, batches):
    """Each copy to it or from it is from pinned memory and does not wait, or raises."""
    with fake_gpu() as gpu:
        model = RockTrainer.build_model(cfg).train()
        gpu.take(model)
        data = cycle(gpu.pinned(batches))
        step = TrainingStep(model, data, build_optimizer(cfg, model), **step_settings(cfg, 1))
        for _ in range(3):
            step.run()
    told = {"_fused_sgd_": "weights", "records": "its end", "waits": "waits"}
    names = [told[name_of(entry)] for entry in gpu.log if name_of(entry) in told]
    # Once for each group of parameters.
    order = [name for name, _ in groupby(names)]
    assert order == ["weights", "its end", *["weights", "waits", "its end"] * 2]


def test_detectron2s_trainer_steps_alike(cfg, batches, expected):
    found = change(detectron2_step(cfg, batches))
    assert (found - expected).norm() < TOLERANCE * expected.norm()


def test_frozen_normalisation_may_stay_apart(cfg, batches):
    cfg = cfg.clone()
    cfg.MODEL.RESNETS.NORM = "FrozenBN"
    merged, apart = (change(our_step(cfg, batches, norms_apart=x)) for x in (False, True))
    assert merged.norm() > 0
    assert (merged - apart).norm() < TOLERANCE * apart.norm()


def test_detectron2s_loader_trains_our_model(cfg):
    data = WithData(detectron2_loader(cfg), partial(detectron2_step, cfg), num_workers=0)
    assert change(data.step).norm() > 0


def test_what_workers_have_ready_is_not_timed():
    """Two workers have 4 batches; of those after them, 8 are timed."""
    taken = []
    data = WithData(range(100), lambda batches: lambda: taken.append(next(batches)), num_workers=2)
    data.prepare()
    data()
    assert taken == list(range(4, 12))


def test_rebuilt_optimizers_have_the_same_settings(cfg):
    model = torch.nn.Sequential(torch.nn.Conv2d(1, 2, 3), torch.nn.BatchNorm2d(2))
    optimizer = build_optimizer(cfg, model)
    apart = rebuilt(optimizer, fused=None, merged=False)
    assert [len(group["params"]) for group in apart.param_groups] == [1] * 4
    assert {id(p) for p in parameters_of(apart)} == {id(p) for p in model.parameters()}
    decay = {id(g["params"][0]): g["weight_decay"] for g in apart.param_groups}
    for group in optimizer.param_groups:
        assert {decay[id(p)] for p in group["params"]} == {group["weight_decay"]}
