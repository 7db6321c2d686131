"""The three layouts in which normals for NYUv2 are handed around, written frame by frame."""

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

Axes = tuple[tuple[int, int, int], tuple[int, int, int], tuple[int, int, int]]

# Signed permutations; row c gives stored channel c in terms of our x right, y down, z forward.
RIGHT_DOWN_FORWARD: Axes = ((1, 0, 0), (0, 1, 0), (0, 0, 1))
RIGHT_FORWARD_UP: Axes = ((1, 0, 0), (0, 0, 1), (0, -1, 0))
FORWARD_DOWN_RIGHT: Axes = ((0, 0, 1), (0, 1, 0), (1, 0, 0))


@dataclass(frozen=True)
class NormalsTree:
    """A folder of normals, which stores ``axes @ n`` for our normal n.

    Attributes:
        folder: its name beside the .mat file.
        layout: "eigen" (Eigen and Fergus, ICCV 2015): normals/%04d.png and masks/%04d.png, from 0;
            0 in the mask = unknown. "ladicky" (Ladicky et al., ECCV 2014): train/%05d.png and
            test/%05d.png, from 1; a normal in every pixel. "npy" (of multi-task code): %04d.npy,
            from 0; float16 (H, W, 3), (0, 0, 0) = unknown. PNGs hold round(127 (n + 1)) in R, G, B.
        axes: one of the above, or any other.
    """

    folder: str
    layout: str
    axes: Axes

    def write(
        self, root: Path, index: int, normals: np.ndarray, valid: np.ndarray, split: str
    ) -> None:
        """Write frame ``index``, counted from 0.

        Args:
            root: the folder that holds ``self.folder``.
            normals: float32 (H, W, 3), our axes.
            valid: bool (H, W).
            split: "train" or "test".
        """
        folder = root / self.folder
        stored = normals @ np.asarray(self.axes, dtype=normals.dtype).T
        pixels = np.rint(127 * (stored + 1)).astype(np.uint8)
        if self.layout == "eigen":
            _write_png(
                folder / "normals" / f"{index:04d}.png", np.where(valid[..., None], pixels, 127)
            )
            _write_png(folder / "masks" / f"{index:04d}.png", np.uint8(255) * valid)
        elif self.layout == "ladicky":
            _write_png(folder / split / f"{index + 1:05d}.png", pixels)
        else:
            folder.mkdir(parents=True, exist_ok=True)
            np.save(folder / f"{index:04d}.npy", np.float16(stored * valid[..., None]))


def _write_png(path: Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), pixels[..., ::-1] if pixels.ndim == 3 else pixels)
