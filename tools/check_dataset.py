#!/usr/bin/env python
"""Reads everything of registered data sets once and reports every fault.

    python tools/check_dataset.py rooms_train rooms_val
    python tools/check_dataset.py --import my_data.py kitchens_train kitchens_val

Beside what cannot be read, labels are found that look like another unit or other axes. Sets that
are named together may not share an image. Exit code 0 if all is well, 1 if not.
"""

import argparse
import math
import os
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import partial
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from detectron2.data import Metadata, MetadataCatalog
from tabulate import tabulate
from tqdm import tqdm

from rock_d2.data.datasets.coco import COCO_FIELDS, read_coco_json
from rock_d2.data.datasets.validation import (
    BOX_TOLERANCE,
    class_problems,
    entries,
    is_int,
    missing_tables,
    structure_problems,
)
from rock_d2.data.loader import check_registered
from rock_d2.engine.command_line import one_line_errors, parse, tool_parser
from rock_d2.image_files import is_file, read_color_image
from rock_d2.tasks import TASK_REGISTRY, Task

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "datasets"))

from label_checks import measure, same_pictures, set_faults

# Share of the boxes that have to have a fault before it is one of the set.
MANY = 0.2
# Boxes of a set that reach no further than this are of a smaller image.
SMALL_REACH, ENOUGH_BOXES = 0.6, 50


@dataclass
class DatasetReport:
    """The findings of a check.

    Attributes:
        problems: a line each, in the order of the file.
        num_images: in the JSON.
        coverage: for each task, the mean share of the images' pixels whose label is known; an
            image without a label counts as 0.
        numbers: a line each about boxes and objects.
        pictures: thumbnails by the images' file names.
    """

    problems: list[str]
    num_images: int = 0
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
    images, known, measured = entries(document, "images"), Counter(), []
    report.problems += [*box_faults(document), *shared_sequences(name, images)]
    check = partial(check_image, root=root, tasks=tasks, metadata=metadata)
    with ProcessPoolExecutor(num_processes) if num_processes > 1 else nullcontext() as pool:
        found = pool.map(check, images, chunksize=8) if pool else map(check, images)
        for problems, shares, measures in tqdm(found, total=len(images), desc=name, disable=None):
            report.problems += problems
            known.update(shares)
            measured.append(measures)
    files = [image["file_name"] for image in images]
    report.num_images = len(images)
    report.coverage = {task.name: known[task.name] / max(len(images), 1) for task in tasks}
    report.problems += [*set_faults(measured), *unlabelled(report.coverage, metadata)]
    report.numbers = facts(document, metadata)
    pictures = zip(files, measured, strict=True)
    report.pictures = {file: found["picture"] for file, found in pictures if found}
    return report


def check_image(
    image: Mapping[str, Any], *, root: Path, tasks: Sequence[Task], metadata: Metadata
) -> tuple[list[str], dict[str, float], dict[str, np.ndarray]]:
    """Return the faults of an image's files, each task's known share, and what measures it."""
    files = {k: str(root / str(v)) for k, v in image.items() if k.endswith("file_name")}
    record, problems, shares = {**image, **files}, [], {}
    if is_file(record["file_name"]):
        problems += _image_problems(record["file_name"], (image["height"], image["width"]))
    for task in tasks:
        stored = record.get(task.field)
        if stored is None or (isinstance(stored, str) and not is_file(stored)):
            continue
        found, shares[task.name] = task.check(record, metadata)
        problems += found
        if not found and shares[task.name] == 0:
            problems.append(f"{stored}: nothing is known")
    measures: dict[str, np.ndarray] = {}
    if not problems and all(map(is_file, files.values())):
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


def box_faults(document: Mapping[str, Any]) -> Iterator[str]:
    """Yield the faults of all boxes together, and the boxes that are given twice."""
    images = {image["id"]: image for image in entries(document, "images")}
    objects = [a for a in entries(document, "annotations") if a["image_id"] in images]
    yield from _twice(objects, images)
    if not objects:
        return
    boxes = np.array([found["bbox"] for found in objects], dtype=np.float64)
    owners = [images[found["image_id"]] for found in objects]
    sizes = np.array([(image["width"], image["height"]) for image in owners], dtype=np.float64)
    ends = boxes[:, :2] + boxes[:, 2:]
    leaving = (ends > sizes + BOX_TOLERANCE).any(axis=1)
    in_units = (ends <= 1).all(axis=1)
    reach = (ends / sizes.clip(1)).max(axis=1)
    if in_units.mean() > MANY:
        yield (
            f"{in_units.sum()} of {len(boxes)} boxes lie within 0 and 1: they look like shares of "
            "the image's sides; `bbox` is in pixels"
        )
    elif leaving.mean() > MANY:
        corners = (boxes[:, 2:] > boxes[:, :2]) & (boxes[:, 2:] <= sizes + BOX_TOLERANCE)
        yield f"{leaving.sum()} of {len(boxes)} boxes leave their image" + (
            ": they look like [x0, y0, x1, y1]; `bbox` is [x, y, width, height]"
            if corners.all()
            else f", up to {reach.max():.1f} of its size: they look like those of larger images"
        )
    elif len(boxes) >= ENOUGH_BOXES and reach.max() < SMALL_REACH:
        yield (
            f"no box reaches beyond {reach.max():.0%} of its image: they look like those of "
            "smaller images"
        )


