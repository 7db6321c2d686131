"""The loader's worker processes: shared memory and signals."""

import os
import signal
import threading
from collections.abc import Iterator
from typing import Any

import torch
from detectron2.structures import Instances
from torch.utils.data import DataLoader, get_worker_info


class LoaderError(OSError):
    """A message of one line, which stays one when it passes from a worker to its trainer."""

    def __init__(self, text: str):
        # PyTorch raises a worker's error again with its traceback as the text.
        super().__init__(text.strip().rpartition(f"{type(self).__name__}: ")[2])


class UnreadableError(LoaderError):
    """The files of an image could not be read; the text names one of them."""


class ListLoader(DataLoader):
    """A DataLoader of list batches."""

    def __init__(self, *args: Any, num_workers: int, **options: Any):
        if num_workers < 0:
            raise ValueError(f"DATALOADER.NUM_WORKERS is {num_workers}; it must be 0 or more")
        super().__init__(
            *args,
            num_workers=num_workers,
            collate_fn=collate,
            worker_init_fn=prepare_worker,
            pin_memory=torch.cuda.is_available(),
            # Its own, so that the global one is not drawn from.
            generator=torch.Generator(),
            **options,
        )


def collate(items: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the items; a worker moves their tensors to shared memory.

    Queues would do that in a thread of their own, whose errors reach nobody.
    """
    if get_worker_info() is None:
        return items
    try:
        for item in items:
            for tensor in tensors_of(item):
                tensor.share_memory_()
    except RuntimeError as problem:
        raise LoaderError(
            f"a batch cannot be put into shared memory ({' '.join(str(problem).split())}): enlarge "
            "/dev/shm (docker run --shm-size), raise `ulimit -n`, or lower DATALOADER.NUM_WORKERS"
        ) from None
    return items


def tensors_of(item: Any) -> Iterator[torch.Tensor]:
    values = item.values() if isinstance(item, dict) else ()
    for value in values:
        fields = value.get_fields().values() if isinstance(value, Instances) else [value]
        for field in fields:
            tensor = getattr(field, "tensor", field)
            if isinstance(tensor, torch.Tensor) and tensor.numel():
                yield tensor


def prepare_worker(worker_id: int) -> None:
    # By name: a file descriptor for each tensor would soon be one too many.
    torch.multiprocessing.set_sharing_strategy("file_system")
    # A terminal or a scheduler signals all processes, but the training decides when to end.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(signal, "sigwaitinfo"):  # not on macOS
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        threading.Thread(target=_end_with_parent, args=(os.getppid(),), daemon=True).start()


def _end_with_parent(parent: int) -> None:
    """End this process by a SIGTERM of the one that started it, and by nobody else's."""
    while signal.sigwaitinfo({signal.SIGTERM}).si_pid != parent:
        pass
    os._exit(0)
