"""A trained model on one's own images.

from rock_d2 import Predictor

predictor = Predictor("configs/rock/rock_rooms.yaml", "output/rock_rooms/model_final.pth")
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
from rock_d2.classes import class_names, with_class_names
from rock_d2.config import load_config
from rock_d2.data.augmentation import build_augmentations
from rock_d2.export.fuse import inference_copy
from rock_d2.image_files import read_color_image
from rock_d2.visualization import recorded_encodings

Image: TypeAlias = np.ndarray | str | PathLike


class Predictor:
    """Detections and the tasks' predictions for images of any size, each at its image's own size.

    Attributes:
        model: in evaluation mode, with its layers folded where TEST.FOLD asks for it.
        tasks: those that it predicts.
        metadata: names of its classes, and the facts of the config's first test set.
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
            config: of the model, or the file that holds it.
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
        model = build_model(cfg).eval()
        CompleteCheckpointer(cfg, model=model).load(cfg.MODEL.WEIGHTS)
        self.model = inference_copy(model, cfg)
        self.tasks = self.model.neck.tasks
        names = cfg.DATASETS.TEST
        self.metadata = with_class_names(names[0], class_names(cfg)) if names else Metadata()
        self.batch_size = batch_size
        self._augmentations = T.AugmentationList(build_augmentations(cfg, is_train=False))
        self._reverse_channels = cfg.INPUT.FORMAT == "BGR"

    def __call__(
        self, images: Image | Sequence[Image], *, encodings: bool = False
    ) -> dict[str, Any] | list[dict[str, Any]]:
        """Return the model's output for an image, or for each of several, on the CPU.

        Args:
            images: file names, or uint8 (H, W, 3) arrays in RGB order.
            encodings: whether an output has ``encodings``, each task's maps (K, h, w) before the
                pooling; images are then seen one by one, since a batch would pad them.
        """
        if isinstance(images, np.ndarray | str | PathLike):
            return self([images], encodings=encodings)[0]
        size, outputs = 1 if encodings else self.batch_size, []
        for start in range(0, len(images), size):
            batch = [self._item(image) for image in images[start : start + size]]
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

    def _item(self, image: Image) -> dict[str, Any]:
        """Return a batch item; its ``height`` and ``width`` are the size of the outputs."""
        if not isinstance(image, np.ndarray):
            image = read_color_image(image)
        shape = image.shape
        if image.dtype != np.uint8 or len(shape) != 3 or shape[2] != 3 or not image.size:
            raise ValueError(f"image is {image.dtype} {shape}; it must be uint8 (H, W, 3), RGB")
        height, width = image.shape[:2]
        view = T.AugInput(image[..., ::-1] if self._reverse_channels else image)
        self._augmentations(view)
        resized = np.ascontiguousarray(view.image.transpose(2, 0, 1))
        return {"image": torch.from_numpy(resized), "height": height, "width": width}
