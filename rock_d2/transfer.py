"""The way from the host to a device."""

import torch


def to_device(tensor: torch.Tensor, device: torch.device) -> torch.Tensor:
    """A tensor of the host's on the device, without waiting for what a GPU computes before."""
    # CUDA waits with memory that is not pinned.
    if device.type == "cuda":
        tensor = tensor.pin_memory()
    return tensor.to(device, non_blocking=True)
