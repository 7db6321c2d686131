"""Two processes have the results of one process, however images and labels are shared out."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from coco_sets import random_set
from detectron2.config import get_cfg
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.structures import Boxes, Instances
from torch import distributed
from torch import multiprocessing as mp

from rock_d2 import add_rock_config, build_evaluator, register_multitask_coco

NAME, NUM_IMAGES = "shared_out", 20
# The first image of the second process, and the first image with a label.
SHARES = {"even": (9, 0), "nothing on the second": (20, 0), "no label on the first": (9, 9)}


def evaluate(folder: str, share: slice, *, labels_from: int) -> dict[str, Any]:
    """Measure predictions that are the same each time; the scene of every third image is right."""
    truth, found = random_set(seed=0, num_images=NUM_IMAGES)
    images = [(image["id"], {"image_id": image["id"]}) for image in truth["images"]]
    for i, record in images[labels_from:]:
        record["scene_id"] = i % 5
    outputs = []
    for i, _ in images:
        boxes = torch.tensor([x["bbox"] for x in found if x["image_id"] == i])
        boxes[:, 2:] += boxes[:, :2]
        instances = Instances((480, 640), pred_boxes=Boxes(boxes))
        mine = [x for x in found if x["image_id"] == i]
        instances.scores = torch.tensor([x["score"] for x in mine])
        instances.pred_classes = torch.tensor([x["category_id"] - 1 for x in mine])
        outputs.append({"instances": instances, "scene": torch.eye(27)[i % 5 if i % 3 == 0 else 7]})
    cfg = get_cfg()
    add_rock_config(cfg)
    cfg.OUTPUT_DIR, cfg.TEST.COCO_BACKEND = folder, "pycocotools"
    evaluator = build_evaluator(cfg, NAME)
    evaluator.reset()
    evaluator.process([record for _, record in images[share]], outputs[share])
    return evaluator.evaluate()


def work(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    store = f"file://{folder}/store"
    distributed.init_process_group("gloo", init_method=store, rank=rank, world_size=2)
    results = {}
    for kind, (first, labels_from) in SHARES.items():
        share = slice(first, None) if rank else slice(0, first)
        results[kind] = evaluate(folder, share, labels_from=labels_from)
    torch.save(results, Path(folder, f"rank{rank}.pt"))
    distributed.destroy_process_group()


@pytest.fixture(scope="module")
def two_processes(tmp_path_factory) -> Iterator[list[dict]]:
    folder = tmp_path_factory.mktemp("two")
    (folder / "truth.json").write_text(json.dumps(random_set(seed=0, num_images=NUM_IMAGES)[0]))
    register_multitask_coco(NAME, str(folder / "truth.json"), str(folder))
    mp.start_processes(work, args=(str(folder),), nprocs=2, start_method="fork")
    yield [torch.load(folder / f"rank{rank}.pt", weights_only=False) for rank in range(2)]
    DatasetCatalog.remove(NAME)
    MetadataCatalog.remove(NAME)


@pytest.mark.parametrize("kind", SHARES)
def test_same_results_as_one_process(two_processes, tmp_path, kind):
    expected = evaluate(str(tmp_path), slice(None), labels_from=SHARES[kind][1])
    main, other = (results[kind] for results in two_processes)
    assert expected.keys() == main.keys() == {"bbox", "scene"}
    for name, metrics in expected.items():
        assert main[name] == pytest.approx(metrics, rel=1e-12, abs=1e-12, nan_ok=True), name
    assert 0 < expected["bbox"]["AP50"] < 100 and 0 < expected["scene"]["acc"] < 1
    # Detectron2 wants results from the main process alone.
    assert not other
