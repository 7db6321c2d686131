"""The folder that every data set is written to; README.md beside this file draws it."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from pycocotools import mask as coco_mask

from rock_d2.data.datasets.nyuv2 import THING_CLASSES
from rock_d2.files import atomic_file, remove_unfinished
from rock_d2.tasks.depth import encode_depth
from rock_d2.tasks.disparity import encode_disparity
from rock_d2.tasks.normals import encode_normals

# COCO ids start at 1; the order is alphabetical, as in Gupta et al., ECCV 2014.
CATEGORY_IDS: Mapping[str, int] = {name: i for i, name in enumerate(THING_CLASSES, start=1)}

# What the PNG of a label holds, by its folder; the others hold bytes.
ENCODINGS = {
    "depth": encode_depth,
    "disparity": encode_disparity,
    "normals": lambda normals: encode_normals(normals)[..., ::-1],
}
LABEL_FOLDERS = (*ENCODINGS, "sem_seg", "edges", "human_parts", "saliency")

# Of label maps: two thirds smaller than by OpenCV's defaults, which write photographs in a third of
# the time with 7 % more bytes.
PNG_PARAMS = (cv2.IMWRITE_PNG_COMPRESSION, 3)
JPEG_PARAMS = (cv2.IMWRITE_JPEG_QUALITY, 95)


@dataclass(frozen=True)
class DatasetTree:
    """Write images, annotations and labels to folders of ``root``, each file whole or not at all.

    Attributes:
        root: the folder of the data set.
        image_format: "png" (lossless) or "jpg".
        categories: names of the classes of objects; their ids start at 1.
    """

    root: Path
    image_format: str = "png"
    categories: Sequence[str] = THING_CLASSES

    def write_frame(
        self, stem: str, image: np.ndarray | Path, **labels: np.ndarray | None
    ) -> dict[str, str]:
        """Write one image and its labels.

        Args:
            stem: the files' common name, without a suffix.
            image: uint8 (H, W, 3), RGB, or a file to be copied as it is.
            labels: by folder; None has no file. ``depth`` is float32 (H, W), metres, 0 = unknown;
                ``disparity`` the same in pixels; ``normals`` float32 (H, W, 3), unit vectors,
                (0, 0, 0) = unknown; the others are classes, uint8 (H, W), 255 = unknown, or bool.

        Returns:
            The fields of the image's COCO record that name files, relative to ``root``.
        """
        if isinstance(image, Path):
            files = {"file_name": f"images/{stem}{image.suffix}"}
            write_file(self.root / files["file_name"], image.read_bytes())
        else:
            files = {"file_name": f"images/{stem}.{self.image_format}"}
            params = () if self.image_format == "png" else JPEG_PARAMS
            write_image(self.root / files["file_name"], image[..., ::-1], params)
        for folder, label in labels.items():
            if label is not None:
                files[f"{folder}_file_name"] = f"{folder}/{stem}.png"
                pixels = ENCODINGS.get(folder, np.uint8)(label)
                write_image(self.root / folder / f"{stem}.png", pixels)
        return files

    def remove_unfinished(self) -> None:
        """Delete the files that a killed process was writing."""
        for folder in {path.parent for path in self.root.rglob(".*.part")}:
            remove_unfinished(folder)

    def annotation_file(self, name: str) -> Path:
        return self.root / "annotations" / f"{name}.json"

    def write_annotations(
        self,
        name: str,
        images: Sequence[Mapping[str, Any]],
        annotations: Sequence[Mapping[str, Any]],
        info: Mapping[str, Any],
    ) -> Path:
        """Write ``annotations/<name>.json`` in COCO's format."""
        document = {
            "info": dict(info),
            "categories": [
                {"id": i, "name": name} for i, name in enumerate(self.categories, start=1)
            ],
            "images": list(images),
            "annotations": list(annotations),
        }
        path = self.annotation_file(name)
        write_file(path, json.dumps(document).encode())
        return path


def object_annotations(
    instances: np.ndarray,
    category_ids: Sequence[int | None],
    extra: Sequence[Mapping[str, Any]] | None = None,
) -> list[dict[str, Any]]:
    """Return one COCO annotation, still without ids, for each visible instance that has a category.

    Args:
        instances: unsigned (H, W); value i > 0 belongs to entry i - 1 of the other arguments.
        category_ids: COCO category of each instance; None for what is not to be detected.
        extra: more fields for each instance.
    """
    annotations = []
    areas = np.bincount(instances.ravel(), minlength=len(category_ids) + 1)
    for index, category_id in enumerate(category_ids):
        if category_id is None or areas[index + 1] == 0:
            continue
        mask = instances == index + 1
        rle = coco_mask.encode(np.asfortranarray(mask, dtype=np.uint8))
        annotation = {
            "category_id": category_id,
            "bbox": mask_extent(mask),
            "area": int(areas[index + 1]),
            "segmentation": {"size": list(rle["size"]), "counts": rle["counts"].decode("ascii")},
            "iscrowd": 0,
        }
        annotations.append(annotation | dict(extra[index] if extra else {}))
    return annotations


def mask_extent(mask: np.ndarray) -> list[int]:
    """Return [x, y, w, h] of a bool (H, W) mask that is not empty; w = max - min + 1."""
    columns = np.flatnonzero(mask.any(axis=0))
    rows = np.flatnonzero(mask.any(axis=1))
    x, y = int(columns[0]), int(rows[0])
    return [x, y, int(columns[-1]) - x + 1, int(rows[-1]) - y + 1]


def write_image(path: Path, pixels: np.ndarray, params: Sequence[int] = PNG_PARAMS) -> None:
    """Encode ``pixels`` (OpenCV's channel order) by the suffix of ``path``."""
    done, data = cv2.imencode(path.suffix, pixels, list(params))
    if not done:
        raise ValueError(f"{path}: OpenCV cannot encode {pixels.dtype} {pixels.shape}")
    write_file(path, data.tobytes())


def write_file(path: Path, content: bytes) -> None:
    """Write a file, whole or not at all, and the folders that it lies in."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_file(path) as file:
        file.write(content)
