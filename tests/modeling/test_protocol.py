"""The laws of all registered necks and fusions; new ones are tested at once."""

import copy
import pickle
from typing import Any

import pytest
import torch
from detectron2.layers import ShapeSpec
from tiny import item, tiny_cfg

from rock_d2 import FUSION_REGISTRY, NECK_REGISTRY
from rock_d2.modeling.necks import ROCK, HeadsNeck, Neck, PADNet, build_neck
from rock_d2.modeling.necks.distillation import DistillingNeck

CPU = torch.device("cpu")
TASKS = ["Scene", "Depth", "Normals"]

# Necks: on res5 alone, and on a pyramid's maps with one trunk for all.
LEVELS = ["p3", "p4", "p5"]
SHAPES = {
    "res4": ShapeSpec(channels=4, stride=16),
    # Wide enough for a unit that is alive in every squeeze and excitation, of a 16th as many.
    **{f"p{i}": ShapeSpec(channels=128, stride=2**i) for i in (5, 4, 3)},
}
ONE, SEVERAL = (
    ("MODEL.ROCK.IN_FEATURES", maps, "MODEL.MTI.IN_FEATURES", maps) for maps in (["p5"], LEVELS)
)
SHARED = ("MODEL.ROCK.SHARED_TRUNK", True)
# These predict an auxiliary task once, whatever the number of maps.
JOINING = (HeadsNeck, PADNet)
NECKS = [
    pytest.param(("MODEL.NECK.NAME", name, "MODEL.ROCK.FUSION.NAME", fusion), id=f"{name}-{fusion}")
    for name, neck in NECK_REGISTRY
    for fusion, _ in FUSION_REGISTRY
    if neck is ROCK or fusion == "SumFusion"
]
each_neck = pytest.mark.parametrize("kind", NECKS)


def features() -> dict[str, torch.Tensor]:
    """Of images of 96 x 128 pixels."""
    torch.manual_seed(0)
    return {
        n: torch.randn(2, s.channels, 96 // s.stride, 128 // s.stride) for n, s in SHAPES.items()
    }


def neck_of(*options: Any) -> Neck:
    torch.manual_seed(1)
    return build_neck(tiny_cfg(*ONE, *options), SHAPES)


def outcome(neck: Neck) -> dict[str, Any]:
    with torch.no_grad():
        refined, predictions = neck.eval()(features())
    return {"features": refined, "tasks": neck.inference(predictions, [(9, 12), (18, 24)])}


@pytest.mark.parametrize("maps", [ONE, SEVERAL], ids=["one", "several"])
@each_neck
def test_a_neck_keeps_the_features_form_and_trains_whole(kind, maps):
    given, neck = features(), neck_of(*kind, *SHARED, *maps).train()
    refined, predictions = neck(given)
    assert {n: x.shape for n, x in refined.items()} == {n: x.shape for n, x in given.items()}
    assert all(refined[name] is given[name] for name in SHAPES if name not in maps[1])
    assert predictions.keys() == {task.name for task in neck.tasks}
    count = 1 if isinstance(neck, JOINING) else len(maps[1])
    assert all(len(of_task) == count for of_task in predictions.values())
    labels = neck.collate([item(0), item(1)], size=(96, 128), device=CPU)
    losses = neck.losses(predictions, labels)
    assert losses.keys() == {f"loss_{task.name}" for task in neck.tasks}
    assert all(loss.shape == () and loss.isfinite() for loss in losses.values())
    parameters = dict(neck.named_parameters())
    if parameters:
        (sum(losses.values()) + sum(x.square().sum() for x in refined.values())).backward()
    assert [name for name, p in parameters.items() if p.grad is None or not p.grad.any()] == []


@each_neck
def test_a_neck_predicts_at_test_time_what_is_asked_for(kind):
    everything = outcome(neck_of(*kind))
    alone = outcome(neck_of(*kind, "MODEL.TASKS.PREDICT_AUXILIARY", False))
    torch.testing.assert_close(alone["features"], everything["features"])
    assert alone["tasks"] == [{}, {}]
    main = ("MODEL.TASKS.MAIN", TASKS[1:2], "MODEL.TASKS.AUXILIARY", TASKS[:1] + TASKS[2:])
    mixed = outcome(neck_of(*kind, *main, "MODEL.TASKS.PREDICT_AUXILIARY", False))
    for image, whole in zip(mixed["tasks"], everything["tasks"], strict=True):
        assert image.keys() == ({"depth"} if whole else set())
        # The main tasks of the distilling ones have a prediction of their own.
        if not isinstance(neck_of(*kind), DistillingNeck):
            torch.testing.assert_close(image, {name: whole[name] for name in image})


COPIES = {
    "deepcopy": lambda neck: copy.deepcopy(neck()),
    "pickle": lambda neck: pickle.loads(pickle.dumps(neck())),
    "tasks in another order": lambda neck: neck("MODEL.TASKS.AUXILIARY", TASKS[::-1]),
}


@pytest.mark.parametrize("copied", COPIES.values(), ids=COPIES)
@each_neck
def test_a_copy_or_another_order_of_tasks_changes_nothing(kind, copied):
    def build(*options: Any) -> Neck:
        return neck_of(*kind, *SHARED, *SEVERAL, *options)

    torch.testing.assert_close(outcome(copied(build)), outcome(build()))
