"""A folder belongs to the run that writes into it, until that run's process ends."""

import errno
import fcntl
import logging
import os
import socket
from pathlib import Path

logger = logging.getLogger(__name__)

# Stays behind; what counts is the kernel's lock on it.
LOCK = ".lock"


def take_folder(folder: Path, *, setting: str) -> None:
    """Keeps other runs out of a folder for as long as this process lives.

    The kernel gives the folder back however the process ends. It must not be flock's lock: loader
    workers would share it, and outlive a killed training by some seconds. Where the file system
    has no locks, a warning says so.

    Args:
        folder: is made if there is none.
        setting: what chooses it, for the message.

    Raises:
        ValueError: another process has it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    # Never closed: that would give the folder back.
    file = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as problem:
        if problem.errno not in (errno.EACCES, errno.EAGAIN):
            logger.warning(f"{folder} cannot be kept from other runs: {problem.strerror}")
            return
        holder = os.pread(file, 1000, 0).decode(errors="replace").strip()
        raise ValueError(
            f"{folder} is in use by {holder or 'another process'}: wait until it has ended, end "
            f"it, or choose another {setting}"
        ) from None
    os.ftruncate(file, 0)
    os.pwrite(file, f"process {os.getpid()} on {socket.gethostname()}\n".encode(), 0)
