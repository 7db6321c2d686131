"""SSD (Liu et al., ECCV 2016), a meta-architecture of Detectron2 without any task or neck."""

from rock_d2.modeling.ssd.anchors import SSDAnchorGenerator
from rock_d2.modeling.ssd.detector import SSD
from rock_d2.modeling.ssd.head import SSD_HEAD_REGISTRY, SSDHead
