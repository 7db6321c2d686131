"""Balancers, on two or three losses whose gradients are known by hand."""

import math
from contextlib import nullcontext
from functools import partial
from itertools import pairwise

import pytest
import torch
from detectron2.config import get_cfg
from torch import distributed, multiprocessing, nn
from torch.nn.parallel import DistributedDataParallel

from rock_d2.config import add_rock_config
from rock_d2.modeling.balancing import (
    BALANCER_REGISTRY,
    Balancer,
    DynamicWeightAverage,
    FixedWeights,
    GradientCosine,
    UncertaintyWeights,
    build_balancer,
)

TASKS = ("loss_depth", "loss_scene")
BALANCERS = {
    "FixedWeights": FixedWeights,
    "UncertaintyWeights": UncertaintyWeights,
    "DynamicWeightAverage": partial(DynamicWeightAverage, period=2),
    "GradientCosine": GradientCosine,
}


def values(**losses: float) -> dict[str, torch.Tensor]:
    return {f"loss_{name}": torch.tensor(float(x)) for name, x in losses.items()}


def test_fixed_weights_leave_the_losses_alone():
    losses = values(cls=3, depth=4)
    assert FixedWeights(task_losses=TASKS)(losses) == losses


class TestUncertaintyWeights:
    def test_value_and_gradient(self):
        balancer = UncertaintyWeights(task_losses=("loss_depth",))
        balancer.log_variances.data = torch.tensor([math.log(2), 0.0])
        losses = values(depth=4, cls=1, box=2)
        # exp(-ln 2) 4 + ln 2, and 1 + 2 + 0.
        torch.testing.assert_close(sum(balancer(losses).values()).item(), 5 + math.log(2))
        balancer.backward(losses, shared=[])
        # 1 - exp(-s) L: 1 - 4 / 2, and 1 - 3.
        torch.testing.assert_close(balancer.log_variances.grad, torch.tensor([-1.0, -2.0]))

    def test_gradient_of_the_network_is_weighted(self):
        balancer = UncertaintyWeights(task_losses=("loss_depth",))
        balancer.log_variances.data = torch.tensor([math.log(2), math.log(4)])
        w = nn.Parameter(torch.tensor(3.0))
        balancer.backward({"loss_depth": w**2, "loss_cls": 4 * w}, shared=[w])
        # 2 w / 2 + 4 / 4.
        torch.testing.assert_close(w.grad, torch.tensor(4.0))

    def test_the_variances_become_the_losses(self):
        balancer = UncertaintyWeights(task_losses=("loss_depth",))
        optimizer = torch.optim.SGD(balancer.parameters(), lr=0.5)
        for _ in range(60):
            optimizer.zero_grad()
            balancer.backward(values(depth=0.25, cls=3), shared=[])
            optimizer.step()
        torch.testing.assert_close(balancer.log_variances.exp(), torch.tensor([0.25, 3.0]))

    def test_a_batch_without_labels_or_a_detector_leaves_its_variance_alone(self):
        balancer = UncertaintyWeights(task_losses=TASKS)
        balancer.backward(values(depth=0, scene=3), shared=[])
        assert balancer.log_variances.grad.tolist() == [0, -2, 0]


class TestDynamicWeightAverage:
    def test_weights(self):
        balancer = DynamicWeightAverage(task_losses=("loss_depth",), temperature=2.0, period=2)
        seen = []
        for depth in (5, 3, 3, 1, 1, 1, 1):
            balanced = balancer(values(depth=depth, cls=2, box=1))
            assert balanced["loss_cls"] == 2 * balanced["loss_box"]
            seen.append((balanced["loss_depth"].item() / depth, balanced["loss_box"].item()))
        # Two periods with equal weights. Then depth has fallen from 4 to 2 and the detector not at
        # all: 2 softmax(0.5 / 2, 1 / 2). Then from 2 to 1, the same.
        e = [math.exp(0.25), math.exp(0.5)]
        late = [2 * x / sum(e) for x in e]
        for weights, expected in zip(seen, [[1, 1]] * 4 + [late] * 3, strict=True):
            assert weights == pytest.approx(expected)

    def test_resumed_is_as_if_it_had_not_stopped(self):
        straight, first, second = (
            DynamicWeightAverage(task_losses=TASKS, period=2) for _ in range(3)
        )
        steps = [values(depth=10 / (k + 1), scene=1 / (k + 2), cls=2) for k in range(9)]
        expected = [straight(losses) for losses in steps]
        for losses in steps[:5]:
            first(losses)
        second.load_state_dict(first.state_dict())
        assert [second(losses) for losses in steps[5:]] == expected[5:]


