"""One training step: accumulation, mixed precision, and when losses are read."""

from collections.abc import Callable

import pytest
import torch
from detectron2.modeling import build_model
from detectron2.structures import Boxes, Instances
from torch import nn

from rock_d2.engine.step import TrainingStep, step_settings

SIZE = (64, 64)
# BatchNorm sees each part by itself; without it parts and whole must agree.
FIXED_NORMS = (
    *("MODEL.RESNETS.NORM", "FrozenBN", "MODEL.SSD.NORM", "GN", "MODEL.ROCK.NORM", "GN"),
    *("MODEL.SSD.EXTRA_CHANNELS", [64], "INPUT.SIZE", list(SIZE)),
)


def batch() -> list[dict]:
    """Four images with other numbers of objects, other errors, and not all labels."""
    torch.manual_seed(5)
    items = []
    for i in range(4):
        instances = Instances(SIZE)
        corners = torch.rand(i + 1, 2) * 20
        instances.gt_boxes = Boxes(torch.cat([corners, corners + 12 + 8 * i], dim=1))
        instances.gt_classes = torch.randint(19, (i + 1,))
        labels = {
            "scene": i,
            "depth": (i + 1) ** 2 * torch.rand(1, *SIZE),
            "normals": nn.functional.normalize(torch.randn(3, *SIZE), dim=0),
        }
        image = torch.randint(256, (3, *SIZE), dtype=torch.uint8)
        items.append({"image": image, "instances": instances, **labels})
    for i, name in ((2, "normals"), (2, "scene"), (3, "depth"), (3, "scene")):
        del items[i][name]
    return items


@pytest.fixture
def new_step(small_config) -> Callable[..., TrainingStep]:
    """A step of one and the same model on one and the same batch."""

    def build(*, norms: tuple = (), lr: float = 0.0, **options) -> TrainingStep:
        torch.manual_seed(0)
        model = build_model(small_config(*FIXED_NORMS, *norms)).double().train()
        optimizer = torch.optim.SGD(model.parameters(), lr=lr)
        return TrainingStep(model, [batch()] * 9, optimizer, **options)

    return build


def gradients(step: TrainingStep) -> dict[str, torch.Tensor]:
    return {
        name: parameter.grad
        for name, parameter in step.model.named_parameters()
        if parameter.requires_grad
    }


@pytest.mark.parametrize("accumulate", [2, 4])
def test_accumulated_gradient_is_that_of_the_whole_batch(new_step, accumulate):
    whole, parts = new_step(), new_step(accumulate=accumulate)
    whole.run()
    parts.run()
    expected, found = gradients(whole), gradients(parts)
    for name, gradient in expected.items():
        scale = float(gradient.abs().max())
        assert float((found[name] - gradient).abs().max()) <= 1e-5 * scale + 1e-9, name
    losses, _ = whole.read_losses()
    assert losses == pytest.approx(parts.read_losses()[0], rel=1e-6)
    assert set(losses) == {
        "loss_cls",
        "loss_box_reg",
        "loss_scene",
        "loss_depth",
        "loss_normals",
    }


def test_counting_leaves_no_trace_in_the_statistics(new_step):
    norms = ("MODEL.RESNETS.NORM", "BN")
    step = new_step(norms=norms, accumulate=2)
    step.run()
    tracked = {
        name: int(value)
        for name, value in step.model.named_buffers()
        if name.endswith("num_batches_tracked")
    }
    assert tracked
    assert set(tracked.values()) == {2}


def test_losses_that_are_read_are_the_means_since_the_last_time(new_step):
    single, step = new_step(lr=1e-4), new_step(lr=1e-4)
    each = []
    for _ in range(3):
        single.run()
        each.append(single.read_losses()[0])
        step.run()
    assert each[0]["loss_cls"] != each[2]["loss_cls"]
    found, times = step.read_losses()
    for name, value in found.items():
        assert value == pytest.approx(sum(losses[name] for losses in each) / 3, rel=1e-6)
    assert 0 <= times["data_time"] <= times["time"]


def test_bf16_computes_the_network_and_not_the_losses_in_bf16(small_config):
    torch.manual_seed(0)
    model = build_model(small_config(*FIXED_NORMS)).train()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
    kinds = {}
    model.backbone.register_forward_hook(
        lambda module, args, output: kinds.update({"features": output["res5"].dtype})
    )
    model.register_forward_hook(
        lambda module, args, losses: kinds.update({n: x.dtype for n, x in losses.items()})
    )
    step = TrainingStep(model, [batch()] * 2, optimizer, precision=torch.bfloat16)
    step.run()
    assert kinds.pop("features") == torch.bfloat16
    assert set(kinds.values()) == {torch.float32}
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    reference = TrainingStep(model, [batch()], optimizer)
    reference.run()
    # bf16 has 8 bits.
    assert step.read_losses()[0] == pytest.approx(reference.read_losses()[0], rel=0.05)


def test_settings_of_the_step(small_config):
    amp = ("SOLVER.AMP.ENABLED", True, "SOLVER.AMP.DTYPE")
    assert step_settings(small_config("SOLVER.AMP.ENABLED", False), 1) == {
        "precision": None,
        "accumulate": 1,
        "max_skipped_steps": 0,
        "max_skipped_images": 0,
    }
    assert step_settings(small_config(*amp, "fp16"), 1)["precision"] is torch.float16
    with pytest.raises(ValueError, match=r"SOLVER.AMP.DTYPE: 'fp8' is none of bf16, fp16"):
        step_settings(small_config(*amp, "fp8"), 1)
    uneven = ("SOLVER.IMS_PER_BATCH", 6, "SOLVER.ACCUMULATE", 2)
    assert step_settings(small_config(*uneven), 3)["accumulate"] == 2
    with pytest.raises(ValueError, match=r"IMS_PER_BATCH = 6 cannot be split into SOLVER.ACCUM"):
        step_settings(small_config(*uneven), 2)
