"""From scores and boxes to detections.

N images, A default boxes, C classes of objects, P candidates of an image.
"""

from collections.abc import Sequence

import torch
from detectron2.layers import batched_nms
from detectron2.structures import Boxes, Instances


def detect(
    scores: torch.Tensor,
    boxes: torch.Tensor,
    *,
    image_sizes: Sequence[tuple[int, int]],
    score_thresh: float,
    num_candidates: int,
    nms_thresh: float,
    num_kept: int,
) -> list[Instances]:
    """Return the best boxes of each image after class-wise NMS, ``num_kept`` at most.

    Scores are (N, A, C), boxes (N, A, 4), clipped to ``image_sizes``, (height, width). The best
    ``num_candidates`` of all classes go into NMS.
    """
    results = []
    found = candidates(
        scores, boxes, image_sizes=image_sizes, score_thresh=score_thresh, count=num_candidates
    )
    for size, image_boxes, image_scores, classes, chosen in zip(image_sizes, *found, strict=True):
        image_boxes, image_scores, classes = (
            x[chosen] for x in (image_boxes, image_scores, classes)
        )
        kept = batched_nms(image_boxes, image_scores, classes, nms_thresh)[:num_kept]
        results.append(
            Instances(
                size,
                pred_boxes=Boxes(image_boxes[kept]),
                scores=image_scores[kept],
                pred_classes=classes[kept],
            )
        )
    return results


def candidates(
    scores: torch.Tensor,
    boxes: torch.Tensor,
    *,
    image_sizes: Sequence[tuple[int, int]],
    score_thresh: float,
    count: int,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return the input of NMS, from the highest score, in shapes that no value changes.

    These are boxes (N, P, 4) within the image, scores and classes (N, P), and bool (N, P), which of
    them score enough and have an area; P is the lesser of count and A * C. ``image_sizes`` may be
    one for all images.
    """
    num_classes = scores.shape[2]
    # Only boxes whose best classes score highest can be among them: to sort A numbers and then
    # P * C of them takes less time than to sort A * C.
    chosen = scores.amax(dim=2).topk(min(count, scores.shape[1]), dim=1).indices
    flat = scores.gather(1, chosen[..., None].expand(-1, -1, num_classes)).flatten(1)
    scores, index = flat.topk(min(count, flat.shape[1]), dim=1)
    chosen = chosen.gather(1, index // num_classes)
    limits = boxes.new_tensor([[w, h, w, h] for h, w in image_sizes])[:, None]
    boxes = boxes.gather(1, chosen[..., None].expand(-1, -1, 4)).clamp(min=0).minimum(limits)
    has_area = (boxes[..., 2:] > boxes[..., :2]).all(dim=2)
    return boxes, scores, index % num_classes, (scores > score_thresh) & has_area
