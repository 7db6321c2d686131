"""Weights & Biases as one more writer of a training's values (the extra ``wandb``)."""

from pathlib import Path
from typing import Any
from uuid import uuid4

from detectron2.utils.events import EventWriter, get_event_storage

# In the training's folder: the name of its run.
RUN_FILE = "wandb_run"


class WandbWriter(EventWriter):
    """Sends every value; a training that is resumed in its folder goes on in its run."""

    def __init__(self, *, project: str, output_dir: str, settings: dict[str, Any], goes_on: bool):
        """
        Args:
            project: of Weights & Biases.
            output_dir: of the training.
            settings: of the training, by name.
            goes_on: whether the training does, and does not begin anew.
        """
        import wandb

        folder = Path(output_dir).resolve()
        self._run = wandb.init(
            project=project,
            dir=str(folder),
            id=run_id(folder, goes_on=goes_on),
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


def run_id(folder: Path, *, goes_on: bool) -> str:
    """The run of the training in a folder: the one that it has, or a new one."""
    file = folder / RUN_FILE
    if not (goes_on and file.exists()):
        file.write_text(uuid4().hex)
    return file.read_text()
