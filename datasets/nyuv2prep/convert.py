"""The whole conversion: the frames that are not there yet, JSON files, a summary."""

import functools
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from conversion import convert_frames, prepare_tree, write_split
from dataset_tree import CATEGORY_IDS, DatasetTree
from tqdm import tqdm

from nyuv2prep.axes import Candidate, find_axes, sample_frames, sample_pixels
from nyuv2prep.frames import FrameJob, convert_frame, has_normal, measured_normals, stem
from nyuv2prep.mat_reader import LabeledMat
from nyuv2prep.normals_source import NormalsSource, open_normals
from nyuv2prep.splits import Splits, make_splits, shared_scenes

# Raise it when the same input gives other files.
CONVERTER_VERSION = 3

# Folders below --root. Boxes of another convention are another data set, so nothing is replaced.
FOLDERS = {"full": "nyuv2", "gupta-crop": "nyuv2_gupta", "port": "nyuv2_port"}


@dataclass(frozen=True)
class Options:
    """The command's arguments; prepare_nyuv2.py --help describes them."""

    mat: Path
    splits: Path
    root: Path
    normals: Path | None
    depth: str
    image_format: str
    boxes: str
    min_area: int
    val_scenes: Path | None
    val_images: int
    jobs: int
    overwrite: bool


def convert(options: Options) -> None:
    """Do what is left to do; a second call with the same options changes nothing."""
    tree = DatasetTree(options.root / FOLDERS[options.boxes], options.image_format)
    with closing(LabeledMat(options.mat)) as mat:
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
    status = options.mat.stat()
    # Another file of the same name is recognised without reading 2.8 GB.
    inputs = [status.st_size, status.st_mtime_ns, source.fingerprint() if source else None]
    prepare_tree(tree, {"info": info, "inputs": inputs, "splits": splits}, options.overwrite)
    indices = {stem(index): index for index in range(len(scenes))}
    work = functools.partial(_convert_stem, indices=indices, job=job)
    records = list(convert_frames(tree, work, list(indices), options.jobs, name="nyuv2").values())
    for name, frames in splits.items():
        write_split(tree, name, [records[frame - 1] for frame in frames], info)
    print("\n".join(_summary(tree, splits, scenes, records)))
    print(_normals_summary(records, source, candidates))


def _convert_stem(stem: str, indices: Mapping[str, int], job: FrameJob) -> None:
    convert_frame(indices[stem], job)


def _normals(
    options: Options, mat: LabeledMat
) -> tuple[NormalsSource | None, list[Candidate] | None]:
    """Return the source with its encoding and the ranking of its axes."""
    if options.normals is None:
        return None, None
    indices = sample_frames(mat.num_frames)
    source = open_normals(options.normals, mat.num_frames).with_levels(indices)
    pairs = []
    for index in tqdm(indices, desc="axes of the normals", unit="frame"):
        stored, known = source.read(index)
        depth, raw_depth = mat.depths(index)
        known &= has_normal(source, raw_depth)
        pairs.append(sample_pixels(stored, measured_normals(depth, raw_depth), known))
    stored, from_depth = (np.concatenate(side) for side in zip(*pairs, strict=True))
    return source, find_axes(stored, from_depth, str(source.folder))


def _info(job: FrameJob) -> dict[str, Any]:
    """Return the ``info`` of the JSON files."""
    normals: Any = "from depth"
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


def _summary(
    tree: DatasetTree,
    splits: Splits,
    scenes: Sequence[str],
    records: Sequence[Mapping[str, Any]],
) -> list[str]:
    lines = [f"{len(records)} frames of {len(set(scenes))} videos in {tree.root}"]
    for name, frames in splits.items():
        boxes = sum(len(records[frame - 1]["annotations"]) for frame in frames)
        lines.append(f"{name:<15}{len(frames):5} images {boxes:6} boxes")
    per_class = Counter(a["category_id"] for record in records for a in record["annotations"])
    lines.append("boxes: " + ", ".join(f"{n} {per_class[i]}" for n, i in CATEGORY_IDS.items()))
    for one, other in (("nyuv2_train", "nyuv2_test"), ("nyuv2_train673", "nyuv2_val122")):
        shared = shared_scenes(scenes, splits.get(one, ()), splits.get(other, ()))
        warning = f": warning, {', '.join(shared)}" if shared else ""
        lines.append(f"scenes in both {one} and {other}: {len(shared)}{warning}")
    return lines


def _normals_summary(
    records: Sequence[Mapping[str, Any]],
    source: NormalsSource | None,
    candidates: Sequence[Candidate] | None,
) -> str:
    if source is None or candidates is None:
        return "normals: from depth, unknown where rawDepths is missing"
    turned = sum(record["turned_normals"] for record in records)
    return (
        f"normals: {source.kind}, {turned} pixels turned to the camera\n"
        f"axes by stored channel: {candidates[0]}\n  second best: {candidates[1]}"
    )
