"""Loading and saving weights: any kind of MODEL.WEIGHTS, and what belongs to it."""

import reprlib
from collections.abc import Mapping
from typing import Any

import torch
from detectron2.checkpoint import DetectionCheckpointer
from detectron2.config import CfgNode, configurable
from torch import nn

from rock_d2.checkpoint.files import CheckpointStore
from rock_d2.checkpoint.downloads import local_file
from rock_d2.checkpoint.loading import read_checkpoint
from rock_d2.checkpoint.formats import (
    BackboneStyle,
    WeightKind,
    differing_settings,
    find_kind,
    is_setting,
)

# More names than this are counted only.
NAMES_SHOWN = 6


class RockCheckpointer(DetectionCheckpointer):
    """Takes all weights that ``weight_formats`` knows, and refuses those that do not fit.

    A checkpoint that it saves also records the style of its backbone, so that a model is never
    fed with images of another kind than it was trained on.
    """

    @configurable
    def __init__(
        self,
        model: nn.Module,
        save_dir: str = "",
        *,
        style: BackboneStyle,
        save_to_disk: bool | None = None,
        **checkpointables: Any,
    ):
        """
        Args:
            model: its parts are ``backbone``, ``neck`` and ``head``.
            save_dir: where checkpoints are written and looked for.
            style: how the model's images come.
            save_to_disk: whether this process writes; by default the first one does.
            checkpointables: what is saved and resumed beside the model.
        """
        super().__init__(model, save_dir, save_to_disk=save_to_disk, **checkpointables)
        self.style = style
        self.store = CheckpointStore(save_dir)

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        return {"style": BackboneStyle.from_config(cfg)}

    def save(self, name: str, **kwargs: Any) -> None:
        """Writes a checkpoint whole or not at all, as Detectron2's does otherwise."""
        if not self.save_dir or not self.save_to_disk:
            return
        states = {key: obj.state_dict() for key, obj in self.checkpointables.items()}
        content = {"model": self.model.state_dict(), **states, "style": self.style.settings()}
        self.logger.info(f"Saving checkpoint to {self.save_dir}/{name}.pth")
        self.store.write(name, content | kwargs)

    def load(self, path: str, *args: Any, **kwargs: Any) -> dict[str, Any]:
        return super().load(local_file(path) if path else path, *args, **kwargs)

    def _load_file(self, filename: str) -> dict[str, Any]:
        checkpoint = read_checkpoint(filename)
        kind = find_kind(filename, checkpoint["model"])
        self.logger.info(f"{filename} is {kind.title}")
        wanted = kind.style.settings() if kind.style else recorded_style(filename, checkpoint)
        tensors, state = kind.translate(checkpoint["model"]), self.model.state_dict()
        check_whole(filename, kind, tensors, state)
        check_style(filename, wanted=wanted, found=self.style.settings())
        check_backbone(filename, kind, tensors, state)
        # The names are exact now, and so Detectron2 must not guess any.
        checkpoint.pop("matching_heuristics", None)
        # Other projects' optimizers and counters are none of ours.
        return {"model": tensors} if kind.style else {**checkpoint, "model": tensors}

    def _log_incompatible_keys(self, incompatible: Any) -> None:
        self.logger.info(loading_summary(self.model.state_dict(), incompatible))


class CompleteCheckpointer(RockCheckpointer):
    """Refuses weights that leave any part of the model as it was: nobody wants its noise."""

    def load(self, path: str, *args: Any, **kwargs: Any) -> dict[str, Any]:
        self._path = path
        return super().load(path, *args, **kwargs)

    def _log_incompatible_keys(self, incompatible: Any) -> None:
        wanted = learnt_values(self.model.state_dict())
        misshapen = {name for name, *_ in incompatible.incorrect_shapes}
        unfilled = [
            name for name in wanted if name in misshapen or name in incompatible.missing_keys
        ]
        if unfilled:
            raise ValueError(
                f"{self._path}: no trained model of this config: it fills "
                f"{len(wanted) - len(unfilled)} of {len(wanted)} tensors, and not {unfilled[0]}"
            )


