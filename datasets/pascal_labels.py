"""The labels of PASCAL-Context for several tasks, as their files hold them, in the tree's form.

H x W pixels. 459 classes of PASCAL-Context are counted from 1; 0 is unlabelled.
"""

import csv
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import scipy.io

from rock_d2.data.datasets.pascal import THING_CLASSES
from rock_d2.image_files import read_pixels
from rock_d2.tasks.class_maps import UNKNOWN

NUM_CONTEXT_CLASSES = 459
# The numbers of VOC's 20 objects among them, in VOC's order; "diningtable" is "table" there.
VOC_IDS = (2, 23, 25, 31, 34, 45, 59, 65, 72, 98, 397, 113, 207, 258, 284, 308, 347, 368, 416, 427)
NYU_NAMES = Path(__file__).with_name("nyuv2prep") / "nyu894_to_40.csv"

PERSON = 1 + THING_CLASSES.index("person")
# PASCAL-Part's names of a person's parts, by the class from 1 (``PARTS`` of the task); l and r are
# left and right, llarm is the lower left arm.
PART_NAMES = (
    "head hair lear rear lebrow rebrow leye reye nose mouth",
    "torso neck",
    "luarm ruarm",
    "llarm rlarm lhand rhand",
    "luleg ruleg",
    "llleg rlleg lfoot rfoot",
)
CLASS_OF_PART = {
    name: number for number, names in enumerate(PART_NAMES, start=1) for name in names.split()
}

REMEDY = "unpack its archive again"


def read_label_map(path: Path, size: tuple[int, int]) -> np.ndarray:
    """Return the class of each pixel of an image's `LabelMap`, (H, W), 0 to 459."""
    classes = _load_mat(path, "LabelMap")
    if classes.dtype.kind not in "ui" or classes.shape != size:
        raise ValueError(
            f"{path}: LabelMap is {classes.dtype} {classes.shape} where integers of {size}, the "
            f"image's size, are expected: {REMEDY}"
        )
    if classes.max() > NUM_CONTEXT_CLASSES or classes.min() < 0:
        raise ValueError(
            f"{path}: LabelMap holds class {classes.max()}; PASCAL-Context has "
            f"{NUM_CONTEXT_CLASSES}: {REMEDY}"
        )
    return classes


def read_sem_seg(path: Path, size: tuple[int, int]) -> np.ndarray:
    """Return the classes of one of VOC's PNGs, whose palette is only for the eye."""
    classes = read_png(path, size)
    wrong = classes[(classes > len(THING_CLASSES)) & (classes != UNKNOWN)]
    if wrong.size:
        raise ValueError(
            f"{path}: holds class {wrong.max()}; VOC has 0 to {len(THING_CLASSES)}, and {UNKNOWN} "
            f"for unknown: {REMEDY}"
        )
    return classes


def sem_seg_of(label_map: np.ndarray) -> np.ndarray:
    """Return VOC's classes, background where it has none."""
    table = np.zeros(NUM_CONTEXT_CLASSES + 1, np.uint8)
    table[0] = UNKNOWN
    table[list(VOC_IDS)] = np.arange(1, len(VOC_IDS) + 1)
    return table[label_map]


def read_human_parts(path: Path, size: tuple[int, int]) -> np.ndarray:
    """Return the part of a person at each pixel, 0 for none; of several the last one counts."""
    parts = np.zeros(size, np.uint8)
    anno = _load_mat(path, "anno")
    try:
        people = [thing for thing in anno["objects"][0, 0].flat if thing["class_ind"] == PERSON]
        found = [part for person in people for part in person["parts"].flat]
        named = [(part["part_name"].item(), part["mask"] != 0) for part in found]
    except (IndexError, TypeError, ValueError) as problem:
        raise ValueError(
            f"{path}: anno is not as PASCAL-Part has it, objects with class_ind and parts of "
            f"part_name and mask ({problem}): {REMEDY}"
        ) from None
    for name, mask in named:
        if name not in CLASS_OF_PART:
            raise ValueError(f"{path}: {name!r} is no part of a person in PASCAL-Part: {REMEDY}")
        if mask.shape != size:
            raise ValueError(
                f"{path}: the mask of {name} is {mask.shape}, its image {size}: {REMEDY}"
            )
        parts[mask] = CLASS_OF_PART[name]
    return parts