class TestGradientCosine:
    def losses(self, w: torch.Tensor, h: torch.Tensor) -> dict[str, torch.Tensor]:
        """Gradients on w = (1, 2): (1, 2) of the main loss, (-3, 1) of depth and (1, 1) of scene.

        With the main one's the products are -1 and 3.
        """
        return {
            "loss_cls": w @ w / 4,
            "loss_box": w @ w / 4,
            "loss_depth": h * (w @ w.new_tensor([-3.0, 1.0])),
            "loss_scene": w @ w.new_tensor([1.0, 1.0]),
        }

    def test_only_tasks_that_agree_move_the_backbone(self):
        w, h = nn.Parameter(torch.tensor([1.0, 2.0])), nn.Parameter(torch.tensor(1.0))
        GradientCosine(task_losses=TASKS).backward(self.losses(w, h), shared=[w])
        assert w.grad.tolist() == [2, 3]
        # Its own parameter depth moves all the same: w @ (-3, 1).
        assert h.grad.item() == -1

    def test_parts_of_a_batch_are_judged_together(self):
        w, h = nn.Parameter(torch.tensor([1.0, 2.0])), nn.Parameter(torch.tensor(1.0))
        balancer = GradientCosine(task_losses=("loss_depth",))
        # (3, 1) and (-3, 1) give (0, 2), whose product with (2, 4) is positive.
        for factor in (3.0, -3.0):
            losses = {"loss_cls": w @ w / 2, "loss_depth": h * (w @ w.new_tensor([factor, 1.0]))}
            balancer.backward(losses, shared=[w])
        assert w.grad.tolist() == [2, 6]
        assert h.grad.item() == 5 - 1

    def test_needs_a_main_loss(self):
        with pytest.raises(ValueError, match="main loss"):
            GradientCosine(task_losses=TASKS).backward(values(depth=1), shared=[])
        frozen = nn.Parameter(torch.ones(1), requires_grad=False)
        with pytest.raises(ValueError, match="the whole backbone is frozen"):
            GradientCosine(task_losses=TASKS).backward(values(cls=1, depth=1), shared=[frozen])


