"""Model of a Kinect of the first generation: holes in an exact depth map.

H x W pixels; depth is planar (z), in metres; 0 stands for a missing value, as in NYUv2's rawDepths.
"""

import cv2
import numpy as np

from rock_d2.data.datasets.nyuv2 import DEPTH_RANGE, IMAGE_SIZE
from roomgen.camera import intrinsics, pixel_rays

# Seen from behind the device the infrared projector stands 7.5 cm to the right of its camera.
BASELINE = 0.075

# Rows and columns of the colour image that the depth camera covers at 480 x 640
# (get_projection_mask.m of the NYUv2 toolbox, counted from 0).
PROJECTION_ROWS = (44, 471)
PROJECTION_COLUMNS = (40, 601)

# Surfaces steeper than about 84 degrees to the line of sight return no pattern.
GRAZING_COSINE = 0.1
# Black cloth, screens, polished metal: this share of the things returns almost nothing.
ABSORBING_SHARE = 0.08
ABSORBING_LARGEST_AREA = 0.1
SPECKLE_SHARE = 0.001
# A surface this much (relative) behind what the projector meets first lies in its shadow.
SHADOW_TOLERANCE = 0.03


def kinect_holes(
    depth: np.ndarray, normals: np.ndarray, instances: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """Set to 0 the pixels that a Kinect would not measure; all other pixels keep their exact value.

    Args:
        depth: float32 (H, W), metres.
        normals: float32 (H, W, 3), unit vectors, x right, y down, z forward.
        instances: unsigned (H, W), 0 = nothing.
        rng: the only source of chance, hence of difference between two calls.

    Returns:
        float32 (H, W).
    """
    nearest, farthest = DEPTH_RANGE
    measured = (
        projection_window(depth.shape)
        & (depth >= nearest)
        & (depth <= farthest)
        & ~projector_shadow(depth)
        & ~_grazing(normals, rng)
        & ~_absorbing(instances, rng)
        & ~_speckle(depth.shape, rng)
    )
    return np.where(measured, depth, 0).astype(np.float32)


def projection_window(shape: tuple[int, int]) -> np.ndarray:
    """Return bool (H, W): the part of the colour image that the depth camera covers."""
    row_scale, column_scale = shape[0] / IMAGE_SIZE[0], shape[1] / IMAGE_SIZE[1]
    top, bottom = (round(row * row_scale) for row in PROJECTION_ROWS)
    left, right = (round(column * column_scale) for column in PROJECTION_COLUMNS)
    window = np.zeros(shape, dtype=bool)
    window[top:bottom, left:right] = True
    return window


def projector_shadow(depth: np.ndarray) -> np.ndarray:
    """Return bool (H, W): the part that the projector, to the camera's right, cannot reach.

    A z-buffer of the projector's view: it sees the point of column u in its own column u - f b / z.
    The shadow of a thing therefore falls on what lies behind and to the left of it.
    """
    height, width = depth.shape
    focal = intrinsics(height, width)[0, 0]
    nearest = DEPTH_RANGE[0]
    margin = int(np.ceil(focal * BASELINE / nearest)) + 1
    disparity = focal * BASELINE / np.maximum(depth, nearest)
    columns = np.rint(np.arange(width) - disparity).astype(np.intp) + margin
    rows = np.broadcast_to(np.arange(height)[:, None], depth.shape)
    buffer = np.full((height, width + margin), np.finfo(np.float32).max, dtype=np.float32)
    np.minimum.at(buffer, (rows, columns), depth)
    # A surface that the projector sees wider than the camera leaves empty columns in the buffer.
    buffer = cv2.erode(buffer, np.ones((1, 3), np.uint8))
    return depth > buffer[rows, columns] * (1 + SHADOW_TOLERANCE)


def _grazing(normals: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    height, width = normals.shape[:2]
    x, y = pixel_rays(intrinsics(height, width), height, width)
    y = y[:, None]
    along_ray = normals[..., 0] * x + normals[..., 1] * y + normals[..., 2]
    cosine = np.abs(along_ray) / np.sqrt(x**2 + y**2 + 1)
    return cosine < GRAZING_COSINE * (0.5 + _blotches((height, width), rng))


def _absorbing(instances: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    areas = np.bincount(instances.ravel())
    absorbs = rng.random(len(areas)) < ABSORBING_SHARE
    absorbs &= areas <= ABSORBING_LARGEST_AREA * instances.size
    absorbs[0] = False
    return absorbs[instances] & (_blotches(instances.shape, rng) < 0.7)


def _speckle(shape: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    seeds = (rng.random(shape, dtype=np.float32) < SPECKLE_SHARE).astype(np.uint8)
    # The sensor matches windows of pixels, so that holes are never a single pixel.
    return cv2.dilate(seeds, np.ones((3, 3), np.uint8)) > 0


def _blotches(shape: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """float32 (H, W) in [0, 1] that varies over about 1/40 of the width."""
    height, width = shape
    cell = max(width // 40, 1)
    coarse = rng.random((height // cell + 2, width // cell + 2), dtype=np.float32)
    return cv2.resize(coarse, (width, height), interpolation=cv2.INTER_LINEAR)
