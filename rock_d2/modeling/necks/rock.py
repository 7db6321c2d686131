"""ROCK, the residual auxiliary block (sec. 2, figure 2)."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from detectron2.config import CfgNode, configurable
from detectron2.layers import Conv2d, ShapeSpec
from torch import nn

from rock_d2.layers import block_average, block_repeat, check_norm, conv_norm_relu, own_seed
from rock_d2.modeling.fusions import FUSION_REGISTRY
from rock_d2.modeling.necks.blocks import coarse_to_fine, for_each_task, task_names
from rock_d2.modeling.necks.neck import NECK_REGISTRY, Extents, Features, Labels, Neck, Predictions
from rock_d2.registry import registered
from rock_d2.tasks import Task


@NECK_REGISTRY.register()
class ROCK(Neck):
    """Encodes the tasks, predicts them by pooling and merges the encodings into X (eq. 1).

    A block for each of several maps X; these may share their trunk.
    """

    @configurable
    def __init__(
        self,
        *,
        input_shape: Mapping[str, ShapeSpec],
        in_features: Sequence[str],
        shared_trunk: bool,
        width: int,
        norm: str,
        fusion: str,
        switched_off: Sequence[str] = (),
        given: Sequence[str] = (),
        given_probability: float = 1.0,
        **settings: Any,
    ):
        """``add_config`` explains the settings that are not of ``Neck``.

        ``switched_off`` and ``given`` have names of tasks, not the registered ones.
        """
        super().__init__(**settings)
        shapes = coarse_to_fine(input_shape, in_features, setting="MODEL.ROCK.IN_FEATURES")
        check_settings(shapes, self.tasks, shared_trunk=shared_trunk, width=width, norm=norm)
        check_given(given, given_probability, [task.name for task in self.tasks])
        self.given = tuple(task for task in self.tasks if task.name in given)
        self.given_probability = given_probability
        fusion_type = registered(FUSION_REGISTRY, fusion, setting="MODEL.ROCK.FUSION.NAME")
        # By the name of the map whose encoders it feeds.
        self.trunk_of = {name: next(iter(shapes)) if shared_trunk else name for name in shapes}
        self.trunk, self.encoders, self.fusion = nn.ModuleDict(), nn.ModuleDict(), nn.ModuleDict()
        for name in list(shapes)[:1] if shared_trunk else shapes:
            with own_seed(f"trunk.{name}"):
                self.trunk[name] = self.make_trunk(shapes[name].channels, width, norm)
        for name, x in shapes.items():
            with own_seed(name):
                self.encoders[name] = self.make_encoders(width, norm)
                self.fusion[name] = fusion_type(
                    out_channels=x.channels,
                    encoding_channels={task.name: task.channels for task in self.tasks},
                    norm=norm,
                    switched_off=switched_off,
                    image_tasks=[task.name for task in self.tasks if not task.is_map],
                )

    @classmethod
    def add_config(cls, node: CfgNode) -> None:
        node.ROCK = CfgNode()
        # The feature maps X; FlatMTL predicts from them, too.
        node.ROCK.IN_FEATURES = ["res5"]
        # Whether several maps have one trunk.
        node.ROCK.SHARED_TRUNK = False
        # Tasks, by their registered names, whose true labels the decoders take, in training and at
        # test: the upper bound of what they can bring. Where a label is unknown, its prediction.
        node.ROCK.GIVEN = []
        # Probability with which, in training, an image's label of each of these tasks is given;
        # below 1 the model learns to do with and without. At test time what the images have is.
        node.ROCK.GIVEN_PROBABILITY = 1.0
        # Channels of the encoders' trunk: 2048 / 4 (supplement, sec. 1).
        node.ROCK.WIDTH = 512
        # Normalisation in trunk and decoders.
        node.ROCK.NORM = "BN"

        node.ROCK.FUSION = CfgNode()
        # "SumFusion" (equation 1), "ProductFusion" (table 5), "NoFusion" (table 1), "GatedFusion",
        # "AttentionFusion" or "ContextFusion".
        node.ROCK.FUSION.NAME = "SumFusion"
        # Tasks, by their registered names, whose decoders are left out at test time.
        node.ROCK.FUSION.SWITCHED_OFF = []

    @classmethod
    def from_config(cls, cfg: CfgNode, input_shape: Mapping[str, ShapeSpec]) -> dict[str, Any]:
        rock = cfg.MODEL.ROCK
        return super().from_config(cfg, input_shape) | {
            "input_shape": input_shape,
            "in_features": rock.IN_FEATURES,
            "shared_trunk": rock.SHARED_TRUNK,
            "width": rock.WIDTH,
            "norm": rock.NORM,
            # Without a detector nothing would train the decoders.
            "fusion": rock.FUSION.NAME if cfg.MODEL.DETECTOR else "NoFusion",
            "switched_off": task_names(
                rock.FUSION.SWITCHED_OFF, setting="MODEL.ROCK.FUSION.SWITCHED_OFF"
            ),
            "given": task_names(rock.GIVEN, setting="MODEL.ROCK.GIVEN"),
            "given_probability": rock.GIVEN_PROBABILITY,
        }

    def make_trunk(self, channels: int, width: int, norm: str) -> nn.Module:
        return nn.Sequential(
            conv_norm_relu(channels, width, kernel_size=1, norm=norm),
            conv_norm_relu(width, width, kernel_size=3, norm=norm),
        )

    def make_encoders(self, width: int, norm: str) -> nn.ModuleDict:
        """Return one linear layer a task: the encodings feed the pooling (supplement, sec. 1)."""
        return for_each_task(
            "encoders", self.tasks, lambda task: Conv2d(width, task.channels, kernel_size=1)
        )

    def forward(
        self, features: Features, extents: Extents | None = None, labels: Labels | None = None
    ) -> tuple[Features, Predictions]:
        refined, predictions = dict(features), {task.name: [] for task in self.tasks}
        given = {task: self.chosen(labels[task.name]) for task in self.given if labels}
        for name, encoders in self.encoders.items():
            x = features[name]
            trunk = self.trunk[self.trunk_of[name]](x)
            encodings = {task: encode(trunk) for task, encode in encoders.items()}
            truth = {
                t.name: true_encoding(t, labels[t.name], chosen, encodings[t.name])
                for t, chosen in given.items()
            }
            refined[name] = self.fusion[name](x, encodings | truth, extents)
            for task, prediction in self.predict(encodings, extents).items():
                predictions[task].append(prediction)
        return refined, predictions

    def chosen(self, label: torch.Tensor) -> torch.Tensor:
        """Return bool (N, 1, 1, 1), whether each image's label of a given task is given."""
        shape = len(label), 1, 1, 1
        if not self.training or self.given_probability == 1:
            return torch.ones(shape, dtype=torch.bool, device=label.device)
        return torch.rand(shape, device=label.device) < self.given_probability

    def predict(
        self, encodings: Mapping[str, torch.Tensor], extents: Extents | None
    ) -> dict[str, torch.Tensor]:
        """Return y_t = Pool_t(Enc_t(X)) (equation 2)."""
        maps = {t.name: block_average(encodings[t.name], t.num_outputs) for t in self.predicted}
        return self.activate(maps, extents)


