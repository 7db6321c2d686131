"""Every yaml builds, and is the model that its name promises."""

from collections.abc import Iterator

import pytest
from detectron2.config import CfgNode
from tiny import on_meta

from rock_d2 import model_zoo
from rock_d2.tasks import build_tasks

NAMES = sorted(
    str(file.relative_to(model_zoo.CONFIGS)) for file in model_zoo.CONFIGS.rglob("*.yaml")
)
# Those that a training can start from, without the ablations, which have a test of their own.
WHOLE = [name for name in NAMES if "Base-" not in name and not name.startswith("ablations/")]
# Meta-architecture, and whether it finds masks.
DETECTORS = {
    "ssd": ("SSD", False),
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
    "oracle_all": ("ROCK", ALL, "SumFusion"),
    "given_at_test": ("ROCK", ALL, "SumFusion"),
    "oracle_scene": ("ROCK", ALL, "SumFusion"),
    "oracle_depth": ("ROCK", ALL, "SumFusion"),
    "oracle_normals": ("ROCK", ALL, "SumFusion"),
    "oracle_geometry": ("ROCK", ALL, "SumFusion"),
    "fusion_context": ("ROCK", ALL, "ContextFusion"),
    "fusion_gated": ("ROCK", ALL, "GatedFusion"),
    "fusion_attention": ("ROCK", ALL, "AttentionFusion"),
}

ABLATIONS = [file.stem for file in (model_zoo.CONFIGS / "ablations").glob("*.yaml")]


