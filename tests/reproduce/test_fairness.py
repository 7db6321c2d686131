"""The models of the tables start from the same weights and see the same batches."""

import pytest
import torch
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.modeling import build_model

from reproduce.plan import model_settings
from rock_d2 import build_train_loader, model_zoo, register_multitask_coco

FIRST = "table1_baseline"
OTHERS = ("table1_flat", "table1_no_fusion", "table1_rock", "table2_rock_dn", "table5_d_product")


def config_of(row: str):
    cfg = model_zoo.get_config("quick_schedules/ssd_rooms_quick.yaml")
    cfg.merge_from_list([*model_settings(row), "INPUT.SIZE", "[60, 80]"])
    return cfg


def initial_weights(row: str, seed: int = 1) -> dict[str, torch.Tensor]:
    torch.manual_seed(seed)
    return build_model(config_of(row)).state_dict()


def different(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> set[str]:
    return {
        name for name in first.keys() & second.keys() if not torch.equal(first[name], second[name])
    }


def test_shared_parts_start_from_the_same_weights():
    baseline, rock = initial_weights(FIRST), initial_weights("table1_rock")
    for row in OTHERS:
        weights = initial_weights(row)
        assert different(weights, baseline) == different(weights, rock) == set()
        # Backbone and head are in every model, under the same names.
        assert baseline.keys() <= weights.keys()
    # A task's own parts are shared too, whatever other tasks there are.
    dropped = {name for name in initial_weights("table2_rock_dn") if "encoders" in name}
    assert dropped and dropped < rock.keys()


def test_parts_and_seeds_differ():
    first, second = initial_weights("table1_rock"), initial_weights("table1_rock", seed=2)
    changed = different(first, second)
    assert {name.split(".")[0] for name in changed} == {"backbone", "neck", "head"}
    # Two encoders' first channels are not the same draw.
    depth, normals = (first[f"neck.encoders.res3.{task}.weight"] for task in ("depth", "normals"))
    assert not torch.equal(depth, normals[: len(depth)])


@pytest.fixture
def registered(rooms_root):
    file = f"{rooms_root}/rooms/annotations/rooms_train.json"
    register_multitask_coco("fair", file, f"{rooms_root}/rooms", scene_classes=["x"] * 27)
    yield "fair"
    DatasetCatalog.remove("fair")
    MetadataCatalog.remove("fair")


def first_batch(row: str, data_set: str):
    cfg = config_of(row)
    cfg.DATASETS.TRAIN = (data_set,)
    cfg.SEED = 3
    return next(iter(build_train_loader(cfg)))


def test_every_model_sees_the_same_batch(registered):
    expected = first_batch(FIRST, registered)
    for row in OTHERS:
        for item, other in zip(first_batch(row, registered), expected, strict=True):
            assert item["image_id"] == other["image_id"]
            assert torch.equal(item["image"], other["image"])
            boxes, others = item["instances"].gt_boxes, other["instances"].gt_boxes
            assert torch.equal(boxes.tensor, others.tensor)
