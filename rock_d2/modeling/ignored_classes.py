"""Classes that nobody has looked for in an image, an item's ``ignored_classes``, in a loss.

N images, C classes of objects, A anchors of a cell.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from detectron2.modeling import RetinaNet
from detectron2.modeling.meta_arch.fcos import FCOS
from torch import nn

# Detectron2's detectors with one sigmoid for each class.
DENSE = (RetinaNet, FCOS)
# A logit whose focal loss as a negative is 0, also in half precision.
NO_LOSS = -1e4


def ignored_classes(
    batched_inputs: Sequence[Mapping[str, Any]], num_classes: int, device: torch.device
) -> torch.Tensor:
    """Return bool (N, C), true where a class is ignored in an image."""
    ignored = torch.zeros(len(batched_inputs), num_classes, dtype=torch.bool)
    for row, item in zip(ignored, batched_inputs, strict=True):
        row[list(item.get("ignored_classes", ()))] = True
    return ignored.to(device, non_blocking=True)


def ignore_classes(detector: nn.Module) -> None:
    """Let a detector ignore classes in training, or raise ValueError if that cannot be."""
    if getattr(detector, "takes_ignored_classes", False):
        return
    if not isinstance(detector, DENSE):
        raise ValueError(
            "DATASETS.TRAIN: the sets have different thing_classes, and what one does not annotate "
            f"is no negative there; {type(detector).__name__} cannot ignore a class in an image. "
            "MODEL.DETECTOR SSD, RetinaNet and FCOS can; others need DATASETS.CLASSES that all "
            "sets annotate"
        )
    IgnoredClasses(detector)


class IgnoredClasses:
    """Hooks that give a dense detector's ignored classes no loss and no gradient."""

    def __init__(self, detector: nn.Module):
        self.num_classes = detector.num_classes
        self.batch: Sequence[Mapping[str, Any]] = ()
        detector.register_forward_pre_hook(self._take_batch)
        detector.head.register_forward_hook(self._mask)

    def _take_batch(self, module: nn.Module, inputs: tuple[Any, ...]) -> None:
        self.batch = inputs[0] if module.training else ()

    def _mask(self, module: nn.Module, inputs: tuple[Any, ...], outputs: Any) -> Any:
        """Return the head's outputs, the first of which are the logits (N, A * C, h, w)."""
        if not self.batch:
            return outputs
        logits, *others = outputs
        ignored = ignored_classes(self.batch, self.num_classes, logits[0].device)
        # The classes of an anchor are side by side.
        masks = [ignored.repeat(1, x.shape[1] // self.num_classes)[..., None, None] for x in logits]
        logits = [x.masked_fill(mask, NO_LOSS) for x, mask in zip(logits, masks, strict=True)]
        return (logits, *others)