def recorded_style(path: str, checkpoint: dict[str, Any]) -> dict[str, Any]:
    """What a checkpoint of Detectron2 tells: ours all, older ones mean and deviation."""
    style = checkpoint.pop("style", {})
    if not isinstance(style, dict) or not all(map(is_setting, style, style.values())):
        raise ValueError(f"{path}: its `style` is {reprlib.repr(style)}, not a dict of settings")
    buffers = {"MODEL.PIXEL_MEAN": "pixel_mean", "MODEL.PIXEL_STD": "pixel_std"}
    found = {
        key: [round(x, 3) for x in checkpoint["model"].pop(name).flatten().tolist()]
        for key, name in buffers.items()
        if name in checkpoint["model"]
    }
    return found | style


def check_style(path: str, *, wanted: Mapping[str, Any], found: Mapping[str, Any]) -> None:
    wrong = differing_settings(wanted, found)
    if wrong:
        have = ", ".join(f"{key} {found[key]}" for key in wrong)
        want = " ".join(f'{key} "{value}"' for key, value in wrong.items())
        raise ValueError(
            f"{path}: the config ({have}) contradicts how these weights were trained; set {want}"
        )


def check_whole(
    path: str,
    kind: WeightKind,
    tensors: Mapping[str, torch.Tensor],
    model_state: Mapping[str, torch.Tensor],
) -> None:
    """Raises if weights that belong to some configs only are not all of this model's."""
    wanted = {name: tuple(x.shape) for name, x in learnt_values(model_state).items()}
    found = {name: tuple(x.shape) for name, x in learnt_values(tensors).items()}
    differing = [name for name in {**wanted, **found} if wanted.get(name) != found.get(name)]
    if kind.configs and differing:
        first = differing[0]
        raise ValueError(
            f"{path}: {kind.title}, whose network is another than this config's: {first} is "
            f"{found.get(first, 'missing')} there and {wanted.get(first, 'missing')} here; "
            f"use {kind.configs}"
        )


def check_backbone(
    path: str,
    kind: WeightKind,
    tensors: Mapping[str, torch.Tensor],
    model_state: Mapping[str, torch.Tensor],
) -> None:
    """Raises if nothing of the backbone is in the file, or not all of a pre-trained backbone."""
    wanted = {name: x.shape for name, x in learnt_values(model_state, part="backbone").items()}
    misfits = [
        name for name in wanted if name not in tensors or tensors[name].shape != wanted[name]
    ]
    if len(misfits) == len(wanted) or (kind.style and misfits):
        first = misfits[0]
        found = f"is {tuple(tensors[first].shape)}" if first in tensors else "is missing"
        raise ValueError(
            f"{path}: {kind.title}, fits {len(wanted) - len(misfits)} of the backbone's "
            f"{len(wanted)} tensors: {first} {found}, but must be {tuple(wanted[first])}; "
            "compare MODEL.RESNETS with the network that these weights are from"
        )


def learnt_values(
    state: Mapping[str, torch.Tensor], part: str | None = None
) -> dict[str, torch.Tensor]:
    """Parameters and statistics, but not how many batches were seen."""
    return {
        name: x
        for name, x in state.items()
        if part in (None, name.split(".")[0]) and not name.endswith("num_batches_tracked")
    }


def loading_summary(state: Mapping[str, torch.Tensor], incompatible: Any) -> str:
    """How many values of each part came from the file, and which names found no partner."""
    shapes = {name: shapes for name, *shapes in incompatible.incorrect_shapes}
    missing = learnt_values(dict.fromkeys([*incompatible.missing_keys, *shapes], None))
    values = learnt_values(state)
    lines = ["Values taken from the file, by part:"]
    for part in dict.fromkeys(name.split(".")[0] for name in values):
        of_part = learnt_values(values, part)
        taken = sum(x.numel() for name, x in of_part.items() if name not in missing)
        total = sum(x.numel() for x in of_part.values())
        lines.append(f"  {part:<10}{taken:>14,} of {total:>12,}")
        absent = [name for name in of_part if name in missing]
        if absent and taken:
            lines.append(f"    initialised instead: {_few(absent)}")
    for name, (in_file, in_model) in shapes.items():
        lines.append(f"  other shape: {name} is {tuple(in_file)}, not {tuple(in_model)}")
    if incompatible.unexpected_keys:
        lines.append(f"  not in the model: {_few(incompatible.unexpected_keys)}")
    return "\n".join(lines)


def _few(names: list[str]) -> str:
    more = len(names) - NAMES_SHOWN
    return ", ".join(names[:NAMES_SHOWN]) + (f" and {more} more" if more > 0 else "")
