"""Whole inference of a batch: ours against others' detectors, and our fast paths one by one.

Weights are random: nothing scores enough for non-maximum suppression, in none of the models.
"""

import argparse
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from detectron2 import model_zoo as detectron2_zoo
from detectron2.modeling import build_model
from torch import nn
from torchvision.models.detection import ssd300_vgg16

from rock_d2 import model_zoo
from benchmarks.profiling import print_profiles
from benchmarks.roofline import count_work, fraction, measure_machine
from benchmarks.timing import Goal, chosen, report, take_turns
from rock_d2.config import merge_pairs
from rock_d2.engine.fast_convolutions import PointwiseConv, WinogradConv
from rock_d2.export.fuse import SSDInParts, inference_copy

ROUNDS, WARM_UP = 15, 2
DETECTRON2 = {
    "RetinaNet R50-FPN": "COCO-Detection/retinanet_R_50_FPN_1x.yaml",
    "Faster R-CNN R50-FPN": "COCO-Detection/faster_rcnn_R_50_FPN_1x.yaml",
}
# Another input, and the only one that it has: its figures are those of this size.
TORCHVISION = "torchvision SSD300-VGG16, 300 x 300"
ALONE = ("MODEL.ROCK.PREDICT_AUXILIARY", False)
OURS: dict[str, tuple[str, tuple[Any, ...]]] = {
    "SSD-R50": ("ssd_nyuv2.yaml", ()),
    "ROCK": ("rock_nyuv2.yaml", ALONE),
    "ROCK, auxiliary predictions too": ("rock_nyuv2.yaml", ()),
    "SSD-R50, not folded": ("ssd_nyuv2.yaml", ("TEST.FOLD", False)),
    "ROCK, not folded": ("rock_nyuv2.yaml", (*ALONE, "TEST.FOLD", False)),
    "SSD-R50, compiled": ("ssd_nyuv2.yaml", ("TEST.COMPILE", True)),
    "ROCK, compiled": ("rock_nyuv2.yaml", (*ALONE, "TEST.COMPILE", True)),
    "SSD-R50, batch as a whole": ("ssd_nyuv2.yaml", ()),
    "ROCK, batch as a whole": ("rock_nyuv2.yaml", ALONE),
    "SSD-R50, 1 x 1 by PyTorch": ("ssd_nyuv2.yaml", ()),
    "SSD-R50, 3 x 3 by PyTorch": ("ssd_nyuv2.yaml", ()),
}
# What becomes what it is derived from, in a row of such a name.
SWITCHED_OFF: dict[str, type[nn.Module]] = {
    "batch as a whole": SSDInParts,
    "1 x 1 by PyTorch": PointwiseConv,
    "3 x 3 by PyTorch": WinogradConv,
}


def run(args: argparse.Namespace) -> None:
    device = torch.device(args.device)
    cfg = model_zoo.get_config("ssd_nyuv2.yaml")
    merge_pairs(cfg, args.opts)
    size = tuple(cfg.INPUT.SIZE)
    known = (*DETECTRON2, TORCHVISION, *OURS)
    names = chosen(known, args.only or [name for name in known if "compiled" not in name])
    candidates: dict[str, Callable[[], Any]] = {
        name: partial(build(name, args).eval().to(device), inputs(name, args, size))
        for name in names
    }
    with torch.inference_mode():
        times = take_turns(candidates, rounds=args.rounds or ROUNDS, warm_up=WARM_UP, device=device)
    machine = measure_machine(device)
    with torch.no_grad():
        work = {
            name: count_work(model) for name, model in candidates.items() if "compiled" not in name
        }
    report(
        times,
        title=f"inference, batch {args.batch_size} of {size[0]} x {size[1]}, {device}",
        # The paper's time on a GPU (table 4); on a CPU ROCK's share of the operations.
        goals=[
            Goal("ROCK", "SSD-R50", 1.07 if device.type == "cuda" else 1.13),
            Goal("SSD-R50", "RetinaNet R50-FPN", 0.6),
        ],
        columns={
            "GFLOPs": {name: f"{w.flops / 1e9:.1f}" for name, w in work.items()},
            "GB": {name: f"{w.bytes / 1e9:.2f}" for name, w in work.items()},
            "of the roofline": {
                name: f"{fraction(machine, w, times[name]):.0%}" for name, w in work.items()
            },
        },
        file=args.json,
    )
    print(f"Measured: {machine.flops / 1e9:.0f} GFLOP/s, {machine.bytes / 1e9:.1f} GB/s")
    if args.profile:
        with torch.inference_mode():
            print_profiles(candidates, device)


def inputs(name: str, args: argparse.Namespace, size: tuple[int, int]) -> list[Any]:
    """A batch as the detector of that name takes it."""
    if name == TORCHVISION:
        return [torch.zeros(3, 300, 300, device=args.device)] * args.batch_size
    image = {"image": torch.zeros(3, *size, dtype=torch.uint8), "height": size[0], "width": size[1]}
    return [image] * args.batch_size


def build(name: str, args: argparse.Namespace) -> nn.Module:
    if name == TORCHVISION:
        # Its own threshold, 0.01, is below what 91 classes get of random weights.
        return ssd300_vgg16(weights=None, weights_backbone=None, score_thresh=0.5)
    if name in DETECTRON2:
        cfg = detectron2_zoo.get_config(DETECTRON2[name])
        cfg.merge_from_list(["MODEL.WEIGHTS", "", "MODEL.DEVICE", args.device])
        return build_model(cfg)
    file, options = OURS[name]
    cfg = model_zoo.get_config(file)
    cfg.merge_from_list(["MODEL.DEVICE", args.device, *options, *args.opts])
    model = inference_copy(build_model(cfg).eval(), cfg)
    switched_off = SWITCHED_OFF.get(name.partition(", ")[2], ())
    for module in model.modules():
        if isinstance(module, switched_off):
            module.__class__ = type(module).__base__
    return model
