"""The whole conversion: what is there already, the frames that are not, JSON files, a summary."""

import json
import multiprocessing
import os
import shutil
import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from dataset_tree import CATEGORY_IDS, DatasetTree, replace_file
from tqdm import tqdm

from nyuv2prep.axes import Candidate, find_axes, sample_frames, sample_pixels, table
from nyuv2prep.frames import (
    WORK_FOLDER,
    FrameJob,
    convert_frame,
    has_normal,
    measured_normals,
    read_record,
)
from nyuv2prep.mat_reader import LabeledMat
from nyuv2prep.normals_source import NormalsSource, open_normals
from nyuv2prep.splits import Splits, make_splits, shared_scenes

# Raise it when the same input gives other files.
CONVERTER_VERSION = 1

# Folders below --root. Boxes of another convention are another data set, so nothing is replaced.
FOLDERS = {"full": "nyuv2", "gupta-crop": "nyuv2_gupta", "port": "nyuv2_port"}


@dataclass(frozen=True)
class Options:
    """The command's arguments; prepare_nyuv2.py --help describes them."""

    mat: Path
    splits: Path
    root: Path
    normals: Path | None = None
    normals_format: str = "auto"
    depth: str = "filled"
    image_format: str = "png"
    boxes: str = "full"
    min_area: int = 0
    val_scenes: Path | None = None
    val_images: int = 122
    jobs: int = 1
    overwrite: bool = False


def convert(options: Options) -> None:
    """Does what is left to do; a second call with the same options changes nothing."""
    tree = DatasetTree(options.root / FOLDERS[options.boxes], options.image_format)
    with LabeledMat(options.mat) as mat:
        scenes = mat.scenes
        splits = make_splits(options.splits, scenes, options.val_images, options.val_scenes)
        source, candidates = _normals(options, mat)
    job = FrameJob(
        mat_file=options.mat,
        tree=tree,
        depth=options.depth,
        boxes=options.boxes,
        min_area=options.min_area,
        normals=source,
        axes=candidates[0].axes if candidates else None,
    )
    info = _info(job)
    fingerprint = {"info": info, "inputs": _inputs(options, source), "splits": splits}
    _prepare_tree(tree, fingerprint, splits, options.overwrite)
    _remove_temporary_files(tree.root)
    _convert_frames(job, len(scenes), options.jobs)
    records = [read_record(tree.root, index) for index in range(len(scenes))]
    for name, frames in splits.items():
        _write_split(tree, name, [records[frame - 1] for frame in frames], info)
    print(_summary(tree, splits, scenes, records, source, candidates))


def _normals(
    options: Options, mat: LabeledMat
) -> tuple[NormalsSource | None, list[Candidate] | None]:
    """The source with its encoding and the ranking of its axes."""
    if options.normals is None:
        return None, None
    indices = sample_frames(mat.num_frames)
    source = open_normals(options.normals, options.normals_format, mat.num_frames)
    source = source.with_levels(indices)
    pairs = []
    for index in tqdm(indices, desc="axes of the normals", unit="frame"):
        stored, known = source.read(index)
        depth, raw_depth = mat.depths(index)
        known &= has_normal(source, raw_depth)
        pairs.append(sample_pixels(stored, measured_normals(depth, raw_depth), known))
    stored, from_depth = (np.concatenate(side) for side in zip(*pairs, strict=True))
    return source, find_axes(stored, from_depth, str(source.folder))


def _info(job: FrameJob) -> dict[str, Any]:
    """What the JSON files say of the making of the frames."""
    normals: dict[str, Any] = {"source": "depth"}
    if job.normals is not None:
        normals = {"source": job.normals.kind, "levels": job.normals.levels, "axes": job.axes}
    return {
        "description": "NYUv2, labelled frames",
        "converter_version": CONVERTER_VERSION,
        "boxes": job.boxes,
        "min_area": job.min_area,
        "depth": job.depth,
        "image_format": job.tree.image_format,
        "normals": normals,
    }


def _inputs(options: Options, source: NormalsSource | None) -> dict[str, Any]:
    """Tells files from others of the same name, without reading 2.8 GB."""
    status = options.mat.stat()
    return {
        "mat": [status.st_size, status.st_mtime_ns],
        "normals": source.fingerprint() if source else None,
    }


