"""SSD's losses as pure functions of a batch.

N images, A default boxes, C classes of objects; class C is the background.
"""

from collections.abc import Sequence

import torch
from torch.nn import functional as F
from torchvision.ops import box_convert


def hard_negative_loss(
    logits: torch.Tensor,
    classes: torch.Tensor,
    positive: torch.Tensor,
    negative: torch.Tensor,
    *,
    neg_pos_ratio: float,
) -> torch.Tensor:
    """Return the summed cross-entropy of positives and hardest negatives (SSD, sec. 2.2).

    Each image keeps ``neg_pos_ratio`` negatives for a positive, those that look most like an
    object. An image without objects keeps as many as one with a single positive, so that it
    teaches the background and cannot outweigh the others.

    Logits are (N, A, C + 1), classes int64 (N, A), C where not positive.
    """
    losses = F.cross_entropy(logits.flatten(0, 1), classes.flatten(), reduction="none")
    losses = losses.view_as(positive)
    kept = positive | mine_negatives(losses.detach(), positive, negative, neg_pos_ratio)
    return torch.where(kept, losses, 0).sum()


def mine_negatives(
    losses: torch.Tensor, positive: torch.Tensor, negative: torch.Tensor, ratio: float
) -> torch.Tensor:
    """Return the min(ratio * P, all) negatives of the largest loss in each image, bool (N, A)."""
    num_kept = ratio * positive.sum(dim=1, keepdim=True).clamp(min=1)
    order = losses.masked_fill(~negative, -1).argsort(dim=1, descending=True)
    hardest = torch.arange(losses.shape[1], device=losses.device) < num_kept
    return torch.zeros_like(negative).scatter(1, order, hardest) & negative


def box_loss(
    deltas: torch.Tensor, targets: torch.Tensor, positive: torch.Tensor, *, beta: float
) -> torch.Tensor:
    """Return the summed smooth L1 loss of the positives' box deltas (N, A, 4)."""
    losses = F.smooth_l1_loss(deltas, targets, reduction="none", beta=beta)
    return torch.where(positive[..., None], losses, 0).sum()


def matched_deltas(
    boxes: torch.Tensor, truths: torch.Tensor, match: torch.Tensor, weights: Sequence[float]
) -> torch.Tensor:
    """Code each default box's ground truth relative to the box, (N, A, 4).

    Equal to Detectron2's ``Box2BoxTransform.get_deltas``, which waits for the device. Boxes are
    (A, 4), truths (N, M, 4), all with an area, and match int64 (N, A).
    """
    matched = truths.gather(1, match[..., None].expand(-1, -1, 4))
    centres, sizes = box_convert(boxes, "xyxy", "cxcywh").split(2, dim=-1)
    truth_centres, truth_sizes = box_convert(matched, "xyxy", "cxcywh").split(2, dim=-1)
    deltas = [(truth_centres - centres) / sizes, (truth_sizes / sizes).log()]
    # A plain copy from the host would wait for the device.
    factors = torch.tensor(weights).to(boxes.device, non_blocking=True)
    return torch.cat(deltas, dim=-1) * factors
