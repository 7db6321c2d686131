"""A trained model as it predicts fastest: the same function to rounding, of fewer operations."""

import copy
import operator
from collections.abc import Mapping

import torch
from detectron2.config import CfgNode
from detectron2.layers import Conv2d, FrozenBatchNorm2d
from detectron2.modeling.meta_arch.dense_detector import permute_to_N_HWA_K
from detectron2.structures import Boxes
from torch import nn
from torch.nn import functional as F
from torch.nn.utils.fusion import fuse_conv_bn_weights

from rock_d2.engine.compilation import compile_network
from rock_d2.engine.fast_convolutions import fast_convolution, is_traced
from rock_d2.freed_memory import KEPT_BYTES
from rock_d2.modeling.fusions.fusion import DecoderFusion, ProductFusion, SumFusion
from rock_d2.modeling.necks.rock import ROCK
from rock_d2.modeling.ssd.detector import SSD
from rock_d2.modeling.ssd.head import SSDHead

BATCH_NORMS = (FrozenBatchNorm2d, nn.BatchNorm2d, nn.SyncBatchNorm)
# Of a ResNet's largest maps, in fp32: 64 channels of half an image's sides or 256 of a quarter's.
BYTES_PER_PIXEL = 64


def inference_copy(model: nn.Module, cfg: CfgNode) -> nn.Module:
    """What TEST.FOLD and TEST.COMPILE make of a model, which itself stays as it is.

    Args:
        model: an SSD, perhaps inside DistributedDataParallel.
        cfg: its config.
    """
    if not (cfg.TEST.FOLD or cfg.TEST.COMPILE):
        return model
    copied = copy.deepcopy(getattr(model, "module", model)).eval().requires_grad_(False)
    if cfg.TEST.FOLD:
        fold(copied)
    if cfg.TEST.COMPILE:
        compile_network(copied)
    return copied


@torch.no_grad()
def fold(model: nn.Module) -> nn.Module:
    """Simplifies an SSD in place, for inference only; returns it."""
    for module in list(model.modules()):
        if isinstance(module, Conv2d):
            fold_batch_norm(module)
            if module.activation is F.relu:
                module.activation = F.relu_
        elif isinstance(module, ROCK):
            if not module.predict_auxiliary:
                merge_encoders(module)
            if type(module.fusion) in IN_PLACE:
                module.fusion = FusionInPlace(module.fusion)
    # Its forward is SSDHead's or it has its own, which nothing here knows.
    if type(model.head).forward is SSDHead.forward:
        model.head = StackedHead(model.head)
    for module in list(model.modules()):
        for name, child in module.named_children():
            if faster := fast_convolution(child):
                setattr(module, name, faster)
    # A subclass may predict otherwise.
    if type(model) is SSD:
        model.__class__ = SSDInParts
    return model.to(memory_format=torch.channels_last)


def fold_batch_norm(conv: Conv2d) -> None:
    """Makes the normalisation that follows a convolution part of its weights."""
    norm = conv.norm
    if not isinstance(norm, BATCH_NORMS) or norm.running_mean is None:
        return
    values = (conv.weight, conv.bias, norm.running_mean, norm.running_var)
    weight, bias, mean, variance = (v if v is None else v.double() for v in values)
    scale, shift = (v if v is None else v.double() for v in (norm.weight, norm.bias))
    weight, bias = fuse_conv_bn_weights(weight, bias, mean, variance, norm.eps, scale, shift)
    set_weights(conv, weight.to(conv.weight.dtype), bias.to(conv.weight.dtype))
    conv.norm = None


def merge_encoders(neck: ROCK) -> None:
    """Makes an encoder part of its decoder where that saves operations.

    Both are 1 x 1 convolutions and nothing stands between them, so that two matrices of
    width x K and K x C make one of width x C. Nobody may want the encodings themselves.
    """
    if not isinstance(neck.fusion, DecoderFusion):
        return
    for task, decoder in neck.fusion.decoders.items():
        encoder = neck.encoders[task]
        if not isinstance(encoder, Conv2d):
            continue
        (channels, width, *_), out_channels = encoder.weight.shape, decoder.out_channels
        if width * out_channels >= (width + out_channels) * channels:
            continue
        first, second = (conv.weight[:, :, 0, 0].double() for conv in (encoder, decoder))
        bias = second @ encoder.bias.double()
        if decoder.bias is not None:
            bias += decoder.bias
        dtype = decoder.weight.dtype
        set_weights(decoder, (second @ first).to(dtype)[:, :, None, None], bias.to(dtype))
        neck.encoders[task] = nn.Identity()


def multiply_in_place(x: torch.Tensor, decoded: torch.Tensor) -> torch.Tensor:
    """X * (1 + decoded)."""
    return x.addcmul_(x, decoded)


