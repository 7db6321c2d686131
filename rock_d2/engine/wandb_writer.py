"""Weights & Biases as one more writer of a training's values (the extra ``wandb``)."""

from pathlib import Path
from typing import Any
from uuid import uuid4

from detectron2.utils.events import EventWriter, get_event_storage

# In the training's folder: the name of its run.
RUN_FILE = "wandb_run"


class WandbWriter(EventWriter):
    """Sends every value; a training that is resumed in its folder continues its run."""

    def __init__(self, project: str, output_dir: str, settings: dict[str, Any], *, resumed: bool):
        """
        Args:
            project: of Weights & Biases.
            output_dir: of the training.
            settings: of the training, by name.
            resumed: whether the training is resumed.
        """
        try:
            import wandb
        except ImportError:
            raise ImportError(
                f"WANDB_PROJECT is {project!r}, but wandb is not installed: "
                "pip install 'rock_d2[wandb]', or set WANDB_PROJECT ''"
            ) from None
        file = Path(output_dir, RUN_FILE)
        if not (resumed and file.exists()):
            file.write_text(uuid4().hex)
        self._run = wandb.init(
            project=project,
            dir=output_dir,
            id=file.read_text(),
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
