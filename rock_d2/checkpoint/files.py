"""The checkpoints in a folder: written atomically, the last few kept, the newest whole one used."""

import io
import logging
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from rock_d2.checkpoint.loading import read_weights
from rock_d2.files import atomic_file

logger = logging.getLogger(__name__)

# As Detectron2 calls and reads it: the name of the last checkpoint.
TAG = "last_checkpoint"
FINAL = "model_final"
# Checkpoints that a training can resume from; model_best is for use.
RESUMABLE = re.compile(rf"({FINAL}|model_\d{{7,}})\.pth")


class CheckpointFiles:
    """Writes checkpoints into a folder and finds the newest one that loads."""

    def __init__(self, folder: str | Path, num_kept: int = 0):
        """Keep ``num_kept`` numbered checkpoints, or all (0); model_final and model_best stay."""
        if num_kept < 0:
            raise ValueError(f"SOLVER.CHECKPOINTS_KEPT is {num_kept}; it must be 0 (all) or more")
        self.folder = Path(folder)
        self.num_kept = num_kept

    def write(self, name: str, content: Mapping[str, Any]) -> None:
        """Write a checkpoint, then delete those that have become too old.

        After an OSError all others are as they were.
        """
        path = self.folder / f"{name}.pth"
        # torch.save hides the reason if it cannot write to a file itself.
        buffer = io.BytesIO()
        torch.save(content, buffer)
        with atomic_file(path) as file:
            file.write(buffer.getbuffer())
        if not RESUMABLE.fullmatch(path.name):
            return
        with atomic_file(self.folder / TAG) as file:
            file.write(path.name.encode())
        if self.num_kept and path.stem != FINAL:
            # Higher numbers are an earlier training's: they stay until this one gets there.
            passed = [p for p in self.resumable() if p.name <= path.name and p.stem != FINAL]
            for old in sorted(passed)[: -self.num_kept]:
                old.unlink(missing_ok=True)

    def resumable(self) -> list[Path]:
        """Return the checkpoints that a training can resume from, the newest last."""
        files = [path for path in self.folder.glob("*.pth") if RESUMABLE.fullmatch(path.name)]
        return sorted(files, key=lambda path: (path.stat().st_mtime_ns, path.name))

    def newest(self) -> Path | None:
        """Return the newest checkpoint that loads, or None in a folder without any.

        The tag names it also in a copy, whose files have other times; a later one may have been
        written after the tag.
        """
        files, tag = self.resumable(), self.folder / TAG
        last = self.folder / tag.read_text().strip() if tag.is_file() else None
        if last in files:
            newer = files[files.index(last) + 1 :]
            later = [path for path in newer if path.stem != FINAL and path.name > last.name]
            files = [*(path for path in files if path not in (last, *later)), last, *later]
        for path in reversed(files):
            try:
                check_whole(path)
            except (OSError, ValueError) as problem:
                logger.error(f"{problem}; the checkpoint before it is taken, if there is one")
            else:
                return path
        if files:
            raise ValueError(
                f"{self.folder}: none of its checkpoints loads "
                f"({', '.join(path.name for path in files)}); put a whole one there, or delete "
                "these and start without --resume"
            )
        return None


def check_whole(path: Path) -> None:
    """Raise ValueError or OSError unless a checkpoint loads and its checksums are right."""
    read_weights(path)
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
        if damaged:
            raise ValueError(f"{path}: damaged, {damaged} has another checksum")
