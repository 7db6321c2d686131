"""In the place of a detector where only tasks are learned."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from detectron2.config import CfgNode, configurable
from detectron2.modeling import META_ARCH_REGISTRY, build_backbone
from detectron2.structures import ImageList
from torch import nn

from rock_d2.layers import own_seed


@META_ARCH_REGISTRY.register()
class NoDetector(nn.Module):
    """Runs a backbone on normalised images; it has no losses and finds nothing."""

    takes_unknown_boxes = True

    @configurable
    def __init__(
        self, *, backbone: nn.Module, pixel_mean: Sequence[float], pixel_std: Sequence[float]
    ):
        super().__init__()
        self.backbone = backbone
        for name, values in (("pixel_mean", pixel_mean), ("pixel_std", pixel_std)):
            self.register_buffer(name, torch.tensor(values).view(-1, 1, 1), persistent=False)

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        with own_seed("backbone"):
            backbone = build_backbone(cfg)
        return {
            "backbone": backbone,
            "pixel_mean": cfg.MODEL.PIXEL_MEAN,
            "pixel_std": cfg.MODEL.PIXEL_STD,
        }

    @property
    def device(self) -> torch.device:
        return self.pixel_mean.device

    def preprocess_image(self, batched_inputs: Sequence[Mapping[str, Any]]) -> ImageList:
        """Return normalised images, padded to one size that the backbone takes."""
        images = [item["image"].to(self.device, non_blocking=True) for item in batched_inputs]
        images = [(image - self.pixel_mean) / self.pixel_std for image in images]
        return ImageList.from_tensors(images, self.backbone.size_divisibility)

    def forward(
        self, batched_inputs: Sequence[Mapping[str, Any]]
    ) -> dict[str, torch.Tensor] | list[dict[str, Any]]:
        self.backbone(self.preprocess_image(batched_inputs).tensor)
        return {} if self.training else [{} for _ in batched_inputs]
