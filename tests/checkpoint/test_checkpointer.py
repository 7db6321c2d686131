"""Our own checkpoints, Detectron2's, and what is refused."""

import pickle
import re

import pytest
import torch
from detectron2.modeling import build_model
from tiny import with_random_norms

from rock_d2.checkpoint.checkpointer import CompleteCheckpointer, RockCheckpointer


def assert_equal(state: dict, other: dict) -> None:
    assert state.keys() == other.keys()
    different = [name for name in state if not torch.equal(state[name], other[name])]
    assert different == []


def test_resume_restores_the_model_and_the_rest(small_config, tmp_path):
    cfg = small_config()
    # As trainings have it: its weights are strided.
    models = [build_model(cfg).to(memory_format=torch.channels_last) for _ in range(2)]
    first, second = (
        RockCheckpointer(
            cfg, model=m, save_dir=str(tmp_path), optimizer=torch.optim.SGD(m.parameters(), lr=lr)
        )
        for m, lr in zip(models, (0.1, 1), strict=True)
    )
    torch.nn.init.constant_(models[0].backbone.stem.conv1.weight, 7)
    first.save("model_0000006", iteration=6)
    rest = second.resume_or_load("", resume=True)
    assert rest["iteration"] == 6 and rest.keys() == {"iteration", "classes"}
    assert_equal(models[0].state_dict(), models[1].state_dict())
    assert second.checkpointables["optimizer"].param_groups[0]["lr"] == 0.1


@pytest.mark.parametrize("detector", ["retinanet", "faster_rcnn"])
def test_checkpoints_of_detectron2_and_of_multitask_go_both_ways(
    detector, small_config, tmp_path, heard
):
    name = f"rooms_scratch/{detector}_rock_rooms.yaml"
    cfg = small_config(name=name)
    bare_cfg = small_config(
        *("MODEL.META_ARCHITECTURE", cfg.MODEL.DETECTOR),
        *("MODEL.RETINANET.NUM_CLASSES", 19, "MODEL.ROI_HEADS.NUM_CLASSES", 19),
        name=name,
    )
    torch.manual_seed(0)
    zoo = build_model(bare_cfg)
    # As the files of the model zoo: arrays, and buffers of the first versions.
    buffers = {
        "anchor_generator.cell_anchors.0": torch.zeros(3, 4),
        "pixel_mean": torch.tensor(cfg.MODEL.PIXEL_MEAN).view(3, 1, 1),
    }
    arrays = {key: value.numpy() for key, value in (zoo.state_dict() | buffers).items()}
    content = {"model": arrays, "__author__": "Detectron2 Model Zoo"}
    (tmp_path / "zoo.pkl").write_bytes(pickle.dumps(content, protocol=2))
    torch.manual_seed(1)
    model = build_model(cfg)
    RockCheckpointer(cfg, model=model, save_dir=str(tmp_path)).load(str(tmp_path / "zoo.pkl"))
    state = model.state_dict()
    assert_equal({key: state[key] for key in zoo.state_dict()}, zoo.state_dict())
    # The log names the neck's tensors and no others.
    named = re.findall(
        r"^.*\b(backbone|head|proposal_generator|roi_heads|neck)\..*$", heard.text, re.M
    )
    assert set(named) == {"neck"}
    assert "cell_anchors" not in heard.text

    RockCheckpointer(cfg, model=model, save_dir=str(tmp_path)).save("trained")
    bare = build_model(bare_cfg)
    RockCheckpointer(bare_cfg, model=bare).load(str(tmp_path / "trained.pth"))
    assert_equal(bare.state_dict(), zoo.state_dict())


LEFT_OUT = "head.cls_score.0.bias"


def test_complete_checkpointer_refuses_what_leaves_a_part_untrained(small_config, tmp_path):
    cfg = small_config()
    model = build_model(cfg)
    state = model.state_dict()
    torch.save({"model": state}, tmp_path / "whole.pth")
    torch.save({"model": {n: x for n, x in state.items() if n != LEFT_OUT}}, tmp_path / "part.pth")
    checkpointer = CompleteCheckpointer(cfg, model=model)
    checkpointer.load(str(tmp_path / "whole.pth"))
    with pytest.raises(ValueError, match=r"part\.pth: not a .*, and not head\.cls_score\.0\.bias"):
        checkpointer.load(str(tmp_path / "part.pth"))


# A ResNet and a network of timm, below a pyramid, with a part of their normalisation trained.
LITE = ("MODEL.TIMM.NORM", "BN", "MODEL.TIMM.FREEZE_AT", 2)
MIXED = ("MODEL.RESNETS.NORM", "BN", "MODEL.BACKBONE.FREEZE_AT", 2)
PYRAMIDS = {
    "timm": ("rock/rock_rooms.yaml", LITE),
    "resnet": ("rooms_scratch/retinanet_rock_rooms.yaml", MIXED),
}


@pytest.mark.parametrize("kind", PYRAMIDS)
def test_own_checkpoint_as_weights_comes_back_bit_for_bit(kind, small_config, tmp_path):
    name, settings = PYRAMIDS[kind]
    cfg = small_config(*settings, name=name)
    trained, other = (with_random_norms(build_model(cfg)) for _ in range(2))
    RockCheckpointer(cfg, model=trained, save_dir=str(tmp_path)).save("trained")
    RockCheckpointer(cfg, model=other).load(str(tmp_path / "trained.pth"))
    assert_equal(other.state_dict(), trained.state_dict())


@pytest.mark.parametrize(
    "missing", ["backbone.bottom_up.net.bn1.running_var", "head.extra_layers.0.0.norm.running_mean"]
)
def test_a_frozen_statistic_that_is_not_loaded_is_an_error(missing, small_config, tmp_path):
    cfg = small_config("MODEL.SSD.NORM", "FrozenBN", name=PYRAMIDS["timm"][0])
    state = build_model(cfg).state_dict()
    torch.save({"model": {n: x for n, x in state.items() if n != missing}}, tmp_path / "part.pth")
    model = build_model(cfg)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    with pytest.raises(ValueError, match=rf"part.pth: lacks {re.escape(missing)} of frozen"):
        RockCheckpointer(cfg, model=model).load(str(tmp_path / "part.pth"))
    assert_equal(model.state_dict(), before)
