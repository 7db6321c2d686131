"""The checkpoints in a folder: written whole, checked before use, the last few kept."""

import logging
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from rock_d2.files import atomic_file, hash_of, remove_leftovers

logger = logging.getLogger(__name__)

# As Detectron2 calls it and reads it: the name of the last checkpoint.
TAG = "last_checkpoint"
# For `sha256sum -c`: a line for each file, the last written at the end.
CHECKSUMS = "checkpoints.sha256"
# Those that a training goes on from; model_best is for use.
RESUMABLE = re.compile(r"model_(\d{7,}|final)\.pth")


class CheckpointStore:
    """Writes checkpoints into a folder and finds the last one that is whole.

    A checkpoint is a file first, then a line of checksums, then the tag; each of these steps
    happens whole or not at all, so that after any interruption the tag names a whole file.
    """

    def __init__(self, folder: str | Path, num_kept: int = 0):
        """
        Args:
            folder: must exist before something is written.
            num_kept: of the checkpoints that a training goes on from; 0 keeps all. model_final and
                model_best stay in any case.
        """
        self.folder = Path(folder)
        self.num_kept = num_kept

    def write(self, name: str, content: Mapping[str, Any]) -> None:
        """Writes a checkpoint and deletes those that have become too old.

        Raises OSError if it cannot be written; what was there before is as it was.
        """
        file = f"{name}.pth"
        with atomic_file(self.folder / file) as stream:
            torch.save(content, stream)
        checksums = self.checksums()
        checksums.pop(file, None)
        checksums[file] = stream.sha256()
        self._write_checksums(checksums)
        if RESUMABLE.fullmatch(file):
            self._write_text(TAG, file)
            self._delete_old(checksums)

    def _delete_old(self, checksums: dict[str, str]) -> None:
        numbered = [name for name in checksums if RESUMABLE.fullmatch(name) and "final" not in name]
        old = numbered[: -self.num_kept] if self.num_kept else []
        if old:
            self._write_checksums({k: v for k, v in checksums.items() if k not in old})
        for name in old:
            (self.folder / name).unlink(missing_ok=True)

    def checksums(self) -> dict[str, str]:
        """SHA-256 by file name, in the order in which the files were written."""
        try:
            lines = (self.folder / CHECKSUMS).read_text().splitlines()
        except FileNotFoundError:
            return {}
        found = [re.fullmatch(r"([0-9a-f]{64})  (\S+)", line) for line in lines]
        if None in found:
            raise ValueError(f"{self.folder / CHECKSUMS}: is no list of checksums; delete it")
        return {match[2]: match[1] for match in found}

    def tag(self) -> str:
        """The name that the tag holds, or nothing."""
        try:
            return (self.folder / TAG).read_text().strip()
        except FileNotFoundError:
            return ""

    def find_last(self) -> Path | None:
        """The last checkpoint that is whole; None where none was ever written.

        The tag says where to begin, as Detectron2 would. Checkpoints that are passed over are
        named in the log. Raises ValueError if there are traces of checkpoints, but none is whole.
        """
        checksums, tag = self.checksums(), self.tag()
        known = [name for name in checksums if RESUMABLE.fullmatch(name)]
        if tag in known:
            known = known[: known.index(tag) + 1]
        elif tag:
            known.append(tag)
        elif known:
            logger.warning(f"{self.folder / TAG} is missing or empty; {known[-1]} is the last")
        for name in reversed(known):
            problem = self._problem(name, checksums.get(name))
            if not problem:
                return self.folder / name
            logger.error(f"{self.folder / name} {problem}: going back to the one before it")
        # An empty list of checksums is a new training's; what else is there is none of its own.
        listed = (self.folder / CHECKSUMS).exists()
        traces = known or sorted(path.name for path in self.folder.glob("model_*.pth"))
        if known or (traces and not listed):
            raise ValueError(
                f"{self.folder}: --resume finds no whole checkpoint ({', '.join(traces)}); put one "
                f"there and its name into {TAG}, or start again without --resume"
            )
        return None

    def _problem(self, name: str, checksum: str | None) -> str:
        path = self.folder / name
        if not path.is_file():
            return "is missing"
        if checksum is None:
            logger.warning(f"{path} has no checksum and is taken as it is")
            return ""
        return "" if hash_of(path) == checksum else "is damaged: its checksum is another"

    def go_on_from(self, path: Path) -> None:
        """Forgets what was written after ``path``, which a training now goes on from."""
        checksums = self.checksums()
        names = list(checksums)
        later = names[names.index(path.name) + 1 :] if path.name in names else []
        later = [name for name in later if RESUMABLE.fullmatch(name)]
        self._write_checksums({k: v for k, v in checksums.items() if k not in later})
        self._write_text(TAG, path.name)

    def start_anew(self) -> None:
        """Forgets all checkpoints, whose files stay: a later --resume must not take them."""
        earlier = [name for name in {**self.checksums(), self.tag(): ""} if name]
        if earlier:
            logger.warning(
                f"{self.folder} holds checkpoints of an earlier training, which --resume would go "
                f"on with: {', '.join(earlier)}. They are overwritten as this training gets there"
            )
        self._write_checksums({})
        (self.folder / TAG).unlink(missing_ok=True)

    def clean(self) -> None:
        leftovers = remove_leftovers(self.folder)
        if leftovers:
            logger.warning(
                f"{self.folder}: deleted what an interrupted write left: {', '.join(leftovers)}"
            )

    def _write_checksums(self, checksums: Mapping[str, str]) -> None:
        self._write_text(CHECKSUMS, "".join(f"{v}  {k}\n" for k, v in checksums.items()))

    def _write_text(self, name: str, text: str) -> None:
        with atomic_file(self.folder / name) as file:
            file.write(text.encode())
