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
from torch import nn
from torch.nn import functional as F

from rock_d2.modeling.backbones import TimmBackbone
from rock_d2.modeling.fusions import NoFusion
from rock_d2.modeling.necks import MTINet
from rock_d2.modeling.necks.heads import HRNetHead
from rock_d2.tasks import Depth, Edges, HumanParts, Normals, Saliency, SemSeg

PLACES = [os.environ.get("ROCK_D2_SHARED"), *(p / "shared" for p in Path(__file__).parents)]
FOLDER = next((Path(p) / "mti" for p in PLACES if p and (Path(p) / "mti").is_dir()), None)
pytestmark = pytest.mark.skipif(FOLDER is None, reason="no shared/mti beside the checkout")
CASES = sorted(p.stem for p in FOLDER.glob("mtinet_*.npz")) if FOLDER else ["none"]

# The tasks in the order in which the published code joins their channels, by its names.
TASKS = {
    "semseg": lambda outputs: SemSeg(num_classes=outputs),
    "human_parts": lambda outputs: HumanParts(loss_weight=2.0),
    "sal": lambda outputs: Saliency(loss_weight=5.0),
    "normals": lambda outputs: Normals(loss_name="l1", loss_weight=10.0),
    "edge": lambda outputs: Edges(edge_weight=0.95, loss_weight=50.0),
    "depth": lambda outputs: Depth(loss_name="l1", loss_weight=1.0),
}
# Its names by ours, where they differ.
THEIRS = {"sem_seg": "semseg", "saliency": "sal", "edges": "edge"}
SCALES = ("s4", "s8", "s16", "s32")
# timm's names, by the channels of the finest map.
HRNETS = {18: "hrnet_w18_small_v2", 48: "hrnet_w48"}
# Parts of names, ours and theirs, applied one after the other.
RENAMES = (
    (r"^backbone\.net", "backbone"),
    (r"^neck\.", ""),
    *((rf"\b{name}\b", theirs) for name, theirs in THEIRS.items()),
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


@pytest.fixture(scope="module", params=CASES)
def case(request) -> tuple[dict, dict]:
    """Weights and arrays by the names of the published code."""
    return runpy.run_path(str(FOLDER / "load_case.py"))["load_case"](request.param)


class Network(nn.Module):
    """MTI-Net behind its backbone, or behind nothing where the maps are the case's inputs."""

    def __init__(self, weights: dict, softmax: str):
        super().__init__()
        outputs = {t: weights.get(f"scale_0.decoders.{t}.weight") for t in TASKS}
        tasks = {t: TASKS[t](len(w)) for t, w in outputs.items() if w is not None}
        main = [t for t in tasks if f"heads.{t}.last_layer.0.weight" in weights]
        first = next(iter(tasks))
        widths = {
            s: len(weights[f"scale_{i}.decoders.{first}.weight"][0]) for i, s in enumerate(SCALES)
        }
        has_backbone = any(name.startswith("backbone.") for name in weights)
        hrnet = partial(TimmBackbone, name=HRNETS.get(widths["s4"], ""), out_features=SCALES)
        self.backbone = hrnet() if has_backbone else None
        self.neck = MTINet(
            input_shape={s: ShapeSpec(channels=widths[s], stride=int(s[1:])) for s in SCALES},
            in_features=SCALES,
            head=partial(HRNetHead, norm="BN"),
            fpm_softmax=softmax,
            fpm_order=[task.name for task in tasks.values()],
            fusion=NoFusion,
            tasks=sorted(tasks.values(), key=lambda task: theirs(task.name) not in main),
            num_main=len(main),
            compare_at="label",
        )
        names = {name: published(name) for name in self.state_dict()}
        names = {n: p for n, p in names.items() if not n.endswith("num_batches_tracked")}
        assert set(names.values()) == weights.keys()
        state = {ours: torch.from_numpy(weights[name]) for ours, name in names.items()}
        self.load_state_dict(state, strict=False)

    @property
    def main(self) -> list[str]:
        return [task.name for task in self.neck.tasks[: self.neck.num_main]]

    def maps(self, arrays: dict) -> dict[str, torch.Tensor]:
        dtype = next(self.parameters()).dtype
        if self.backbone:
            return self.backbone(torch.from_numpy(arrays["image"]).to(dtype))
        given = {s: torch.from_numpy(arrays[f"input.map{i}"]) for i, s in enumerate(SCALES)}
        return {scale: x.to(dtype) for scale, x in given.items()}

    def labels(self, arrays: dict) -> dict[str, torch.Tensor]:
        """The published code marks what is unknown by 255, also in depth and normals."""
        labels = {}
        for task in self.neck.tasks:
            label = torch.from_numpy(arrays[f"label.{theirs(task.name)}"])
            labels[task.name] = torch.where(label == 255, task.unknown_value, label)
        return labels


def theirs(name: str) -> str:
    return THEIRS.get(name, name)


def outputs_of(net: Network, maps: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Every intermediate and final output in evaluation mode, by the published names."""
    neck = net.neck
    encodings, predictions = neck.encode(maps), neck(maps)[1]
    found = {f"backbone.{i}": maps[scale] for i, scale in enumerate(SCALES)}
    for i, scale in enumerate(SCALES):
        parts = {
            f"scale_{i}.features_": encodings[scale],
            f"scale_{i}.": {name: of_task[3 - i] for name, of_task in predictions.items()},
            f"distillation_scale_{i}.": neck.distillation[scale](encodings[scale]),
            f"fpm_scale_{i}.": neck.fpm[scale](encodings[scale]) if scale in neck.fpm else {},
        }
        found |= {
            part + theirs(t): x for part, of_part in parts.items() for t, x in of_part.items()
        }
    for name in net.main:
        found[f"heads.{theirs(name)}"] = predictions[name][-1]
        found[f"final.{theirs(name)}"] = enlarged(predictions[name][-1])
    return found


def enlarged(x: torch.Tensor) -> torch.Tensor:
    return F.interpolate(x, scale_factor=4, mode="bilinear", align_corners=False)


def losses_of(net: Network, predictions: dict, labels: dict) -> dict[str, torch.Tensor]:
    """The loss of every prediction alone, unweighted, and the total, by the published names."""
    neck = net.neck
    found = {"loss.total": sum(neck.losses(predictions, labels).values())}
    for task in neck.tasks:
        for i, prediction in enumerate(predictions[task.name]):
            alone = {t.name: [prediction] if t is task else [] for t in neck.tasks}
            loss = neck.losses(alone, labels)[f"loss_{task.name}"] / task.loss_weight
            prefix = f"scale_{3 - i}_" if i < len(SCALES) else ""
            found[f"loss.{prefix}{theirs(task.name)}"] = loss
    return found


def assert_equal(found: dict, arrays: dict, prefix: str, *, bound: float) -> None:
    """Compare with the arrays that have the prefix: losses relatively, to 1e-6."""
    for name, value in found.items():
        close = {"rtol": 1e-6, "atol": 0} if "loss" in name else {"rtol": bound, "atol": bound}
        wanted = torch.from_numpy(arrays[prefix + name])
        message = partial("{}: {}".format, name)
        torch.testing.assert_close(value, wanted, check_dtype=False, **close, msg=message)


# The published softmax is the "reference"; the paper's was put into the published code.
both = pytest.mark.parametrize(("run", "softmax"), [("reference", "channels"), ("task", "tasks")])
each_type = pytest.mark.parametrize(
    ("dtype", "bound"), [(torch.float32, 1e-4), (torch.float64, 1e-6)]
)


@both
@each_type
@torch.no_grad()
def test_every_output_is_the_published_codes(case, run, softmax, dtype, bound):
    weights, arrays = case
    net = Network(weights, softmax).to(dtype).eval()
    maps = net.maps(arrays)
    found = outputs_of(net, maps) | losses_of(net, net.neck(maps)[1], net.labels(arrays))
    prefix = f"{run}/eval/"
    assert {prefix + name for name in found} == {n for n in arrays if n.startswith(prefix)}
    assert_equal(found, arrays, prefix, bound=bound)


@both
@each_type
def test_a_training_step_is_the_published_codes(case, run, softmax, dtype, bound):
    weights, arrays = case
    net, prefix = Network(weights, softmax).to(dtype).train(), f"{run}/train/"
    predictions = net.neck(net.maps(arrays))[1]
    found = losses_of(net, predictions, net.labels(arrays))
    found |= {f"final.{theirs(name)}": enlarged(predictions[name][-1]) for name in net.main}
    assert_equal(found, arrays, prefix, bound=bound)
    found["loss.total"].backward()
    norms = {published(name): p.grad.norm() for name, p in net.named_parameters()}
    sums = {published(name): x.sum() for name, x in net.named_buffers() if "num_" not in name}
    for kind, found in (("grad_norms", norms), ("stat_sums", sums)):
        names = arrays[f"{prefix}{kind[:4]}_names"].tolist()
        assert sorted(names) == sorted(found)
        wanted = torch.from_numpy(arrays[prefix + kind])
        found = torch.stack([found[name].detach() for name in names])
        # Single precision: through a deep network in training mode, to 1e-4 of the largest.
        atol = 1e-4 if dtype is torch.float64 else 1e-4 * wanted.abs().max().clamp(min=1)
        torch.testing.assert_close(found, wanted, check_dtype=False, rtol=1e-4, atol=float(atol))
