"""A trained model on one's own images.

from rock_d2 import Predictor

predictor = Predictor("rock_rooms")  # or a config and weights of one's own
outputs = predictor(["kitchen.jpg", "office.jpg"])
"""

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from os import PathLike
from typing import Any, TypeAlias

import numpy as np
import torch
from detectron2.config import CfgNode
from detectron2.data import Metadata
from detectron2.data import transforms as T
from detectron2.modeling import build_model

from rock_d2.checkpoint.checkpointer import CompleteCheckpointer
from rock_d2.classes import names_by_kind
from rock_d2.config import load_config
from rock_d2.data.augmentation import build_augmentations
from rock_d2.image_files import read_color_image
from rock_d2.visualization import recorded_encodings

Image: TypeAlias = np.ndarray | str | PathLike


class Predictor:
    """Detections and the tasks' predictions for images of any size, each at its image's own size.

    Attributes:
        model: in evaluation mode.
        tasks: those that it predicts.
        given: those of them whose labels it takes where it gets any.
        metadata: names of its classes, from the file of the weights, or else from the config's
            data sets.
    """

    def __init__(
        self,
        config: CfgNode | str | PathLike,
        weights: str | PathLike | None = None,
        *,
        opts: Sequence[str] = (),
        batch_size: int = 8,
    ):
        """
        Args:
            config: of the model, its file, or its name in ``configs/``; "rock_rooms" is the trained
                model that comes with the project.
            weights: of the whole model; by default the config's MODEL.WEIGHTS.
            opts: KEY VALUE pairs that change the config.
            batch_size: images that the model sees at once.
        """
        cfg = load_config(config, opts)
        if weights is not None:
            cfg.MODEL.WEIGHTS = str(weights)
        if not torch.cuda.is_available():
            cfg.MODEL.DEVICE = "cpu"
        if not cfg.MODEL.WEIGHTS:
            raise ValueError(
                "no weights: name a trained model's file (MODEL.WEIGHTS, --weights), such as "
                "model_final.pth in the OUTPUT_DIR of a training"
            )
        self.model = build_model(cfg).eval().to(memory_format=torch.channels_last)
        stored = CompleteCheckpointer(cfg, model=self.model).load(cfg.MODEL.WEIGHTS)
        self.tasks, self.given = self.model.neck.tasks, self.model.neck.given
        self.metadata = Metadata(**stored.get("classes") or names_by_kind(cfg))
        self.batch_size = batch_size
        self._augmentations = T.AugmentationList(build_augmentations(cfg, is_train=False))
        self._reverse_channels = cfg.INPUT.FORMAT == "BGR"

    def __call__(
        self, images: Image | Sequence[Image], *, encodings: bool = False, **labels: Any
    ) -> dict[str, Any] | list[dict[str, Any]]:
        """Return the model's output for an image, or for each of several, on the CPU.

        Args:
            images: file names, or uint8 (H, W, 3) arrays in RGB order.
            encodings: whether an output has ``encodings``, each task's maps (K, h, w) before the
                pooling; images are then seen one by one, since a batch would pad them.
            labels: by the names of given tasks (MODEL.ROCK.GIVEN) a file, an array as ``Task.read``
                returns it, in metres for example, or a class's number; for several images a
                sequence, with None where one is missing.
        """
        if isinstance(images, np.ndarray | str | PathLike):
            single = {name: [label] for name, label in labels.items()}
            return self([images], encodings=encodings, **single)[0]
        pairs = list(zip(images, self._records(labels, len(images)), strict=True))
        size, outputs = 1 if encodings else self.batch_size, []
        for start in range(0, len(images), size):
            batch = [self._item(*pair) for pair in pairs[start : start + size]]
            recording = recorded_encodings(self.model) if encodings else nullcontext({})
            with torch.inference_mode(), recording as found:
                outputs += self.model(batch)
            if encodings:
                outputs[-1]["encodings"] = {name: maps[0].cpu() for name, maps in found.items()}
        return [
            {key: value if key == "encodings" else value.to("cpu") for key, value in output.items()}
            for output in outputs
        ]

    def rankings(self, output: Mapping[str, Any], count: int) -> dict[str, dict[str, float]]:
        """Return the ``count`` most probable classes, best first, by each task that has classes."""
        found = {
            task.name: task.ranking(output[task.name].numpy(), self.metadata, count)
            for task in self.tasks
            if task.name in output
        }
        return {name: ranking for name, ranking in found.items() if ranking}

    def _records(self, labels: Mapping[str, Sequence[Any]], count: int) -> list[dict[str, Any]]:
        """Return the labels of each of ``count`` images as its dataset dict has them."""
        fields = {task.name: task.field for task in self.given}
        if unknown := sorted(labels.keys() - fields.keys()):
            raise ValueError(
                f"{', '.join(unknown)}: the model does not take these labels, but those of: "
                f"{', '.join(fields) or 'no task'} (MODEL.ROCK.GIVEN)"
            )
        for name, values in labels.items():
            if len(values) != count:
                raise ValueError(f"{name}: there are {len(values)} labels and {count} images")
        return [
            {fields[name]: values[i] for name, values in labels.items() if values[i] is not None}
            for i in range(count)
        ]

    def _item(self, image: Image, labels: Mapping[str, Any]) -> dict[str, Any]:
        """Return a batch item; its ``height`` and ``width`` are the size of the outputs."""
        if not isinstance(image, np.ndarray):
            image = read_color_image(image)
        shape = image.shape
        if image.dtype != np.uint8 or len(shape) != 3 or shape[2] != 3 or not image.size:
            raise ValueError(f"image is {image.dtype} {shape}; it must be uint8 (H, W, 3), RGB")
        size = {"height": shape[0], "width": shape[1]}
        view = T.AugInput(image[..., ::-1] if self._reverse_channels else image)
        transforms = self._augmentations(view)
        resized = np.ascontiguousarray(view.image.transpose(2, 0, 1))
        item = {"image": torch.from_numpy(resized), **size}
        for task in self.given:
            label = task.load({**labels, **size})
            if label is not None:
                item[task.name] = task.to_tensor(task.transform(label, transforms))
        return item