class Network(nn.Module):
    """A backbone of one layer, a main loss and two tasks, one of which always pulls elsewhere."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.backbone = nn.Linear(5, 8)
        self.heads = nn.ModuleDict({name: nn.Linear(8, 1) for name in ("main", "depth", "scene")})

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        shared = self.backbone(x).tanh()
        outputs = {name: head(shared)[:, 0] for name, head in self.heads.items()}
        target = x.sum(1)
        return {
            "loss_cls": (outputs["main"] - target).square().mean(),
            "loss_depth": (outputs["depth"] - 2 * x[:, 0]).square().mean(),
            "loss_scene": 3 * (self.backbone(x).mean(1) + target).square().mean()
            + outputs["scene"].square().mean(),
        }


def train(name: str, batches: torch.Tensor, *, parts: int = 1, scale: float = 1.0) -> dict:
    """Train on batches (steps, images, 5) of this process; return all that was learnt."""
    inner = model = Network()
    balancer = BALANCERS[name](task_losses=TASKS)
    if name == "DynamicWeightAverage":
        # It counts calls.
        balancer.period *= parts
    if distributed.is_initialized():
        model = DistributedDataParallel(model)
    optimizer = torch.optim.SGD([*model.parameters(), *balancer.parameters()], lr=0.05)
    for batch in batches:
        optimizer.zero_grad()
        for i, part in enumerate(batch.chunk(parts)):
            waits = distributed.is_initialized() and i < parts - 1
            with model.no_sync() if waits else nullcontext():
                losses = model(part)
                balancer.backward(losses, shared=inner.backbone.parameters(), scale=scale / parts)
        for parameter in (*model.parameters(), *balancer.parameters()):
            parameter.grad /= scale
        optimizer.step()
    return inner.state_dict() | {f"balancer.{k}": v for k, v in balancer.state_dict().items()}


def data() -> torch.Tensor:
    return torch.randn(6, 8, 5, generator=torch.Generator().manual_seed(0))


def work(rank: int, folder: str) -> None:
    """Train with each balancer in one of two processes, which sees half of each batch."""
    torch.set_num_threads(1)
    distributed.init_process_group(
        "gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2
    )
    own = data()[:, 4 * rank : 4 * rank + 4]
    results = {(name, k): train(name, own, parts=k) for name in BALANCERS for k in (1, 2)}
    torch.save(results, f"{folder}/{rank}.pt")
    distributed.destroy_process_group()


def test_two_processes_and_parts_learn_what_one_process_learns(tmp_path):
    multiprocessing.spawn(work, args=(str(tmp_path),), nprocs=2)
    learnt = [torch.load(tmp_path / f"{rank}.pt") for rank in range(2)]
    alone = {name: train(name, data()) for name in BALANCERS}
    for result in learnt:
        for (name, _), state in result.items():
            for key, value in alone[name].items():
                if key != "balancer.count":
                    torch.testing.assert_close(state[key], value)
    # They are different methods, else equality would show nothing.
    weights = [alone[name]["backbone.weight"] for name in BALANCERS]
    assert all(not a.allclose(b, rtol=1e-3) for a, b in pairwise(weights))


@pytest.mark.parametrize("name", BALANCERS)
def test_a_scale_of_the_gradients_changes_nothing(name):
    plain, scaled = train(name, data()), train(name, data(), scale=2.0**16)
    for key, value in plain.items():
        torch.testing.assert_close(scaled[key], value, rtol=1e-6, atol=1e-7)


def config(*options):
    cfg = get_cfg()
    add_rock_config(cfg)
    cfg.merge_from_list(list(options))
    return cfg


def test_every_balancer_is_built_from_a_config():
    for name, kind in BALANCER_REGISTRY:
        balancer = build_balancer(config("MODEL.BALANCING.NAME", name))
        assert type(balancer) is kind and isinstance(balancer, Balancer)
        assert set(balancer.task_losses) == {"loss_depth", "loss_normals", "loss_scene"}
    # It sees each part of a batch.
    options = ("MODEL.BALANCING.NAME", "DynamicWeightAverage", "SOLVER.ACCUMULATE", 2)
    assert build_balancer(config(*options)).period == 2 * 1000


def test_only_auxiliary_tasks_are_gated():
    options = ("MODEL.TASKS.MAIN", ["Depth"], "MODEL.TASKS.AUXILIARY", ["Scene"])
    cfg = config("MODEL.BALANCING.NAME", "GradientCosine", *options)
    assert build_balancer(cfg).task_losses == ("loss_scene",)


@pytest.mark.parametrize(
    "options",
    [
        ("MODEL.BALANCING.NAME", "Luck"),
        ("MODEL.BALANCING.NAME", "DynamicWeightAverage", "MODEL.BALANCING.DWA.PERIOD", 0),
        ("MODEL.BALANCING.NAME", "DynamicWeightAverage", "MODEL.BALANCING.DWA.TEMPERATURE", 0.0),
    ],
)
def test_what_makes_no_sense_is_refused(options):
    with pytest.raises(ValueError, match=r"MODEL\.BALANCING"):
        build_balancer(config(*options))
