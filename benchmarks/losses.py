"""Matching and losses of a batch, forward and backward, against torchvision's SSD."""

import argparse
from typing import Any

import torch
from detectron2.modeling import build_model
from detectron2.structures import Boxes, Instances
from torchvision.models.detection import ssd as torchvision_detection
from torchvision.models.detection.anchor_utils import DefaultBoxGenerator
from torchvision.ops import box_iou

from rock_d2 import model_zoo
from benchmarks.profiling import print_profiles
from benchmarks.timing import Goal, report, take_turns
from rock_d2.config import merge_pairs
from rock_d2.freed_memory import keep_freed_memory
from rock_d2.modeling.ssd.detector import SSD, pad_truths

ROUNDS, WARM_UP = 30, 3
NUM_OBJECTS = 20


def run(args: argparse.Namespace) -> None:
    device = torch.device(args.device)
    # As in a training: else the system takes memory back and clears it anew several times a step,
    # which costs either side milliseconds.
    keep_freed_memory()
    cfg = model_zoo.get_config("ssd_nyuv2.yaml")
    cfg.MODEL.DEVICE = args.device
    merge_pairs(cfg, args.opts)
    ours = build_model(cfg)
    generator = torch.Generator().manual_seed(0)
    boxes = default_boxes(ours)
    batch = [objects(ours, generator) for _ in range(args.batch_size)]
    shape = (args.batch_size, len(boxes))
    logits = torch.randn(*shape, ours.head.num_classes + 1, generator=generator).to(device)
    deltas = torch.randn(*shape, 4, generator=generator).to(device)
    logits.requires_grad_()
    deltas.requires_grad_()
    theirs = torchvision_ssd(ours)
    # Each has the objects where its data loader would leave them: on the host.
    targets = [
        {"boxes": item["instances"].gt_boxes.tensor, "labels": item["instances"].gt_classes + 1}
        for item in batch
    ]

    def our_step() -> None:
        truths = pad_truths(batch, ours.head.num_classes, device)
        backward(ours.losses(logits, deltas, boxes, *truths), logits, deltas)

    def their_step() -> None:
        on_device = [{key: value.to(device) for key, value in t.items()} for t in targets]
        matched = [theirs.proposal_matcher(box_iou(target["boxes"], boxes)) for target in on_device]
        outputs = {"cls_logits": logits, "bbox_regression": deltas}
        anchors = [boxes] * args.batch_size
        backward(theirs.compute_loss(on_device, outputs, anchors, matched), logits, deltas)

    candidates = {"torchvision's SSD": their_step, "rock_d2": our_step}
    times = take_turns(candidates, rounds=args.rounds or ROUNDS, warm_up=WARM_UP, device=device)
    report(
        times,
        title=f"matching and losses, batch {args.batch_size} x {NUM_OBJECTS} objects, "
        f"{len(boxes)} default boxes, {device}",
        goals=[Goal("rock_d2", "torchvision's SSD", 0.5)],
        file=args.json,
    )
    if args.profile:
        print_profiles(candidates, device)


def backward(losses: dict[str, torch.Tensor], *predictions: torch.Tensor) -> None:
    """As in a training, where the gradients go on to the network and are not summed up."""
    torch.autograd.grad(sum(losses.values()), predictions)


def default_boxes(model: SSD) -> torch.Tensor:
    generator = model.head.anchor_generator
    maps = [torch.empty(1, 1, *size) for size in generator.map_sizes]
    return Boxes.cat(generator(maps)).tensor


def objects(model: SSD, generator: torch.Generator) -> dict[str, Any]:
    """A batch item without its image."""
    height, width = model.input_size
    corner = torch.rand(NUM_OBJECTS, 2, generator=generator) * 0.8
    sides = 0.05 + torch.rand(NUM_OBJECTS, 2, generator=generator) * (0.95 - corner)
    found = Instances(model.input_size)
    corners = torch.cat([corner, (corner + sides).clamp(max=1)], dim=1)
    found.gt_boxes = Boxes(corners * torch.tensor([width, height] * 2))
    found.gt_classes = torch.randint(model.head.num_classes, (NUM_OBJECTS,), generator=generator)
    return {"instances": found}


def torchvision_ssd(model: SSD) -> torchvision_detection.SSD:
    """Its matcher, box coding and losses, without any network."""
    return torchvision_detection.SSD(
        torch.nn.Identity(),
        DefaultBoxGenerator([[2]]),
        size=model.input_size[::-1],
        num_classes=model.head.num_classes + 1,
        head=torch.nn.Identity(),
    )
