"""Writing files so that whatever happens leaves the old one or the new one, never a part."""

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

# Hidden, so that no pattern for checkpoints or results finds a part of one.
TEMPORARY = ".{}.part"


class HashedFile:
    """Passes bytes on to a file and keeps their SHA-256."""

    def __init__(self, file):
        self._file = file
        self._hash = hashlib.sha256()
        self.problem: OSError | None = None

    def write(self, data: bytes) -> int:
        try:
            written = self._file.write(data)
        except OSError as problem:
            # torch.save hides it behind an error of its own.
            self.problem = problem
            raise
        self._hash.update(data)
        return written

    def flush(self) -> None:
        self._file.flush()

    def sha256(self) -> str:
        return self._hash.hexdigest()


@contextmanager
def atomic_file(path: Path) -> Iterator[HashedFile]:
    """A file to write to, which takes ``path``'s place once all of it is on the disk.

    Raises OSError if it cannot be written; then ``path`` is as it was.
    """
    temporary = path.with_name(TEMPORARY.format(path.name))
    try:
        with open(temporary, "wb") as file:
            hashed = HashedFile(file)
            try:
                yield hashed
            except Exception as problem:
                raise hashed.problem or problem from None
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        sync_folder(path.parent)
    except BaseException:
        with suppress(OSError):
            temporary.unlink()
        raise


def sync_folder(folder: Path) -> None:
    """Brings a folder's entries onto the disk: without it a new name can be lost in a crash."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def remove_leftovers(folder: Path) -> list[str]:
    """Deletes what interrupted writes left behind, and names it."""
    found = sorted(folder.glob(TEMPORARY.format("*")))
    for path in found:
        path.unlink(missing_ok=True)
    return [path.name for path in found]


def hash_of(path: Path, algorithm: str = "sha256") -> str:
    digest = hashlib.new(algorithm, usedforsecurity=False)
    with open(path, "rb") as file:
        while chunk := file.read(1 << 22):
            digest.update(chunk)
    return digest.hexdigest()
