"""Reads a whole data set once and tells everything that is wrong with it."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from detectron2.data import Metadata, MetadataCatalog
from tqdm import tqdm

from rock_d2.data.datasets.coco import read_coco_json
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
    """What a check found.

    Attributes:
        problems: a line each, in the order of the file.
        num_images: in the JSON.
        objects: number of boxes of each class.
        coverage: for each task, the mean share of the images' pixels whose label is known; an
            image without a label counts as 0.
    """

    problems: list[str]
    num_images: int = 0
    objects: Counter = field(default_factory=Counter)
    coverage: dict[str, float] = field(default_factory=dict)


def check_dataset(name: str, tasks: Sequence[Task], num_processes: int) -> DatasetReport:
    """Checks ids, fields and files of a registered data set, then reads every image and label."""
    metadata = MetadataCatalog.get(name)
    document = read_coco_json(metadata.json_file, name)
    empty_boxes = metadata.get("empty_boxes", False)
    root = Path(metadata.image_root)
    report = DatasetReport(list(structure_problems(document, root, empty_boxes=empty_boxes)))
    if missing_tables(document):
        return report
    if not report.problems:
        report.problems += class_problems(document, metadata)
    images = entries(document["images"], IMAGE_FIELDS)
    report.problems += shared_sequences(name, images)
    report.num_images = len(images)
    report.objects = count_objects(document)
    check = partial(check_image, root=root, tasks=tasks, metadata=metadata)
    known = Counter()
    with ProcessPoolExecutor(num_processes) if num_processes > 1 else nullcontext() as pool:
        found = pool.map(check, images, chunksize=8) if pool else map(check, images)
        for problems, shares in tqdm(found, total=len(images), desc=f"reading {name}"):
            report.problems += problems
            known.update(shares)
    report.coverage = {task.name: known[task.name] / max(len(images), 1) for task in tasks}
    return report


def count_objects(document: Mapping[str, Any]) -> Counter:
    """The number of boxes of each class, of what is whole."""
    classes = {c["id"]: c["name"] for c in entries(document["categories"], CATEGORY_FIELDS)}
    objects = entries(document["annotations"], ANNOTATION_FIELDS)
    counted = Counter(dict.fromkeys(classes.values(), 0))
    counted.update(classes[o["category_id"]] for o in objects if o["category_id"] in classes)
    return counted


def check_image(
    image: Mapping[str, Any], *, root: Path, tasks: Sequence[Task], metadata: Metadata
) -> tuple[list[str], dict[str, float]]:
    """The problems of one image's files, and the share of its pixels that each task knows."""
    where = f"image id {image.get('id')}"
    files = {k: str(root / str(v)) for k, v in image.items() if k.endswith("file_name")}
    record = {**image, **files}
    problems, shares = [], {}
    size = (image.get("height"), image.get("width"))
    if is_file(Path(record["file_name"])):
        problems += [f"{where}: {p}" for p in _image_problems(record["file_name"], size)]
    for task in tasks:
        stored = record.get(task.field)
        if stored is None or (isinstance(stored, str) and not is_file(Path(stored))):
            continue
        found, shares[task.name] = task.check(record, metadata)
        problems += [f"{where}: {problem}" for problem in found]
    return problems, shares


def _image_problems(path: str, size: tuple[int, int]) -> Iterator[str]:
    try:
        found = read_color_image(path).shape[:2]
    except ValueError as error:
        yield str(error)
        return
    if found != size:
        yield f"{path}: is {found[0]} x {found[1]}, `height` and `width` say {size[0]} x {size[1]}"


def shared_sequences(name: str, images: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """A line for every sequence that is also in a data set which must be disjoint."""
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
