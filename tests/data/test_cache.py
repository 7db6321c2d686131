"""DATALOADER.RESIDENT: the same batches from memory, and no file is read any more."""

from collections.abc import Iterator
from copy import deepcopy
from itertools import chain, islice

import numpy as np
import pytest
import torch
from detectron2.config import CfgNode, get_cfg
from detectron2.data import DatasetCatalog
from PIL import Image

from rock_d2 import add_rock_config, build_train_loader, load_multitask_coco


@pytest.fixture(scope="module")
def rooms(rooms_root) -> list[dict]:
    root = rooms_root / "rooms"
    found = load_multitask_coco(str(root / "annotations/rooms_train.json"), str(root), "resident")
    # The last has no normals.
    return [*found[:-1], {k: v for k, v in found[-1].items() if k != "normals_file_name"}]


@pytest.fixture
def cfg(rooms) -> Iterator[CfgNode]:
    """Every augmentation, and batches that end within passes."""
    DatasetCatalog.register("resident", lambda: deepcopy(rooms))
    cfg = get_cfg()
    add_rock_config(cfg)
    cfg.merge_from_list(["DATASETS.TRAIN", ("resident",), "INPUT.SIZE", [60, 80], "SEED", 7])
    cfg.merge_from_list(["INPUT.EXPAND.ENABLED", True, "INPUT.COLOR_AUG.DISTORTION", True])
    cfg.merge_from_list(["SOLVER.IMS_PER_BATCH", 4, "DATALOADER.NUM_WORKERS", 0])
    cfg.MODEL.META_ARCHITECTURE = "MultiTask"
    cfg.merge_from_list(["DATALOADER.FILTER_EMPTY_ANNOTATIONS", False])
    yield cfg
    DatasetCatalog.remove("resident")


def batches(cfg: CfgNode, count: int, **settings: object) -> list[list[dict]]:
    cfg = cfg.clone()
    cfg.merge_from_list([x for k, v in settings.items() for x in (f"DATALOADER.{k}", v)])
    return list(islice(build_train_loader(cfg), count))


def assert_equal(first: list[list[dict]], second: list[list[dict]]) -> None:
    """To the last bit."""
    for one, other in zip(chain(*first), chain(*second), strict=True):
        assert one.keys() == other.keys()
        for key, value in one.items():
            if isinstance(value, torch.Tensor):
                assert torch.equal(value, other[key]), key
        ours, theirs = one["instances"], other["instances"]
        assert torch.equal(ours.gt_boxes.tensor, theirs.gt_boxes.tensor)
        assert torch.equal(ours.gt_classes, theirs.gt_classes)


@pytest.mark.parametrize("workers", [0, 2])
def test_both_paths_give_the_same_batches(cfg, workers):
    # Ten batches of four are nearly three passes over 15 images.
    expected = batches(cfg, 10)
    # Maps are there, and one image lacks one.
    assert len({tuple(item) for batch in expected for item in batch}) == 2
    assert_equal(batches(cfg, 10, RESIDENT=True, NUM_WORKERS=workers), expected)


def test_nothing_is_read_after_the_start_and_nothing_written_into_memory(cfg, monkeypatch):
    cfg.DATALOADER.RESIDENT = True
    stream = build_train_loader(cfg).dataset
    before = [decoded.image.copy() for decoded in stream.reader.decoded]
    monkeypatch.setattr(Image, "open", lambda path, **_: pytest.fail(f"reads {path}"))
    for position in range(20):
        stream[position]
    for decoded, image in zip(stream.reader.decoded, before, strict=True):
        np.testing.assert_array_equal(decoded.image, image)
