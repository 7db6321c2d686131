"""ROCK as in the paper: rock_nyuv2.yaml with the network as a tree of Python calls.

python tools/train_net.py --config-file configs/lazy/rock_nyuv2.py
... MODEL.LAZY.OVERRIDES '["neck.width=256"]'
"""

from detectron2.config import LazyCall as L
from detectron2.layers import ShapeSpec
from detectron2.modeling.backbone import BasicStem, BottleneckBlock, ResNet

from rock_d2.modeling.lazy import make_tasks
from rock_d2.modeling.multi_task import MultiTask
from rock_d2.modeling.necks import ROCK
from rock_d2.modeling.ssd import SSD, SSDAnchorGenerator, SSDHead

# Data, training and evaluation.
settings = "rock_nyuv2.yaml"


def stage(*, width, num_blocks, stride, in_channels, dilation=1):
    return L(ResNet.make_stage)(
        block_class=BottleneckBlock,
        num_blocks=num_blocks,
        stride_per_block=[stride] + [1] * (num_blocks - 1),
        in_channels=in_channels,
        bottleneck_channels=width,
        out_channels=4 * width,
        dilation=dilation,
        stride_in_1x1=True,
        norm="FrozenBN",
    )


resnet50 = L(ResNet)(
    stem=L(BasicStem)(in_channels=3, out_channels=64, norm="FrozenBN"),
    stages=[
        stage(width=64, num_blocks=3, stride=1, in_channels=64),
        stage(width=128, num_blocks=4, stride=2, in_channels=256),
        stage(width=256, num_blocks=6, stride=2, in_channels=512),
        stage(width=512, num_blocks=3, stride=1, in_channels=1024, dilation=2),
    ],
    out_features=["res5"],
)
shapes = L("builtins.dict")(res5=L(ShapeSpec)(channels=2048, stride=16))
image_size = [480, 640]

model = L(MultiTask)(
    detector=L(SSD)(
        backbone=resnet50,
        head=L(SSDHead)(
            input_shape=shapes,
            in_features=["res5"],
            image_size=image_size,
            extra_channels=[512, 256, 256, 256, 256, 256],
            norm="BN",
            anchor_generator=L(SSDAnchorGenerator)(
                image_size=image_size,
                num_maps=7,
                scales=[0.07, 0.15, 0.9],
                aspect_ratios=[2.0, 3.0],
            ),
            num_classes=19,
            prior_prob=0.01,
        ),
        iou_thresholds=[0.4, 0.5],
        box_weights=[10.0, 10.0, 5.0, 5.0],
        neg_pos_ratio=3.0,
        smooth_l1_beta=1.0,
        cls_loss_weight=1.0,
        box_reg_loss_weight=3.0,
        score_thresh=0.01,
        topk_candidates=400,
        nms_thresh=0.3,
        max_detections_per_image=100,
        pixel_mean=[103.53, 116.28, 123.675],
        pixel_std=[1.0, 1.0, 1.0],
    ),
    neck=L(ROCK)(
        tasks=L(make_tasks)(Scene={}, Depth={}, Normals={}),
        input_shape=shapes,
        in_features=["res5"],
        shared_trunk=False,
        width=512,
        norm="BN",
        fusion="SumFusion",
    ),
    neck_at="backbone",
)
