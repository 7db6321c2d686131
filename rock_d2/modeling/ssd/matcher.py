"""Which default box learns which ground truth, for a whole batch at once.

N images, M ground truths (padded), A default boxes.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torchvision.ops import box_iou


class Matches(NamedTuple):
    """The targets of default boxes; one that is neither positive nor negative has none.

    Attributes:
        positive: learns an object, bool (N, A).
        negative: learns the background, bool (N, A).
        truth: which object, int64 (N, A), of no meaning where not positive.
    """

    positive: torch.Tensor
    negative: torch.Tensor
    truth: torch.Tensor


class SSDMatcher:
    """RetinaNet's thresholds (supplement, sec. 2), and every ground truth owns a default box.

    A default box takes the ground truth of its largest IoU: from the upper threshold it is
    positive, below the lower one negative, between them ignored. Besides, each ground truth owns
    a default box, no matter how small their IoU is (SSD, sec. 2.2): the box of its largest IoU or,
    where a closer ground truth owns that one, the best that is no ground truth's first choice.
    """

    def __init__(self, thresholds: Sequence[float]):
        if len(thresholds) != 2 or sorted([0, *thresholds, 1]) != [0, *thresholds, 1]:
            raise ValueError(
                f"MODEL.SSD.IOU_THRESHOLDS is {list(thresholds)}, not two that rise from 0 to 1"
            )
        self.low, self.high = thresholds

    def __call__(self, ious: torch.Tensor, present: torch.Tensor) -> Matches:
        """Match by IoUs (N, M, A) with at least one row; ``present`` is false in padding."""
        num_boxes = ious.shape[2]
        ious = ious.masked_fill(~present[:, :, None], -1)
        best_iou, truth = ious.max(dim=1)
        owned = owned_boxes(ious, present)
        # Padding writes into a column of its own, which is dropped.
        place = torch.where(present, owned, num_boxes)
        index = torch.arange(ious.shape[1], device=ious.device).expand_as(place)
        spare = best_iou.new_zeros(len(ious), 1)
        best_iou = torch.cat([best_iou, spare], dim=1).scatter(1, place, torch.inf)[:, :-1]
        truth = torch.cat([truth, spare.long()], dim=1).scatter(1, place, index)[:, :-1]
        return Matches(best_iou >= self.high, best_iou < self.low, truth)


def owned_boxes(ious: torch.Tensor, present: torch.Tensor) -> torch.Tensor:
    """Return the default box that each ground truth owns, int64 (N, M).

    No two ground truths of an image own the same, as long as there are enough boxes. IoUs are
    (N, M, A), -1 in rows that are padding.
    """
    quality, owned = ious.max(dim=2)
    order = quality.argsort(dim=1, descending=True, stable=True)
    rank = order.argsort(dim=1)
    # lost[i]: another ground truth of a lower rank has the same first choice.
    same = (owned[:, :, None] == owned[:, None, :]) & present[:, None, :]
    lost = (same & (rank[:, None, :] < rank[:, :, None])).any(dim=2) & present
    taken = torch.where(present, owned, ious.shape[2])
    free = ious.new_ones(len(ious), ious.shape[2] + 1, dtype=torch.bool).scatter(1, taken, False)
    free = free[:, :-1]
    # The losers choose one after another, the closest first.
    for chooser in order.unbind(dim=1):
        row = ious.gather(1, chooser[:, None, None].expand(-1, 1, ious.shape[2]))[:, 0]
        choice = torch.where(free, row, -2).argmax(dim=1, keepdim=True)
        loses = lost.gather(1, chooser[:, None])
        choice = torch.where(loses, choice, owned.gather(1, chooser[:, None]))
        owned = owned.scatter(1, chooser[:, None], choice)
        free = free.scatter(1, choice, False)
    return owned


def pairwise_iou(truths: torch.Tensor, boxes: torch.Tensor) -> torch.Tensor:
    """Return the IoUs (N, M, A) of (N, M, 4) and (A, 4); padding of zeros has an IoU of 0."""
    return box_iou(truths.flatten(0, 1), boxes).view(*truths.shape[:2], len(boxes))
