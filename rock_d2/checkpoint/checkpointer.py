"""Loading and saving of weights: any known layout as MODEL.WEIGHTS, checked against the model."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import torch
from detectron2.checkpoint import DetectionCheckpointer
from detectron2.config import CfgNode, configurable
from fvcore.common.checkpoint import (
    get_missing_parameters_message,
    get_unexpected_parameters_message,
)
from torch import nn

from rock_d2.checkpoint.classes import names_by_kind
from rock_d2.checkpoint.downloads import local_file
from rock_d2.checkpoint.files import CheckpointFiles
from rock_d2.checkpoint.formats import Tensors, WeightFormat, backbone_place, find_format, learned
from rock_d2.checkpoint.loading import read_weights


class RockCheckpointer(DetectionCheckpointer):
    """Takes all weights of ``WEIGHT_FORMATS``, and refuses those that do not fit.

    A checkpoint that it saves also holds ``style``, so that a model never gets images of another
    kind than it was trained with, and ``classes``, their names.
    """

    @configurable
    def __init__(
        self,
        model: nn.Module,
        save_dir: str = "",
        *,
        style: Mapping[str, Any],
        classes: Mapping[str, list[str]],
        num_kept: int = 0,
        save_to_disk: bool | None = None,
        **checkpointables: Any,
    ):
        """Take ``style`` of ``style_of`` and ``classes`` of ``names_by_kind``.

        Of numbered checkpoints ``num_kept`` stay, or all (0). The rest is Detectron2's.
        """
        super().__init__(model, save_dir, save_to_disk=save_to_disk, **checkpointables)
        self.style, self.classes = dict(style), dict(classes)
        self.files = CheckpointFiles(save_dir, num_kept)

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        return {"style": style_of(cfg), "classes": names_by_kind(cfg)}

    def save(self, name: str, **kwargs: Any) -> None:
        if not self.save_dir or not self.save_to_disk:
            return
        states = {key: obj.state_dict() for key, obj in self.checkpointables.items()}
        content = {"model": self.model.state_dict(), **states}
        content |= {"style": self.style, "classes": self.classes}
        self.logger.info(f"Saving checkpoint to {self.save_dir}/{name}.pth")
        self.files.write(name, content | kwargs)

    def load(self, path: str, checkpointables: Sequence[str] | None = None) -> dict[str, Any]:
        """Load the model and the checkpointables of these names (None: all); return the rest."""
        if not path:
            self.logger.info("No weights are loaded: the model is initialised from scratch")
            return {}
        file = local_file(path)
        return self.restore(file, self.read(file), checkpointables)

    def read(self, file: str) -> dict[str, Any]:
        """Return a file's content, its weights checked and with the model's names."""
        checkpoint = read_weights(file)
        stored, state = checkpoint["model"], self.model.state_dict()
        kind = find_format(file, stored, state)
        self.logger.info(f"{file}: {kind.title}")
        recorded = recorded_style(checkpoint)
        try:
            tensors = kind.translate(stored, state)
        except (RuntimeError, TypeError, LookupError) as error:
            raise ValueError(f"{file}: not {kind.title}, as it seems: {error}") from error
        check_fit(file, kind, tensors, state)
        check_style(file, wanted=kind.style(stored) or recorded, found=self.style)
        # Optimizers and counters of other projects are of no use here.
        return {"model": tensors} if kind.fills else {**checkpoint, "model": tensors}

    def restore(
        self, file: str, checkpoint: dict[str, Any], checkpointables: Sequence[str] | None = None
    ) -> dict[str, Any]:
        """Load what ``read`` has returned, as ``load`` does."""
        tensors, state = checkpoint.pop("model"), self.model.state_dict()
        for name in tensors.keys() & state.keys():
            there, here = tuple(tensors[name].shape), tuple(state[name].shape)
            if there != here:
                self.logger.warning(f"{name} is {there} in the file and {here} here: not loaded")
                del tensors[name]
        check_frozen(file, self.model, tensors)
        self.check_unfilled(file, [n for n in learned(state) if n not in tensors], learned(state))
        unused = self.model.load_state_dict(tensors, strict=False).unexpected_keys
        unused = [name for name in learned(unused) if "cell_anchors" not in name]
        if unused:
            self.logger.warning(get_unexpected_parameters_message(unused))
        for key in self.checkpointables if checkpointables is None else checkpointables:
            if key in checkpoint:
                self.logger.info(f"Loading {key} from {file}")
                self.checkpointables[key].load_state_dict(checkpoint.pop(key))
        return checkpoint

    def check_unfilled(self, file: str, unfilled: list[str], names: Collection[str]) -> None:
        """Log the names of the model's tensors that a file does not fill."""
        if unfilled:
            self.logger.warning(get_missing_parameters_message(unfilled))


