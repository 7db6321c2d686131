"""Labels that are well-formed and wrong: in another unit, turned, or of another image.

Each image is measured by itself, then judged by what is usual in its set. On the rooms, edges of
a depth map agree with those of its image by a correlation of 0.67, with another image's by 0.05
and hardly ever by 0.41; normals are 5 degrees from those of the depth, and 50 under other axes.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import permutations, product
from typing import Any

import cv2
import numpy as np
from detectron2.data import Metadata

from rock_d2.data.datasets.normals_from_depth import normals_from_depth
from rock_d2.data.datasets.validation import are_numbers
from rock_d2.image_files import exif_orientation, read_color_image
from rock_d2.tasks import Depth, Normals

# Of one image, by name; see ``measure``.
Measures = Mapping[str, np.ndarray]

# Metres between which most of a depth map lies, of data sets without ``depth_range``.
ANY_DEPTH = (0.1, 80.0)
# By what millimetres have to be multiplied if a file has another unit.
UNITS = {1000: "metres", 10: "centimetres", 0.2: "1/5000 m", 0.1: "1/10 mm"}
# Share of the known depth that may lie outside of ``depth_range``.
OUTSIDE_RANGE = 0.01

# Largest width at which edges are looked for, and rows and columns of the maps of edges.
WIDTH = 320
GRID = (36, 48)
FLIPS = {"upside down": np.s_[::-1], "mirrored": np.s_[:, ::-1], "turned": np.s_[::-1, ::-1]}
# Images whose maps of edges are compared with each other; fewer than the least say nothing.
LEAST_COMPARED, MOST_COMPARED = 8, 2000

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
# Degrees by which other axes have to be better, and by which an image is worse than is usual.
AXES_MARGIN, ANGLE_MARGIN, LARGEST_ANGLE, LARGEST_MEAN = 5.0, 12.0, 25.0, 40.0

# Correlation of thumbnails above which two files show the same.
SAME_PICTURE = 0.999


def measure(record: Mapping[str, Any], metadata: Metadata) -> tuple[list[str], dict]:
    """Return the faults of an image and its labels, a line each, and what its set is judged by.

    Args:
        record: a dataset dict whose files are readable and of one size.
        metadata: of its data set.

    Returns:
        The faults, and arrays: ``picture`` (256,), a thumbnail of unit length; ``depth`` (41,),
        quantiles in metres; ``outlines`` (2, *GRID), of image and depth; ``angles`` (48,), mean
        degrees of the normals to those of the depth under each of AXES.
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
        found["depth"] = np.quantile(depth[depth > 0], np.linspace(0, 1, 41))
        found["outlines"] = np.stack([image_edges(image), depth_edges(depth)]).astype(np.float16)
    if depth is not None and normals is not None:
        found["angles"] = angles_to_depth(normals, depth, camera_of(record, metadata))
    return faults, {name: value for name, value in found.items() if np.isfinite(value).all()}


def thumbnail(image: np.ndarray) -> np.ndarray:
    small = cv2.resize(image, (16, 16), interpolation=cv2.INTER_AREA)
    return unit(small.mean(axis=2)) if image.std() > 1 else np.zeros(256, np.float32)


def unit(values: np.ndarray) -> np.ndarray:
    """Return values, flat, of mean 0 and length 1, so that products are correlations."""
    centred = values.astype(np.float32).ravel() - values.mean(dtype=np.float32)
    return centred / max(float(np.linalg.norm(centred)), 1e-6)


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


def image_edges(image: np.ndarray) -> np.ndarray:
    small = cv2.GaussianBlur(to_width(image, cv2.INTER_AREA).astype(np.float32), (0, 0), 0.7)
    return on_grid(gradient(small).max(axis=2))


def depth_edges(metres: np.ndarray) -> np.ndarray:
    """Return steps of the depth and creases of its surfaces, where it is known."""
    metres = to_width(metres, cv2.INTER_NEAREST)
    unknown = np.uint8(metres <= 0)
    metres = np.where(unknown, 1, metres)
    # Planes have an inverse depth that is linear in the image.
    inverse = cv2.GaussianBlur(1 / metres, (0, 0), 1)
    weight = 20 * (metres.shape[1] / 320) ** 2
    creases = weight * np.abs(cv2.Laplacian(inverse, cv2.CV_32F, ksize=3)) / inverse
    edges = np.minimum(np.maximum(gradient(np.log(metres)), creases), 1)
    return on_grid(np.where(cv2.dilate(unknown, np.ones((5, 5))), 0, edges))


def to_width(values: np.ndarray, interpolation: int) -> np.ndarray:
    height, width = values.shape[:2]
    scale = min(WIDTH / width, 1)
    size = (round(width * scale), max(round(height * scale), 1))
    return cv2.resize(values, size, interpolation=interpolation)


def gradient(values: np.ndarray) -> np.ndarray:
    return np.abs(cv2.Sobel(values, cv2.CV_32F, 1, 0)) + np.abs(cv2.Sobel(values, cv2.CV_32F, 0, 1))


def on_grid(edges: np.ndarray) -> np.ndarray:
    return np.sqrt(cv2.resize(edges, GRID[::-1], interpolation=cv2.INTER_AREA))


