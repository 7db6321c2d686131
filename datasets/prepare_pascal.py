#!/usr/bin/env python3
"""Convert PASCAL-Context with the labels of several tasks to this project's tree.

    python datasets/prepare_pascal.py --archive PASCAL_MT
    python datasets/prepare_pascal.py --voc VOCdevkit/VOC2010 --context trainval \\
        --parts Annotations_Part

The archive PASCAL_MT of the multi-task literature holds everything; without it there are no normals
and no saliency. A run that was killed continues where it stopped. README.md beside this file
describes the files.
"""

import functools
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from conversion import (
    Converted,
    add_options,
    convert_frames,
    prepare_tree,
    save_frame,
    write_split,
)
from dataset_tree import DatasetTree
from pascal_labels import (
    indoor_classes,
    read_human_parts,
    read_label_map,
    read_list,
    read_normals,
    read_saliency,
    read_sem_seg,
    sem_seg_of,
)

from rock_d2.data.datasets.pascal import THING_CLASSES
from rock_d2.engine.command_line import one_line_errors, parse, tool_parser
from rock_d2.image_files import read_color_image
from rock_d2.tasks.thinning import boundaries, outlines

# Raise it when the same input gives other files.
CONVERTER_VERSION = 1

LABELS = ("sem_seg", "edges", "human_parts", "normals", "saliency")

# Where a source lies below --archive, and below --voc; options of the same names overrule both.
ARCHIVE = {
    "lists": "ImageSets/Context",
    "segmentation": "semseg/VOC12",
    "other_segmentation": "semseg/pascal-context",
    "context": "pascal-context/trainval",
    "parts": "human_parts",
    "normals": "normals_distill",
    "saliency": "sal_distill",
}
VOC = {"lists": "ImageSets/Main", "segmentation": "SegmentationClass"}

OFFICIAL = {"pascal_mt_train": 4998, "pascal_mt_val": 5105, "pascal_mt_val2498": 2498}


@dataclass(frozen=True)
class Sources:
    """Folders of input files, one a frame; None where there is none.

    Attributes:
        images: <stem>.jpg.
        lists: train.txt and val.txt.
        context: LabelMaps of 459 classes, <stem>.mat.
        segmentation: VOC's classes, <stem>.png, of some of the images.
        other_segmentation: the same of others; the rest takes the LabelMap's.
        parts: PASCAL-Part's <stem>.mat.
        normals: <stem>.png.
        saliency: <stem>.png.
    """

    images: Path
    lists: Path
    context: Path
    segmentation: Path | None
    other_segmentation: Path | None
    parts: Path | None
    normals: Path | None
    saliency: Path | None

    @property
    def labels(self) -> list[str]:
        """Return the labels that can be made."""
        needed = (self.context, self.context, self.parts, self.normals, self.saliency)
        return [label for label, folder in zip(LABELS, needed, strict=True) if folder]


def main(argv: Sequence[str] | None = None) -> None:
    parser = tool_parser(__doc__)
    add = parser.add_argument
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("--archive", type=Path, help="folder of the archive PASCAL_MT")
    where.add_argument("--voc", type=Path, help="folder VOCdevkit/VOC2010 of VOC 2010")
    add("--context", type=Path, help="folder of the LabelMaps, <image>.mat, of 459 classes")
    add("--parts", type=Path, help="folder of PASCAL-Part, <image>.mat")
    add("--normals", type=Path, help="folder of normals, <image>.png")
    add("--saliency", type=Path, help="folder of saliency, <image>.png")
    add("--segmentation", type=Path, help="folder of VOC's classes, <image>.png, for some images")
    add("--lists", type=Path, help="folder of train.txt and val.txt")
    add("--small-list", type=Path, help="SEISM's test_new, a file: makes pascal_mt_val2498")
    add("--labels", type=Path, help="PASCAL-Context's labels.txt (default: beside --context)")
    add("--without", choices=LABELS, nargs="+", default=[], help="labels to leave out")
    add_options(parser, "pascal_mt", copies_images=True)
    with one_line_errors():
        convert(vars(parse(parser, argv)))


