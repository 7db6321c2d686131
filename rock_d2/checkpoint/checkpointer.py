"""Loading and saving of weights: any known layout as MODEL.WEIGHTS, checked against the model."""

import reprlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from detectron2.checkpoint import DetectionCheckpointer
from detectron2.config import CfgNode, configurable
from detectron2.layers import FrozenBatchNorm2d
from torch import nn

from rock_d2.checkpoint.downloads import local_file
from rock_d2.checkpoint.files import CheckpointFiles
from rock_d2.checkpoint.formats import Tensors, WeightFormat, backbone_place, find_format, learned
from rock_d2.checkpoint.loading import read_weights

NAMES_SHOWN = 6


@dataclass(frozen=True)
class Loaded:
    """The names of a model's parameters and statistics, by what a file had for them.

    Attributes:
        filled: those with the file's values.
        missing: those that are not in the file.
        misshapen: those that have another shape in the file, with that shape.
        unexpected: names in the file that the model does not have.
    """

    filled: Collection[str]
    missing: Collection[str]
    misshapen: Mapping[str, tuple[int, ...]]
    unexpected: Collection[str]


class RockCheckpointer(DetectionCheckpointer):
    """Takes all weights of ``WEIGHT_FORMATS``, and refuses those that do not fit.

    A checkpoint that it saves also holds ``style``, so that a model never gets images of another
    kind than it was trained with.
    """

    @configurable
    def __init__(
        self,
        model: nn.Module,
        save_dir: str = "",
        *,
        style: Mapping[str, Any],
        num_kept: int = 0,
        save_to_disk: bool | None = None,
        **checkpointables: Any,
    ):
        """
        Args:
            model: a detector of Detectron2, or MultiTask.
            save_dir: where checkpoints are written and looked for.
            style: the settings of the model's images, see ``style_of``.
            num_kept: numbered checkpoints that stay; 0 keeps all.
            save_to_disk: whether this process writes; by default the main one does.
            checkpointables: saved and loaded with the model.
        """
        super().__init__(model, save_dir, save_to_disk=save_to_disk, **checkpointables)
        self.style = dict(style)
        self.files = CheckpointFiles(save_dir, num_kept)

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        return {"style": style_of(cfg)}

    def save(self, name: str, **kwargs: Any) -> None:
        """Write a checkpoint, as a whole or not at all."""
        if not self.save_dir or not self.save_to_disk:
            return
        states = {key: obj.state_dict() for key, obj in self.checkpointables.items()}
        content = {"model": self.model.state_dict(), **states, "style": self.style}
        self.logger.info(f"Saving checkpoint to {self.save_dir}/{name}.pth")
        self.files.write(name, content | kwargs)

    def load(self, path: str, checkpointables: Sequence[str] | None = None) -> dict[str, Any]:
        """Load the model, and the checkpointables of these names; by default all.

        Returns:
            whatever else the file holds.

        Raises:
            ValueError, OSError: if the file cannot be read or does not fit.
        """
        if not path:
            self.logger.info("MODEL.WEIGHTS is empty: the model is initialised from scratch")
            return {}
        file = local_file(path)
        return self.restore(file, self.read(file), checkpointables)

    def read(self, file: str) -> dict[str, Any]:
        """Return a file's content, the weights with the model's names and checked against it."""
        checkpoint = read_weights(file)
        state = self.model.state_dict()
        kind = find_format(file, checkpoint["model"], state)
        self.logger.info(f"{file} is {kind.title}")
        recorded = recorded_style(file, checkpoint)
        wanted = kind.style(checkpoint["model"]) or recorded
        tensors = kind.translate(checkpoint["model"], state)
        check_style(file, wanted=wanted, found=self.style)
        check_fit(file, kind, tensors, self.model)
        check_finite(file, {name: x for name, x in tensors.items() if name in state})
        # Other projects' optimizers and counters are of no use here.
        return {"model": tensors} if kind.fills else {**checkpoint, "model": tensors}

    def restore(
        self, file: str, checkpoint: dict[str, Any], checkpointables: Sequence[str] | None = None
    ) -> dict[str, Any]:
        """Load what ``read`` has returned of a file, as ``load`` does."""
        loaded = compare(checkpoint["model"], self.model.state_dict())
        self.accept(file, loaded)
        tensors = checkpoint.pop("model")
        for name in (*loaded.misshapen, *loaded.unexpected):
            del tensors[name]
        self.model.load_state_dict(tensors, strict=False)
        for key in self.checkpointables if checkpointables is None else checkpointables:
            if key in checkpoint:
                self.logger.info(f"Loading {key} from {file}")
                try:
                    self.checkpointables[key].load_state_dict(checkpoint.pop(key))
                except (LookupError, TypeError, ValueError, AttributeError, RuntimeError) as error:
                    reason = " ".join(f"{type(error).__name__}: {error}".split())
                    raise ValueError(
                        f"{file}: its `{key}` is of another kind than this run's ({reason})"
                    ) from error
        return checkpoint

    def accept(self, file: str, loaded: Loaded) -> None:
        """Log how much of the model a file fills; a subclass may raise ValueError."""
        self.logger.info(loading_summary(self.model.state_dict(), loaded))

    def has_checkpoint(self) -> bool:
        return bool(self.files.resumable())

    def get_checkpoint_file(self) -> str:
        return str(self.files.newest() or "")