def _prepare_tree(
    tree: DatasetTree, fingerprint: Mapping[str, Any], splits: Splits, overwrite: bool
) -> None:
    """Makes sure that all that lies in the tree is of this conversion.

    The JSON files go first and the note of what is going on comes last, so that whenever the
    process dies, no JSON speaks of frames of two conversions.
    """
    note = tree.root / WORK_FOLDER / "settings.json"
    wanted = json.loads(json.dumps(fingerprint))
    found = json.loads(note.read_text()) if note.exists() else None
    if found == wanted:
        return
    files = [tree.annotation_file(name) for name in splits]
    finished = [file for file in files if file.exists()]
    if finished and not overwrite:
        raise ValueError(
            f"{finished[0]} was made with {_difference(found, wanted)}: use --overwrite or another "
            "--root"
        )
    for file in finished:
        file.unlink()
    # Splits only concern the JSON files: frames of the same settings stay.
    if found is None or {**found, "splits": None} != {**wanted, "splits": None}:
        shutil.rmtree(tree.root / WORK_FOLDER, ignore_errors=True)
    text = json.dumps(wanted)
    replace_file(note, lambda temporary: temporary.write_text(text))


def _difference(found: Mapping[str, Any] | None, wanted: Mapping[str, Any]) -> str:
    if found is None:
        return "settings unknown to this converter"
    changed = [
        f"{key}={found['info'].get(key)}"
        for key, value in wanted["info"].items()
        if found["info"].get(key) != value
    ]
    changed += [
        f"another {key} file"
        for key in wanted["inputs"]
        if found["inputs"][key] != wanted["inputs"][key]
    ]
    return ", ".join(changed) or "other splits"


def _remove_temporary_files(root: Path) -> None:
    """What a run was writing when it was killed; see ``replace_file``."""
    folders = ("images", "depth", "normals", "annotations", WORK_FOLDER, f"{WORK_FOLDER}/frames")
    for folder in folders:
        for path in (root / folder).glob(".*.tmp"):
            path.unlink()


def _convert_frames(job: FrameJob, num_frames: int, jobs: int) -> None:
    left = [index for index in range(num_frames) if read_record(job.tree.root, index) is None]
    progress = tqdm(total=num_frames, initial=num_frames - len(left), desc="nyuv2", unit="frame")
    if not left:
        progress.close()
        return
    # Not multiprocessing.Pool: that one waits for ever when a worker is killed.
    with progress, ProcessPoolExecutor(min(jobs, len(left)), initializer=_start_worker) as pool:
        futures = [pool.submit(convert_frame, index, job) for index in left]
        try:
            for future in futures:
                future.result()
                progress.update()
        except BrokenProcessPool as error:
            raise OSError(
                "a worker process was killed, probably for want of memory: run again with fewer "
                "--jobs, finished frames stay"
            ) from error
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _start_worker() -> None:
    cv2.setNumThreads(0)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """A worker would otherwise wait for ever for a parent that was killed."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    wait([parent.sentinel])
    os._exit(1)


def _write_split(
    tree: DatasetTree, name: str, records: Sequence[Mapping[str, Any]], info: Mapping[str, Any]
) -> None:
    annotations = [
        {"id": 0, "image_id": record["image"]["id"]} | annotation
        for record in records
        for annotation in record["annotations"]
    ]
    for number, annotation in enumerate(annotations, start=1):
        annotation["id"] = number
    tree.write_annotations(name, [record["image"] for record in records], annotations, info)


def _summary(
    tree: DatasetTree,
    splits: Splits,
    scenes: Sequence[str],
    records: Sequence[Mapping[str, Any]],
    source: NormalsSource | None,
    candidates: Sequence[Candidate] | None,
) -> str:
    lines = [f"{len(records)} frames of {len(set(scenes))} videos in {tree.root}"]
    for name, frames in splits.items():
        boxes = sum(len(records[frame - 1]["annotations"]) for frame in frames)
        lines.append(f"{name:<15}{len(frames):5} images {boxes:6} boxes")
    per_class = Counter(a["category_id"] for record in records for a in record["annotations"])
    lines.append("boxes: " + ", ".join(f"{n} {per_class[i]}" for n, i in CATEGORY_IDS.items()))
    for one, other in (("nyuv2_train", "nyuv2_test"), ("nyuv2_train673", "nyuv2_val122")):
        shared = shared_scenes(scenes, splits[one], splits[other])
        warning = f": warning, {', '.join(shared)}" if shared else ""
        lines.append(f"scenes in both {one} and {other}: {len(shared)}{warning}")
    strays = sum(record["image"]["pixels_without_instance"] for record in records)
    lines.append(f"pixels of the 19 classes without an instance, in no box: {strays}")
    lines.append(f"objects below --min-area: {sum(record['too_small'] for record in records)}")
    if source is None or candidates is None:
        lines.append("normals: from depth, unknown where rawDepths is missing")
    else:
        turned = sum(record["turned_normals"] for record in records)
        lines.append(f"normals: {source.kind}, {turned} pixels turned to the camera; best axes:")
        lines.append(table(candidates, rows=2))
    return "\n".join(lines)
