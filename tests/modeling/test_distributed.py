"""Two processes learn exactly what one process with the whole batch learns."""

import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from command_line import ROOT, run
from detectron2.modeling import build_model
from detectron2.utils.events import EventStorage
from tiny import DETECTORS, LABELS, MODELS, detector_cfg, item, tiny_model
from torch import distributed, nn
from torch import multiprocessing as mp

from rock_d2.engine.trainer import share_statistics
from rock_d2.tasks import Depth, Edges, HumanParts, Normals, Saliency, SemSeg

SIZE = (64, 64)
# BatchNorm sees another batch on each process; without it the two sides must agree. In double
# precision, since the gradients of the first layers are sums of terms that cancel.
OPTIONS = ("MODEL.NECK.NAME", "ROCK", "MODEL.ROCK.NORM", "", "INPUT.SIZE", list(SIZE))
MTI_LOSSES = (Depth(loss_name="l1"), Normals(loss_name="l1"))


def picture(seed: int, labels: Sequence[str], objects: int) -> dict[str, Any]:
    return item(seed, labels=labels, objects=objects, size=SIZE)


def batches() -> dict[str, list[dict[str, Any]]]:
    """Each has one image for each process."""
    return {
        "labels on one process": [picture(0, LABELS, 3), picture(1, (), 3)],
        "different labels": [picture(0, ("depth",), 1), picture(1, LABELS, 6)],
        "one label and no object": [picture(0, ("scene",), 0), picture(1, (), 0)],
        "no label": [picture(0, (), 1), picture(1, (), 0)],
        "boxes known on one process": [picture(0, LABELS, 3), unknown(1)],
        "unknown boxes": [unknown(0), unknown(1)],
    }


def unknown(seed: int, size: tuple[int, int] = SIZE) -> dict[str, Any]:
    found = item(seed, size=size)
    del found["instances"]
    return found


def task_losses(images: slice) -> dict[str, float]:
    """The losses of MTI-Net's tasks, of some images of a batch whose known parts differ."""
    generator = torch.Generator().manual_seed(0)
    losses = {}
    for task in (SemSeg(num_classes=3), HumanParts(), Edges(), Saliency(), *MTI_LOSSES):
        levels = (2, task.label_channels, *SIZE)
        target = torch.randint(1, 3, levels, generator=generator).float()
        if not isinstance(task, Depth | Normals):
            target -= 1
        target[0, :, 20:] = target.min()
        target[1, :, 5:] = task.unknown_value
        maps = torch.randn(2, task.num_outputs, *SIZE, generator=generator)
        losses[task.name] = float(task.loss(task.activation(maps)[images], target[images]))
    return losses


def step(model: nn.Module, batch: list[dict]) -> tuple[dict, dict]:
    """Losses and gradients of one training step."""
    model.zero_grad()
    losses = model(batch)
    sum(losses.values()).backward()
    gradients = {
        name.removeprefix("module."): None if p.grad is None else p.grad.clone()
        for name, p in model.named_parameters()
        if p.requires_grad
    }
    return {name: loss.detach() for name, loss in losses.items()}, gradients


def work(rank: int, folder: Path) -> None:
    torch.set_num_threads(1)
    store = f"file://{folder}/store"
    distributed.init_process_group("gloo", init_method=store, rank=rank, world_size=2)
    model = nn.parallel.DistributedDataParallel(tiny_model(*OPTIONS).double().train())
    results = {kind: step(model, [batch[rank]]) for kind, batch in batches().items()}
    results["tasks"] = task_losses(slice(rank, rank + 1))
    for name in DETECTORS:
        other = build_model(detector_cfg(name, *MODELS["rock"], "MODEL.FCOS.NORM", "")).train()
        other = nn.parallel.DistributedDataParallel(other)
        with EventStorage(0):
            for kind, one in (("known", item(0)), ("unknown", unknown(0, size=(96, 128)))):
                batch = [one] if rank == 0 else [unknown(1, size=(96, 128))]
                results[f"{kind}, {name}"] = step(other, batch)
    norm = nn.BatchNorm1d(1)
    norm(torch.full((2, 1), 10.0 * (rank + 1)))
    share_statistics(norm)
    results["mean"] = norm.running_mean
    torch.save(results, folder / f"rank{rank}.pt")
    distributed.destroy_process_group()


@pytest.fixture(scope="module")
def two_processes(tmp_path_factory) -> list[dict]:
    folder = tmp_path_factory.mktemp("two")
    done = run(__file__, folder, root=ROOT, PYTHONPATH=os.pathsep.join(sys.path))
    assert done.returncode == 0, done.stderr
    results = [torch.load(folder / f"rank{rank}.pt") for rank in range(2)]
    # A gigabyte.
    shutil.rmtree(folder)
    return results


@pytest.fixture(scope="module")
def one_process() -> dict:
    model = tiny_model(*OPTIONS).double().train()
    return {kind: step(model, batch) for kind, batch in batches().items()}


@pytest.mark.parametrize("kind", batches())
def test_losses_and_gradients_are_those_of_the_whole_batch(two_processes, one_process, kind):
    losses, gradients = one_process[kind]
    for name in ("loss_cls", "loss_box_reg", *(f"loss_{label}" for label in LABELS)):
        mean = sum(results[kind][0][name] for results in two_processes) / 2
        assert float(mean) == pytest.approx(float(losses[name]), rel=1e-5, abs=1e-6), name
    for results in two_processes:
        assert results[kind][1].keys() == gradients.keys()
        for name, gradient in results[kind][1].items():
            scale = float(gradients[name].abs().max())
            difference = float((gradient - gradients[name]).abs().max())
            assert difference <= 1e-5 * scale + 1e-9, name


def test_losses_of_further_tasks_are_those_of_the_whole_batch(two_processes):
    for name, loss in task_losses(slice(None)).items():
        mean = sum(results["tasks"][name] for results in two_processes) / 2
        assert mean == pytest.approx(loss, rel=1e-5), name


@pytest.mark.parametrize("name", DETECTORS)
def test_a_process_without_known_boxes_takes_part(two_processes, name):
    for kind in ("known", "unknown"):
        (losses, gradients), (others, _) = (r[f"{kind}, {name}"] for r in two_processes)
        assert losses.keys() == others.keys()
        head = {
            p: g for p, g in gradients.items() if not p.startswith(("detector.backbone.", "neck."))
        }
        assert head and None not in head.values()
        assert any(g.any() for g in head.values()) == (kind == "known")
        assert any(g.any() for p, g in gradients.items() if p.startswith("neck."))


def test_statistics_are_the_main_processs(two_processes):
    # A tenth of its mean, which the other's would be twice.
    assert [float(found["mean"]) for found in two_processes] == [1.0, 1.0]


if __name__ == "__main__":
    mp.start_processes(work, args=(Path(sys.argv[1]),), nprocs=2, start_method="fork")