class CompleteCheckpointer(RockCheckpointer):
    """Refuses weights that leave a part of the model untrained."""

    def accept(self, file: str, loaded: Loaded) -> None:
        unfilled = [*loaded.misshapen, *loaded.missing]
        if unfilled:
            total = len(unfilled) + len(loaded.filled)
            raise ValueError(
                f"{file}: not a trained model of this config: it fills {len(loaded.filled)} of "
                f"{total} tensors, and not {unfilled[0]}"
            )


def style_of(cfg: CfgNode) -> dict[str, Any]:
    """Return the settings that a backbone was trained with and that its tensors do not show."""
    resnets = cfg.MODEL.RESNETS
    return {
        "INPUT.FORMAT": cfg.INPUT.FORMAT,
        "MODEL.PIXEL_MEAN": list(cfg.MODEL.PIXEL_MEAN),
        "MODEL.PIXEL_STD": list(cfg.MODEL.PIXEL_STD),
        # ResNet-18 and 34 have no bottlenecks.
        "MODEL.RESNETS.STRIDE_IN_1X1": resnets.STRIDE_IN_1X1 if resnets.DEPTH >= 50 else None,
    }


def recorded_style(path: str, checkpoint: dict[str, Any]) -> dict[str, Any]:
    """Return the style in a checkpoint: ours hold all of it, old ones of Detectron2 some."""
    style = checkpoint.pop("style", {})
    if not isinstance(style, dict):
        raise ValueError(f"{path}: its `style` is {reprlib.repr(style)}, not a dict of settings")
    buffers = {"MODEL.PIXEL_MEAN": "pixel_mean", "MODEL.PIXEL_STD": "pixel_std"}
    found = {
        key: [round(x, 3) for x in checkpoint["model"].pop(name).flatten().tolist()]
        for key, name in buffers.items()
        if name in checkpoint["model"]
    }
    return found | style


def check_style(path: str, *, wanted: Mapping[str, Any], found: Mapping[str, Any]) -> None:
    """Raise ValueError if the config's images are of another kind than the weights'."""

    def agree(first: Any, second: Any) -> bool:
        try:
            return np.allclose(first, second, rtol=0, atol=0.01)
        except (TypeError, ValueError):
            return first == second

    wrong = {
        key: wanted[key]
        for key in found.keys() & wanted.keys()
        if None not in (wanted[key], found[key]) and not agree(wanted[key], found[key])
    }
    if wrong:
        have = ", ".join(f"{key} {found[key]}" for key in wrong)
        want = " ".join(f'{key} "{reprlib.repr(value)}"' for key, value in wrong.items())
        raise ValueError(
            f"{path}: the config ({have}) contradicts how these weights were trained; set {want}"
        )


