"""Settings that have the right type and make no sense are named before anything starts."""

import re
from fnmatch import fnmatch

import pytest
import torch

from rock_d2 import model_zoo
from rock_d2.engine.run_log import flat_settings
from rock_d2.engine.setting_rules import RULES, check_values
from rock_d2.engine.setup import check_config

NAMES = sorted(
    str(file.relative_to(model_zoo.CONFIGS)) for file in model_zoo.CONFIGS.rglob("*.yaml")
)


@pytest.mark.parametrize("name", NAMES)
def test_every_config_of_the_project_obeys_the_rules(name):
    check_values(model_zoo.get_config(name), num_processes=1)


def test_every_rule_has_a_setting():
    keys = [key for key, _ in flat_settings(model_zoo.get_config("rock_nyuv2.yaml"))]
    idle = [pattern for pattern in RULES if not any(fnmatch(key, pattern) for key in keys)]
    assert idle == []


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (("MODEL.RESNETS.DEPTH", 7), "RESNETS.DEPTH is 7; it must be one of 18, 34, 50, 101, 152"),
        (
            ("MODEL.RESNETS.DEPTH", 18),
            "RES2_OUT_CHANNELS is 256; with MODEL.RESNETS.DEPTH 18 .* 64",
        ),
        (("MODEL.RESNETS.NORM", "XN"), "MODEL.RESNETS.NORM is 'XN'; it must be a name that"),
        (("MODEL.NECK.NAME", "Rock"), "MODEL.NECK.NAME is 'Rock'; .*IdentityNeck"),
        (("MODEL.PIXEL_STD", [1.0, 0.0, 1.0]), "PIXEL_STD .* must be 3 values, each above 0"),
        (("MODEL.SSD.SCALES", [0.9, 0.15, 0.07]), "SCALES .* above 0, in ascending order"),
        (("MODEL.SSD.SCALES", [0.07, float("nan"), 0.9]), "SCALES .* 3 values"),
        (("MODEL.SSD.IOU_THRESHOLDS", [0.5, 0.4]), "IOU_THRESHOLDS .* 2 values, each from 0 to 1"),
        (("MODEL.SSD.EXTRA_CHANNELS", [64, -1]), r"EXTRA_CHANNELS is \[64, -1\]"),
        (("MODEL.SSD.EXTRA_CHANNELS", ["a"]), "EXTRA_CHANNELS is .* each 2 or more"),
        (("MODEL.SSD.NORM", "GN", "MODEL.SSD.EXTRA_CHANNELS", [96]), "SSD.NORM is GN.*of 64"),
        (("MODEL.ROCK.NORMALS.CHANNELS", 100), "NORMALS.CHANNELS is 100; .* multiple of 3"),
        (("MODEL.ROCK.DEPTH.LOSS_WEIGHT", float("inf")), "DEPTH.LOSS_WEIGHT is inf; .* 0 or more"),
        (("INPUT.SIZE", [-480, 640]), r"INPUT.SIZE is \[-480, 640\]; it must be 2 values, each 16"),
        (("SOLVER.CHECKPOINT_PERIOD", 0), "SOLVER.CHECKPOINT_PERIOD is 0; it must be 1 or more"),
        (("SOLVER.STEPS", (300, 200)), "SOLVER.STEPS .* in ascending order"),
        (("SOLVER.LR_SCHEDULER_NAME", "min"), "LR_SCHEDULER_NAME is 'min'; .* 'WarmupCosineLR'"),
        (("SOLVER.REFERENCE_WORLD_SIZE", 3), "REFERENCE_WORLD_SIZE is 3, of which .*IMS_PER_BATCH"),
        (("DATALOADER.NUM_WORKERS", -1), "DATALOADER.NUM_WORKERS is -1; it must be 0 or more"),
        (("MODEL.DEVICE", "gpu"), "MODEL.DEVICE is 'gpu'; it must be cpu, cuda or cuda:N"),
        # What Detectron2's own trainer would heed is not passed over in silence.
        (("TEST.PRECISE_BN.ENABLED", True), "PRECISE_BN.ENABLED is True; it must be False here: "),
        (("DATALOADER.SAMPLER_TRAIN", "RepeatFactorTrainingSampler"), "be 'TrainingSampler' here"),
        (("INPUT.MIN_SIZE_TEST", 600), "MIN_SIZE_TEST is 600; .* here: INPUT.SIZE"),
        (("INPUT.MAX_SIZE_TRAIN", 640), "MAX_SIZE_TRAIN is 640; .* here: INPUT.SIZE"),
        (("TEST.EVAL_CROP", "eigan"), "EVAL_CROP is 'eigan'; .* 'none', 'eigen', 'toolbox'"),
        (("TEST.COCO_BACKEND", "coco"), "COCO_BACKEND is 'coco'; it must be auto or one of"),
        (("TEST.BEST_METRIC", "box/AP50"), "BEST_METRIC is 'box/AP50'.* bbox/ or scene/ or depth/"),
        (
            ("TEST.BEST_METRIC", "depth/rmse", "MODEL.ROCK.PREDICT_AUXILIARY", False),
            "BEST_METRIC is 'depth/rmse', which is not measured; it must begin with bbox/",
        ),
        # What would do nothing is not passed over in silence.
        (("SOLVER.EARLY_STOPPING.PATIENCE", 3), "PATIENCE is 3, but .* set TEST.EVAL_PERIOD"),
        (
            ("MODEL.ROCK.PREDICT_AUXILIARY", False, "TEST.SAVE_AUXILIARY", True),
            "SAVE_AUXILIARY is True, but .*PREDICT_AUXILIARY False predicts no task",
        ),
        (
            ("MODEL.NECK.NAME", "FlatMTL", "MODEL.ROCK.FUSION.SWITCHED_OFF", ["Depth"]),
            "SWITCHED_OFF is .* but MODEL.NECK.NAME FlatMTL has no fusion",
        ),
        (("SEED", 2**31), "SEED is 2147483648; it must be below 2147483648"),
        (
            ("MODEL.RESNETS.NORM", "GN", "MODEL.RESNETS.WIDTH_PER_GROUP", 48),
            r"RESNETS.NORM is GN, for which \[64, 256, 48\]",
        ),
    ],
)
def test_setting_without_sense_is_named_with_what_it_must_be(settings, message):
    cfg = model_zoo.get_config("rock_nyuv2.yaml")
    cfg.merge_from_list(["MODEL.DEVICE", "cpu", *settings])
    with pytest.raises(ValueError, match=message) as refused:
        check_config(cfg)
    assert re.fullmatch(r"[A-Z_]+(\.[A-Z0-9_]+)* (is|asks) .*", str(refused.value))


