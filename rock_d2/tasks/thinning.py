"""Outlines of regions, one pixel wide."""

import cv2
import numpy as np

# Neighbours of a pixel as (row, column), counter-clockwise from the right.
NEIGHBOURS = ((0, 1), (-1, 1), (-1, 0), (-1, -1), (0, -1), (1, -1), (1, 0), (1, 1))


def outlines(regions: np.ndarray) -> np.ndarray:
    """Return bool (H, W): the borders between regions, which are integers (H, W), thinned.

    A border is where the Laplacian is not 0, as in PASCAL-Context's edges for several tasks.
    """
    laplacian = cv2.Laplacian(
        regions.astype(np.float32), cv2.CV_32F, ksize=1, borderType=cv2.BORDER_REPLICATE
    )
    return thin(laplacian != 0)


def boundaries(regions: np.ndarray) -> np.ndarray:
    """Return bool (H, W): the pixels with another region to the right or below, thinned.

    This is SEISM's truth for PASCAL-Context's edges, from the map of its 459 classes.
    """
    padded = np.pad(regions, ((0, 1), (0, 1)), mode="edge")
    neighbours = padded[:-1, 1:], padded[1:, :-1], padded[1:, 1:]
    return thin(np.any([regions != neighbour for neighbour in neighbours], axis=0))


def thin(mask: np.ndarray) -> np.ndarray:
    """Thin a bool (H, W) mask to lines that are one pixel wide, until nothing changes.

    This is MATLAB's bwmorph(..., 'thin'): Guo and Hall's algorithm (Communications of the ACM,
    1989) as in Lam, Lee and Suen's survey (PAMI 1992, page 879).
    """
    padded = np.pad(mask, 1).astype(np.uint8)
    pixels, width = padded.ravel(), padded.shape[1]
    steps = [row * width + column for row, column in NEIGHBOURS]
    places, before = np.flatnonzero(pixels), -1
    while before != len(places):
        before = len(places)
        for removable in REMOVABLE:
            codes = sum(pixels[places + step] << bit for bit, step in enumerate(steps))
            pixels[places[removable[codes]]] = 0
            places = places[~removable[codes]]
    return padded[1:-1, 1:-1].astype(bool)


def _removable() -> tuple[np.ndarray, np.ndarray]:
    """Return, for both sub-iterations, whether a pixel goes, by the bits of its neighbours."""
    x = (np.arange(256)[:, None] >> np.arange(8) & 1).astype(bool)
    # The survey counts from 1: its odd neighbours are the straight ones.
    straight, diagonal, next_straight = x[:, ::2], x[:, 1::2], np.roll(x, -2, axis=1)[:, ::2]
    crossings = (~straight & (diagonal | next_straight)).sum(axis=1)
    pairs = np.minimum((straight | diagonal).sum(axis=1), (diagonal | next_straight).sum(axis=1))
    ready = (crossings == 1) & (pairs >= 2) & (pairs <= 3)
    first = ready & ~((x[:, 1] | x[:, 2] | ~x[:, 7]) & x[:, 0])
    second = ready & ~((x[:, 5] | x[:, 6] | ~x[:, 3]) & x[:, 4])
    return first, second


REMOVABLE = _removable()
