"""A trained model as it predicts faster: batch normalisation within convolutions, channels last."""

import copy

import torch
from detectron2.config import CfgNode
from detectron2.layers import Conv2d, FrozenBatchNorm2d, NaiveSyncBatchNorm
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

BATCH_NORMS = (FrozenBatchNorm2d, nn.BatchNorm2d, nn.SyncBatchNorm, NaiveSyncBatchNorm)


def inference_copy(model: nn.Module, cfg: CfgNode) -> nn.Module:
    """Return the copy of a model that TEST.FOLD and TEST.COMPILE ask for, or else the model itself.

    Args:
        model: a MultiTask, perhaps inside DistributedDataParallel; it stays as it is.
        cfg: its config.
    """
    if not (cfg.TEST.FOLD or cfg.TEST.COMPILE):
        return model
    copied = copy.deepcopy(getattr(model, "module", model)).eval().requires_grad_(False)
    if cfg.TEST.FOLD:
        fold(copied)
    if cfg.TEST.COMPILE:
        copied.backbone.compile(mode=cfg.TEST.COMPILE)
    return copied


@torch.no_grad()
def fold(model: nn.Module) -> nn.Module:
    """Fold batch normalisation into convolutions, in place and for inference only.

    The model computes the same to rounding. Convolutions are Detectron2's with their ``norm``;
    other layers stay as they are.
    """
    for conv in model.modules():
        norm = conv.norm if type(conv) is Conv2d else None
        # Compared as exact types, since subclasses may differ.
        if type(norm) in BATCH_NORMS and norm.running_mean is not None:
            fold_into(conv, norm)
            conv.norm = None
    return model.to(memory_format=torch.channels_last)


def fold_into(conv: nn.Conv2d, norm: nn.Module) -> None:
    """Make a normalisation part of the weights of a convolution."""
    values = (conv.weight, conv.bias, norm.running_mean, norm.running_var)
    weight, bias, mean, variance = (v if v is None else v.double() for v in values)
    scale, shift = (v if v is None else v.double() for v in (norm.weight, norm.bias))
    fused = fuse_conv_bn_weights(weight, bias, mean, variance, norm.eps, scale, shift)
    weight, bias = (x.to(conv.weight.dtype) for x in fused)
    conv.weight, conv.bias = nn.Parameter(weight, False), nn.Parameter(bias, False)
