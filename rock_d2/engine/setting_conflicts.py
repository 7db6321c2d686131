"""Settings that can each be as they are, but not together, or of which one does nothing."""

from collections.abc import Iterator

from detectron2.config import CfgNode

from rock_d2.modeling.flat import FlatMTL
from rock_d2.modeling.neck import IdentityNeck
from rock_d2.tasks import build_tasks

# Detectron2's GroupNorm has this many groups.
GROUPS = 32
# They exchange their statistics on GPUs only.
SYNCHRONISED = ("SyncBN", "nnSyncBN")


def conflicts(cfg: CfgNode, num_processes: int) -> Iterator[str]:
    """What is wrong, a line each.

    Args:
        cfg: of a run.
        num_processes: of the training; 0 if the run only evaluates.
    """
    yield from of_the_model(cfg)
    yield from of_the_tasks(cfg)
    if num_processes > 0:
        yield from of_the_processes(cfg, num_processes)
        yield from of_the_evaluations(cfg)
    reference = cfg.SOLVER.REFERENCE_WORLD_SIZE
    if reference and cfg.SOLVER.IMS_PER_BATCH % reference:
        yield (
            f"SOLVER.REFERENCE_WORLD_SIZE is {reference}, of which SOLVER.IMS_PER_BATCH "
            f"{cfg.SOLVER.IMS_PER_BATCH} is no multiple"
        )


def of_the_model(cfg: CfgNode) -> Iterator[str]:
    """Values that no model can have together."""
    resnet = cfg.MODEL.RESNETS
    if cfg.MODEL.BACKBONE.NAME == "build_resnet_backbone" and cfg.MODEL.RESNETS.DEPTH < 50:
        wanted = {"RES2_OUT_CHANNELS": 64, "RES5_DILATION": 1, "NUM_GROUPS": 1}
        wanted["DEFORM_ON_PER_STAGE"] = [False] * 4
        for key, value in wanted.items():
            if resnet[key] != value:
                yield (
                    f"MODEL.RESNETS.{key} is {resnet[key]}; with MODEL.RESNETS.DEPTH "
                    f"{cfg.MODEL.RESNETS.DEPTH} Detectron2's ResNet has {value}"
                )
    for key, (norm, channels, divisor) in normalised(cfg).items():
        if norm == "GN" and any(number % divisor for number in channels):
            yield f"{key} is GN, for which {list(channels)} channels must be multiples of {divisor}"
    if not has_tasks(cfg):
        return
    for task in build_tasks(cfg):
        if task.channels % task.num_outputs:
            key = f"MODEL.ROCK.{task.name.upper()}.CHANNELS"
            yield f"{key} is {task.channels}; it must be a multiple of {task.num_outputs}"


def of_the_tasks(cfg: CfgNode) -> Iterator[str]:
    """What is asked of tasks that the model does not have, or does not predict."""
    neck, switched_off = cfg.MODEL.NECK.NAME, cfg.MODEL.ROCK.FUSION.SWITCHED_OFF
    if switched_off and neck in (IdentityNeck.__name__, FlatMTL.__name__):
        yield (
            f"MODEL.ROCK.FUSION.SWITCHED_OFF is {switched_off}, but MODEL.NECK.NAME {neck} has no "
            "fusion: set it [], or MODEL.NECK.NAME ROCK"
        )
    if cfg.TEST.SAVE_AUXILIARY and not predicts_tasks(cfg):
        yield (
            f"TEST.SAVE_AUXILIARY is True, but MODEL.NECK.NAME {neck} with "
            f"MODEL.ROCK.PREDICT_AUXILIARY {cfg.MODEL.ROCK.PREDICT_AUXILIARY} predicts no task"
        )


def of_the_processes(cfg: CfgNode, num_processes: int) -> Iterator[str]:
    """What a training cannot compute where it is."""
    if cfg.MODEL.DEVICE != "cpu":
        return
    if cfg.SOLVER.AMP.ENABLED and any(cfg.MODEL.RESNETS.DEFORM_ON_PER_STAGE):
        yield (
            "MODEL.RESNETS.DEFORM_ON_PER_STAGE asks for deformable convolutions, which the CPU has "
            "in full precision only: set SOLVER.AMP.ENABLED False"
        )
    for key, (norm, *_) in normalised(cfg).items():
        if num_processes > 1 and norm in SYNCHRONISED:
            yield f"{key} is {norm}, which needs GPUs; on the CPU it must be BN, GN or FrozenBN"


def of_the_evaluations(cfg: CfgNode) -> Iterator[str]:
    """What a training asks of evaluations that do not find it, or that it does not have."""
    patience = cfg.SOLVER.EARLY_STOPPING.PATIENCE
    if patience and not (cfg.DATASETS.TEST and cfg.TEST.EVAL_PERIOD):
        yield (
            f"SOLVER.EARLY_STOPPING.PATIENCE is {patience}, but there is no evaluation on the way: "
            "set TEST.EVAL_PERIOD and DATASETS.TEST, or it 0"
        )
    measured = ["bbox", *(task.name for task in build_tasks(cfg) if predicts_tasks(cfg))]
    if cfg.DATASETS.TEST and str(cfg.TEST.BEST_METRIC).partition("/")[0] not in measured:
        yield (
            f"TEST.BEST_METRIC is {cfg.TEST.BEST_METRIC!r}, which is not measured; it must begin "
            f"with {' or '.join(f'{name}/' for name in measured)}"
        )


def has_tasks(cfg: CfgNode) -> bool:
    return IdentityNeck.__name__ != cfg.MODEL.NECK.NAME


def predicts_tasks(cfg: CfgNode) -> bool:
    return has_tasks(cfg) and cfg.MODEL.ROCK.PREDICT_AUXILIARY


def normalised(cfg: CfgNode) -> dict[str, tuple[str, list[int], int]]:
    """Normalisations by setting, with channels that they see and what GN wants these to divide."""
    resnet, ssd, rock = cfg.MODEL.RESNETS, cfg.MODEL.SSD, cfg.MODEL.ROCK
    widths = [resnet.STEM_OUT_CHANNELS, resnet.RES2_OUT_CHANNELS]
    if cfg.MODEL.RESNETS.DEPTH >= 50:
        widths.append(resnet.NUM_GROUPS * resnet.WIDTH_PER_GROUP)
    found = {
        "MODEL.SSD.NORM": (ssd.NORM, list(ssd.EXTRA_CHANNELS), 2 * GROUPS),
        "MODEL.RESNETS.NORM": (resnet.NORM, widths, GROUPS),
    }
    if has_tasks(cfg):
        found["MODEL.ROCK.NORM"] = (rock.NORM, [rock.WIDTH], GROUPS)
    return found
