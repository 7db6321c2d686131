"""A trained model on one's own images. README.md and docs/PREDICT.md have examples."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from functools import partial
from itertools import chain, repeat
from os import PathLike
from typing import Any

import numpy as np
import torch
from detectron2.config import CfgNode
from detectron2.data import Metadata
from detectron2.modeling import build_model
from tqdm import tqdm

from rock_d2.checkpoint.checkpointer import CompleteCheckpointer
from rock_d2.checkpoint.classes import names_by_kind
from rock_d2.config import load_config
from rock_d2.data.mapper import Decoded, RockDatasetMapper
from rock_d2.results import Result
from rock_d2.sources import Source, images_of, is_video, items_of
from rock_d2.visualization import recorded_encodings


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
        """
        cfg = load_config(config, opts)
        # The whole model is loaded.
        cfg.MODEL.TIMM.PRETRAINED = False
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
        self._mapper = RockDatasetMapper(cfg, is_train=False, tasks=self.given)

    def __call__(
        self, source: Source, *, encodings: bool = False, progress: bool = False, **labels: Any
    ) -> Result | list[Result]:
        """Return the result of an image, or those of several.

        Args:
            source: an image: a file, an http(s) address, a PIL image or a uint8 (H, W, 3) array in
                RGB order; or several: a folder, a pattern such as "*/*.jpg", a video's file,
                "webcam", an address of a stream, a cv2.VideoCapture, or a sequence of these.
            encodings: whether a result has ``encodings``, each task's maps (K, h, w) before the
                pooling; images are then seen one by one, since a batch would pad them.
            labels: by the names of given tasks (MODEL.ROCK.GIVEN) a file, an array as ``Task.read``
                returns it, or a class's number; for several images a sequence, with None where one
                is missing.
        """
        items = list(items_of(source))
        single = len(items) == 1 and items[0] is source and not is_video(source)
        if single:
            labels = {name: [label] for name, label in labels.items()}
        results = list(self.stream(items, encodings=encodings, progress=progress, **labels))
        return results[0] if single else results

    def stream(
        self,
        source: Source,
        *,
        encodings: bool = False,
        progress: bool = False,
        on_error: Callable[[str], Any] | None = None,
        **labels: Any,
    ) -> Iterator[Result]:
        """Yield the results of images, batch by batch, for inputs of any length.

        Args:
            source, encodings, progress, labels: see ``__call__``; an iterator is read on the way.
            on_error: gets what is wrong with an image, which is then left out; by default a
                ValueError ends it all.
        """
        # The labels need the number of images.
        items = source if isinstance(source, Iterator) and not labels else list(items_of(source))
        total = None if isinstance(items, Iterator) or any(map(is_video, items)) else len(items)
        records = self._records(labels, total) if labels else repeat({})
        images = chain.from_iterable(map(images_of, items_of(items)))
        images = tqdm(images, desc="predicting", total=total, disable=not progress)
        batch: list[tuple[dict[str, Any], Callable[..., Result]]] = []
        for (name, read), record in zip(images, records, strict=False):
            try:
                image = read()
                item = self._item(image, record)
            except ValueError as error:
                if on_error is None:
                    raise
                on_error(str(error))
                continue
            facts = {"image": image, "name": name, "metadata": self.metadata}
            batch.append((item, partial(Result, tasks=self.tasks, **facts)))
            if len(batch) == (1 if encodings else self.batch_size):
                yield from self._results(batch, encodings)
                batch = []
        if batch:
            yield from self._results(batch, encodings)

    def _results(
        self, batch: Sequence[tuple[dict[str, Any], Callable[..., Result]]], encodings: bool
    ) -> list[Result]:
        recording = recorded_encodings(self.model) if encodings else nullcontext({})
        with torch.inference_mode(), recording as found:
            outputs = self.model([item for item, _ in batch])
        outputs = [{key: value.to("cpu") for key, value in out.items()} for out in outputs]
        if encodings:
            outputs[-1]["encodings"] = {name: maps[0].cpu() for name, maps in found.items()}
        return [make(output) for (_, make), output in zip(batch, outputs, strict=True)]

    def _records(
        self, labels: Mapping[str, Sequence[Any]], count: int | None
    ) -> list[dict[str, Any]]:
        """Return the labels of each of ``count`` images as its dataset dict has them."""
        if count is None:
            raise ValueError(f"{', '.join(labels)}: labels are given for images, not for a video")
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

    def _item(self, image: np.ndarray, labels: Mapping[str, Any]) -> dict[str, Any]:
        """Return a batch item; its ``height`` and ``width`` are the size of the outputs."""
        shape = image.shape
        if image.dtype != np.uint8 or len(shape) != 3 or shape[2] != 3 or not image.size:
            raise ValueError(f"image is {image.dtype} {shape}; it must be uint8 (H, W, 3), RGB")
        record = {**labels, "height": shape[0], "width": shape[1]}
        pixels = image if self._mapper.image_format == "RGB" else image[..., ::-1]
        loaded = {task.name: task.load(record) for task in self.given}
        return self._mapper.augment(record, Decoded(pixels, loaded))