# How a fusion merges what a decoder puts out, in X's own memory.
IN_PLACE = {SumFusion: operator.iadd, ProductFusion: multiply_in_place}


class FusionInPlace(nn.Module):
    """A fusion of IN_PLACE that writes the refined X over X, image by image.

    New maps are what the fusions' time goes to on a CPU, one for each decoder and each sum: X of
    an image has 10 MB in the paper's network. Here a decoder's output is merged while it is still
    in the cache, and the next one takes its memory.
    """

    def __init__(self, fusion: DecoderFusion):
        super().__init__()
        self.merge = IN_PLACE[type(fusion)]
        used = {t: layer for t, layer in fusion.decoders.items() if t not in fusion.switched_off}
        self.decoders = nn.ModuleDict(used)

    def forward(self, x: torch.Tensor, encodings: Mapping[str, torch.Tensor]) -> torch.Tensor:
        """As the fusion's, but X is gone."""
        # A GPU has no such cache, and a traced program shall take any number of images.
        if x.device.type != "cpu" or is_traced():
            return self.refine(x, encodings)
        for i in range(len(x)):
            self.refine(x[i : i + 1], {task: e[i : i + 1] for task, e in encodings.items()})
        return x

    def refine(self, x: torch.Tensor, encodings: Mapping[str, torch.Tensor]) -> torch.Tensor:
        for task, decoder in self.decoders.items():
            self.merge(x, decoder(encodings[task]))
        return x


def set_weights(conv: nn.Conv2d, weight: torch.Tensor, bias: torch.Tensor) -> None:
    conv.weight = nn.Parameter(weight, requires_grad=False)
    conv.bias = nn.Parameter(bias, requires_grad=False)
    conv.out_channels, conv.in_channels = weight.shape[:2]


class SSDInParts(SSD):
    """An SSD whose network sees only as many images at once as a CPU computes fastest.

    Together images share each layer's overhead, which is what small ones take their time for. But
    the memory of maps beyond KEPT_BYTES comes from the system anew every time, each of its pages
    by a fault, and large images lose more by that (docs/PERFORMANCE.md).
    """

    def predict(
        self, images: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, dict[str, torch.Tensor]]:
        # A traced program shall take any number of images.
        if images.device.type != "cpu" or is_traced():
            return super().predict(images)
        parts = images.tensor_split(num_parts(*images.shape))
        logits, deltas, (boxes, *_), aux = zip(*map(super().predict, parts), strict=True)
        tasks = {task: torch.cat([predicted[task] for predicted in aux]) for task in aux[0]}
        return torch.cat(logits), torch.cat(deltas), boxes, tasks


def num_parts(count: int, channels: int, height: int, width: int) -> int:
    """The fewest parts of a batch whose largest maps are kept; at most one for each image."""
    at_once = max(KEPT_BYTES // (BYTES_PER_PIXEL * height * width), 1)
    return -(-count // at_once)


class StackedHead(nn.Module):
    """An SSDHead that predicts classes and boxes of a map by one convolution.

    N images, A default boxes of all maps, C classes of objects; class C is the background.
    """

    def __init__(self, head: SSDHead):
        super().__init__()
        self.in_features = head.in_features
        self.num_classes = head.num_classes
        self.anchor_generator = head.anchor_generator
        self.extra_layers = head.extra_layers
        pairs = zip(head.cls_score, head.bbox_pred, strict=True)
        self.predictors = nn.ModuleList(self._stack(*pair) for pair in pairs)

    def _stack(self, cls_score: nn.Conv2d, bbox_pred: nn.Conv2d) -> nn.Conv2d:
        """The outputs of a default box are neighbours: its C + 1 logits and its 4 deltas."""
        boxes = bbox_pred.out_channels // 4
        layers = (cls_score, bbox_pred)
        weight = torch.cat([conv.weight.unflatten(0, (boxes, -1)) for conv in layers], dim=1)
        bias = torch.cat([conv.bias.unflatten(0, (boxes, -1)) for conv in layers], dim=1)
        stacked = copy.copy(cls_score)
        stacked._parameters = {}
        set_weights(stacked, weight.flatten(0, 1), bias.flatten())
        return stacked

    def forward(
        self, features: dict[str, torch.Tensor]
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """As SSDHead's."""
        maps = [features[name] for name in self.in_features]
        for layer in self.extra_layers:
            maps.append(layer(maps[-1]))
        predictions = [
            permute_to_N_HWA_K(layer(x), self.num_classes + 5)
            for layer, x in zip(self.predictors, maps, strict=True)
        ]
        logits, deltas = torch.cat(predictions, dim=1).split([self.num_classes + 1, 4], dim=2)
        return logits, deltas, Boxes.cat(self.anchor_generator(maps)).tensor
