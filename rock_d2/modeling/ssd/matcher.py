"""Which default box learns which ground truth, for a whole batch at once.

N images, M ground truths (padded), A default boxes.
"""

from typing import NamedTuple

import torch

# Many small numbers divide it, so that two, three, four, ... losers get equal shares.
NUM_COLUMNS = 120
NO_KEY = -(1 << 32)
# About the root of the number of default boxes: as many blocks as boxes in one.
BLOCK = 96


class Matches(NamedTuple):
    """What each default box learns; if it is neither positive nor negative, nothing.

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
    the default box of its largest IoU, whatever that IoU is (SSD, sec. 2.2). Where several have
    the same best box the closest owns it, and each of the others owns the best of its share of
    the boxes that nobody owns.
    """

    def __init__(self, *, low: float, high: float):
        if not 0 <= low <= high <= 1:
            raise ValueError(f"MODEL.SSD.IOU_THRESHOLDS: [{low}, {high}] do not rise from 0 to 1")
        self.low = low
        self.high = high

    def __call__(self, ious: torch.Tensor, present: torch.Tensor) -> Matches:
        """
        Args:
            ious: (N, M, A); M is at least 1. It is overwritten: rows that are padding become -1.
            present: bool (N, M), false where a row is padding.
        """
        limits = torch.where(present, torch.inf, -1.0)[:, :, None]
        torch.minimum(ious, limits, out=ious)
        best_iou, truth = first_max(ious, dim=1)
        # Padding repeats what the first ground truth of its image writes; without any, nothing.
        index = torch.arange(ious.shape[1], device=ious.device)
        owner = torch.where(present, index, present.byte().argmax(dim=1, keepdim=True))
        owned = owned_boxes(ious, present).gather(1, owner)
        truth.scatter_(1, owned, owner)
        best_iou.scatter_(1, owned, torch.where(present.gather(1, owner), torch.inf, -1.0))
        return Matches(best_iou >= self.high, best_iou < self.low, truth)


def owned_boxes(ious: torch.Tensor, present: torch.Tensor) -> torch.Tensor:
    """The default box that each ground truth owns, int64 (N, M); no two of an image are equal.

    Args:
        ious: (N, M, A), -1 in rows that are padding.
        present: bool (N, M).
    """
    num_images, num_truths, num_boxes = ious.shape
    quality, best = first_max(ious, dim=2)
    # Several may claim a box. Padding, of an IoU below 0, claims less than nobody.
    claims = _rising(quality, torch.arange(num_truths, device=ious.device))
    strongest = claims.new_full((num_images, num_boxes), NO_KEY)
    strongest.scatter_reduce_(1, best, claims, "amax")
    won = strongest.gather(1, best) == claims
    lost = present & ~won
    return torch.where(lost, _best_of_shares(ious, lost, torch.where(won, best, num_boxes)), best)


def _best_of_shares(ious: torch.Tensor, lost: torch.Tensor, won: torch.Tensor) -> torch.Tensor:
    """The box of largest IoU in the share of each ground truth that has ``lost``, int64 (N, M).

    The boxes that nobody has ``won``, int64 (N, M), are dealt to columns, and the losers take turns
    at the columns: no two can choose the same box, each has a choice as long as there are as many
    boxes as ground truths, and no loop is needed. Each box is looked at for the one loser that may
    choose it.
    """
    num_images, num_truths, num_boxes = ious.shape
    num_columns = max(num_truths, NUM_COLUMNS)
    column = torch.arange(num_columns, device=ious.device)
    count = lost.cumsum(dim=1)
    turn = column % count[:, -1:].clamp(min=1)
    loser = torch.searchsorted(count, turn + 1).clamp(max=num_truths - 1)

    dealt = _all_but(won, num_boxes, size=-(-num_boxes // num_columns) * num_columns)
    table = dealt.clamp(max=num_boxes - 1).view(num_images, -1, num_columns)
    quality = ious.flatten(1).gather(1, (loser[:, None] * num_boxes + table).flatten(1))
    quality = torch.where(dealt < num_boxes, quality, -1.0)
    quality, row = first_max(quality.view_as(table), dim=1)
    key = _rising(quality, dealt.gather(1, row * num_columns + column))
    own = loser[:, None] == column[:num_truths, None]
    return -torch.where(own, key[:, None], NO_KEY).amax(dim=2) & 0xFFFFFFFF


def _all_but(numbers: torch.Tensor, limit: int, *, size: int) -> torch.Tensor:
    """int64 (N, size): 0, 1, 2, ... without a row's ``numbers`` (N, K), those below the limit."""
    numbers = numbers.sort(dim=1).values
    index = torch.arange(numbers.shape[1], device=numbers.device)
    # Counts up by 1, and by 2 across each left-out number; k earlier ones shift its place by k.
    steps = numbers.new_ones(len(numbers), size)
    steps[:, 0] = 0
    steps.scatter_add_(1, (numbers - index).clamp(max=size - 1), (numbers < limit).long())
    return steps.cumsum(dim=1)


def _rising(values: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
    """int64 that rise with the values and, where these are equal, fall with the index.

    All values below 0 come before, in any order.
    """
    # The bits of a float from 0 rise as it does.
    return (values.view(torch.int32).long() << 32) - index


def first_max(table: torch.Tensor, *, dim: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Largest values along a dimension and the index of the first of each."""
    if table.device.type != "cpu":
        return table.max(dim=dim)
    # There, whatever finds an index goes number by number, while what finds a value is vectorised.
    return _first_max_of_rows(table) if dim == table.dim() - 1 else _first_max_of(table, dim)


def _first_max_of(table: torch.Tensor, dim: int) -> tuple[torch.Tensor, torch.Tensor]:
    # A float32 counts to 2 ** 24. Where the largest is not, the index is past the end.
    values = table.amax(dim=dim, keepdim=True)
    size = table.shape[dim]
    index = torch.arange(size, dtype=table.dtype).view(-1, *[1] * (table.dim() - dim - 1))
    others = torch.ne(table, values, out=torch.empty_like(table))
    return values.squeeze(dim), torch.add(index, others, alpha=size, out=others).amin(dim).long()


def _first_max_of_rows(table: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    # Only the block with the largest value is searched; the last overlaps the one before it.
    size = table.shape[-1]
    block = min(BLOCK, size)
    blocks = table.unfold(-1, block, block).amax(dim=-1)
    last = table[..., -block:].amax(dim=-1, keepdim=True)
    values, best = torch.cat([blocks, last], dim=-1).max(dim=-1)
    start = (best * block).clamp(max=size - block)
    inside = start[..., None] + torch.arange(block)
    return values, start + table.gather(-1, inside).argmax(dim=-1)


def pairwise_iou(truths: torch.Tensor, boxes: torch.Tensor) -> torch.Tensor:
    """(N, M, 4) and (A, 4) to (N, M, A); padding of zeros has an IoU of 0.

    Detectron2's takes one image's boxes, without a batch dimension.
    """
    # Coordinate by coordinate and in place: the time goes into reading and writing large tables.
    left, top, right, bottom = truths[:, :, None].unbind(dim=-1)
    x0, y0, x1, y1 = torch.stack(boxes.unbind(dim=-1))
    width = torch.minimum(right, x1).sub_(torch.maximum(left, x0)).clamp_(min=0)
    height = torch.minimum(bottom, y1).sub_(torch.maximum(top, y0)).clamp_(min=0)
    shared = width.mul_(height)
    area = (right - left) * (bottom - top)
    union = (area + (x1 - x0) * (y1 - y0)).sub_(shared)
    return shared.div_(union)
