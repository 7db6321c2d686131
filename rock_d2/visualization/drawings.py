"""What is drawn: boxes with names, the labels of a dataset dict, the predictions of a model."""

from collections.abc import Mapping, Sequence
from string import ascii_lowercase
from types import MappingProxyType
from typing import Any

import cv2
import numpy as np
import torch
from detectron2.data import Metadata

from rock_d2.data.mapper import boxes_of
from rock_d2.image_files import read_color_image
from rock_d2.tasks import Task
from rock_d2.tasks.base import Drawing
as_read = None
from rock_d2.visualization.panels import panel_row, panel_size


def draw_record(
    record: Mapping[str, Any], tasks: Sequence[Task], metadata: Metadata
) -> np.ndarray:
    """One row of panels for a dataset dict: the objects, then each task's map.

    Returns:
        uint8 (H, W, 3), RGB. Labels that are not maps stand in the first panel's caption.
    """
    image = read_color_image(record["file_name"])
    objects, *labels = label_drawings(image, record, tasks, metadata)
    return panel_row(image, merge_captions([objects, *labels]))


def draw_item(
    item: Mapping[str, Any], tasks: Sequence[Task], metadata: Metadata, *, rgb: bool
) -> np.ndarray:
    """The same for a training item of RockDatasetMapper.

    Args:
        item: as the model gets it.
        tasks, metadata: of the data set.
        rgb: whether the channels of the item's image come in this order.
    """
    image = np.moveaxis(item["image"].numpy(), 0, 2)
    image = np.ascontiguousarray(image if rgb else image[..., ::-1])
    objects = item["instances"]
    classes = objects.gt_classes.tolist()
    drawings = object_and_label_drawings(
        image,
        objects.gt_boxes.tensor.numpy(),
        classes,
        {task: label_of_item(item, task) for task in tasks},
        metadata,
    )
    return panel_row(image, merge_captions(drawings))


def label_of_item(item: Mapping[str, Any], task: Task) -> np.ndarray | int | None:
    """The label of a batch item in the form of ``Task.read``."""
    label = item.get(task.name)
    return as_read(label) if isinstance(label, torch.Tensor) else label


def draw_predictions(
    record: Mapping[str, Any],
    output: Mapping[str, Any],
    tasks: Sequence[Task],
    metadata: Metadata,
    score_threshold: float = 0.5,
) -> np.ndarray:
    """One row of panels for a model's output: the image, the detections, each task's map.

    Args:
        record: a dataset dict; of its labels only the scale of the pictures is taken.
        output: what the model returns for it, and its ``encodings`` if they were recorded.
        tasks: those to be shown, where ``output`` has them.
        metadata: of the data set.
        score_threshold: of the detections shown.

    Returns:
        uint8 (H, W, 3), RGB. Predictions without a map stand in the detections' caption.
    """
    image = read_color_image(record["file_name"])
    labels = {task.name: task.read(record) for task in tasks}
    drawings = prediction_drawings(image, output, tasks, metadata, score_threshold, labels=labels)
    return panel_row(image, drawings)


def draw_comparison(
    record: Mapping[str, Any],
    output: Mapping[str, Any],
    tasks: Sequence[Task],
    metadata: Metadata,
    score_threshold: float = 0.5,
    baseline: Mapping[str, Any] | None = None,
) -> np.ndarray:
    """The paper's figure 3: the predictions of an image, and below them the ground truth.

    Args:
        record, output, tasks, metadata, score_threshold: see ``draw_predictions``.
        baseline: what another model returns for the image; its detections come first.
    """
    image = read_color_image(record["file_name"])
    labels = {task.name: task.read(record) for task in tasks}
    found = [
        detection_drawing(image, result["instances"], metadata, score_threshold, title=title)
        for title, result in (("baseline: ", baseline), ("", output))
        if result is not None
    ]
    maps = task_drawings(output, tasks, metadata, labels=labels)
    shown = [Drawing("input", image), *found, *maps]
    letters = zip(ascii_lowercase, shown, strict=False)
    predicted = [d._replace(caption=f"({letter}) {d.caption}") for letter, d in letters]
    objects, *truths = label_drawings(
        image, record, [t for t in tasks if t.name in output], metadata
    )
    true = [
        *[Drawing("", None)] * len(found),
        objects._replace(caption=f"truth: {objects.caption}"),
    ]
    return np.vstack([panel_row(image, predicted), panel_row(image, [*true, *truths])])


