"""Convert one frame of NYUv2 to files of the tree and a record of their content."""

import functools
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from conversion import Converted, save_frame
from dataset_tree import DatasetTree
from normals_from_depth import normals_from_depth
from scipy.ndimage import distance_transform_edt

from nyuv2prep.axes import Axes, face_camera, in_our_axes
from nyuv2prep.boxes import (
    GUPTA_COLUMNS,
    GUPTA_ROWS,
    IDS_PER_CATEGORY,
    category_table,
    frame_objects,
)
from nyuv2prep.classes import class_table
from nyuv2prep.mat_reader import LabeledMat, MatFrame
from nyuv2prep.normals_source import NormalsSource
from rock_d2.data.datasets.nyuv2 import GUPTA_INTRINSICS, INTRINSICS, SCENE_CLASSES
from rock_d2.tasks.thinning import outlines


@dataclass(frozen=True)
class FrameJob:
    """The inputs of the files of a frame.

    Attributes:
        mat_file: nyu_depth_v2_labeled.mat.
        tree: where to write.
        depth: "filled": every pixel of `depths`; "raw": 0 where `rawDepths` is missing.
        boxes: a convention of boxes.py.
        min_area: see ``frame_objects``.
        normals: the source; None computes them from the depth.
        axes: of the source, found by axes.py.
    """

    mat_file: Path
    tree: DatasetTree
    depth: str
    boxes: str
    min_area: int
    normals: NormalsSource | None
    axes: Axes | None


def stem(index: int) -> str:
    """Return the frame's number in splits.mat, which counts from 1, as files are named."""
    return f"{index + 1:04d}"


def convert_frame(index: int, job: FrameJob) -> None:
    """Write frame ``index``, counted from 0."""
    mat = _open_mat(job.mat_file)
    frame = mat.frame(index)
    normals, turned = frame_normals(frame, index, job)
    rows, columns = crop_of(job.boxes)
    annotations = frame_objects(
        frame.labels[rows, columns],
        frame.instances[rows, columns],
        category_table(mat.names),
        convention=job.boxes,
        index=index,
        min_area=job.min_area,
    )
    image = np.ascontiguousarray(frame.image[rows, columns])
    depth = depth_map(frame, job.depth)[rows, columns]
    classes = class_table(mat.names)[frame.labels[rows, columns]]
    edges = object_edges(frame)[rows, columns]
    fields = {
        "id": index + 1,
        "scene_id": SCENE_CLASSES.index(mat.scene_types[index]),
        "sequence": mat.scenes[index],
        "intrinsics": list(GUPTA_INTRINSICS if job.boxes == "gupta-crop" else INTRINSICS),
    }
    labels = {"depth": depth, "normals": normals[rows, columns], "sem_seg": classes, "edges": edges}
    converted = Converted(image, annotations, labels, fields)
    save_frame(job.tree, stem(index), converted, turned_normals=turned)


def depth_map(frame: MatFrame, mode: str) -> np.ndarray:
    """Return `depths`, whole or only where the sensor measured."""
    return frame.depth if mode == "filled" else np.where(frame.raw_depth > 0, frame.depth, 0)


def object_edges(frame: MatFrame) -> np.ndarray:
    """Return the outlines of objects, bool (H, W).

    Unlabelled pixels, gaps of a few between objects, count to the nearest object: each gap would
    have two outlines.
    """
    objects = frame.labels.astype(np.int64) * IDS_PER_CATEGORY + frame.instances
    _, nearest = distance_transform_edt(frame.labels == 0, return_indices=True)
    return outlines(objects[tuple(nearest)])


def frame_normals(frame: MatFrame, index: int, job: FrameJob) -> tuple[np.ndarray, int]:
    """Return vectors in our axes and the number of them that had to be turned to the camera."""
    if job.normals is None:
        return measured_normals(frame.depth, frame.raw_depth), 0
    vectors, known = job.normals.read(index)
    known &= has_normal(job.normals, frame.raw_depth)
    vectors = np.where(known[..., None], vectors, 0)
    return face_camera(in_our_axes(vectors, job.axes))


def measured_normals(depth: np.ndarray, raw_depth: np.ndarray) -> np.ndarray:
    """Return normals of the smooth in-painted depth, but not where it is invented."""
    return normals_from_depth(np.where(raw_depth > 0, depth, 0), INTRINSICS)


def has_normal(source: NormalsSource, raw_depth: np.ndarray) -> np.ndarray:
    """Return where a file may be trusted: Ladicky's hold a vector where nothing was measured."""
    return raw_depth > 0 if source.kind == "ladicky" else np.ones(raw_depth.shape, dtype=bool)


def crop_of(boxes: str) -> tuple[slice, slice]:
    """Return the rows and columns that a convention keeps."""
    return (GUPTA_ROWS, GUPTA_COLUMNS) if boxes == "gupta-crop" else (slice(None), slice(None))


@functools.lru_cache(maxsize=1)
def _open_mat(path: Path) -> LabeledMat:
    """Open the file for as long as the process converts frames of it."""
    return LabeledMat(path)
