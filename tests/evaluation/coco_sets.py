"""Ground truth and detections in COCO's formats, made up."""

from collections.abc import Sequence

import numpy as np

Box = Sequence[float]
CocoSet = tuple[dict, list[dict]]

SQUARE = (0, 0, 100, 100)


def coco_set(
    objects: Sequence[tuple[int, int, Box]],
    found: Sequence[tuple[int, int, Box, float]],
    *,
    images: Sequence[int] = (1, 2, 3),
    categories: Sequence[int] = (1, 2, 3),
    crowds: Sequence[int] = (),
) -> CocoSet:
    """A document and detections from (image, category, x y w h) and the same with a score.

    ``crowds`` has the places of objects that are crowds. Categories 1, 2, 3 are called a, b, c.
    """
    annotations = [
        {
            "id": number,
            "image_id": image,
            "category_id": category,
            "bbox": list(map(float, box)),
            "area": float(box[2] * box[3]),
            "iscrowd": int(number - 1 in crowds),
        }
        for number, (image, category, box) in enumerate(objects, start=1)
    ]
    sizes = {"height": 480, "width": 640}
    document = {
        "images": [{"id": image, "file_name": f"{image}.png", **sizes} for image in images],
        "categories": [{"id": k, "name": chr(ord("a") + k - 1)} for k in categories],
        "annotations": annotations,
    }
    detections = [
        {"image_id": image, "category_id": category, "bbox": list(map(float, box)), "score": score}
        for image, category, box, score in found
    ]
    return document, detections


def random_set(seed: int, *, num_images: int = 20, num_found: int = 30) -> CocoSet:
    """Objects of all sizes, crowds among them, and noisy copies of them; scores repeat."""
    rng = np.random.default_rng(seed)
    objects, found = [], []
    for image in range(1, num_images + 1):
        # One image in four has no object.
        sides = np.exp(rng.uniform(np.log(4), np.log(300), (rng.integers(1, 9), 2)))
        boxes = np.hstack([rng.uniform(0, 200, sides.shape), sides])
        names = rng.integers(1, 20, len(boxes))
        if image % 4:
            objects += [(image, int(k), b) for k, b in zip(names, boxes, strict=True)]
        for i in rng.integers(len(boxes), size=num_found):
            noisy = boxes[i] + rng.normal(0, 0.05, 4) * np.tile(sides[i], 2)
            name = names[i] if rng.random() < 0.8 else rng.integers(1, 20)
            found.append((image, int(name), noisy, round(rng.random(), 2)))
    crowds = rng.choice(len(objects), len(objects) // 20, replace=False)
    images = range(1, num_images + 1)
    return coco_set(objects, found, images=images, categories=range(1, 22), crowds=crowds)
