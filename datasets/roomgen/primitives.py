"""Intersections of rays with boxes, ellipsoids, frusta and cups.

Every primitive is a canonical solid (inside the cube [-1, 1]^3) under a rotation and three half
sizes. Rays are mapped into the canonical frame, where the parameter t along a ray stays what it
was: with ray directions scaled to z = 1 in camera axes, t is the planar depth. N primitives; rays
have shape (3, ...).
"""

from dataclasses import dataclass

import numpy as np

BOX, ELLIPSOID, FRUSTUM, CUP = range(4)
_UNIT_CORNERS = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)], np.float64)


@dataclass(frozen=True)
class Primitives:
    """N solids as arrays, in the frame that ``centre`` and ``rotation`` lead to.

    A frustum stands along its own y axis (down): radius 1 at the bottom (y = 1), ``taper`` at the
    top. A cup is a frustum's thin shell without the top: one looks into it.
    """

    kind: np.ndarray  # (N,) one of BOX, ELLIPSOID, FRUSTUM, CUP
    taper: np.ndarray  # (N,)
    centre: np.ndarray  # (N, 3)
    half: np.ndarray  # (N, 3) half sizes in metres
    rotation: np.ndarray  # (N, 3, 3) own axes to frame

    def __len__(self) -> int:
        return len(self.kind)

    def moved(self, transform: np.ndarray) -> "Primitives":
        """The same solids after a rigid (4, 4) transform."""
        rotation, shift = transform[:3, :3], transform[:3, 3]
        centre = self.centre @ rotation.T + shift
        return Primitives(self.kind, self.taper, centre, self.half, rotation @ self.rotation)

    def to_canonical(self) -> np.ndarray:
        """(N, 3, 3) matrices A with canonical point = A @ (point - centre)."""
        return self.rotation.transpose(0, 2, 1) / self.half[:, :, None]

    def bounds(self) -> np.ndarray:
        """(N, 3) half sizes of the boxes that enclose the solids."""
        wide = np.maximum(1.0, self.taper)
        return self.half * np.stack([wide, np.ones_like(wide), wide], axis=1)

    def corners(self) -> np.ndarray:
        """(N, 8, 3) corners of the enclosing boxes."""
        local = _UNIT_CORNERS * self.bounds()[:, None]
        return local @ self.rotation.transpose(0, 2, 1) + self.centre[:, None]


def intersect(kind: int, taper: float, origin: np.ndarray, direction: np.ndarray) -> np.ndarray:
    """First t > 0 at which origin + t * direction enters the canonical solid; inf for a miss.

    Args:
        origin: (3,) common start of the rays, outside the solid.
        direction: (3, ...) need not be unit vectors.
    """
    if kind == BOX:
        return _enter_box(origin, direction)
    if kind == ELLIPSOID:
        return _enter_sphere(origin, direction)
    return _enter_frustum(origin, direction, taper, has_top=kind == FRUSTUM)


def canonical_normals(
    kind: np.ndarray, taper: np.ndarray, origin: np.ndarray, direction: np.ndarray, t: np.ndarray
) -> np.ndarray:
    """(P, 3) gradients, in canonical axes, of the surfaces that P rays hit at t; not unit length.

    Args: kind, taper, t are (P,); origin and direction are (P, 3). They face the ray's start.
    """
    point = origin + t[:, None] * direction
    normals = point.copy()

    boxes = kind == BOX
    # The face that was entered last is the one seen, also within rounding of an edge.
    sign = np.sign(direction[boxes])
    entry = (-sign - origin[boxes]) / np.where(sign == 0, 1e-300, direction[boxes])
    entry[sign == 0] = -np.inf
    face = entry.argmax(axis=1)[:, None] == np.arange(3)
    normals[boxes] = np.where(face, -sign, 0.0)

    round_ones = (kind == FRUSTUM) | (kind == CUP)
    slope = (1.0 - taper[round_ones]) / 2
    y = point[round_ones, 1]
    side = point[round_ones].copy()
    side[:, 1] = -slope * ((1.0 + taper[round_ones]) / 2 + slope * y)
    cap = np.stack([np.zeros_like(y), np.sign(y), np.zeros_like(y)], axis=1)
    normals[round_ones] = np.where((np.abs(y) > 1 - 1e-7)[:, None], cap, side)

    inside_of_cup = (kind == CUP) & ((normals * direction).sum(axis=1) > 0)
    normals[inside_of_cup] *= -1
    return normals


def _enter_box(origin: np.ndarray, direction: np.ndarray) -> np.ndarray:
    inverse = 1.0 / np.where(direction == 0, 1e-30, direction)
    middle = -_column(origin, direction) * inverse
    reach = np.abs(inverse)
    enter = (middle - reach).max(axis=0)
    leave = (middle + reach).min(axis=0)
    return np.where((enter <= leave) & (enter > 0), enter, np.inf)


def _enter_sphere(origin: np.ndarray, direction: np.ndarray) -> np.ndarray:
    squared = (direction * direction).sum(axis=0)
    # From the point nearest to the centre on, so that nothing large cancels.
    nearest = -np.tensordot(origin, direction, axes=1) / squared
    closest = _column(origin, direction) + nearest * direction
    inside = 1.0 - (closest * closest).sum(axis=0)
    t = nearest - np.sqrt(np.maximum(inside, 0.0) / squared)
    return np.where((inside >= 0) & (t > 0), t, np.inf)


def _enter_frustum(
    origin: np.ndarray, direction: np.ndarray, taper: float, has_top: bool
) -> np.ndarray:
    dx, dy, dz = direction
    ox, oy, oz = origin
    slope, middle = (1.0 - taper) / 2, (1.0 + taper) / 2
    radius = middle + slope * oy
    a = dx * dx + dz * dz - (slope * dy) ** 2
    a = np.where(np.abs(a) < 1e-12, 1e-12, a)
    half_b = ox * dx + oz * dz - radius * slope * dy
    c = ox * ox + oz * oz - radius * radius
    discriminant = half_b * half_b - a * c
    root = np.sqrt(np.maximum(discriminant, 0.0))

    best = np.full(a.shape, np.inf)
    for t in ((-half_b - root) / a, (-half_b + root) / a):
        on_side = (discriminant >= 0) & (np.abs(oy + t * dy) <= 1) & (t > 0)
        best = np.where(on_side & (t < best), t, best)
    step = np.where(dy == 0, 1e-30, dy)
    for y, cap_radius in ((1.0, 1.0), (-1.0, taper))[: 2 if has_top else 1]:
        t = (y - oy) / step
        on_cap = ((ox + t * dx) ** 2 + (oz + t * dz) ** 2 <= cap_radius**2) & (t > 0)
        best = np.where(on_cap & (t < best), t, best)
    return best


def _column(vector: np.ndarray, like: np.ndarray) -> np.ndarray:
    return vector.reshape((3,) + (1,) * (like.ndim - 1))
