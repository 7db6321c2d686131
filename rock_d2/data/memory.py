"""Whether a training set fits into memory, which is asked before it is read."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from detectron2.utils import comm

from rock_d2.tasks import Task

logger = logging.getLogger(__name__)

CPU = torch.device("cpu")


def resident_bytes(records: Sequence[Mapping[str, Any]], tasks: Sequence[Task]) -> int:
    """What images and labels take once they are decoded, of the records that tell their size."""
    return sum(
        3 * record["height"] * record["width"] + sum(task.stored_bytes(record) for task in tasks)
        for record in records
        if "height" in record
    )


def free_bytes(device: torch.device) -> int | None:
    """What a device has left, or None where nobody tells."""
    if device.type == "cuda":
        index = torch.cuda.current_device() if device.index is None else device.index
        return torch.cuda.mem_get_info(index)[0]
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return None
    found = [1024 * int(line.split()[1]) for line in lines if line.startswith("MemAvailable:")]
    return min([*found, *left_to_container()], default=None)


def left_to_container(folder: Path = Path("/sys/fs/cgroup")) -> list[int]:
    """What a container's limit (cgroup v2) leaves, beside cached files; [] without a limit."""
    try:
        limit, used = ((folder / f"memory.{name}").read_text() for name in ("max", "current"))
        counts = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
        cached = int(counts["inactive_file"]) + int(counts["active_file"])
        return [int(limit) - int(used) + cached]
    except (OSError, ValueError, KeyError):
        # The limit is the word "max" where there is none.
        return []


def check_that_it_fits(
    records: Sequence[Mapping[str, Any]],
    tasks: Sequence[Task],
    device: torch.device = CPU,
    *,
    free: int | None = None,
) -> None:
    """Raises ValueError if a set that is resident needs more than a device has left.

    Args:
        records: of the set.
        tasks: whose labels are kept, too.
        device: that keeps them; the processes of a machine share its memory, but no GPU.
        free: bytes that are left; None asks the device.
    """
    copies = comm.get_local_size() if device.type == "cpu" else 1
    needed = copies * resident_bytes(records, tasks)
    free = free_bytes(device) if free is None else free
    # Before another process begins to fill what this one has found free.
    comm.synchronize()
    if free is not None and needed > free:
        times = f" in {copies} processes" if copies > 1 else ""
        raise ValueError(
            f"DATALOADER.RESIDENT: {len(records)} images with their labels need {needed:,} bytes"
            f"{times}, but {device} has {free:,} free; switch it off, take fewer images or "
            "another DATALOADER.AUGMENT_ON"
        )


def has_room(
    device: torch.device, records: Sequence[dict[str, Any]], tasks: Sequence[Task]
) -> bool:
    """Whether a device is a GPU that can keep a set and has as much left for a model."""
    if device.type != "cuda" or not torch.cuda.is_available():
        return False
    enough = 2 * resident_bytes(records, tasks) <= free_bytes(device)
    if not enough:
        logger.info("The training set would fill more than half of the GPU: the host keeps it")
    return enough
