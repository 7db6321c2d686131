"""Drawings of objects, of the labels of a dataset dict and of the predictions of a model."""

from collections.abc import Mapping, Sequence
from string import ascii_lowercase
from types import MappingProxyType
from typing import Any

import numpy as np
from detectron2.data import Metadata
from detectron2.structures import BoxMode, Instances
from detectron2.utils.colormap import colormap
from detectron2.utils.visualizer import Visualizer

from rock_d2.image_files import read_color_image
from rock_d2.tasks import Task
from rock_d2.tasks.base import Drawing
from rock_d2.visualization.encodings import heat_map
from rock_d2.visualization.panels import panel_row, panel_size

# RGB from 0 to 1, by class.
COLOURS = colormap(rgb=True, maximum=1)
# Size of the names in points by the image's width, so that they are legible on a phone.
TEXT_SHARE = 1 / 40


def draw_comparison(
    record: Mapping[str, Any],
    output: Mapping[str, Any],
    tasks: Sequence[Task],
    metadata: Metadata,
    score_threshold: float = 0.5,
    baseline: Mapping[str, Any] | None = None,
) -> np.ndarray:
    """Draw the paper's figure 3: the predictions of an image, and below them the ground truth.

    The detections of another model's output, ``baseline``, come first.
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
    if "instances" in output:
        objects = record_drawing(image, record, metadata)
        truth.insert(0, objects._replace(caption=f"truth: {objects.caption}"))
    nothing = [Drawing("", None)] * (len(predicted) - len(truth))
    return np.vstack([panel_row(image, predicted), panel_row(image, [*nothing, *truth])])


def draw_output(
    image: np.ndarray,
    output: Mapping[str, Any],
    tasks: Sequence[Task],
    metadata: Metadata,
    score_threshold: float,
) -> np.ndarray:
    """Draw a model's output as one row of panels: the image, the detections, each task's map.

    Predictions without a map stand in the detections' caption.
    """
    drawings = prediction_drawings(image, output, tasks, metadata, score_threshold)
    shown = [Drawing("input", image)]
    if "instances" not in output:
        return panel_row(image, merge_captions([*shown, *drawings]))
    return panel_row(image, [*shown, *merge_captions(drawings)])


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

    The output has ``encodings`` if they were recorded. ``references`` are the truth by the task's
    name, where it is known: it sets the range of colours.
    """
    drawings = []
    if "instances" in output:
        drawings.append(detection_drawing(image, output["instances"], metadata, score_threshold))
    for task in tasks:
        if task.name in output:
            values = task.as_values(output[task.name].float().cpu().numpy())
            reference = references.get(task.name)
            drawing = task.draw(values, metadata, reference=reference)
            encoding = output.get("encodings", {}).get(task.name)
            if drawing.image is None and encoding is not None:
                shown = int(values.argmax()) if reference is None else reference
                drawing = heat_map(drawing, encoding[shown].float().cpu().numpy())
            drawings.append(drawing)
    return drawings


def detection_drawing(
    image: np.ndarray, instances: Instances, metadata: Metadata, score_threshold: float
) -> Drawing:
    found = instances[instances.scores >= score_threshold].to("cpu")
    drawing = object_drawing(
        image,
        found.pred_boxes.tensor.numpy(),
        found.pred_classes.tolist(),
        metadata,
        scores=found.scores.tolist(),
        masks=found.pred_masks.numpy() if found.has("pred_masks") else None,
    )
    return drawing._replace(caption=f"{drawing.caption} (score from {score_threshold:g})")


def record_drawing(image: np.ndarray, record: Mapping[str, Any], metadata: Metadata) -> Drawing:
    if "annotations" not in record:
        return Drawing("boxes unknown", image)
    objects = record["annotations"]
    boxes = [BoxMode.convert(o["bbox"], o["bbox_mode"], BoxMode.XYXY_ABS) for o in objects]
    masks = [o["segmentation"] for o in objects if o.get("segmentation")]
    return object_drawing(
        image,
        np.reshape(boxes, (-1, 4)),
        [o["category_id"] for o in objects],
        metadata,
        masks=masks if len(masks) == len(objects) else None,
    )


def label_drawings(labels: Mapping[Task, Any], metadata: Metadata) -> list[Drawing]:
    return [
        Drawing(f"no {task.name}", None) if label is None else task.draw(label, metadata)
        for task, label in labels.items()
    ]


def object_drawing(
    image: np.ndarray,
    boxes: np.ndarray,
    classes: Sequence[int],
    metadata: Metadata,
    *,
    scores: Sequence[float] | None = None,
    masks: Any = None,
) -> Drawing:
    """Draw objects into the image, which is enlarged so that their names are legible.

    ``masks`` has any form that Detectron2's Visualizer takes.
    """
    names = [class_title(label, metadata) for label in classes]
    if scores is not None:
        names = [f"{name} {score:.0%}" for name, score in zip(names, scores, strict=True)]
    colours = [COLOURS[label % len(COLOURS)] for label in classes]
    canvas = Visualizer(image, scale=panel_size(image)[0] / image.shape[1])
    drawn = canvas.overlay_instances(boxes=boxes, masks=masks, assigned_colors=colours)
    size = image.shape[1] * TEXT_SHARE
    for (left, top, right, _), name, colour in zip(boxes, names, colours, strict=True):
        at_left = left + right < image.shape[1]
        place = (left if at_left else right, min(top, image.shape[0] - 2 * size))
        side = "left" if at_left else "right"
        # On black; dark blue could not be read.
        lighter = (1 + colour) / 2
        canvas.draw_text(name, place, font_size=size, color=lighter, horizontal_alignment=side)
    return Drawing(f"{len(names)} object{'s' * (len(names) != 1)}", drawn.get_image())


def class_title(label: int, metadata: Metadata) -> str:
    names = metadata.get("thing_classes", ())
    return names[label] if len(names) else f"class {label}"


def merge_captions(drawings: Sequence[Drawing]) -> list[Drawing]:
    """Put captions without a picture into the first drawing's caption."""
    first, *others = drawings
    lines = [first.caption, *(other.caption for other in others if other.image is None)]
    maps = [other for other in others if other.image is not None]
    return [first._replace(caption=", ".join(lines)), *maps]
