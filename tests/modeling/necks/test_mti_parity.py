"""MTI-Net against the published code: its weights, inputs, outputs, losses and gradients.

The cases were made by running that code, and are in no repository: `shared/mti` beside the
checkout, or where ROCK_D2_SHARED is `shared`. They are read by the names of the published code.
"""

import os
import re
import runpy
from functools import partial
from pathlib import Path

import pytest
import torch
from detectron2.layers import ShapeSpec
from torch.nn import functional as F

from rock_d2.modeling.fusions import NoFusion
from rock_d2.modeling.necks import MTINet
from rock_d2.modeling.necks.heads import HRNetHead
from rock_d2.tasks import Depth, Edges, Normals, SemSeg

CASE = "mtinet_widths_nyud"
PLACES = [os.environ.get("ROCK_D2_SHARED"), *(p / "shared" for p in Path(__file__).parents)]
FOLDER = next((Path(p) / "mti" for p in PLACES if p and (Path(p) / "mti").is_dir()), None)
pytestmark = pytest.mark.skipif(FOLDER is None, reason="no shared/mti beside the checkout")

# Our names of the tasks and theirs, in the order in which they join channels.
TASKS = {"sem_seg": "semseg", "normals": "normals", "edges": "edge", "depth": "depth"}
MAIN = (SemSeg(num_classes=40), Depth(loss_name="l1", loss_weight=1.0))
AUXILIARY = (
    Normals(loss_name="l1", loss_weight=10.0),
    Edges(edge_weight=0.95, loss_weight=50.0),
)
SCALES = ("s4", "s8", "s16", "s32")
WIDTH = 32
# Parts of names, ours and theirs, applied one after the other.
RENAMES = (
    *((rf"\b{name}\b", theirs) for name, theirs in TASKS.items()),
    *((rf"\bs{4 * 2**i}\b", f"scale_{i}") for i in range(4)),
    (r"\bconv(\d)\.norm\b", r"bn\1"),
    (r"\bshortcut\.norm\b", "downsample.1"),
    (r"\bshortcut\b", "downsample.0"),
    (r"^initial\.(scale_\d)", r"\1.refinement"),
    (r"^predictors\.(scale_\d)", r"\1.decoders"),
    (r"^fpm\.(scale_\d)\.attention", r"fpm_\1.non_linear"),
    (r"^fpm\.(scale_\d)\.shared", r"fpm_\1.dimensionality_reduction"),
    (r"^fpm\.(scale_\d)\.excite\.(\w+)\.squeeze", r"fpm_\1.se.\2.squeeze.0"),
    (r"^fpm\.(scale_\d)\.excite\.(\w+)\.excite", r"fpm_\1.se.\2.squeeze.2"),
    (r"^distillation\.(scale_\d)\.receivers", r"distillation_\1.self_attention"),
    (r"\bdecoders\.(\w+)\.gate", r"\1.attention.0"),
    (r"\bdecoders\.(\w+)\.message", r"\1.conv"),
    (r"^(heads\.\w+)\.mix\.norm", r"\1.last_layer.1"),
    (r"^(heads\.\w+)\.mix", r"\1.last_layer.0"),
    (r"^(heads\.\w+)\.predict", r"\1.last_layer.3"),
)


def published(name: str) -> str:
    """Return the name of a tensor in the published code."""
    for ours, theirs in RENAMES:
        name = re.sub(ours, theirs, name)
    return name


@pytest.fixture(scope="module")
def case() -> tuple[dict[str, torch.Tensor], dict]:
    """Weights and arrays by the names of the published code."""
    return runpy.run_path(str(FOLDER / "load_case.py"))["load_case"](CASE)


def network(weights: dict, softmax: str) -> MTINet:
    net = MTINet(
        input_shape={s: ShapeSpec(channels=WIDTH, stride=int(s[1:])) for s in SCALES},
        in_features=SCALES,
        head=partial(HRNetHead, norm="BN"),
        fpm_softmax=softmax,
        fpm_order=list(TASKS),
        fusion=NoFusion,
        tasks=(*MAIN, *AUXILIARY),
        num_main=len(MAIN),
        compare_at="label",
    )
    names = {name: published(name) for name in net.state_dict()}
    counters = {name for name in names if name.endswith("num_batches_tracked")}
    assert {names[name] for name in names.keys() - counters} == weights.keys()
    state = {n: torch.from_numpy(weights[names[n]]) for n in names.keys() - counters}
    net.load_state_dict(state, strict=False)
    return net


def inputs(arrays: dict, dtype: torch.dtype) -> dict[str, torch.Tensor]:
    return {s: torch.from_numpy(arrays[f"input.map{i}"]).to(dtype) for i, s in enumerate(SCALES)}


def labels(arrays: dict) -> dict[str, torch.Tensor]:
    """The published code marks unknown depth and normals by 255."""
    found = {name: torch.from_numpy(arrays[f"label.{TASKS[name]}"]) for name in TASKS}
    unknown = {name: torch.where(found[name] == 255, 0, found[name]) for name in found}
    return {**unknown, "sem_seg": found["sem_seg"]}


