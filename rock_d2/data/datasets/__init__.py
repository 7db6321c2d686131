"""Data sets. Importing this package registers them; a new data set adds one line here."""

from rock_d2.data.datasets import cityscapes, hypersim, nyuv2, pascal, rooms, sunrgbd
from rock_d2.data.datasets.coco import load_multitask_coco, register_multitask_coco
