"""Reading a whole data set once, and reporting everything that is wrong with it."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from detectron2.data import Metadata, MetadataCatalog
from tqdm import tqdm

from rock_d2.data.datasets.box_checks import box_faults, is_box
from rock_d2.data.datasets.coco import COCO_FIELDS, read_coco_json
from rock_d2.data.datasets.label_checks import (
    MOST_COMPARED,
    measure,
    numbers,
    same_pictures,
    set_faults,
)
from rock_d2.data.datasets.validation import (
    ANNOTATION_FIELDS,
    CATEGORY_FIELDS,
    IMAGE_FIELDS,
    class_problems,
    entries,
    is_file,
    missing_tables,
    structure_problems,
)
from rock_d2.image_files import read_color_image
from rock_d2.tasks import Task


@dataclass
class DatasetReport:
    """The findings of a check.

    Attributes:
        problems: a line each, in the order of the file.
        num_images: in the JSON.
        objects: number of boxes of each class.
        coverage: for each task, the mean share of the images' pixels whose label is known; an
            image without a label counts as 0.
        numbers: further facts by what they are of.
        pictures: thumbnails by the images' file names.
    """

    problems: list[str]
    num_images: int = 0
    objects: Counter = field(default_factory=Counter)
    coverage: dict[str, float] = field(default_factory=dict)
    numbers: dict[str, str] = field(default_factory=dict)
    pictures: dict[str, np.ndarray] = field(default_factory=dict)


def check_dataset(name: str, tasks: Sequence[Task], num_processes: int) -> DatasetReport:
    """Check ids, fields and files of a registered data set, then read every image and label."""
    metadata = MetadataCatalog.get(name)
    document = read_coco_json(metadata.json_file, name)
    root, empty_boxes = Path(metadata.image_root), metadata.get("empty_boxes", False)
    report = DatasetReport(list(structure_problems(document, root, empty_boxes=empty_boxes)))
    if missing_tables(document):
        return report
    if not report.problems:
        report.problems += class_problems(document, metadata)
    report.problems += box_faults(document)
    images = entries(document["images"], IMAGE_FIELDS)
    report.problems += shared_sequences(name, images)
    report.num_images = len(images)
    report.objects = count_objects(document)
    check = partial(check_image, root=root, tasks=tasks, metadata=metadata)
    files, known, measured = [image["file_name"] for image in images], Counter(), []
    step = -(-len(images) // MOST_COMPARED)
    with ProcessPoolExecutor(num_processes) if num_processes > 1 else nullcontext() as pool:
        found = pool.map(check, images, chunksize=8) if pool else map(check, images)
        for problems, shares, measures in tqdm(found, total=len(images), desc=f"reading {name}"):
            report.problems += problems
            known.update(shares)
            if len(measured) % step:
                # The largest of the measures; enough other images have it.
                measures.pop("edges", None)
            measured.append(measures)
    report.problems += set_faults(files, measured)
    report.coverage = {task.name: known[task.name] / max(len(images), 1) for task in tasks}
    report.problems += unlabelled(report.coverage, metadata)
    report.numbers = facts(document, images, metadata) | numbers(measured)
    report.pictures = {
        file: found["picture"] for file, found in zip(files, measured, strict=True) if found
    }
    return report


def unlabelled(coverage: Mapping[str, float], metadata: Metadata) -> Iterator[str]:
    """Yield a line for each task that a set has facts for, and no labels."""
    for name, share in coverage.items():
        facts = [f"{name}_{kind}" for kind in ("classes", "range")]
        for fact in facts:
            if share == 0 and metadata.get(fact) is not None:
                yield f"no image has a known label of `{name}`, and the set has {fact}"


def facts(
    document: Mapping[str, Any], images: Sequence[Mapping[str, Any]], metadata: Metadata
) -> dict[str, str]:
    """Return the sizes of boxes, the images of each class and the fields that nobody reads."""
    objects = entries(document["annotations"], ANNOTATION_FIELDS)
    areas = [a["bbox"][2] * a["bbox"][3] for a in objects if is_box(a["bbox"])]
    found = {}
    if areas:
        sides = np.quantile(np.sqrt(np.maximum(areas, 0)), (0.05, 0.5, 0.95)).round()
        found["boxes"] = "{:g} / {:g} / {:g} pixels wide and high (5, 50 and 95 %)".format(*sides)
    names = metadata.get("scene_classes", ())
    kinds = Counter(s for s in (i.get("scene_id") for i in images) if type(s) is int and s >= 0)
    if kinds:
        found["scene"] = ", ".join(
            f"{names[kind] if kind < len(names) else kind} {count}"
            for kind, count in kinds.most_common()
        )
    further = sorted({name for image in images for name in image} - COCO_FIELDS)
    return found | ({"fields of images": ", ".join(further)} if further else {})


def count_objects(document: Mapping[str, Any]) -> Counter:
    """Return the number of boxes of each class, of what is whole."""
    classes = {c["id"]: c["name"] for c in entries(document["categories"], CATEGORY_FIELDS)}
    objects = entries(document["annotations"], ANNOTATION_FIELDS)
    counted = Counter(dict.fromkeys(classes.values(), 0))
    counted.update(classes[o["category_id"]] for o in objects if o["category_id"] in classes)
    return counted


def check_image(
    image: Mapping[str, Any], *, root: Path, tasks: Sequence[Task], metadata: Metadata
) -> tuple[list[str], dict[str, float], dict[str, np.ndarray]]:
    """Return the faults of an image's files, each task's known share, and what measures it."""
    files = {k: str(root / str(v)) for k, v in image.items() if k.endswith("file_name")}
    record = {**image, **files}
    problems, shares = [], {}
    if is_file(Path(record["file_name"])):
        problems += _image_problems(record["file_name"], (image["height"], image["width"]))
    for task in tasks:
        stored = record.get(task.field)
        if stored is None or (isinstance(stored, str) and not is_file(Path(stored))):
            continue
        found, shares[task.name] = task.check(record, metadata)
        problems += found
        if not found and shares[task.name] == 0:
            problems.append(f"{stored}: nothing is known")
    measures: dict[str, np.ndarray] = {}
    if not problems and all(is_file(Path(file)) for file in files.values()):
        problems, measures = measure(record, metadata)
    return [f"{image['file_name']}: {problem}" for problem in problems], shares, measures


def _image_problems(path: str, size: tuple[int, int]) -> Iterator[str]:
    try:
        found = read_color_image(path).shape[:2]
    except ValueError as error:
        yield str(error)
        return
    if found != size:
        yield f"is {found[0]} x {found[1]}, `height` and `width` say {size[0]} x {size[1]}"


def shared_sequences(name: str, images: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Yield a line for every sequence that is also in a data set which must be disjoint."""
    sequences = sequences_of(images)
    for other in MetadataCatalog.get(name).get("disjoint_from", ()):
        path = MetadataCatalog.get(other).json_file
        if not Path(path).is_file():
            continue
        others = sequences_of(read_coco_json(path, other)["images"])
        for sequence in sorted(sequences & others):
            yield f"sequence `{sequence}` is in {name} and in {other}"


def sequences_of(images: Sequence[Mapping[str, Any]]) -> set[str]:
    return {image["sequence"] for image in images if isinstance(image.get("sequence"), str)}


def shared_pictures(reports: Mapping[str, DatasetReport]) -> Iterator[str]:
    """Yield a line for every image that shows the same as one of an earlier data set."""
    earlier: list[str] = []
    for name, report in reports.items():
        for other in earlier:
            for file, same in same_pictures(report.pictures, reports[other].pictures):
                yield f"{name}: {file}: shows the same as {same} of {other}"
        earlier.append(name)