def leaves(node: CfgNode, prefix: str = "") -> Iterator[tuple[str, object]]:
    for key, value in node.items():
        if isinstance(value, CfgNode):
            yield from leaves(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value


@pytest.mark.parametrize("name", WHOLE)
def test_every_config_builds_for_the_classes_of_its_data(name):
    cfg = model_zoo.get_config(name)
    detector = on_meta(cfg).detector
    part = {"GeneralizedRCNN": "roi_heads", "SSD": "head"}.get(cfg.MODEL.DETECTOR)
    if cfg.MODEL.DETECTOR:
        # NYUv2's 19 classes of objects; the rooms have the same, but those of another style.
        classes = {"rooms_other": 23, "hypersim": 17, "cityscapes": 8}
        wanted = next((count for word, count in classes.items() if word in name), 19)
        assert (getattr(detector, part) if part else detector).num_classes == wanted
    assert cfg.DATALOADER.FILTER_EMPTY_ANNOTATIONS is False


@pytest.mark.parametrize("row", sorted({*ROWS, *ABLATIONS}))
def test_ablation_is_the_model_of_its_row(row):
    neck_name, tasks, fusion = ROWS[row]
    cfg = model_zoo.get_config(f"ablations/{row}.yaml")
    neck = on_meta(cfg).neck
    assert type(neck).__name__ == neck_name
    assert {task.name for task in neck.tasks} == set(tasks)
    assert (type(neck.fusion["res5"]).__name__ if fusion else None) == fusion
    assert (cfg.DATASETS.TRAIN, cfg.DATASETS.TEST) == (("nyuv2_train673",), ("nyuv2_val122",))
    paper = {"scene": 3.0, "depth": 3.0, "normals": 30.0}
    supervised = row != "table5_no_supervision"
    assert all(task.loss_weight == supervised * paper[task.name] for task in build_tasks(cfg))


THREE = [
    (detector, neck, data)
    for detector in DETECTORS
    for neck in ("flat", "rock")
    for data in ("nyuv2", "rooms", "rooms_scratch")
]
CITYSCAPES = [(name, "rock", "cityscapes") for name in ("ssd", "retinanet", "faster_rcnn")]


@pytest.mark.parametrize(("detector", "neck", "data"), THREE + CITYSCAPES)
def test_the_three_models_differ_by_one_word(detector, neck, data):
    folders = ("rooms_scratch",) * 2 if data == "rooms_scratch" else ("rock", "detectors")
    data = data.removesuffix("_scratch")
    plain, other = (f"{folders[1]}/{detector}_{kind}_{data}.yaml" for kind in ("plain", neck))
    if detector == "ssd":
        plain, other = (f"{folders[0]}/{kind}_{data}.yaml" for kind in ("ssd", neck))
    if other == "rock/rock_nyuv2.yaml":
        other = "rock_nyuv2.yaml"
    first, second = (dict(leaves(model_zoo.get_config(name))) for name in (plain, other))
    assert {key for key in first if first[key] != second[key]} == {"MODEL.NECK.NAME"}
    assert first["MODEL.NECK.NAME"] == "IdentityNeck"
    assert (first["MODEL.DETECTOR"], first["MODEL.MASK_ON"]) == DETECTORS[detector]


def test_paper_schedule():
    solver = model_zoo.get_config("rock_nyuv2.yaml").SOLVER
    assert (solver.OPTIMIZER, solver.IMS_PER_BATCH, solver.BASE_LR) == ("Adam", 8, 5e-5)
    assert (solver.STEPS, solver.GAMMA, solver.MAX_ITER) == ((30000,), 0.1, 40000)
    assert (solver.WARMUP_ITERS, solver.WEIGHT_DECAY) == (0, 0.0)
    # Table 7: depth's configuration for disparity, 60 000 iterations.
    cfg = model_zoo.get_config("rock/rock_cityscapes.yaml")
    (disparity,) = build_tasks(cfg)
    assert (disparity.name, disparity.loss_weight, disparity.channels) == ("disparity", 3.0, 128)
    assert (cfg.SOLVER.MAX_ITER, cfg.SOLVER.BASE_LR) == (60000, solver.BASE_LR)


# What differs from the recipe of another file, which is the same network.
RECIPES = {
    ("nyud/mti_net_hrnet18_published", "nyud/mti_net_hrnet18"): {
        "MODEL.TASKS.NORMALS.LOSS_WEIGHT": (10.0, 1.0),
        "MODEL.TASKS.EDGES.LOSS_WEIGHT": (50.0, 1.0),
        "SOLVER.IMS_PER_BATCH": (8, 6),
        # 795 // 8 and 795 // 6 batches, 100 and 80 epochs of them.
        "SOLVER.POLY.PERIOD": (99, 132),
        "SOLVER.MAX_ITER": (9900, 10560),
        "SOLVER.WEIGHT_DECAY": (1e-4, 0.0),
        "SOLVER.WEIGHT_DECAY_NORM": (1e-4, 0.0),
    },
    # 4998 // 8 = 624 batches, 100 and 60 epochs of them.
    ("pascal/mti_net_hrnet18_published", "pascal/mti_net_hrnet18"): {
        "SOLVER.MAX_ITER": (62400, 37440),
    },
    ("pascal/mtl_hrnet18_published", "pascal/mtl_hrnet18"): {
        "SOLVER.OPTIMIZER": ("Adam", "SGD"),
        "SOLVER.BASE_LR": (1e-4, 0.01),
        "SOLVER.MAX_ITER": (62400, 37440),
    },
    # 80 epochs.
    ("pascal/mti_net_small_hrnet18_published", "pascal/mti_net_small_hrnet18"): {
        "SOLVER.MAX_ITER": (49920, 37440),
    },
    ("pascal/mtl_small_hrnet18_published", "pascal/mtl_small_hrnet18"): {
        "SOLVER.OPTIMIZER": ("Adam", "SGD"),
        "SOLVER.BASE_LR": (1e-4, 0.01),
        "SOLVER.MAX_ITER": (49920, 37440),
    },
}


@pytest.mark.parametrize("pair", RECIPES)
def test_recipes_of_mti_net_differ_as_the_published_code_from_the_paper(pair):
    cfgs = [model_zoo.get_config(f"mti/{name}.yaml") for name in pair]
    first, second = (dict(leaves(cfg)) for cfg in cfgs)
    differences = {key: (first[key], second[key]) for key in first if first[key] != second[key]}
    assert differences == RECIPES[pair]
    assert {cfg.SOLVER.LR_SCHEDULER_NAME for cfg in cfgs} == {"WarmupPolyLR"}
    assert {(cfg.SOLVER.POLY.POWER, cfg.SOLVER.MOMENTUM) for cfg in cfgs} == {(0.9, 0.9)}
