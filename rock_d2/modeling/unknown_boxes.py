"""Training images whose boxes are unknown, for detectors that do not know of such images."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from detectron2.structures import Boxes, Instances
from torch import nn


class KnownBoxes:
    """Lets a detector learn from the images with known boxes while its backbone sees all of them.

    Two hooks on the backbone do that: before it, all images take the place of those with boxes;
    after it, and after hooks that were there before, the maps of the others are left out. Detectors
    with ``takes_unknown_boxes`` leave such images out of their losses themselves.
    """

    def __init__(self, detector: nn.Module):
        self.detector = detector
        # Where some boxes are unknown: all images as the backbone takes them, the places of those
        # with boxes, and the padded size that these would have alone.
        self._images: torch.Tensor | None = None
        self._boxed: Sequence[int] = ()
        self._boxed_size = (0, 0)
        detector.backbone.register_forward_pre_hook(self._take_all)
        detector.backbone.register_forward_hook(self._keep_boxed)

    def losses(self, batched_inputs: Sequence[Mapping[str, Any]]) -> dict[str, torch.Tensor]:
        """Return the detector's losses on the images whose boxes are known; 0 if none are."""
        boxed = [i for i, item in enumerate(batched_inputs) if "instances" in item]
        takes_all = getattr(self.detector, "takes_unknown_boxes", False)
        if takes_all or len(boxed) == len(batched_inputs):
            return self.detector(batched_inputs)
        if boxed:
            self._images, self._boxed = self.detector.preprocess_image(batched_inputs).tensor, boxed
            try:
                return self.detector([batched_inputs[i] for i in boxed])
            finally:
                self._images = None
        # Other processes wait for the same losses, and for a gradient of every parameter.
        empty = [{**item, "instances": no_objects(item["image"])} for item in batched_inputs]
        with attributes_kept(self.detector):
            return {name: 0 * loss for name, loss in self.detector(empty).items()}

    def _take_all(self, module: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...] | None:
        if self._images is None:
            return None
        self._boxed_size = tuple(inputs[0].shape[-2:])
        return (self._images,)

    # torch.compile would recompile it for each set of images with known boxes.
    @torch.compiler.disable
    def _keep_boxed(
        self, module: nn.Module, inputs: tuple[Any, ...], features: dict[str, torch.Tensor]
    ) -> dict[str, torch.Tensor] | None:
        """Return the feature maps of the images with known boxes, as large as without the rest."""
        if self._images is None:
            return None
        shapes, (height, width) = module.output_shape(), self._boxed_size
        cells = {
            name: (-(-height // s.stride), -(-width // s.stride)) for name, s in shapes.items()
        }
        return {
            name: maps[self._boxed, :, : cells[name][0], : cells[name][1]]
            for name, maps in features.items()
        }


def no_objects(image: torch.Tensor) -> Instances:
    """Return the ground truth of an image (3, H, W) without objects."""
    boxes, classes = torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64)
    return Instances(tuple(image.shape[-2:]), gt_boxes=Boxes(boxes), gt_classes=classes)


@contextmanager
def attributes_kept(module: nn.Module) -> Iterator[None]:
    """Put back a module's attributes: Detectron2's dense detectors keep an average there."""
    attributes = dict(vars(module))
    try:
        yield
    finally:
        vars(module).clear()
        vars(module).update(attributes)
