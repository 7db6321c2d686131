"""Conversion of a data set frame by frame: finished frames stay, and settings never mix."""

import argparse
import json
import os
import shutil
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from dataset_tree import LABEL_FOLDERS, DatasetTree, write_file
from processes import map_over
from tqdm import tqdm

WORK_FOLDER = ".conversion"
# Each process takes some 40 MB beside what they share.
MOST_JOBS = 8


@dataclass(frozen=True)
class Converted:
    """The content of a frame.

    Attributes:
        image: uint8 (H, W, 3), RGB.
        annotations: of COCO, still without ids.
        labels: arguments of ``DatasetTree.write_frame``.
        fields: further ones of the image's record.
        file: the image's own, to be copied as it is; None writes ``image``.
    """

    image: np.ndarray
    annotations: list[dict[str, Any]]
    labels: Mapping[str, np.ndarray] = field(default_factory=dict)
    fields: Mapping[str, Any] = field(default_factory=dict)
    file: Path | None = None


def add_options(
    parser: argparse.ArgumentParser, folder: str, *, copies_images: bool = False
) -> None:
    """Add the options that all converters have."""
    root = Path(os.getenv("DETECTRON2_DATASETS") or "datasets")
    add = parser.add_argument
    add("--root", type=Path, default=root, help=f"data go to ROOT/{folder} (default: %(default)s)")
    if not copies_images:
        formats = ("png", "jpg")
        add("--image-format", choices=formats, default="png", help="png (default) is lossless")
    jobs = min(os.cpu_count() or 1, MOST_JOBS)
    add("--jobs", type=int, default=jobs, help="processes side by side (default: %(default)s)")
    add("--overwrite", action="store_true", help="replace data of other settings")


def record_file(root: Path, stem: str) -> Path:
    return root / WORK_FOLDER / "frames" / f"{stem}.json"


def read_record(root: Path, stem: str) -> dict[str, Any] | None:
    """Return the record of ``save_frame``, or None unless it and all its files are there."""
    path = record_file(root, stem)
    if not path.exists():
        return None
    record = json.loads(path.read_text())
    names = [value for key, value in record["image"].items() if key.endswith("file_name")]
    return record if all((root / name).is_file() for name in names) else None


def save_frame(tree: DatasetTree, stem: str, frame: Converted, **notes: Any) -> None:
    """Write a frame; with its record, the last file, it is complete.

    Args:
        notes: further entries of the record.
    """
    size = dict(zip(("height", "width"), frame.image.shape[:2], strict=True))
    try:
        files = tree.write_frame(stem, frame.file or frame.image, **frame.labels)
        image = {**size, **files, **frame.fields}
        record = {"image": image, "annotations": frame.annotations, **notes}
        write_file(record_file(tree.root, stem), json.dumps(record).encode())
    except OSError as error:
        raise OSError(
            f"{error.filename or tree.root}: frame {stem} cannot be written ({error.strerror}): "
            "make room or correct --root and run again, finished frames stay"
        ) from error


def prepare_tree(tree: DatasetTree, settings: Mapping[str, Any], overwrite: bool) -> None:
    """Make sure that everything in the tree is of this conversion.

    The JSON files go first and the note of the settings comes last, so that whenever the process
    dies, no JSON names frames of two conversions.

    Args:
        settings: ``info`` of the JSON files, ``splits`` by their names, and anything else that
            other files would follow from.
    """
    tree.remove_unfinished()
    note = tree.root / WORK_FOLDER / "settings.json"
    wanted = json.loads(json.dumps(settings))
    found = json.loads(note.read_text()) if note.exists() else None
    if found:
        # Of before converters had a version.
        found["info"].setdefault("converter_version", 1)
    if found == wanted:
        return
    finished = sorted(tree.annotation_file("any").parent.glob("*.json"))
    if finished and not overwrite:
        there, asked = (x["info"] if x else {} for x in (found, wanted))
        other = ", ".join(f"{k}={there.get(k)}" for k in asked if there.get(k) != asked[k])
        raise ValueError(
            f"{finished[0]} was made with {other or 'other input files or splits'}: use "
            "--overwrite or another --root"
        )
    for file in finished:
        file.unlink()
    # Splits only concern the JSON files: frames of the same settings stay.
    if found and {**found, "splits": None} != {**wanted, "splits": None}:
        for folder in (WORK_FOLDER, *LABEL_FOLDERS, "images"):
            shutil.rmtree(tree.root / folder, ignore_errors=True)
    write_file(note, json.dumps(wanted).encode())


def convert_frames(
    tree: DatasetTree, work: Callable[[str], None], stems: Sequence[str], jobs: int, *, name: str
) -> dict[str, dict[str, Any]]:
    """Do what is left of ``work(stem)``, which calls ``save_frame``; return all records."""
    left = [stem for stem in stems if read_record(tree.root, stem) is None]
    done = map_over(work, left, jobs)
    for _ in tqdm(done, initial=len(stems) - len(left), total=len(stems), desc=name):
        pass
    return {stem: read_record(tree.root, stem) for stem in stems}


def write_split(
    tree: DatasetTree, name: str, records: Sequence[Mapping[str, Any]], info: Mapping[str, Any]
) -> None:
    """Write a JSON of records; an image whose record has no id has its number in the split."""
    images, annotations = [], []
    for number, record in enumerate(records, start=1):
        images.append({"id": number, **record["image"]})
        for annotation in record["annotations"]:
            identity = {"id": len(annotations) + 1, "image_id": images[-1]["id"]}
            annotations.append(identity | annotation)
    tree.write_annotations(name, images, annotations, info)


def convert(
    tree: DatasetTree,
    splits: Mapping[str, Sequence[str]],
    work: Callable[[str], None],
    *,
    info: Mapping[str, Any],
    jobs: int,
    overwrite: bool,
) -> None:
    """Convert all frames of some splits; a second call with the same arguments changes nothing.

    Args:
        splits: the stems of each data set, by its name.
        work: writes the frame of a stem by ``save_frame``; can be pickled.
        info: the settings, ``info`` of the JSON files.
    """
    prepare_tree(tree, {"info": info, "splits": splits}, overwrite)
    stems = sorted({stem for part in splits.values() for stem in part})
    records = convert_frames(tree, work, stems, jobs, name=tree.root.name)
    for name, part in splits.items():
        found = [records[stem] for stem in part]
        write_split(tree, name, found, info)
        classes = Counter(a["category_id"] for record in found for a in record["annotations"])
        counts = (f"{kind} {classes[i]}" for i, kind in enumerate(tree.categories, start=1))
        print(f"{name}: {len(found)} images, {classes.total()} boxes: {', '.join(counts)}")
