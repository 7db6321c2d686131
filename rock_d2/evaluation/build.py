"""The evaluators that a config asks for."""

from pathlib import Path

from detectron2.config import CfgNode
from detectron2.evaluation import DatasetEvaluators

from rock_d2.evaluation.boxes import BoxEvaluator
from rock_d2.tasks import build_tasks


def build_evaluator(cfg: CfgNode, dataset_name: str) -> DatasetEvaluators:
    """Detectron2's evaluation of boxes and one evaluator for each auxiliary task."""
    folder = Path(cfg.OUTPUT_DIR, "inference", dataset_name)
    boxes = BoxEvaluator(dataset_name, output_dir=str(folder), backend=cfg.TEST.COCO_BACKEND)
    tasks = [
        task.evaluator(
            crop=cfg.TEST.EVAL_CROP,
            save_dir=folder / task.name if cfg.TEST.SAVE_AUXILIARY else None,
        )
        for task in build_tasks(cfg)
    ]
    return DatasetEvaluators([boxes, *tasks])
