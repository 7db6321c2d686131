"""A training that starts with the weights of one on other classes and other tasks."""

import re

import pytest
import torch
from detectron2.config import CfgNode
from detectron2.data import MetadataCatalog
from detectron2.modeling import build_model
from tiny import NARROW
from torch import nn

from rock_d2 import model_zoo
from rock_d2.checkpoint.checkpointer import CompleteCheckpointer, RockCheckpointer
from rock_d2.checkpoint.downloads import local_file
from rock_d2.checkpoint.loading import read_weights
from rock_d2.checkpoint.training import TrainingCheckpointer

THERE, HERE = (
    MetadataCatalog.get(name).thing_classes for name in ("rooms_other_train", "rooms_train")
)
BY_NAME = ("MODEL.WEIGHTS_BY_CLASS_NAME", True)


def config(data: str, *settings: object, detector: str = "ssd") -> CfgNode:
    file = "rock" if detector == "ssd" else f"{detector}_plain"
    cfg = model_zoo.get_config(f"rooms_scratch/{file}_rooms.yaml")
    cfg.merge_from_list([*NARROW, "DATASETS.TRAIN", (data,), "MODEL.DEVICE", "cpu", *settings])
    return cfg


def starting(cfg: CfgNode) -> TrainingCheckpointer:
    torch.manual_seed(1)
    model = build_model(cfg)
    trainer = torch.optim.SGD(model.parameters(), lr=1.0)
    return TrainingCheckpointer(cfg, model, identity={}, average=None, trainer=trainer)


def pretrained(folder, *settings: object, **options: str) -> dict[str, torch.Tensor]:
    """Save a model of the other classes that has no scenes."""
    tasks = ("MODEL.TASKS.AUXILIARY", ["Depth", "Normals"])
    cfg = config("rooms_other_train", *tasks, *settings, **options)
    torch.manual_seed(0)
    model = build_model(cfg)
    for parameter in model.parameters():
        nn.init.normal_(parameter)
    RockCheckpointer(cfg, model=model, save_dir=str(folder)).save("model_final")
    return model.state_dict()


@pytest.mark.parametrize("by_name", [False, True])
def test_the_log_lists_exactly_what_starts_afresh(by_name, tmp_path, heard):
    old = pretrained(tmp_path)
    checkpointer = starting(config("rooms_train", *BY_NAME[:1], by_name))
    fresh = {name: x.clone() for name, x in checkpointer.model.state_dict().items()}
    checkpointer.start_from(str(tmp_path / "model_final.pth"))
    now = checkpointer.model.state_dict()
    listed = heard.text.partition("not found in the checkpoint:")[2]
    named = set(re.findall(r"^(?:\S+m)?((?:neck|head|backbone)\.[\w.]+\w)", listed, re.M))
    parts = {name for name in now if any(name.startswith(part) for part in named)}
    scene = {name for name in now if "scene" in name}
    assert scene and "not loaded" not in heard.text
    predictors = {name for name in now if "cls_score" in name}
    assert parts == scene | (set() if by_name else predictors)
    assert all(torch.equal(now[name], fresh[name]) for name in parts)
    rest = [name for name in now.keys() - parts - predictors if "num_batches" not in name]
    assert [name for name in rest if not torch.equal(now[name], old[name])] == []
    left = "box, counter, door, dresser, garbage bin, monitor, sink"
    assert f"start afresh: {left if by_name else ', '.join(HERE)}\n" in heard.text


# Predictors of each detector: rows of the background, rows of a class.
PREDICTORS = {
    "ssd": {"head.cls_score.0.weight": (1, 1), "head.cls_score.1.bias": (1, 1)},
    "retinanet": {"head.cls_score.weight": (0, 1)},
    "fcos": {"head.cls_score.bias": (0, 1)},
    "mask_rcnn": {
        "roi_heads.box_predictor.cls_score.weight": (1, 1),
        "roi_heads.box_predictor.bbox_pred.weight": (0, 4),
        "roi_heads.mask_head.predictor.weight": (0, 1),
    },
}