class CompleteCheckpointer(RockCheckpointer):
    """Refuses weights that leave a part of the model untrained."""

    def check_unfilled(self, file: str, unfilled: list[str], names: Collection[str]) -> None:
        if unfilled:
            raise ValueError(
                f"{file}: not a trained model of this config: it fills "
                f"{len(names) - len(unfilled)} of {len(names)} tensors, and not {unfilled[0]}"
            )


def check_frozen(file: str, model: nn.Module, tensors: Mapping[str, torch.Tensor]) -> None:
    """Raise ValueError if statistics of frozen normalisation are lacking."""
    trained = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)
    frozen = {
        id(buffer)
        for module in model.modules()
        if hasattr(module, "running_mean") and not isinstance(module, trained)
        for buffer in module.buffers(recurse=False)
    }
    # By identity, since the names in a state dict need not be those of the modules.
    state = model.state_dict(keep_vars=True)
    lacking = [n for n in learned(state) if id(state[n]) in frozen and n not in tensors]
    if lacking:
        raise ValueError(
            f"{file}: lacks {lacking[0]} of frozen normalisation, which no training would learn; "
            "take a complete file, or another normalisation than FrozenBN there"
        )


def style_of(cfg: CfgNode) -> dict[str, Any]:
    """Return the settings that a backbone was trained with and that its tensors do not show."""
    resnets = cfg.MODEL.RESNETS
    return {
        "INPUT.FORMAT": cfg.INPUT.FORMAT,
        "MODEL.PIXEL_MEAN": [round(x, 3) for x in cfg.MODEL.PIXEL_MEAN],
        "MODEL.PIXEL_STD": [round(x, 3) for x in cfg.MODEL.PIXEL_STD],
        # ResNet-18 and 34 have no bottlenecks.
        "MODEL.RESNETS.STRIDE_IN_1X1": resnets.STRIDE_IN_1X1 if resnets.DEPTH >= 50 else None,
    }


def recorded_style(checkpoint: dict[str, Any]) -> dict[str, Any]:
    """Return the style in a checkpoint: ours hold all of it, old ones of Detectron2 some."""
    pixels = {
        f"MODEL.{name.upper()}": [round(x, 3) for x in value.flatten().tolist()]
        for name, value in checkpoint["model"].items()
        if name in ("pixel_mean", "pixel_std")
    }
    return pixels | checkpoint.pop("style", {})


def check_style(path: str, *, wanted: Mapping[str, Any], found: Mapping[str, Any]) -> None:
    """Raise ValueError if the config's images are of another kind than the weights'."""
    wrong = {
        key: wanted[key]
        for key in found
        if None not in (wanted.get(key), found[key]) and wanted[key] != found[key]
    }
    if wrong:
        have = ", ".join(f"{key} {found[key]}" for key in wrong)
        want = " ".join(f'{key} "{value}"' for key, value in wrong.items())
        raise ValueError(
            f"{path}: the config ({have}) contradicts how these weights were trained; set {want}"
        )


def check_fit(
    path: str, kind: WeightFormat, tensors: Tensors, state: Mapping[str, torch.Tensor]
) -> None:
    """Raise ValueError if a file does not fill the part of the model that its format must fill.

    Any file fills some of the backbone.
    """
    names = learned(state)
    fits = {name for name in names if name in tensors and tensors[name].shape == state[name].shape}
    if kind.fills == "model":
        required = list(dict.fromkeys([*names, *learned(tensors)]))
    else:
        required = [name for name in names if name.startswith(backbone_place(state))]
    if not kind.fills and fits.intersection(required):
        return
    unfit = [name for name in required if name not in fits]
    if unfit:
        first = unfit[0]
        there, here = (tuple(x[first].shape) if first in x else "missing" for x in (tensors, state))
        raise ValueError(
            f"{path}: {kind.title}, fits {len(required) - len(unfit)} of {len(required)} tensors "
            f"that it must fill: {first} is {there} there and {here} here; {kind.remedy}"
        )
