"""Checkpoints of rock-pytorch: all of it by its own configs, and nothing by others."""

from pathlib import Path

import pytest
import torch
from detectron2.config import CfgNode
from detectron2.modeling import build_model
from port_network import NUM_OUTPUTS, Port
from torch import nn
from torchvision_resnets import with_random_statistics

from rock_d2 import model_zoo
from rock_d2.checkpoint.checkpointer import RockCheckpointer
from rock_d2.checkpoint.formats import PortFormat, learned

# The smallest image whose fourth map, 3 x 3, has room for the window that makes the fifth.
SIZE = (272, 272)
WIDTH = 8
TASKS = {"scene": 27, "depth": 2, "normals": 6}
EXTRA_CHANNELS = (10, 8, 8, 6, 6)
# Cells of the six maps with the boxes that each has.
MAPS = ((17, 4), (9, 6), (5, 6), (3, 6), (1, 4), (1, 4))


def config(name: str, *settings: object) -> CfgNode:
    """The port's config with narrow layers after the backbone."""
    cfg = model_zoo.get_config(f"port/{name}_nyuv2.yaml")
    cfg.merge_from_list(
        [
            *("MODEL.DEVICE", "cpu", "INPUT.SIZE", SIZE, "MODEL.ROCK.WIDTH", WIDTH),
            *("MODEL.TASKS.DEPTH.CHANNELS", 2, "MODEL.TASKS.NORMALS.CHANNELS", 6),
            *("MODEL.SSD.EXTRA_CHANNELS", EXTRA_CHANNELS, *settings),
        ]
    )
    return cfg


@pytest.fixture(scope="module")
def ports() -> dict[str, nn.Module]:
    torch.manual_seed(3)
    shared = {"width": WIDTH, "extra_channels": EXTRA_CHANNELS, "last_window": (1, 1)}
    return {
        name: with_random_statistics(Port(tasks=tasks, **shared))
        for name, tasks in (("ssd", {}), ("rock", TASKS))
    }


@pytest.fixture(scope="module")
def files(ports, tmp_path_factory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("port")
    # PyTorch's older format too: it was the only one when the port was trained.
    for name, legacy in (("ssd", True), ("rock", False)):
        state = ports[name].trained_state()
        torch.save(state, folder / f"{name}.pt", _use_new_zipfile_serialization=not legacy)
    return {name: str(folder / f"{name}.pt") for name in ports}


def loaded(cfg: CfgNode, file: str | Path) -> nn.Module:
    torch.manual_seed(4)
    model = build_model(cfg).eval()
    assert RockCheckpointer(cfg, model=model).load(str(file)) == {}
    return model


# Of the port's source at its only release, all three tasks or none.
@pytest.mark.parametrize(
    ("name", "parameters"), [("ssd", 41_948_560), ("rock", 49_327_531)], ids=["ssd", "rock"]
)
def test_released_layout_fills_the_whole_model(name, parameters):
    cfg = model_zoo.get_config(f"port/{name}_nyuv2.yaml")
    cfg.MODEL.DEVICE = "meta"
    with torch.device("meta"):
        port = Port() if name == "rock" else Port(tasks={})
        model = build_model(cfg)
    assert sum(p.numel() for p in port.parameters()) == parameters
    state = model.state_dict()
    ours = PortFormat().translate(port.state_dict(), state)
    assert {n: ours[n].shape for n in learned(ours)} == {n: state[n].shape for n in learned(state)}


def box_by_box(outputs: torch.Tensor) -> torch.Tensor:
    """(N, K, A) in the port's order of boxes to (N, A, K) in ours, cell by cell."""
    start, parts = 0, []
    for side, boxes in MAPS:
        count = boxes * side**2
        of_map = outputs[..., start : start + count].reshape(len(outputs), -1, boxes, side, side)
        parts.append(of_map.permute(0, 3, 4, 2, 1).flatten(1, 3))
        start += count
    assert start == outputs.shape[2]
    return torch.cat(parts, dim=1)


@pytest.mark.parametrize("name", ["ssd", "rock"])
def test_loaded_weights_give_the_outputs_of_the_port(name, ports, files):
    image = torch.randn(1, 3, *SIZE, generator=torch.Generator().manual_seed(2))
    model = loaded(config(name), files[name])
    with torch.no_grad():
        deltas, logits, encodings = ports[name](image)
        # Not by a call, which would pass its maps through the neck.
        features, predictions = model.neck(model.backbone.forward(image))
        our_logits, our_deltas, _ = model.detector.head(features, SIZE)
    assert logits.std() > 0.1 and deltas.std() > 0.1
    exact = {"atol": 2e-4, "rtol": 1e-4}
    torch.testing.assert_close(our_deltas, box_by_box(deltas), **exact)
    # Class 0 there, the background, is the last one here.
    scores = box_by_box(logits)
    assert our_logits.shape[2] == NUM_OUTPUTS
    torch.testing.assert_close(our_logits[..., -1], scores[..., 0], **exact)
    torch.testing.assert_close(our_logits[..., :-1], scores[..., 1:], **exact)

    assert predictions.keys() == encodings.keys()
    if name == "rock":
        blocks = [encodings["normals"][:, i : i + 2].mean(dim=1) for i in (0, 2, 4)]
        vectors = torch.stack(blocks, dim=1)
        expected = {
            "scene": encodings["scene"].mean(dim=(2, 3)),
            "depth": encodings["depth"].mean(dim=1, keepdim=True),
            "normals": vectors / vectors.norm(dim=1, keepdim=True),
        }
        found = {name: final for name, (final,) in predictions.items()}
        torch.testing.assert_close(found, expected, **exact)


@pytest.mark.parametrize(("name", "other"), [("ssd", "rock"), ("rock", "ssd")])
def test_other_configs_are_refused(name, other, files, small_config):
    for cfg in (small_config(), config(other)):
        with pytest.raises(
            ValueError, match=r"rock-pytorch, .*use configs/port/ssd_nyuv2\.yaml or"
        ):
            RockCheckpointer(cfg, model=build_model(cfg)).load(files[name])
