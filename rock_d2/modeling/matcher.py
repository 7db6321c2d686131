"""Which default box learns which ground truth, for a whole batch at once.

N images, M ground truths (padded), A default boxes.
"""

import torch

NEGATIVE, IGNORED, POSITIVE = 0, -1, 1


class SSDMatcher:
    """RetinaNet's thresholds (supplement, sec. 2), and every ground truth owns a default box.

    A default box takes the ground truth of its largest IoU: from the upper threshold it is
    positive, below the lower one negative, between them ignored. Besides, each ground truth owns
    the default box of its largest IoU, whatever that IoU is (SSD, sec. 2.2). Where several have
    the same best box the closest owns it, and each of the others owns the best of its share of
    the boxes that nobody owns.
    """

    def __init__(self, *, low: float, high: float):
        if not 0 <= low <= high <= 1:
            raise ValueError(f"MODEL.SSD.IOU_THRESHOLDS: [{low}, {high}] do not rise from 0 to 1")
        self.low = low
        self.high = high

    def __call__(
        self, ious: torch.Tensor, present: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """
        Args:
            ious: (N, M, A); M is at least 1.
            present: bool (N, M), false where a row is padding.

        Returns:
            The label of each default box, int64 (N, A): POSITIVE, NEGATIVE or IGNORED; and the
            ground truth that it is matched to, int64 (N, A), of no meaning if negative.
        """
        ious = torch.where(present[:, :, None], ious, -1.0)
        best_iou, match = ious.max(dim=1)
        labels = torch.where(best_iou >= self.low, IGNORED, NEGATIVE)
        labels = torch.where(best_iou >= self.high, POSITIVE, labels)

        num_images, num_truths, num_boxes = ious.shape
        # Padding owns a box past the last one, which is cut off again.
        owned = torch.where(present, owned_boxes(ious, present), num_boxes)
        owner = torch.arange(num_truths, device=ious.device).expand(num_images, -1)
        match = _with_dummy(match).scatter(1, owned, owner)[:, :-1]
        labels = _with_dummy(labels).scatter(1, owned, POSITIVE)[:, :-1]
        return labels, match


def owned_boxes(ious: torch.Tensor, present: torch.Tensor) -> torch.Tensor:
    """The default box that each ground truth owns, int64 (N, M); no two of an image are equal.

    Args:
        ious: (N, M, A), -1 in rows that are padding.
        present: bool (N, M).
    """
    num_boxes = ious.shape[2]
    quality, best = ious.max(dim=2)
    index = torch.arange(ious.shape[1], device=ious.device)
    closer = (quality[:, :, None] > quality[:, None, :]) | (
        (quality[:, :, None] == quality[:, None, :]) & (index[:, None] < index)
    )
    contested = (best[:, :, None] == best[:, None, :]) & closer & present[:, :, None]
    lost = contested.any(dim=1) & present

    # The losers take turns at the boxes that nobody owns: no two can choose the same one, each has
    # a choice as long as there are as many boxes as ground truths, and no loop is needed.
    won = torch.where(present & ~lost, best, num_boxes)
    taken = _with_dummy(torch.zeros_like(ious[:, 0], dtype=torch.bool)).scatter(1, won, True)
    free = ~taken[:, None, :-1]
    num_lost = lost.sum(dim=1).clamp(min=1)[:, None, None]
    turn = (lost.cumsum(dim=1) - 1)[:, :, None]
    share = free & ((free.cumsum(dim=2) - 1) % num_lost == turn)
    second = torch.where(share, ious, -2.0).argmax(dim=2)
    return torch.where(lost, second, best)


def _with_dummy(table: torch.Tensor) -> torch.Tensor:
    """(N, A) to (N, A + 1)."""
    return torch.cat([table, torch.zeros_like(table[:, :1])], dim=1)


def pairwise_iou(truths: torch.Tensor, boxes: torch.Tensor) -> torch.Tensor:
    """(N, M, 4) and (A, 4) to (N, M, A); padding of zeros has an IoU of 0.

    Detectron2's takes one image's boxes, without a batch dimension.
    """
    # Coordinate by coordinate and in place: the time goes into reading and writing large tables.
    left, top, right, bottom = truths[:, :, None].unbind(dim=-1)
    x0, y0, x1, y1 = boxes.T.contiguous()
    width = torch.minimum(right, x1).sub_(torch.maximum(left, x0)).clamp_(min=0)
    height = torch.minimum(bottom, y1).sub_(torch.maximum(top, y0)).clamp_(min=0)
    shared = width.mul_(height)
    area = (right - left) * (bottom - top)
    union = (area + (x1 - x0) * (y1 - y0)).sub_(shared)
    return shared.div_(union)