def true_encoding(
    task: Task, label: torch.Tensor, chosen: torch.Tensor, encoding: torch.Tensor
) -> torch.Tensor:
    """Return the encoding whose pooling is the label; the predicted one where it is unknown.

    So it is in images that are not ``chosen``, bool (N, 1, 1, 1).
    """
    maps, known = task.target_maps(label, encoding.shape[-2:])
    truth = block_repeat(maps, task.channels).to(encoding.dtype)
    return torch.where(known & chosen, truth, encoding)


def check_given(given: Sequence[str], probability: float, names: Sequence[str]) -> None:
    """Raise ValueError for other ``given`` tasks than ``names``, or what is no probability."""
    if len({*given} & {*names}) < len(given):
        raise ValueError(f"MODEL.ROCK.GIVEN: {list(given)} must be different ones of {names}")
    if not 0 <= probability <= 1:
        raise ValueError(f"MODEL.ROCK.GIVEN_PROBABILITY is {probability}; it must be from 0 to 1")


def check_settings(
    shapes: Mapping[str, ShapeSpec],
    tasks: Sequence[Task],
    *,
    shared_trunk: bool,
    width: int,
    norm: str,
) -> None:
    """Raise ValueError for settings of ROCK that do not fit the maps or the tasks."""
    if shared_trunk and len({shape.channels for shape in shapes.values()}) > 1:
        raise ValueError(
            f"MODEL.ROCK.SHARED_TRUNK: the maps {list(shapes)} have different channels"
        )
    if width < 1:
        raise ValueError(f"MODEL.ROCK.WIDTH is {width}; it must be 1 or more")
    check_norm(norm, [width, *(x.channels for x in shapes.values())], setting="MODEL.ROCK.NORM")
    for task in tasks:
        if task.channels < 1 or task.channels % task.num_outputs:
            raise ValueError(
                f"MODEL.TASKS.{task.name.upper()}.CHANNELS is {task.channels}; it must be a "
                f"multiple of {task.num_outputs}"
            )