def read_normals(
    path: Path, size: tuple[int, int], label_map: np.ndarray, indoor: Sequence[int]
) -> np.ndarray:
    """Return float32 (H, W, 3), unit vectors where the class is ``indoor``, else 0."""
    vectors = read_png(path, (*size, 3)).astype(np.float32) * np.float32(2 / 255) - 1
    # All levels from 1/255 to 255/255 have some length, so nothing is divided by 0.
    vectors /= np.linalg.norm(vectors, axis=2, keepdims=True)
    return np.where(np.isin(label_map, indoor)[..., None], vectors, 0)


def read_saliency(path: Path, size: tuple[int, int]) -> np.ndarray:
    """Return bool (H, W)."""
    return read_png(path, size) > 255 / 2


def indoor_classes(labels_file: Path) -> list[int]:
    """Return the numbers of the classes whose names NYUv2 has, too, and of screens.

    The normals come from a network that has learned on NYUv2, and are kept for these classes only.

    Args:
        labels_file: PASCAL-Context's labels.txt, lines such as "284: person".
    """
    lines = _read_text(labels_file).splitlines()
    pairs = [line.partition(":") for line in lines if line.strip()]
    names = {name.strip(): number.strip() for number, _, name in pairs}
    if sorted(names.values()) != sorted(map(str, range(1, NUM_CONTEXT_CLASSES + 1))):
        raise ValueError(
            f"{labels_file}: does not name {NUM_CONTEXT_CLASSES} classes in lines such as "
            "'284: person': --labels must be PASCAL-Context's labels.txt"
        )
    with open(NYU_NAMES, newline="", encoding="utf-8") as file:
        indoor = {row["name894"] for row in csv.DictReader(file)} - {"unknown"} | {"tvmonitor"}
    return sorted(int(number) for name, number in names.items() if name in indoor)


def read_list(path: Path, images: Path) -> list[str]:
    """Return the stems that a list of images names, each of which has an image."""
    stems = _read_text(path).split()
    twice = [stem for stem, count in Counter(stems).items() if count > 1]
    if twice or not stems:
        what = f"lists {twice[0]} twice" if twice else "lists no image"
        raise ValueError(f"{path}: {what}: download the list again")
    for stem in stems:
        if not (images / f"{stem}.jpg").is_file():
            raise FileNotFoundError(
                f"{path}: lists {stem}, but {images / f'{stem}.jpg'} is missing: unpack the images "
                "again, or correct the list"
            )
    return stems


def read_png(path: Path, shape: tuple[int, ...]) -> np.ndarray:
    """Return uint8 pixels of a shape."""
    try:
        pixels = read_pixels(path)
    except ValueError as problem:
        raise ValueError(f"{problem}: {REMEDY}") from None
    if pixels.dtype != np.uint8 or pixels.shape != shape:
        raise ValueError(
            f"{path}: is {pixels.dtype} {pixels.shape} where uint8 {shape} is expected: {REMEDY}"
        )
    return pixels


def _load_mat(path: Path, name: str) -> np.ndarray:
    """Return a variable of a MATLAB 5 file."""
    if not path.is_file():
        raise FileNotFoundError(f"{path}: is missing: {REMEDY}")
    # SciPy raises almost anything on a file that is none of its own.
    try:
        variables = scipy.io.loadmat(path)
    except Exception as problem:
        reason = " ".join(str(problem).split())[:200]
        raise ValueError(f"{path}: not a MATLAB 5 file ({reason}): {REMEDY}") from None
    if name not in variables:
        raise ValueError(f"{path}: has no variable {name}: {REMEDY}")
    return variables[name]


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as problem:
        raise ValueError(f"{path}: is no text file ({problem}): download it again") from None
