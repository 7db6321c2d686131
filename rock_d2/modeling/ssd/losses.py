"""SSD's losses as pure functions of a batch.

N images, A default boxes, C classes of objects; class C is the background.
"""

from collections.abc import Sequence

import torch
from torch.nn import functional as F


def hard_negative_loss(
    logits: torch.Tensor,
    classes: torch.Tensor,
    positive: torch.Tensor,
    negative: torch.Tensor,
    *,
    neg_pos_ratio: float,
) -> torch.Tensor:
    """Cross-entropy of the positives and the hardest negatives (SSD, sec. 2.2), the sum.

    Each image keeps ``neg_pos_ratio`` negatives for a positive, those that look most like an
    object. An image without objects keeps as many as one with a single positive, so that it
    teaches what is no object and cannot outweigh the others.

    Args:
        logits: (N, A, C + 1).
        classes: int64 (N, A), C where not positive.
        positive, negative: of the matcher, bool (N, A).
    """
    losses = F.cross_entropy(logits.flatten(0, 1), classes.flatten(), reduction="none")
    losses = losses.view_as(positive)
    kept = positive | mine_negatives(losses.detach(), positive, negative, neg_pos_ratio)
    return torch.where(kept, losses, 0).sum()


def mine_negatives(
    losses: torch.Tensor, positive: torch.Tensor, negative: torch.Tensor, ratio: float
) -> torch.Tensor:
    """bool (N, A): in each image the min(ratio * P, all) negatives of the largest loss."""
    num_kept = ratio * positive.sum(dim=1, keepdim=True).clamp(min=1)
    order = _flat_order(torch.where(negative, losses.abs(), -1.0))
    hardest = torch.arange(losses.shape[1], device=losses.device) < num_kept
    kept = torch.zeros_like(hardest).flatten().scatter(0, order, hardest.flatten())
    return kept.view_as(negative) & negative


def _flat_order(table: torch.Tensor) -> torch.Tensor:
    """Indices into the flat (N, A) that list image by image, from the largest value to the least.

    Values below zero come last. Whole numbers in one dimension are sorted digit by digit, much
    faster than rows of floats (docs/PERFORMANCE.md), and the bits of a float rise as it does.
    """
    bits = table.float().contiguous().view(torch.int32)
    image = torch.arange(len(table), device=table.device)[:, None]
    return ((image << 32) + 0x7FFFFFFF - bits).flatten().argsort(stable=True)


def focal_loss(
    logits: torch.Tensor,
    classes: torch.Tensor,
    positive: torch.Tensor,
    negative: torch.Tensor,
    *,
    gamma: float,
    alpha: float,
) -> torch.Tensor:
    """RetinaNet's focal loss (sec. 3.2) with a softmax over C + 1 classes, the sum.

    Args: see ``hard_negative_loss``; ``alpha`` weighs the positives, 1 - alpha the negatives.
    """
    log_probabilities = F.log_softmax(logits, dim=-1)
    log_p = log_probabilities.gather(-1, classes[..., None])[..., 0]
    weight = torch.where(positive, alpha, 1 - alpha) * (1 - log_p.exp()) ** gamma
    return torch.where(positive | negative, -weight * log_p, 0).sum()


def box_loss(
    deltas: torch.Tensor, targets: torch.Tensor, positive: torch.Tensor, *, beta: float
) -> torch.Tensor:
    """Smooth L1 of the positives' box deltas (N, A, 4), the sum."""
    losses = F.smooth_l1_loss(deltas, targets, reduction="none", beta=beta)
    # Broadcast from (N, A, 1), the CPU would vectorise neither a product nor a `where`.
    zero_or_one = torch.arange(2.0, device=deltas.device)[:, None].expand(2, 4)
    return losses.mul_(take_rows(zero_or_one, positive.long())).sum()


def matched_deltas(
    boxes: torch.Tensor, truths: torch.Tensor, match: torch.Tensor, weights: Sequence[float]
) -> torch.Tensor:
    """Codes each box's ground truth relative to the box, (N, A, 4).

    Equal to Detectron2's ``Box2BoxTransform.get_deltas``, which checks its input on the host. Only
    the few ground truths' logarithms are taken.

    Args:
        boxes: (A, 4).
        truths: (N, M, 4), all with an area.
        match: index of a ground truth, int64 (N, A).
        weights: of Detectron2's ``Box2BoxTransform``.
    """
    return _relative(take_rows(_centre_and_log_size(truths), match), boxes, weights)


def take_rows(table: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
    """Rows of (..., K, 4) by an index (..., A): float32 (..., A, 4), without a gradient."""
    # One number of 16 bytes: such a gather is much faster than an ``embedding`` of rows of four.
    rows = table.float().contiguous().view(torch.complex128)[..., 0]
    rows = rows.expand(*index.shape[:-1], -1).gather(-1, index)
    return rows[..., None].view(torch.float32)


def _centre_and_log_size(boxes: torch.Tensor) -> torch.Tensor:
    start, end = boxes[..., :2], boxes[..., 2:]
    return torch.cat([(start + end) / 2, (end - start).log()], dim=-1)


def _relative(codes: torch.Tensor, boxes: torch.Tensor, weights: Sequence[float]) -> torch.Tensor:
    """Differences of centres in sizes of the boxes, and of logarithms, times the weights.

    The codes are overwritten.
    """
    size = boxes[..., 2:] - boxes[..., :2]
    scales = torch.cat([size.reciprocal(), torch.ones_like(size)], dim=-1)
    for scale, weight in zip(scales.unbind(dim=-1), weights, strict=True):
        scale *= weight
    return codes.sub_(_centre_and_log_size(boxes)).mul_(scales)
