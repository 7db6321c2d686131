"""SOLVER.CUDA_GRAPH: a step that is played back is the step, and where it cannot be it says so."""

import copy
import math
from collections.abc import Callable, Sequence
from itertools import cycle, islice
from typing import Any, NamedTuple

import pytest
import torch
from detectron2.config import CfgNode
from detectron2.structures import Instances
from fake_cuda import FUSED, FakeGpu, FakeRecorder, fake_gpu, needs_cuda_build
from tape import TapeRecorder, tensors_in
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


def new_step(
    cfg: CfgNode, batches: Sequence[Any], *, gpu: FakeGpu | None = None, **options: Any
) -> TrainingStep:
    torch.manual_seed(0)
    model = RockTrainer.build_model(cfg).train()
    if gpu is not None:
        gpu.take(model)
    optimizer = build_optimizer(cfg, model)
    kind = GraphStep if "recorder" in options else TrainingStep
    return kind(model, batches, optimizer, **step_settings(cfg, 1), **options)


def everything(step: TrainingStep) -> list[torch.Tensor]:
    """What a step changes."""
    return tensors_in([step.model.state_dict(), list(step.optimizer.state.values())])


def run_all(step: TrainingStep, num_steps: int, *, slower: float = 1.0) -> None:
    """With learning rates that change between steps, as a schedule changes them."""
    for rate, _ in zip(cycle(RATES), range(num_steps), strict=False):
        for group in step.optimizer.param_groups:
            group["lr"] = rate * slower
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


# What differs in kind: losses, normalisation, optimizer, clipping, precision.
VARIANTS = {
    "ROCK": ["SOLVER.AMP.ENABLED", True],
    "FlatMTL": [
        *("MODEL.NECK.NAME", "FlatMTL", "SOLVER.OPTIMIZER", "SGD", "SOLVER.NESTEROV", True),
        *("SOLVER.CLIP_GRADIENTS.ENABLED", True, "SOLVER.CLIP_GRADIENTS.CLIP_TYPE", "norm"),
    ],
    "ProductFusion": [
        *("MODEL.ROCK.FUSION.NAME", "ProductFusion", "MODEL.RESNETS.NORM", "FrozenBN"),
        *("SOLVER.OPTIMIZER", "AdamW", "SOLVER.AMP.ENABLED", True),
    ],
    "IdentityNeck": [
        *("MODEL.NECK.NAME", "IdentityNeck", "MODEL.SSD.CLS_LOSS", "Focal"),
        *("SOLVER.OPTIMIZER", "SGD", "SOLVER.MOMENTUM", 0.0),
    ],
}


@needs_cuda_build
@pytest.mark.parametrize("variant", VARIANTS)
def test_recorded_step_takes_nothing_from_the_host(cfg, batches, variant, monkeypatch):
    cfg = cfg.clone()
    cfg.merge_from_list(VARIANTS[variant])
    monkeypatch.setattr("rock_d2.engine.graph.WARM_UP", 1)
    precisions, capturable = [], []
    with fake_gpu() as gpu:
        recorder = FakeRecorder(gpu)
        step = new_step(cfg, gpu.pinned(batches[:2]), gpu=gpu, recorder=recorder)
        step.model.head.bbox_pred[0].register_forward_hook(
            lambda layer, inputs, output: precisions.append(output.dtype)
        )
        # Those that have such a setting refuse to be recorded without it.
        step.optimizer.register_step_pre_hook(
            lambda optimizer, *_: capturable.append(optimizer.param_groups[-1].get("capturable"))
        )
        run_all(step, 2)
        assert recorder.num_played == 1
        # From the images to the weights.
        recorded = recorder.counts()
        assert {"convolution", "convolution_backward"} < recorded.keys()
        assert recorded.keys() & FUSED
        assert all(p.grad is not None for p in step.model.parameters() if p.requires_grad)
    # The step before recording, and while.
    has_setting = "Adam" in cfg.SOLVER.OPTIMIZER
    assert (capturable[0], capturable[-1]) == ((False, True) if has_setting else (None, None))
    assert precisions == [torch.bfloat16 if cfg.SOLVER.AMP.ENABLED else torch.float32] * 2


