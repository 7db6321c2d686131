"""Frames that train, validate and test. They are numbered from 1, as in splits.mat."""

import hashlib
import re
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import scipy.io

from nyuv2prep.mat_reader import OFFICIAL_FRAMES

OFFICIAL_TRAIN, OFFICIAL_TEST, OFFICIAL_VAL = 795, 654, 122

REMEDY = "download splits.mat again"

Splits = dict[str, list[int]]


def make_splits(
    splits_file: Path, scenes: Sequence[str], num_val: int, val_scenes_file: Path | None
) -> Splits:
    """Return the frames of each data set, by its name, sorted.

    Args:
        splits_file: the official splits.mat.
        scenes: the video of each frame.
        num_val: frames of ``nyuv2_val122``; 0: it and the rest of the training are no data sets.
        val_scenes_file: videos to validate on, one a line; None takes the rule of ``choose_val``.
    """
    train, test = read_splits(splits_file, num_frames=len(scenes))
    if num_val == 0 and val_scenes_file is None:
        return {"nyuv2_train": train, "nyuv2_test": test}
    if val_scenes_file is None:
        val = choose_val([(frame, scene_of_video(scenes[frame - 1])) for frame in train], num_val)
    else:
        val = listed_val(val_scenes_file, train, scenes)
        if len(val) != num_val:
            raise ValueError(
                f"{val_scenes_file}: its videos have {len(val)} training frames where {num_val} "
                f"are wanted: correct the list or pass --val-images {len(val)}"
            )
    rest = sorted(set(train) - set(val))
    if not rest:
        raise ValueError(f"validation takes all {len(train)} training frames: lower --val-images")
    return {"nyuv2_train": train, "nyuv2_test": test, "nyuv2_train673": rest, "nyuv2_val122": val}


def read_splits(path: Path, num_frames: int) -> tuple[list[int], list[int]]:
    """Return the training and test frames of splits.mat, checked to be a division of all frames."""
    if not path.is_file():
        raise FileNotFoundError(f"{path}: there is no such file; --splits names it")
    # SciPy raises almost anything on a file that is none of its own, and some crash it.
    try:
        with ProcessPoolExecutor(1) as process:
            variables = process.submit(scipy.io.loadmat, path).result()
    except Exception as error:
        reason = " ".join(str(error).split())[:200]
        raise ValueError(f"{path}: not a MATLAB 5 file ({reason}): {REMEDY}") from error
    train, test = (_frames(path, name, variables, num_frames) for name in ("trainNdxs", "testNdxs"))
    if sorted(train + test) != list(range(1, num_frames + 1)):
        raise ValueError(
            f"{path}: trainNdxs and testNdxs do not divide the {num_frames} frames: {REMEDY}"
        )
    counts = (len(train), len(test))
    if num_frames == OFFICIAL_FRAMES and counts != (OFFICIAL_TRAIN, OFFICIAL_TEST):
        raise ValueError(
            f"{path}: {counts[0]} training and {counts[1]} test frames where NYUv2 has "
            f"{OFFICIAL_TRAIN} and {OFFICIAL_TEST}: {REMEDY}"
        )
    return train, test


def _frames(path: Path, name: str, variables: dict, num_frames: int) -> list[int]:
    values = np.asarray(variables.get(name, ())).ravel()
    numbers = range(1, num_frames + 1)
    if not len(values) or values.dtype.kind not in "iuf" or any(x not in numbers for x in values):
        raise ValueError(f"{path}: {name} must hold frames, 1 to {num_frames}: {REMEDY}")
    return sorted(int(value) for value in values)


def scene_of_video(video: str) -> str:
    """'kitchen_0028a' and 'kitchen_0028b' are two videos of the scene 'kitchen_0028'."""
    return re.sub(r"(?<=\d)[a-z]$", "", video)


def choose_val(frames: Sequence[tuple[int, str]], count: int) -> list[int]:
    """Return exactly ``count`` frames that are all of the frames of some scenes.

    Scenes are taken in the order of the SHA-1 of their name; the first combination that dynamic
    programming over the number of frames reaches is the answer, so it depends on nothing else.

    Args:
        frames: pairs of a frame and its scene.
    """
    sizes = Counter(scene for _, scene in frames)
    order = sorted(sizes, key=lambda scene: hashlib.sha1(scene.encode()).hexdigest())
    last_scene: dict[int, str | None] = {0: None}
    for scene in order:
        for total in sorted(last_scene):
            last_scene.setdefault(total + sizes[scene], scene)
    if count not in last_scene:
        raise ValueError(
            f"no choice of whole scenes has {count} of the {len(frames)} training frames: pass "
            "another --val-images or choose scenes with --val-scenes"
        )
    chosen: set[str] = set()
    total = count
    while (scene := last_scene[total]) is not None:
        chosen.add(scene)
        total -= sizes[scene]
    return sorted(frame for frame, scene in frames if scene in chosen)


def listed_val(path: Path, train: Sequence[int], scenes: Sequence[str]) -> list[int]:
    """Return the training frames of the videos that a file lists."""
    if not path.is_file():
        raise FileNotFoundError(f"{path}: there is no such file; --val-scenes names it")
    listed = {line.strip() for line in path.read_text(encoding="utf-8").splitlines()} - {""}
    unknown = sorted(listed - set(scenes))
    if unknown:
        raise ValueError(
            f"{path}: '{unknown[0]}' is no video of NYUv2: write one name a line as in `scenes`, "
            "kitchen_0028a"
        )
    return [frame for frame in train if scenes[frame - 1] in listed]


def shared_scenes(scenes: Sequence[str], one: Sequence[int], other: Sequence[int]) -> list[str]:
    """Return the scenes with frames on both sides."""
    sides = ({scene_of_video(scenes[frame - 1]) for frame in side} for side in (one, other))
    return sorted(set.intersection(*sides))
