"""One side of benchmarks/against.py: times the checkout that is the working folder.

It reads the names of measurements and answers each with the seconds of one call. Older checkouts
have other names for some modules.
"""

import sys
import time
from itertools import cycle, islice
from pathlib import Path

import torch
from detectron2.modeling import build_model

from rock_d2 import model_zoo
from rock_d2.data import build_train_loader
from rock_d2.engine.step import TrainingStep
from rock_d2.engine.trainer import RockTrainer

try:
    from rock_d2.export.fuse import inference_copy
    from rock_d2.modeling.balancing import build_balancer
    from rock_d2.modeling.ssd.detector import pad_truths

    IS_OLD = False
except ImportError:
    from rock_d2.engine.fast_inference import inference_copy

    from rock_d2.engine.step import step_settings
    from rock_d2.modeling.ssd import pad_truths

    IS_OLD = True


def training_step(cfg, batches, *, bf16):
    cfg = cfg.clone()
    cfg.SOLVER.AMP.ENABLED = bf16
    model = RockTrainer.build_model(cfg).train()
    optimizer = RockTrainer.build_optimizer(cfg, model)
    if IS_OLD:
        settings = step_settings(cfg, num_processes=1)
        return TrainingStep(model, cycle(batches), optimizer, **settings).run
    return TrainingStep(cfg, model, cycle(batches), optimizer, build_balancer(cfg)).run_step


def inference(cfg, batch):
    model = inference_copy(build_model(cfg).eval(), cfg)
    return torch.inference_mode()(lambda: model(batch))


def losses(cfg, batch):
    ssd = build_model(cfg) if IS_OLD else build_model(cfg).detector
    images = torch.stack([item["image"] for item in batch]).to(ssd.device)
    with torch.no_grad():
        logits, deltas, boxes, *_ = ssd.predict((images - ssd.pixel_mean) / ssd.pixel_std)
    predictions = logits.requires_grad_(), deltas.requires_grad_()
    sizes = [tuple(item["image"].shape[-2:]) for item in batch]

    def call():
        truths = pad_truths(batch, ssd.head.num_classes, ssd.device)
        found = ssd.losses(*predictions, boxes, *(truths if IS_OLD else (truths, sizes)))
        torch.autograd.grad(sum(found.values()), predictions)

    return call


def main(file, *settings):
    answers, sys.stdout = sys.stdout, sys.stderr
    known = Path("configs", file).is_file()
    cfg = model_zoo.get_config(file if known else Path(file).name)
    cfg.merge_from_list(["MODEL.WEIGHTS", "", "SEED", 1, "DATALOADER.NUM_WORKERS", 0, *settings])
    batches = list(islice(build_train_loader(cfg), 2))
    calls = {
        "A training step, fp32": training_step(cfg, batches, bf16=False),
        "A training step, bf16": training_step(cfg, batches, bf16=True),
        "Inference": inference(cfg, batches[0]),
        "Matching and losses": losses(cfg, batches[0]),
    }
    print(*calls, sep=";", file=answers, flush=True)
    for line in sys.stdin:
        start = time.perf_counter()
        calls[line.strip()]()
        if torch.cuda.is_initialized():
            torch.cuda.synchronize()
        print(time.perf_counter() - start, file=answers, flush=True)


main(*sys.argv[1:])
