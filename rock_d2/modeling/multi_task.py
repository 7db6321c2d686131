"""Any Detectron2 detector, or none, whose backbone ends in a neck that learns tasks."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from detectron2.config import CfgNode, configurable
from detectron2.modeling import META_ARCH_REGISTRY
from detectron2.structures import Boxes, Instances
from torch import nn

from rock_d2.classes import has_ignored_classes, with_num_classes
from rock_d2.layers import own_seed
from rock_d2.modeling.ignored_classes import ignore_classes
from rock_d2.modeling.necks.neck import (
    Extents,
    Features,
    Labels,
    Neck,
    Predictions,
    build_neck,
)
from rock_d2.registry import check_choice, registered

DETECTOR = "detector."


@META_ARCH_REGISTRY.register()
class MultiTask(nn.Module):
    """A detector with a neck on its backbone, or before its backbone's feature pyramid.

    The detector is one of Detectron2's meta-architectures as it is: the neck keeps names, channels
    and strides of the feature maps. In ``state_dict`` the detector's names are its own and the
    neck's begin with ``neck.``, so that checkpoints of the detector alone fit, and the other way.

    A training image without ``instances`` has unknown boxes: it has no share in the detector's
    losses. Unless a detector knows such images (``takes_unknown_boxes``), what comes after its
    backbone and the neck does not see them.
    """

    @configurable
    def __init__(self, *, detector: nn.Module, neck: Neck, neck_at: str):
        """Refine the output of ``neck_at``: the "backbone" or the part "bottom_up" of it."""
        super().__init__()
        self.detector = detector
        self.neck = neck
        # Of the batch that the detector is seeing: what goes into the hook and comes out of it.
        self._inputs: Sequence[Mapping[str, Any]] = ()
        self._labels: Labels = {}
        self._extents: Extents | None = None
        self._predictions: Predictions = {}
        # Of a batch in which some boxes are unknown: all images as the backbone takes them, the
        # places of those with boxes, and the padded size that these would have alone.
        self._images: torch.Tensor | None = None
        self._boxed: Sequence[int] = ()
        self._boxed_size = (0, 0)
        detector.backbone.register_forward_pre_hook(self._take_all)
        refined_part(detector, neck_at).register_forward_hook(self._refine)
        detector.backbone.register_forward_hook(self._keep_boxed)
        self.register_state_dict_post_hook(_remove_prefix)
        self.register_load_state_dict_pre_hook(_add_prefix)
        self.register_load_state_dict_post_hook(_remove_prefix_of_report)

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        cfg = with_num_classes(cfg)
        name, neck_at = cfg.MODEL.DETECTOR or "NoDetector", cfg.MODEL.NECK.AT
        if not cfg.MODEL.RESNETS.OUT_FEATURES:
            raise ValueError("MODEL.RESNETS.OUT_FEATURES is empty; name maps, such as res5")
        if name == cls.__name__:
            raise ValueError(f"MODEL.DETECTOR is {name}; it must be a detector, or '' for none")
        detector = registered(META_ARCH_REGISTRY, name, setting="MODEL.DETECTOR")(cfg)
        if cfg.MODEL.DETECTOR and has_ignored_classes(cfg):
            ignore_classes(detector)
        with own_seed("neck"):
            neck = build_neck(cfg, refined_part(detector, neck_at).output_shape())
        return {"detector": detector, "neck": neck, "neck_at": neck_at}

    @property
    def backbone(self) -> nn.Module:
        return self.detector.backbone

    @property
    def device(self) -> torch.device:
        return self.detector.device

    def forward(
        self, batched_inputs: Sequence[Mapping[str, Any]]
    ) -> dict[str, torch.Tensor] | list[dict[str, Any]]:
        """Return the weighted losses in training, else the detector's outputs with ``<task>``."""
        self._inputs = batched_inputs
        run = self._train_detector if self.training else self.detector
        outputs = run(batched_inputs)
        predictions, extents, labels = self._predictions, self._extents, self._labels
        self._inputs, self._predictions, self._extents, self._labels = (), {}, None, {}
        if self.training:
            task_losses = self.neck.losses(predictions, labels)
            assert not outputs.keys() & task_losses.keys(), "detector and neck name a loss alike"
            return {**outputs, **task_losses}
        sizes = [output_size(item) for item in batched_inputs]
        tasks = self.neck.inference(predictions, sizes, extents)
        return [{**output, **task} for output, task in zip(outputs, tasks, strict=True)]

    def _train_detector(
        self, batched_inputs: Sequence[Mapping[str, Any]]
    ) -> dict[str, torch.Tensor]:
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
        """Give the backbone all images in place of those with known boxes."""
        if self._images is None:
            return None
        self._boxed_size = tuple(inputs[0].shape[-2:])
        return (self._images,)

    def _keep_boxed(
        self, module: nn.Module, inputs: tuple[Any, ...], features: Features
    ) -> Features | None:
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

    def _refine(self, module: nn.Module, inputs: tuple[Any, ...], features: Features) -> Features:
        """Pass the features of the backbone, or of its bottom-up part, through the neck."""
        height, width = size = tuple(inputs[0].shape[-2:])
        shapes = [item["image"].shape for item in self._inputs]
        extents = [(shape[-2] / height, shape[-1] / width) for shape in shapes]
        self._extents = extents if any(extent != (1, 1) for extent in extents) else None
        # An exported detector sees images alone.
        if self._inputs:
            self._labels = self.neck.collate(self._inputs, size=size, device=self.device)
        refined, self._predictions = self.neck(features, self._extents, self._labels)
        return refined


def refined_part(detector: nn.Module, neck_at: str) -> nn.Module:
    """Return the part of a detector's backbone that MODEL.NECK.AT names."""
    check_choice(neck_at, ("backbone", "bottom_up"), setting="MODEL.NECK.AT")
    if neck_at == "backbone":
        return detector.backbone
    if not hasattr(detector.backbone, "bottom_up"):
        raise ValueError(
            f"MODEL.NECK.AT is bottom_up, but {type(detector.backbone).__name__} is no feature "
            "pyramid; set it to backbone"
        )
    return detector.backbone.bottom_up


def output_size(item: Mapping[str, Any]) -> tuple[int, int]:
    """Return the height and width of a batch item's output, by default its image's."""
    height, width = item["image"].shape[-2:]
    return item.get("height", height), item.get("width", width)


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


def _rename(state: dict[str, Any], prefix: str, *, old: str, new: str) -> None:
    """Replace ``old`` after ``prefix`` in all names but the neck's, in place and in order."""
    for name in list(state):
        value = state.pop(name)
        own = name.removeprefix(prefix)
        if name.startswith(prefix + old) and not own.startswith("neck."):
            name = prefix + new + own.removeprefix(old)
        state[name] = value


def _remove_prefix(module: nn.Module, state: dict[str, Any], prefix: str, metadata: Any) -> None:
    _rename(state, prefix, old=DETECTOR, new="")


def _add_prefix(module: nn.Module, state: dict[str, Any], prefix: str, *rest: Any) -> None:
    _rename(state, prefix, old="", new=DETECTOR)


def _remove_prefix_of_report(module: nn.Module, incompatible: Any) -> None:
    for names in (incompatible.missing_keys, incompatible.unexpected_keys):
        names[:] = [name.removeprefix(DETECTOR) for name in names]
