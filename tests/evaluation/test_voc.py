"""VOC's average precision: hand-worked, and against Detectron2's, which reads VOC's files."""

from xml.etree import ElementTree

import numpy as np
import pytest
from coco_sets import SQUARE, coco_set
from detectron2.evaluation.pascal_voc_evaluation import voc_eval

from rock_d2.evaluation.voc import voc_average_precisions

FAR = (300, 300, 50, 50)


def test_area_under_the_envelope_by_hand():
    # By score: right, wrong, right; precision 1, 1/2, 2/3 at recall 1/3, 1/3, 2/3.
    truth, found = coco_set(
        [(1, 1, SQUARE), (2, 1, SQUARE), (3, 1, SQUARE), (1, 2, SQUARE)],
        [(2, 1, SQUARE, 0.1), (1, 1, SQUARE, 0.9), (3, 1, FAR, 0.5)],
    )
    ap = voc_average_precisions(truth, found)
    assert ap[0] == pytest.approx(1 / 3 * 1 + 1 / 3 * 2 / 3)
    # Never found; no such object.
    assert ap[1] == 0
    assert np.isnan(ap[2])


def test_a_detection_claims_the_object_that_it_overlaps_most():
    # The second overlaps the first's object by 95 / 105 and the other, free one by 75 / 125.
    truth, found = coco_set(
        [(1, 1, (0, 0, 100, 10)), (1, 1, (30, 0, 100, 10))],
        [(1, 1, (0, 0, 100, 10), 0.9), (1, 1, (5, 0, 100, 10), 0.8)],
    )
    assert voc_average_precisions(truth, found)[0] == pytest.approx(1 / 2)


def test_crowds_need_not_be_found_and_may_be():
    objects = [(1, 1, SQUARE), (2, 1, SQUARE)]
    found = [(1, 1, SQUARE, 0.9), (1, 1, SQUARE, 0.8), (2, 1, SQUARE, 0.7)]
    assert voc_average_precisions(*coco_set(objects, found, crowds=[0]))[0] == 1
    # Without the crowd the second detection is a mistake: 1/2 + 1/2 * 2/3.
    assert voc_average_precisions(*coco_set(objects, found))[0] == pytest.approx(5 / 6)


@pytest.mark.parametrize("seed", range(3))
def test_same_as_detectron2_on_vocs_files(tmp_path, seed):
    rng = np.random.default_rng(seed)
    objects, found = [], []
    scores = rng.permutation(400) / 400
    for image in range(1, 21):
        corner, sides = rng.integers(0, 60, (4, 2)), rng.integers(5, 60, (4, 2))
        boxes = np.hstack([corner, sides])
        objects += [(image, 1, box) for box in boxes[: image % 4]]
        copies = boxes[rng.integers(4, size=20)] + rng.integers(-4, 5, (20, 4))
        found += [(image, 1, box, float(scores[len(found) + i])) for i, box in enumerate(copies)]
    truth, detections = coco_set(objects, found, images=range(1, 21))
    expected = detectron2_voc_ap(tmp_path, truth, detections)
    assert voc_average_precisions(truth, detections)[0] == pytest.approx(expected, abs=1e-12)
    assert 0.1 < expected < 0.95


def detectron2_voc_ap(folder, truth, detections):
    """AP of category 1 through VOC's files, where boxes are x1 y1 x2 y2 with the last pixel."""
    for image in truth["images"]:
        root = ElementTree.Element("annotation")
        for item in truth["annotations"]:
            if item["image_id"] != image["id"]:
                continue
            node = ElementTree.SubElement(root, "object")
            for key, value in (("name", "a"), ("pose", ""), ("truncated", 0), ("difficult", 0)):
                ElementTree.SubElement(node, key).text = str(value)
            box = ElementTree.SubElement(node, "bndbox")
            for key, value in zip(("xmin", "ymin", "xmax", "ymax"), corners(item), strict=True):
                ElementTree.SubElement(box, key).text = str(int(value))
        ElementTree.ElementTree(root).write(folder / f"{image['id']}.xml")
    names = folder / "images.txt"
    names.write_text("\n".join(str(image["id"]) for image in truth["images"]))
    lines = [
        " ".join(map(str, [item["image_id"], item["score"], *corners(item)])) for item in detections
    ]
    (folder / "found_a.txt").write_text("\n".join(lines))
    paths = (str(folder / "found_{}.txt"), str(folder / "{}.xml"), str(names))
    return voc_eval(*paths, "a", ovthresh=0.5)[2]


def corners(item):
    x, y, width, height = item["bbox"]
    return x, y, x + width - 1, y + height - 1
