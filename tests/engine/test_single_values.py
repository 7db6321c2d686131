"""Batch normalisation of one value: refused at the start, and only where PyTorch refuses it."""

import pytest
import torch
from detectron2.modeling import build_model

from rock_d2 import model_zoo
from rock_d2.engine.single_values import check_batch_norm


def config(*settings: object):
    cfg = model_zoo.get_config("rock_rooms.yaml")
    cfg.merge_from_list(["MODEL.DEVICE", "cpu", "INPUT.SIZE", [48, 64], *settings])
    return cfg


@pytest.mark.parametrize(
    ("settings", "processes", "key"),
    [
        (("SOLVER.IMS_PER_BATCH", 1), 1, "MODEL.SSD.NORM cannot be BN.*head.extra_layers"),
        (
            ("SOLVER.IMS_PER_BATCH", 2),
            2,
            "MODEL.SSD.NORM.*IMS_PER_BATCH 2 on 2 process.* is one image",
        ),
        (("SOLVER.IMS_PER_BATCH", 4, "SOLVER.ACCUMULATE", 4), 1, "SOLVER.ACCUMULATE 4"),
        (("SOLVER.IMS_PER_BATCH", 1, "MODEL.SSD.NORM", "SyncBN"), 1, "MODEL.SSD.NORM"),
        (("SOLVER.IMS_PER_BATCH", 2), 1, ""),
        (("SOLVER.IMS_PER_BATCH", 4, "SOLVER.ACCUMULATE", 2), 1, ""),
        (("SOLVER.IMS_PER_BATCH", 2, "MODEL.SSD.NORM", "SyncBN"), 2, ""),
        (("SOLVER.IMS_PER_BATCH", 2, "MODEL.SSD.NORM", "nnSyncBN"), 2, ""),
        (("SOLVER.IMS_PER_BATCH", 2, "MODEL.SSD.NORM", "naiveSyncBN"), 2, ""),
        (("SOLVER.IMS_PER_BATCH", 1, "MODEL.SSD.NORM", "GN"), 1, ""),
        (("SOLVER.IMS_PER_BATCH", 1, "MODEL.SSD.NORM", "FrozenBN"), 1, ""),
        # It ends with maps of 3 x 4 cells.
        (("SOLVER.IMS_PER_BATCH", 1, "MODEL.SSD.EXTRA_CHANNELS", [64]), 1, ""),
    ],
)
def test_one_cell_of_one_image_is_refused_with_its_setting(settings, processes, key):
    cfg = config("MODEL.SSD.NORM", "BN", *settings)
    if key:
        with pytest.raises(ValueError, match=key):
            check_batch_norm(cfg, processes)
    else:
        check_batch_norm(cfg, processes)


def test_pytorch_refuses_what_is_refused():
    model = build_model(config("MODEL.SSD.NORM", "BN")).train()
    images = torch.zeros((2, 3, 48, 64), dtype=torch.uint8)
    model.predict(images)
    with pytest.raises(ValueError, match="more than 1 value per channel"):
        model.predict(images[:1])
