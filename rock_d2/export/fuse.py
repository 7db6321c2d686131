"""A trained model as it predicts faster: batch normalisation within convolutions, channels last."""

import copy
from collections import Counter
from collections.abc import Iterator

import torch
from detectron2.config import CfgNode
from detectron2.layers import Conv2d, FrozenBatchNorm2d, NaiveSyncBatchNorm
from timm.layers import BatchNormAct2d, SyncBatchNormAct
from torch import fx, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

from rock_d2.modeling.backbones.timm import FrozenBatchNormAct2d

# Compared as exact types, since subclasses differ. All but the plain ones apply an activation.
PLAIN = (FrozenBatchNorm2d, nn.BatchNorm2d, nn.SyncBatchNorm, NaiveSyncBatchNorm)
BATCH_NORMS = (*PLAIN, BatchNormAct2d, FrozenBatchNormAct2d, SyncBatchNormAct)


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

    The model computes the same to rounding. Layers stay as they are where it is not certain that
    the normalisation, and nothing else, takes the convolution's output.
    """
    num_owners = Counter(child for module in model.modules() for child in module.children())
    for module in list(model.modules()):
        if type(module) is Conv2d and has_statistics(module.norm, PLAIN):
            fold_into(module, module.norm)
            module.norm = None
        for conv, name in list(consecutive_pairs(module)):
            norm = getattr(module, name)
            if num_owners[conv] == num_owners[norm] == 1:
                fold_into(conv, norm)
                rest = [getattr(norm, part) for part in ("drop", "act") if hasattr(norm, part)]
                setattr(module, name, nn.Sequential(*rest))
    return model.to(memory_format=torch.channels_last)


def has_statistics(norm: nn.Module | None, kinds: tuple[type, ...]) -> bool:
    return type(norm) in kinds and norm.running_mean is not None


def fold_into(conv: nn.Conv2d, norm: nn.Module) -> None:
    """Make a normalisation part of the weights of a convolution."""
    values = (conv.weight, conv.bias, norm.running_mean, norm.running_var)
    weight, bias, mean, variance = (v if v is None else v.double() for v in values)
    scale, shift = (v if v is None else v.double() for v in (norm.weight, norm.bias))
    fused = fuse_conv_bn_weights(weight, bias, mean, variance, norm.eps, scale, shift)
    weight, bias = (x.to(conv.weight.dtype) for x in fused)
    conv.weight, conv.bias = nn.Parameter(weight, False), nn.Parameter(bias, False)


class _Tracer(fx.Tracer):
    """Takes convolutions and normalisations of all libraries as wholes."""

    def is_leaf_module(self, module: nn.Module, name: str) -> bool:
        is_whole = isinstance(module, (nn.Conv2d, *BATCH_NORMS))
        return is_whole or super().is_leaf_module(module, name)


def consecutive_pairs(module: nn.Module) -> Iterator[tuple[nn.Module, str]]:
    """Yield convolutions with the name of the child that alone takes and normalises their output.

    A module whose control flow torch.fx cannot trace has none.
    """
    norms = {name for name, x in module.named_children() if has_statistics(x, BATCH_NORMS)}
    if not norms:
        return
    try:
        nodes = _Tracer().trace(module).nodes
    except Exception:  # Anything that a forward does may fail on torch.fx's symbols.
        return
    calls = Counter(node.target for node in nodes if node.op == "call_module")
    for node in nodes:
        if node.op == "call_module" and node.target in norms:
            source, *_ = node.all_input_nodes
            once = calls[source.target] == calls[node.target] == len(source.users) == 1
            conv = module.get_submodule(source.target) if source.op == "call_module" else None
            if once and type(conv) is nn.Conv2d:
                yield conv, node.target