# Of a tensor of three numbers on a GPU.
UNRECORDABLE = {
    "reads a number": lambda x: x.sum().item(),
    "asks": lambda x: bool(x.any()),
    "chooses": lambda x: x[x > 0],
    "counts": torch.nonzero,
    "copies to the host": torch.Tensor.cpu,
    "copies from the host": lambda x: x.copy_(torch.zeros(3).pin_memory(), non_blocking=True),
    "copies a literal": lambda x: x.new_tensor([1.0]),
    "mixes": lambda x: x * torch.ones(()),
    "works on the host": lambda x: torch.zeros(()),
}


@needs_cuda_build
@pytest.mark.parametrize("what", UNRECORDABLE)
def test_fake_gpus_know_what_cannot_be_recorded(what):
    with fake_gpu() as gpu:
        x = torch.ones(3, device="cuda")
        FakeRecorder(gpu).record(lambda: x + 1)
        with pytest.raises((RuntimeError, AssertionError)):
            FakeRecorder(gpu).record(lambda: UNRECORDABLE[what](x))


def test_state_that_is_loaded_is_the_one_that_learns(cfg, batches):
    good = batches[:3] * 2
    expected = new_step(cfg, good)
    step, recorder = taped_step(cfg, good)
    for one in (expected, step):
        run_all(one, WARM_UP + 1)
        one.load_state_dict(copy.deepcopy(one.state_dict()))
        run_all(one, 1)
    assert recorder.num_played == 1
    for found, wanted in zip(everything(step), everything(expected), strict=True):
        assert torch.equal(found, wanted)


class Refuses(TapeRecorder):
    """As CUDA does when an operation cannot be recorded: nothing has been done."""

    def record(self, function: Callable) -> Callable:
        try:
            raise RuntimeError("operation not permitted when stream is capturing\nand more")
        finally:
            raise RuntimeError("operation failed due to a previous error during capture")


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
    "TEST.OVERLAP's thread waits": ["TEST.OVERLAP", True],
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


class Comparison(NamedTuple):
    """Two trainings that round differently drift apart; so slow a one drifts little.

    On a CPU, weights that start 1e-7 of their size away change 0.001, 2e-5 and 0.027 otherwise in
    20 steps of these; with a single step left out they change 0.05, 0.06 and 0.06 otherwise.
    """

    settings: Sequence[Any]
    slower: float
    tolerance: float


NORMS = ("MODEL.RESNETS.NORM", "MODEL.ROCK.NORM", "MODEL.SSD.NORM")
FROZEN = [word for norm in NORMS for word in (norm, "FrozenBN")]
COMPARISONS = {
    "SGD": Comparison(["SOLVER.OPTIMIZER", "SGD"], 2.0**-12, 0.01),
    "Adam": Comparison(FROZEN, 2.0**-8, 0.005),
    "bf16": Comparison([*FROZEN, "SOLVER.AMP.ENABLED", True], 2.0**-8, 0.04),
}


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("name", COMPARISONS)
def test_on_a_gpu_twenty_steps_agree(cfg, batches, name, monkeypatch):
    # Its ten bits would be another source of noise.
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    settings, slower, tolerance = COMPARISONS[name]
    cfg = cfg.clone()
    cfg.merge_from_list(["MODEL.DEVICE", "cuda", *settings])
    both = [
        new_step(cfg, cycle(batches[:4] + batches[6:]), **options)
        for options in ({}, {"recorder": None})
    ]
    before = [p.detach().clone() for p in both[0].model.parameters()]
    for step in both:
        for group in step.optimizer.param_groups:
            # Otherwise Adam moves a weight by as much whatever its gradient is.
            group["eps"] = 1.0
        run_all(step, 20, slower=slower)
    played = both[1]._batches.values()
    assert len(played) == 2 and all(static.play for static in played)
    wanted, found = (
        torch.cat([(p - q).flatten() for p, q in zip(step.model.parameters(), before, strict=True)])
        for step in both
    )
    assert (found - wanted).norm() < tolerance * wanted.norm()
    losses, expected = (step.read_losses()[0] for step in reversed(both))
    assert losses == pytest.approx(expected, rel=1e-3)
