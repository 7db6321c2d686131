"""The evaluators that a config asks for."""

from pathlib import Path

from detectron2.config import CfgNode
from detectron2.evaluation import COCOEvaluator, DatasetEvaluators

from rock_d2.tasks import build_tasks


def build_evaluator(cfg: CfgNode, dataset_name: str) -> DatasetEvaluators:
    """Detectron2's evaluation of boxes and one evaluator for each auxiliary task."""
    output_dir = str(Path(cfg.OUTPUT_DIR, "inference", dataset_name))
    boxes = COCOEvaluator(dataset_name, tasks=("bbox",), output_dir=output_dir)
    return DatasetEvaluators([boxes, *(task.evaluator() for task in build_tasks(cfg))])
