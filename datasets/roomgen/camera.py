"""The camera: NYUv2's intrinsics, rays through pixel centres and poses at eye height."""

import numpy as np

from rock_d2.data.datasets.nyuv2 import IMAGE_SIZE, INTRINSICS


def intrinsics(height: int, width: int, zoom: float = 1.0) -> np.ndarray:
    """(3, 3) matrix of NYUv2's RGB camera for 0-based pixel centres at a size and zoom.

    A pixel is an area: resizing by s moves the centre c to (c + 0.5) * s - 0.5.
    """
    sy, sx = height / IMAGE_SIZE[0], width / IMAGE_SIZE[1]
    fx, fy, cx, cy = INTRINSICS
    return np.array(
        [
            [zoom * fx * sx, 0.0, (cx + 0.5) * sx - 0.5],
            [0.0, zoom * fy * sy, (cy + 0.5) * sy - 0.5],
            [0.0, 0.0, 1.0],
        ]
    )


def pixel_rays(matrix: np.ndarray, height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """x of every column (W,) and y of every row (H,) on the plane z = 1."""
    x = (np.arange(width) - matrix[0, 2]) / matrix[0, 0]
    y = (np.arange(height) - matrix[1, 2]) / matrix[1, 1]
    return x, y


def turn(yaw: float = 0.0, pitch: float = 0.0, roll: float = 0.0) -> np.ndarray:
    """(3, 3) rotation, radians: yaw to the right, pitch downwards, roll clockwise as seen."""
    cy, sy, cp, sp, cr, sr = *_cos_sin(yaw), *_cos_sin(pitch), *_cos_sin(roll)
    about_y = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    about_x = np.array([[1, 0, 0], [0, cp, sp], [0, -sp, cp]])
    about_z = np.array([[cr, -sr, 0], [sr, cr, 0], [0, 0, 1]])
    return about_y @ about_x @ about_z


def pose(rotation: np.ndarray, position: np.ndarray) -> np.ndarray:
    """(4, 4) rigid transform."""
    matrix = np.eye(4)
    matrix[:3, :3] = rotation
    matrix[:3, 3] = position
    return matrix


def inverse_pose(matrix: np.ndarray) -> np.ndarray:
    rotation = matrix[:3, :3].T
    return pose(rotation, -rotation @ matrix[:3, 3])


def _cos_sin(angle: float) -> tuple[float, float]:
    return float(np.cos(angle)), float(np.sin(angle))
