"""Detectron2's evaluation of boxes, with every class by itself and VOC's average precision."""

import logging
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from detectron2.evaluation import COCOEvaluator
from detectron2.utils import comm

from rock_d2.evaluation.backends import choose_backend, coco_scores
from rock_d2.evaluation.detections import Detections
from rock_d2.evaluation.voc import voc_average_precisions

logger = logging.getLogger(__name__)

# COCO's twelve numbers in its order; the first six have Detectron2's names.
STATS = ("AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100", "ARs", "ARm", "ARl")
# COCO's IoUs are 0.5, 0.55, ... 0.95.
IOU_INDEX = {"AP": slice(None), "AP50": slice(0, 1), "AP75": slice(5, 6)}


class BoxEvaluator(COCOEvaluator):
    """COCOEvaluator with its coco_instances_results.json and the results of ``score_boxes``.

    Boxes stay arrays throughout, so that no Python object is made of each. Where Detectron2 gives
    NaN for all metrics if nothing at all was detected, this gives 0 for all that has ground truth:
    the classes are there and were not found.
    """

    def __init__(self, dataset_name: str, *, output_dir: str, backend: str = "auto"):
        """
        Args:
            dataset_name: a registered data set.
            output_dir: where the predictions are kept.
            backend: see ``coco_scores``.
        """
        self.backend = choose_backend(backend)
        super().__init__(dataset_name, tasks=("bbox",), output_dir=output_dir, use_fast_impl=False)
        odd = [x for x in self._coco_api.getImgIds() if not isinstance(x, int)]
        if odd:
            raise ValueError(
                f"data set `{dataset_name}`: image_id {odd[0]!r} is no whole number, which COCO's "
                "format wants; number the images"
            )

    def process(
        self, inputs: Sequence[Mapping[str, Any]], outputs: Sequence[Mapping[str, Any]]
    ) -> None:
        self._predictions.append(Detections.from_model(inputs, outputs))

    def evaluate(self, img_ids: Iterable[int] | None = None) -> dict[str, dict[str, float]]:
        """Results in the main process, from the predictions of all processes.

        Args:
            img_ids: the images that count; None for all.
        """
        parts = list(chain(*comm.gather(self._predictions)))
        if not parts:
            return {}
        found = self._with_category_ids(Detections.concatenate(parts))
        file = Path(self._output_dir, "coco_instances_results.json")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(found.to_json())
        if not self._do_evaluation:
            logger.info(f"{self._metadata.name} has no annotations: boxes are kept in {file}")
            return {}
        truth = self._coco_api.dataset
        if img_ids is not None:
            chosen = set(img_ids)
            truth = only_images(truth, chosen)
            found = found.choose(np.isin(found.image_id, list(chosen)))
        logger.info(f"Scoring {len(found.score)} boxes by {self.backend}")
        return {"bbox": score_detections(truth, found, backend=self.backend)}

    def _with_category_ids(self, found: Detections) -> Detections:
        """The data set's category ids in place of the model's class numbers."""
        numbers = self._metadata.get("thing_dataset_id_to_contiguous_id")
        ids = sorted(numbers, key=numbers.get) if numbers else sorted(self._coco_api.getCatIds())
        unknown = np.flatnonzero(found.category_id >= len(ids))
        if len(unknown):
            raise ValueError(
                f"image {found.image_id[unknown[0]]}: class {found.category_id[unknown[0]]} was "
                f"predicted, but data set `{self._metadata.name}` has {len(ids)}: set "
                "MODEL.SSD.NUM_CLASSES to that"
            )
        return found._replace(category_id=np.array(ids, np.int64)[found.category_id])


def score_boxes(
    truth: Mapping[str, Any], detections: Sequence[Mapping[str, Any]], *, backend: str = "auto"
) -> dict[str, float]:
    """As ``score_detections``, of detections in COCO's result format."""
    return score_detections(truth, Detections.from_coco(detections), backend=backend)


def score_detections(
    truth: Mapping[str, Any], detections: Detections, *, backend: str = "auto"
) -> dict[str, float]:
    """All metrics of boxes, in percent; NaN where there is no ground truth.

    ``AP`` to ``ARl`` are COCO's twelve numbers and ``VOC50`` is VOC's mean AP at an IoU of 0.5;
    ``AP-<class>``, ``AP50-<class>``, ``AP75-<class>`` and ``VOC50-<class>`` are those of a class.

    Args:
        truth: a COCO instances document.
        detections: with the document's ids.
        backend: see ``coco_scores``.
    """
    truth = with_defaults(truth)
    check_detections(truth, detections)
    names = [item["name"] for item in sorted(truth["categories"], key=lambda item: item["id"])]
    scores = coco_scores(truth, detections, backend=backend)
    # The first area range is "all", the last number of detections 100 an image.
    precision = scores.precision[:, :, :, 0, -1]
    by_class = {
        metric: [_mean_of_known(precision[index, :, k]) for k in range(len(names))]
        for metric, index in IOU_INDEX.items()
    }
    by_class["VOC50"] = list(voc_average_precisions(truth, detections))
    results = dict(zip(STATS, map(_mean_of_known, scores.stats), strict=True))
    results["VOC50"] = _mean_of_known(np.nan_to_num(by_class["VOC50"], nan=-1.0))
    for metric, values in by_class.items():
        results |= {f"{metric}-{name}": value for name, value in zip(names, values, strict=True)}
    return {metric: 100 * float(value) for metric, value in results.items()}


def check_detections(truth: Mapping[str, Any], detections: Detections) -> None:
    """Raises ValueError for what pycocotools would drop or stumble on."""
    for key, items in (("image_id", truth["images"]), ("category_id", truth["categories"])):
        unknown = set(np.unique(getattr(detections, key)).tolist()) - {x["id"] for x in items}
        if unknown:
            raise ValueError(
                f"detections have {key} {min(unknown)}, which the data set does not have"
            )
    finite = np.isfinite(detections.boxes).all(axis=1) & np.isfinite(detections.score)
    if not finite.all():
        wrong = detections.choose(np.flatnonzero(~finite)[:1])
        raise ValueError(f"box or score of {wrong.to_json()} is not finite")


def with_defaults(truth: Mapping[str, Any]) -> dict[str, Any]:
    """A COCO document in which every annotation has the fields that pycocotools needs."""
    annotations = [
        {"area": item["bbox"][2] * item["bbox"][3], "iscrowd": 0} | item
        for item in truth["annotations"]
    ]
    return dict(truth) | {"annotations": annotations}


def only_images(truth: Mapping[str, Any], image_ids: set) -> dict[str, Any]:
    """The part of a COCO document that concerns some images."""
    return dict(truth) | {
        "images": [image for image in truth["images"] if image["id"] in image_ids],
        "annotations": [item for item in truth["annotations"] if item["image_id"] in image_ids],
    }


def _mean_of_known(values: np.ndarray | float) -> float:
    """COCO's mean: that of all values that are not -1, NaN without any."""
    values = np.asarray(values)
    known = values[values > -1]
    return float(known.mean()) if known.size else float("nan")
