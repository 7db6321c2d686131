"""SSD's losses as pure functions of a batch.

N images, A default boxes, C classes of objects; class C is the background.
"""

from collections.abc import Sequence

import torch
from torch.nn import functional as F

from rock_d2.modeling.matcher import IGNORED, NEGATIVE, POSITIVE


def hard_negative_loss(
    logits: torch.Tensor, classes: torch.Tensor, labels: torch.Tensor, *, neg_pos_ratio: float
) -> torch.Tensor:
    """Cross-entropy of the positives and the hardest negatives (SSD, sec. 2.2), the sum.

    Each image keeps ``neg_pos_ratio`` negatives for a positive, those that look most like an
    object. An image without objects keeps as many as one with a single positive, so that it
    teaches what is no object and cannot outweigh the others.

    Args:
        logits: (N, A, C + 1).
        classes: int64 (N, A), C where not positive.
        labels: of the matcher, int64 (N, A).
    """
    losses = F.cross_entropy(logits.flatten(0, 1), classes.flatten(), reduction="none")
    losses = losses.view_as(labels)
    kept = (labels == POSITIVE) | mine_negatives(losses.detach(), labels, neg_pos_ratio)
    return torch.where(kept, losses, 0).sum()


def mine_negatives(losses: torch.Tensor, labels: torch.Tensor, ratio: float) -> torch.Tensor:
    """bool (N, A): in each image the min(ratio * P, all) negatives of the largest loss."""
    negative = labels == NEGATIVE
    num_kept = ratio * (labels == POSITIVE).sum(dim=1, keepdim=True).clamp(min=1)
    order = torch.where(negative, losses, -torch.inf).argsort(dim=1, descending=True)
    hardest = torch.arange(losses.shape[1], device=losses.device) < num_kept
    return torch.zeros_like(negative).scatter(1, order, hardest) & negative


def focal_loss(
    logits: torch.Tensor, classes: torch.Tensor, labels: torch.Tensor, *, gamma: float, alpha: float
) -> torch.Tensor:
    """RetinaNet's focal loss (sec. 3.2) with a softmax over C + 1 classes, the sum.

    Args: see ``hard_negative_loss``; ``alpha`` weighs the positives, 1 - alpha the negatives.
    """
    log_probabilities = F.log_softmax(logits, dim=-1)
    log_p = log_probabilities.gather(-1, classes[..., None])[..., 0]
    weight = torch.where(labels == POSITIVE, alpha, 1 - alpha) * (1 - log_p.exp()) ** gamma
    return torch.where(labels == IGNORED, 0, -weight * log_p).sum()


def box_loss(
    deltas: torch.Tensor, targets: torch.Tensor, labels: torch.Tensor, *, beta: float
) -> torch.Tensor:
    """Smooth L1 of the positives' box deltas (N, A, 4), the sum."""
    losses = F.smooth_l1_loss(deltas, targets, reduction="none", beta=beta).sum(dim=-1)
    return torch.where(labels == POSITIVE, losses, 0).sum()


def box_deltas(
    boxes: torch.Tensor, targets: torch.Tensor, weights: Sequence[float]
) -> torch.Tensor:
    """Codes targets (..., 4) relative to boxes of a broadcastable shape.

    Equal to Detectron2's ``Box2BoxTransform.get_deltas``, which checks its input on the host.
    """
    width, height, x, y = _size_and_centre(boxes)
    target_width, target_height, target_x, target_y = _size_and_centre(targets)
    deltas = (
        (target_x - x) / width,
        (target_y - y) / height,
        (target_width / width).log(),
        (target_height / height).log(),
    )
    return torch.stack([w * d for w, d in zip(weights, deltas, strict=True)], dim=-1)


def _size_and_centre(boxes: torch.Tensor) -> tuple[torch.Tensor, ...]:
    x0, y0, x1, y1 = boxes.unbind(dim=-1)
    return x1 - x0, y1 - y0, (x0 + x1) / 2, (y0 + y1) / 2