def label_drawings(
    image: np.ndarray, record: Mapping[str, Any], tasks: Sequence[Task], metadata: Metadata
) -> list[Drawing]:
    """The true objects, then the label of each task."""
    objects = record["annotations"]
    return object_and_label_drawings(
        image,
        boxes_of(objects),
        [o["category_id"] for o in objects],
        {task: task.read(record) for task in tasks},
        metadata,
    )


def object_and_label_drawings(
    image: np.ndarray,
    boxes: np.ndarray,
    classes: Sequence[int],
    labels: Mapping[Task, Any],
    metadata: Metadata,
) -> list[Drawing]:
    names = [class_title(label, metadata) for label in classes]
    drawn = draw_boxes(image, boxes, classes, names)
    return [
        Drawing(counted(len(boxes)), drawn),
        *(
            Drawing(f"no {task.name}", None) if label is None else task.draw(label, metadata)
            for task, label in labels.items()
        ),
    ]


def prediction_drawings(
    image: np.ndarray,
    output: Mapping[str, Any],
    tasks: Sequence[Task],
    metadata: Metadata,
    score_threshold: float,
    *,
    labels: Mapping[str, Any] = MappingProxyType({}),
) -> list[Drawing]:
    """The panels of ``draw_predictions`` for an RGB image; ``labels`` is by task's name."""
    found = detection_drawing(image, output["instances"], metadata, score_threshold)
    maps = task_drawings(output, tasks, metadata, labels=labels)
    return [Drawing("input", image), *merge_captions([found, *maps])]


def detection_drawing(
    image: np.ndarray,
    instances: Any,
    metadata: Metadata,
    score_threshold: float,
    title: str = "",
) -> Drawing:
    """The detections that score at least ``score_threshold``."""
    found = instances[instances.scores >= score_threshold].to("cpu")
    classes = found.pred_classes.tolist()
    names = [
        f"{class_title(label, metadata)} {score:.0%}"
        for label, score in zip(classes, found.scores.tolist(), strict=True)
    ]
    drawn = draw_boxes(image, found.pred_boxes.tensor.numpy(), classes, names)
    return Drawing(f"{title}{counted(len(found))} (score from {score_threshold:g})", drawn)


def task_drawings(
    output: Mapping[str, Any],
    tasks: Sequence[Task],
    metadata: Metadata,
    *,
    labels: Mapping[str, Any],
) -> list[Drawing]:
    """The prediction of each task that ``output`` has.

    Args:
        output: of the model, with ``encodings`` if they were recorded.
        tasks, metadata: of the data set.
        labels: the truth by task's name, where it is known.
    """
    encodings = output.get("encodings", {})
    return [
        task.draw_prediction(
            to_numpy(output[task.name]),
            metadata,
            encoding=to_numpy(encodings.get(task.name)),
            label=labels.get(task.name),
        )
        for task in tasks
        if task.name in output
    ]


def draw_boxes(
    image: np.ndarray, boxes: np.ndarray, classes: Sequence[int], names: Sequence[str]
) -> np.ndarray:
    """The image, enlarged so that text is legible, with boxes; a class always has its colour."""
    # Here, since it brings matplotlib: a training should begin without.
    from detectron2.utils.visualizer import Visualizer

    scale = panel_size(image)[0] / image.shape[1]
    canvas = Visualizer(image, scale=scale)
    colours = [class_colour(label) for label in classes]
    return canvas.overlay_instances(boxes=boxes, labels=names, assigned_colors=colours).get_image()


def class_colour(label: int) -> np.ndarray:
    """RGB in [0, 1]; hues are a golden ratio apart, so that neighbours differ clearly."""
    hsv = np.uint8([[[round(label * 0.618034 % 1 * 179), 200, 255]]])
    return cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)[0, 0] / 255


def class_title(label: int, metadata: Metadata) -> str:
    names = metadata.get("thing_classes", ())
    return names[label] if len(names) else f"class {label}"


def counted(number: int) -> str:
    return f"{number} object{'s' * (number != 1)}"


def merge_captions(drawings: Sequence[Drawing]) -> list[Drawing]:
    """Without those that are a caption only, which the first one's caption takes over."""
    first, *others = drawings
    lines = [first.caption, *(other.caption for other in others if other.image is None)]
    maps = [other for other in others if other.image is not None]
    return [first._replace(caption=", ".join(lines)), *maps]


def to_numpy(values: torch.Tensor | None) -> np.ndarray | None:
    return None if values is None else values.detach().float().cpu().numpy()
