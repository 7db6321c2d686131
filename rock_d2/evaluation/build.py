"""The evaluators that a config asks for."""

import logging
from collections.abc import Iterator
from pathlib import Path

from detectron2.config import CfgNode
from detectron2.data import MetadataCatalog
from detectron2.evaluation import DatasetEvaluators

from rock_d2.classes import class_names, first_set
from rock_d2.evaluation.boxes import BoxEvaluator, ObjectEvaluator
from rock_d2.evaluation.protocols import protocol_of
from rock_d2.evaluation.task_evaluator import TaskEvaluator, measured_ids
from rock_d2.tasks import Task, build_tasks

logger = logging.getLogger(__name__)


def build_evaluator(cfg: CfgNode, dataset_name: str) -> DatasetEvaluators:
    """Return evaluators of the detector's boxes, masks and keypoints, and one for each task."""
    folder = Path(cfg.OUTPUT_DIR, "inference", dataset_name)
    protocol = protocol_of(cfg, dataset_name)
    logger.info(f"Evaluation by protocol {protocol.on(dataset_name, protocol.images)}")
    evaluators, kinds = [], {"segm": cfg.MODEL.MASK_ON, "keypoints": cfg.MODEL.KEYPOINT_ON}
    if cfg.MODEL.DETECTOR:
        classes = class_names(cfg)
        evaluators.append(
            BoxEvaluator(
                dataset_name, output_dir=str(folder), classes=classes, backend=cfg.TEST.COCO_BACKEND
            )
        )
        evaluators += [
            ObjectEvaluator(
                dataset_name,
                tasks=(kind,),
                output_dir=str(folder / kind),
                classes=classes,
                use_fast_impl=False,
                kpt_oks_sigmas=cfg.TEST.KEYPOINT_OKS_SIGMAS,
            )
            for kind, is_on in kinds.items()
            if is_on
        ]
    for task in measurable(cfg, dataset_name):
        save_dir = folder / task.name if cfg.TEST.SAVE_AUXILIARY else None
        evaluators.append(
            TaskEvaluator(
                task,
                protocol=protocol,
                image_ids=measured_ids(task, dataset_name),
                save_dir=save_dir,
            )
        )
    return DatasetEvaluators(evaluators)


def measurable(cfg: CfgNode, dataset_name: str) -> Iterator[Task]:
    """Yield the tasks whose classes are the data set's; tell which are not."""
    for task in build_tasks(cfg):
        trained_on = MetadataCatalog.get(first_set(cfg, task.name, dataset_name))
        try:
            task.check_metadata(MetadataCatalog.get(dataset_name), trained_on)
        except ValueError as problem:
            logger.warning(f"{task.name} is not measured: {problem}")
        else:
            yield task
