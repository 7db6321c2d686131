"""Evaluation protocols, a file of data/datasets/protocols each: what a figure's name means."""

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import reduce
from operator import getitem
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog, MetadataCatalog

from rock_d2.registry import check_choice
from rock_d2.tasks import build_tasks

FOLDER = Path(__file__).parents[1] / "data" / "datasets" / "protocols"
# Rows and columns of NYUv2's 480 x 640 frames: the crop of Eigen et al. (NIPS 2014); where the
# toolbox of Silberman et al. has the Kinect see anything (get_projection_mask.m, where MATLAB
# counts rows 45 to 471 and columns 41 to 601); that of Gupta et al. (cropIt.m: 46 to 470, 41 to
# 600), 425 x 560.
CROP_SIZE = (480, 640)
CROPS = {
    "none": (slice(None), slice(None)),
    "eigen": (slice(20, 460), slice(24, 616)),
    "toolbox": (slice(44, 471), slice(40, 601)),
    "gupta": (slice(45, 470), slice(40, 600)),
}
# Of a task, in a protocol's name.
TASK_SETTING = r"\+[A-Z_]+\.[A-Z_]+=[^ +]+"


@dataclass(frozen=True)
class Protocol:
    """The metrics, images and pixels of an evaluation.

    Attributes:
        name: of the file; of a data set where nothing else is said.
        metrics: for each task the metric that it is compared by, ``<task>/<metric>``, and whether
            "max" or "min" is best.
        datasets: the set of images that the name stands for, and others with the same images.
        images: how many they have; 0 for any number.
        crop: the part of maps that counts, a name in CROPS.
        size: height and width that maps have where they are compared, by the nearest pixel; [] for
            their own.
        classes: for tasks with classes of pixels the class that each of the labels' counts as.
        settings: of a config that decide about the figures, such as caps.
        quantise: whether predictions are measured as 8-bit PNGs hold them.
    """

    name: str = ""
    metrics: Mapping[str, str] = field(default_factory=dict)
    datasets: tuple[str, ...] = ()
    images: int = 0
    crop: str = "none"
    size: tuple[int, ...] = ()
    classes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)
    quantise: bool = False

    def __post_init__(self) -> None:
        check_choice(self.crop, CROPS, setting="TEST.EVAL_CROP")
        for metric, best in self.metrics.items():
            check_choice(best, ("max", "min"), setting=f"protocol {self.name}, {metric}")

    def on(self, dataset_name: str, images: int) -> str:
        """Return the name for figures of these images, the plain one for the protocol's own."""
        if dataset_name not in (*self.datasets[:1], self.name.partition("+")[0]):
            return f"{self.name} on {dataset_name}"
        known = images == self.images or not self.images
        return self.name if known else f"{self.name} on {images} images"

    def applied(
        self, task: str, prediction: np.ndarray, label: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the part of a map that counts, in the classes that count.

        The prediction is (C, H, W), the label (H, W) or (H, W, C).
        """
        if self.crop != "none":
            if label.shape[:2] != CROP_SIZE:
                raise ValueError(
                    f"TEST.EVAL_CROP: {self.crop} is made for labels of {CROP_SIZE}, not "
                    f"{label.shape[:2]}; other data sets want none"
                )
            window = CROPS[self.crop]
            prediction, label = prediction[(..., *window)], label[window]
        if self.size:
            # The pixel in which the middle of each of the smaller image's pixels lies.
            grid = np.ix_(
                *(
                    ((np.arange(wanted) + 0.5) * found / wanted).astype(int)
                    for wanted, found in zip(self.size, label.shape, strict=False)
                )
            )
            prediction, label = prediction[(..., *grid)], label[grid]
        if task in self.classes:
            prediction, label = self._merged(task, prediction, label)
        return prediction, label

    def _merged(
        self, task: str, prediction: np.ndarray, label: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return probabilities and labels of classes that hold several of the labels'."""
        classes = np.array(self.classes[task])
        if len(prediction) != len(classes):
            raise ValueError(
                f"protocol {self.name} merges {len(classes)} classes of {task}, the model has "
                f"{len(prediction)}; choose another TEST.PROTOCOL"
            )
        merged = np.zeros((classes.max() + 1, *prediction.shape[1:]), prediction.dtype)
        np.add.at(merged, classes, prediction)
        levels = np.full(256, 255)
        levels[: len(classes)] = classes
        return merged, levels[label.astype(int)]


# All pixels and classes of all images.
PLAIN = Protocol()


def load_protocol(file: Path) -> Protocol:
    try:
        values: dict[str, Any] = yaml.safe_load(file.read_text())
        unknown = values.keys() - {known.name for known in fields(Protocol)}
    except (AttributeError, yaml.YAMLError) as problem:
        raise ValueError(f"{file} is no protocol: {problem}") from None
    if unknown:
        raise ValueError(f"{file} is no protocol: it has {', '.join(sorted(unknown))}")
    return Protocol(name=file.stem, **values)


def find_protocol(name: str) -> Protocol:
    """Return the protocol of a name that results have; one without metrics if there is none."""
    # A path may have spaces.
    name = re.match(r".*?\.yaml(?=$|[ +])|[^ +]*", name)[0]
    file = protocol_file(name)
    return load_protocol(file) if file.is_file() else Protocol(name=name)


def protocol_file(name: str) -> Path:
    """Return the file of one of the project's protocols, or of another one by its path."""
    return Path(name) if name.endswith(".yaml") else FOLDER / f"{name}.yaml"


def protocol_of(cfg: CfgNode, dataset_name: str) -> Protocol:
    """Return the protocol that a config measures a data set by.

    Where the config differs from the protocol, the name says so: ``nyud40_480x640+eigen``.
    """
    wanted = cfg.TEST.PROTOCOL or MetadataCatalog.get(dataset_name).get("protocol", "")
    file = protocol_file(wanted)
    if wanted and not file.is_file():
        known = ", ".join(sorted(path.stem for path in FOLDER.glob("*.yaml")))
        raise ValueError(f"TEST.PROTOCOL is {wanted!r}; it must be a yaml file, or one of {known}")
    protocol = load_protocol(file) if wanted else Protocol()
    name = str(file.resolve()) if wanted.endswith(".yaml") else wanted or dataset_name
    names, crop = [name], cfg.TEST.EVAL_CROP or protocol.crop
    names += [crop] if crop != protocol.crop else []
    quantise = cfg.TEST.QUANTISE or protocol.quantise
    names += ["quantised"] if quantise != protocol.quantise else []
    tasks = {task.name.upper() for task in build_tasks(cfg)}
    for key, value in protocol.settings.items():
        if key.startswith("MODEL.TASKS.") and key.split(".")[2] not in tasks:
            continue
        found = reduce(getitem, key.split("."), cfg)
        names += [f"{key.removeprefix('MODEL.TASKS.')}={found}"] if found != value else []
    return replace(protocol, name="+".join(names), crop=crop, quantise=quantise)


def protocol_name(cfg: CfgNode, dataset_name: str) -> str:
    """Return the name of a config's figures on a data set."""
    return protocol_of(cfg, dataset_name).on(dataset_name, len(DatasetCatalog.get(dataset_name)))


def one_protocol(names: Sequence[tuple[str, Iterable[str]]]) -> str | None:
    """Return the name that several results have in common, None if they are not comparable.

    A model's name tells the settings of its own tasks only: results must agree on those of a task
    where both measure it, and the common name has those of all. ``names`` are the protocol and
    the tasks of each result.
    """
    by_task: dict[str, set[str]] = defaultdict(set)
    for name, tasks in names:
        for task in ("", *tasks):
            of_others = rf"(?!\+{task.upper()}\.){TASK_SETTING}"
            by_task[task].add(re.sub(of_others, "", name))
    if any(len(found) > 1 for found in by_task.values()):
        return None
    settings = (part for name, _ in names for part in re.findall(TASK_SETTING, name))
    base, *images = "".join(by_task[""]).partition(" on ")
    return "".join((base, *dict.fromkeys(settings), *images))


def is_test_set(dataset_name: str) -> bool:
    """Return whether a data set is for tests, by its name or a protocol's list."""
    return dataset_name.endswith("_test") or any(
        dataset_name in load_protocol(file).datasets for file in FOLDER.glob("*.yaml")
    )
