"""Evaluation of boxes: COCO's numbers, those of every class, and VOC's average precision."""

import contextlib
import importlib.util
import io
import itertools
import json
import logging
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.data.datasets.coco import convert_to_coco_dict
from detectron2.evaluation import COCOEvaluator, DatasetEvaluator
from detectron2.structures import BoxMode, Instances
from detectron2.utils import comm
from detectron2.utils.file_io import PathManager
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from rock_d2.classes import places_of, renumbered, thing_classes
from rock_d2.evaluation.voc import voc_average_precisions
from rock_d2.files import atomic_file

logger = logging.getLogger(__name__)

# Libraries that compute COCO's numbers, the faster one first.
BACKENDS = ("hotcoco", "pycocotools")
# COCO's twelve numbers in its order; the first six have Detectron2's names.
STATS = ("AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100", "ARs", "ARm", "ARl")
# COCO's IoUs are 0.5, 0.55, ... 0.95.
IOU_INDEX = {"AP": slice(None), "AP50": slice(0, 1), "AP75": slice(5, 6)}

Detection = Mapping[str, Any]


class BoxEvaluator(DatasetEvaluator):
    """Score boxes by ``score_boxes`` and keep them in coco_instances_results.json.

    Where Detectron2's COCOEvaluator gives NaN for all metrics if nothing at all was detected, this
    gives 0 for all that has ground truth: the classes are there and were not found.
    """

    def __init__(
        self,
        dataset_name: str,
        *,
        output_dir: str,
        classes: Sequence[str] = (),
        backend: str = "auto",
    ):
        """``classes`` are the model's by name, by default the data set's; others do not count."""
        self._backend = choose_backend(backend)
        self._folder = Path(output_dir)
        self._metadata = MetadataCatalog.get(dataset_name)
        self._truth = read_truth(dataset_name, cache_dir=self._folder)
        self._places = places_of(classes, thing_classes(dataset_name))
        self.reset()

    def reset(self) -> None:
        self._found: list[Detection] = []

    def process(
        self, inputs: Sequence[Mapping[str, Any]], outputs: Sequence[Mapping[str, Any]]
    ) -> None:
        for record, output in zip(inputs, outputs, strict=True):
            instances = renumbered(output, self._places)["instances"]
            self._found += coco_detections(instances.to("cpu"), record["image_id"])

    def evaluate(self) -> dict[str, dict[str, float]]:
        parts = comm.gather(self._found)
        if not comm.is_main_process():
            return {}
        found = self._with_category_ids(list(itertools.chain(*parts)))
        file = self._folder / "coco_instances_results.json"
        self._folder.mkdir(parents=True, exist_ok=True)
        with atomic_file(file) as document:
            document.write(json.dumps(found).encode())
        if "annotations" not in self._truth or not known_images(self._truth):
            logger.info(f"{self._metadata.name} has no annotations: boxes are kept in {file}")
            return {}
        logger.info(f"Scoring {len(found)} boxes by {self._backend}")
        return {"bbox": score_boxes(self._truth, found, backend=self._backend)}

    def _with_category_ids(self, found: Sequence[Detection]) -> list[Detection]:
        """Return detections with the data set's category ids in place of the model's classes."""
        numbers = self._metadata.get("thing_dataset_id_to_contiguous_id")
        ids = sorted(numbers, key=numbers.get) if numbers else category_ids(self._truth)
        for detection in found:
            if detection["category_id"] >= len(ids):
                raise ValueError(
                    f"image {detection['image_id']}: class {detection['category_id']} was "
                    f"predicted, but data set `{self._metadata.name}` has {len(ids)}; the model "
                    "needs that many (MODEL.SSD.NUM_CLASSES, MODEL.ROI_HEADS.NUM_CLASSES, ...)"
                )
        return [found_ | {"category_id": ids[found_["category_id"]]} for found_ in found]


class ObjectEvaluator(COCOEvaluator):
    """Detectron2's evaluator, such as of masks, on the images whose objects are known."""

    def __init__(
        self, dataset_name: str, *, output_dir: str, classes: Sequence[str] = (), **settings: Any
    ):
        """``settings`` are those of Detectron2's evaluator, ``classes`` as in BoxEvaluator."""
        truth = read_truth(dataset_name, cache_dir=Path(output_dir))
        self._image_ids = [image["id"] for image in known_images(truth)]
        self._places = places_of(classes, thing_classes(dataset_name))
        super().__init__(dataset_name, output_dir=output_dir, **settings)
        for annotation in self._coco_api.dataset.get("annotations", ()):
            annotation |= completed(annotation)

    def process(self, inputs: Sequence[Any], outputs: Sequence[Mapping[str, Any]]) -> None:
        super().process(inputs, [renumbered(output, self._places) for output in outputs])

    def evaluate(self) -> dict[str, Any]:
        return super().evaluate(img_ids=self._image_ids)


def coco_detections(instances: Instances, image_id: int) -> list[Detection]:
    """Return an image's boxes in COCO's result format, with the model's own class numbers."""
    boxes = BoxMode.convert(instances.pred_boxes.tensor, BoxMode.XYXY_ABS, BoxMode.XYWH_ABS)
    columns = (instances.pred_classes.tolist(), boxes.tolist(), instances.scores.tolist())
    return [
        {"image_id": image_id, "category_id": label, "bbox": box, "score": score}
        for label, box, score in zip(*columns, strict=True)
    ]


