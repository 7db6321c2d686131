"""Our own checkpoints, and what is refused."""

import logging
import re

import numpy as np
import pytest
import torch
from detectron2.modeling import build_model
from torch import nn
from torchvision_resnets import TORCHVISION_SETTINGS

from rock_d2.checkpoint.checkpointer import RockCheckpointer


@pytest.fixture
def weights(resnet18, tmp_path) -> str:
    torch.save(resnet18.state_dict(), tmp_path / "resnet18.pth")
    return str(tmp_path / "resnet18.pth")


def test_resume_restores_model_optimizer_scheduler_and_iteration(small_config, tmp_path):
    cfg = small_config()

    def build(seed: int) -> tuple[RockCheckpointer, nn.Module, torch.optim.Optimizer]:
        torch.manual_seed(seed)
        model = build_model(cfg)
        optimizer = torch.optim.Adam(model.parameters(), lr=0.1)
        scheduler = torch.optim.lr_scheduler.MultiStepLR(optimizer, [1])
        folder = str(tmp_path)
        saved = {"optimizer": optimizer, "scheduler": scheduler}
        return RockCheckpointer(cfg, model=model, save_dir=folder, **saved), model, optimizer

    checkpointer, model, optimizer = build(seed=0)
    sum(parameter.sum() for parameter in model.parameters()).backward()
    optimizer.step()
    checkpointer.checkpointables["scheduler"].step()
    checkpointer.save("model_0000006", iteration=6)

    resumed, twin, twin_optimizer = build(seed=1)
    assert resumed.resume_or_load("", resume=True)["iteration"] == 6
    for name, value in model.state_dict().items():
        assert torch.equal(value, twin.state_dict()[name]), name
    assert twin_optimizer.param_groups[0]["lr"] == pytest.approx(0.01)
    moments = [s["exp_avg"] for s in optimizer.state.values()]
    twin_moments = [s["exp_avg"] for s in twin_optimizer.state.values()]
    assert len(moments) == len(list(model.parameters()))
    assert all(torch.equal(a, b) for a, b in zip(moments, twin_moments, strict=True))


def test_own_checkpoint_carries_numpy_values(small_config, tmp_path):
    cfg = small_config()
    checkpointer = RockCheckpointer(cfg, model=build_model(cfg), save_dir=str(tmp_path))
    state = np.random.default_rng(0).integers(2**32, size=624, dtype=np.uint32)
    checkpointer.save("model_final", best_metric=np.float64(0.5), random_state=state)
    extra = checkpointer.load(str(tmp_path / "model_final.pth"))
    assert extra.keys() == {"best_metric", "random_state"}
    assert extra["best_metric"] == 0.5
    assert np.array_equal(extra["random_state"], state)


def test_own_checkpoint_is_refused_under_other_pixel_statistics(small_config, tmp_path):
    cfg = small_config()
    RockCheckpointer(cfg, model=build_model(cfg), save_dir=str(tmp_path)).save("model_final")
    other = small_config("MODEL.PIXEL_STD", "[1.0, 1.0, 1.0]")
    with pytest.raises(ValueError, match=r'set MODEL\.PIXEL_STD "\[57\.375, 57\.12, 58\.395\]"'):
        RockCheckpointer(other, model=build_model(other)).load(str(tmp_path / "model_final.pth"))


def test_pixel_statistics_in_older_checkpoints_of_detectron2_count(small_config, tmp_path):
    cfg = small_config()
    state = build_model(cfg).state_dict() | {"pixel_std": torch.ones(3, 1, 1)}
    torch.save({"model": state}, tmp_path / "old.pth")
    with pytest.raises(ValueError, match=r'set MODEL\.PIXEL_STD "\[1\.0, 1\.0, 1\.0\]"$'):
        RockCheckpointer(cfg, model=build_model(cfg)).load(str(tmp_path / "old.pth"))


# The settings of the torchvision kind, each wrong in its turn.
WRONG = [
    ("INPUT.FORMAT", "BGR", "RGB"),
    ("MODEL.PIXEL_MEAN", "[103.53, 116.28, 123.675]", "[123.675, 116.28, 103.53]"),
    ("MODEL.PIXEL_STD", "[1.0, 1.0, 1.0]", "[58.395, 57.12, 57.375]"),
]


