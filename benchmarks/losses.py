"""Matching and losses of a batch of rooms, forward and backward, against torchvision's SSD."""

import argparse

import torch
from detectron2.modeling import build_model
from torchvision.models.detection import ssd as torchvision_detection
from torchvision.models.detection.anchor_utils import DefaultBoxGenerator
from torchvision.ops import box_iou

from benchmarks.timing import report, take_turns
from benchmarks.train import training_config
from rock_d2.data import build_train_loader
from rock_d2.modeling.ssd.detector import pad_truths

ROUNDS, WARM_UP = 30, 3


def run(args: argparse.Namespace) -> None:
    device = torch.device(args.device)
    cfg = training_config(args, args.config[0])
    batch = next(iter(build_train_loader(cfg)))
    ssd, size = build_model(cfg).detector, tuple(cfg.INPUT.SIZE)
    with torch.no_grad():
        logits, deltas, boxes = ssd.predict(torch.zeros(len(batch), 3, *size, device=device))
    predictions = [torch.randn_like(values).requires_grad_() for values in (logits, deltas)]
    # torchvision's matcher, box coding and losses, without any network.
    theirs = torchvision_detection.SSD(
        torch.nn.Identity(),
        DefaultBoxGenerator([[2]]),
        size=size[::-1],
        num_classes=ssd.head.num_classes + 1,
        head=torch.nn.Identity(),
    )

    def our_losses() -> None:
        truths = pad_truths(batch, ssd.head.num_classes, device)
        losses = ssd.losses(*predictions, boxes, truths, [size] * len(batch))
        torch.autograd.grad(sum(losses.values()), predictions)

    def their_losses() -> None:
        instances = [item["instances"] for item in batch]
        targets = [
            {"boxes": x.gt_boxes.tensor.to(device), "labels": x.gt_classes.to(device) + 1}
            for x in instances
        ]
        matched = [theirs.proposal_matcher(box_iou(t["boxes"], boxes)) for t in targets]
        outputs = dict(zip(("cls_logits", "bbox_regression"), predictions, strict=True))
        losses = theirs.compute_loss(targets, outputs, [boxes] * len(batch), matched)
        torch.autograd.grad(sum(losses.values()), predictions)

    candidates = {"torchvision's SSD": their_losses, "rock_d2": our_losses}
    times = take_turns(
        candidates, rounds=args.rounds or ROUNDS, warm_up=WARM_UP, device=args.device
    )
    title = f"Matching and losses, batch {len(batch)}, {len(boxes)} default boxes, {device}"
    report(times, title=title, images=args.batch_size, file=args.json)