def camera_of(record: Mapping[str, Any], metadata: Metadata) -> tuple[float, ...]:
    """Return fx, fy, cx, cy of an image or its set, else of a usual lens."""
    camera = record.get("intrinsics", metadata.get("intrinsics", ()))
    if isinstance(camera, list | tuple) and len(camera) == 4 and are_numbers(list(camera)):
        return tuple(camera)
    return (record["width"], record["width"], record["width"] / 2, record["height"] / 2)


def angles_to_depth(
    normals: np.ndarray, depth: np.ndarray, camera: tuple[float, ...]
) -> np.ndarray:
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


def set_faults(files: Sequence[str], measured: Sequence[Measures]) -> Iterator[str]:
    """Yield the faults of a set, and of images by what is usual in their set."""
    yield from mismatched_depth(*having("outlines", files, measured))
    yield from wrong_normals(*having("angles", files, measured))


def having(
    name: str, files: Sequence[str], measured: Sequence[Measures]
) -> tuple[list[str], np.ndarray]:
    """Return the files that have a measure, and the measures (N, ...)."""
    places = [i for i, found in enumerate(measured) if name in found]
    return [files[i] for i in places], np.array([measured[i][name] for i in places])


def mismatched_depth(files: Sequence[str], edges: np.ndarray) -> Iterator[str]:
    """Yield a line for each depth map that is flipped, or of another image of the set."""
    if len(files) < LEAST_COMPARED:
        return
    images = np.array([unit(edge) for edge in edges[:, 0]])
    agreement = images @ np.array([unit(edge) for edge in edges[:, 1]]).T
    own, others = agreement.diagonal(), agreement - 2 * np.eye(len(files), dtype=np.float32)
    by_chance = agreement[~np.eye(len(files), dtype=bool)]
    usual, shuffled = float(np.median(own)), float(np.median(by_chance))
    flipped = {
        name: np.array([i @ unit(edge[flip]) for i, edge in zip(images, edges[:, 1], strict=True)])
        for name, flip in FLIPS.items()
    }
    for name, found in flipped.items():
        if np.median(found) > max(usual, 0) + 0.2:
            yield f"depth: the maps look {name}: their edges agree with the images' only so"
            return
    if usual < shuffled + 0.1:
        yield (
            f"depth: its edges agree with the images' by {usual:.2f}, and shuffled by "
            f"{shuffled:.2f}: the maps look like those of other images"
        )
    # Four standard deviations of chance, by a quantile that a few wrong labels do not move.
    clear = shuffled + 4 * float(np.quantile(by_chance, 0.84) - shuffled)
    for i in np.flatnonzero(own < max(usual, 0.3) / 3):
        fits = {f"looks {name}": found[i] for name, found in flipped.items()}
        fits[f"looks like that of {files[others[:, i].argmax()]}"] = others[:, i].max()
        best = max(fits, key=fits.__getitem__)
        if fits[best] > clear:
            yield (
                f"{files[i]}: the depth {best}: so its edges would agree with the image's by "
                f"{fits[best]:.2f} instead of {own[i]:.2f}"
            )


def wrong_normals(files: Sequence[str], angles: np.ndarray) -> Iterator[str]:
    """Yield a line if the set has other axes, and one for each image whose normals do not fit."""
    if not len(files):
        return
    means = angles.mean(axis=0)
    best = int(means.argmin()) if means[0] > means.min() + AXES_MARGIN else 0
    if best:
        yield (
            f"normals: {name_of_axes(best)}; so they would be {means[best]:.0f} degrees from those "
            f"of the depth on average, and are {means[0]:.0f}"
        )
    elif means[0] > LARGEST_MEAN:
        yield (
            f"normals: they are {means[0]:.0f} degrees from those of the depth on average, and "
            "under no axes much less: they look like those of other images"
        )
    usual = float(np.median(angles[:, best]))
    for file, found in zip(files, angles, strict=True):
        if found[best] > max(usual + ANGLE_MARGIN, LARGEST_ANGLE):
            fits = found.min() < found[best] - LARGEST_ANGLE
            yield (
                f"{file}: the normals are {found[best]:.0f} degrees from those of the depth on "
                f"average (the set's median is {usual:.0f})"
                + (f"; {name_of_axes(int(found.argmin()))}" if fits else "")
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


def label_numbers(
    records: Sequence[Mapping[str, Any]], metadata: Metadata, num_images: int = 32
) -> dict[str, str]:
    """Return the numbers of some dataset dicts, evenly spaced, for the header of a training."""
    measured = []
    for i in range(0, len(records), max(len(records) // num_images, 1)):
        with suppress(OSError, ValueError):
            measured.append(measure(records[i], metadata)[1])
    return numbers(measured)


def numbers(measured: Sequence[Measures]) -> dict[str, str]:
    """Return a line each about the depth and the normals of a set."""
    _, depth = having("depth", [""] * len(measured), measured)
    _, angles = having("angles", [""] * len(measured), measured)
    found = {}
    if len(depth):
        low, middle, high = np.quantile(depth, (0.01, 0.5, 0.99))
        found["depth"] = f"{low:.2f} / {middle:.2f} / {high:.2f} m (1, 50 and 99 %)"
    if len(angles):
        found["normals"] = f"{angles[:, 0].mean():.1f} degrees from those of the depth"
    return found