def _twice(
    objects: list[Mapping[str, Any]], images: Mapping[int, Mapping[str, Any]]
) -> Iterator[str]:
    seen: dict[tuple, int] = {}
    for found in objects:
        key = (found["image_id"], found["category_id"], *found["bbox"])
        if key in seen:
            file = images[found["image_id"]]["file_name"]
            yield f"{file}: annotation id {found['id']} is the same as annotation id {seen[key]}"
        seen[key] = found["id"]


def facts(document: Mapping[str, Any], metadata: Metadata) -> dict[str, str]:
    """Return a line each about boxes, objects, classes of images and further fields of images."""
    images, boxes = entries(document, "images"), entries(document, "annotations")
    sides = [math.sqrt(max(found["bbox"][2] * found["bbox"][3], 0)) for found in boxes]
    kinds = {kind["id"]: kind["name"] for kind in entries(document, "categories")}
    objects = Counter(dict.fromkeys(kinds.values(), 0))
    objects.update(kinds.get(found["category_id"], "unknown") for found in boxes)
    further = {name for image in images for name in image} - COCO_FIELDS
    labels = {}
    for kind in sorted(name.removesuffix("_id") for name in further if name.endswith("_id")):
        names = dict(enumerate(metadata.get(f"{kind}_classes", ())))
        given = [image[f"{kind}_id"] for image in images if is_int(image.get(f"{kind}_id"))]
        labels[f"{kind}s"] = listed(Counter(str(names.get(label, label)) for label in given))
    few, median, many = np.quantile(sides or [0], (0.05, 0.5, 0.95))
    unknown = sum(not image.get("boxes_known", True) for image in images)
    return {
        "images with unknown boxes": str(unknown),
        "boxes": f"{few:.0f} / {median:.0f} / {many:.0f} pixels wide and high (5, 50 and 95 %)",
        "objects": listed(objects),
        **labels,
        "further fields of images": ", ".join(sorted(further)),
    }


def listed(counter: Counter) -> str:
    return ", ".join(f"{name} {count}" for name, count in counter.most_common())


def unlabelled(coverage: Mapping[str, float], metadata: Metadata) -> Iterator[str]:
    """Yield a line for each task that a set has facts for, and no labels."""
    for name in (name for name, share in coverage.items() if share == 0):
        for fact in (f"{name}_classes", f"{name}_range"):
            if metadata.get(fact) is not None:
                yield f"no image has a known label of `{name}`, and the set has {fact}"


def shared_sequences(name: str, images: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Yield a line for every sequence that is also in a data set which must be disjoint."""
    for other in MetadataCatalog.get(name).get("disjoint_from", ()):
        path = MetadataCatalog.get(other).json_file
        others = read_coco_json(path, other)["images"] if Path(path).is_file() else ()
        for sequence in sorted(sequences_of(images) & sequences_of(others)):
            yield f"sequence `{sequence}` is in {name} and in {other}"


def sequences_of(images: Sequence[Mapping[str, Any]]) -> set[str]:
    return {image["sequence"] for image in images if isinstance(image.get("sequence"), str)}


def shared_pictures(reports: Mapping[str, DatasetReport]) -> Iterator[str]:
    """Yield a line for every image that shows the same as one of another data set."""
    for (first, one), (second, other) in combinations(reports.items(), 2):
        for file, same in same_pictures(other.pictures, one.pictures):
            yield f"{second}: {file}: shows the same as {same} of {first}"


def make_parser() -> argparse.ArgumentParser:
    parser = tool_parser(__doc__)
    names = "registered names of data sets; together they may not share an image"
    parser.add_argument("datasets", nargs="+", metavar="NAME", help=names)
    jobs = "processes that read images side by side (default: %(default)s)"
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), metavar="N", help=jobs)
    return parser


def show(name: str, report: DatasetReport) -> None:
    for problem in report.problems:
        print(f"{name}: {problem}")
    print(f"\n{name}: {report.num_images} images")
    shares = [(task, f"{100 * share:.1f} %") for task, share in report.coverage.items()]
    print(tabulate(shares, headers=["label", "known pixels"]))
    print("\n".join(f"{what}: {number}" for what, number in report.numbers.items()))
    print(f"{name}: {len(report.problems)} problem(s)\n")


def main(args: argparse.Namespace) -> int:
    check_registered(args.datasets, "NAME")
    tasks = [task() for _, task in TASK_REGISTRY]
    reports: dict[str, DatasetReport] = {}
    for name in args.datasets:
        try:
            reports[name] = check_dataset(name, tasks, num_processes=args.jobs)
        except (OSError, ValueError) as error:
            reports[name] = DatasetReport([str(error)])
        show(name, reports[name])
    shared = list(shared_pictures(reports))
    for problem in shared:
        print(problem)
    return int(bool(shared) or any(report.problems for report in reports.values()))


if __name__ == "__main__":
    with one_line_errors():
        sys.exit(main(parse(make_parser())))
