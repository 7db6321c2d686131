"""Data sets and their way into the model."""

from rock_d2.data.datasets import load_multitask_coco, register_multitask_coco
from rock_d2.data.loader import build_test_loader, build_train_loader
from rock_d2.data.mapper import RockDatasetMapper
