"""COCO's box evaluation by whichever library is installed; all of them give the same numbers."""

import contextlib
import importlib.util
import io
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from rock_d2.evaluation.detections import Detections


class CocoScores(NamedTuple):
    """What COCO's protocol gives, -1 where there is no ground truth.

    Attributes:
        stats: its twelve numbers, in its order.
        precision: (10 IoUs, 101 recalls, K classes by id, 4 areas, 3 numbers of detections).
    """

    stats: np.ndarray
    precision: np.ndarray


def coco_scores(truth: dict[str, Any], detections: Detections, *, backend: str) -> CocoScores:
    """Scores boxes by COCO's protocol.

    Args:
        truth: a COCO instances document; neither argument is changed.
        detections: with the document's ids.
        backend: a name in BACKENDS, or "auto" for the fastest that is installed.
    """
    evaluation = BACKENDS[choose_backend(backend)](truth, detections)
    # All of them print their summary; the report says the same in fewer lines.
    with contextlib.redirect_stdout(io.StringIO()):
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return CocoScores(np.asarray(evaluation.stats), np.asarray(evaluation.eval["precision"]))


def choose_backend(name: str) -> str:
    """The backend that TEST.COCO_BACKEND means here."""
    installed = [backend for backend in BACKENDS if importlib.util.find_spec(backend)]
    if name == "auto":
        return installed[0]
    if name not in BACKENDS:
        known = ", ".join(BACKENDS)
        raise ValueError(f"TEST.COCO_BACKEND is {name!r}; it must be auto or one of: {known}")
    if name not in installed:
        raise ValueError(f"TEST.COCO_BACKEND: {name} is not installed; pip install {name}")
    return name


def _hotcoco(truth: dict[str, Any], detections: Detections) -> Any:
    import hotcoco

    document = hotcoco.COCO(truth)
    # The columns of pycocotools' loadRes; ids are exact up to 2^53.
    table = np.column_stack(
        [detections.image_id, detections.boxes, detections.score, detections.category_id]
    )
    return hotcoco.COCOeval(document, document.load_res(table), "bbox")


def _pycocotools(truth: dict[str, Any], detections: Detections) -> COCOeval:
    # It writes into annotations. Its loadRes cannot read an empty table, so this does its work.
    columns = (column.tolist() for column in detections)
    found = [
        {"id": i, "image_id": image, "category_id": category, "bbox": box, "score": score}
        | {"area": box[2] * box[3]}
        for i, (image, category, box, score) in enumerate(zip(*columns, strict=True), start=1)
    ]
    objects = [dict(annotation) for annotation in truth["annotations"]]
    return COCOeval(_coco(truth, objects), _coco(truth, found), "bbox")


def _coco(truth: dict[str, Any], annotations: list[dict[str, Any]]) -> COCO:
    api = COCO()
    api.dataset = {
        "images": truth["images"],
        "categories": truth["categories"],
        "annotations": annotations,
    }
    with contextlib.redirect_stdout(io.StringIO()):
        api.createIndex()
    return api


# Each makes an object of pycocotools' interface. The fastest comes first.
BACKENDS: dict[str, Callable] = {"hotcoco": _hotcoco, "pycocotools": _pycocotools}
