"""Training steps of several configs, in turns."""

import argparse
from itertools import islice
from pathlib import Path

from benchmarks.timing import report, take_turns
from benchmarks.train import NUM_BATCHES, our_step, training_config
from rock_d2.data import build_train_loader

ROUNDS, WARM_UP = 5, 1


def run(args: argparse.Namespace) -> None:
    configs = {Path(file).stem: training_config(args, file) for file in args.config}
    steps = {
        name: our_step(cfg, list(islice(build_train_loader(cfg), NUM_BATCHES)))
        for name, cfg in configs.items()
    }
    rounds = args.rounds or ROUNDS
    times = take_turns(steps, rounds=rounds, warm_up=WARM_UP, device=args.device)
    size = " x ".join(map(str, next(iter(configs.values())).INPUT.SIZE))
    title = f"Training steps, batch {args.batch_size} of {size}, {args.device}"
    report(times, title=title, images=args.batch_size, file=args.json)
