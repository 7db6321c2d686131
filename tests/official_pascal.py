"""Tiny trees in the layouts of PASCAL_MT, of VOC 2010 with its companions, and of NYUD_MT.

Names, types and nesting are those of the official files: LabelMap uint16 in a MATLAB 5 file;
PASCAL-Part's `anno`, a struct of structs; VOC's PNGs with a palette; lists of stems.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import scipy.io
from PIL import Image

SIZE = (48, 64)
# With people in all but the third, whose parts are of a chair.
STEMS = ("2008_000002", "2008_000003", "2009_000011", "2010_000132", "2010_000144")
TRAIN, VAL, SMALL = STEMS[:3], STEMS[3:], STEMS[4:]
NO_PEOPLE = STEMS[2]

SKY, FLOOR, PERSON, TABLE, SCREEN = 360, 158, 284, 397, 427
NAMES = {SKY: "sky", FLOOR: "floor", PERSON: "person", TABLE: "table", SCREEN: "tvmonitor"}
NAMES |= {431: "unknown", 440: "wall"}
# Places of the classes; the sky is behind them all.
FLOOR_AT = np.s_[32:]
PERSON_AT = np.s_[8:40, 10:30]
TABLE_AT = np.s_[24:44, 40:60]
SCREEN_AT = np.s_[4:12, 40:56]
UNLABELLED_AT = np.s_[:, 62:]
# The neck is listed after the head and lies over its lower half.
PARTS = {
    "head": np.s_[8:18, 14:26],
    "neck": np.s_[13:18, 14:26],
    "rlarm": np.s_[20:30, 10:14],
    "lfoot": np.s_[36:40, 20:30],
}
SALIENT, NOT_SALIENT = 128, 127


def label_map(stem: str) -> np.ndarray:
    classes = np.full(SIZE, SKY, np.uint16)
    classes[FLOOR_AT] = FLOOR
    if stem != NO_PEOPLE:
        classes[PERSON_AT] = PERSON
    classes[TABLE_AT] = TABLE
    classes[SCREEN_AT] = SCREEN
    classes[UNLABELLED_AT] = 0
    return classes


def normals() -> np.ndarray:
    """uint8 (H, W, 3): (0, -1, 0) in the upper half, (0.6, 0, -0.8) in the lower."""
    pixels = np.zeros((*SIZE, 3), np.uint8)
    half = SIZE[0] // 2
    for rows, vector in ((np.s_[:half], (0, -1, 0)), (np.s_[half:], (0.6, 0, -0.8))):
        pixels[rows] = np.rint(255 * (np.array(vector) + 1) / 2)
    return pixels


def struct(**fields: object) -> np.ndarray:
    """A 1 x 1 struct."""
    made = np.empty((1, 1), [(name, object) for name in fields])
    for name, value in fields.items():
        made[name][0, 0] = value
    return made


def structs(items: Sequence[np.ndarray]) -> np.ndarray:
    """A 1 x N struct, or [] of none."""
    return np.concatenate(items, axis=1) if items else np.zeros((0, 0))


def thing(name: str, number: int, parts: Mapping[str, object]) -> np.ndarray:
    found = []
    for part, place in parts.items():
        found.append(struct(part_name=part, mask=mask(place)))
    parts = structs(found)
    return struct(**{"class": name}, class_ind=number, mask=mask(PERSON_AT), parts=parts)


def mask(place: object) -> np.ndarray:
    inside = np.zeros(SIZE, np.uint8)
    inside[place] = 1
    return inside


def write_mat(path: Path, **variables: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    scipy.io.savemat(path, variables, do_compression=True)


def write_png(path: Path, pixels: np.ndarray, *, palette: bool = False) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(pixels)
    if palette:
        image.putpalette(np.random.default_rng(0).integers(256, size=768).tolist())
    image.save(path)


def write_list(path: Path, stems: Sequence[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{stem}\n" for stem in stems))


def write_image(path: Path, size: tuple[int, int], seed: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(256, size=(*size, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path, quality=90)


def write_parts(path: Path, stem: str) -> None:
    objects = [thing("chair", 9, {})]
    if stem != NO_PEOPLE:
        objects += [thing("person", 15, PARTS), thing("person", 15, {})]
    write_mat(path, anno=struct(imname=stem, objects=structs(objects)))


def write_common(images: Path, context: Path, parts: Path, lists: Path) -> None:
    for seed, stem in enumerate(STEMS):
        write_image(images / f"{stem}.jpg", SIZE, seed)
        write_mat(context / f"{stem}.mat", LabelMap=label_map(stem))
        write_parts(parts / f"{stem}.mat", stem)
    write_list(lists / "train.txt", TRAIN)
    write_list(lists / "val.txt", VAL)
    names = (f"{i}: {NAMES.get(i, f'thing {i}')}\n" for i in range(1, 460))
    (context.parent / "labels.txt").write_text("".join(names))


def write_archive(root: Path) -> None:
    """PASCAL_MT: only the first image has one of VOC's PNGs, the second one of the archive's."""
    write_common(
        root / "JPEGImages",
        root / "pascal-context/trainval",
        root / "human_parts",
        root / "ImageSets/Context",
    )
    voc = np.full(SIZE, 255, np.uint8)
    voc[1:-1, 1:-1] = 20
    write_png(root / f"semseg/VOC12/{STEMS[0]}.png", voc, palette=True)
    write_png(root / f"semseg/pascal-context/{STEMS[0]}.png", np.full(SIZE, 7, np.uint8))
    write_png(root / f"semseg/pascal-context/{STEMS[1]}.png", np.full(SIZE, 8, np.uint8))
    saliency = np.full(SIZE, NOT_SALIENT, np.uint8)
    saliency[PERSON_AT] = SALIENT
    for stem in STEMS:
        write_png(root / f"normals_distill/{stem}.png", normals())
        write_png(root / f"sal_distill/{stem}.png", saliency)
    write_list(root / "test_new.txt", SMALL)


def write_official(root: Path) -> list[str]:
    """VOC 2010, LabelMaps and PASCAL-Part as their homes have them; return the options."""
    voc = root / "VOCdevkit/VOC2010"
    parts = root / "Annotations_Part"
    write_common(voc / "JPEGImages", root / "trainval", parts, voc / "ImageSets/Main")
    write_png(voc / f"SegmentationClass/{STEMS[0]}.png", np.zeros(SIZE, np.uint8), palette=True)
    return ["--voc", str(voc), "--context", str(root / "trainval"), "--parts", str(parts)]


def write_nyud(root: Path, stems: Mapping[str, Sequence[str]]) -> None:
    """NYUD_MT: classes 0 to 40 in columns, 2 m, the left half unknown; a normal; two edges."""
    size = (480, 640)
    for split, members in stems.items():
        write_list(root / f"gt_sets/{split}.txt", members)
        for stem in members:
            write_image(root / f"images/{stem}.jpg", size, seed=0)
            columns = np.arange(size[1]) // 16
            write_png(root / f"segmentation/{stem}.png", np.uint8(columns + np.zeros(size)))
            depth = np.full(size, 2, np.float32)
            vectors = np.tile(np.float32([0, 0.6, -0.8]), (*size, 1))
            depth[:, :320] = vectors[:, :320] = 0
            edge = np.zeros(size, np.uint8)
            edge[:, [100, 300]] = 1
            for folder, values in (("depth", depth), ("normals", vectors), ("edge", edge)):
                (root / folder).mkdir(exist_ok=True)
                np.save(root / folder / f"{stem}.npy", values)
