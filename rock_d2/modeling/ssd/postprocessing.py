"""From scores and boxes to detections.

N images, A default boxes, C classes of objects, P candidates of an image.
"""

import torch
from detectron2.structures import Boxes, Instances
from torchvision.ops import nms


def detect(
    scores: torch.Tensor,
    boxes: torch.Tensor,
    *,
    image_size: tuple[int, int],
    score_thresh: float,
    num_candidates: int,
    nms_thresh: float,
    num_kept: int,
) -> list[Instances]:
    """The best boxes of each image after class-wise NMS, which is one call for the whole batch.

    Args:
        scores: (N, A, C).
        boxes: (N, A, 4).
        image_size: (height, width) that boxes are clipped to.
        score_thresh: what scores less is no detection.
        num_candidates: boxes of an image that go into NMS, the best of all classes.
        nms_thresh: IoU from which the lower of two boxes of a class is dropped.
        num_kept: detections of an image at most.
    """
    boxes, scores, classes, chosen = candidates(
        scores, boxes, image_size=image_size, score_thresh=score_thresh, count=num_candidates
    )
    image, rank = chosen.nonzero(as_tuple=True)
    # Boxes of different classes or images never meet: each such group is moved to a place of its
    # own. In double precision, since the places of many groups are far away.
    group = image * (classes.max() + 1) + classes[image, rank]
    place = group.double() * (max(image_size) + 1)
    moved = boxes[image, rank].double() + place[:, None]
    kept = nms(moved, scores[image, rank].double(), nms_thresh)
    image, rank = image[kept], rank[kept]
    results = []
    for i in range(len(scores)):
        best = rank[image == i][:num_kept]
        results.append(
            Instances(
                image_size,
                pred_boxes=Boxes(boxes[i, best]),
                scores=scores[i, best],
                pred_classes=classes[i, best],
            )
        )
    return results


def candidates(
    scores: torch.Tensor,
    boxes: torch.Tensor,
    *,
    image_size: tuple[int, int],
    score_thresh: float,
    count: int,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """What goes into NMS, from the highest score, in shapes that do not depend on the values.

    Args: see ``detect``.

    Returns:
        Boxes (N, P, 4) within the image, scores and classes (N, P), and bool (N, P), which of them
        score enough and have an area; P is the lesser of count and A * C.
    """
    num_classes = scores.shape[2]
    # They are found among the boxes whose best classes score highest: to sort A numbers and then
    # P * C of them takes less time than to sort A * C.
    chosen = scores.amax(dim=2).topk(min(count, scores.shape[1]), dim=1).indices
    flat = scores.gather(1, chosen[..., None].expand(-1, -1, num_classes)).flatten(1)
    scores, index = flat.topk(min(count, flat.shape[1]), dim=1)
    chosen = chosen.gather(1, index // num_classes)
    height, width = image_size
    boxes = boxes.gather(1, chosen[..., None].expand(-1, -1, 4)).clamp(min=0)
    boxes = boxes.minimum(boxes.new_tensor([width, height, width, height]))
    has_area = (boxes[..., 2:] > boxes[..., :2]).all(dim=2)
    return boxes, scores, index % num_classes, (scores > score_thresh) & has_area
