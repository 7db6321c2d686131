"""ROCK, the residual auxiliary block (sec. 2, figure 2)."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from detectron2.config import CfgNode, configurable
from detectron2.layers import Conv2d, ShapeSpec, get_norm
from torch import nn
from torch.nn import functional as F

from rock_d2.modeling.fusions.fusion import build_fusion
from rock_d2.modeling.necks.neck import NECK_REGISTRY, Neck, shape_of
from rock_d2.layers.init import own_seed
from rock_d2.tasks import Task, build_tasks


@NECK_REGISTRY.register()
class ROCK(Neck):
    """Encodes the auxiliary tasks, predicts them by pooling and merges them into X (eq. 1)."""

    @configurable
    def __init__(
        self,
        *,
        input_shape: Mapping[str, ShapeSpec],
        in_feature: str,
        tasks: Sequence[Task],
        width: int,
        norm: str,
        fusion: nn.Module,
        predict_auxiliary: bool = True,
    ):
        """
        Args:
            input_shape: of the backbone's features.
            in_feature: the name of X.
            tasks: the auxiliary tasks, at least one.
            width: of the encoders' shared trunk; the paper has C / 4 = 512.
            norm: normalisation of the trunk, a name that Detectron2's get_norm knows.
            fusion: merges the encodings into X.
            predict_auxiliary: whether the tasks are predicted at test time too; detection needs
                only the encoders and the fusion.
        """
        super().__init__(input_shape=input_shape, tasks=tasks)
        self.in_feature = in_feature
        self.predict_auxiliary = predict_auxiliary
        with own_seed("trunk"):
            self.trunk = nn.Sequential(
                conv_norm_relu(input_shape[in_feature].channels, width, kernel_size=1, norm=norm),
                conv_norm_relu(width, width, kernel_size=3, norm=norm),
            )
        self.encoders = nn.ModuleDict()
        for task in tasks:
            with own_seed(f"encoders.{task.name}"):
                # Linear: the encodings feed the pooling (supplement, sec. 1).
                self.encoders[task.name] = Conv2d(width, task.channels, kernel_size=1)
        self.fusion = fusion

    @classmethod
    def from_config(cls, cfg: CfgNode, input_shape: Mapping[str, ShapeSpec]) -> dict[str, Any]:
        rock = cfg.MODEL.ROCK
        tasks = build_tasks(cfg, needed_by=cls.__name__)
        x = shape_of(input_shape, rock.IN_FEATURE, setting="MODEL.ROCK.IN_FEATURE")
        return {
            "input_shape": input_shape,
            "in_feature": rock.IN_FEATURE,
            "tasks": tasks,
            "width": rock.WIDTH,
            "norm": rock.NORM,
            "fusion": build_fusion(
                rock.FUSION.NAME,
                out_channels=x.channels,
                encoding_channels={task.name: task.channels for task in tasks},
                norm=rock.NORM,
                switched_off=names_of(rock.FUSION.SWITCHED_OFF, tasks),
            ),
            "predict_auxiliary": rock.PREDICT_AUXILIARY,
        }

    def forward(
        self, features: dict[str, torch.Tensor]
    ) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
        x = features[self.in_feature]
        trunk = self.trunk(x)
        encodings = {task: encoder(trunk) for task, encoder in self.encoders.items()}
        refined = self.fusion(x, encodings)
        return {**features, self.in_feature: refined}, self.predict(encodings)

    def predict(self, encodings: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Equation 2: y_t = Pool_t(Enc_t(X))."""
        if not (self.training or self.predict_auxiliary):
            return {}
        return {task: predictor(encodings[task]) for task, predictor in self.predictors.items()}


def names_of(registered: Sequence[str], tasks: Sequence[Task]) -> list[str]:
    """The names of those tasks that are registered under these."""
    names = {type(task).__name__: task.name for task in tasks}
    unknown = [name for name in registered if name not in names]
    if unknown:
        raise ValueError(
            f"MODEL.ROCK.FUSION.SWITCHED_OFF: {unknown[0]!r} is none of MODEL.ROCK.TASKS, "
            f"{', '.join(names)}"
        )
    return [names[name] for name in registered]


def conv_norm_relu(in_channels: int, out_channels: int, *, kernel_size: int, norm: str) -> Conv2d:
    """A convolution that keeps the map's size."""
    return Conv2d(
        in_channels,
        out_channels,
        kernel_size=kernel_size,
        padding=kernel_size // 2,
        bias=norm == "",
        norm=get_norm(norm, out_channels),
        activation=F.relu,
    )
