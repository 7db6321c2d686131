"""Which default box learns which ground truth, for a whole batch at once.

N images, M ground truths (padded), A default boxes.
"""

import torch

NEGATIVE, IGNORED, POSITIVE = 0, -1, 1
# Many small numbers divide it, so that two, three, four, ... losers get equal shares.
NUM_COLUMNS = 120
NO_KEY = -(1 << 32)


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
            ious: (N, M, A); M is at least 1. Rows that are padding become -1.
            present: bool (N, M), false where a row is padding.

        Returns:
            The label of each default box, int64 (N, A): POSITIVE, NEGATIVE or IGNORED; and the
            ground truth that it is matched to, int64 (N, A), of no meaning if negative.
        """
        limits = torch.where(present, torch.inf, -1.0)[:, :, None]
        torch.minimum(ious, limits, out=ious)
        best_iou, match = first_max(ious, dim=1)

        num_images, num_truths, num_boxes = ious.shape
        # Padding owns a box past the last one, which is cut off again.
        owned = torch.where(present, owned_boxes(ious, present), num_boxes)
        index = torch.arange(num_truths, device=ious.device).expand(num_images, -1)
        nobody = torch.full((num_images, num_boxes + 1), -1, device=ious.device)
        owner = nobody.scatter(1, owned, index)[:, :-1]
        is_owned = owner >= 0

        labels = torch.where(best_iou >= self.low, IGNORED, NEGATIVE)
        labels = torch.where(is_owned | (best_iou >= self.high), POSITIVE, labels)
        return labels, torch.where(is_owned, owner, match)


def owned_boxes(ious: torch.Tensor, present: torch.Tensor) -> torch.Tensor:
    """The default box that each ground truth owns, int64 (N, M); no two of an image are equal.

    Args:
        ious: (N, M, A), -1 in rows that are padding.
        present: bool (N, M).
    """
    num_images, num_truths, num_boxes = ious.shape
    quality, best = first_max(ious, dim=2)
    index = torch.arange(num_truths, device=ious.device)
    closer = (quality[:, :, None] > quality[:, None, :]) | (
        (quality[:, :, None] == quality[:, None, :]) & (index[:, None] < index)
    )
    contested = (best[:, :, None] == best[:, None, :]) & closer & present[:, :, None]
    lost = contested.any(dim=1) & present

    won = torch.where(present & ~lost, best, num_boxes)
    all_free = torch.ones(num_images, num_boxes + 1, dtype=torch.bool, device=ious.device)
    free = all_free.scatter(1, won, False)[:, :-1]
    return torch.where(lost, _best_of_shares(ious, lost, free), best)


def _best_of_shares(ious: torch.Tensor, lost: torch.Tensor, free: torch.Tensor) -> torch.Tensor:
    """The box of largest IoU in the share of each ground truth that has ``lost``, int64 (N, M).

    The ``free`` boxes (N, A) are dealt to columns, and the losers take turns at the columns: no two
    can choose the same box, each has a choice as long as there are as many boxes as ground truths,
    and no loop is needed. Each box is looked at for the one loser that may choose it.
    """
    num_images, num_truths, num_boxes = ious.shape
    num_columns = max(num_truths, NUM_COLUMNS)
    num_slots = -(-num_boxes // num_columns) * num_columns
    index = torch.arange(num_slots, device=ious.device)
    turn = torch.where(lost, lost.cumsum(dim=1) - 1, num_columns)
    column_turn = index[:num_columns] % lost.sum(dim=1, keepdim=True).clamp(min=1)
    loser = _place(turn, num_columns).gather(1, column_turn)[:, None]

    number = free.cumsum(dim=1) - 1
    num_free = number[:, -1:] + 1
    dealt = _place(torch.where(free, number, num_slots), num_slots)
    table = dealt.view(num_images, -1, num_columns)
    quality = ious.flatten(1).gather(1, (loser * num_boxes + table).flatten(1))
    # The bits of a float rise as it does; below them, the first of equal ones is the largest.
    key = (quality.view(torch.int32).long() << 32) - dealt
    key = torch.where(index < num_free, key, NO_KEY)
    best = key.view_as(table).amax(dim=1)
    own = column_turn[:, None] == turn[:, :, None]
    return -torch.where(own, best[:, None], NO_KEY).amax(dim=2) & 0xFFFFFFFF


def _place(positions: torch.Tensor, size: int) -> torch.Tensor:
    """int64 (N, size): at each position (N, K) its index, 0 elsewhere; at ``size`` it is lost."""
    index = torch.arange(positions.shape[1], device=positions.device).expand(positions.shape)
    return positions.new_zeros(len(positions), size + 1).scatter(1, positions, index)[:, :-1]


def first_max(table: torch.Tensor, *, dim: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Largest values along a dimension and the index of the first of each."""
    if table.device.type != "cpu":
        return table.max(dim=dim)
    # There, whatever finds an index goes number by number: these passes are vectorised. A float32
    # counts to 2 ** 24.
    values = table.amax(dim=dim, keepdim=True)
    size = table.shape[dim]
    rank = torch.arange(size, 0, -1, dtype=table.dtype).view(-1, *[1] * (table.dim() - dim - 1))
    ranks = torch.eq(table, values, out=torch.empty_like(table)).mul_(rank)
    return values.squeeze(dim), size - ranks.amax(dim=dim).long()


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