@pytest.mark.parametrize(("key", "wrong", "right"), WRONG)
def test_wrong_setting_is_refused_with_the_right_one(key, wrong, right, small_config, weights):
    cfg = small_config(*TORCHVISION_SETTINGS, key, wrong)
    model = build_model(cfg)
    before = model.backbone.stem.conv1.weight.clone()
    with pytest.raises(ValueError, match=re.escape(f'set {key} "{right}"') + "$"):
        RockCheckpointer(cfg, model=model).load(weights)
    assert torch.equal(model.backbone.stem.conv1.weight, before)


def test_wrong_stride_is_refused_where_there_are_bottlenecks(small_config, weights):
    stride = ("MODEL.RESNETS.STRIDE_IN_1X1", True)
    cfg = small_config(*TORCHVISION_SETTINGS, *stride)
    RockCheckpointer(cfg, model=build_model(cfg)).load(weights)
    cfg.merge_from_list(["MODEL.RESNETS.DEPTH", 50])
    with pytest.raises(ValueError, match=r'set MODEL\.RESNETS\.STRIDE_IN_1X1 "False"$'):
        RockCheckpointer(cfg, model=build_model(cfg)).load(weights)


def test_another_depth_is_refused(small_config, weights):
    cfg = small_config(*TORCHVISION_SETTINGS, "MODEL.RESNETS.DEPTH", 34)
    # ResNet-18 has 20 convolutions with 5 tensors each, ResNet-34 has 36.
    with pytest.raises(
        ValueError, match=r"fits 100 of the backbone's 180 tensors: backbone\.res2\.2"
    ):
        RockCheckpointer(cfg, model=build_model(cfg)).load(weights)


def test_no_match_in_the_backbone_is_an_error(small_config, tmp_path):
    cfg = small_config()
    model = build_model(cfg)
    state = {n.replace("backbone.", "backbone.body."): x for n, x in model.state_dict().items()}
    torch.save({"model": state}, tmp_path / "other.pth")
    with pytest.raises(ValueError, match="fits 0 of the backbone's 100 tensors"):
        RockCheckpointer(cfg, model=model).load(str(tmp_path / "other.pth"))


def test_summary_counts_what_matched_by_part(small_config, weights, caplog):
    cfg = small_config(*TORCHVISION_SETTINGS)
    checkpointer = RockCheckpointer(cfg, model=build_model(cfg))
    caplog.set_level(logging.INFO, logger=checkpointer.logger.name)
    checkpointer.logger.addHandler(caplog.handler)
    checkpointer.load(weights)
    checkpointer.logger.removeHandler(caplog.handler)
    # ResNet-18 has 11,689,512 parameters, 513,000 of them in fc, and 2 * 4,800 statistics.
    assert re.search(r"backbone +11,186,112 of +11,186,112\n", caplog.text)
    assert re.search(r"neck +0 of +[1-9][\d,]+\n", caplog.text)
    assert re.search(r"head +0 of +[1-9][\d,]+\n", caplog.text)
    assert "not in the model: fc.weight, fc.bias" in caplog.text


def test_missing_file_is_named(small_config, tmp_path):
    cfg = small_config()
    checkpointer = RockCheckpointer(cfg, model=build_model(cfg))
    with pytest.raises(FileNotFoundError, match=r"R-18\.pth: is no file; set MODEL\.WEIGHTS"):
        checkpointer.load(str(tmp_path / "R-18.pth"))


def test_without_network_the_place_for_the_file_is_named(small_config, tmp_path, monkeypatch):
    monkeypatch.setenv("FVCORE_CACHE", str(tmp_path))
    monkeypatch.setenv("no_proxy", "*")
    cfg = small_config()
    checkpointer = RockCheckpointer(cfg, model=build_model(cfg))
    place = tmp_path / "models" / "R-18.pkl"
    with pytest.raises(FileNotFoundError, match=re.escape(f"put it at {place} by hand")):
        # Nobody listens on the discard port.
        checkpointer.load("http://127.0.0.1:9/models/R-18.pkl")
