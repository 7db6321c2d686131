"""Started by torchrun from test_interruptions.py: trains few rooms on each of two processes.

The arguments are the rooms' folder and the folder for the results. At the end of the first start
one process is killed, at the end of the second one hangs.
"""

import json
import math
import os
import signal
import sys
from pathlib import Path

import torch
from detectron2.engine.hooks import CallbackHook
from detectron2.utils import comm
from trainings import few_rooms, first_images, new_trainer

from rock_d2.engine.ending import Ending, exit_with_code
from rock_d2.engine.launch import join_torchrun, num_restarts
from rock_d2.engine.trainer import RockTrainer

EMA = ("MODEL_EMA.ENABLED", True)


def at(trainer: RockTrainer, iteration: int, act) -> None:
    """Lets the second process act before that iteration."""

    def before_step(trainer: RockTrainer) -> None:
        if comm.get_rank() == 1 and trainer.iter == iteration:
            act(trainer)

    trainer.register_hooks([CallbackHook(before_step=before_step)])


def end_of(trainer: RockTrainer) -> dict[str, object]:
    try:
        trainer.train()
    except Ending as reason:
        return {"end": type(reason).__name__, "text": str(reason), "iteration": trainer.iter}
    return {"end": None}


def poison(trainer: RockTrainer) -> None:
    next(trainer.checkpointer.model.head.parameters()).data.fill_(math.nan)


def of_another_number(folder: Path) -> dict[str, dict[str, object]]:
    """Goes on with what one process has left; refused at first."""
    settings = (folder, *EMA, "SOLVER.MAX_ITER", 6)
    try:
        new_trainer(*settings, resume=True)
    except ValueError as reason:
        refused = {"text": str(reason)}
    trainer = new_trainer(*settings, resume=True, anyway=True)
    found = {"start": trainer.start_iter, "images": first_images(trainer)}
    torch.save(trainer.model.module.state_dict(), folder / f"loaded{comm.get_rank()}.pth")
    return {"refused": refused, "anyway": found | end_of(trainer)}


def ends(folder: Path) -> dict[str, dict[str, object]]:
    new_trainer(folder / "straight", *EMA).train()
    asked = new_trainer(folder / "asked", *EMA, "SOLVER.CHECKPOINT_PERIOD", 100)
    at(asked, 2, lambda trainer: os.kill(os.getpid(), signal.SIGTERM))
    diverging = new_trainer(folder / "diverging")
    at(diverging, 3, poison)
    found = {"asked": end_of(asked), "diverging": end_of(diverging)}
    resumed = new_trainer(folder / "asked", *EMA, resume=True)
    return found | {"resumed": end_of(resumed)} | of_another_number(folder / "alone")


def killed(folder: Path, again: bool) -> None:
    trainer = new_trainer(folder / "killed", *EMA, resume=again)
    if not again:
        at(trainer, 3, lambda trainer: os.kill(os.getpid(), signal.SIGKILL))
    trainer.train()


def hangs(folder: Path) -> None:
    def stop(trainer: RockTrainer) -> None:
        (folder / "stopped").write_text(str(os.getpid()))
        os.kill(os.getpid(), signal.SIGSTOP)

    trainer = new_trainer(folder / "hanging")
    at(trainer, 2, stop)
    with exit_with_code("two_processes"):
        trainer.train()


if __name__ == "__main__":
    root, folder = map(Path, sys.argv[1:])
    again = num_restarts() > 0
    join_torchrun("cpu", timeout=15 if again else 60)
    with few_rooms(root):
        if not again:
            (folder / f"ends{comm.get_rank()}.json").write_text(json.dumps(ends(folder)))
        killed(folder, again)
        hangs(folder)
