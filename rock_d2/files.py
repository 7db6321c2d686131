"""Writing of files so that an interruption leaves the old file or the new one, never a part."""

import hashlib
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

logger = logging.getLogger(__name__)

# Hidden, so that no pattern for checkpoints or results finds an unfinished file.
UNFINISHED = ".{name}.{process}.part"


@contextmanager
def atomic_file(path: str | os.PathLike) -> Iterator[BinaryIO]:
    """Open a file that takes ``path``'s place once all of it is on the disk.

    After an error, ``path`` is as it was.
    """
    path = Path(path)
    temporary = path.with_name(UNFINISHED.format(name=path.name, process=os.getpid()))
    temporary.unlink(missing_ok=True)
    try:
        # "x" does not follow a link that somebody else has put there.
        with open(temporary, "xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        with suppress(OSError):
            temporary.unlink()
        raise


def remove_unfinished(folder: Path) -> None:
    """Delete the files that killed processes were writing."""
    for path in folder.glob(UNFINISHED.format(name="*", process="*")):
        logger.warning(f"{path} is unfinished and is deleted")
        path.unlink(missing_ok=True)


def hash_of(path: Path, algorithm: str = "sha256") -> str:
    digest = hashlib.new(algorithm, usedforsecurity=False)
    with open(path, "rb") as file:
        while chunk := file.read(1 << 22):
            digest.update(chunk)
    return digest.hexdigest()
