"""Rendered frames as the official files of NYUv2, so that converters can be run without NYUv2.

Names, types, axis orders and quirks are those of nyu_depth_v2_labeled.mat and splits.mat: labels of
894 names from 1, instance ids that restart in every class, label 0 in thin gaps and along the
border, a white border in the images, 1-based splits, sequences 'kitchen_0028a' and 'kitchen_0028b'
of one scene, normals that are invalid where the raw depth is missing.

What a test may take as the truth about a frame (functions of nyuv2_labels.py):

- `depths` is the exact rendered depth, hence has no holes. (NYUv2 in-paints a measured one.)
- `rawDepths` is the same after `kinect_holes` and `kinect_noise`: it differs by millimetres to
  centimetres where it is valid and is 0 elsewhere.
- instances are those of the frame, with `label_gaps(frame.instances)` set to nothing. Of them only
  `stray_object` has instance id 0 with a label above 0.
- the image is the frame's, after `with_white_border`.
"""

import io
import re
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

import h5py
import numpy as np
import scipy.io

from rock_d2.data.datasets.nyuv2 import IMAGE_SIZE, SCENE_CLASSES
from roomgen import matlab73
from roomgen.frame import Frame
from roomgen.nyuv2_labels import label_ids, labels_and_instances, with_white_border
from roomgen.nyuv2_normals import EigenNormals, NormalsTree
from roomgen.sensor import kinect_holes, kinect_noise

MAT_NAME = "nyu_depth_v2_labeled.mat"
SPLITS_NAME = "splits.mat"
LAYOUTS = (EigenNormals(),)

# The official division: 795 and 654 of 1449 frames.
TEST_SHARE = 654 / 1449
SUFFIX_EVERY = 5


def write_nyuv2_mat(
    frames: Iterable[Frame],
    num_frames: int,
    root: Path,
    seed: int,
    normals: Sequence[NormalsTree] = LAYOUTS,
) -> None:
    """Writes the .mat files and the folders of normals; all of them appear whole at the end.

    Args:
        frames: exactly ``num_frames``, 480 x 640, of two rooms or more; written as they come.
        root: the folder to write to; nothing in it is replaced.
        seed: of the sensor; frame i draws from (seed, i) alone.
        normals: the layouts to write.
    """
    outputs = output_names(normals)
    if len(set(outputs)) < len(outputs):
        raise ValueError(f"two layouts of normals share a folder: {outputs}; name them apart")
    for name in outputs:
        if (root / name).exists():
            raise FileExistsError(f"{root / name} exists: move it away or choose another folder")
    root.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".nyuv2-mat-", dir=root) as folder:
        partial = Path(folder)
        with matlab73.create_file(partial / MAT_NAME) as file:
            scenes = _write_frames(file, frames, num_frames, partial, seed, normals)
        matlab73.write_header(partial / MAT_NAME)
        is_test = split_by_scene(scenes)
        _write_splits(partial / SPLITS_NAME, is_test)
        for tree in normals:
            tree.divide(partial, is_test)
        for name in outputs:
            shutil.move(partial / name, root / name)


def output_names(normals: Sequence[NormalsTree] = LAYOUTS) -> list[str]:
    """What is written; the .mat comes last, so that its presence says that the rest is there."""
    return [*(tree.folder for tree in normals), SPLITS_NAME, MAT_NAME]


def video_names(rooms: Sequence[str]) -> list[str]:
    """The sequence of each frame: the room's name, with a letter where two videos show one room.

    Of the rooms with two frames or more every fifth, from the first, has its first half of frames
    in 'a' and the rest in 'b'.
    """
    sizes = Counter(rooms)
    filmed_twice = set([room for room, size in sizes.items() if size > 1][::SUFFIX_EVERY])
    seen: Counter[str] = Counter()
    names = []
    for room in rooms:
        seen[room] += 1
        suffix = "a" if 2 * seen[room] <= sizes[room] + 1 else "b"
        names.append(room + suffix if room in filmed_twice else room)
    return names


def split_by_scene(videos: Sequence[str]) -> np.ndarray:
    """bool (N,), True = test; videos 'a' and 'b' of one scene go together.

    Each scene goes to the split that lags behind its share, so that runs of training and of test
    frames alternate, as they do in NYUv2.
    """
    scenes = [re.sub(r"(?<=\d)[a-z]$", "", video) for video in videos]
    num_train = num_test = 0
    test_scenes = set()
    for scene, size in Counter(scenes).items():
        if num_test / TEST_SHARE < num_train / (1 - TEST_SHARE):
            test_scenes.add(scene)
            num_test += size
        else:
            num_train += size
    if not test_scenes:
        raise ValueError(f"{SPLITS_NAME}: all frames show {scenes[0]}; render two rooms or more")
    return np.array([scene in test_scenes for scene in scenes])


