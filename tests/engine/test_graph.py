"""SOLVER.CUDA_GRAPH: a step that is played back is the step, and where it cannot be it says so."""

import math
from collections.abc import Callable, Sequence
from itertools import cycle, islice
from typing import Any

import pytest
import torch
from detectron2.config import CfgNode
from detectron2.structures import Instances
from tape import TapeRecorder, tensors_in
from torch.utils._python_dispatch import TorchDispatchMode
from trainings import config, few_rooms, new_trainer

from rock_d2 import build_train_loader
from rock_d2.engine.graph import WARM_UP, GraphStep, step_class
from rock_d2.engine.optimizer import build_optimizer
from rock_d2.engine.step import TrainingStep, step_settings
from rock_d2.engine.trainer import RockTrainer
from rock_d2.modeling.ssd import TRUTH_STEP

# They are exact in fp32, which is what a recorded step reads.
RATES = [2.0**-i for i in (10, 11, 12, 9)]


@pytest.fixture(scope="module", autouse=True)
def _rooms(rooms_root):
    with few_rooms(rooms_root):
        yield


@pytest.fixture(scope="module")
def cfg(tmp_path_factory) -> CfgNode:
    options = ("MODEL.WEIGHTS", "", "SOLVER.SKIP_NONFINITE", 1, "SOLVER.CUDA_GRAPH", True)
    return config(tmp_path_factory.mktemp("graph"), *options)


@pytest.fixture(scope="module")
def batches(cfg) -> list[list[dict[str, Any]]]:
    """Ten of two shapes, the last four with more objects; the fifth has an infinite loss."""
    batches = list(islice(build_train_loader(cfg), 10))
    for i, batch in enumerate(batches):
        for item in batch:
            item["instances"] = item["instances"][:1]
        if i >= 6:
            batch[0]["instances"] = Instances.cat([batch[0]["instances"]] * (TRUTH_STEP + 1))
    batches[4][1]["instances"].gt_boxes.tensor[0, 2] = math.inf
    assert len(batches[4][1]["instances"]) == len(batches[6][0]["instances"][:1]) == 1
    return batches


def new_step(cfg: CfgNode, batches: Sequence[Any], **options: Any) -> TrainingStep:
    torch.manual_seed(0)
    model = RockTrainer.build_model(cfg).train()
    optimizer = build_optimizer(cfg, model)
    kind = GraphStep if "recorder" in options else TrainingStep
    return kind(model, batches, optimizer, **step_settings(cfg, 1), **options)


def everything(step: TrainingStep) -> list[torch.Tensor]:
    """What a step changes."""
    return tensors_in([step.model.state_dict(), list(step.optimizer.state.values())])


def run_all(step: TrainingStep, num_steps: int) -> None:
    """With learning rates that change between steps, as a schedule changes them."""
    for rate, _ in zip(cycle(RATES), range(num_steps), strict=False):
        for group in step.optimizer.param_groups:
            group["lr"] = rate
        step.run()


def taped_step(cfg: CfgNode, batches: Sequence[Any]) -> tuple[TrainingStep, TapeRecorder]:
    recorder = TapeRecorder(lambda: everything(step))
    step = new_step(cfg, batches, recorder=recorder)
    return step, recorder


@pytest.mark.parametrize("optimizer", ["Adam", "SGD"])
def test_played_steps_are_the_steps_to_the_last_bit(cfg, batches, optimizer):
    cfg = cfg.clone()
    cfg.SOLVER.OPTIMIZER = optimizer
    expected = new_step(cfg, batches)
    step, recorder = taped_step(cfg, batches)
    run_all(expected, len(batches))
    run_all(step, len(batches))
    # Of 6 and of 4 batches; the fifth is not finite and is played.
    assert (recorder.num_recorded, recorder.num_played) == (2, len(batches) - 2 * WARM_UP)
    assert step.guard.num_skipped == expected.guard.num_skipped == 1
    assert step.read_losses()[0] == expected.read_losses()[0]
    for found, wanted in zip(everything(step), everything(expected), strict=True):
        assert torch.equal(found, wanted)
    # Nothing of it is seen in a checkpoint.
    groups = [{**group, "params": None} for group in step.optimizer.param_groups]
    assert groups == [{**group, "params": None} for group in expected.optimizer.param_groups]


