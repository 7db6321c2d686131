"""Two processes have the results of one process, however images and labels are shared out."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from detectron2.config import get_cfg
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.structures import Boxes, Instances
from torch import distributed
from torch import multiprocessing as mp

from rock_d2 import add_rock_config, build_evaluator, register_multitask_coco
from rock_d2.tasks import build_tasks

NAME = "shared_out"
# Images of the first process of nine; the second has the others.
SHARES = {"even": 4, "nothing on the first": 0, "nothing on the second": 9}
LABELS = ("depth_file_name", "normals_file_name", "scene_id")


def config(folder: str):
    cfg = get_cfg()
    add_rock_config(cfg)
    cfg.OUTPUT_DIR = folder
    cfg.TEST.COCO_BACKEND = "pycocotools"
    return cfg


def records(*, labels_from: int) -> list[dict[str, Any]]:
    """The nine images; those before ``labels_from`` lose their labels."""
    found = DatasetCatalog.get(NAME)
    for record in found[:labels_from]:
        for label in LABELS:
            del record[label]
    return found


def output(record: dict[str, Any], tasks: Sequence[Any]) -> dict[str, Any]:
    """Predictions of a mediocre model for an image, always the same."""
    rng = torch.Generator().manual_seed(record["image_id"])
    size = record["height"], record["width"]
    truth = torch.tensor([a["bbox"] for a in record["annotations"]]).reshape(-1, 4).float()
    truth[:, 2:] += truth[:, :2]
    boxes = truth.repeat(3, 1)
    boxes += 4 * torch.randn(len(boxes), 1, generator=rng)
    classes = torch.tensor([a["category_id"] for a in record["annotations"]], dtype=torch.int64)
    # Ten levels, so that many scores are equal.
    scores = torch.randint(10, (len(boxes),), generator=rng) / 10
    found = Instances(size, pred_boxes=Boxes(boxes), scores=scores, pred_classes=classes.repeat(3))
    maps = {
        task.name: torch.rand(task.num_outputs, *(size if task.is_map else ()), generator=rng)
        for task in tasks
    }
    return {"instances": found, **maps}


def evaluate(folder: str, share: slice, labels_from: int) -> dict[str, Any]:
    cfg = config(folder)
    images = records(labels_from=labels_from)[share]
    evaluator = build_evaluator(cfg, NAME)
    evaluator.reset()
    for record in images:
        evaluator.process([record], [output(record, build_tasks(cfg))])
    return evaluator.evaluate()


def work(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    store = f"file://{folder}/store"
    distributed.init_process_group("gloo", init_method=store, rank=rank, world_size=2)
    results = {}
    for kind, first in SHARES.items():
        share = slice(first, None) if rank else slice(0, first)
        results[kind] = evaluate(folder, share, labels_from=0)
    # The first process has images, but no labels.
    share = slice(4, None) if rank else slice(0, 4)
    results["no label on the first"] = evaluate(folder, share, labels_from=4)
    torch.save(results, Path(folder, f"rank{rank}.pt"))
    distributed.destroy_process_group()


@pytest.fixture(scope="module")
def two_processes(rooms_root, tmp_path_factory) -> Iterator[list[dict]]:
    folder = tmp_path_factory.mktemp("two")
    register_multitask_coco(
        NAME, f"{rooms_root}/rooms/annotations/rooms_val.json", f"{rooms_root}/rooms"
    )
    mp.start_processes(work, args=(str(folder),), nprocs=2, start_method="fork")
    yield [torch.load(folder / f"rank{rank}.pt", weights_only=False) for rank in range(2)]
    DatasetCatalog.remove(NAME)
    MetadataCatalog.remove(NAME)


@pytest.mark.parametrize("kind", [*SHARES, "no label on the first"])
def test_same_results_as_one_process(two_processes, tmp_path, kind):
    labels_from = 4 if kind not in SHARES else 0
    expected = evaluate(str(tmp_path), slice(None), labels_from)
    main, other = (results[kind] for results in two_processes)
    assert expected.keys() == main.keys() and len(main) == 4
    for name, metrics in expected.items():
        assert main[name] == pytest.approx(metrics, rel=1e-12, abs=1e-12, nan_ok=True), name
    assert 0 < expected["bbox"]["AP50"] < 100
    # Detectron2 wants results from the main process alone.
    assert not other