def read_truth(dataset_name: str, *, cache_dir: Path) -> dict[str, Any]:
    """Return a data set's COCO document; one that has none gets it from its dataset dicts."""
    metadata = MetadataCatalog.get(dataset_name)
    if not metadata.get("json_file"):
        document, records = convert_to_coco_dict(dataset_name), DatasetCatalog.get(dataset_name)
        for image, record in zip(document["images"], records, strict=True):
            image["boxes_known"] = "annotations" in record
        file = cache_dir / f"{dataset_name}_coco_format.json"
        file.parent.mkdir(parents=True, exist_ok=True)
        with atomic_file(file) as opened:
            opened.write(json.dumps(document).encode())
        metadata.json_file = str(file)
    with PathManager.open(metadata.json_file, "r") as file:
        return json.load(file)


def score_boxes(
    truth: Mapping[str, Any], found: Sequence[Detection], *, backend: str = "auto"
) -> dict[str, float]:
    """Return all metrics of boxes, in percent; NaN where there is no ground truth.

    ``AP`` to ``ARl`` are COCO's twelve numbers and ``VOC50`` is VOC's mean AP at an IoU of 0.5;
    ``AP-<class>``, ``AP50-<class>``, ``AP75-<class>`` and ``VOC50-<class>`` are those of a class.
    ``truth`` is a COCO document, ``found`` has COCO's result format.
    """
    truth, found = prepared(truth, found)
    classes = [item["name"] for item in sorted(truth["categories"], key=lambda item: item["id"])]
    stats, precision = coco_scores(truth, found, backend=backend)
    # The first area range is "all", the last number of detections 100 an image.
    by_class = {
        metric: [_mean_of_known(precision[index, :, k, 0, -1]) for k in range(len(classes))]
        for metric, index in IOU_INDEX.items()
    }
    by_class["VOC50"] = voc_average_precisions(truth, found)
    results = dict(zip(STATS, map(_mean_of_known, stats), strict=True))
    results["VOC50"] = _mean_of_known(np.nan_to_num(by_class["VOC50"], nan=-1.0))
    for metric, values in by_class.items():
        results |= {f"{metric}-{name}": value for name, value in zip(classes, values, strict=True)}
    return {metric: 100 * float(value) for metric, value in results.items()}


def prepared(
    truth: Mapping[str, Any], found: Sequence[Detection]
) -> tuple[Mapping[str, Any], Sequence[Detection]]:
    """Return a document with all that COCO's libraries need, of images whose boxes are known."""
    truth = {**truth, "annotations": [completed(x) for x in truth["annotations"]]}
    return only_known(truth, found)


def completed(annotation: Mapping[str, Any]) -> dict[str, Any]:
    """Return an annotation with the fields that COCO's libraries need and a file may lack."""
    width, height = annotation["bbox"][2:]
    return {"area": width * height, "iscrowd": 0} | annotation


def known_images(truth: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [image for image in truth["images"] if image.get("boxes_known", True)]


def only_known(
    truth: Mapping[str, Any], found: Sequence[Detection]
) -> tuple[Mapping[str, Any], Sequence[Detection]]:
    """Return a document and detections without the images whose boxes are unknown."""
    images, known = truth["images"], known_images(truth)
    if len(known) == len(images):
        return truth, found
    logger.info(f"Boxes: {len(images) - len(known)} of {len(images)} images have unknown ones")
    ids = {image["id"] for image in known}
    return {**truth, "images": known}, [x for x in found if x["image_id"] in ids]


def coco_scores(
    truth: Mapping[str, Any], found: Sequence[Detection], *, backend: str
) -> tuple[np.ndarray, np.ndarray]:
    """Return COCO's twelve numbers and its precision, -1 where there is no ground truth.

    The precision is (10 IoUs, 101 recalls, K classes by id, 4 areas, 3 numbers of detections).
    """
    # Both libraries print their progress; the results have it in fewer lines.
    with contextlib.redirect_stdout(io.StringIO()):
        if choose_backend(backend) == "hotcoco":
            import hotcoco

            objects = hotcoco.COCO(truth)
            evaluation = hotcoco.COCOeval(objects, objects.load_res(list(found)), "bbox")
        else:
            boxes = [
                {**detection, "id": i, "area": detection["bbox"][2] * detection["bbox"][3]}
                for i, detection in enumerate(found, start=1)
            ]
            evaluation = COCOeval(_coco(truth, truth["annotations"]), _coco(truth, boxes), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return np.asarray(evaluation.stats), np.asarray(evaluation.eval["precision"])


def _coco(truth: Mapping[str, Any], boxes: Iterable[Mapping[str, Any]]) -> COCO:
    api = COCO()
    # COCOeval writes into the annotations.
    api.dataset = {**truth, "annotations": [dict(box) for box in boxes]}
    api.createIndex()
    return api


def choose_backend(name: str) -> str:
    """Return the library that TEST.COCO_BACKEND stands for on this machine."""
    installed = [backend for backend in BACKENDS if importlib.util.find_spec(backend)]
    if name not in ("auto", *installed):
        raise ValueError(f"TEST.COCO_BACKEND is {name!r}; take auto or one of {installed}")
    return installed[0] if name == "auto" else name


def category_ids(truth: Mapping[str, Any]) -> list[int]:
    return sorted(category["id"] for category in truth["categories"])


def _mean_of_known(values: np.ndarray | float) -> float:
    """Return COCO's mean: that of all values that are not -1, NaN without any."""
    values = np.asarray(values)
    known = values[values > -1]
    return float(known.mean()) if known.size else float("nan")
