"""Batch normalisation of a single value: told before a training starts, not in its first step."""

import torch
from detectron2.config import CfgNode
from detectron2.modeling import META_ARCH_REGISTRY, build_model
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from rock_d2.modeling.ssd import SSD

# Which setting normalises which part of the model.
SETTINGS = {
    "backbone": "MODEL.RESNETS.NORM",
    "neck": "MODEL.ROCK.NORM",
    "head": "MODEL.SSD.NORM",
}


def check_batch_norm(cfg: CfgNode, num_processes: int) -> None:
    """Raises ValueError if the training would normalise one image's map of one cell.

    PyTorch refuses that, since the deviation of one value is 0. A model without values, which
    takes no time, is shown an image to see the maps.
    """
    if not issubclass(META_ARCH_REGISTRY.get(cfg.MODEL.META_ARCHITECTURE), SSD):
        return
    parts = num_processes * cfg.SOLVER.ACCUMULATE
    if parts != cfg.SOLVER.IMS_PER_BATCH:
        return
    cfg = cfg.clone()
    cfg.defrost()
    cfg.MODEL.DEVICE = "meta"
    for key in ("RESNETS", "ROCK", "SSD"):
        if "SyncBN" in cfg.MODEL[key].NORM:
            # Its kinds see the images of all processes, and need GPUs even to look at shapes.
            cfg.MODEL[key].NORM = "BN" if num_processes == 1 else "FrozenBN"
    with torch.device("meta"), torch.no_grad():
        model = build_model(cfg).train()
        names = single_values(model, torch.zeros((1, 3, *cfg.INPUT.SIZE), dtype=torch.uint8))
    if names:
        key = SETTINGS[names[0].partition(".")[0]]
        raise ValueError(
            f"{key} cannot be BN here: SOLVER.IMS_PER_BATCH {cfg.SOLVER.IMS_PER_BATCH} on "
            f"{num_processes} process(es) with SOLVER.ACCUMULATE {cfg.SOLVER.ACCUMULATE} is one "
            f"image at a time, of which {names[0]} sees one cell. Raise SOLVER.IMS_PER_BATCH, or "
            f"set {key} GN or FrozenBN"
        )


def single_values(model: SSD, images: torch.Tensor) -> list[str]:
    """The layers of batch normalisation that see one value a channel, by their names."""
    found: list[str] = []
    names = {module: name for name, module in model.named_modules()}

    def look(module: nn.Module, inputs: tuple[torch.Tensor]) -> None:
        if inputs[0].numel() == inputs[0].shape[1]:
            found.append(names[module])
            module.eval()

    for module in names:
        if isinstance(module, _BatchNorm):
            module.register_forward_pre_hook(look)
    model.predict(images)
    return found