def outputs_of(net: MTINet, features: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Every intermediate and final output in evaluation mode, by the published names."""
    encodings, predictions = net.encode(features), net(features)[1]
    found = {}
    for i, scale in enumerate(SCALES):
        parts = {
            f"scale_{i}.features_": encodings[scale],
            f"scale_{i}.": {name: predictions[name][3 - i] for name in TASKS},
            f"distillation_scale_{i}.": net.distillation[scale](encodings[scale]),
            f"fpm_scale_{i}.": net.fpm[scale](encodings[scale]) if scale in net.fpm else {},
        }
        found |= {part + TASKS[t]: x for part, maps in parts.items() for t, x in maps.items()}
    for task in MAIN:
        final = predictions[task.name][-1]
        found[f"heads.{TASKS[task.name]}"] = final
        found[f"final.{TASKS[task.name]}"] = enlarged(final)
    return found


def enlarged(x: torch.Tensor) -> torch.Tensor:
    return F.interpolate(x, scale_factor=4, mode="bilinear", align_corners=False)


def losses_of(net: MTINet, predictions: dict, target: dict) -> dict[str, torch.Tensor]:
    """The loss of every prediction alone, unweighted, by the published names."""
    found = {}
    for task in net.tasks:
        for i, prediction in enumerate(predictions[task.name]):
            alone = {t.name: [prediction] if t is task else [] for t in net.tasks}
            loss = net.losses(alone, target)[f"loss_{task.name}"] / task.loss_weight
            prefix = f"scale_{3 - i}_" if i < 4 else ""
            found[f"loss.{prefix}{TASKS[task.name]}"] = loss
    return found


def expected(arrays: dict, prefix: str) -> dict[str, torch.Tensor]:
    """The arrays whose names begin with ``prefix``, without it; the backbone is not ours."""
    names = [name for name in arrays if name.startswith(prefix)]
    names = [name for name in names if arrays[name].dtype.kind == "f" and "backbone" not in name]
    return {name.removeprefix(prefix): torch.from_numpy(arrays[name]) for name in names}


# The published softmax is the "reference"; the paper's was put into the published code.
both = pytest.mark.parametrize(("run", "softmax"), [("reference", "channels"), ("task", "tasks")])


@both
@pytest.mark.parametrize(("dtype", "bound"), [(torch.float32, 1e-4), (torch.float64, 1e-6)])
@torch.no_grad()
def test_every_output_is_the_published_codes(case, run, softmax, dtype, bound):
    weights, arrays = case
    net = network(weights, softmax).to(dtype).eval()
    features = inputs(arrays, dtype)
    found = outputs_of(net, features) | losses_of(net, net(features)[1], labels(arrays))
    wanted = expected(arrays, f"{run}/eval/")
    found["loss.total"] = sum(net.losses(net(features)[1], labels(arrays)).values())
    assert found.keys() == wanted.keys()
    for name, value in wanted.items():
        close = {"rtol": 1e-6, "atol": 0} if "loss" in name else {"rtol": 0, "atol": bound}
        torch.testing.assert_close(
            found[name], value, check_dtype=False, **close, msg=partial("{}: {}".format, name)
        )


@both
@pytest.mark.parametrize(("dtype", "bound"), [(torch.float32, 1e-4), (torch.float64, 1e-6)])
def test_a_training_step_is_the_published_codes(case, run, softmax, dtype, bound):
    weights, arrays = case
    net = network(weights, softmax).to(dtype).train()
    predictions = net(inputs(arrays, dtype))[1]
    losses = net.losses(predictions, labels(arrays))
    total = sum(losses.values())
    total.backward()
    with torch.no_grad():
        found = losses_of(net, predictions, labels(arrays)) | {"loss.total": total}
        found |= {f"final.{TASKS[t.name]}": enlarged(predictions[t.name][-1]) for t in MAIN}
    prefix = f"{run}/train/"
    for name, value in found.items():
        close = {"rtol": 1e-6, "atol": 0} if "loss" in name else {"rtol": 0, "atol": bound}
        wanted = torch.from_numpy(arrays[prefix + name])
        torch.testing.assert_close(value, wanted, check_dtype=False, **close)
    norms = {published(name): p.grad.norm() for name, p in net.named_parameters()}
    sums = {published(name): x.sum() for name, x in net.named_buffers() if "num_" not in name}
    for kind, values in (("grad", norms), ("stat", sums)):
        names = arrays[f"{prefix}{kind}_names"].tolist()
        assert sorted(names) == sorted(values)
        of_kind = arrays[f"{prefix}{kind}_{'norms' if kind == 'grad' else 'sums'}"]
        values = torch.stack([values[name] for name in names])
        torch.testing.assert_close(
            values, torch.from_numpy(of_kind), check_dtype=False, rtol=1e-4, atol=1e-4
        )
