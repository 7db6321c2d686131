"""Networks. Importing this package registers them with Detectron2."""

from rock_d2.modeling import backbones, fcos, lazy, no_detector, rock_pytorch, ssd
from rock_d2.modeling.multi_task import MultiTask