def convert(args: dict[str, Any]) -> None:
    """Do what is left to do; a second call with the same arguments changes nothing."""
    sources = find_sources(args)
    labels = [label for label in sources.labels if label not in args["without"]]
    indoor = find_indoor_classes(args["labels"], sources) if "normals" in labels else []
    splits = find_splits(sources, args["small_list"])
    tree = DatasetTree(args["root"] / "pascal_mt", categories=THING_CLASSES)
    info = {
        "description": "PASCAL-Context for several tasks",
        "converter_version": CONVERTER_VERSION,
        "labels": labels,
    }
    train = splits["pascal_mt_train"]
    folders = {name: str(folder) for name, folder in vars(sources).items()}
    settings = {"info": info, "inputs": [folders, indoor, train], "splits": splits}
    prepare_tree(tree, settings, args["overwrite"])
    work = functools.partial(
        convert_frame,
        sources=sources,
        labels=labels,
        indoor=indoor,
        train=frozenset(train),
        tree=tree,
    )
    stems = sorted({stem for part in splits.values() for stem in part})
    records = convert_frames(tree, work, stems, args["jobs"], name="pascal_mt")
    for name, part in splits.items():
        found = [records[stem] for stem in part]
        write_split(tree, name, found, info)
        fields = Counter(field for record in found for field in record["image"])
        counts = ", ".join(f"{label} {fields[f'{label}_file_name']}" for label in labels)
        print(f"{name}: {len(found)} images (officially {OFFICIAL[name]}) with {counts}")
    if absent := [label for label in LABELS if label not in labels]:
        print(f"without {', '.join(absent)}")


def find_sources(args: dict[str, Any]) -> Sources:
    """Return the input folders that the options name, or that lie in one they name."""
    base, places = (args["archive"], ARCHIVE) if args["archive"] else (args["voc"], VOC)
    found: dict[str, Path | None] = {"images": base / "JPEGImages"}
    for name in ARCHIVE:
        default = base / places.get(name, "absent")
        found[name] = args.get(name) or (default if default.is_dir() else None)
        if found[name] is None and name in ("lists", "context"):
            raise FileNotFoundError(f"{base}: has no folder of {name}; --{name} must name one")
    for name, folder in found.items():
        if folder and not folder.is_dir():
            option = "--archive or --voc" if name == "images" else f"--{name}"
            raise FileNotFoundError(f"{folder}: there is no such folder; see {option}")
    return Sources(**found)


def find_indoor_classes(labels_file: Path | None, sources: Sources) -> list[int]:
    """Return the classes whose normals are kept."""
    labels_file = labels_file or sources.context.parent / "labels.txt"
    if not labels_file.is_file():
        raise FileNotFoundError(
            f"{labels_file}: is missing; this list of PASCAL-Context's 459 classes says where "
            "normals are kept: --labels names it, --without normals does without"
        )
    return indoor_classes(labels_file)


def find_splits(sources: Sources, small_list: Path | None) -> dict[str, list[str]]:
    """Return the images of each data set, by its name."""
    files = {name: sources.lists / f"{name}.txt" for name in ("train", "val")}
    if small_list:
        files["val2498"] = small_list
    splits = {name: read_list(file, sources.images) for name, file in files.items()}
    val = set(splits["val"])
    both, others = val & set(splits["train"]), set(splits.get("val2498", ())) - val
    if both:
        raise ValueError(f"{files['val']}: {min(both)} is in {files['train']}, too: see --lists")
    if others:
        raise ValueError(f"{small_list}: {min(others)} is not in {files['val']}: see --small-list")
    return {f"pascal_mt_{name}": stems for name, stems in splits.items()}


def convert_frame(
    stem: str,
    *,
    sources: Sources,
    labels: Sequence[str],
    indoor: Sequence[int],
    train: frozenset[str],
    tree: DatasetTree,
) -> None:
    """Write a frame; edges are measured on others than they are learned from."""
    file = sources.images / f"{stem}.jpg"
    image = read_color_image(file)
    size = image.shape[:2]
    label_map = read_label_map(sources.context / f"{stem}.mat", size)
    made: dict[str, np.ndarray | None] = {}
    if "sem_seg" in labels:
        made["sem_seg"] = sem_seg_of_frame(stem, sources, label_map)
    if "edges" in labels:
        made["edges"] = (outlines if stem in train else boundaries)(label_map)
    if "human_parts" in labels:
        made["human_parts"] = some(read_human_parts(sources.parts / f"{stem}.mat", size))
    if "normals" in labels:
        path = sources.normals / f"{stem}.png"
        made["normals"] = some(read_normals(path, size, label_map, indoor))
    if "saliency" in labels:
        made["saliency"] = read_saliency(sources.saliency / f"{stem}.png", size)
    save_frame(tree, stem, Converted(image, [], made, {"boxes_known": False}, file=file))


def sem_seg_of_frame(stem: str, sources: Sources, label_map: np.ndarray) -> np.ndarray:
    for folder in (sources.segmentation, sources.other_segmentation):
        if folder and (folder / f"{stem}.png").is_file():
            return read_sem_seg(folder / f"{stem}.png", label_map.shape)
    return sem_seg_of(label_map)


def some(label: np.ndarray) -> np.ndarray | None:
    """Return None for an image without people, or without a normal: it has no such label."""
    return label if label.any() else None


if __name__ == "__main__":
    main()