@pytest.mark.parametrize(
    ("settings", "num_processes"),
    [
        # Training them on a CPU would need GPUs, or full precision; evaluating does not.
        (("MODEL.ROCK.NORM", "SyncBN"), 0),
        (("MODEL.ROCK.NORM", "SyncBN"), 1),
        (("MODEL.RESNETS.DEFORM_ON_PER_STAGE", [True] * 4, "SOLVER.AMP.ENABLED", True), 0),
        # There is no ROCK, whatever its settings say.
        (("MODEL.NECK.NAME", "IdentityNeck", "MODEL.ROCK.NORM", "GN", "MODEL.ROCK.WIDTH", 100), 1),
        (("SOLVER.WEIGHT_DECAY_NORM", None), 1),
        (("MODEL.BACKBONE.FREEZE_AT", -1, "MODEL.RESNETS.NORM", "naiveSyncBN"), 1),
        (("INPUT.RANDOM_FLIP", "vertical"), 1),
        # An evaluation compares with no other, and stops nothing.
        (("TEST.BEST_METRIC", "mine/score", "SOLVER.EARLY_STOPPING.PATIENCE", 3), 0),
    ],
)
def test_what_detectron2_takes_is_not_refused(settings, num_processes):
    cfg = model_zoo.get_config("rock_nyuv2.yaml")
    cfg.merge_from_list(["MODEL.DEVICE", "cpu", *settings])
    check_config(cfg, num_processes)


def test_gpu_that_is_not_there_is_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    cfg = model_zoo.get_config("rock_nyuv2.yaml")
    for device in ("cuda", "cuda:1"):
        cfg.MODEL.DEVICE = device
        check_config(cfg)
    cfg.MODEL.DEVICE = "cuda:2"
    with pytest.raises(ValueError, match=r"MODEL.DEVICE is cuda:2, but PyTorch sees 2 GPU"):
        check_config(cfg)


def test_several_processes_on_a_cpu_cannot_synchronise_normalisations():
    cfg = model_zoo.get_config("rock_nyuv2.yaml")
    cfg.merge_from_list(["MODEL.DEVICE", "cpu", "MODEL.ROCK.NORM", "SyncBN"])
    with pytest.raises(ValueError, match=r"MODEL.ROCK.NORM is SyncBN, which needs GPUs"):
        check_config(cfg, 2)
