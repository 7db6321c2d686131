"""A whole training with evaluations after it and beside it (TEST.OVERLAP).

The last evaluation has no iteration beside it, in either.
"""

import argparse
import time

import numpy as np

from rock_d2.benchmarks.loop import new_training, sharing
from rock_d2.benchmarks.timing import report
from rock_d2.benchmarks.train import size_of, training_config
from rock_d2.data import build_train_loader
from rock_d2.engine.trainer import RockTrainer

ROUNDS = 3
STEPS, PERIOD = 40, 20
NAMES = {False: "evaluations in between", True: "evaluations beside the iterations"}


def run(args: argparse.Namespace) -> None:
    fixed = ("INPUT.SIZE", (120, 160), "SOLVER.MAX_ITER", STEPS, "TEST.EVAL_PERIOD", PERIOD)
    cfg = training_config(args, *fixed)
    trainer_class = sharing(RockTrainer, build_train_loader(cfg))
    rounds = args.rounds or ROUNDS
    times = {name: np.empty(rounds) for name in NAMES.values()}
    for i in range(rounds):
        for beside, name in NAMES.items():
            cfg.TEST.OVERLAP = beside
            with new_training(trainer_class, cfg) as trainer:
                start = time.perf_counter()
                trainer.train()
                times[name][i] = time.perf_counter() - start
    report(
        times,
        title=f"{cfg.SOLVER.MAX_ITER} iterations of {args.config}, batch {args.batch_size} of "
        f"{size_of(cfg)}, an evaluation after every {cfg.TEST.EVAL_PERIOD}, {args.device}",
        file=args.json,
    )
