"""VOC's average precision: hand-worked, and against Detectron2's, which reads VOC's files."""

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
    # The second class is never found; of the third there is no object.
    expected = [1 / 3 * 1 + 1 / 3 * 2 / 3, 0, np.nan]
    assert voc_average_precisions(truth, found) == pytest.approx(expected, nan_ok=True)


OBJECT = """<object><name>a</name><pose/><truncated>0</truncated><difficult>0</difficult><bndbox>
<xmin>{}</xmin><ymin>{}</ymin><xmax>{}</xmax><ymax>{}</ymax></bndbox></object>"""


@pytest.mark.parametrize("seed", range(3))
def test_same_as_detectron2_on_vocs_files(tmp_path, seed):
    rng = np.random.default_rng(seed)
    objects, found, lines = [], [], []
    scores = rng.permutation(400) / 400
    for image in range(1, 21):
        boxes = np.hstack([rng.integers(0, 60, (4, 2)), rng.integers(5, 60, (4, 2))])
        mine = boxes[: image % 4]
        objects += [(image, 1, box) for box in mine]
        copies = boxes[rng.integers(4, size=20)] + rng.integers(-4, 5, (20, 4))
        found += [(image, 1, box, float(scores[len(found) + i])) for i, box in enumerate(copies)]
        # VOC's boxes are x1 y1 x2 y2 with the last pixel.
        content = "".join(OBJECT.format(x, y, x + w - 1, y + h - 1) for x, y, w, h in mine)
        (tmp_path / f"{image}.xml").write_text(f"<annotation>{content}</annotation>")
    for image, _, (x, y, w, h), score in found:
        lines.append(f"{image} {score} {x} {y} {x + w - 1} {y + h - 1}")
    (tmp_path / "found_a.txt").write_text("\n".join(lines))
    (tmp_path / "images.txt").write_text("\n".join(map(str, range(1, 21))))
    paths = [str(tmp_path / name) for name in ("found_{}.txt", "{}.xml", "images.txt")]
    expected = voc_eval(*paths, "a", ovthresh=0.5)[2]
    ours = voc_average_precisions(*coco_set(objects, found, images=range(1, 21)))[0]
    assert ours == pytest.approx(expected, abs=1e-12)
    assert 0.1 < expected < 0.95


def test_a_crowd_need_not_be_found_and_finding_it_is_no_mistake():
    truth = [(1, 1, SQUARE), (2, 1, SQUARE)]
    found = [(1, 1, SQUARE, 0.9), (1, 1, SQUARE, 0.8), (2, 1, SQUARE, 0.7)]
    assert voc_average_precisions(*coco_set(truth, found, crowds=(0,)))[0] == 1