def check_fit(path: str, kind: WeightFormat, tensors: Tensors, model: nn.Module) -> None:
    """Raise ValueError if the file lacks what weights of its format must fill."""
    state = model.state_dict()
    names = learned(state)
    fits = {name for name in names if name in tensors and tensors[name].shape == state[name].shape}
    backbone = [name for name in names if name.startswith(backbone_place(state))]
    if not fits.intersection(backbone) or kind.fills == "backbone":
        required, remedy = backbone, "compare MODEL.BACKBONE and MODEL.RESNETS with its network"
    elif kind.fills == "model":
        required = [*names, *learned(tensors)]
        remedy = f"use {kind.configs}"
    else:
        required = frozen_statistics(model)
        remedy = "frozen statistics are never learned; set MODEL.RESNETS.NORM as it was trained"
    unfit = next((name for name in required if name not in fits), None)
    if unfit is not None:
        there, here = (tuple(x[unfit].shape) if unfit in x else "missing" for x in (tensors, state))
        raise ValueError(
            f"{path}: {kind.title}, fits {len(fits.intersection(required))} of {len(required)} "
            f"tensors: {unfit} is {there} there and {here} here; {remedy}"
        )


def frozen_statistics(model: nn.Module) -> list[str]:
    """Return the names of the backbone's running means and variances that no training changes."""
    return [
        f"backbone.{name}.{statistic}"
        for name, module in model.backbone.named_modules()
        if isinstance(module, FrozenBatchNorm2d)
        for statistic in ("running_mean", "running_var")
    ]


def check_finite(path: str, tensors: Tensors) -> None:
    for name, value in tensors.items():
        if value.is_floating_point() and not value.float().isfinite().all():
            raise ValueError(f"{path}: `{name}` has values that are NaN or infinite")


def compare(tensors: Tensors, state: Mapping[str, torch.Tensor]) -> Loaded:
    names = learned(state)
    shapes = {name: tuple(x.shape) for name, x in tensors.items() if name in state}
    misshapen = {name: shape for name, shape in shapes.items() if shape != tuple(state[name].shape)}
    return Loaded(
        filled=[name for name in names if name in shapes and name not in misshapen],
        missing=[name for name in names if name not in shapes],
        misshapen=misshapen,
        unexpected=[name for name in tensors if name not in state],
    )


def loading_summary(state: Mapping[str, torch.Tensor], loaded: Loaded) -> str:
    """Return how many values of each part came from the file, and which names had no partner."""
    lines = ["Values taken from the file, by part:"]
    filled = set(loaded.filled)
    for part in dict.fromkeys(name.split(".")[0] for name in learned(state)):
        names = [name for name in learned(state) if name.split(".")[0] == part]
        new = [name for name in names if name not in filled]
        taken = sum(state[name].numel() for name in names if name in filled)
        total = sum(state[name].numel() for name in names)
        lines.append(f"  {part:<10}{taken:>14,} of {total:>12,}")
        if new and taken:
            lines.append(f"    initialised instead: {_few(new)}")
    for name, shape in loaded.misshapen.items():
        lines.append(f"  other shape: {name} is {shape}, not {tuple(state[name].shape)}")
    unused = [name for name in learned(loaded.unexpected) if "cell_anchors" not in name]
    if unused:
        lines.append(f"  not in the model: {_few(unused)}")
    return "\n".join(lines)


def _few(names: Sequence[str]) -> str:
    more = len(names) - NAMES_SHOWN
    return ", ".join(names[:NAMES_SHOWN]) + (f" and {more} more" if more > 0 else "")
