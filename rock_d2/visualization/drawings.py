"""Drawings of objects, of the labels of a dataset dict and of the predictions of a model."""

from collections.abc import Mapping, Sequence
from string import ascii_lowercase
from types import MappingProxyType
from typing import Any

import cv2
import numpy as np
import torch
from detectron2.data import Metadata
from detectron2.structures import BoxMode, Instances
from detectron2.utils.visualizer import Visualizer

from rock_d2.image_files import read_color_image
from rock_d2.tasks import Task
from rock_d2.tasks.base import Drawing
from rock_d2.visualization.encodings import heat_map
from rock_d2.visualization.panels import panel_row, panel_size


def draw_record(record: Mapping[str, Any], tasks: Sequence[Task], metadata: Metadata) -> np.ndarray:
    """Draw a dataset dict as one row of panels: the objects, then each task's map.

    Returns:
        uint8 (H, W, 3), RGB. Labels that are not maps stand in the first panel's caption.
    """
    image = read_color_image(record["file_name"])
    labels = {task: task.read(record) for task in tasks}
    drawings = [object_drawing(image, record, metadata), *label_drawings(labels, metadata)]
    return panel_row(image, merge_captions(drawings))


def draw_item(
    item: Mapping[str, Any], tasks: Sequence[Task], metadata: Metadata, *, image_format: str
) -> np.ndarray:
    """Draw a training item of RockDatasetMapper as ``draw_record`` draws dataset dicts.

    Args:
        item: as the model gets it.
        tasks, metadata: of the data set.
        image_format: "RGB" or "BGR", the order of the item's channels.
    """
    image = np.moveaxis(item["image"].numpy(), 0, 2)
    image = np.ascontiguousarray(image if image_format == "RGB" else image[..., ::-1])
    labels = {task: item.get(task.name) for task in tasks}
    for task, label in labels.items():
        if isinstance(label, torch.Tensor):
            labels[task] = task.as_values(label.numpy())
    objects = item["instances"]
    classes = objects.gt_classes.tolist()
    drawn = draw_objects(
        image,
        objects.gt_boxes.tensor.numpy(),
        classes,
        [class_title(label, metadata) for label in classes],
        masks=objects.get("gt_masks") if objects.has("gt_masks") else None,
    )
    drawings = [Drawing(counted(len(objects)), drawn), *label_drawings(labels, metadata)]
    return panel_row(image, merge_captions(drawings))


def draw_predictions(
    record: Mapping[str, Any],
    output: Mapping[str, Any],
    tasks: Sequence[Task],
    metadata: Metadata,
    score_threshold: float = 0.5,
) -> np.ndarray:
    """Draw a model's output as one row of panels: the image, the detections, each task's map.

    Args:
        record: a dataset dict; of its labels only the range of the colours is taken.
        output: of the model, and the ``encodings`` if they were recorded.
        tasks: those to be shown, where ``output`` has them.
        metadata: of the data set.
        score_threshold: of the detections shown.

    Returns:
        uint8 (H, W, 3), RGB. Predictions without a map stand in the detections' caption.
    """
    image = read_color_image(record["file_name"])
    references = {task.name: task.read(record) for task in tasks}
    drawings = prediction_drawings(
        image, output, tasks, metadata, score_threshold, references=references
    )
    return panel_row(image, [Drawing("input", image), *merge_captions(drawings)])


def draw_comparison(
    record: Mapping[str, Any],
    output: Mapping[str, Any],
    tasks: Sequence[Task],
    metadata: Metadata,
    score_threshold: float = 0.5,
    baseline: Mapping[str, Any] | None = None,
) -> np.ndarray:
    """Draw the paper's figure 3: the predictions of an image, and below them the ground truth.

    Args:
        record, output, tasks, metadata, score_threshold: see ``draw_predictions``.
        baseline: another model's output for the image; its detections come first.
    """
    image = read_color_image(record["file_name"])
    shown = [task for task in tasks if task.name in output]
    labels = {task: task.read(record) for task in shown}
    references = {task.name: label for task, label in labels.items()}
    found = prediction_drawings(
        image, output, shown, metadata, score_threshold, references=references
    )
    if baseline is not None:
        other = prediction_drawings(image, baseline, (), metadata, score_threshold)
        found = [d._replace(caption=f"baseline: {d.caption}") for d in other] + found
    predicted = [
        drawing._replace(caption=f"({letter}) {drawing.caption}")
        for letter, drawing in zip(ascii_lowercase, [Drawing("input", image), *found], strict=False)
    ]
    truth = label_drawings(labels, metadata)
    objects = object_drawing(image, record, metadata)
    num_empty = len(predicted) - len(truth) - ("instances" in output)
    true = [Drawing("", None)] * num_empty
    if "instances" in output:
        true.append(objects._replace(caption=f"truth: {objects.caption}"))
    return np.vstack([panel_row(image, predicted), panel_row(image, [*true, *truth])])


