"""One frame of NYUv2 to files of the tree and a record of what they hold."""

import functools
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from dataset_tree import DatasetTree, replace_file

from nyuv2prep.axes import Axes, face_camera, in_our_axes
from nyuv2prep.boxes import GUPTA_COLUMNS, GUPTA_ROWS, category_table, frame_objects
from nyuv2prep.mat_reader import LabeledMat, MatFrame
from nyuv2prep.normals_source import NormalsSource
from rock_d2.data.datasets.normals_from_depth import normals_from_depth
from rock_d2.data.datasets.nyuv2 import IMAGE_SIZE, INTRINSICS, SCENE_CLASSES

WORK_FOLDER = ".conversion"


@dataclass(frozen=True)
class FrameJob:
    """All that the files of a frame depend on.

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
    """Files are named by the frame's number in splits.mat, which counts from 1."""
    return f"{index + 1:04d}"


def record_file(root: Path, index: int) -> Path:
    return root / WORK_FOLDER / "frames" / f"{stem(index)}.json"


def read_record(root: Path, index: int) -> dict[str, Any] | None:
    """What ``convert_frame`` noted; None unless the frame is done and its files are there."""
    path = record_file(root, index)
    if not path.exists():
        return None
    record = json.loads(path.read_text())
    names = [value for key, value in record["image"].items() if key.endswith("file_name")]
    return record if all((root / name).is_file() for name in names) else None


def convert_frame(index: int, job: FrameJob) -> None:
    """Writes frame ``index``, counted from 0; its record comes last and says that all is there."""
    mat = _open_mat(job.mat_file)
    frame = mat.frame(index)
    normals, turned = frame_normals(frame, index, job)
    rows, columns = crop_of(job.boxes)
    objects = frame_objects(
        frame.labels[rows, columns],
        frame.instances[rows, columns],
        category_table(mat.names),
        convention=job.boxes,
        index=index,
        min_area=job.min_area,
    )
    image = np.ascontiguousarray(frame.image[rows, columns])
    depth = depth_map(frame, job.depth)[rows, columns]
    labels = {
        "scene_id": SCENE_CLASSES.index(mat.scene_types[index]),
        "sequence": mat.scenes[index],
        "intrinsics": list(intrinsics_of(job.boxes)),
        "pixels_without_instance": objects.without_instance,
    }
    notes = {"too_small": objects.too_small, "turned_normals": turned}
    try:
        files = _write_images(job.tree, index, image, depth, normals[rows, columns])
        size = {"height": image.shape[0], "width": image.shape[1]}
        record = {"image": {"id": index + 1, **size, **files, **labels}, **notes}
        text = json.dumps(record | {"annotations": objects.annotations})
        replace_file(record_file(job.tree.root, index), lambda path: path.write_text(text))
    except OSError as error:
        raise OSError(
            f"{error.filename or job.tree.root}: frame {index + 1} cannot be written "
            f"({error.strerror}): make room or correct --root and run again, finished frames stay"
        ) from error


def _write_images(
    tree: DatasetTree, index: int, image: np.ndarray, depth: np.ndarray, normals: np.ndarray
) -> dict[str, str]:
    # What an earlier run in the other format may have left would belong to nothing.
    other = "jpg" if tree.image_format == "png" else "png"
    (tree.root / f"images/{stem(index)}.{other}").unlink(missing_ok=True)
    return tree.write_frame(stem(index), image, depth, normals)


def depth_map(frame: MatFrame, mode: str) -> np.ndarray:
    """`depths`, whole or only where the sensor measured."""
    return frame.depth if mode == "filled" else np.where(frame.raw_depth > 0, frame.depth, 0)


def frame_normals(frame: MatFrame, index: int, job: FrameJob) -> tuple[np.ndarray, int]:
    """Vectors in our axes and the number of them that had to be turned to the camera."""
    if job.normals is None:
        return measured_normals(frame.depth, frame.raw_depth), 0
    vectors, known = job.normals.read(index)
    known &= has_normal(job.normals, frame.raw_depth)
    vectors = np.where(known[..., None], vectors, 0)
    return face_camera(in_our_axes(vectors, job.axes))


def measured_normals(depth: np.ndarray, raw_depth: np.ndarray) -> np.ndarray:
    """From the smooth in-painted depth, but not where it is invented."""
    return normals_from_depth(np.where(raw_depth > 0, depth, 0), INTRINSICS)


def has_normal(source: NormalsSource, raw_depth: np.ndarray) -> np.ndarray:
    """Ladicky's files hold a vector even where there was nothing to measure."""
    return raw_depth > 0 if source.kind == "ladicky" else np.ones(raw_depth.shape, dtype=bool)


def crop_of(boxes: str) -> tuple[slice, slice]:
    """Rows and columns that a convention keeps."""
    return (GUPTA_ROWS, GUPTA_COLUMNS) if boxes == "gupta-crop" else (slice(None), slice(None))


def intrinsics_of(boxes: str) -> tuple[float, float, float, float]:
    rows, columns = crop_of(boxes)
    fx, fy, cx, cy = INTRINSICS
    top, left = rows.indices(IMAGE_SIZE[0])[0], columns.indices(IMAGE_SIZE[1])[0]
    return fx, fy, cx - left, cy - top


@functools.cache
def _open_mat(path: Path) -> LabeledMat:
    """Open until the process ends, since a process converts many frames."""
    return LabeledMat(path)