@pytest.mark.parametrize("detector", PREDICTORS)
def test_classes_of_the_same_name_keep_their_rows(detector, tmp_path):
    old = pretrained(tmp_path, detector=detector)
    checkpointer = starting(config("rooms_train", *BY_NAME, detector=detector))
    fresh = {name: x.clone() for name, x in checkpointer.model.state_dict().items()}
    checkpointer.start_from(str(tmp_path / "model_final.pth"))
    now = checkpointer.model.state_dict()
    for name, (background, rows) in PREDICTORS[detector].items():
        there, here = (len(names) + background for names in (THERE, HERE))
        anchors = len(now[name]) // (here * rows)
        assert anchors * here * rows == len(now[name]) and anchors * there * rows == len(old[name])
        for row in range(len(now[name])):
            anchor, rest = divmod(row, here * rows)
            place, k = divmod(rest, rows)
            kind = HERE[place] if place < len(HERE) else "background"
            source, expected = fresh[name], row
            if kind in [*THERE, "background"]:
                index = THERE.index(kind) if kind in THERE else len(THERE)
                source, expected = old[name], (anchor * there + index) * rows + k
            assert torch.equal(now[name][row], source[expected]), (name, kind)


def test_scenes_of_other_types_start_afresh_and_objects_keep_their_rows(tmp_path, heard):
    scene = ("MODEL.TASKS.AUXILIARY", ["Depth", "Normals", "Scene"])
    old = pretrained(tmp_path, *scene, "MODEL.TASKS.SCENE.NUM_CLASSES", 19)
    checkpointer = starting(config("rooms_train", *BY_NAME, *scene))
    fresh = {name: x.clone() for name, x in checkpointer.model.state_dict().items()}
    checkpointer.start_from(str(tmp_path / "model_final.pth"))
    now = checkpointer.model.state_dict()
    (encoder,) = [n for n in now if re.fullmatch(r"neck\.encoders\.\w+\.scene\.weight", n)]
    assert len(old[encoder]) == 19 and len(now[encoder]) == 27
    assert torch.equal(now[encoder], fresh[encoder])
    assert f"{encoder} is (19, " in heard.text and "not loaded" in heard.text
    row, bed = (names.index("bed") for names in (HERE, THERE))
    assert torch.equal(now["head.cls_score.0.bias"][row], old["head.cls_score.0.bias"][bed])


def test_a_file_of_the_same_classes_comes_back_bit_for_bit(tmp_path):
    old = pretrained(tmp_path)
    cfg = config("rooms_other_train", *BY_NAME, "MODEL.TASKS.AUXILIARY", ["Depth", "Normals"])
    checkpointer = starting(cfg)
    checkpointer.start_from(str(tmp_path / "model_final.pth"))
    now = checkpointer.model.state_dict()
    assert [name for name in old if not torch.equal(now[name], old[name])] == []


def test_the_model_that_comes_with_the_project_keeps_its_rows_for_other_classes():
    weights = "package://rock_d2/model_zoo/trained/rock_rooms.safetensors"
    cfg = model_zoo.get_config("rock/pretrain_rooms_other.yaml")
    cfg.merge_from_list([*BY_NAME, "MODEL.DEVICE", "cpu"])
    checkpointer, old = starting(cfg), read_weights(local_file(weights))
    checkpointer.start_from(weights)
    name, bed = "head.cls_score.0.weight", (HERE.index("bed"), THERE.index("bed"))
    now, old = checkpointer.model.state_dict()[name], old["model"][name]
    # Of the first anchor's 20 rows in the file, and 24 here.
    assert torch.equal(now[bed[1]], old[bed[0]].float()) and torch.equal(now[23], old[19].float())


def test_what_does_not_fit_is_refused(tmp_path):
    pretrained(tmp_path)
    file = tmp_path / "model_final.pth"
    # One aspect ratio instead of two: four boxes a cell instead of six.
    other = config("rooms_train", *BY_NAME, "MODEL.SSD.ASPECT_RATIOS", [2.0])
    with pytest.raises(ValueError, match=r"head\.cls_score\.1\.\S+ is \(.* than other classes"):
        starting(other).start_from(str(file))
    # Evaluation and prediction take whole models only.
    cfg = config("rooms_train", *BY_NAME)
    with pytest.raises(ValueError, match="not a trained model of this config"):
        CompleteCheckpointer(cfg, model=build_model(cfg)).load(str(file))
    content = torch.load(file, weights_only=True)
    assert content["classes"]["thing_classes"] == THERE and "stuff_classes" in content["classes"]
    torch.save(content | {"classes": {}}, file)
    with pytest.raises(ValueError, match="not say its classes"):
        starting(cfg).start_from(str(file))