def _write_frames(
    file: h5py.File,
    frames: Iterable[Frame],
    num_frames: int,
    folder: Path,
    seed: int,
    normals: Sequence[NormalsTree],
) -> list[str]:
    """Fills the .mat file and the folders of normals; returns the video of every frame."""
    height, width = IMAGE_SIZE
    maps = (num_frames, width, height)
    images = matlab73.create_stack(file, "images", (num_frames, 3, width, height), np.uint8)
    depths = matlab73.create_stack(file, "depths", maps, np.float32)
    raw_depths = matlab73.create_stack(file, "rawDepths", maps, np.float32)
    labels = matlab73.create_stack(file, "labels", maps, np.uint16)
    instances = matlab73.create_stack(file, "instances", maps, np.uint8)
    rooms, scene_types, poses = [], [], []
    for index, frame in enumerate(frames):
        if index == num_frames:
            raise ValueError(f"more frames than the {num_frames} announced")
        _check(frame, index)
        raw_depth = _sensor_depth(frame, np.random.default_rng([seed, index]))
        frame_labels, frame_instances = labels_and_instances(frame)
        images[index] = with_white_border(frame.image).transpose(2, 1, 0)
        depths[index] = frame.depth.T
        raw_depths[index] = raw_depth.T
        labels[index] = frame_labels.T
        instances[index] = frame_instances.T
        for tree in normals:
            tree.write(folder, index, frame.normals, raw_depth > 0)
        rooms.append(frame.sequence)
        scene_types.append(frame.scene_type)
        poses.append(_orientation(frame.camera_to_world))
    if len(rooms) < num_frames:
        raise ValueError(f"{len(rooms)} frames came where {num_frames} were announced")
    matlab73.write_array(file, "accelData", np.array(poses, dtype=np.float32).T)
    videos = video_names(rooms)
    _write_strings(file, videos, scene_types)
    return videos


def _write_strings(file: h5py.File, videos: Sequence[str], scene_types: Sequence[str]) -> None:
    # namesToIds is left out: a containers.Map is an opaque MATLAB object whose parts lie in
    # '#subsystem#'. No HDF5 reader can decode it, MATLAB refuses a wrong one, and it says no more
    # than `names`.
    matlab73.write_cell(file, "names", list(label_ids()))
    matlab73.write_cell(file, "scenes", videos)
    matlab73.write_cell(file, "sceneTypes", scene_types)
    for name, letter, suffix in (
        ("rawDepthFilenames", "d", "pgm"),
        ("rawRgbFilenames", "r", "ppm"),
    ):
        # Kinect's files carry seconds since 1970 and a counter of its clock.
        files = [
            f"{video}/{letter}-{1294851097 + index}.500000-{60_000_000 * index}.{suffix}"
            for index, video in enumerate(videos)
        ]
        matlab73.write_cell(file, name, files)


def _write_splits(path: Path, is_test: np.ndarray) -> None:
    indices = {
        "trainNdxs": np.flatnonzero(~is_test).astype(np.uint16)[:, None] + np.uint16(1),
        "testNdxs": np.flatnonzero(is_test).astype(np.uint16)[:, None] + np.uint16(1),
    }
    buffer = io.BytesIO()
    scipy.io.savemat(buffer, indices)
    text = matlab73.version5_text()
    path.write_bytes(text + buffer.getvalue()[len(text) :])


def _check(frame: Frame, index: int) -> None:
    fields = {"image": (*IMAGE_SIZE, 3), "depth": IMAGE_SIZE, "instances": IMAGE_SIZE}
    for field, shape in fields.items():
        if getattr(frame, field).shape != shape:
            found = getattr(frame, field).shape
            raise ValueError(f"frame {index}: {field} is {found}, NYUv2 has {shape}; render that")
    if frame.scene_type not in SCENE_CLASSES:
        raise ValueError(f"frame {index}: '{frame.scene_type}' is no scene type of NYUv2")
    if not frame.sequence[-1:].isdigit():
        raise ValueError(f"frame {index}: sequence '{frame.sequence}' must end in a number")


def _sensor_depth(frame: Frame, rng: np.random.Generator) -> np.ndarray:
    return kinect_noise(kinect_holes(frame.depth, frame.normals, frame.instances, rng), rng)


def _orientation(camera_to_world: np.ndarray) -> tuple[float, float, float, float]:
    """Roll, yaw, pitch (downwards) and tilt, radians; the tilt motor is taken to make the pitch."""
    right, _, forward = camera_to_world[:3, :3].T
    pitch = float(np.arcsin(np.clip(forward[1], -1, 1)))
    return float(np.arcsin(right[1])), float(np.arctan2(forward[0], forward[2])), pitch, pitch