class DeviceOnly(TorchDispatchMode):
    """Refuses tensors of the host, which a graph could not read when it is played."""

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        found = func(*args, **(kwargs or {}))
        assert {x.device.type for x in tensors_in((args, kwargs, found))} <= {"meta"}, func
        return found


def test_losses_and_gradients_take_nothing_from_the_host(cfg, batches):
    cfg = cfg.clone()
    # A device without values: to read one of them raises.
    cfg.MODEL.DEVICE = "meta"
    model = RockTrainer.build_model(cfg).train()
    collated = model.collate(batches[-1])
    with DeviceOnly():
        losses = model.compute_losses(collated)
        sum(losses.values()).backward()
    assert len(losses) == 5


class Refuses(TapeRecorder):
    """As CUDA does when an operation cannot be recorded: nothing has been done."""

    def record(self, function: Callable) -> Callable:
        raise RuntimeError("operation not permitted when stream is capturing\nand more")


def test_failed_recording_is_told_and_steps_go_on(cfg, batches, heard):
    good = batches[:4]
    assert len(good) == WARM_UP + 1
    expected = new_step(cfg, good)
    step = new_step(cfg, good, recorder=Refuses(list))
    run_all(expected, len(good))
    run_all(step, len(good))
    assert "recording fails, steps go on without: operation not permitted" in heard.text
    for found, wanted in zip(everything(step), everything(expected), strict=True):
        assert torch.equal(found, wanted)


PROBLEMS = {
    "MODEL.DEVICE is no GPU": [],
    "SOLVER.ACCUMULATE splits": ["SOLVER.ACCUMULATE", 2],
    "the host scales fp16's loss": ["SOLVER.AMP.ENABLED", True, "SOLVER.AMP.DTYPE", "fp16"],
    "the host decides whether SGD steps": [],
}


@pytest.mark.parametrize("problem", PROBLEMS)
def test_what_cannot_be_recorded_is_told(cfg, heard, problem):
    cfg = cfg.clone()
    cfg.merge_from_list(PROBLEMS[problem])
    model = torch.nn.Conv2d(1, 1, kernel_size=1)
    model.compute_losses = None
    optimizer = torch.optim.SGD(model.parameters(), lr=1, fused="SGD" not in problem)
    assert step_class(cfg, model, optimizer) is TrainingStep
    assert f"SOLVER.CUDA_GRAPH: no step is recorded, since {problem}" in heard.text


def test_training_goes_on_without(tmp_path, heard):
    trainer = new_trainer(tmp_path, "SOLVER.CUDA_GRAPH", True, "SOLVER.MAX_ITER", 1)
    trainer.train()
    assert "no step is recorded, since MODEL.DEVICE is no GPU" in heard.text
    assert type(trainer._trainer) is TrainingStep


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_on_a_gpu_twenty_steps_agree(cfg, batches):
    cfg = cfg.clone()
    # Adam moves a weight by as much whatever its gradient is, so that rounding may turn it round.
    cfg.merge_from_list(["MODEL.DEVICE", "cuda", "SOLVER.OPTIMIZER", "SGD"])
    expected = new_step(cfg, cycle(batches[:4] + batches[6:]))
    step = new_step(cfg, cycle(batches[:4] + batches[6:]), recorder=None)
    before = torch.cat([p.detach().flatten() for p in step.model.parameters()])
    run_all(expected, 20)
    run_all(step, 20)
    assert len(step._batches) == 2 and all(static.play for static in step._batches.values())
    found, wanted = (
        torch.cat([p.detach().flatten() for p in one.model.parameters()]) - before
        for one in (step, expected)
    )
    assert (found - wanted).norm() < 0.02 * wanted.norm()
