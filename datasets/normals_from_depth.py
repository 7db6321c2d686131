"""Surface normals of a depth map: a plane is fitted around every pixel.

A plane n . P = 1 seen by a pinhole camera has an inverse depth w = 1 / Z that is linear in pixel
coordinates, so that the fit is a regression of w on (u, v). Kinect measures disparity, which is
proportional to w: its noise is the same near and far, as least squares wants it.
H x W pixels. Planes w = level + slope_u du + slope_v dv around each pixel are float32 (4, H, W):
level, slope_u, slope_v, and the root mean square of what the plane leaves of w, infinite where
there is no plane.
"""

import numpy as np

# Neighbours this much nearer or farther (relative) lie on another surface; the toolbox of NYUv2
# (compute_local_planes.m) has the same figure.
DISCONTINUITY = 0.05
# Pixels from the centre, across and down; those of the toolbox.
OFFSETS = (-9, -6, -3, -1, 0, 1, 3, 6, 9)
# A plane has three parameters; with fewer neighbours than this, noise decides.
FEWEST_NEIGHBOURS = 9


def normals_from_depth(
    depth: np.ndarray,
    intrinsics: tuple[float, float, float, float],
    *,
    offsets: tuple[int, ...] = OFFSETS,
) -> np.ndarray:
    """Fit a plane to the neighbours of every pixel that lie on its own surface.

    Args:
        depth: float (H, W), metres along the optical axis, 0 = unknown.
        intrinsics: fx, fy, cx, cy for pixels counted from 0.
        offsets: where the neighbours stand, in pixels, in rows and in columns.

    Returns:
        float32 (H, W, 3), unit vectors that face the camera, x right, y down, z forward;
        (0, 0, 0) where the depth is unknown or has too few neighbours on one surface.
    """
    if depth.ndim != 2 or not (depth >= 0).all():
        raise ValueError(
            f"depth: {depth.dtype} {depth.shape} must be (H, W) metres without NaN or negative "
            "values; unknown pixels are 0"
        )
    known = depth > 0
    inverse = np.where(known, 1 / np.where(known, depth, 1), 0).astype(np.float32)
    planes = _choose(inverse, _fit(inverse, offsets), reach=max(map(abs, offsets)))
    level, slope_u, slope_v, residual = planes
    fx, fy, cx, cy = intrinsics
    u = np.arange(depth.shape[1], dtype=np.float32) - np.float32(cx)
    v = np.arange(depth.shape[0], dtype=np.float32)[:, None] - np.float32(cy)
    # w = n_x (u - cx) / fx + n_y (v - cy) / fy + n_z. This n has n . P = 1 > 0, so it faces away.
    away = np.stack([slope_u * fx, slope_v * fy, level - slope_u * u - slope_v * v], axis=2)
    length = np.sqrt(np.einsum("hwc,hwc->hw", away, away))
    found = known & np.isfinite(residual) & (length > 0)
    return (away * np.where(found, -1 / np.where(found, length, 1), 0)[..., None]).astype(
        np.float32
    )


def _fit(inverse: np.ndarray, offsets: tuple[int, ...]) -> np.ndarray:
    """Regression around each pixel of the inverse depth, less the pixel's own."""
    reach = max(map(abs, offsets))
    height, width = inverse.shape
    padded = np.pad(inverse, reach)
    limit = DISCONTINUITY * inverse
    in_row = ("1", "u", "uu", "w", "uw", "ww")
    sums = {name: np.zeros_like(inverse) for name in (*in_row, "v", "uv", "vv", "vw")}
    for dv in offsets:
        rows = padded[reach + dv : reach + dv + height]
        row = {name: np.zeros_like(inverse) for name in in_row}
        for du in offsets:
            difference = rows[:, reach + du : reach + du + width] - inverse
            # An unknown neighbour has w = 0, which is farther than any limit.
            on_surface = (np.abs(difference) < limit).astype(np.float32)
            difference *= on_surface
            row["1"] += on_surface
            row["w"] += difference
            row["ww"] += difference * difference
            row["u"] += du * on_surface
            row["uu"] += (du * du) * on_surface
            row["uw"] += du * difference
        for name, value in row.items():
            sums[name] += value
        sums["v"] += dv * row["1"]
        sums["vv"] += (dv * dv) * row["1"]
        sums["uv"] += dv * row["u"]
        sums["vw"] += dv * row["w"]
    return _solve(inverse, sums)


def _solve(inverse: np.ndarray, s: dict[str, np.ndarray]) -> np.ndarray:
    """Solve the normal equations, after the means are taken out of them."""
    count = np.maximum(s["1"], 1)
    mean_u, mean_v, mean_w = s["u"] / count, s["v"] / count, s["w"] / count
    uu, uv, vv = s["uu"] - mean_u * s["u"], s["uv"] - mean_u * s["v"], s["vv"] - mean_v * s["v"]
    uw, vw = s["uw"] - mean_u * s["w"], s["vw"] - mean_v * s["w"]
    determinant = uu * vv - uv * uv
    # Neighbours in a single row or column leave one slope open.
    solved = (s["1"] >= FEWEST_NEIGHBOURS) & (determinant > 0.0025 * (uu + vv) ** 2)
    scale = 1 / np.where(solved, determinant, 1)
    slope_u = (uw * vv - vw * uv) * scale
    slope_v = (vw * uu - uw * uv) * scale
    squares = s["ww"] - mean_w * s["w"] - slope_u * uw - slope_v * vw
    level = inverse + mean_w - slope_u * mean_u - slope_v * mean_v
    residual = np.where(solved, np.sqrt(np.maximum(squares, 0) / count), np.inf)
    return np.stack([level, slope_u, slope_v, residual])


def _choose(inverse: np.ndarray, own: np.ndarray, reach: int) -> np.ndarray:
    """Take a neighbour's plane where that fits better: near an edge the own one is a mixture.

    A candidate costs what it leaves of its own surroundings and of this pixel.
    """
    height, width = inverse.shape
    padded = np.pad(own, ((0, 0), (reach, reach), (reach, reach)))
    padded[3] = np.pad(own[3], reach, constant_values=np.inf)
    best, cost = own.copy(), own[3] + np.abs(own[0] - inverse)
    for dv in (-reach, 0, reach):
        for du in (-reach, 0, reach):
            place = np.s_[:, reach + dv : reach + dv + height, reach + du : reach + du + width]
            candidate = padded[place].copy()
            candidate[0] -= candidate[1] * du + candidate[2] * dv
            its_cost = candidate[3] + np.abs(candidate[0] - inverse)
            better = its_cost < cost
            np.copyto(cost, its_cost, where=better)
            np.copyto(best, candidate, where=better)
    return best
