"""Weights & Biases as one more writer of a training's values (the extra ``wandb``)."""

import hashlib
from pathlib import Path
from typing import Any

from detectron2.utils.events import EventWriter, get_event_storage


class WandbWriter(EventWriter):
    """Sends every value; a training that is resumed in its folder goes on in its run."""

    def __init__(self, *, project: str, output_dir: str, settings: dict[str, Any]):
        import wandb

        folder = str(Path(output_dir).resolve())
        self._run = wandb.init(
            project=project,
            dir=folder,
            id=hashlib.sha256(folder.encode()).hexdigest()[:16],
            resume="allow",
            config=settings,
        )
        self._last = -1

    def write(self) -> None:
        storage = get_event_storage()
        latest = storage.latest().items()
        new = {name: value for name, (value, iteration) in latest if iteration > self._last}
        self._last = storage.iter
        self._run.log(new, step=storage.iter + 1, commit=True)

    def close(self) -> None:
        self._run.finish()
