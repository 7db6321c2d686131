"""Any Detectron2 detector, or none, whose backbone ends in a neck that learns tasks."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from detectron2.config import CfgNode, configurable
from detectron2.modeling import META_ARCH_REGISTRY
from torch import nn

from rock_d2.classes import has_ignored_classes, with_num_classes
from rock_d2.layers import own_seed
from rock_d2.modeling.ignored_classes import ignore_classes
from rock_d2.modeling.necks.neck import Extents, Features, Labels, Neck, Predictions, build_neck
from rock_d2.modeling.unknown_boxes import KnownBoxes
from rock_d2.registry import check_choice, registered

DETECTOR = "detector."
# Of Detectron2, with labels of classes by pixel of their own; here these are a task's.
SEGMENTERS = ("PanopticFPN", "SemanticSegmentor")


@dataclass
class Batch:
    """What goes into the neck beside the features, and what it predicts.

    Attributes:
        inputs: the batch's items.
        labels, extents, predictions: as ``Neck`` has them.
    """

    inputs: Sequence[Mapping[str, Any]] = ()
    labels: Labels = field(default_factory=dict)
    extents: Extents | None = None
    predictions: Predictions = field(default_factory=dict)


@META_ARCH_REGISTRY.register()
class MultiTask(nn.Module):
    """A detector with a neck on its backbone, or before its backbone's feature pyramid.

    The detector is one of Detectron2's meta-architectures as it is: the neck keeps names, channels
    and strides of the feature maps. In ``state_dict`` the detector's names are its own and the
    neck's begin with ``neck.``, so that checkpoints of the detector alone fit, and the other way.

    A training image without ``instances`` has unknown boxes: it has no share in the detector's
    losses (``KnownBoxes``).
    """

    @configurable
    def __init__(self, *, detector: nn.Module, neck: Neck, neck_at: str):
        """Refine the output of ``neck_at``: the "backbone" or the part "bottom_up" of it."""
        super().__init__()
        self.detector = detector
        self.neck = neck
        # The one that the detector is seeing.
        self._batch = Batch()
        # In this order: all images, the backbone or its bottom-up part, the neck, the images with
        # known boxes, the detector's head.
        refined_part(detector, neck_at).register_forward_hook(self._refine)
        self.known_boxes = KnownBoxes(detector)
        self.register_state_dict_post_hook(_remove_prefix)
        self.register_load_state_dict_pre_hook(_add_prefix)
        self.register_load_state_dict_post_hook(_remove_prefix_of_report)

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        cfg = with_num_classes(cfg)
        name, neck_at = cfg.MODEL.DETECTOR or "NoDetector", cfg.MODEL.NECK.AT
        if not cfg.MODEL.RESNETS.OUT_FEATURES:
            raise ValueError("MODEL.RESNETS.OUT_FEATURES is empty; name maps, such as res5")
        if name in (cls.__name__, *SEGMENTERS):
            raise ValueError(
                f"MODEL.DETECTOR is {name}; it must be a detector, or '' for none (classes of "
                "pixels are one of MODEL.TASKS)"
            )
        if not cfg.MODEL.DETECTOR and cfg.MODEL.NECK.NAME == "IdentityNeck":
            raise ValueError(
                "MODEL.DETECTOR is '' and MODEL.NECK.NAME IdentityNeck: nothing learns"
            )
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
        self._batch = batch = Batch(batched_inputs)
        run = self.known_boxes.losses if self.training else self.detector
        outputs = run(batched_inputs)
        self._batch = Batch()
        if self.training:
            task_losses = self.neck.losses(batch.predictions, batch.labels)
            assert not outputs.keys() & task_losses.keys(), "detector and neck name a loss alike"
            return {**outputs, **task_losses}
        sizes = [output_size(item) for item in batched_inputs]
        tasks = self.neck.inference(batch.predictions, sizes, batch.extents)
        return [{**output, **task} for output, task in zip(outputs, tasks, strict=True)]

    def _refine(self, module: nn.Module, inputs: tuple[Any, ...], features: Features) -> Features:
        self._collate(tuple(inputs[0].shape[-2:]))
        batch = self._batch
        refined, batch.predictions = self.neck(features, batch.extents, batch.labels)
        return refined

    # torch.compile would recompile it for the image ids and labels of each batch.
    @torch.compiler.disable
    def _collate(self, size: tuple[int, int]) -> None:
        """Give the batch its labels, and the images' shares of it; it is padded to ``size``."""
        batch = self._batch
        # An exported detector sees images alone.
        if batch.inputs:
            shapes = [item["image"].shape[-2:] for item in batch.inputs]
            extents = [(height / size[0], width / size[1]) for height, width in shapes]
            batch.extents = extents if any(extent != (1, 1) for extent in extents) else None
            batch.labels = self.neck.collate(batch.inputs, size=size, device=self.device)


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
