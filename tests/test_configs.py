"""Every yaml builds, and is the model that its name promises."""

from collections.abc import Iterator

import pytest
import torch
from detectron2.config import CfgNode
from detectron2.modeling import build_model
from torch import nn

from rock_d2 import model_zoo
from rock_d2.modeling.ssd import SSD
from rock_d2.tasks import build_tasks

NAMES = sorted(
    str(file.relative_to(model_zoo.CONFIGS)) for file in model_zoo.CONFIGS.rglob("*.yaml")
)
# Those that a training can start from.
WHOLE = [name for name in NAMES if "Base-" not in name]
DETECTORS = {
    "retinanet": ("RetinaNet", False),
    "fcos": ("FCOS", False),
    "faster_rcnn": ("GeneralizedRCNN", False),
    "mask_rcnn": ("GeneralizedRCNN", True),
}

# Tables 1, 2 and 5: neck, tasks and fusion of each row.
ALL = ("scene", "depth", "normals")
ROWS = {
    "table1_baseline": ("IdentityNeck", (), None),
    "table1_flat": ("FlatMTL", ALL, None),
    "table1_no_fusion": ("ROCK", ALL, "NoFusion"),
    "table1_rock": ("ROCK", ALL, "SumFusion"),
    "table2_flat_dn": ("FlatMTL", ("depth", "normals"), None),
    "table2_flat_ds": ("FlatMTL", ("scene", "depth"), None),
    "table2_flat_ns": ("FlatMTL", ("scene", "normals"), None),
    "table2_rock_dn": ("ROCK", ("depth", "normals"), "SumFusion"),
    "table2_rock_ds": ("ROCK", ("scene", "depth"), "SumFusion"),
    "table2_rock_ns": ("ROCK", ("scene", "normals"), "SumFusion"),
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


@pytest.mark.parametrize("name", WHOLE)
def test_every_config_builds_with_as_many_classes_as_its_data(name):
    cfg = model_zoo.get_config(name)
    model = build(cfg)
    head = model.detector.roi_heads if cfg.MODEL.DETECTOR == "GeneralizedRCNN" else model.detector
    head = model.detector.head if cfg.MODEL.DETECTOR == "SSD" else head
    # NYUv2's 19 classes of objects; the rooms have the same.
    assert head.num_classes == 19
    assert cfg.DATALOADER.FILTER_EMPTY_ANNOTATIONS is False
    neck_shapes = model.backbone.output_shape()
    if cfg.MODEL.NECK.AT == "bottom_up":
        neck_shapes = model.backbone.bottom_up.output_shape()
    # The paper's stride for SSD; half of it in rooms, whose images are small; 32 before a pyramid.
    stride = 32 if name.startswith("detectors/") else 8 if "rooms" in name else 16
    assert [neck_shapes[x].stride for x in cfg.MODEL.ROCK.IN_FEATURES] == [stride]


@pytest.mark.parametrize("name", [name for name in WHOLE if not name.startswith("detectors/")])
def test_ssd_has_maps_from_x_down_to_one_cell(name):
    cfg = model_zoo.get_config(name)
    detector = build(cfg).detector
    assert isinstance(detector, SSD)
    height, width = cfg.INPUT.SIZE
    assert cfg.MODEL.SSD.IN_FEATURES == cfg.MODEL.ROCK.IN_FEATURES
    shape = detector.backbone.output_shape()[cfg.MODEL.SSD.IN_FEATURES[-1]]
    cells = [-(-side // shape.stride) for side in (height, width)]
    # 30 x 40, 15 x 20, 8 x 10, 4 x 5, 2 x 3, 1 x 2, 1 x 1: the map and six more; the port makes
    # 1 x 1 of 2 x 3.
    halvings = 1
    while max(cells) > 1:
        cells = [-(-cells // 2) for cells in cells]
        halvings += 1
    port = name.startswith("port/")
    assert len(detector.head.cls_score) == halvings - port
    assert (height, width) != (480, 640) or halvings == 7


@pytest.mark.parametrize("name", NAMES)
def test_every_config_opens_with_its_command(name):
    lines = (model_zoo.CONFIGS / name).read_text().splitlines()
    command = f"#   python tools/train_net.py --config-file configs/{name}"
    comments = [line for line in lines if line.startswith("#")]
    assert comments and lines[: len(comments)] == comments
    assert name not in WHOLE or any(line.startswith(command) for line in comments[1:])


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
    assert (type(neck.fusion["res5"]).__name__ if fusion else None) == fusion
    assert (cfg.DATASETS.TRAIN, cfg.DATASETS.TEST) == (("nyuv2_train673",), ("nyuv2_val122",))
    paper = {"scene": 3.0, "depth": 3.0, "normals": 30.0}
    supervised = row != "table5_no_supervision"
    for task in build_tasks(cfg):
        assert task.loss_weight == supervised * paper[task.name]


@pytest.mark.parametrize("data", ["nyuv2", "rooms"])
@pytest.mark.parametrize("neck", ["flat", "rock"])
@pytest.mark.parametrize("detector", ["ssd", *DETECTORS])
def test_the_three_models_differ_by_one_word(detector, neck, data):
    if detector == "ssd":
        plain, other = f"rock/ssd_{data}.yaml", f"rock/{neck}_{data}.yaml"
        other = "rock_nyuv2.yaml" if (neck, data) == ("rock", "nyuv2") else other
    else:
        plain, other = (f"detectors/{detector}_{kind}_{data}.yaml" for kind in ("plain", neck))
    first, second = (dict(leaves(model_zoo.get_config(name))) for name in (plain, other))
    assert {key for key in first if first[key] != second[key]} == {"MODEL.NECK.NAME"}
    assert first["MODEL.NECK.NAME"] == "IdentityNeck"
    found = first["MODEL.DETECTOR"], first["MODEL.MASK_ON"]
    assert found == DETECTORS.get(detector, ("SSD", False))


def test_paper_schedule():
    solver = model_zoo.get_config("rock_nyuv2.yaml").SOLVER
    assert (solver.OPTIMIZER, solver.IMS_PER_BATCH, solver.BASE_LR) == ("Adam", 8, 5e-5)
    assert (solver.STEPS, solver.GAMMA, solver.MAX_ITER) == ((30000,), 0.1, 40000)
    assert (solver.WARMUP_ITERS, solver.WEIGHT_DECAY) == (0, 0.0)


def test_rock_on_rooms_is_half_as_wide_as_its_features():
    model = build(model_zoo.get_config("rock/rock_rooms.yaml"))
    # conv3 of a ResNet-18 has 128 channels: 128 / 2 = 64, and as in the paper 64 / 4 = 16.
    assert model.backbone.output_shape()["res3"].channels == 128
    assert model.neck.trunk["res3"][1].out_channels == 64
    widths = {task: encoder.out_channels for task, encoder in model.neck.encoders["res3"].items()}
    assert widths == {"scene": 27, "depth": 16, "normals": 48}