def prediction_drawings(
    image: np.ndarray,
    output: Mapping[str, Any],
    tasks: Sequence[Task],
    metadata: Metadata,
    score_threshold: float,
    *,
    references: Mapping[str, Any] = MappingProxyType({}),
) -> list[Drawing]:
    """Return the drawings of a model's output: the detections, then each task's prediction.

    Args:
        image: RGB.
        output, tasks, metadata, score_threshold: see ``draw_predictions``.
        references: the truth by the task's name, where it is known.
    """
    drawings = []
    if "instances" in output:
        drawings.append(detection_drawing(image, output["instances"], metadata, score_threshold))
    for task in tasks:
        if task.name in output:
            values = task.as_values(to_numpy(output[task.name]))
            reference = references.get(task.name)
            drawing = task.draw(values, metadata, reference=reference)
            encoding = output.get("encodings", {}).get(task.name)
            if drawing.image is None and encoding is not None:
                shown = int(values.argmax()) if reference is None else reference
                drawing = heat_map(drawing, to_numpy(encoding)[shown])
            drawings.append(drawing)
    return drawings


def detection_drawing(
    image: np.ndarray, instances: Instances, metadata: Metadata, score_threshold: float
) -> Drawing:
    """Return the drawing of those detections that score at least ``score_threshold``."""
    found = instances[instances.scores >= score_threshold].to("cpu")
    classes = found.pred_classes.tolist()
    names = [
        f"{class_title(label, metadata)} {score:.0%}"
        for label, score in zip(classes, found.scores.tolist(), strict=True)
    ]
    boxes = found.pred_boxes.tensor.numpy()
    masks = found.pred_masks.numpy() if found.has("pred_masks") else None
    drawn = draw_objects(image, boxes, classes, names, masks=masks)
    return Drawing(f"{counted(len(found))} (score from {score_threshold:g})", drawn)


def object_drawing(image: np.ndarray, record: Mapping[str, Any], metadata: Metadata) -> Drawing:
    """Return the drawing of a dataset dict's objects."""
    objects = record["annotations"]
    boxes = [BoxMode.convert(o["bbox"], o["bbox_mode"], BoxMode.XYXY_ABS) for o in objects]
    classes = [o["category_id"] for o in objects]
    names = [class_title(label, metadata) for label in classes]
    masks = [o["segmentation"] for o in objects if o.get("segmentation")]
    if len(masks) < len(objects):
        masks = None
    drawn = draw_objects(image, np.reshape(boxes, (-1, 4)), classes, names, masks=masks)
    return Drawing(counted(len(objects)), drawn)


def label_drawings(labels: Mapping[Task, Any], metadata: Metadata) -> list[Drawing]:
    return [
        Drawing(f"no {task.name}", None) if label is None else task.draw(label, metadata)
        for task, label in labels.items()
    ]


def draw_objects(
    image: np.ndarray,
    boxes: np.ndarray,
    classes: Sequence[int],
    names: Sequence[str],
    *,
    masks: Any = None,
) -> np.ndarray:
    """Return the image, enlarged so that text is legible, with objects; a class has its colour.

    ``masks`` has any form that Detectron2's Visualizer takes.
    """
    scale = panel_size(image)[0] / image.shape[1]
    canvas = Visualizer(image, scale=scale)
    colours = [class_colour(label) for label in classes]
    drawn = canvas.overlay_instances(
        boxes=boxes, labels=names, masks=masks, assigned_colors=colours
    )
    return drawn.get_image()


def class_colour(label: int) -> np.ndarray:
    """Return RGB in [0, 1]; hues are a golden ratio apart, so that neighbours differ clearly."""
    hsv = np.uint8([[[round(label * 0.618034 % 1 * 179), 200, 255]]])
    return cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)[0, 0] / 255


def class_title(label: int, metadata: Metadata) -> str:
    names = metadata.get("thing_classes", ())
    return names[label] if len(names) else f"class {label}"


def counted(number: int) -> str:
    return f"{number} object{'s' * (number != 1)}"


def merge_captions(drawings: Sequence[Drawing]) -> list[Drawing]:
    """Put captions without a picture into the first drawing's caption."""
    first, *others = drawings
    lines = [first.caption, *(other.caption for other in others if other.image is None)]
    maps = [other for other in others if other.image is not None]
    return [first._replace(caption=", ".join(lines)), *maps]


def to_numpy(values: torch.Tensor) -> np.ndarray:
    return values.detach().float().cpu().numpy()
