"""The models of the tables start from the same weights and see the same batches."""

import torch
from detectron2.modeling import build_model

from reproduce.plan import model_settings
from rock_d2 import build_train_loader, model_zoo

BASELINE, ROCK = "table1_baseline", "table1_rock"
OTHERS = ("table1_flat", "table1_no_fusion", "table2_rock_dn", "table5_d_product")


def config_of(row: str):
    cfg = model_zoo.get_config("quick_schedules/ssd_rooms_quick.yaml")
    cfg.merge_from_list([*model_settings(row), "INPUT.SIZE", "[60, 80]", "SEED", 3])
    return cfg


def initial_weights(row: str, seed: int = 1) -> dict[str, torch.Tensor]:
    torch.manual_seed(seed)
    return build_model(config_of(row)).state_dict()


def different(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> set[str]:
    shared = first.keys() & second.keys()
    return {name for name in shared if not torch.equal(first[name], second[name])}


def test_shared_parts_start_from_the_same_weights():
    baseline, rock = initial_weights(BASELINE), initial_weights(ROCK)
    for row in OTHERS:
        weights = initial_weights(row)
        assert different(weights, baseline) == different(weights, rock) == set()
        # Backbone and head are in every model, under the same names.
        assert baseline.keys() <= weights.keys()
    # A task's own parts are shared too, in models with other tasks.
    encoders = {name for name in initial_weights("table2_rock_dn") if "encoders" in name}
    assert encoders and encoders < rock.keys()
    changed = different(rock, initial_weights(ROCK, seed=2))
    assert {name.split(".")[0] for name in changed} == {"backbone", "neck", "head"}


def test_every_model_sees_the_same_batch(rooms_root, monkeypatch):
    monkeypatch.setenv("DETECTRON2_DATASETS", str(rooms_root))
    expected = next(iter(build_train_loader(config_of(BASELINE))))
    for row in (ROCK, *OTHERS):
        batch = next(iter(build_train_loader(config_of(row))))
        for item, other in zip(batch, expected, strict=True):
            assert torch.equal(item["image"], other["image"])
            boxes, others = item["instances"].gt_boxes, other["instances"].gt_boxes
            assert torch.equal(boxes.tensor, others.tensor)
