"""The pixels of a whole data set on one device, and parts of them in batches.

C channels, P pixels of all images together, N images of a batch.
"""

from collections.abc import Sequence

import numpy as np
import torch

from rock_d2.tasks.geometry import OUTSIDE
from rock_d2.transfer import to_device

# PyTorch computes little with uint16: its bits lie in an int16 and are read as int32.
_KEPT_AS = {np.dtype(np.uint8): torch.uint8, np.dtype(np.uint16): torch.int16}


class PixelStore:
    """Images of any sizes, each channel of all of them back to back."""

    def __init__(
        self,
        sizes: Sequence[tuple[int, int]],
        *,
        channels: int,
        stored_type: type[np.unsignedinteger],
        device: torch.device,
    ):
        """
        Args:
            sizes: height and width of each image; (0, 0) where there is none.
            channels: of each.
            stored_type: NumPy type of the pixels, uint8 or uint16.
            device: where they lie.
        """
        self.sizes = np.array(sizes, dtype=np.int64).reshape(-1, 2)
        ends = self.sizes.prod(axis=1).cumsum()
        self.starts = ends - self.sizes.prod(axis=1)
        kept_as = _KEPT_AS[np.dtype(stored_type)]
        self.planes = torch.zeros(channels, int(ends[-1]), dtype=kept_as, device=device)

    @property
    def device(self) -> torch.device:
        return self.planes.device

    def put(self, index: int, pixels: np.ndarray) -> None:
        """Keeps an image, (C, H, W)."""
        flat = pixels.reshape(len(pixels), -1)
        if flat.dtype == np.uint16:
            flat = flat.view(np.int16)
        start = self.starts[index]
        # A copy, since PyTorch wants to be allowed to write into what it takes.
        self.planes[:, start : start + flat.shape[1]] = torch.from_numpy(flat.copy())

    def row_starts(self, index: int, rows: np.ndarray) -> np.ndarray:
        """Where the rows of an image begin in the store; ``OUTSIDE`` stays so."""
        return np.where(rows == OUTSIDE, OUTSIDE, self.starts[index] + rows * self.sizes[index, 1])

    def gather(self, row_starts: torch.Tensor, columns: torch.Tensor) -> list[torch.Tensor]:
        """Each channel's (N, h, w) pixels; values at OUTSIDE are arbitrary.

        Args:
            row_starts: int64 (N, h).
            columns: int64 (N, w).
        """
        places = (row_starts[:, :, None] + columns[:, None, :]).clamp_(min=0)
        # Channel by channel, which the CPU does much faster than all at once.
        found = [
            plane.index_select(0, places.flatten()).view(places.shape) for plane in self.planes
        ]
        if self.planes.dtype == torch.int16:
            found = [plane.to(torch.int32).bitwise_and_(0xFFFF) for plane in found]
        return found


def stack_on(arrays: Sequence[np.ndarray], device: torch.device) -> torch.Tensor:
    """The arrays as one tensor on a device."""
    return to_device(torch.from_numpy(np.stack(arrays)), device)


def outside(row_starts: torch.Tensor, columns: torch.Tensor) -> torch.Tensor:
    """bool (N, h, w): where no pixel of the store lies."""
    return (row_starts == OUTSIDE)[:, :, None] | (columns == OUTSIDE)[:, None, :]
