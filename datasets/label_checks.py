"""Labels that are well-formed and wrong: depth in another unit, normals under other axes.

On the rooms, normals are 5 degrees from those of the depth, and 50 under other axes.
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import permutations, product
from typing import Any

import cv2
import numpy as np
from detectron2.data import Metadata
from normals_from_depth import normals_from_depth

from rock_d2.image_files import exif_orientation, read_color_image
from rock_d2.tasks import Depth, Normals

# Metres between which most of a depth map lies, of data sets without ``depth_range``.
ANY_DEPTH = (0.1, 80.0)
# By what millimetres have to be multiplied if a file has another unit.
UNITS = {1000: "metres", 10: "centimetres", 0.2: "1/5000 m", 0.1: "1/10 mm"}
# Share of the known depth that may lie outside of ``depth_range``.
OUTSIDE_RANGE = 0.01

# All axes that three channels can stand for, first the right ones: x, y, z by R, G, B.
AXES = np.array(
    [
        np.diag(signs)[:, order]
        for order in permutations(range(3))
        for signs in product((1, -1), repeat=3)
    ],
    dtype=np.float32,
)
AXES_NAMES = {
    "x -R y -G z -B": "turned away from the camera",
    "x +R y -G z +B": "y points up",
    "x +R y -G z -B": "y points up and z to the camera",
    "x +R y +G z -B": "z points to the camera",
    "x +B y +G z +R": "the channels are in the order BGR",
}
# Degrees by which other axes have to be better, and that normals may be from those of the depth.
AXES_MARGIN, LARGEST_MEAN = 5.0, 40.0

# Correlation of thumbnails above which two files show the same.
SAME_PICTURE = 0.999


def measure(record: Mapping[str, Any], metadata: Metadata) -> tuple[list[str], dict]:
    """Return the faults of an image and its labels, a line each, and what its set is judged by.

    Args:
        record: a dataset dict whose files are readable and of one size.
        metadata: of its data set.

    Returns:
        The faults, and arrays: ``picture`` (256,), a thumbnail of unit length, and ``angles``
        (48,), mean degrees of the normals to those of the depth under each of AXES.
    """
    image = read_color_image(record["file_name"])
    faults, found = [], {"picture": thumbnail(image)}
    if not found["picture"].any():
        faults.append("the image is of one colour everywhere")
    others = [name for name in record if name.endswith("_file_name")]
    if others and exif_orientation(record["file_name"]) != 1:
        faults.append(f"an EXIF tag turns the image, but not {', '.join(others)}: store it upright")
    depth, normals = Depth().read(record), Normals().read(record)
    if depth is not None and (depth > 0).any():
        faults += depth_faults(depth[depth > 0], metadata.get("depth_range"))
    if depth is not None and normals is not None:
        lens = (record["width"], record["width"], record["width"] / 2, record["height"] / 2)
        camera = record.get("intrinsics", metadata.get("intrinsics", lens))
        angles = angles_to_depth(normals, depth, camera)
        found |= {"angles": angles} if np.isfinite(angles).all() else {}
    return faults, found


def thumbnail(image: np.ndarray) -> np.ndarray:
    """Return 16 x 16 grey values of mean 0 and length 1: products are correlations."""
    small = cv2.resize(image, (16, 16), interpolation=cv2.INTER_AREA).mean(axis=2).ravel()
    centred = (small - small.mean()).astype(np.float32)
    return centred / np.linalg.norm(centred) if image.std() > 1 else np.zeros_like(centred)


def depth_faults(metres: np.ndarray, depth_range: tuple[float, float] | None) -> Iterator[str]:
    """Yield the faults of the known depth of an image."""
    near, far = depth_range or ANY_DEPTH
    median, outside = float(np.median(metres)), float(((metres < near) | (metres > far)).mean())
    if metres.min() == metres.max():
        yield f"the depth is {median:.3g} m everywhere"
    if not near <= median <= far:
        fitting = [unit for factor, unit in UNITS.items() if near <= median * factor <= far]
        yield f"the median depth is {median:.3g} m, outside of {near:g} to {far:g} m" + (
            f": files hold millimetres, this looks like {' or '.join(fitting)}" if fitting else ""
        )
    elif outside > OUTSIDE_RANGE:
        yield f"{outside:.0%} of the depth is outside of {near:g} to {far:g} m"


def angles_to_depth(normals: np.ndarray, depth: np.ndarray, camera: Sequence[float]) -> np.ndarray:
    """Return the mean angle, in degrees, of normals to those of the depth under each of AXES.

    It is NaN where no pixel has both.
    """
    step = max(depth.shape[1] // 160, 1)
    camera = tuple(number / step for number in camera)
    offsets = (-4, -2, -1, 0, 1, 2, 4)
    expected = normals_from_depth(depth[::step, ::step], camera, offsets=offsets)
    normals = normals[::step, ::step]
    both = (expected != 0).any(axis=2) & (normals != 0).any(axis=2)
    if not both.any():
        return np.full(len(AXES), np.nan)
    cosines = np.einsum("aij,pj,pi->ap", AXES, normals[both], expected[both], optimize=True)
    return np.degrees(np.arccos(cosines.clip(-1, 1))).mean(axis=1)


def set_faults(measured: Sequence[Mapping[str, np.ndarray]]) -> Iterator[str]:
    """Yield a line if the normals of a set have other axes, or do not fit the depth."""
    angles = [found["angles"] for found in measured if "angles" in found]
    if not angles:
        return
    means = np.mean(angles, axis=0)
    best = int(means.argmin())
    if means[0] > means[best] + AXES_MARGIN:
        yield (
            f"normals: {name_of_axes(best)}; so they would be {means[best]:.0f} degrees from those "
            f"of the depth on average, and are {means[0]:.0f}"
        )
    elif means[0] > LARGEST_MEAN:
        yield (
            f"normals: they are {means[0]:.0f} degrees from those of the depth on average, and "
            "under no axes much less: they look like those of other images"
        )


def name_of_axes(index: int) -> str:
    """Return for example "x +R y -G z +B: y points up"."""
    terms = [
        f"{axis} {'-' if row.sum() < 0 else '+'}{'RGB'[int(np.abs(row).argmax())]}"
        for axis, row in zip("xyz", AXES[index], strict=True)
    ]
    name = " ".join(terms)
    return f"they look like {name}" + (f", {AXES_NAMES[name]}" if name in AXES_NAMES else "")


def same_pictures(
    pictures: Mapping[str, np.ndarray], others: Mapping[str, np.ndarray]
) -> Iterator[tuple[str, str]]:
    """Yield the pairs of an image and another one that show the same, of thumbnails by file."""
    names = list(others)
    table = np.array([others[name] for name in names]).reshape(-1, 256)
    for file, picture in pictures.items() if names else ():
        alike = table @ picture
        if alike.max() > SAME_PICTURE:
            yield file, names[int(alike.argmax())]
