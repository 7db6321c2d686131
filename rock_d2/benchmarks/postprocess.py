"""From a head's outputs to detections, against a loop over images and classes."""

import argparse
from typing import Any

import torch
from detectron2.modeling import build_model
from torchvision.ops import clip_boxes_to_image, nms

from rock_d2 import model_zoo
from rock_d2.benchmarks.losses import default_boxes
from rock_d2.benchmarks.timing import Goal, report, take_turns
from rock_d2.config_files import merge_pairs
from rock_d2.modeling.ssd import SSD

ROUNDS, WARM_UP = 20, 2


@torch.inference_mode()
def run(args: argparse.Namespace) -> None:
    device = torch.device(args.device)
    cfg = model_zoo.get_config("ssd_nyuv2.yaml")
    cfg.MODEL.DEVICE = args.device
    merge_pairs(cfg, args.opts)
    model = build_model(cfg).eval()
    boxes = default_boxes(model)
    logits, deltas = head_outputs(args.batch_size, len(boxes), model.head.num_classes)
    logits, deltas = logits.to(device), deltas.to(device)

    def ours() -> Any:
        return model.detector(*model.decode(logits, deltas, boxes), image_size=model.input_size)

    def loop() -> Any:
        return [
            one_image(
                model, *model.decode(*(values[i : i + 1] for values in (logits, deltas)), boxes)
            )
            for i in range(args.batch_size)
        ]

    counts = {
        "loop over images and classes": sum(len(scores) for scores, *_ in loop()),
        "rock_d2": sum(map(len, ours())),
    }
    times = take_turns(
        {"loop over images and classes": loop, "rock_d2": ours},
        rounds=args.rounds or ROUNDS,
        warm_up=WARM_UP,
        device=device,
    )
    report(
        times,
        title=f"post-processing of {args.batch_size} images, {len(boxes)} default boxes, {device}",
        goals=[Goal("rock_d2", "loop over images and classes", 0.3)],
        columns={"detections": counts},
        file=args.json,
    )


def head_outputs(
    num_images: int, num_boxes: int, num_classes: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits and deltas of a detector that is sure of few things: most boxes are background."""
    generator = torch.Generator().manual_seed(0)
    logits = 2 * torch.randn(num_images, num_boxes, num_classes + 1, generator=generator)
    logits[..., -1] += 6
    return logits, torch.randn(num_images, num_boxes, 4, generator=generator)


def one_image(model: SSD, scores: torch.Tensor, boxes: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """As torchvision's SSD does it: each class has its threshold, its candidates and its NMS."""
    limits = model.detector.keywords
    boxes, found = clip_boxes_to_image(boxes[0], model.input_size), []
    for number in range(scores.shape[2]):
        of_class = scores[0, :, number]
        (chosen,) = (of_class > limits["score_thresh"]).nonzero(as_tuple=True)
        best, order = of_class[chosen].topk(min(limits["num_candidates"], len(chosen)))
        chosen = chosen[order]
        kept = nms(boxes[chosen], best, limits["nms_thresh"])
        found.append((best[kept], boxes[chosen[kept]], torch.full_like(kept, number)))
    all_scores, all_boxes, all_classes = (torch.cat(part) for part in zip(*found, strict=True))
    scores, order = all_scores.topk(min(limits["num_kept"], len(all_scores)))
    return scores, all_boxes[order], all_classes[order]
