"""Data sets and what happens to them before the model."""

from rock_d2.data.loader import build_test_loader, build_train_loader
from rock_d2.data.mapper import RockDatasetMapper
from rock_d2.data.datasets import load_multitask_coco, register_multitask_coco

__all__ = [
    "RockDatasetMapper",
    "build_test_loader",
    "build_train_loader",
    "load_multitask_coco",
    "register_multitask_coco",
]
