"""Every yaml builds, and is the model that its name promises."""

from collections.abc import Iterator

import pytest
import torch
from detectron2.config import CfgNode
from detectron2.modeling import build_model
from torch import nn

from rock_d2 import model_zoo
from rock_d2.tasks import build_tasks

NAMES = sorted(
    str(file.relative_to(model_zoo.CONFIGS)) for file in model_zoo.CONFIGS.rglob("*.yaml")
)

# Tables 1, 2 and 5: neck, tasks and fusion of each row.
ALL = ("scene", "depth", "normals")
DEPTH_NORMALS = ("depth", "normals")
DEPTH_SCENE = ("scene", "depth")
NORMALS_SCENE = ("scene", "normals")
ROWS = {
    "table1_baseline": ("IdentityNeck", (), None),
    "table1_flat": ("FlatMTL", ALL, None),
    "table1_no_fusion": ("ROCK", ALL, "NoFusion"),
    "table1_rock": ("ROCK", ALL, "SumFusion"),
    "table2_flat_dn": ("FlatMTL", DEPTH_NORMALS, None),
    "table2_flat_ds": ("FlatMTL", DEPTH_SCENE, None),
    "table2_flat_ns": ("FlatMTL", NORMALS_SCENE, None),
    "table2_rock_dn": ("ROCK", DEPTH_NORMALS, "SumFusion"),
    "table2_rock_ds": ("ROCK", DEPTH_SCENE, "SumFusion"),
    "table2_rock_ns": ("ROCK", NORMALS_SCENE, "SumFusion"),
    "table5_no_supervision": ("ROCK", ALL, "SumFusion"),
    "table5_d_sum": ("ROCK", ("depth",), "SumFusion"),
    "table5_d_product": ("ROCK", ("depth",), "ProductFusion"),
}


def build(cfg: CfgNode) -> nn.Module:
    """The model without its values, which takes no time."""
    cfg.MODEL.DEVICE = "meta"
    with torch.device("meta"):
        return build_model(cfg)


def leaves(node: CfgNode, prefix: str = "") -> Iterator[tuple[str, object]]:
    for key, value in node.items():
        if isinstance(value, CfgNode):
            yield from leaves(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value


def differences(first: str, second: str) -> set[str]:
    other = dict(leaves(model_zoo.get_config(second)))
    return {key for key, value in leaves(model_zoo.get_config(first)) if value != other[key]}


@pytest.mark.parametrize("name", NAMES)
def test_every_config_builds_with_maps_from_x_down_to_one_cell(name):
    cfg = model_zoo.get_config(name)
    height, width = cfg.INPUT.SIZE
    generator = build(cfg).head.anchor_generator
    # X is the last of the maps that come from the neck.
    x = generator.map_sizes[len(cfg.MODEL.SSD.IN_FEATURES) - 1]
    assert cfg.MODEL.SSD.IN_FEATURES[-1] == cfg.MODEL.ROCK.IN_FEATURE
    # The paper's stride; half of it in rooms, whose images are small.
    stride = 8 if "rooms" in name else 16
    assert x == (-(-height // stride), -(-width // stride))
    assert generator.map_sizes[-1] == (1, 1)
    # 30 x 40, 15 x 20, 8 x 10, 4 x 5, 2 x 3, 1 x 2, 1 x 1: the map and six more; the port leaves
    # 1 x 2 out.
    maps = 6 if name.startswith("port/") else 7
    assert (height, width) != (480, 640) or len(generator.map_sizes) == maps
    assert cfg.DATALOADER.FILTER_EMPTY_ANNOTATIONS is False


@pytest.mark.parametrize("name", NAMES)
def test_every_config_opens_with_its_command(name):
    lines = (model_zoo.CONFIGS / name).read_text().splitlines()
    command = f"#   python tools/train_net.py --config-file configs/{name}"
    comments = [line for line in lines if line.startswith("#")]
    assert lines[: len(comments)] == comments
    assert name.startswith("Base") or any(line.startswith(command) for line in comments[1:])


def test_there_is_a_config_for_every_row_of_the_tables_and_no_other():
    assert {name for name in NAMES if name.startswith("ablations/")} == {
        f"ablations/{row}.yaml" for row in ROWS
    }


@pytest.mark.parametrize("row", ROWS)
def test_ablation_is_the_model_of_its_row(row):
    neck_name, tasks, fusion = ROWS[row]
    cfg = model_zoo.get_config(f"ablations/{row}.yaml")
    neck = build(cfg).neck
    assert type(neck).__name__ == neck_name
    assert {task.name for task in neck.tasks} == set(tasks)
    assert (type(neck.fusion).__name__ if fusion else None) == fusion
    assert (cfg.DATASETS.TRAIN, cfg.DATASETS.TEST) == (("nyuv2_train673",), ("nyuv2_val122",))


def test_only_the_row_without_supervision_has_weights_of_zero():
    for row, (_, tasks, _) in ROWS.items():
        weights = {
            t.name: t.loss_weight
            for t in build_tasks(model_zoo.get_config(f"ablations/{row}.yaml"))
        }
        paper = {"scene": 3.0, "depth": 3.0, "normals": 30.0}
        for task in tasks:
            assert weights[task] == (0.0 if row == "table5_no_supervision" else paper[task])


@pytest.mark.parametrize("dataset", ["nyuv2", "rooms"])
@pytest.mark.parametrize("neck", ["flat", "rock"])
def test_the_three_models_differ_by_one_word(dataset, neck):
    assert differences(f"ssd_{dataset}.yaml", f"{neck}_{dataset}.yaml") == {"MODEL.NECK.NAME"}


def test_paper_schedule():
    solver = model_zoo.get_config("rock_nyuv2.yaml").SOLVER
    assert (solver.OPTIMIZER, solver.IMS_PER_BATCH, solver.BASE_LR) == ("Adam", 8, 5e-5)
    assert (solver.STEPS, solver.GAMMA, solver.MAX_ITER) == ((30000,), 0.1, 40000)
    assert (solver.WARMUP_ITERS, solver.WEIGHT_DECAY) == (0, 0.0)


def test_rock_on_rooms_is_half_as_wide_as_its_features():
    neck = build(model_zoo.get_config("rock_rooms.yaml")).neck
    # conv3 of a ResNet-18 has 128 channels: 128 / 2 = 64, and as in the paper 64 / 4 = 16.
    assert neck.output_shape()["res3"].channels == 128
    assert neck.trunk[1].out_channels == 64
    assert {t: e.out_channels for t, e in neck.encoders.items()} == {
        "scene": 27,
        "depth": 16,
        "normals": 48,
    }
